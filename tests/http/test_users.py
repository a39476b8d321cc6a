"""Users in the compatible API (its sections 7.8 to 7.10), in portions, with a search, and one of them whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from narthex.ports.changes import AliasTaken, CredentialNotFound
from narthex.ports.records import EventType, KeyKind
from narthex.usecases.alias import AliasConfusable, AliasesInvalid
from narthex.usecases.application import within_application
from narthex.usecases.call import Caller, OperatorCall
from narthex.usecases.credential import NicknameTooLong, remove_credential, rename_credential
from narthex.usecases.cursor import seal_cursor
from narthex.usecases.user import UserIdInvalid, UserNotFound, get_user, list_users, remove_user, set_aliases
from tests.http.test_credentials import get, kept
from tests.support.application import ABSENT, START, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

BARE_START = "2026-03-04T05:06:07.891011"


async def ask_list(application: Application, **query: Any) -> httpx.Response:
    pairs = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
    return await get(application, f"/users/list?{pairs}")


async def portion(application: Application, **query: Any) -> tuple[list[str], str | None]:
    """The ids of a portion, and where the next one begins."""
    answer = accepted(await ask_list(application, **query))
    assert ["values", "nextCursor"] == list(answer)
    return [each["userId"] for each in answer["values"]], answer["nextCursor"]


async def everybody(application: Application, **query: Any) -> list[str]:
    found, cursor = await portion(application, **query)
    while cursor is not None:
        more, cursor = await portion(application, cursor=cursor, **query)
        assert more, "a cursor leads somewhere"
        found += more
    return found


async def keep_users(house: HouseInProcess, *user_ids: str, app_id: str = "demo", start: int = 0) -> None:
    """Give each of them a passkey."""
    credentials = [kept(start + n, user_id=each, created_at=START) for n, each in enumerate(user_ids)]
    assert len(user_ids) == await house.root.tenant(app_id).keep_credentials(credentials)


async def give_aliases(application: Application, user_id: str, *aliases: str, **members: Any) -> None:
    response = await application.secret("/alias", {"userId": user_id, "aliases": aliases, **members})
    assert response.status_code == 204, response.text


async def delete(application: Application, user_id: Any) -> httpx.Response:
    return await application.secret("/users/delete", {"userId": user_id})


def gone(response: httpx.Response) -> None:
    """200 and nothing more, as the SDKs expect it."""
    assert (200, b"") == (response.status_code, response.content), response.text
    assert "content-type" not in response.headers


# --- listing --------------------------------------------------------------------------------------------------------


async def test_users_are_listed_as_the_sdks_read_them(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await ceremonies.register("ann")
    await give_aliases(application, "ann", "ann@example.org")
    house.clock.move(seconds=60)
    await Ceremonies(application).register("ann")
    await give_aliases(application, "bob", "bob@example.org", hashing=False)
    await keep_users(house, "cy")
    expected = [
        {
            "userId": "ann",
            "aliasCount": 1,
            "aliases": [None],
            "credentialsCount": 2,
            "lastUsedAt": "2026-03-04T05:07:07.891011",
        },
        {
            "userId": "bob",
            "aliasCount": 1,
            "aliases": ["bob@example.org"],
            "credentialsCount": 0,
            "lastUsedAt": None,
        },
        {"userId": "cy", "aliasCount": 0, "aliases": [], "credentialsCount": 1, "lastUsedAt": BARE_START},
    ]
    assert {"values": expected, "nextCursor": None} == accepted(await ask_list(application))


async def test_an_application_without_users_has_an_empty_list(application: Application) -> None:
    assert {"values": [], "nextCursor": None} == accepted(await get(application, "/users/list"))
    assert {"count": 0} == accepted(await get(application, "/users/count"))


async def test_those_with_a_passkey_are_counted(house: HouseInProcess, application: Application) -> None:
    await keep_users(house, "ann", "ann", "bob")
    await give_aliases(application, "cy", "cy")
    assert {"count": 2} == accepted(await get(application, "/users/count"))


async def test_the_list_goes_on_behind_a_cursor(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    users = ["Zoe", "ann", "ann ", "anna", "zoe", "Ánn", "ä", "\ufffd", "😀", "\U0010ffff"]
    await keep_users(any_house, *reversed(users), "ann", "😀")
    await give_aliases(application, "b", "one", "two")
    users = sorted([*users, "b"])
    for limit in (1, 2, 3, 10, 11, 12, 1_000):
        assert users == await everybody(application, limit=limit)
    for at in range(1, len(users)):
        first, cursor = await portion(application, limit=at)
        assert (at, True) == (len(first), cursor is not None)
    assert (users, None) == await portion(application, limit=len(users))


async def test_a_thousand_users_are_listed_at_once(house: HouseInProcess, application: Application) -> None:
    await keep_users(house, *(f"{n:05}" for n in range(1_001)))
    found, cursor = await portion(application)
    assert 1_000 == len(found)
    assert (["01000"], None) == await portion(application, cursor=cursor)


async def test_whoever_stays_is_listed_once_while_others_come_and_go(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    staying = [f"user {n:05} é" for n in range(10_000)]
    going = [f"user {n:05} going" for n in range(0, 10_000, 100)]
    await keep_users(any_house, *staying, *going)
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        more, cursor = await portion(application, limit=999, cursor=cursor)
        found += more
        start, at = 20_000 + len(found), len(found)
        coming = [f"user {n:05} {which} coming" for n in (0, at - 500, at + 500) for which in range(3)]
        await keep_users(any_house, *(f"{each} {at}" for each in coming), start=start)
        gone(await delete(application, going[at % 90]))
        gone(await delete(application, going[-1 - at % 9]))
    assert staying == [each for each in found if each.endswith("é")]
    assert len(set(found)) == len(found)
    assert sorted(found) == found


@pytest.mark.parametrize("name", ["limit", "LIMIT", "Limit"])
async def test_the_query_is_read_in_any_case(house: HouseInProcess, application: Application, name: str) -> None:
    await keep_users(house, "ann", "bob")
    found, cursor = await portion(application, **{name: 1})
    assert ["ann"] == found
    assert ["bob"] == (await portion(application, **{name: 1, "CURSOR": cursor}))[0]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": 0}, "validation_failed"),
        ({"limit": 1_001}, "validation_failed"),
        ({"limit": -1}, "validation_failed"),
        ({"limit": "many"}, "malformed_query"),
        ({"limit": "1.5"}, "malformed_query"),
        ({"search": "a" * 251}, "validation_failed"),
        ({"search": "\0"}, "malformed_query"),
    ],
)
async def test_a_query_that_breaks_a_rule_is_refused(application: Application, query: Json, code: str) -> None:
    refused(await ask_list(application, **query), 400, code)


@pytest.mark.parametrize("query", [{"limit": ""}, {"search": ""}, {"cursor": ""}])
async def test_an_empty_value_counts_as_none(house: HouseInProcess, application: Application, query: Json) -> None:
    await keep_users(house, "ann", "bob")
    assert (["ann", "bob"], None) == await portion(application, **query)


# --- searching ------------------------------------------------------------------------------------------------------


async def test_a_search_finds_ids_that_begin_so_and_the_bearer_of_the_alias(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    await keep_users(any_house, "ann", "anna", "Ann", "bob", "an%", "an_n", "cy")
    await give_aliases(application, "cy", "ann", "ann@example.org")
    await give_aliases(application, "ann-marie", "anna")
    assert ["cy", "ann", "ann-marie", "anna"] == await everybody(application, search="ann")
    assert ["anna"] == [each for each in await everybody(application, search="anna") if each == "anna"]
    assert ["ann-marie", "anna"] == await everybody(application, search="anna")
    assert ["cy"] == await everybody(application, search="ann@example.org")
    assert ["an%"] == await everybody(application, search="an%")
    assert ["an_n"] == await everybody(application, search="an_")
    assert [] == await everybody(application, search="ann@example.or")
    assert [] == await everybody(application, search="ANN@example.org")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_a_search_goes_on_behind_a_cursor(house: HouseInProcess, application: Application, limit: int) -> None:
    await keep_users(house, "a1", "a2", "a3", "z")
    await give_aliases(application, "z", "a")
    assert ["z", "a1", "a2", "a3"] == await everybody(application, search="a", limit=limit)


async def test_the_bearer_whose_id_begins_so_is_listed_once(house: HouseInProcess, application: Application) -> None:
    await keep_users(house, "a", "ab", "b")
    await give_aliases(application, "ab", "a")
    assert ["a", "ab"] == await everybody(application, search="a", limit=1)


@pytest.mark.parametrize("search", ["é", "😀", "\U0010ffff", "\ud7ff", "a\U0010ffff"])
async def test_a_search_knows_every_character(any_house: HouseInProcess, search: str) -> None:
    application = await any_house.create_application()
    users = sorted([search, f"{search}a", f"{search}\U0010ffff"])
    await keep_users(any_house, *users, "a", "z", "\ue000")
    assert users == await everybody(application, search=search)


# --- cursors --------------------------------------------------------------------------------------------------------


async def test_a_cursor_that_is_not_ours_is_refused(house: HouseInProcess, application: Application) -> None:
    await keep_users(house, "ann", "bob", "cy")
    await house.create_application("other")
    _, cursor = await portion(application, limit=1)
    assert cursor is not None
    foreign = [
        cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB"),
        "A" + cursor[1:] if cursor[0] != "A" else "B" + cursor[1:],
        cursor[:-4],
        cursor + "AAAA",
        "a",
        "ann",
        "é",
        "!" * 40,
        "A" * 3_000,
        seal_cursor(house.keyring, "other", "users ", "ann"),
        seal_cursor(house.keyring, "demo", "events ", "ann"),
        seal_cursor(house.keyring, "demo", "users a", "ann"),
        seal_cursor(house.keyring, "demo", "users ", 5),
        seal_cursor(house.keyring, "demo", "users ", ["ann"]),
    ]
    for each in foreign:
        problem = refused(await ask_list(application, cursor=each), 400, "invalid_cursor")
        assert "nextCursor" in problem["detail"]
    assert (["bob", "cy"], None) == await portion(application, cursor=cursor)


async def test_a_cursor_serves_its_own_application_and_its_own_search(
    house: HouseInProcess, application: Application
) -> None:
    other = await house.create_application("other")
    for app_id in ("demo", "other"):
        await keep_users(house, "ann", "anna", "bob", app_id=app_id)
    _, cursor = await portion(application, limit=1, search="ann")
    refused(await ask_list(other, cursor=cursor, search="ann"), 400, "invalid_cursor")
    refused(await ask_list(application, cursor=cursor), 400, "invalid_cursor")
    refused(await ask_list(application, cursor=cursor, search="an"), 400, "invalid_cursor")
    refused(await get(application, f"/events?cursor={cursor}"), 400, "invalid_cursor")
    assert ["anna"] == (await portion(application, cursor=cursor, search="ann"))[0]


async def test_a_cursor_tells_nobody_where_it_stands(house: HouseInProcess, application: Application) -> None:
    await keep_users(house, "a secret name", "bob")
    first, second = [(await portion(application, limit=1))[1] for _ in range(2)]
    assert first != second
    assert "secret" not in str(first)


# --- deleting -------------------------------------------------------------------------------------------------------


async def test_a_deleted_user_has_nothing_left(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await ceremonies.register("ann", aliases=["ann@example.org"])
    await Ceremonies(application).register("ann")
    await keep_users(house, "bob")
    begun = await ceremonies.begin_sign_in(userId="ann")
    house.clock.move(seconds=1)
    gone(await delete(application, "ann"))
    line = (EventType.ApiUserDeleted, 3, "System", "ann", application.secret_key[-4:])
    assert [line] == (await house.events())[-1:]
    assert ["bob"] == await everybody(application)
    assert {"values": []} == accepted(await get(application, "/credentials/list?userId=ann"))
    assert {"values": []} == accepted(await get(application, "/alias/list?userId=ann"))
    refused(await ceremonies.complete_sign_in(begun), 400, "unknown_credential")
    await give_aliases(application, "bob", "ann@example.org")


async def test_nobody_of_an_id_is_no_error(application: Application) -> None:
    gone(await delete(application, "nobody"))
    gone(await delete(application, "a" * 65))
    gone(await delete(application, "nobody"))


async def test_a_user_id_may_be_a_number(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register(42)  # type: ignore[arg-type]  # as the documentation's own samples do
    assert ["42"] == await everybody(application)
    gone(await delete(application, 42))
    assert [] == await everybody(application)


async def test_user_ids_are_compared_exactly(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    await keep_users(any_house, "Ann", "ann", "ann ")
    gone(await delete(application, "ann"))
    assert ["Ann", "ann "] == await everybody(application)


@pytest.mark.parametrize("user_id", [ABSENT, None, "", " "])
async def test_who_goes_must_be_said(house: HouseInProcess, application: Application, user_id: Any) -> None:
    await keep_users(house, "ann", " ")
    problem = refused(await delete(application, user_id), 400, "validation_failed")
    assert {"userId": ["The UserId field is required."]} == problem["errors"]
    assert [" ", "ann"] == await everybody(application)


async def test_a_user_who_is_deleted_while_signing_in_is_gone(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    ceremonies = Ceremonies(application)
    await ceremonies.register("ann", aliases=["a"])
    bodies = [ceremonies.sign_in_body(await ceremonies.begin_sign_in(userId="ann")) for _ in range(10)]
    ways = [application.public("/signin/complete", body) for body in bodies]
    *answers, deleted = await asyncio.gather(*ways, delete(application, "ann"))
    gone(deleted)
    for answer in answers:
        code = "" if answer.status_code == 200 else answer.json()["errorCode"]
        assert code in ("", "unknown_credential", "signin_complete_error"), answer.text
    assert [(0, 0)] == await any_house.rows("select (select count(*) from credential), (select count(*) from alias)")


# --- one user -------------------------------------------------------------------------------------------------------


async def ask_user(application: Application, user_id: str = "ann") -> httpx.Response:
    return await get(application, f"/users/get?userId={quote(user_id)}")


async def test_one_user_is_told_whole(house: HouseInProcess, application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann", nickname="Laptop")
    house.clock.move(seconds=1)
    await give_aliases(application, "ann", "ann@example.org", hashing=False)
    house.clock.move(seconds=1)
    await ceremonies.register("bob")
    answer = accepted(await ask_user(application))
    assert ["userId", "lastUsedAt", "credentials", "aliases", "events"] == list(answer)
    assert ("ann", BARE_START) == (answer["userId"], answer["lastUsedAt"])
    assert accepted(await get(application, "/credentials/list?userId=ann"))["values"] == answer["credentials"]
    assert accepted(await get(application, "/alias/list?userId=ann"))["values"] == answer["aliases"]
    assert "ApiUserSetAliases" == answer["events"][0]["eventType"]
    registered = {"ApiAuthUserRegistered", "ApiAuthPasskeyRegistrationBegan", "ApiAuthPasskeyRegistrationCompleted"}
    assert registered == {each["eventType"] for each in answer["events"][1:]}
    assert {"ann"} == {each["performedBy"] for each in answer["events"]}


async def test_the_last_twenty_events_by_or_about_the_user_are_told(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await ceremonies.register("ann")
    for n in range(12):
        house.clock.move(seconds=1)
        await give_aliases(application, "ann", f"{n}")
        house.clock.move(seconds=1)
        passkey = accepted(await ask_user(application))["credentials"][0]["descriptor"]["id"]
        await application.secret("/credentials/rename", {"credentialId": passkey, "nickname": f"{n}"})
    events = accepted(await ask_user(application))["events"]
    assert ["ApiUserCredentialRenamed", "ApiUserSetAliases"] * 10 == [each["eventType"] for each in events]
    assert 20 == len({each["id"] for each in events})


async def test_a_user_with_aliases_alone_is_one(application: Application) -> None:
    await give_aliases(application, "ann", "a")
    answer = accepted(await ask_user(application))
    assert (None, [], 1) == (answer["lastUsedAt"], answer["credentials"], len(answer["aliases"]))


async def test_without_a_log_there_are_no_events(house: HouseInProcess) -> None:
    application = await house.create_application()
    await keep_users(house, "ann")
    assert accepted(await ask_user(application))["events"] is None


@pytest.mark.parametrize("user_id", ["bob", "Ann", "ann ", "an", "a" * 65])
async def test_an_unknown_user_is_not_found(house: HouseInProcess, application: Application, user_id: str) -> None:
    await keep_users(house, "ann")
    refused(await ask_user(application, user_id), 404, "user_not_found")


@pytest.mark.parametrize("query", ["", "?userId=", "?userId=%20"])
async def test_which_user_must_be_said(application: Application, query: str) -> None:
    problem = refused(await get(application, f"/users/get{query}"), 400, "validation_failed")
    assert ["userId"] == list(problem["errors"])


# --- by the operator ------------------------------------------------------------------------------------------------


def operator_call(house: HouseInProcess) -> OperatorCall:
    """What the command line is given."""
    env = house.env
    return OperatorCall(
        root=env.root,
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=house.clock.now(),
        caller=Caller(),
        catalog=env.catalog,
        facilities=env.facilities,
    )


async def test_an_operator_looks_after_users(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """Past the edge, every rule holds still."""
    await ceremonies.register("ann")
    call = await within_application(operator_call(house), "demo")
    await set_aliases(call, "ann", ["a", "a"], hashing=False)
    with pytest.raises(AliasTaken):
        await set_aliases(call, "bob", ["a"], hashing=True)
    for aliases in ([""], ["a" * 251], [f"{n}" for n in range(11)]):
        with pytest.raises(AliasesInvalid):
            await set_aliases(call, "ann", aliases, hashing=False)
    with pytest.raises(AliasConfusable):
        await set_aliases(call, "ann", ["\u0430nn"], hashing=False)
    for user_id in ("", " ", "é" * 33):
        with pytest.raises(UserIdInvalid):
            await set_aliases(call, user_id, ["b"], hashing=False)
    assert [("ann", ("a",))] == [(each.user_id, each.aliases) for each in (await list_users(call)).users]
    (passkey,) = (await get_user(call, "ann")).credentials
    await rename_credential(call, passkey.credential_id, "a" * 64)
    with pytest.raises(NicknameTooLong):
        await rename_credential(call, passkey.credential_id, "a" * 65)
    assert "a" * 64 == (await remove_credential(call, passkey.credential_id)).nickname
    with pytest.raises(CredentialNotFound):
        await remove_credential(call, passkey.credential_id)
    await remove_user(call, "ann")
    with pytest.raises(UserNotFound):
        await get_user(call, "ann")
    lines = [line[0] for line in await house.events() if line[4] == "" and line[2] in ("ann", "System")]
    assert [1100, 1101, 1105, 1202, 1905] == sorted(lines)


# --- who may --------------------------------------------------------------------------------------------------------


async def test_another_tenants_users_are_invisible_and_untouchable(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    other = await house.create_application("other", eventLoggingIsEnabled=True)
    await ceremonies.register("ann", aliases=["a"])
    assert [] == await everybody(other)
    assert [] == await everybody(other, search="a")
    assert {"count": 0} == accepted(await get(other, "/users/count"))
    refused(await ask_user(other), 404, "user_not_found")
    gone(await delete(other, "ann"))
    assert ["ann"] == await everybody(application)
    await keep_users(house, "ann", app_id="other")
    assert [(1, 1, 3), (1, 0, 1)] == [
        (len(each["credentials"]), len(each["aliases"]), len(each["events"]))
        for each in [accepted(await ask_user(tenant)) for tenant in (application, other)]
    ]
    gone(await delete(application, "ann"))
    assert [[], ["ann"]] == [await everybody(application), await everybody(other)]


CALLS = {
    "GET /users/list": "users:read",
    "GET /users/count": "users:read",
    "GET /users/get?userId=ann": "users:read",
    "POST /users/delete": "users:write",
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_key_needs_the_scope(house: HouseInProcess, application: Application, call: str) -> None:
    await keep_users(house, "ann")
    method, path = call.split()
    other = {"users:read", "users:write"} - {CALLS[call]}
    legacy = accepted(await house.manage("/admin/apps/demo/secret-keys", {"scopes": [0]}))["apiKey"]
    keys = [await house.add_key("demo", KeyKind.SECRET, scopes=frozenset(each)) for each in (other, {CALLS[call]})]
    for key, may in ((keys[0], False), (legacy, True), (keys[1], True)):
        ask = replace(application, secret_key=key)
        body = await ask.secret(path, {"userId": "ann"}) if method == "POST" else await get(ask, path)
        if may:
            assert body.status_code in (200, 404), body.text
        else:
            problem = refused(body, 403, "forbidden")
            assert problem["detail"].endswith(f"Required scopes: {CALLS[call]}")


async def test_the_list_says_when_a_passkey_was_used_last(house: HouseInProcess, application: Application) -> None:
    later = START + timedelta(days=1)
    await house.root.tenant("demo").keep_credentials([kept(1, last_used_at=later), kept(2), kept(3)])
    (value,) = accepted(await ask_list(application))["values"]
    assert (3, "2026-03-05T05:06:07.891011") == (value["credentialsCount"], value["lastUsedAt"])
