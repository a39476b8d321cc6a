"""The official Node SDK, unmodified, as a customer's backend uses it.

Its `verifyToken` and `generateAuthenticationToken` give null for every error; only the others raise.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.ceremonies import ORIGIN, RP_ID, Page
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
    token: str = result["value"]["token"]
    return token


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
