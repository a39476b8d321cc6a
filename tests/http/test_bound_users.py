"""Whose passkey may answer: anybody's for a plain sign-in, only the asked user's for anything more."""

from __future__ import annotations

import pytest

from tests.support.application import Application, Ceremonies, refused

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("asked", [{"userId": "bob"}, {"alias": "bob@x"}])
async def test_a_step_up_for_a_user_without_passkeys_is_served_by_nobody(
    ceremonies: Ceremonies, asked: dict[str, str]
) -> None:
    """A backend that looks at the purpose alone must not take Ann's proof for Bob's."""
    await ceremonies.register("ann")
    (hers,) = ceremonies.authenticator.credentials
    begun = await ceremonies.begin_sign_in(**asked, purpose="step-up")
    assert [] == begun.data["allowCredentials"]
    problem = refused(await ceremonies.complete_sign_in(begun, credential=hers), 400, "signin_complete_error")

    assert "credential_not_allowed" == problem["reason"]


async def test_a_plain_sign_in_for_an_unknown_user_tells_the_true_owner(ceremonies: Ceremonies) -> None:
    """The compatible API's way: the name that was asked for proves nothing, and the owner's is answered."""
    await ceremonies.register("ann")
    (hers,) = ceremonies.authenticator.credentials
    token = await ceremonies.sign_in(userId="bob", credential=hers)

    assert "ann" == (await ceremonies.verify(token))["userId"]


async def test_a_spent_session_tells_nothing_more(application: Application, ceremonies: Ceremonies) -> None:
    """Once spent, a session is no oracle for what passes verification and what does not."""
    await ceremonies.register("ann")
    begun = await ceremonies.begin_sign_in(userId="ann")
    refused(await ceremonies.complete_sign_in(begun, knobs={"tampered": True}), 400, "signin_complete_error")

    for knobs in ({"tampered": True}, {}):
        refused(await ceremonies.complete_sign_in(begun, knobs=knobs), 400, "token_already_used")
    body = ceremonies.sign_in_body(begun)
    body["response"] |= {"id": "AAAA", "rawId": "AAAA"}
    refused(await application.public("/signin/complete", body), 400, "token_already_used")
