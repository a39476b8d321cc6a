"""API keys: made, listed, narrowed, rotated, locked, ended; and what each is good for."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import pbkdf2_hmac
from ipaddress import ip_network
from typing import Any

import httpx
import msgspec
import pytest

from narthex.adapters.system import system_random
from narthex.http.app import ROUTES
from narthex.http.authenticate import Access
from narthex.http.bad_keys import MOST_TRIALS_A_MINUTE
from narthex.main import keep_key_uses
from narthex.ports.changes import AddApiKey
from narthex.ports.records import LEGACY_GRANTS, KeyKind, Scope
from narthex.usecases.api_key import MOST_KEYS, SCOPES_OF_KIND, SECRET_PATTERN, keep_key
from narthex.usecases.tenant import STALENESS
from tests.support.application import (
    MANAGEMENT_KEY,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    problem_of,
    refused,
)
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

HEADERS = {"ManagementKey": MANAGEMENT_KEY}


async def keys_of(house: HouseInProcess, app_id: str = "demo") -> list[Json]:
    answer = await house.manage(f"/admin/apps/{app_id}/api-keys")
    assert 200 == answer.status_code, answer.text
    listed: list[Json] = answer.json()
    return listed


async def shown(house: HouseInProcess, key: str, app_id: str = "demo") -> Json:
    return next(each for each in await keys_of(house, app_id) if each["id"] == key[-4:])


async def make(house: HouseInProcess, *, kind: str = "secret", app_id: str = "demo", **body: Any) -> str:
    answer = await house.manage(f"/admin/apps/{app_id}/{kind}-keys", body)
    assert 200 == answer.status_code, answer.text
    assert ["apiKey"] == list(answer.json())
    return str(answer.json()["apiKey"])


async def verify_with(house: HouseInProcess, key: str, **more: str) -> httpx.Response:
    """Ask what `token_verify` is asked for; a good key without a token gets a 400."""
    return await house.client.post("/signin/verify", json={"token": ""}, headers={"ApiSecret": key, **more})


async def opens(house: HouseInProcess, key: str) -> bool:
    answer = await verify_with(house, key)
    assert answer.status_code in (400, 401), answer.text
    return answer.status_code == 400


async def act(house: HouseInProcess, key: str, what: str) -> int:
    answer = await house.client.post(f"/admin/apps/demo/api-keys/{key[-4:]}/{what}", headers=HEADERS)
    return answer.status_code


# --- listing and making ---------------------------------------------------------------------------------------------


async def test_a_new_application_has_two_pairs_that_may_do_all_there_is(
    house: HouseInProcess, application: Application
) -> None:
    listed = await keys_of(house)
    assert [1, 1, 2, 2] == sorted(each["type"] for each in listed)
    public, secret = (next(each for each in listed if each["type"] == kind) for kind in (1, 2))
    assert {
        "id": public["id"],
        "createdAt": "2026-03-04T05:06:07.891011",
        "apiKey": public["apiKey"],
        "type": 1,
        "scopes": ["login", "register"],
        "isLocked": False,
        "lastLockedAt": None,
        "name": "",
        "isLegacy": False,
        "expiresAt": None,
        "lastUsedAt": None,
        "networks": [],
    } == public
    assert public["apiKey"].startswith("demo:public:")
    assert public["apiKey"].endswith(public["id"])
    assert sorted(SCOPES_OF_KIND[KeyKind.SECRET]) == secret["scopes"]


async def test_a_secret_key_is_masked_in_listings(house: HouseInProcess, application: Application) -> None:
    listed = await shown(house, application.secret_key)
    assert f"demo:secret:{'*' * 28}{application.secret_key[-4:]}" == listed["apiKey"]
    assert application.secret_key not in (await house.manage("/admin/apps/demo/api-keys")).text


@pytest.mark.parametrize("kind", ["public", "secret"])
async def test_a_key_is_made_with_the_numbers_of_the_reference(
    house: HouseInProcess, application: Application, kind: str
) -> None:
    key = await make(house, kind=kind, scopes=[1])
    assert re.fullmatch(rf"demo:{kind}:[0-9a-f]{{32}}", key)
    listed = await shown(house, key)
    assert (["login"] if kind == "public" else ["token_verify"], kind == "secret") == (
        listed["scopes"],
        listed["isLegacy"],
    )


async def test_a_key_is_made_with_names_of_scopes(house: HouseInProcess, application: Application) -> None:
    key = await make(
        house,
        scopes=["users:read", "token_verify"],
        name="shop · läden",
        networks=["192.0.2.0/24", "2001:db8::/32", "192.0.2.0/24"],
        expiresAt="2026-06-01T00:00:00Z",
    )
    listed = await shown(house, key)
    expected = {
        "scopes": ["token_verify", "users:read"],
        "isLegacy": False,
        "name": "shop · läden",
        "networks": ["192.0.2.0/24", "2001:db8::/32"],
        "expiresAt": "2026-06-01T00:00:00.000000Z",
    }
    assert expected == {name: listed[name] for name in expected}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "create_api_key_scopes_required"),
        ({"scopes": []}, 400, "create_api_key_scopes_required"),
        ({"scopes": [None]}, 400, "create_api_key_scopes_required"),
        ({"scopes": [2]}, 400, "api_key_scope_unknown"),
        ({"scopes": [-1]}, 400, "api_key_scope_unknown"),
        ({"scopes": ["login"]}, 400, "api_key_scope_unknown"),
        ({"scopes": ["TOKEN_VERIFY"]}, 400, "api_key_scope_unknown"),
        ({"scopes": ["²"]}, 400, "api_key_scope_unknown"),
        ({"scopes": ["users:read"], "name": "x" * 101}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "name": "two\nlines"}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "networks": ["192.0.2.1/24"]}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "networks": ["here"]}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "networks": ["192.0.2.1"] * 51}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "expiresAt": "2020-01-01T00:00:00Z"}, 400, "api_key_invalid"),
        ({"scopes": ["users:read"], "expiresAt": "soon"}, 400, "validation_failed"),
    ],
)
async def test_what_makes_no_key_is_refused(
    house: HouseInProcess, application: Application, body: Json, status: int, code: str
) -> None:
    answer = await house.manage("/admin/apps/demo/secret-keys", body)
    assert (status, code) == (answer.status_code, problem_of(answer)["errorCode"])
    assert 4 == len(await keys_of(house))


async def test_an_application_has_a_bounded_number_of_keys(house: HouseInProcess, application: Application) -> None:
    for _ in range(MOST_KEYS - 4):
        await make(house, scopes=["users:read"])
    answer = await house.manage("/admin/apps/demo/secret-keys", {"scopes": ["users:read"]})
    assert (409, "too_many_api_keys") == (answer.status_code, problem_of(answer)["errorCode"])
    assert MOST_KEYS == len({each["id"] for each in await keys_of(house)})


async def test_secret_keys_are_found_by_the_documented_pattern(house: HouseInProcess, application: Application) -> None:
    for key in (application.secret_key, await make(house, scopes=["users:read"])):
        assert re.search(SECRET_PATTERN, f'API_SECRET="{key}";')
    assert not re.search(SECRET_PATTERN, f'"{application.public_key}"')


# --- locks ----------------------------------------------------------------------------------------------------------


async def test_a_locked_key_opens_nothing_until_it_is_unlocked(house: HouseInProcess, application: Application) -> None:
    assert 204 == await act(house, application.secret_key, "lock")
    assert not await opens(house, application.secret_key)
    listed = await shown(house, application.secret_key)
    assert (True, "2026-03-04T05:06:07.891011") == (listed["isLocked"], listed["lastLockedAt"])
    assert await opens(house, application.other_secret_key)
    assert 204 == await act(house, application.secret_key, "unlock")
    assert await opens(house, application.secret_key)


async def test_a_lock_acts_on_every_node_within_a_second(database_url: str) -> None:
    async with HouseInProcess(database_url) as here, HouseInProcess(database_url) as there:
        application = await here.create_application()
        assert await opens(there, application.secret_key)
        assert 204 == await act(here, application.secret_key, "lock")
        assert not await opens(here, application.secret_key)
        there.clock.move(seconds=STALENESS.total_seconds())
        assert not await opens(there, application.secret_key)


async def test_a_deleted_key_opens_nothing(house: HouseInProcess, application: Application) -> None:
    path = f"/admin/apps/demo/api-keys/{application.secret_key[-4:]}"
    assert 204 == (await house.client.delete(path, headers=HEADERS)).status_code
    assert not await opens(house, application.secret_key)
    answer = await house.client.delete(path, headers=HEADERS)
    assert (404, "api_key_not_found") == (answer.status_code, problem_of(answer)["errorCode"])


@pytest.mark.parametrize("what", ["lock", "unlock", "rotate"])
async def test_a_key_that_is_not_there_is_not_found(house: HouseInProcess, application: Application, what: str) -> None:
    other = await house.create_application("other")
    body = {} if what == "rotate" else None
    path = f"/admin/apps/demo/api-keys/{other.secret_key[-4:]}/{what}"
    answer = await house.client.post(path, json=body, headers=HEADERS)
    assert (404, "api_key_not_found") == (answer.status_code, problem_of(answer)["errorCode"])
    assert await opens(house, other.secret_key)


async def test_what_happens_to_keys_is_in_the_event_log(house: HouseInProcess, application: Application) -> None:
    house.clock.move(milliseconds=1)
    key = await make(house, scopes=["users:read"])
    house.clock.move(milliseconds=1)
    await keys_of(house)
    for what in ("lock", "unlock"):
        house.clock.move(milliseconds=1)
        await act(house, key, what)
    house.clock.move(milliseconds=1)
    await house.client.delete(f"/admin/apps/demo/api-keys/{key[-4:]}", headers=HEADERS)
    numbers = [number for number, *_ in await house.events()]
    assert [7008, 7012, 7010, 7011, 7009] == numbers[-5:]


# --- ends, rotation, networks, use ----------------------------------------------------------------------------------


async def test_a_key_ends_when_it_was_said_to(house: HouseInProcess, application: Application) -> None:
    key = await make(house, scopes=["token_verify"], expiresAt="2026-03-04T06:00:00Z")
    house.clock.move(minutes=53)
    assert await opens(house, key)
    house.clock.move(minutes=1)
    assert not await opens(house, key)


async def test_after_a_rotation_both_keys_open_for_a_while(house: HouseInProcess, application: Application) -> None:
    old = await make(house, scopes=["token_verify"], name="shop", networks=["192.0.2.0/24"])
    path = f"/admin/apps/demo/api-keys/{old[-4:]}/rotate"
    rotated = accepted(await house.manage(path, {"overlapSeconds": 600}))
    assert "2026-03-04T05:16:07.891011Z" == rotated["oldKeyExpiresAt"]
    new = rotated["apiKey"]
    listed = await shown(house, new)
    assert (["token_verify"], "shop", ["192.0.2.0/24"]) == (listed["scopes"], listed["name"], listed["networks"])
    assert await opens(house, old)
    assert await opens(house, new)
    house.clock.move(seconds=600)
    assert not await opens(house, old)
    assert await opens(house, new)


async def test_a_rotation_does_not_prolong_a_key(house: HouseInProcess, application: Application) -> None:
    key = await make(house, scopes=["token_verify"], expiresAt="2026-03-04T05:10:00Z")
    house.clock.move(minutes=1)
    rotated = accepted(await house.manage(f"/admin/apps/demo/api-keys/{key[-4:]}/rotate", {"overlapSeconds": 86_400}))
    assert "2026-03-04T05:10:00.000000Z" == rotated["oldKeyExpiresAt"] == (await shown(house, key))["expiresAt"]


async def test_the_successor_of_a_key_with_an_end_has_one_as_far_off(
    house: HouseInProcess, application: Application
) -> None:
    key = await make(house, scopes=["token_verify"], expiresAt="2026-03-04T05:16:07.891011Z")
    house.clock.move(minutes=5)
    rotated = accepted(await house.manage(f"/admin/apps/demo/api-keys/{key[-4:]}/rotate", {}))
    assert "2026-03-04T05:21:07.891011Z" == (await shown(house, rotated["apiKey"]))["expiresAt"]


async def test_the_successor_of_a_legacy_key_names_all_its_scopes(
    house: HouseInProcess, application: Application
) -> None:
    key = await make(house, scopes=[1])
    rotated = accepted(await house.manage(f"/admin/apps/demo/api-keys/{key[-4:]}/rotate", {}))
    listed = await shown(house, rotated["apiKey"])
    expected = sorted({*LEGACY_GRANTS, Scope.TOKEN_VERIFY, Scope.TOKEN_GENERATE})
    assert (False, expected) == (listed["isLegacy"], listed["scopes"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("192.0.2.7", None, 400),
        ("198.51.100.7", None, 403),
        ("198.51.100.7", "192.0.2.7", 403),
        ("10.0.0.1", "192.0.2.7", 400),
        ("10.0.0.1", "198.51.100.7", 403),
        ("::ffff:192.0.2.7", None, 400),
        ("2001:db8::1", None, 400),
        ("2001:db9::1", None, 403),
    ],
)
async def test_a_key_opens_from_its_networks_only(
    sqlite_url: str, peer: str, forwarded: str | None, status: int
) -> None:
    async with HouseInProcess(sqlite_url, trusted_proxies=(ip_network("10.0.0.0/8"),), peer=peer) as house:
        await house.create_application(eventLoggingIsEnabled=True)
        key = await make(house, scopes=["token_verify"], networks=["192.0.2.0/24", "2001:db8::/32"])
        answer = await verify_with(house, key, **({"X-Forwarded-For": forwarded} if forwarded else {}))
        assert status == answer.status_code
        if status == 403:
            assert "key_not_allowed_here" == problem_of(answer)["errorCode"]
            assert 1907 in [line[0] for line in await house.events()]


async def test_a_key_s_last_use_is_kept_once_a_minute(house: HouseInProcess, application: Application) -> None:
    await opens(house, application.secret_key)
    assert (await shown(house, application.secret_key))["lastUsedAt"] is None
    await keep_key_uses(house.env)
    house.clock.move(seconds=30)
    await opens(house, application.secret_key)
    await keep_key_uses(house.env)
    assert "2026-03-04T05:06:07.891011Z" == (await shown(house, application.secret_key))["lastUsedAt"]
    house.clock.move(seconds=31)
    await opens(house, application.secret_key)
    await keep_key_uses(house.env)
    assert "2026-03-04T05:07:08.891011Z" == (await shown(house, application.secret_key))["lastUsedAt"]


async def test_a_key_that_failed_was_not_used(house: HouseInProcess, application: Application) -> None:
    await act(house, application.secret_key, "lock")
    await opens(house, application.secret_key)
    await opens(house, f"demo:secret:{'0' * 32}")
    assert [] == house.env.key_uses.take()


# --- scopes ---------------------------------------------------------------------------------------------------------


async def test_a_key_that_verifies_tokens_cannot_make_them(house: HouseInProcess, application: Application) -> None:
    """A key that a verify-only backend loses must not sign anybody in (the reference lets it)."""
    key = await make(house, scopes=["token_verify"])
    answer = await house.client.post("/signin/generate-token", json={"userId": "ann"}, headers={"ApiSecret": key})
    assert 403 == answer.status_code
    assert "token_generate" in problem_of(answer)["detail"]


async def test_a_legacy_key_that_verifies_tokens_makes_them_too(
    house: HouseInProcess, application: Application
) -> None:
    key = await make(house, scopes=[1])
    answer = await house.client.post("/signin/generate-token", json={"userId": "ann"}, headers={"ApiSecret": key})
    assert answer.json()["token"].startswith("verify_")


async def test_a_legacy_key_that_registers_makes_no_tokens(house: HouseInProcess, application: Application) -> None:
    key = await make(house, scopes=[0])
    answer = await house.client.post("/signin/generate-token", json={"userId": "ann"}, headers={"ApiSecret": key})
    assert 403 == answer.status_code


async def test_a_legacy_key_that_is_revised_is_one_no_more(house: HouseInProcess, application: Application) -> None:
    key = await make(house, scopes=[1])
    path = f"/admin/apps/demo/api-keys/{key[-4:]}"
    assert 204 == (await house.manage(path, {"scopes": ["token_verify"]})).status_code
    answer = await house.client.post("/users/delete", json={"userId": "ann"}, headers={"ApiSecret": key})
    assert 403 == answer.status_code
    assert await opens(house, key)
    refused_terms = await house.manage(path, {"scopes": []})
    assert (400, "create_api_key_scopes_required") == (
        refused_terms.status_code,
        problem_of(refused_terms)["errorCode"],
    )


async def test_every_private_route_needs_a_scope_of_its_own() -> None:
    by_scope = {spec.scope for spec in ROUTES if spec.access is Access.SECRET_KEY}
    assert SCOPES_OF_KIND[KeyKind.SECRET] == by_scope


# --- keys that came from the reference ------------------------------------------------------------------------------


async def import_key(house: HouseInProcess, text: str, *, kept: str | None = None) -> None:
    """Keep a key as the reference did: a slow hash of it and its last four characters."""
    salt = system_random(16)
    digest = pbkdf2_hmac("sha512", text.encode(), salt, 10_000, 16)
    key = keep_key(KeyKind.SECRET, text, house.keyring, system_random, house.clock.now())
    imported = msgspec.structs.replace(
        key,
        mac=system_random(32),
        reference_hash=kept or f"{b64encode(salt).decode()}:{b64encode(digest).decode()}",
        scopes=frozenset({"token_register", "token_verify"}),
        legacy=True,
    )
    await house.root.tenant("demo").commit(AddApiKey(key=imported))
    house.env.directory.forget("demo")


IMPORTED = "demo:secret:00112233445546778899aabbccddeeff"


async def test_an_imported_key_opens_and_is_known_from_then_on(any_house: HouseInProcess) -> None:
    await any_house.create_application()
    await import_key(any_house, IMPORTED)
    assert await opens(any_house, IMPORTED)
    rows = await any_house.rows("select mac, reference_hash from api_key where hint = :hint", hint="eeff")
    assert [(any_house.keyring.mac("api-key", IMPORTED.encode()), None)] == rows
    assert await opens(any_house, IMPORTED)


async def test_a_key_that_only_ends_like_an_imported_one_opens_nothing(
    house: HouseInProcess, application: Application
) -> None:
    await import_key(house, IMPORTED)
    assert not await opens(house, f"demo:secret:{'0' * 28}eeff")
    assert await opens(house, IMPORTED)


@pytest.mark.parametrize("kept", ["", ":", "AAAA:", "AAAA:AAAA", "no base64:no", "AAAAAAAAAAAAAAAAAAAAAA==:AA=="])
async def test_a_hash_that_cannot_be_read_opens_nothing(
    house: HouseInProcess, application: Application, kept: str
) -> None:
    await import_key(house, IMPORTED, kept=kept or "x")
    assert not await opens(house, IMPORTED)


async def test_guesses_at_an_imported_key_are_bounded(house: HouseInProcess, application: Application) -> None:
    await import_key(house, IMPORTED)
    for number in range(MOST_TRIALS_A_MINUTE):
        assert not await opens(house, f"demo:secret:{number:028x}eeff")
    assert not await opens(house, IMPORTED)
    house.clock.move(minutes=1)
    assert await opens(house, IMPORTED)


async def test_an_imported_key_that_is_locked_opens_nothing(house: HouseInProcess, application: Application) -> None:
    await import_key(house, IMPORTED)
    assert 204 == await act(house, IMPORTED, "lock")
    assert not await opens(house, IMPORTED)


async def test_a_key_of_a_ceremony_is_refused_for_its_scope_alone(
    house: HouseInProcess, application: Application
) -> None:
    """The public key's scopes guard pages as the secret one's guard backends."""
    key = await make(house, kind="public", scopes=["login"])
    ceremonies = Ceremonies(Application(house.client, "demo", key, application.secret_key))
    answer = await ceremonies.ask_registration(await ceremonies.give_leave())
    assert "register" in refused(answer, 403, "forbidden")["detail"]
