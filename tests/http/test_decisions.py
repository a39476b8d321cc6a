"""Decisions about one application at the same time: each is made on the grounds of the one before, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from narthex.http.body import camel
from narthex.ports.changes import SettingsChanged
from narthex.ports.records import Application, EventType, RpIdMigration
from narthex.usecases.application import change_settings, decide, get_application
from narthex.usecases.call import Caller, OperatorCall
from narthex.webauthn.authenticator_policy import RULES
from tests.http.test_trust_anchors import anchor
from tests.support.application import ORIGIN, RP_ID, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

OLD, NEW = "old.example", "new.example"


def operator(house: HouseInProcess) -> OperatorCall:
    return house.env.operator_call(Caller())


MODES = {rule.replace("-", "_"): "monitor" for rule in RULES if rule != "algorithms"}
POLICY: dict[str, Any] = {**MODES, "minimum_fips": 3, "minimum_certification": "L2", "most_passkeys": 7}
SETTINGS: dict[str, Any] = {
    "max_users": 5,
    "event_retention_days": 30,
    "conceal_unknown_users": True,
    "fips_for_aal3": True,
}
OTHERS: dict[str, Json] = {
    "trust-anchors": {"anchors": [anchor()]},
    "origins": {"topOrigins": ["https://frame.example"]},
    "origins/lock": {},
    "rp-ids/migrate": {"old": OLD, "new": NEW},
}
"""By path: what is kept in the same value as the policy."""


async def ask_until_it_is_done(house: HouseInProcess, path: str, body: Json) -> None:
    """As the advice of the one refusal says that may come."""
    while (answer := await house.manage(f"/admin/apps/demo/{path}", body)).status_code != 200:
        refused(answer, 409, "settings_changed")


async def change_until_it_is_done(house: HouseInProcess, **changes: Any) -> None:
    while True:
        with contextlib.suppress(SettingsChanged):
            await change_settings(operator(house), "demo", **changes)
            return


async def test_of_twenty_decisions_at_once_none_is_lost(any_house: HouseInProcess) -> None:
    await Ceremonies(await any_house.create_application(eventLoggingIsEnabled=True)).register()
    decisions = [
        *(ask_until_it_is_done(any_house, "authenticator-policy", {camel(name): POLICY[name]}) for name in POLICY),
        *(ask_until_it_is_done(any_house, path, body) for path, body in OTHERS.items()),
        *(change_until_it_is_done(any_house, **{name: value}) for name, value in SETTINGS.items()),
    ]
    assert 20 == len(decisions)
    await asyncio.gather(*decisions)

    settings = (await get_application(operator(any_house), "demo")).settings
    policy = msgspec.to_builtins(settings.authenticator_policy)
    assert POLICY == {name: policy[name] for name in POLICY}
    assert SETTINGS == {name: getattr(settings, name) for name in SETTINGS}
    assert ["Ours"] == [each.name for each in settings.trust_anchors]
    assert (("https://frame.example",), (ORIGIN,)) == (settings.top_origins, settings.origins)
    assert (RpIdMigration(OLD, NEW), {RP_ID, OLD, NEW}) == (settings.rp_id_migration, {*settings.rp_ids})
    made = [kind for kind, *_ in await any_house.events() if kind == EventType.ApiManagementSettingsChanged]
    assert 20 == len(made)


async def test_of_ten_decisions_at_once_each_gets_its_turn(any_house: HouseInProcess) -> None:
    """In every round one of them at least is the fastest."""
    await any_house.create_application()
    names = list(POLICY)[:10]
    answers = await asyncio.gather(
        *(any_house.manage("/admin/apps/demo/authenticator-policy", {camel(name): POLICY[name]}) for name in names)
    )
    assert [200] * 10 == [answer.status_code for answer in answers]
    policy = accepted(await any_house.manage("/admin/apps/demo/authenticator-policy"))
    assert [POLICY[name] for name in names] == [policy[camel(name)] for name in names]


async def test_a_decision_is_made_anew_on_what_another_decided_meanwhile(any_house: HouseInProcess) -> None:
    await any_house.create_application()
    call, faster = operator(any_house), iter([True])
    read = []

    async def decision(application: Application) -> Mapping[str, Any]:
        read.append(application.settings.max_users)
        if next(faster, False):
            await change_settings(call, "demo", max_users=5)
        return {"event_retention_days": 30, "max_users": (application.settings.max_users or 0) + 1}

    settings = await decide(call, "demo", decision)
    assert [None, 5] == read
    assert (6, 30) == (settings.max_users, settings.event_retention_days)
    assert settings == (await get_application(call, "demo")).settings


async def test_a_decision_that_never_gets_a_turn_is_refused_and_changes_nothing(any_house: HouseInProcess) -> None:
    await any_house.create_application()
    call, tries = operator(any_house), 0

    async def outrun(application: Application) -> Mapping[str, Any]:
        nonlocal tries
        tries += 1
        await change_settings(call, "demo", max_users=tries)
        return {"event_retention_days": 30}

    before = (await get_application(call, "demo")).settings
    with pytest.raises(SettingsChanged, match="changed by others at the same time"):
        await decide(call, "demo", outrun)
    settings = (await get_application(call, "demo")).settings
    assert (100, 100) == (tries, settings.max_users)
    assert msgspec.structs.replace(before, max_users=100) == settings


async def test_what_changes_nothing_stops_nobody(any_house: HouseInProcess) -> None:
    await any_house.create_application(eventLoggingIsEnabled=True)
    call = operator(any_house)
    version = (await get_application(call, "demo")).settings_version
    settings = (await get_application(call, "demo")).settings
    await change_settings(call, "demo", max_users=settings.max_users, origins=settings.origins)
    accepted(await any_house.manage("/admin/apps/demo/authenticator-policy", {"denyList": "enforce-new"}))
    assert version == (await get_application(call, "demo")).settings_version
    assert EventType.ApiManagementSettingsChanged not in [kind for kind, *_ in await any_house.events()]
