"""Aliases in the compatible API (its sections 7.4, 7.5 and 9.2), and which ones nobody may be given."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest

from narthex.ports.records import EventType, KeyKind
from tests.support.application import ABSENT, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
"""An emoji whose parts are joined by a character that nobody sees."""


async def give(application: Application, *aliases: Any, **members: Any) -> httpx.Response:
    return await application.secret("/alias", {"userId": "ann", "aliases": list(aliases), **members})


def done(response: httpx.Response) -> None:
    assert (204, b"") == (response.status_code, response.content), response.text


async def ask_list(application: Application, query: str) -> httpx.Response:
    return await application.client.get(f"/alias/list{query}", headers={"ApiSecret": application.secret_key})


async def listed(application: Application, user_id: str = "ann") -> list[Json]:
    answer = accepted(await ask_list(application, f"?userId={user_id}"))
    assert ["values"] == list(answer)
    values: list[Json] = answer["values"]
    return values


async def texts(application: Application, user_id: str = "ann") -> list[str | None]:
    return sorted(each["plaintext"] for each in await listed(application, user_id))


def hash_of(app_id: str, alias: str) -> str:
    return b64encode(sha256((app_id + alias).encode()).digest()).decode()


# --- giving and listing ---------------------------------------------------------------------------------------------


async def test_an_alias_is_listed_by_its_hash(application: Application) -> None:
    done(await give(application, "ann@example.org"))
    value = {"userId": "ann", "alias": hash_of("demo", "ann@example.org"), "plaintext": None, "tenant": "demo"}
    assert [value] == await listed(application)


@pytest.mark.parametrize("hashing", [False, "false"])
async def test_an_alias_that_is_not_hashed_is_listed_in_clear_too(application: Application, hashing: Any) -> None:
    done(await give(application, "ann@example.org", hashing=hashing))
    assert [("ann@example.org", hash_of("demo", "ann@example.org"))] == [
        (each["plaintext"], each["alias"]) for each in await listed(application)
    ]


@pytest.mark.parametrize("hashing", [ABSENT, None, True])
async def test_aliases_are_hashed_unless_it_is_said_otherwise(
    house: HouseInProcess, application: Application, hashing: Any
) -> None:
    done(await give(application, "ann@example.org", hashing=hashing))
    assert "ann@example.org" not in str(await house.rows("select * from alias"))
    assert hash_of("demo", "ann@example.org") not in str(await house.rows("select * from alias"))


async def test_aliases_replace_all_that_were_there(application: Application) -> None:
    done(await give(application, "a", "b", hashing=False))
    done(await give(application, "b", "c", hashing=False))
    assert ["b", "c"] == await texts(application)
    done(await give(application))
    assert [] == await listed(application)


async def test_an_alias_signs_in(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    done(await give(application, "ann@example.org"))
    token = await ceremonies.sign_in(alias="ann@example.org")
    assert "ann" == (await ceremonies.verify(token))["userId"]
    done(await give(application))
    assert [] == (await ceremonies.begin_sign_in(alias="ann@example.org")).data["allowCredentials"]


async def test_case_counts(application: Application) -> None:
    done(await give(application, "Ann", hashing=False))
    done(await give(application, "ann", userId="bob", hashing=False))
    assert [["Ann"], ["ann"]] == [await texts(application), await texts(application, "bob")]


async def test_numbers_are_texts(application: Application) -> None:
    done(await give(application, 5, 2.5, userId=42, hashing=False))
    assert ["2.5", "5"] == await texts(application, "42")


@pytest.mark.parametrize("name", ["userId", "userid", "UserId", "USERID"])
async def test_the_query_is_read_in_any_case(application: Application, name: str) -> None:
    done(await give(application, "a"))
    assert 1 == len(accepted(await ask_list(application, f"?{name}=ann"))["values"])


async def test_member_names_are_read_in_any_case(application: Application) -> None:
    done(await application.secret("/alias", {"USERID": "ann", "Aliases": ["a"], "HASHING": False}))
    assert ["a"] == await texts(application)


async def test_an_unknown_user_has_no_aliases(application: Application) -> None:
    assert [] == await listed(application, "nobody")


@pytest.mark.parametrize("query", ["", "?userId=", "?user=ann", "?userId=%20"])
async def test_whose_aliases_must_be_said(application: Application, query: str) -> None:
    problem = refused(await ask_list(application, query), 400, "validation_failed")
    assert {"userId": ["The UserId field is required."]} == problem["errors"]


async def test_what_was_set_is_in_the_event_log_without_the_aliases(
    house: HouseInProcess, application: Application
) -> None:
    house.clock.move(seconds=1)
    done(await give(application, "ann@example.org", hashing=False))
    line = (EventType.ApiUserSetAliases, 3, "ann", "ann", application.secret_key[-4:])
    assert [line] == (await house.events())[-1:]
    assert "ann@example.org" not in str(await house.rows("select * from event"))


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({"aliases": ABSENT}, {"aliases": ["The Aliases field is required."]}),
        ({"aliases": None}, {"aliases": ["The Aliases field is required."]}),
        ({"aliases": [f"{n}" for n in range(11)]}, {"aliases": ["Aliases cannot hold more than 10 aliases."]}),
        ({"aliases": ["a", ""]}, {"aliases": ["Aliases cannot hold a blank alias."]}),
        ({"aliases": ["\t "]}, {"aliases": ["Aliases cannot hold a blank alias."]}),
        ({"aliases": [None]}, {"aliases": ["Aliases cannot hold a blank alias."]}),
        ({"aliases": ["a" * 251]}, {"aliases": ["Aliases cannot hold an alias longer than 250 characters."]}),
        ({"userId": ABSENT}, {"userId": ["The UserId field is required."]}),
        ({"userId": " "}, {"userId": ["The UserId field is required."]}),
        ({"userId": "a" * 65}, {"userId": ["UserId cannot be longer than 64 bytes in UTF-8."]}),
        ({"userId": "é" * 33}, {"userId": ["UserId cannot be longer than 64 bytes in UTF-8."]}),
    ],
)
async def test_what_breaks_a_rule_is_refused_and_changes_nothing(
    application: Application, members: Json, errors: Json
) -> None:
    done(await give(application, "kept", hashing=False))
    response = await application.secret("/alias", {"userId": "ann", "aliases": ["a"], **members})
    assert errors == refused(response, 400, "validation_failed")["errors"]
    assert ["kept"] == await texts(application)


@pytest.mark.parametrize(
    ("user_id", "aliases"),
    [("é" * 32, ["a" * 250]), ("a" * 64, ["same"] * 11), ("ann", [f"{n}" for n in range(10)] * 2)],
)
async def test_what_just_keeps_the_rules_is_kept(application: Application, user_id: str, aliases: list[str]) -> None:
    done(await give(application, *aliases, userId=user_id))
    assert len(set(aliases)) == len(await listed(application, user_id))


@pytest.mark.parametrize("text", [r"a\u0000", r"a\ud800", r"\udfff"])
@pytest.mark.parametrize("member", ["userId", "alias"])
async def test_what_no_database_can_keep_is_refused(application: Application, text: str, member: str) -> None:
    user_id, alias = (text, "a") if member == "userId" else ("ann", text)
    body = f'{{"userId": "{user_id}", "aliases": ["{alias}"]}}'
    headers = {"ApiSecret": application.secret_key, "Content-Type": "application/json"}
    refused(await application.client.post("/alias", content=body, headers=headers), 400, "malformed_body")


REFUSED = {
    "alias_whitespace": [
        " ann", "ann ", "ann\n", "\u3000ann", "ann\u00a0", "ann  lee", "ann\u00a0lee", "ann\u2003lee", "ann \u3000lee",
    ],
    "alias_invisible_characters": [
        "an\u200bn", "an\u200dn", "\u200eann", "ann\u202egro.elpmaxe", "\ufeffann", "an\u00adn", "an\tn", "an\r\nn",
        "an\u2028n", "an\u2029n", "an\u2060n", "an\u2066n", "an\u034fn", "an\u3164n", "an\u2800n", "an\ufe0fn",
        "an\U000e0100n", "an\U000e0061n", "an\ue000n", "an\U0001fffen", "an\x7fn", "an\x85n", FAMILY,
    ],
    "alias_not_normalized": ["andre\u0301", "\u212bke", "\u2126", "\u1100\u1161"],
    "alias_confusable": [
        "p\u0430ypal", "ann@ex\u0430mple.org", "\u0430nn", "ann\u03bf", "\u041eleg", "\u0430" + "1ice", "\u043e'brien",
        "\u043e\u2019brien", "\u043f\u03b1\u043f\u0430", "ann\u0585", "\u13a2nn", "\uff41nn", "\U0001d41ann",
        "\u0446\u0308nn",
    ],
}  # fmt: skip
"""Aliases that would look like others, by the code of the refusal."""


@pytest.mark.parametrize(("code", "alias"), [(code, each) for code, aliases in REFUSED.items() for each in aliases])
async def test_an_alias_that_would_look_like_another_is_refused_by_name(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies, code: str, alias: str
) -> None:
    for response in (await give(application, "good", alias), await ceremonies.ask_leave(aliases=["good", alias])):
        problem = refused(response, 400, code)
        assert problem["title"].startswith("Alias `")
        assert problem["detail"]
    assert [] == await listed(application)
    assert [] == [line for line in await house.events() if line[0] in (1000, EventType.ApiUserSetAliases)]


async def test_a_refusal_names_the_character_that_nobody_sees(application: Application) -> None:
    problem = refused(await give(application, "an\u200bn"), 400, "alias_invisible_characters")
    assert "Alias `an\ufffdn` has the invisible character U+200B ZERO WIDTH SPACE." == problem["title"]


@pytest.mark.parametrize(
    "alias",
    [
        "ann+tag@example.org", "Renée O'Connor", "Анна Каренина", "Αλέξανδρος", "山田　太郎",
        "김민준", "محمد علي", "नरेन्द्र", "สมชาย", "IT-отдел",
        "web_сайт", "Иван (Ivan)", "ann@пример.рф", "ivan@почта.com", "株式会社ABC",
        "ｱﾝﾅ", "5µm", "π", "x=α", "Łukasz Żółć",
        "Nguyễn Văn Anh", "D’Angelo", "ann 😀", "a\\b/c:d", "-",
        "{0}", "\u0582", "Æsir",
    ],
)  # fmt: skip
async def test_true_names_are_taken(application: Application, alias: str) -> None:
    done(await give(application, alias, hashing=False))
    assert [alias] == await texts(application)


async def test_an_alias_with_braces_is_refused_in_plain_words(application: Application) -> None:
    problem = refused(await give(application, " {0} {user}"), 400, "alias_whitespace")
    assert "Alias ` {0} {user}` begins or ends with white space." == problem["title"]


# --- one bearer -----------------------------------------------------------------------------------------------------


async def test_an_alias_of_another_user_is_a_conflict_and_changes_nothing(
    any_house: HouseInProcess,
) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    done(await give(application, "a", hashing=False))
    done(await give(application, "b", userId="bob", hashing=False))
    logged = len(await any_house.events())
    problem = refused(await give(application, "c", "a", userId="bob"), 409, "alias_conflict")
    assert f"{any_house.errors_url}#alias_conflict" == problem["type"]
    assert [["a"], ["b"]] == [await texts(application), await texts(application, "bob")]
    assert logged == len(await any_house.events())
    done(await give(application, "a", hashing=False))
    done(await give(application))
    done(await give(application, "a", userId="bob", hashing=False))


async def test_an_alias_is_won_by_one_user(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    answers = await asyncio.gather(
        *(give(application, "wanted", f"own {n}", userId=f"user {n}", hashing=False) for n in range(30))
    )
    assert {204: 1, 409: 29} == Counter(each.status_code for each in answers)
    held = {n: await texts(application, f"user {n}") for n in range(30)}
    assert [sorted([f"own {n}", "wanted"]) for n, answer in enumerate(answers) if answer.status_code == 204] == [
        each for each in held.values() if each
    ]


async def test_of_sets_given_at_once_one_stays_whole(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    sets = [[f"{n} {m}" for m in range(10)] for n in range(10)]
    for answer in await asyncio.gather(*(give(application, *each, hashing=False) for each in sets)):
        done(answer)
    assert await texts(application) in [sorted(each) for each in sets]


async def test_a_leave_for_an_alias_that_was_given_since_is_a_conflict(
    application: Application, ceremonies: Ceremonies
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("bob", aliases=["a"]))
    done(await give(application, "a"))
    refused(await ceremonies.complete_registration(begun), 409, "alias_conflict")


# --- who may --------------------------------------------------------------------------------------------------------


async def test_another_tenants_aliases_are_invisible_and_untouched(
    house: HouseInProcess, application: Application
) -> None:
    other = await house.create_application("other")
    done(await give(application, "a", hashing=False))
    assert [] == await listed(other)
    done(await give(other, "a", userId="bob", hashing=False))
    done(await give(other))
    assert ["a"] == await texts(application)
    assert hash_of("other", "a") == (await listed(other, "bob"))[0]["alias"]
    assert hash_of("demo", "a") == (await listed(application))[0]["alias"]


async def test_a_key_needs_the_scope(house: HouseInProcess, application: Application) -> None:
    reader = replace(
        application, secret_key=await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({"aliases:read"}))
    )
    assert [] == await listed(reader)
    problem = refused(await give(reader, "a"), 403, "forbidden")
    assert problem["detail"].endswith("Required scopes: aliases:write")
    writer = replace(
        application, secret_key=await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({"aliases:write"}))
    )
    done(await give(writer, "a"))
    problem = refused(await ask_list(writer, "?userId=ann"), 403, "forbidden")
    assert problem["detail"].endswith("Required scopes: aliases:read")


async def test_a_legacy_key_may_what_the_reference_let_it(house: HouseInProcess, application: Application) -> None:
    key = accepted(await house.manage("/admin/apps/demo/secret-keys", {"scopes": [0]}))["apiKey"]
    legacy = replace(application, secret_key=key)
    done(await give(legacy, "a"))
    assert 1 == len(await listed(legacy))


async def test_whatever_is_a_set_of_aliases_is_no_error_of_ours(application: Application) -> None:
    """Every character of the first plane once, ten of them at a time: each set is taken or refused by name."""
    codes: Counter[str] = Counter()
    characters = [chr(number) for number in range(1, 0x10000, 7) if not 0xD800 <= number < 0xE000]
    for start in range(0, len(characters), 1_000):
        alias = ["x" + each for each in characters[start : start + 10]]
        response = await give(application, *alias)
        codes["taken" if response.status_code == 204 else json.loads(response.content)["errorCode"]] += 1
    assert codes["taken"]
    assert {"taken", "alias_invisible_characters", "alias_confusable", "alias_not_normalized"} >= set(codes)
