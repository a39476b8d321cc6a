"""Credentials in the compatible API (its sections 7.6 and 7.7), with a new name and what browsers may keep."""

from __future__ import annotations

import asyncio
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from narthex.base.values import to_base64url
from narthex.ports.records import Credential, EventType, KeyKind
from narthex.ports.store import MOST_CREDENTIALS
from tests.support.application import (
    ABSENT,
    ORIGIN,
    RP_ID,
    START,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    refused,
)
from tests.support.authenticator import Json, SoftwareAuthenticator

pytestmark = pytest.mark.anyio

UNKNOWN = to_base64url(bytes(32))
BARE_START = "2026-03-04T05:06:07.891011"


async def get(application: Application, path: str) -> httpx.Response:
    return await application.client.get(path, headers={"ApiSecret": application.secret_key})


async def listed(application: Application, user_id: str = "ann") -> list[Json]:
    answer = accepted(await get(application, f"/credentials/list?userId={user_id}"))
    assert ["values"] == list(answer)
    values: list[Json] = answer["values"]
    return values


async def ids(application: Application, user_id: str = "ann") -> list[str]:
    return [each["descriptor"]["id"] for each in await listed(application, user_id)]


async def delete(application: Application, credential_id: Any) -> httpx.Response:
    return await application.secret("/credentials/delete", {"credentialId": credential_id})


async def rename(application: Application, credential_id: Any, nickname: Any = "Laptop") -> httpx.Response:
    return await application.secret("/credentials/rename", {"credentialId": credential_id, "nickname": nickname})


def done(response: httpx.Response) -> None:
    assert (204, b"") == (response.status_code, response.content), response.text


def kept(number: int = 0, **members: Any) -> Credential:
    """A credential as an import brings it."""
    made = Credential(
        credential_id=number.to_bytes(16, "big"),
        user_id="ann",
        user_handle=b"ann",
        public_key=b"\xa0",
        sign_count=0,
        attestation_format="none",
        aaguid=bytes(16),
        rp_id=RP_ID,
        origin=ORIGIN,
        transports=(),
        backup_eligible=None,
        backup_state=False,
        user_verified=False,
        discoverable=None,
        nickname=None,
        device="Other, Other ",
        country="",
        created_at=START - timedelta(days=number),
        last_used_at=START,
    )
    return msgspec.structs.replace(made, **members)


# --- listing --------------------------------------------------------------------------------------------------------


async def test_a_passkey_is_listed_whole_and_as_the_sdks_read_it(
    house: HouseInProcess, application: Application
) -> None:
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(backup_eligible=True))
    await ceremonies.register("ann", nickname="Laptop")
    passkey = ceremonies.authenticator.credentials[0]
    house.clock.move(seconds=60)
    await ceremonies.sign_in(userId="ann")
    (row,) = await house.rows("select public_key, sign_count, aaguid, transports, backup_state from credential")
    (value,) = await listed(application)
    expected = {
        "descriptor": {"type": "public-key", "id": to_base64url(passkey.credential_id)},
        "publicKey": b64encode(row[0]).decode(),
        "userHandle": b64encode(b"ann").decode(),
        "signatureCounter": row[1],
        "attestationFmt": "none",
        "createdAt": BARE_START,
        "aaGuid": value["aaGuid"],
        "lastUsedAt": "2026-03-04T05:07:07.891011",
        "rpid": RP_ID,
        "origin": ORIGIN,
        "country": "",
        "device": "Other, Other ",
        "nickname": "Laptop",
        "userId": "ann",
        "backupState": bool(row[4]),
        "isBackupEligible": True,
        "isDiscoverable": None,
        "transports": msgspec.json.decode(row[3]),
        "userVerified": True,
        "attestationTrust": "no-path",
    }
    assert expected == value
    assert list(expected) == list(value), "in the order of the contract, additions last"
    assert row[2].hex() == value["aaGuid"].replace("-", "")
    assert len("00000000-0000-0000-0000-000000000000") == len(value["aaGuid"])


async def test_what_is_not_known_is_null_and_written(house: HouseInProcess, application: Application) -> None:
    await house.root.tenant("demo").keep_credentials([kept()])
    (value,) = await listed(application)
    nulls = [name for name, each in value.items() if each is None]
    assert ["nickname", "isBackupEligible", "isDiscoverable"] == nulls
    assert "00000000-0000-0000-0000-000000000000" == value["aaGuid"]
    assert "Other, Other " == value["device"]


