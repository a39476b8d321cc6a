"""A user has at most a hundred passkeys: each ceremony names them all, so one user's cost is everybody's."""

from __future__ import annotations

import asyncio

import pytest

from narthex.ports.changes import AddCredential
from narthex.ports.store import MOST_CREDENTIALS
from tests.store.records import make_credential
from tests.support.application import Application, Ceremonies, HouseInProcess, accepted, refused

pytestmark = pytest.mark.anyio


async def give_passkeys(house: HouseInProcess, count: int, user_id: str = "ann") -> None:
    """As an import would."""
    tenant = house.root.tenant("demo")
    credentials = (make_credential(f"{user_id} {n}", user_id=user_id) for n in range(count))
    await asyncio.gather(*(tenant.commit(AddCredential(credential)) for credential in credentials))


async def test_the_hundredth_passkey_is_the_last(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await give_passkeys(house, MOST_CREDENTIALS - 1)
    await ceremonies.register("ann")
    problem = refused(await ceremonies.ask_leave(userId="ann"), 400, "too_many_credentials")
    assert "The user has 100 passkeys, which is the most." == problem["title"]
    await ceremonies.register("bob")


async def test_registrations_side_by_side_do_not_pass_the_limit(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await give_passkeys(house, MOST_CREDENTIALS - 1)
    leaves = [accepted(await ceremonies.ask_leave(userId="ann"))["token"] for _ in range(3)]
    first, second = [await ceremonies.begin_registration(leave) for leave in leaves[:2]]
    accepted(await ceremonies.complete_registration(first))
    refused(await ceremonies.complete_registration(second), 400, "too_many_credentials")
    refused(await ceremonies.ask_registration(leaves[2]), 400, "too_many_credentials")


async def test_a_sign_in_names_no_more_passkeys_than_that(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await give_passkeys(house, MOST_CREDENTIALS + 50)
    begun = await ceremonies.begin_sign_in(userId="ann")
    assert MOST_CREDENTIALS == len(begun.data["allowCredentials"])
