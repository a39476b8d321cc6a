"""The official Node SDK, unmodified, as a customer's backend uses it.

Its `verifyToken` and `generateAuthenticationToken` give null for every error; only the others raise.
"""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import cbor2
import httpx
import pytest

from tests.acceptance.ceremonies import DEVICE, ORIGIN, RP_ID, Page
from tests.acceptance.mailbox import URL_TEMPLATE, Mailbox, click, token_of
from tests.support.authenticator import b64u, unb64u
from tests.support.server import AppKeys, RunningServer

FOLDER = Path(__file__).parent.parent / "browser"
Calls = Callable[..., list[Any]]


def run_node(server: RunningServer, secret: str, *calls: list[Any], base_path: str = "") -> list[Any]:
    """Call methods of the SDK in turn, in a Node process of their own."""
    asked = {"baseUrl": server.base_url + base_path, "secret": secret, "calls": calls}
    done = subprocess.run(
        ["node", "backend.mjs"], cwd=FOLDER, input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


@pytest.fixture
def sdk(server: RunningServer, app: AppKeys) -> Calls:
    def call(*calls: list[Any], base_path: str = "") -> list[Any]:
        return run_node(server, app.secret, *calls, base_path=base_path)

    return call


def register_token(sdk: Calls, **options: Any) -> str:
    [result] = sdk(["createRegisterToken", {"userId": "user-1", "username": "ann", **options}])
    assert "value" in result, result
    token: str = result["value"]["token"]
    return token


def enroll(sdk: Calls, page: Page, **options: Any) -> None:
    page.register(register_token(sdk, **options))


def value(sdk: Calls, method: str, *arguments: Any) -> Any:
    """What one call gives."""
    [result] = sdk([method, *arguments])
    return result["value"]


def refused(sdk: Calls, method: str, *arguments: Any) -> tuple[int, str]:
    """Status and code of the `ApiException` that one call throws."""
    [result] = sdk([method, *arguments])
    refusal = result["refusal"]
    assert refusal["title"]
    assert refusal["type"].endswith(f"/errors#{refusal['errorCode']}")
    return refusal["status"], refusal["errorCode"]


def wrong_members(sdk: Calls, method: str, *arguments: Any) -> dict[str, list[str]]:
    """What an `ApiException` of validation says of each member."""
    [result] = sdk([method, *arguments])
    assert 400 == result["refusal"]["status"]
    errors: dict[str, list[str]] = result["refusal"]["errors"]
    return errors


def switch(server: RunningServer, app: AppKeys, **features: bool) -> None:
    """Switch features of the application, for which the SDK has no method."""
    answer = httpx.post(f"{server.base_url}/apps/features", headers={"ApiSecret": app.secret}, json=features)
    assert 204 == answer.status_code, answer.text


# --- passkeys are made and used -------------------------------------------------------------------------------------


def test_a_passkey_is_registered_and_used(sdk: Calls, page: Page) -> None:
    made_token = page.register(register_token(sdk, aliases=["ann@example.org"]), nickname="Laptop")
    used_token = page.sign_in(alias="ann@example.org")
    made, used = (result["value"] for result in sdk(["verifyToken", made_token], ["verifyToken", used_token]))
    expected = {"success": True, "userId": "user-1", "nickname": "Laptop", "origin": ORIGIN, "rpid": RP_ID}
    assert expected == {name: made[name] for name in expected}
    assert expected == {name: used[name] for name in expected}
    assert ("passkey_register", "passkey_signin") == (made["type"], used["type"])
    assert made["credentialId"] == used["credentialId"]


def test_a_registration_with_every_option(sdk: Calls, page: Page) -> None:
    token = register_token(
        sdk,
        displayName="Ann",
        attestation="none",
        authenticatorType="platform",
        discoverable=False,
        userVerification="discouraged",
        aliases=["ann"],
        aliasHashing=False,
        expiresAt=(datetime.now(UTC) + timedelta(minutes=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    begun = page.begin_registration(token)["data"]
    assert ("ann", "Ann") == (begun["user"]["name"], begun["user"]["displayName"])
    assert {
        "authenticatorAttachment": "platform",
        "residentKey": "discouraged",
        "requireResidentKey": False,
        "userVerification": "discouraged",
    } == begun["authenticatorSelection"]


def test_options_made_by_the_sdks_own_class_are_understood(sdk: Calls, page: Page) -> None:
    options = {"new": "RegisterOptions", "set": {"userId": "user-1", "username": "ann"}}
    begun = page.begin_registration(value(sdk, "createRegisterToken", options)["token"])["data"]
    assert ("ann", "none", True) == (
        begun["user"]["name"],
        begun["attestation"],
        begun["authenticatorSelection"]["requireResidentKey"],
    )


def test_a_user_id_may_be_a_number(sdk: Calls, page: Page) -> None:
    """The documentation's samples send one; JavaScript does not mind what its types say."""
    begun = page.begin_registration(register_token(sdk, userId=123, username="ann"))["data"]
    assert b64u(b"123") == begun["user"]["id"]
    assert b"123" == unb64u(begun["user"]["id"])


def test_a_token_made_by_hand_is_verified(sdk: Calls) -> None:
    [made] = sdk(["generateAuthenticationToken", {"userId": "user-1", "timeToLive": 30}])
    [verified] = sdk(["verifyToken", made["value"]["token"]])
    assert ("user-1", "generated_signin") == (verified["value"]["userId"], verified["value"]["type"])


def test_a_wrong_secret_raises_the_sdks_error(server: RunningServer, app: AppKeys) -> None:
    wrong = f"{app.app_id}:secret:{'0' * 32}"
    [result] = run_node(server, wrong, ["createRegisterToken", {"userId": "user-1", "username": "ann"}])
    refusal = result["refusal"]
    assert (401, "A valid 'ApiSecret' header is required.") == (refusal["status"], refusal["title"])
    assert "The value of your 'ApiSecret' is not valid." == refusal["detail"]


def test_what_fails_validation_names_the_members(sdk: Calls) -> None:
    [result] = sdk(["createRegisterToken", {"userId": "", "username": "ann"}])
    refusal = result["refusal"]
    assert (400, {"userId": ["The UserId field is required."]}) == (refusal["status"], refusal["errors"])


@pytest.mark.parametrize("token", ["verify_something!", "register_something", ""])
def test_a_bad_token_is_null(sdk: Calls, token: str) -> None:
    assert [{"value": None}] == sdk(["verifyToken", token])


def test_a_token_is_verified_once(sdk: Calls, page: Page) -> None:
    token = page.register(register_token(sdk))
    first, second = sdk(["verifyToken", token], ["verifyToken", token])
    assert ("user-1", None) == (first["value"]["userId"], second["value"])


@pytest.mark.parametrize("base_path", ["/", "/api", "/api/"])
def test_the_address_may_end_in_a_slash_or_in_api(sdk: Calls, base_path: str) -> None:
    [result] = sdk(["createRegisterToken", {"userId": "user-1", "username": "ann"}], base_path=base_path)
    assert result["value"]["token"].startswith("register_")


# --- aliases --------------------------------------------------------------------------------------------------------


def alias_of(app: AppKeys, alias: str, *, plaintext: str | None = None) -> dict[str, Any]:
    """An alias of `user-1` as the compatible API lists it: by the hash of the application's id and the alias."""
    name = b64encode(sha256(f"{app.app_id}{alias}".encode()).digest()).decode()
    return {"userId": "user-1", "alias": name, "plaintext": plaintext, "tenant": app.app_id}


def test_aliases_are_set_listed_and_replaced(sdk: Calls, app: AppKeys) -> None:
    results = sdk(
        ["setAliases", {"userId": "user-1", "aliases": ["ann"], "hashing": True}],
        ["listAliases", "user-1"],
        ["setAliases", {"userId": "user-1", "aliases": ["anna"], "hashing": False}],
        ["listAliases", "user-1"],
        ["setAliases", {"userId": "user-1", "aliases": []}],
        ["listAliases", "user-1"],
    )
    done = {"status": 204, "body": ""}
    assert [done, [alias_of(app, "ann")], done, [alias_of(app, "anna", plaintext="anna")], done, []] == [
        result["value"] for result in results
    ]


def test_aliases_are_hashed_unless_the_backend_says_otherwise(sdk: Calls, app: AppKeys) -> None:
    value(sdk, "setAliases", {"userId": "user-1", "aliases": ["ann"]})
    assert [alias_of(app, "ann")] == value(sdk, "listAliases", "user-1")


def test_an_alias_that_was_set_signs_in(sdk: Calls, page: Page) -> None:
    enroll(sdk, page)
    value(sdk, "setAliases", {"userId": "user-1", "aliases": ["ann@example.org"]})
    assert 1 == len(page.begin_sign_in(alias="ann@example.org")["data"]["allowCredentials"])
    assert "user-1" == value(sdk, "verifyToken", page.sign_in(alias="ann@example.org"))["userId"]


def test_an_alias_of_somebody_else_raises_the_sdks_error(sdk: Calls) -> None:
    value(sdk, "setAliases", {"userId": "user-2", "aliases": ["ann"]})
    taken = {"userId": "user-1", "aliases": ["ann"]}
    assert (409, "alias_conflict") == refused(sdk, "setAliases", taken)
    assert (409, "alias_conflict") == refused(sdk, "createRegisterToken", {**taken, "username": "ann"})
    assert [] == value(sdk, "listAliases", "user-1")


def test_a_user_id_is_taken_as_the_sdk_writes_it_into_the_address(sdk: Calls) -> None:
    """It writes it as it stands: `&`, `#`, `+` and `%` must be encoded by the backend, and most others need not be."""
    for user_id in ("ann@example.org", "Åsa", "a/b:c"):
        value(sdk, "setAliases", {"userId": user_id, "aliases": [f"alias of {user_id}"]})
        assert [user_id] == [alias["userId"] for alias in value(sdk, "listAliases", user_id)]
    value(sdk, "setAliases", {"userId": "a+b&c=d#e%41", "aliases": ["ann"]})
    listed = value(sdk, "listAliases", quote("a+b&c=d#e%41", safe=""))
    assert ["a+b&c=d#e%41"] == [alias["userId"] for alias in listed]
    assert [] == value(sdk, "listAliases", "a+b&c=d#e%41")


@pytest.mark.parametrize("body", [{"userId": "user-1"}, {"userId": "user-1", "aliases": [str(n) for n in range(11)]}])
def test_aliases_that_break_the_rules_are_named(sdk: Calls, body: dict[str, Any]) -> None:
    """Those that are left out too: the SDK's type lets them."""
    assert ["aliases"] == list(wrong_members(sdk, "setAliases", body))


# --- credentials and users ------------------------------------------------------------------------------------------


def test_credentials_are_listed_whole(sdk: Calls, page: Page) -> None:
    page.register(register_token(sdk), nickname="Laptop")
    [kept] = page.authenticator.credentials
    [listed] = value(sdk, "listCredentials", "user-1")
    expected = {
        "descriptor": {"type": "public-key", "id": b64u(kept.credential_id)},
        "userHandle": b64encode(b"user-1").decode(),
        "signatureCounter": 0,
        "attestationFmt": "none",
        "aaGuid": str(UUID(listed["aaGuid"])),
        "rpid": RP_ID,
        "origin": ORIGIN,
        "country": "",
        "device": DEVICE,
        "nickname": "Laptop",
        "userId": "user-1",
        "backupState": kept.backup_eligible,
        "isBackupEligible": kept.backup_eligible,
    }
    assert expected == {name: listed[name] for name in expected}
    assert kept.key.cose() == cbor2.loads(b64decode(listed["publicKey"]))
    assert None is datetime.fromisoformat(listed["createdAt"]).tzinfo
    assert None is datetime.fromisoformat(listed["lastUsedAt"]).tzinfo


def test_a_deleted_credential_is_gone_and_signs_nobody_in(sdk: Calls, page: Page) -> None:
    enroll(sdk, page)
    [kept] = page.authenticator.credentials
    deleted, listed = sdk(
        ["deleteCredential", {"bytes": b64u(kept.credential_id)}],
        ["listCredentials", "user-1"],
    )
    assert ({"status": 204, "body": ""}, []) == (deleted["value"], listed["value"])
    with pytest.raises(AssertionError, match="unknown_credential"):
        page.sign_in()


def test_a_credential_that_is_not_there_raises_the_sdks_error(sdk: Calls) -> None:
    assert (404, "credential_not_found") == refused(sdk, "deleteCredential", {"bytes": "q1w2e3r4"})


def test_whose_credentials_must_be_said(sdk: Calls) -> None:
    assert [] == value(sdk, "listCredentials", "nobody")
    assert (400, "missing_userid") == refused(sdk, "listCredentials", "")


def test_a_deleted_user_leaves_nothing_behind(sdk: Calls, page: Page) -> None:
    enroll(sdk, page, aliases=["ann"])
    deleted, again, credentials, aliases = sdk(
        ["deleteUser", "user-1"], ["deleteUser", "user-1"], ["listCredentials", "user-1"], ["listAliases", "user-1"]
    )
    done = {"status": 200, "body": ""}
    assert (done, done, [], []) == tuple(each["value"] for each in (deleted, again, credentials, aliases))


def test_who_is_to_be_deleted_must_be_said(sdk: Calls) -> None:
    assert {"userId": ["The UserId field is required."]} == wrong_members(sdk, "deleteUser", "")


def test_another_application_sees_and_deletes_nothing(
    sdk: Calls, server: RunningServer, app: AppKeys, page: Page
) -> None:
    enroll(sdk, page, aliases=["ann"])
    [kept] = page.authenticator.credentials
    stranger = server.create_app(f"{app.app_id}stranger").secret
    credentials, aliases, deleted, refusal = run_node(
        server,
        stranger,
        ["listCredentials", "user-1"],
        ["listAliases", "user-1"],
        ["deleteUser", "user-1"],
        ["deleteCredential", {"bytes": b64u(kept.credential_id)}],
    )
    assert ([], [], 200) == (credentials["value"], aliases["value"], deleted["value"]["status"])
    assert 404 == refusal["refusal"]["status"]
    assert 1 == len(value(sdk, "listCredentials", "user-1"))


# --- tokens without a passkey ---------------------------------------------------------------------------------------


def test_a_request_made_by_the_sdks_own_class_is_understood(sdk: Calls) -> None:
    """Without a time to live it is left out: JSON has no `undefined`."""
    request = {"new": "GenerateAuthenticationTokenRequest", "with": ["user-1"]}
    token = value(sdk, "generateAuthenticationToken", request)["token"]
    assert "user-1" == value(sdk, "verifyToken", token)["userId"]


def test_a_token_that_cannot_be_made_is_null(sdk: Calls, server: RunningServer, app: AppKeys) -> None:
    assert value(sdk, "generateAuthenticationToken", {"userId": "user-1", "timeToLive": 0}) is None
    switch(server, app, enableManuallyGeneratedAuthenticationTokens=False)
    assert value(sdk, "generateAuthenticationToken", {"userId": "user-1"}) is None
    switch(server, app, enableManuallyGeneratedAuthenticationTokens=True)
    assert value(sdk, "generateAuthenticationToken", {"userId": "user-1"})["token"].startswith("verify_")


def test_an_expired_token_is_null(sdk: Calls) -> None:
    token = value(sdk, "generateAuthenticationToken", {"userId": "user-1", "timeToLive": 1})["token"]
    time.sleep(1.1)
    assert value(sdk, "verifyToken", token) is None


# --- magic links ----------------------------------------------------------------------------------------------------


@pytest.fixture
def address(app: AppKeys) -> str:
    """A mail address that no other test has."""
    return f"{app.app_id}.node@shop.example.org"


def link(address: str, *more: Any, template: str = URL_TEMPLATE, user_id: str = "user-1") -> dict[str, Any]:
    return {"new": "SendMagicLinkRequest", "with": [address, template, user_id, *more]}


def test_a_magic_link_signs_in(sdk: Calls, mailbox: Mailbox, address: str) -> None:
    assert {"status": 204, "body": ""} == value(sdk, "sendMagicLink", link(address, 60))
    verified = value(sdk, "verifyToken", token_of(click(mailbox.link_to(address))))
    expected = {"success": True, "userId": "user-1", "type": "magic_link", "purpose": None, "rpId": None, "rpid": ""}
    assert expected == {name: verified[name] for name in expected}


def test_what_makes_no_magic_link_raises_the_sdks_error(
    sdk: Calls, server: RunningServer, app: AppKeys, mailbox: Mailbox, address: str
) -> None:
    no_token = wrong_members(sdk, "sendMagicLink", link(address, template="https://shop.example.org"))
    [sentence] = no_token["urlTemplate"]
    assert sentence.startswith("You have provided a UrlTemplate without a $TOKEN template.")
    assert ["emailAddress"] == list(wrong_members(sdk, "sendMagicLink", link("ann")))
    assert ["timeToLive"] == list(wrong_members(sdk, "sendMagicLink", link(address, 604_801)))
    switch(server, app, enableMagicLinks=False)
    assert (403, "magic_links_off") == refused(sdk, "sendMagicLink", link(address))
    assert [] == mailbox.to(address)


def test_a_quota_that_is_used_up_raises_the_sdks_error(server: RunningServer, app: AppKeys, address: str) -> None:
    without_quota = server.create_app(f"{app.app_id}none").secret
    [result] = run_node(server, without_quota, ["sendMagicLink", link(address)])
    assert (429, "magic_link_email_quota_exceeded") == (result["refusal"]["status"], result["refusal"]["errorCode"])
