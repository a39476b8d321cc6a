"""A passkey that is made without asking: only where the backend said so (L3 #sctn-createCredential, conditional)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.application import ABSENT, Ceremonies, HouseInProcess, accepted, refused

pytestmark = pytest.mark.anyio

UNSEEN = {"up": False, "uv": False}
"""Nobody was asked: neither present nor verified, as authenticators say after a conditional create."""


async def begun_answer(ceremonies: Ceremonies, **leave: Any) -> dict[str, Any]:
    return accepted(await ceremonies.ask_registration(await ceremonies.give_leave(**leave)))


# --- what the browser is told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "mediation"),
    [(True, "conditional"), ("true", "conditional"), (False, "optional"), (None, "optional"), (ABSENT, "optional")],
)
async def test_begin_says_whether_the_browser_may_do_without_asking(
    ceremonies: Ceremonies, asked: Any, mediation: str
) -> None:
    answer = await begun_answer(ceremonies, conditionalCreate=asked)
    assert {"data", "session", "mediation"} == answer.keys()
    assert mediation == answer["mediation"]


async def test_the_options_are_those_of_any_registration(ceremonies: Ceremonies) -> None:
    """`mediation` stands beside the options of `create`, and not among them."""
    asked, unasked = [(await begun_answer(ceremonies, conditionalCreate=each))["data"] for each in (True, False)]
    assert {**asked, "challenge": ""} == {**unasked, "challenge": ""}
    assert "preferred" == asked["authenticatorSelection"]["userVerification"]


@pytest.mark.parametrize("value", ["perhaps", 2, [], {}])
async def test_what_is_neither_yes_nor_no_is_refused(ceremonies: Ceremonies, value: Any) -> None:
    refused(await ceremonies.ask_leave(conditionalCreate=value), 400, "malformed_body")


# --- who may be absent ----------------------------------------------------------------------------------------------


async def test_nobody_need_be_present_where_the_backend_said_so(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(conditionalCreate=True))
    token = accepted(await ceremonies.complete_registration(begun, knobs=UNSEEN))["token"]
    verified = await ceremonies.verify(token)
    assert ("ann", "passkey_register") == (verified["userId"], verified["type"])
    assert (False, False, 0) == tuple(verified["assurance"][name] for name in ("userPresent", "userVerified", "aal"))
    assert [(0,)] == await house.rows("select user_verified from credential")
    await ceremonies.sign_in(userId="ann")


async def test_somebody_may_be_present_all_the_same(ceremonies: Ceremonies) -> None:
    """A browser that does not know the mode asks its user."""
    await ceremonies.register(conditionalCreate=True)


@pytest.mark.parametrize("asked", [False, None, ABSENT])
@pytest.mark.parametrize("knobs", [UNSEEN, {"up": False, "uv": True}])
async def test_elsewhere_somebody_must_be_present(
    house: HouseInProcess, ceremonies: Ceremonies, asked: Any, knobs: dict[str, bool]
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(conditionalCreate=asked))
    problem = refused(await ceremonies.complete_registration(begun, knobs=knobs), 400, "fido2_invalid_registration")
    assert "user_not_present" == problem["reason"]
    assert [(0,)] == await house.rows("select count(*) from credential")


async def test_no_page_lets_itself_do_without_asking(ceremonies: Ceremonies) -> None:
    """The leave is the backend's: what a page says at `begin` or `complete` counts for nothing."""
    said = {"conditionalCreate": True, "conditional": True, "mediation": "conditional"}
    answer = accepted(await ceremonies.ask_registration(await ceremonies.give_leave(), **said))
    assert "optional" == answer["mediation"]
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(), **said)
    refusal = await ceremonies.complete_registration(begun, knobs=UNSEEN, **said)
    assert "user_not_present" == refused(refusal, 400, "fido2_invalid_registration")["reason"]


async def test_a_session_does_not_lend_its_leave_to_another(ceremonies: Ceremonies) -> None:
    unasked = await ceremonies.begin_registration(await ceremonies.give_leave(conditionalCreate=True))
    asked = await ceremonies.begin_registration(await ceremonies.give_leave("bob"))
    body = ceremonies.registration_body(unasked, **UNSEEN) | {"session": asked.session}
    problem = refused(
        await ceremonies.application.public("/register/complete", body), 400, "fido2_invalid_registration"
    )
    assert "challenge_mismatch" == problem["reason"]


async def test_all_else_is_asked_as_ever(ceremonies: Ceremonies) -> None:
    """That nobody was asked excuses nothing but their absence."""
    for knobs, reason in (
        ({"challenge": bytes(32)}, "challenge_mismatch"),
        ({"rp_id": "evil.example"}, "rp_id_mismatch"),
        ({"type": "webauthn.get"}, "ceremony_type_mismatch"),
        ({"be": False, "bs": True}, "backup_state_invalid"),
        ({"cross_origin": True}, "cross_origin_not_allowed"),
    ):
        begun = await ceremonies.begin_registration(await ceremonies.give_leave(conditionalCreate=True))
        answer = await ceremonies.complete_registration(begun, knobs=UNSEEN | knobs)
        assert reason == refused(answer, 400, "fido2_invalid_registration")["reason"]


# --- user verification ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("required", ["required", "Required", "REQUIRED"])
async def test_it_cannot_be_had_with_user_verification(ceremonies: Ceremonies, required: str) -> None:
    refusal = await ceremonies.ask_leave(conditionalCreate=True, userVerification=required)
    problem = refused(refusal, 400, "conditional_create_unverified")
    assert "`preferred`" in problem["detail"]
    accepted(await ceremonies.ask_leave(conditionalCreate=False, userVerification=required))


@pytest.mark.parametrize("wanted", ["preferred", "discouraged", "", None, ABSENT])
async def test_it_may_be_had_with_less(ceremonies: Ceremonies, wanted: Any) -> None:
    begun = await ceremonies.begin_registration(
        await ceremonies.give_leave(conditionalCreate=True, userVerification=wanted)
    )
    accepted(await ceremonies.complete_registration(begun, knobs=UNSEEN))


# --- sign-in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["sign-in", "step-up"])
@pytest.mark.parametrize("uv", [True, False])
async def test_nobody_signs_in_without_being_present(ceremonies: Ceremonies, purpose: str, uv: bool) -> None:
    """Not even with a passkey that was made without them."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(conditionalCreate=True))
    accepted(await ceremonies.complete_registration(begun, knobs=UNSEEN))
    for asked in ({}, {"userId": "ann"}):
        signing = await ceremonies.begin_sign_in(purpose=purpose, conditionalCreate=True, **asked)
        answer = await ceremonies.complete_sign_in(
            signing, knobs={"up": False, "uv": uv}, conditionalCreate=True, mediation="conditional"
        )
        assert "user_not_present" == refused(answer, 400, "signin_complete_error")["reason"]
