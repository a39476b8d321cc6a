"""Many requests for one thing at once, on both databases: one wins, the others get a clean refusal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from datetime import timedelta

import httpx
import pytest

from narthex.usecases.token_key import RENEWED_AFTER
from tests.support.application import MANAGEMENT_KEY, Application, Ceremonies, HouseInProcess, accepted, problem_of
from tests.support.authenticator import SoftwareAuthenticator

pytestmark = pytest.mark.anyio

MANY = 50


async def outcomes(requests: Iterable[Awaitable[httpx.Response]]) -> Counter[str]:
    """How often each answer was given: `200`, or the code of the refusal and its reason."""
    return Counter(map(outcome, await asyncio.gather(*requests)))


def outcome(response: httpx.Response) -> str:
    if response.status_code == 200:
        return "200"
    problem = problem_of(response)
    return f"{problem['errorCode']} {problem.get('reason', '')}".strip()


@pytest.fixture
async def ceremonies(any_house: HouseInProcess) -> Ceremonies:
    return Ceremonies(await any_house.create_application(eventLoggingIsEnabled=True))


async def test_a_sign_in_session_is_won_once(ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    body = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
    answers = await outcomes(ceremonies.application.public("/signin/complete", body) for _ in range(MANY))
    assert {"200": 1, "token_already_used": MANY - 1} == answers


async def test_a_sign_in_token_is_won_once(ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    answers = await outcomes(ceremonies.ask_verify(token) for _ in range(MANY))
    assert {"200": 1, "token_already_used": MANY - 1} == answers


async def test_a_registration_session_is_won_once(any_house: HouseInProcess, ceremonies: Ceremonies) -> None:
    body = ceremonies.registration_body(await ceremonies.begin_registration(await ceremonies.give_leave()))
    answers = await outcomes(ceremonies.application.public("/register/complete", body) for _ in range(MANY))
    assert {"200": 1, "token_already_used": MANY - 1} == answers
    assert [(1,)] == await any_house.rows("select count(*) from credential")


async def test_a_credential_id_is_won_once(any_house: HouseInProcess, ceremonies: Ceremonies) -> None:
    begun = [await ceremonies.begin_registration(await ceremonies.give_leave(f"user {n}")) for n in range(MANY)]
    bodies = [ceremonies.registration_body(each, credential_id=bytes(32)) for each in begun]
    answers = await outcomes(ceremonies.application.public("/register/complete", body) for body in bodies)
    assert {"200": 1, "fido2_invalid_registration credential_exists": MANY - 1} == answers
    assert [(1,)] == await any_house.rows("select count(*) from credential")


async def test_a_leave_is_won_once_by_many_sessions(any_house: HouseInProcess, ceremonies: Ceremonies) -> None:
    leave = await ceremonies.give_leave()
    bodies = [ceremonies.registration_body(await ceremonies.begin_registration(leave)) for _ in range(MANY)]
    answers = await outcomes(ceremonies.application.public("/register/complete", body) for body in bodies)
    assert {"200": 1, "token_already_used": MANY - 1} == answers
    assert [(1,)] == await any_house.rows("select count(*) from credential")


async def test_an_alias_is_won_by_one_user(any_house: HouseInProcess, ceremonies: Ceremonies) -> None:
    leaves = [await ceremonies.give_leave(f"user {n}", aliases=["a", f"own {n}"]) for n in range(MANY)]
    bodies = [ceremonies.registration_body(await ceremonies.begin_registration(leave)) for leave in leaves]
    answers = await outcomes(ceremonies.application.public("/register/complete", body) for body in bodies)
    assert {"200": 1, "alias_conflict": MANY - 1} == answers
    assert [(1, 1)] == await any_house.rows("select count(distinct user_id), count(*) / 2 from alias")
    assert [(1,)] == await any_house.rows("select count(*) from credential")


async def test_aliases_in_opposite_orders_do_not_lock_one_another_out(ceremonies: Ceremonies) -> None:
    names = [f"alias {n}" for n in range(10)]
    leaves = [await ceremonies.give_leave(f"user {n}", aliases=names if n % 2 else names[::-1]) for n in range(20)]
    bodies = [ceremonies.registration_body(await ceremonies.begin_registration(leave)) for leave in leaves]
    answers = await outcomes(ceremonies.application.public("/register/complete", body) for body in bodies)
    assert {"200": 1, "alias_conflict": 19} == answers


async def test_of_two_assertions_with_one_counter_one_counts(any_house: HouseInProcess) -> None:
    """L3 #sctn-sign-counter: a clone that signs at the same moment must not slip through."""
    ceremonies = Ceremonies(await any_house.create_application(), authenticator=SoftwareAuthenticator(counts=True))
    await ceremonies.register()
    (credential,) = ceremonies.authenticator.credentials
    begun = [await ceremonies.begin_sign_in() for _ in range(MANY)]
    bodies = [ceremonies.sign_in_body(each, credential=credential, sign_count=7) for each in begun]
    answers = await outcomes(ceremonies.application.public("/signin/complete", body) for body in bodies)
    assert 1 == answers.pop("200")
    late = {"signin_complete_error credential_changed", "signin_complete_error sign_count_decreased"}
    assert late >= answers.keys()
    assert [(7,)] == await any_house.rows("select sign_count from credential")


