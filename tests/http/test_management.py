"""The life of an application as its operator sees it: features, freezing, deletion, settings and their history."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from narthex.adapters.sql.schema import metadata
from narthex.ports.records import ApplicationSettings
from narthex.usecases.application import SettingOutOfRange, checked_settings
from narthex.usecases.tenant import STALENESS
from tests.support.application import (
    MANAGEMENT_KEY,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    refused,
)
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

HEADERS = {"ManagementKey": MANAGEMENT_KEY}
NEVER_SEEN = "nobodyshere"


async def act(house: HouseInProcess, path: str, *, method: str = "POST", body: Json | None = None) -> httpx.Response:
    return await house.client.request(method, path, json=body, headers=HEADERS)


async def is_open(application: Application) -> bool:
    """Whether the keys of an application open anything."""
    public = await application.public("/signin/begin", {"origin": "https://example.org", "rpid": "example.org"})
    secret = await application.secret("/signin/verify", {"token": ""})
    assert (public.status_code, secret.status_code) in ((200, 400), (401, 401))
    return public.status_code == 200


# --- ids and features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("app_id", "available"), [("demo", False), ("other", True), ("abc", True), ("a" * 62, True)])
async def test_an_id_is_available_until_somebody_has_it(
    house: HouseInProcess, application: Application, app_id: str, available: bool
) -> None:
    assert {"available": available} == accepted(await house.manage(f"/admin/apps/{app_id}/available"))


@pytest.mark.parametrize("app_id", ["a", "1", "1ab", "Abc", "a-b", "a" * 63, "%C3%A4bc"])
async def test_what_is_no_id_is_told_so(house: HouseInProcess, app_id: str) -> None:
    problem = refused(await house.manage(f"/admin/apps/{app_id}/available"), 400, "validation_failed")
    assert ["appId"] == list(problem["errors"])


async def test_features_are_replaced_as_a_whole(house: HouseInProcess, application: Application) -> None:
    path = "/admin/apps/demo/features"
    given = {
        "eventLoggingIsEnabled": True,
        "eventLoggingRetentionPeriod": 30,
        "magicLinkEmailMonthlyQuota": 1_000,
        "maxUsers": 5,
        "allowAttestation": True,
    }
    assert 204 == (await house.manage(path, given)).status_code
    expected = {
        **given,
        "developerLoggingEndsAt": None,
        "isGenerateSignInTokenEndpointEnabled": True,
        "isMagicLinksEnabled": True,
    }
    assert expected == accepted(await house.manage(path))
    assert 204 == (await house.manage(path, {})).status_code
    off = {"eventLoggingIsEnabled": False, "eventLoggingRetentionPeriod": 0, "maxUsers": None}
    assert off.items() <= accepted(await house.manage(path)).items()


@pytest.mark.parametrize(
    ("member", "value"),
    [("eventLoggingRetentionPeriod", 91), ("eventLoggingRetentionPeriod", -1), ("maxUsers", -1)],
)
async def test_features_out_of_bounds_are_refused(
    house: HouseInProcess, application: Application, member: str, value: int
) -> None:
    problem = refused(await house.manage("/admin/apps/demo/features", {member: value}), 400, "validation_failed")
    assert [member] == list(problem["errors"])


async def test_an_application_switches_its_own_features(house: HouseInProcess, application: Application) -> None:
    body = {
        "performedBy": "ann",
        "eventLoggingRetentionPeriod": "7",
        "enableManuallyGeneratedAuthenticationTokens": False,
        "enableMagicLinks": False,
    }
    assert 204 == (await application.secret("/apps/features", body)).status_code
    features = accepted(await house.manage("/admin/apps/demo/features"))
    assert (7, False, False) == (
        features["eventLoggingRetentionPeriod"],
        features["isGenerateSignInTokenEndpointEnabled"],
        features["isMagicLinksEnabled"],
    )
    refused(await application.secret("/signin/generate-token", {"userId": "ann"}), 403, "manual_tokens_off")
    recorded = {number: (severity, by, hint) for number, severity, by, _, hint in await house.events()}
    assert {7014: (1, "ann", ""), 7016: (1, "ann", "")} == {n: recorded[n] for n in (7014, 7016)}


async def test_features_that_are_left_out_stay(house: HouseInProcess, application: Application) -> None:
    for body in ({"enableMagicLinks": False}, {"performedBy": " ", "enableMagicLinks": None}, {}):
        assert 204 == (await application.secret("/apps/features", body)).status_code
    features = accepted(await house.manage("/admin/apps/demo/features"))
    assert (True, False) == (features["isGenerateSignInTokenEndpointEnabled"], features["isMagicLinksEnabled"])


async def test_the_old_name_of_the_retention_period_changes_nothing(
    house: HouseInProcess, application: Application
) -> None:
    """Two official SDKs still send it, and the compatible API answers 204."""
    assert 204 == (await application.secret("/apps/features", {"auditLoggingRetentionPeriod": 7})).status_code
    assert 365 == accepted(await house.manage("/admin/apps/demo/features"))["eventLoggingRetentionPeriod"]


# --- freezing -------------------------------------------------------------------------------------------------------


async def test_a_frozen_application_is_closed_on_every_node(database_url: str) -> None:
    async with HouseInProcess(database_url) as here, HouseInProcess(database_url) as there:
        application = await here.create_application()
        elsewhere = Application(there.client, "demo", application.public_key, application.secret_key)
        assert await is_open(elsewhere)
        assert 204 == (await act(here, "/admin/apps/demo/freeze")).status_code
        assert not await is_open(application)
        there.clock.move(seconds=STALENESS.total_seconds())
        assert not await is_open(elsewhere)
        assert 204 == (await act(here, "/admin/apps/demo/unfreeze")).status_code
        assert await is_open(application)


async def test_all_keys_of_a_frozen_application_are_listed_as_locked(
    house: HouseInProcess, application: Application
) -> None:
    await act(house, "/admin/apps/demo/freeze")
    listed: Any = (await house.manage("/admin/apps/demo/api-keys")).json()
    assert {True} == {each["isLocked"] for each in listed}


async def test_a_key_that_was_locked_stays_locked_after_a_freeze(
    house: HouseInProcess, application: Application
) -> None:
    """The reference unlocks every key, those too that somebody locked because they had leaked."""
    lock = f"/admin/apps/demo/api-keys/{application.other_secret_key[-4:]}"
    await act(house, f"{lock}/lock")
    await act(house, "/admin/apps/demo/freeze")
    refused(await act(house, f"{lock}/unlock"), 409, "application_closed")
    await act(house, "/admin/apps/demo/unfreeze")
    listed: Any = (await house.manage("/admin/apps/demo/api-keys")).json()
    assert [application.other_secret_key[-4:]] == [each["id"] for each in listed if each["isLocked"]]


async def test_freezing_and_unfreezing_are_alerts_in_the_event_log(
    house: HouseInProcess, application: Application
) -> None:
    for what in ("freeze", "unfreeze"):
        house.clock.move(milliseconds=1)
        await act(house, f"/admin/apps/demo/{what}")
    assert [(1203, 1), (1204, 1)] == [line[:2] for line in (await house.events())[-2:]]


# --- deletion -------------------------------------------------------------------------------------------------------


async def age(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """Let the application be one that loses something when it is deleted."""
    await ceremonies.register("ann")
    house.clock.move(days=3)


async def rows_of(house: HouseInProcess, app_id: str) -> dict[str, int]:
    """How many rows each table has of an application."""
    tables = [table.name for table in metadata.tables.values() if "app_id" in table.columns]
    return {
        name: (await house.rows(f"select count(*) from {name} where app_id = :app_id", app_id=app_id))[0][0]
        for name in tables
    }


async def test_an_application_that_loses_nothing_is_deleted_at_once(any_house: HouseInProcess) -> None:
    application, other = [await any_house.create_application(each) for each in ("demo", "other")]
    for each in (application, other):
        await Ceremonies(each).register("ann", aliases=["ann@example.org"])
    before = await rows_of(any_house, "other")
    assert True is (await any_house.manage("/admin/apps/demo/can-delete-immediately")).json()
    deleted = accepted(await act(any_house, "/admin/apps/demo/mark-delete", body={"deletedBy": "ann"}))
    assert ("The application is deleted.", True, "2026-03-04T05:06:07.891011Z", []) == tuple(deleted.values())
    assert ["message", "isDeleted", "deleteAt", "adminEmails"] == list(deleted)
    assert {0} == set((await rows_of(any_house, "demo")).values())
    assert before == await rows_of(any_house, "other")
    assert not await is_open(application)
    assert await is_open(other)


async def test_an_application_with_users_waits_a_month(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await age(house, ceremonies)
    assert False is (await house.manage("/admin/apps/demo/can-delete-immediately")).json()
    marked = accepted(await act(house, "/admin/apps/demo/mark-delete", body={"deletedBy": "ann"}))
    assert (False, "2026-04-07T05:06:07.891011Z") == (marked["isDeleted"], marked["deleteAt"])
    assert not await is_open(ceremonies.application)
    refused(await act(house, "/admin/apps/demo/mark-delete", body={}), 400, "app_pending_deletion")
    refused(await act(house, "/admin/apps/demo", method="DELETE"), 400, "app_not_pending_deletion")
    assert [] == (await act(house, "/apps/list-pending-deletion", method="GET")).json()
    house.clock.move(days=34)
    assert ["demo"] == (await act(house, "/apps/list-pending-deletion", method="GET")).json()
    assert True is accepted(await act(house, "/admin/apps/demo", method="DELETE"))["isDeleted"]
    assert {0} == set((await rows_of(house, "demo")).values())


async def test_a_deletion_is_cancelled(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await age(house, ceremonies)
    await act(house, "/admin/apps/demo/mark-delete", body={})
    assert ["message"] == list(accepted(await act(house, "/admin/apps/demo/cancel-delete")))
    assert await is_open(ceremonies.application)
    house.clock.move(days=60)
    refused(await act(house, "/admin/apps/demo", method="DELETE"), 400, "app_not_pending_deletion")


async def test_an_application_made_anew_inherits_nothing(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """The reference leaves configurations, mails and events behind for whoever takes the id next."""
    application = ceremonies.application
    body = {"purpose": "pay", "timeToLive": "00:01:00", "performedBy": "ann"}
    assert 201 == (await application.secret("/auth-configs/add", body)).status_code
    token = await ceremonies.register("ann")
    await act(house, "/admin/apps/demo/mark-delete", body={})
    anew = await house.create_application("demo")
    assert [] == accepted(await house.client.get("/users/list", headers={"ApiSecret": anew.secret_key}))["values"]
    purposes = accepted(await house.client.get("/auth-configs/list", headers={"ApiSecret": anew.secret_key}))
    assert ["sign-in", "step-up"] == sorted(each["purpose"] for each in purposes["configurations"])
    refused(await anew.secret("/signin/verify", {"token": token}), 400, "invalid_token")
    assert not await is_open(application)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "can-delete-immediately", 400, "app_not_found"),
        ("POST", "mark-delete", 400, "app_not_found"),
        ("DELETE", "", 400, "app_not_found"),
        ("POST", "freeze", 404, "application_not_found"),
        ("POST", "unfreeze", 404, "application_not_found"),
        ("POST", "cancel-delete", 404, "application_not_found"),
        ("GET", "features", 404, "application_not_found"),
        ("POST", "features", 404, "application_not_found"),
        ("GET", "api-keys", 404, "application_not_found"),
        ("POST", "secret-keys", 404, "application_not_found"),
        ("GET", "settings", 404, "application_not_found"),
        ("GET", "settings/history", 404, "application_not_found"),
    ],
)
async def test_an_application_that_is_not_there(
    house: HouseInProcess, method: str, path: str, status: int, code: str
) -> None:
    body = {"scopes": [0]} if method == "POST" else None
    answer = await act(house, f"/admin/apps/{NEVER_SEEN}/{path}".rstrip("/"), method=method, body=body)
    refused(answer, status, code)


# --- settings and their history -------------------------------------------------------------------------------------


async def test_settings_are_decided_one_by_one(house: HouseInProcess, application: Application) -> None:
    path = "/admin/apps/demo/settings"
    before = accepted(await house.manage(path))
    changed = accepted(await house.manage(path, {"by": "ann", "singleUseVerifyTokens": False, "maxUsers": 3}))
    assert before["version"] + 1 == changed["version"]
    assert {**before["settings"], "singleUseVerifyTokens": False, "maxUsers": 3} == changed["settings"]
    unlimited = accepted(await house.manage(path, {"maxUsers": None}))
    assert (None, False) == (unlimited["settings"]["maxUsers"], unlimited["settings"]["singleUseVerifyTokens"])


async def test_a_sign_in_token_verifies_twice_where_the_application_wants_it(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await house.manage("/admin/apps/demo/settings", {"singleUseVerifyTokens": False})
    token = await ceremonies.register("ann")
    assert await ceremonies.verify(token) == await ceremonies.verify(token)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"eventRetentionDays": -1}, "validation_failed"),
        ({"signCountStalled": "shrug"}, "malformed_body"),
        ({"eventLogging": None}, "malformed_body"),
        ({"adminEmails": ["no address"]}, "mail_address_invalid"),
        ({"adminEmails": ["a@b.example\r\nBcc: c@d.example"]}, "mail_address_invalid"),
        ({"mailSenderName": "Shop\r\nBcc: c@d.example"}, "mail_field_invalid"),
        ({"mailTemplates": [{"kind": "magic-link", "subject": "x", "text": "no link"}]}, "mail_template_invalid"),
        ({"mailTemplates": [{"kind": "party", "subject": "x", "text": "x"}]}, "mail_template_invalid"),
        ({"magicLinkOrigins": ["javascript:alert(1)"]}, "origin_malformed"),
    ],
)
async def test_settings_that_are_none_are_refused_and_nothing_changes(
    house: HouseInProcess, application: Application, body: Json, code: str
) -> None:
    before = accepted(await house.manage("/admin/apps/demo/settings"))
    refused(await house.manage("/admin/apps/demo/settings", {"maxUsers": 7, **body}), 400, code)
    assert before == accepted(await house.manage("/admin/apps/demo/settings"))


@pytest.mark.parametrize(
    "numbers", [{"event_retention_days": -1}, {"event_retention_days": 3_651}, {"max_users": -1}, {"max_users": 2**31}]
)
def test_numbers_that_nobody_can_mean_are_no_settings_whoever_brings_them(numbers: dict[str, int]) -> None:
    """One such number in one application made the purge of every event log fail."""
    with pytest.raises(SettingOutOfRange):
        checked_settings(ApplicationSettings(**numbers))


async def test_rules_for_authenticators_are_not_decided_past_the_guard(
    house: HouseInProcess, application: Application
) -> None:
    """What can lock users out has an endpoint that counts them; here it is an unknown member."""
    before = accepted(await house.manage("/admin/apps/demo/settings"))
    body = {"authenticatorPolicy": {"fips": "enforce"}, "trustAnchors": [], "origins": ["https://evil.example"]}
    assert before == accepted(await house.manage("/admin/apps/demo/settings", body))


async def test_the_history_says_who_decided_what(house: HouseInProcess, application: Application) -> None:
    path = "/admin/apps/demo/settings"
    for number in range(3):
        house.clock.move(seconds=1)
        await house.manage(path, {"by": f"ann {number}", "maxUsers": number})
    whole = accepted(await house.manage(f"{path}/history"))
    assert (None, [3, 2, 1, 0]) == (whole["nextCursor"], [each["version"] for each in whole["revisions"]])
    assert {
        "version": 3,
        "changedAt": "2026-03-04T05:06:10.891011Z",
        "changedBy": "ann 2",
        "changes": {"maxUsers": {"from": 1, "to": 2}},
    } == whole["revisions"][0]
    first = accepted(await house.manage(f"{path}/history?limit=3"))
    rest = accepted(await house.manage(f"{path}/history?limit=3&cursor={first['nextCursor']}"))
    assert whole["revisions"] == first["revisions"] + rest["revisions"]
    assert rest["nextCursor"] is None


async def test_a_cursor_of_another_application_is_refused(house: HouseInProcess, application: Application) -> None:
    await house.create_application("other")
    await house.manage("/admin/apps/demo/settings", {"maxUsers": 1})
    cursor = accepted(await house.manage("/admin/apps/demo/settings/history?limit=1"))["nextCursor"]
    for forged in (cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), "AAAA", "x" * 3_000, "!"):
        refused(await house.manage(f"/admin/apps/demo/settings/history?cursor={forged}"), 400, "invalid_cursor")
    refused(await house.manage(f"/admin/apps/other/settings/history?cursor={cursor}"), 400, "invalid_cursor")
