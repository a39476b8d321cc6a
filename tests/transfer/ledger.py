"""A ledger in memory, and an operator's call in a house of the tests."""

from __future__ import annotations

from narthex.base.values import Secret
from narthex.usecases.call import Caller, OperatorCall
from tests.support.application import HouseInProcess


class Ledger:
    """Remembers what was written down."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Secret] = {}

    def find(self, app_id: str, name: str) -> Secret | None:
        return self.kept.get((app_id, name))

    def keep(self, app_id: str, name: str, secret: Secret) -> None:
        self.kept[app_id, name] = secret


def operator_of(house: HouseInProcess) -> OperatorCall:
    env = house.env
    return OperatorCall(
        root=env.root,
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=env.clock.now(),
        caller=Caller(),
        catalog=env.catalog,
        facilities=env.facilities,
    )