async def test_passkeys_without_a_counter_may_sign_in_side_by_side(ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    begun = [await ceremonies.begin_sign_in() for _ in range(MANY)]
    bodies = [ceremonies.sign_in_body(each) for each in begun]
    answers = await outcomes(ceremonies.application.public("/signin/complete", body) for body in bodies)
    assert {"200": MANY} == answers


@pytest.mark.parametrize(("quiet", "kept"), [(timedelta(0), 1), (RENEWED_AFTER, 2), (timedelta(days=400), 1)])
async def test_the_first_visitors_share_one_token_key(
    any_house: HouseInProcess, ceremonies: Ceremonies, quiet: timedelta, kept: int
) -> None:
    any_house.clock.at += quiet
    responses = await asyncio.gather(*(ceremonies.ask_sign_in() for _ in range(MANY)))
    assert MANY == len({accepted(response)["session"] for response in responses})
    assert [(kept,)] == await any_house.rows("select count(*) from token_key")


async def test_an_application_without_a_token_key_makes_one(any_house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await any_house.write("delete from token_key")
    any_house.env.directory.forget("demo")
    assert {"200": MANY} == await outcomes(ceremonies.ask_sign_in() for _ in range(MANY))
    assert [(1,)] == await any_house.rows("select count(*) from token_key")


async def test_two_processes_renew_at_once_and_read_each_others_tokens(database_url: str) -> None:
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        application = await one.create_application()
        here = Ceremonies(application)
        there = Ceremonies(_at(other, application), authenticator=here.authenticator)
        await here.register()
        for house in (one, other):
            house.clock.move(days=8)
        begun = await asyncio.gather(*(each.begin_sign_in() for each in (here, there) for _ in range(10)))
        for n, each in enumerate(begun):
            accepted(await (here if n % 2 else there).complete_sign_in(each))


def _at(house: HouseInProcess, application: Application) -> Application:
    return Application(house.client, application.app_id, application.public_key, application.secret_key)


async def test_two_processes_spend_a_session_once(database_url: str) -> None:
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        application = await one.create_application()
        ceremonies = Ceremonies(application)
        token = await ceremonies.register()
        body = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
        both = [application, _at(other, application)]
        answers = await outcomes(both[n % 2].public("/signin/complete", body) for n in range(MANY))
        assert {"200": 1, "token_already_used": MANY - 1} == answers
        answers = await outcomes(both[n % 2].secret("/signin/verify", {"token": token}) for n in range(MANY))
        assert {"200": 1, "token_already_used": MANY - 1} == answers


async def test_an_application_id_is_won_once(any_house: HouseInProcess) -> None:
    headers = {"ManagementKey": MANAGEMENT_KEY}
    answers = await outcomes(
        any_house.client.post("/admin/apps/demo/create", json={}, headers=headers) for _ in range(20)
    )
    assert {"200": 1, "application_exists": 19} == answers
    assert [(4,)] == await any_house.rows("select count(*) from api_key")


async def test_a_credential_signs_in_while_another_is_registered(ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    (credential,) = ceremonies.authenticator.credentials
    leaves = [await ceremonies.give_leave(f"user {n}") for n in range(10)]
    new = [ceremonies.registration_body(await ceremonies.begin_registration(leave)) for leave in leaves]
    begun = [await ceremonies.begin_sign_in() for _ in range(10)]
    signed = [ceremonies.sign_in_body(each, credential=credential) for each in begun]
    answers = await outcomes(
        [ceremonies.application.public("/register/complete", body) for body in new]
        + [ceremonies.application.public("/signin/complete", body) for body in signed]
    )
    assert {"200": 20} == answers
