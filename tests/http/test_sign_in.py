"""Signing in, and what the backend learns of it (Passwordless.dev API, sections 6.3 to 6.5, 7.2, 7.3)."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any
from uuid import UUID

import pytest

from narthex.ports.records import AuthenticationConfiguration, EventType
from narthex.usecases.tenant import STALENESS
from tests.support.application import (
    ABSENT,
    ORIGIN,
    RP_ID,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    problem_of,
    refused,
)
from tests.support.authenticator import SoftwareAuthenticator, b64u, unb64u

pytestmark = pytest.mark.anyio

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)


async def registered(ceremonies: Ceremonies, user_id: str = "ann", **leave: Any) -> Ceremonies:
    await ceremonies.register(user_id, **leave)
    return ceremonies


async def set_purpose(house: HouseInProcess, purpose: str, **settings: Any) -> None:
    """Keep a purpose's settings: they have no endpoint yet."""
    kept = AuthenticationConfiguration(purpose=purpose, **settings)
    await house.write(
        "insert into authentication_configuration (app_id, purpose, user_verification, time_to_live_s, hints, "
        "created_by) values ('demo', :purpose, :user_verification, :time_to_live_s, :hints, 'System')",
        purpose=kept.purpose,
        user_verification=kept.user_verification,
        time_to_live_s=kept.time_to_live_s,
        hints="[" + ",".join(f'"{hint}"' for hint in kept.hints) + "]",
    )
    house.clock.move(seconds=STALENESS.total_seconds())


# --- begin ----------------------------------------------------------------------------------------------------------


