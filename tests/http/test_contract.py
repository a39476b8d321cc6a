"""Sentences of the compatible API's description that no other test holds, one test each.

What belongs to one endpoint stands with its other tests. Here is what runs across several: the order of checks, answers
without a body, and spellings that official clients send.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.application import ABSENT, Application, Ceremonies, HouseInProcess, refused

pytestmark = pytest.mark.anyio

MODEL = "01020304-0506-0708-090a-0b0c0d0e0f10"


async def test_hints_may_be_given_by_number(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(hints=[2, "1", 0]))
    assert ["hybrid", "client-device", "security-key"] == begun.data["hints"]


@pytest.mark.parametrize("hints", [[3], [-1], [0.5], [True]])
async def test_a_number_that_is_no_hints_is_refused(ceremonies: Ceremonies, hints: list[Any]) -> None:
    problem = refused(await ceremonies.ask_leave(hints=hints), 400, "validation_failed")
    assert ["hints"] == list(problem["errors"])


# --- the order of checks


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/signin/generate-token", {"userId": "ann"}, {}),
        (
            "/magic-links/send",
            {"userId": "ann", "emailAddress": "ann@example.org", "urlTemplate": "https://example.org/$TOKEN"},
            {},
        ),
        ("/authenticators/add", {"aaGuids": [MODEL]}, {"aaGuids": []}),
        ("/authenticators/remove", {"aaGuids": [MODEL]}, {"aaGuids": ["x"]}),
    ],
)
async def test_a_body_is_checked_before_the_feature_it_is_for(
    application: Application, path: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    off = {"enableManuallyGeneratedAuthenticationTokens": False, "enableMagicLinks": False}
    assert 204 == (await application.secret("/apps/features", off)).status_code
    assert (400, 403) == (
        (await application.secret(path, bad)).status_code,
        (await application.secret(path, good)).status_code,
    )


@pytest.mark.parametrize(
    ("bad", "good"),
    [("/events", "/events?pageNumber=1"), ("/authenticators/list", "/authenticators/list?isAllowed=True")],
)
async def test_a_query_is_checked_before_the_feature_it_is_for(house: HouseInProcess, bad: str, good: str) -> None:
    application = await house.create_application(eventLoggingIsEnabled=False)
    statuses = [(await house.get(path, ApiSecret=application.secret_key)).status_code for path in (bad, good)]
    assert [400, 403] == statuses


async def test_a_register_token_is_looked_at_before_the_origin(application: Application) -> None:
    refused(await application.public("/register/begin", {}), 400, "missing_token")


async def test_the_origin_of_a_sign_in_is_looked_at_before_its_session(ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    body = ceremonies.sign_in_body(await ceremonies.begin_sign_in(userId="ann"))
    spoilt = body | {"origin": "", "session": "session_x"}
    refused(await ceremonies.application.public("/signin/complete", spoilt), 400, "origin_required")


async def test_a_full_application_is_told_so_before_anything_else_of_a_new_user(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application(maxUsers=1))
    await ceremonies.register("ann", aliases=["ann"])
    wrong = {"attestation": "direct", "aliases": ["ann"]}
    refused(await ceremonies.ask_leave(userId="bob", **wrong), 400, "max_users_reached")


async def test_the_attestation_is_looked_at_before_aliases(ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann", aliases=["ann"])
    wrong = {"attestation": "other", "aliases": ["ann"]}
    refused(await ceremonies.ask_leave(userId="bob", **wrong), 400, "invalid_attestation")


# --- answers


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/alias", {"userId": "ann", "aliases": []}, 204),
        ("/users/delete", {"userId": "nobody"}, 200),
        ("/auth-configs/add", {"purpose": "pay", "performedBy": "ann", "timeToLive": "00:02:00"}, 201),
        ("/auth-configs", {"purpose": "sign-in", "performedBy": "ann", "timeToLive": "00:02:00"}, 204),
        ("/apps/features", {}, 204),
    ],
)
async def test_an_answer_without_a_body_has_no_type_and_leads_nowhere(
    application: Application, path: str, body: dict[str, Any], status: int
) -> None:
    response = await application.secret(path, body)
    assert (status, b"") == (response.status_code, response.content)
    assert not {"content-type", "location"} & response.headers.keys()


async def test_the_application_in_the_path_counts_and_not_that_of_a_key_beside_it(house: HouseInProcess) -> None:
    other = await house.create_application("other", maxUsers=2)
    await house.create_application("demo", maxUsers=1)
    keys = {"ManagementKey": "a management key that is long enough", "ApiSecret": other.secret_key}
    assert 1 == (await house.get("/admin/apps/demo/features", **keys)).json()["maxUsers"]


async def test_a_whole_second_keeps_its_digits_and_has_no_zone(house: HouseInProcess) -> None:
    house.clock.at = house.clock.at.replace(microsecond=0)
    ceremonies = Ceremonies(await house.create_application())
    await ceremonies.register()
    listed = await house.get("/credentials/list?userId=ann", ApiSecret=ceremonies.application.secret_key)
    assert "2026-03-04T05:06:07.000000" == listed.json()["values"][0]["createdAt"]


# --- what official clients send


@pytest.mark.parametrize(
    "path",
    [
        "/events?pageNumber=1&numberOfResults=",
        "/reporting/credentials/periodic?from=&to=",
        "/auth-configs/list?purpose=",
    ],
)
async def test_an_empty_value_of_a_query_counts_as_none(
    house: HouseInProcess, application: Application, path: str
) -> None:
    assert 200 == (await house.get(path, ApiSecret=application.secret_key)).status_code


@pytest.mark.parametrize(("nickname", "kept"), [("", None), (None, None), (ABSENT, None), (7, "7")])
async def test_a_passkey_need_not_be_called_anything(ceremonies: Ceremonies, nickname: Any, kept: str | None) -> None:
    """The Android client sends an empty nickname, and that is kept as none."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    named = {} if nickname is ABSENT else {"nickname": nickname}
    token = (await ceremonies.complete_registration(begun, **named)).json()["token"]
    assert kept == (await ceremonies.verify(token))["nickname"]
