"""The official Java SDK, unmodified, where somebody has put it: nothing else of this project needs Java.

    mvn -f tests/acceptance/java/pom.xml dependency:copy-dependencies -DoutputDirectory=lib

It compares the content type of an error as a whole, reads an instant of a token with its `Z` alone, and one of a list
without a zone. Its 1.0.6, the newest that Maven Central has, knows neither magic links nor tokens made by hand.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.ceremonies import DEVICE, ORIGIN, RP_ID, Page
from tests.support.authenticator import b64u
from tests.support.server import AppKeys, RunningServer

FOLDER = Path(__file__).parent / "java"
Calls = Callable[..., list[Any]]

pytestmark = [
    pytest.mark.skipif(shutil.which("javac") is None, reason="there is no JDK here, and only these tests want one"),
    pytest.mark.skipif(not list(FOLDER.glob("lib/passwordless-*.jar")), reason="the Java SDK was not fetched"),
]


def run_java(server: RunningServer, secret: str, *calls: list[Any], base_path: str = "") -> list[Any]:
    """Call methods of the SDK in turn, in a Java process of their own, which compiles its one file first."""
    asked = {"apiUrl": server.base_url + base_path, "secret": secret, "calls": calls}
    done = subprocess.run(
        ["java", "-cp", "lib/*", "Backend.java"],
        cwd=FOLDER,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


@pytest.fixture
def sdk(server: RunningServer, app: AppKeys) -> Calls:
    def call(*calls: list[Any], base_path: str = "") -> list[Any]:
        return run_java(server, app.secret, *calls, base_path=base_path)

    return call


def values(results: list[Any]) -> list[Any]:
    return [result["value"] for result in results]


def test_every_method_does_what_it_says(sdk: Calls, app: AppKeys, page: Page) -> None:
    [registration] = values(sdk(["registerToken", {"userId": "user-1", "aliases": ["ann"]}]))
    made_token = page.register(registration["token"], nickname="Laptop")
    used_token = page.sign_in(alias="ann")
    [kept] = page.authenticator.credentials
    made, used, credentials, aliases, users, _, replaced, _, deleted, _, emptied, _ = values(
        sdk(
            ["signIn", made_token],
            ["signIn", used_token],
            ["getCredentials", "user-1"],
            ["getAliases", "user-1"],
            ["getUsers"],
            ["setAlias", {"userId": "user-1", "aliases": ["anna"]}],
            ["getAliases", "user-1"],
            ["deleteCredential", b64u(kept.credential_id)],
            ["getCredentials", "user-1"],
            ["deleteUser", "user-1"],
            ["getUsers"],
            ["updateAppsFeature", 7],
        )
    )

    expected = {"success": True, "userId": "user-1", "nickname": "Laptop", "rpId": RP_ID, "origin": ORIGIN}
    for user, kind in ((made, "passkey_register"), (used, "passkey_signin")):
        assert {**expected, "type": kind, "device": DEVICE, "country": ""} == {
            name: user[name] for name in (*expected, "type", "device", "country")
        }
        assert kept.credential_id == b64decode(user["credentialId"])
        assert UUID(user["tokenId"]).version == 7
        assert 120 == (_instant(user["expiresAt"]) - _instant(user["timestamp"])).total_seconds()

    [credential] = credentials
    assert (b64u(kept.credential_id), "user-1", "none", "Laptop") == (
        credential["descriptor"]["id"],
        credential["userId"],
        credential["attestationFmt"],
        credential["nickname"],
    )
    assert credential["createdAt"] < credential["lastUsedAt"]
    assert credential["rpId"] is None, "this SDK looks for `rpId` in lists too, where it is `rpid`"

    assert [("ann", app.app_id)] == [(alias["plaintext"], alias["tenant"]) for alias in aliases]
    assert [{"userId": "user-1", "aliasCount": 1, "aliases": ["ann"], "credentialsCount": 1}] == [
        {name: user[name] for name in user if name != "lastUsedAt"} for user in users
    ]
    assert credential["lastUsedAt"] == users[0]["lastUsedAt"]
    assert [None] == [alias["plaintext"] for alias in replaced]
    assert ([], []) == (deleted, emptied)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_refusals_are_read_with_all_their_members(sdk: Calls) -> None:
    results = sdk(
        ["setAlias", {"userId": "user-2", "aliases": ["ann"]}],
        ["registerToken", {"userId": "user-1", "aliases": ["ann"]}],
        ["setAlias", {"userId": "user-1", "aliases": ["ann"]}],
        ["signIn", "verify_something!"],
        ["deleteCredential", "q1w2e3r4"],
        ["getCredentials", ""],
        ["deleteUser", ""],
    )
    refusals = [result["refusal"] for result in results[1:]]
    assert [
        (409, "alias_conflict"),
        (409, "alias_conflict"),
        (400, "invalid_token_format"),
        (404, "credential_not_found"),
        (400, "missing_userid"),
        (400, "validation_failed"),
    ] == [(refusal["status"], refusal["errorCode"]) for refusal in refusals]
    assert {"userId": ["The UserId field is required."]} == refusals[-1]["errors"]
    assert all(refusal["title"] and refusal["type"].startswith("http") for refusal in refusals)


def test_a_wrong_secret_raises_the_sdks_error(server: RunningServer, app: AppKeys) -> None:
    [result] = run_java(server, f"{app.app_id}:secret:{'0' * 32}", ["getUsers"])
    refusal = result["refusal"]
    assert (401, "A valid 'ApiSecret' header is required.") == (refusal["status"], refusal["title"])
    assert "The value of your 'ApiSecret' is not valid." == refusal["detail"]


@pytest.mark.parametrize("base_path", ["/", "/api", "/api/"])
def test_the_address_may_end_in_a_slash_or_in_api(sdk: Calls, base_path: str) -> None:
    assert [[]] == values(sdk(["getUsers"], base_path=base_path))
