"""Where an application conceals its users, nothing that a stranger can ask tells who is one (CVE-2024-39912)."""

from __future__ import annotations

from typing import Any

import pytest

from narthex.base.values import from_base64url
from tests.support.application import Application, Begun, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import SoftwareCredential, make_key_pair

pytestmark = pytest.mark.anyio


@pytest.fixture
async def concealing(house: HouseInProcess, ceremonies: Ceremonies) -> Ceremonies:
    """An application whose one user is `ann`, also known as `ann@x`."""
    await ceremonies.register("ann", aliases=["ann@x"])
    await house.change_settings("demo", conceal_unknown_users=True)
    return ceremonies


def offered(begun: Begun) -> str:
    (descriptor,) = begun.data["allowCredentials"]
    credential_id: str = descriptor["id"]
    return credential_id


async def forged_answer(concealing: Ceremonies, question: dict[str, str], *, be: bool) -> dict[str, Any]:
    """What is said to somebody who has no key and answers for the credential that was offered."""
    begun = await concealing.begin_sign_in(**question)
    credential = SoftwareCredential(from_base64url(offered(begun)), make_key_pair(-7), "example.org", b"", True)
    body = concealing.sign_in_body(begun, credential=credential, be=be, bs=False)
    del body["response"]["response"]["userHandle"]
    response = await concealing.application.public("/signin/complete", body)
    problem = refused(response, 400, "signin_complete_error")
    return {name: problem[name] for name in ("title", "detail", "reason")}


@pytest.mark.parametrize("asked", [{"userId": "nobody"}, {"alias": "nobody@x"}])
async def test_a_forged_answer_is_refused_alike_for_a_user_and_for_nobody(
    concealing: Ceremonies, asked: dict[str, str]
) -> None:
    """One of the two backup flags fits, and then the signature is what fails; the other never fits."""
    user, nobody = [
        sorted([(await forged_answer(concealing, question, be=be)).items() for be in (False, True)], key=str)
        for question in ({"userId": "ann"}, asked)
    ]

    assert user == nobody
    assert {"signature_invalid", "backup_eligibility_changed"} == {dict(items)["reason"] for items in user}


async def test_a_question_always_gets_the_same_decoy_and_another_question_another(concealing: Ceremonies) -> None:
    async def ask(**question: Any) -> str:
        return offered(await concealing.begin_sign_in(**question))

    nobody = await ask(userId="nobody")

    assert nobody == await ask(userId="nobody")
    assert nobody != await ask(userId="somebody")
    assert nobody != await ask(alias="nobody")
    assert nobody != await ask(userId="nobody", rpid="login.example.org")


async def test_a_user_changes_with_the_rp_id_as_a_decoy_does(concealing: Ceremonies) -> None:
    """A user without a passkey for this relying party is a decoy there too."""
    elsewhere = await concealing.begin_sign_in(userId="ann", rpid="login.example.org")

    assert offered(elsewhere) != offered(await concealing.begin_sign_in(userId="ann"))


@pytest.mark.parametrize("length", [1, 5, 30, 64])
async def test_the_session_of_nobody_is_as_long_as_that_of_a_user(
    house: HouseInProcess, ceremonies: Ceremonies, length: int
) -> None:
    user = "u" * length
    await ceremonies.register(user, aliases=["known"])
    await house.change_settings("demo", conceal_unknown_users=True)
    questions = (
        {"userId": user},
        {"userId": "n" * length},
        {"alias": "known"},
        {"alias": "other"},
        {"alias": "x" * 99},
    )
    sizes = {len((await ceremonies.begin_sign_in(**question)).session) for question in questions}

    assert 1 == len(sizes)


@pytest.mark.parametrize("length", [1, 31, 32, 64])
async def test_no_rp_id_is_of_a_length_at_which_the_session_tells(
    house: HouseInProcess, application: Application, length: int
) -> None:
    """The padding ends somewhere: one byte more or less of what is secret must not push one session past it."""
    user = "u" * length
    await house.change_settings("demo", conceal_unknown_users=True)
    told = {}
    for size in range(4, 254, 7 if length in (31, 32) else 13):
        rp_id = ".".join(["a" * 41] * 6)[:size].rstrip(".") + ".x"
        page = Ceremonies(application, origin=f"https://{rp_id}", rp_id=rp_id)
        await page.register(user, aliases=["known"])
        questions = ({"userId": user}, {"userId": "n" * length}, {"alias": "known"}, {"alias": "other"})
        asked, nobody, known, other = [len((await page.begin_sign_in(**each)).session) for each in questions]
        told |= {size: (asked, nobody, known, other)} if asked != nobody or known != other else {}
    assert {} == told


@pytest.mark.parametrize("asked", [{"userId": "ann"}, {"userId": "nobody"}, {"alias": "ann@x"}, {"alias": "nobody@x"}])
async def test_ones_own_passkey_answers_for_nobody_else(
    concealing: Ceremonies, application: Application, asked: dict[str, str]
) -> None:
    mallory = Ceremonies(application)
    await mallory.register("mallory")
    (own,) = mallory.authenticator.credentials
    begun = await mallory.begin_sign_in(**asked)
    problem = refused(await mallory.complete_sign_in(begun, credential=own), 400, "signin_complete_error")

    assert "credential_not_allowed" == problem["reason"]


async def test_users_still_sign_in(concealing: Ceremonies) -> None:
    for question in ({"userId": "ann"}, {"alias": "ann@x"}, {}):
        assert "ann" == (await concealing.verify(await concealing.sign_in(**question)))["userId"]


async def test_nobody_asked_for_gets_no_decoy(concealing: Ceremonies) -> None:
    assert [] == accepted(await concealing.ask_sign_in())["data"]["allowCredentials"]