async def test_begin_answers_with_exactly_the_members_that_browsers_take(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_sign_in()
    assert {
        "challenge": begun.data["challenge"],
        "timeout": 60_000,
        "rpId": RP_ID,
        "allowCredentials": [],
        "userVerification": "preferred",
        "hints": [],
    } == begun.data
    assert 32 == len(unb64u(begun.data["challenge"]))
    assert begun.session.startswith("session_")


async def test_every_challenge_is_new(ceremonies: Ceremonies) -> None:
    drawn = {(await ceremonies.begin_sign_in()).data["challenge"] for _ in range(20)}
    assert 20 == len(drawn)


@pytest.mark.parametrize("asked", [{"userId": "ann"}, {"alias": "ann@x"}, {"userId": "ann", "alias": "nobody"}])
async def test_begin_names_the_credentials_of_the_user_it_asks_for(ceremonies: Ceremonies, asked: Any) -> None:
    await registered(ceremonies, aliases=["ann@x"])
    (credential,) = ceremonies.authenticator.credentials
    descriptor = {"type": "public-key", "id": b64u(credential.credential_id), "transports": ["internal", "hybrid"]}
    assert [descriptor] == (await ceremonies.begin_sign_in(**asked)).data["allowCredentials"]


async def test_begin_does_not_name_credentials_of_another_rp_id(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    elsewhere = Ceremonies(ceremonies.application, origin="https://example.net", rp_id="example.net")
    assert [] == (await elsewhere.begin_sign_in(userId="ann")).data["allowCredentials"]


@pytest.mark.parametrize("alias", ["ANN@X", " ann@x", "ann@x "])
async def test_an_alias_is_taken_as_it_is_spelt(ceremonies: Ceremonies, alias: str) -> None:
    await registered(ceremonies, aliases=["ann@x"])
    assert [] == (await ceremonies.begin_sign_in(alias=alias)).data["allowCredentials"]


@pytest.mark.parametrize("asked", [{"userId": "nobody"}, {"alias": "nobody"}])
async def test_an_unknown_user_is_answered_like_one_without_passkeys(ceremonies: Ceremonies, asked: Any) -> None:
    assert [] == (await ceremonies.begin_sign_in(**asked)).data["allowCredentials"]


@pytest.mark.parametrize("user", [0, 42, -7, 9_007_199_254_740_993, 2**63 - 1])
async def test_a_user_id_may_be_a_number_everywhere(ceremonies: Ceremonies, user: int) -> None:
    accepted(await ceremonies.ask_leave(userId=user))
    await ceremonies.register(user)  # type: ignore[arg-type]  # what the official samples send
    verified = await ceremonies.verify(await ceremonies.sign_in(userId=user))
    assert str(user) == verified["userId"]
    assert str(user) == (await ceremonies.verify(await ceremonies.sign_in(userId=str(user))))["userId"]


# --- purposes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", [ABSENT, None, "", "sign-in", "of no such name"])
async def test_a_purpose_that_is_none_counts_as_sign_in(ceremonies: Ceremonies, purpose: Any) -> None:
    await registered(ceremonies)
    assert "sign-in" == (await ceremonies.verify(await ceremonies.sign_in(purpose=purpose)))["purpose"]


async def test_step_up_is_a_sign_in_for_that_purpose(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    assert "step-up" == (await ceremonies.verify(await ceremonies.sign_in(purpose="step-up")))["purpose"]


async def test_a_purpose_decides_user_verification_hints_and_lifetime(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await registered(ceremonies)
    await set_purpose(house, "pay", user_verification="required", time_to_live_s=33, hints=("security-key",))
    begun = await ceremonies.begin_sign_in(purpose="pay")
    assert ("required", ["security-key"]) == (begun.data["userVerification"], begun.data["hints"])
    token = accepted(await ceremonies.complete_sign_in(begun))["token"]
    house.clock.move(seconds=33)
    assert "pay" == (await ceremonies.verify(token))["purpose"]


async def test_a_purpose_that_requires_user_verification_refuses_without(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    """CVE-2026-8830: what the options ask for is checked again on the answer."""
    await registered(ceremonies)
    await set_purpose(house, "pay", user_verification="required")
    begun = await ceremonies.begin_sign_in(purpose="pay")
    problem = refused(await ceremonies.complete_sign_in(begun, knobs={"uv": False}), 400, "signin_complete_error")
    assert "user_not_verified" == problem["reason"]


async def test_an_unknown_purpose_takes_the_built_in_settings_not_the_edited_sign_in(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await set_purpose(house, "sign-in", user_verification="required")
    assert "required" == (await ceremonies.begin_sign_in()).data["userVerification"]
    assert "preferred" == (await ceremonies.begin_sign_in(purpose="unheard of")).data["userVerification"]


# --- complete -------------------------------------------------------------------------------------------------------


async def test_the_owner_of_the_passkey_signs_in(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    assert "ann" == (await ceremonies.verify(await ceremonies.sign_in()))["userId"]


@pytest.mark.parametrize("handle", ["sent", "absent"])
async def test_the_user_handle_may_be_sent_or_left_out(ceremonies: Ceremonies, handle: str) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    accepted(await ceremonies.complete_sign_in(begun, knobs={"without_user_handle": handle == "absent"}))


@pytest.mark.parametrize("handle", [b"", b"bob"])
async def test_a_user_handle_that_is_empty_or_anothers_is_refused(ceremonies: Ceremonies, handle: bytes) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    problem = refused(
        await ceremonies.complete_sign_in(begun, knobs={"user_handle": handle}), 400, "signin_complete_error"
    )
    assert "user_handle_mismatch" == problem["reason"]


async def test_anothers_passkey_does_not_answer_for_the_user_that_was_asked_for(application: Application) -> None:
    """CVE-2025-26788: the asked user is bound to the ceremony."""
    ann, bob = Ceremonies(application), Ceremonies(application)
    await ann.register("ann")
    await bob.register("bob")
    begun = await ann.begin_sign_in(userId="ann")
    (passkey_of_bob,) = bob.authenticator.credentials
    response = await bob.complete_sign_in(begun, credential=passkey_of_bob)
    assert "credential_not_allowed" == refused(response, 400, "signin_complete_error")["reason"]


async def test_a_user_without_passkeys_is_never_signed_in(application: Application) -> None:
    """CVE-2026-46419: whoever answers is signed in as the passkey's owner, never as the user that was asked for."""
    bob = Ceremonies(application)
    await bob.register("bob")
    assert "bob" == (await bob.verify(await bob.sign_in(userId="a user without passkeys")))["userId"]


async def test_an_unknown_passkey_is_named_in_the_answer(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    elsewhere = SoftwareAuthenticator()
    begun = await ceremonies.begin_sign_in()
    registration = {"user": {"id": b64u(b"ann")}, "challenge": begun.data["challenge"], "rp": {"id": RP_ID}}
    elsewhere.register(registration, origin=ORIGIN)
    stranger = Ceremonies(ceremonies.application, authenticator=elsewhere)
    problem = refused(await stranger.complete_sign_in(begun), 400, "unknown_credential")
    assert b64u(elsewhere.credentials[0].credential_id) == problem["credentialId"]
    assert "We don't recognize the passkey you sent us." == problem["title"]


FORGERIES: dict[str, dict[str, Any]] = {
    "challenge_mismatch": {"challenge": bytes(32)},
    "ceremony_type_mismatch": {"type": "webauthn.create"},
    "rp_id_mismatch": {"rp_id": "example.net"},
    "user_not_present": {"up": False},
    "backup_state_invalid": {"be": False, "bs": True},
    "backup_eligibility_changed": {"be": False, "bs": False},
    "signature_invalid": {"tampered": True},
    "cross_origin_not_allowed": {"cross_origin": True},
    "client_data_malformed": {"bom": True},
    "authenticator_data_malformed": {"trailing": b"\x00"},
    "credential_id_mismatch": {"id": "AAAA"},
}


@pytest.mark.parametrize("reason", FORGERIES)
async def test_a_forged_assertion_is_refused_with_its_reason_and_changes_nothing(
    house: HouseInProcess, ceremonies: Ceremonies, reason: str
) -> None:
    """CVE-2026-31835: nothing of an assertion is kept before its signature is verified."""
    await registered(ceremonies)
    before = await house.rows("select * from credential")
    begun = await ceremonies.begin_sign_in()
    problem = refused(await ceremonies.complete_sign_in(begun, knobs=FORGERIES[reason]), 400, "signin_complete_error")
    assert reason == problem["reason"]
    assert before == await house.rows("select * from credential")


async def test_a_page_of_another_origin_is_refused(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    problem = refused(
        await ceremonies.complete_sign_in(begun, origin="https://example.net"), 400, "signin_complete_error"
    )
    assert "origin_not_allowed" == problem["reason"]


async def test_the_rp_id_of_complete_must_be_that_of_begin(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    problem = refused(await ceremonies.complete_sign_in(begun, rpid="login.example.org"), 400, "signin_complete_error")
    assert "rp_id_mismatch" == problem["reason"]


async def test_complete_needs_no_rp_id(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    accepted(await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), rpid=ABSENT))


async def test_a_counter_must_rise(application: Application) -> None:
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(counts=True))
    await ceremonies.register()
    await ceremonies.sign_in()
    begun = await ceremonies.begin_sign_in()
    response = await ceremonies.complete_sign_in(begun, knobs={"sign_count": 1})
    assert "sign_count_decreased" == refused(response, 400, "signin_complete_error")["reason"]
    await ceremonies.sign_in()


async def test_a_session_counts_once(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    body = ceremonies.sign_in_body(begun)
    accepted(await ceremonies.application.public("/signin/complete", body))
    refused(await ceremonies.application.public("/signin/complete", body), 400, "token_already_used")


async def test_a_refused_answer_spends_its_session(ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    begun = await ceremonies.begin_sign_in()
    refused(await ceremonies.complete_sign_in(begun, knobs={"tampered": True}), 400, "signin_complete_error")
    refused(await ceremonies.complete_sign_in(begun), 400, "token_already_used")


@pytest.mark.parametrize(
    ("asked", "lives_s"),
    [
        ({}, 24 * 3600),
        ({"userId": "", "alias": ""}, 24 * 3600),
        ({"userId": None}, 24 * 3600),
        ({"userId": "ann"}, 600),
        ({"alias": "ann@x"}, 600),
        ({"userId": "nobody"}, 600),
    ],
)
async def test_a_session_lives_a_day_in_autofill_and_ten_minutes_else(
    house: HouseInProcess, ceremonies: Ceremonies, asked: Any, lives_s: int
) -> None:
    await registered(ceremonies, aliases=["ann@x"])
    at_the_end, after_it = await ceremonies.begin_sign_in(**asked), await ceremonies.begin_sign_in(**asked)
    house.clock.move(seconds=lives_s)
    accepted(await ceremonies.complete_sign_in(at_the_end))
    house.clock.move(microseconds=1)
    refused(await ceremonies.complete_sign_in(after_it), 403, "expired_token")


async def test_a_sign_in_updates_the_credential(house: HouseInProcess, application: Application) -> None:
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(counts=True))
    await ceremonies.register()
    house.clock.move(hours=1)
    begun = await ceremonies.begin_sign_in()
    body = ceremonies.sign_in_body(begun)
    accepted(await application.public("/signin/complete", body, **{"User-Agent": CHROME}))
    ((sign_count, device, used_after),) = await house.rows(
        "select sign_count, device, last_used_at - created_at from credential"
    )
    assert (1, "Chrome, Windows 10", 3_600_000_000) == (sign_count, device, used_after)


async def test_the_use_of_a_preset_is_noted_in_a_row_of_its_own(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await registered(ceremonies)
    await ceremonies.sign_in()
    assert [("sign-in", 120, "System")] == await house.rows(
        "select purpose, time_to_live_s, created_by from authentication_configuration where last_used_at is not null"
    )


# --- verify ---------------------------------------------------------------------------------------------------------


async def test_verify_answers_with_every_member(house: HouseInProcess, application: Application) -> None:
    ceremonies = Ceremonies(application)
    await ceremonies.register(nickname="Laptop")
    begun = await ceremonies.begin_sign_in()
    body = ceremonies.sign_in_body(begun)
    token = accepted(await application.public("/signin/complete", body, **{"User-Agent": CHROME}))["token"]
    verified = await ceremonies.verify(token)
    assert {
        "success": True,
        "userId": "ann",
        "timestamp": "2026-03-04T05:06:07.891011Z",
        "rpId": RP_ID,
        "rpid": RP_ID,
        "origin": ORIGIN,
        "device": "Chrome, Windows 10",
        "country": "",
        "nickname": "Laptop",
        "credentialId": b64encode(ceremonies.authenticator.credentials[0].credential_id).decode(),
        "purpose": "sign-in",
        "expiresAt": "2026-03-04T05:08:07.891011Z",
        "tokenId": verified["tokenId"],
        "type": "passkey_signin",
        "assurance": verified["assurance"],
    } == verified
    assert str(UUID(verified["tokenId"])) == verified["tokenId"]


async def test_verify_of_a_registration_has_no_purpose(ceremonies: Ceremonies) -> None:
    verified = await ceremonies.verify(await ceremonies.register(nickname="Laptop"))
    shown = {name: verified[name] for name in ("type", "purpose", "nickname", "userId", "rpId", "device")}
    assert {
        "type": "passkey_register",
        "purpose": None,
        "nickname": "Laptop",
        "userId": "ann",
        "rpId": RP_ID,
        "device": "Other, Other ",
    } == shown


async def test_verify_tells_the_origin_and_nothing_that_was_written_behind_it(application: Application) -> None:
    page = "https://Example.org:443/sign-in?next=1"
    ceremonies = Ceremonies(application)
    await ceremonies.register()
    begun = await ceremonies.begin_sign_in(origin=page)
    token = accepted(await ceremonies.complete_sign_in(begun, origin=page))["token"]
    assert "https://example.org" == (await ceremonies.verify(token))["origin"]


async def test_members_that_sdks_send_along_are_ignored(ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    body = {"token": token, "rpid": "x", "origin": 5, "serverName": {"a": []}}
    accepted(await ceremonies.application.secret("/signin/verify", body))


async def test_a_sign_in_token_counts_once(ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    await ceremonies.verify(token)
    refused(await ceremonies.ask_verify(token), 400, "token_already_used")


async def test_an_application_may_let_sign_in_tokens_count_again(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await house.change_settings("demo", single_use_verify_tokens=False)
    token = await ceremonies.register()
    assert await ceremonies.verify(token) == await ceremonies.verify(token)


async def test_a_token_counts_until_the_exact_instant_of_its_end(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    kept, late = await ceremonies.register(), await ceremonies.register()
    house.clock.move(seconds=120)
    await ceremonies.verify(kept)
    house.clock.move(microseconds=1)
    refused(await ceremonies.ask_verify(late), 403, "expired_token")


async def test_an_expired_token_says_since_when(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    house.clock.move(seconds=130)
    assert "The token expired 10 seconds ago." == problem_of(await ceremonies.ask_verify(token))["title"]


# --- generate-token -------------------------------------------------------------------------------------------------


async def test_a_token_made_by_hand_verifies_without_a_null_where_sdks_break_on_one(ceremonies: Ceremonies) -> None:
    token = accepted(await ceremonies.application.secret("/signin/generate-token", {"userId": "nobody yet"}))["token"]
    verified = await ceremonies.verify(token)
    assert {
        "success": True,
        "userId": "nobody yet",
        "timestamp": "2026-03-04T05:06:07.891011Z",
        "rpId": None,
        "rpid": "",
        "origin": "",
        "device": "",
        "country": "",
        "nickname": None,
        "credentialId": "",
        "purpose": "sign-in",
        "expiresAt": "2026-03-04T05:08:07.891011Z",
        "tokenId": verified["tokenId"],
        "type": "generated_signin",
        "assurance": verified["assurance"],
    } == verified


async def test_a_token_made_by_hand_says_what_it_was_told(ceremonies: Ceremonies) -> None:
    body = {"userId": 7, "purpose": "reset", "rpid": RP_ID, "origin": ORIGIN, "timeToLive": "30"}
    token = accepted(await ceremonies.application.secret("/signin/generate-token", body))["token"]
    verified = await ceremonies.verify(token)
    shown = [verified[name] for name in ("userId", "purpose", "rpId", "rpid", "origin", "expiresAt")]
    assert ["7", "reset", RP_ID, RP_ID, ORIGIN, "2026-03-04T05:06:37.891011Z"] == shown


@pytest.mark.parametrize("lives_s", [1, 604_800, None])
async def test_a_token_made_by_hand_lives_as_long_as_asked(
    house: HouseInProcess, ceremonies: Ceremonies, lives_s: int | None
) -> None:
    body = {"userId": "ann", "timeToLive": lives_s}
    kept, late = [
        accepted(await ceremonies.application.secret("/signin/generate-token", body))["token"] for _ in range(2)
    ]
    house.clock.move(seconds=lives_s or 120)
    await ceremonies.verify(kept)
    house.clock.move(microseconds=1)
    refused(await ceremonies.ask_verify(late), 403, "expired_token")


@pytest.mark.parametrize("lives_s", [0, -1, 604_801, 2**40])
async def test_a_lifetime_out_of_bounds_is_refused_under_the_name_the_reference_gives_it(
    application: Application, lives_s: int
) -> None:
    response = await application.secret("/signin/generate-token", {"userId": "ann", "timeToLive": lives_s})
    assert ["timeToLiveSeconds"] == list(refused(response, 400, "validation_failed")["errors"])


async def test_tokens_are_not_made_by_hand_where_the_application_forbids_it(
    house: HouseInProcess, application: Application
) -> None:
    await house.change_settings("demo", manual_tokens=False)
    refused(await application.secret("/signin/generate-token", {"userId": "ann"}), 403, "manual_tokens_off")
    refused(await application.secret("/signin/generate-token", {"userId": ""}), 400, "validation_failed")


# --- the event log --------------------------------------------------------------------------------------------------


async def test_ceremonies_are_written_to_the_event_log(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.verify(await ceremonies.register())
    begun = await ceremonies.begin_sign_in()
    await ceremonies.complete_sign_in(begun, knobs={"tampered": True})
    await ceremonies.complete_sign_in(begun)
    await ceremonies.sign_in()
    accepted(await ceremonies.application.secret("/signin/generate-token", {"userId": "bob"}))
    public, secret = ceremonies.application.public_key[-4:], ceremonies.application.secret_key[-4:]
    assert [
        (EventType.ApiManagementAppCreated, 3, "System", "demo", ""),
        (EventType.ApiAuthUserRegistered, 3, "ann", "demo", secret),
        (EventType.ApiAuthPasskeyRegistrationBegan, 3, "ann", "demo", public),
        (EventType.ApiAuthPasskeyRegistrationCompleted, 3, "ann", "demo", public),
        (EventType.ApiUserSignInVerified, 3, "ann", "demo", secret),
        (EventType.ApiUserSignInRefused, 2, "ann", "demo", public),
        (EventType.ApiUserSignInCompleted, 3, "ann", "demo", public),
        (EventType.ApiUserSigninTokenCreated, 3, "bob", "demo", secret),
    ] == sorted_as_made(await house.events())


def sorted_as_made(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The clock stands still in a test, so ids do not tell the order: the ceremony does."""
    order = [1202, 1000, 1001, 1002, 1104, 1901, 1103, 1106]
    return sorted(events, key=lambda event: order.index(event[0]))


async def test_nothing_is_written_where_the_application_keeps_no_log(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application())
    await ceremonies.verify(await ceremonies.register())
    await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), knobs={"tampered": True})
    await ceremonies.sign_in()
    accepted(await ceremonies.application.secret("/signin/generate-token", {"userId": "bob"}))
    wrong = {"ApiSecret": f"demo:secret:{'0' * 32}"}
    assert 401 == (await house.client.post("/signin/verify", json={}, headers=wrong)).status_code
    assert [] == await house.events()


async def test_an_event_holds_neither_tokens_nor_keys(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    await ceremonies.verify(token)
    kept = str(await house.rows("select * from event"))
    assert not re.search(r"(verify|register|session)_[\w-]{10}|:(public|secret):", kept)
    assert token[10:30] not in kept