async def test_by_post_the_list_is_the_same(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    answer = accepted(await application.secret("/credentials/list", {"userId": "ann"}))
    assert {"values": await listed(application)} == answer
    assert 1 == len(answer["values"])


@pytest.mark.parametrize("name", ["userId", "userid", "UserId", "USERID"])
async def test_names_are_read_in_any_case(application: Application, ceremonies: Ceremonies, name: str) -> None:
    await ceremonies.register("ann")
    assert 1 == len(accepted(await get(application, f"/credentials/list?{name}=ann"))["values"])
    assert 1 == len(accepted(await application.secret("/credentials/list", {name: "ann"}))["values"])


async def test_a_user_id_may_be_a_number(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register(42)  # type: ignore[arg-type]  # as the documentation's own samples do
    assert ["42"] == [each["userId"] for each in await listed(application, "42")]
    assert 1 == len(accepted(await application.secret("/credentials/list", {"userId": 42}))["values"])


async def test_user_ids_are_compared_exactly(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("Ánn +&")
    assert 1 == len(await listed(application, "%C3%81nn+%2B%26"))
    for other in ("%C3%A1nn+%2B%26", "A%CC%81nn+%2B%26", "%C3%81nn+%2B%26+", "%C3%81nn"):
        assert [] == await listed(application, other)


async def test_an_unknown_user_has_no_passkeys(application: Application) -> None:
    assert [] == await listed(application, "nobody")
    assert {"values": []} == accepted(await application.secret("/credentials/list", {"userId": "nobody"}))
    assert [] == await listed(application, "a" * 65)


@pytest.mark.parametrize("query", ["", "?", "?userId=", "?user=ann"])
async def test_a_get_without_a_user_has_the_title_that_the_sdks_tests_compare(
    application: Application, query: str
) -> None:
    problem = refused(await get(application, f"/credentials/list{query}"), 400, "missing_userid")
    assert 'Required parameter "string UserId" was not provided from query string.' == problem["title"]


@pytest.mark.parametrize("user_id", [ABSENT, None, "", " "])
async def test_a_post_without_a_user_is_a_validation_error(application: Application, user_id: Any) -> None:
    problem = refused(await application.secret("/credentials/list", {"userId": user_id}), 400, "validation_failed")
    assert {"userId": ["The UserId field is required."]} == problem["errors"]


@pytest.mark.parametrize("query", ["?userId=%00", "?userId=%ff", "?userId=%ed%a0%80"])
async def test_what_no_user_can_be_called_is_refused(application: Application, query: str) -> None:
    for path in ("/credentials/list", "/alias/list", "/users/get"):
        refused(await get(application, path + query), 400, "malformed_query")


async def test_a_user_with_more_passkeys_than_a_ceremony_names_is_listed_whole(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    many = MOST_CREDENTIALS + 450
    passkeys = [kept(number) for number in range(many)]
    others = [kept(many + 1, user_id="anm"), kept(many + 2, user_id="ann "), kept(many + 3, user_id="bob")]
    await any_house.root.tenant("demo").keep_credentials([*passkeys, *others])
    oldest_first = [to_base64url(each.credential_id) for each in reversed(passkeys)]
    assert oldest_first == await ids(application)
    answer = accepted(await get(application, f"/credentials/accepted?userId=ann&rpid={RP_ID}"))
    assert oldest_first == answer["allAcceptedCredentialIds"]


# --- deleting -------------------------------------------------------------------------------------------------------


async def test_a_deleted_passkey_signs_nobody_in(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    await ceremonies.register("ann")
    (passkey,) = await ids(application)
    house.clock.move(seconds=1)
    begun = await ceremonies.begin_sign_in()
    done(await delete(application, passkey))
    assert [(EventType.ApiUserDeleteCredential, 3, "System", "ann", application.secret_key[-4:])] == (
        await house.events()
    )[-1:]
    assert [] == await ids(application)
    refused(await ceremonies.complete_sign_in(begun), 400, "unknown_credential")


async def test_what_vouched_for_a_passkey_goes_with_it(house: HouseInProcess) -> None:
    application = await house.create_application(allowAttestation=True)
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(attestation="packed-x5c"))
    await ceremonies.register("ann", attestation="direct")
    assert [(1,)] == await house.rows("select count(*) from attestation")
    done(await delete(application, (await ids(application))[0]))
    assert [(0,)] == await house.rows("select count(*) from attestation")


async def test_only_the_named_passkey_goes(application: Application) -> None:
    for _ in range(3):
        await Ceremonies(application).register("ann")
    first, second, third = await ids(application)
    done(await delete(application, second))
    assert sorted([first, third]) == sorted(await ids(application))


async def test_padding_is_tolerated(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    raw = ceremonies.authenticator.credentials[0].credential_id
    done(await delete(application, urlsafe_b64encode(raw).decode()))


@pytest.mark.parametrize("path", ["/credentials/delete", "/credentials/rename"])
async def test_an_unknown_passkey_is_not_found_and_not_logged(
    house: HouseInProcess, application: Application, path: str
) -> None:
    logged = await house.events()
    problem = refused(
        await application.secret(path, {"credentialId": UNKNOWN, "nickname": "a"}), 404, "credential_not_found"
    )
    assert f"{house.errors_url}#credential_not_found" == problem["type"]
    assert logged == await house.events()


@pytest.mark.parametrize("path", ["/credentials/delete", "/credentials/rename"])
@pytest.mark.parametrize("credential_id", [ABSENT, None, "", " ", "a", "+/+/", "ä", "AB"])
async def test_a_passkey_is_named_by_base64url(application: Application, path: str, credential_id: Any) -> None:
    body = {"credentialId": credential_id, "nickname": "a"}
    problem = refused(await application.secret(path, body), 400, "validation_failed")
    assert ["credentialId"] == list(problem["errors"])


async def test_a_passkey_is_deleted_once(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    await Ceremonies(application).register("ann")
    (passkey,) = await ids(application)
    answers = await asyncio.gather(*(delete(application, passkey) for _ in range(20)))
    assert {204: 1, 404: 19} == Counter(each.status_code for each in answers)
    deletions = [line for line in await any_house.events() if line[0] == EventType.ApiUserDeleteCredential]
    assert 1 == len(deletions), "each change has its line, and each line its change"


async def test_a_deletion_while_sign_ins_run_ends_them_cleanly(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    ceremonies = Ceremonies(application)
    await ceremonies.register("ann")
    (passkey,) = await ids(application)
    begun = [await ceremonies.begin_sign_in() for _ in range(10)]
    bodies = [ceremonies.sign_in_body(each) for each in begun]
    ways = [application.public("/signin/complete", body) for body in bodies]
    *answers, deleted = await asyncio.gather(*ways, delete(application, passkey))
    done(deleted)
    for answer in answers:
        code = "" if answer.status_code == 200 else answer.json()["errorCode"]
        assert code in ("", "unknown_credential", "signin_complete_error"), answer.text
    assert [(0,)] == await any_house.rows("select count(*) from credential")


# --- renaming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nickname", "stored"), [("My key 🔑", "My key 🔑"), ("a" * 64, "a" * 64), (5, "5"), (None, None), ("", None)]
)
async def test_a_passkey_is_called_something_else(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies, nickname: Any, stored: str | None
) -> None:
    await ceremonies.register("ann", nickname="old")
    house.clock.move(seconds=1)
    done(await rename(application, (await ids(application))[0], nickname))
    assert [stored] == [each["nickname"] for each in await listed(application)]
    line = (EventType.ApiUserCredentialRenamed, 3, "System", "ann", application.secret_key[-4:])
    assert [line] == (await house.events())[-1:]
    assert stored == (await ceremonies.verify(await ceremonies.sign_in()))["nickname"]


@pytest.mark.parametrize(
    ("nickname", "sentence"),
    [
        ("a" * 65, "Nickname cannot be longer than 64 characters."),
        (ABSENT, "The Nickname field is required; null takes the name away."),
    ],
)
async def test_a_name_too_long_or_not_sent_changes_nothing(
    application: Application, ceremonies: Ceremonies, nickname: Any, sentence: str
) -> None:
    await ceremonies.register("ann", nickname="old")
    problem = refused(await rename(application, (await ids(application))[0], nickname), 400, "validation_failed")
    assert {"nickname": [sentence]} == problem["errors"]
    assert ["old"] == [each["nickname"] for each in await listed(application)]


# --- what browsers may keep -----------------------------------------------------------------------------------------


async def ask_accepted(application: Application, query: str = f"?userId=ann&rpid={RP_ID}") -> httpx.Response:
    return await get(application, f"/credentials/accepted{query}")


async def test_the_accepted_passkeys_are_what_the_browser_takes(
    application: Application, ceremonies: Ceremonies
) -> None:
    """WebAuthn L3, #dictdef-allacceptedcredentialsoptions."""
    await ceremonies.register("ann")
    await Ceremonies(application).register("ann")
    await ceremonies.register("bob")
    answer = accepted(await ask_accepted(application))
    expected = {"rpId": RP_ID, "userId": to_base64url(b"ann"), "allAcceptedCredentialIds": await ids(application)}
    assert expected == answer
    assert 2 == len(answer["allAcceptedCredentialIds"])


async def test_the_accepted_passkeys_are_those_of_one_rp_id(house: HouseInProcess, application: Application) -> None:
    await house.root.tenant("demo").keep_credentials([kept(1), kept(2, rp_id="other.example")])
    answer = accepted(await ask_accepted(application, "?userid=ann&RPID=other.example"))
    assert [to_base64url(kept(2).credential_id)] == answer["allAcceptedCredentialIds"]


async def test_the_user_handle_is_the_one_that_was_registered(house: HouseInProcess, application: Application) -> None:
    await house.root.tenant("demo").keep_credentials([kept(user_handle=b"\xff\x00handle")])
    assert to_base64url(b"\xff\x00handle") == accepted(await ask_accepted(application))["userId"]


@pytest.mark.parametrize("query", [f"?userId=bob&rpid={RP_ID}", "?userId=ann&rpid=other.example"])
async def test_there_is_no_empty_list_that_a_browser_would_act_upon(
    application: Application, ceremonies: Ceremonies, query: str
) -> None:
    """Told an empty list, it would take away passkeys that another server accepts, and none comes back."""
    await ceremonies.register("ann")
    await application.secret("/alias", {"userId": "bob", "aliases": ["b"]})
    problem = refused(await ask_accepted(application, query), 404, "no_accepted_credentials")
    assert "allAcceptedCredentialIds" not in problem
    assert "signalUnknownCredential" in problem["detail"]


async def test_after_the_last_passkey_went_there_is_no_list(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    done(await delete(application, (await ids(application))[0]))
    refused(await ask_accepted(application), 404, "no_accepted_credentials")


@pytest.mark.parametrize(
    ("query", "missing"), [("", ["userId", "rpid"]), ("?userId=ann", ["rpid"]), (f"?rpid={RP_ID}", ["userId"])]
)
async def test_the_user_and_the_domain_must_be_said(application: Application, query: str, missing: list[str]) -> None:
    assert missing == list(refused(await ask_accepted(application, query), 400, "validation_failed")["errors"])


# --- who may --------------------------------------------------------------------------------------------------------


async def test_another_tenants_passkeys_are_invisible_and_untouchable(
    house: HouseInProcess, application: Application
) -> None:
    other = await house.create_application("other", eventLoggingIsEnabled=True)
    for app_id, nickname in (("demo", "ours"), ("other", "theirs")):
        await house.root.tenant(app_id).keep_credentials([kept(1, nickname=nickname)])
    await house.root.tenant("demo").keep_credentials([kept(2)])
    same, ours = to_base64url(kept(1).credential_id), to_base64url(kept(2).credential_id)
    refused(await delete(other, ours), 404, "credential_not_found")
    refused(await rename(other, ours), 404, "credential_not_found")
    done(await rename(other, same, "mine"))
    assert [[ours, same], [same]] == [await ids(application), await ids(other)]
    assert {"ours", None} == {each["nickname"] for each in await listed(application)}
    done(await delete(other, same))
    assert [[ours, same], []] == [await ids(application), await ids(other)]
    refused(await ask_accepted(other), 404, "no_accepted_credentials")


CALLS: Mapping[str, tuple[str, str]] = {
    "GET /credentials/list?userId=ann": ("credentials:read", "credentials:write"),
    "POST /credentials/list": ("credentials:read", "credentials:write"),
    f"GET /credentials/accepted?userId=ann&rpid={RP_ID}": ("credentials:read", "credentials:write"),
    "POST /credentials/rename": ("credentials:write", "credentials:read"),
    "POST /credentials/delete": ("credentials:write", "credentials:read"),
}
"""The scope that a call needs, and one that is not enough."""


@pytest.mark.parametrize("call", CALLS)
async def test_a_key_needs_the_scope(house: HouseInProcess, application: Application, call: str) -> None:
    await house.root.tenant("demo").keep_credentials([kept(1)])
    method, path = call.split()
    body = {"userId": "ann", "credentialId": to_base64url(kept(1).credential_id), "nickname": "a"}
    legacy = accepted(await house.manage("/admin/apps/demo/secret-keys", {"scopes": [1]}))["apiKey"]
    scope, other = CALLS[call]
    keys = [await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({each})) for each in (other, scope)]
    answers = [
        await application.client.request(
            method, path, json=body if method == "POST" else None, headers={"ApiSecret": key}
        )
        for key in (keys[0], legacy, keys[1])
    ]
    problem = refused(answers[0], 403, "forbidden")
    assert problem["detail"].endswith(f"Required scopes: {scope}")
    assert answers[1].is_success, answers[1].text
    assert answers[2].is_success or path == "/credentials/delete", "the legacy key has deleted it"


async def test_a_public_key_opens_none_of_it(application: Application) -> None:
    wrong = replace(application, secret_key=application.public_key)
    refused(await get(wrong, "/credentials/list?userId=ann"), 401, "key_required")
    refused(await delete(wrong, UNKNOWN), 401, "key_required")
