"""The threat model names a test for every threat, and what no other file tests of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.application import Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import b64u

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
THREATS = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")


def named_tests() -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", THREATS)


@pytest.mark.parametrize(("file", "name"), sorted(set(named_tests())))
def test_a_test_that_the_threat_model_names_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_threat_names_a_test_or_says_why_there_is_none() -> None:
    rows = re.findall(r"^\| \d+ \|.*\|$", THREATS, re.MULTILINE)
    assert len(rows) > 20
    assert [] == [row for row in rows if "::test_" not in row and "Not built" not in row]


async def test_a_public_key_that_the_client_names_is_not_the_one_that_is_kept(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    """open-mercato#5296: only the attested key counts, whatever stands beside it."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    body = ceremonies.registration_body(begun)
    body["response"]["response"] |= {"publicKey": b64u(bytes(91)), "publicKeyAlgorithm": -257}
    body["response"] |= {"publicKey": b64u(bytes(91)), "credentialPublicKey": b64u(bytes(91))}
    accepted(await ceremonies.application.public("/register/complete", body))
    ((kept,),) = await house.rows("select public_key from credential")
    assert bytes(91) != kept
    await ceremonies.sign_in()


async def test_the_challenge_comes_from_the_session_and_never_from_the_request(ceremonies: Ceremonies) -> None:
    """CVE-2026-28787."""
    await ceremonies.register()
    begun = await ceremonies.begin_sign_in()
    body = ceremonies.sign_in_body(begun, challenge=bytes(32))
    body |= {"challenge": b64u(bytes(32)), "expectedChallenge": b64u(bytes(32))}
    response = await ceremonies.application.public("/signin/complete", body)
    assert "challenge_mismatch" == refused(response, 400, "signin_complete_error")["reason"]


async def test_the_user_comes_from_the_credential_and_never_from_the_request(ceremonies: Ceremonies) -> None:
    """CVE-2025-61928."""
    await ceremonies.register("ann")
    body = ceremonies.sign_in_body(await ceremonies.begin_sign_in()) | {"userId": "admin", "user": {"id": "admin"}}
    token = accepted(await ceremonies.application.public("/signin/complete", body))["token"]
    assert "ann" == (await ceremonies.verify(token))["userId"]


async def test_a_sign_in_does_not_become_a_step_up(ceremonies: Ceremonies) -> None:
    """CVE-2026-32879: the purpose is sealed into the session, and no later request can change it."""
    await ceremonies.register()
    begun = await ceremonies.begin_sign_in()
    token = accepted(await ceremonies.complete_sign_in(begun, purpose="step-up"))["token"]
    assert "sign-in" == (await ceremonies.verify(token))["purpose"]


async def test_a_copied_database_is_worth_nothing_without_the_master_key(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url) as house:
        application = await house.create_application()
        token = await Ceremonies(application).register(aliases=["ann@example.org"])
    async with HouseInProcess(sqlite_url, master_key=b"another master key, as long as it must") as copy:
        headers = {"ApiSecret": application.secret_key}
        assert not (await copy.client.post("/signin/verify", json={"token": token}, headers=headers)).is_success
        kept = str(await copy.rows("select wrapped from token_key")) + str(await copy.rows("select * from alias"))
        assert "ann@" not in kept


async def test_the_log_holds_neither_keys_nor_tokens(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """CVE-2024-8365: what goes wrong is logged by ids, never by what was sent."""
    token = await ceremonies.register()
    secret = ceremonies.application.secret_key
    headers = {"ApiKey": secret, "ApiSecret": secret, "ManagementKey": secret}
    with capture_logs() as logged:
        for path in ("/signin/verify", "/signin/begin", "/health/throw/exception", "/nothing"):
            await house.client.post(path, json={"token": token}, headers=headers)
            await house.client.get(path, headers=headers)
        await house.root.close()
        await ceremonies.ask_verify(token)
    assert {"unexpected", "unavailable"} == {line["event"] for line in logged}
    assert secret.rpartition(":")[2] not in str(logged)
    assert token[8:] not in str(logged)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_traceback_in_the_log_shows_no_variables(terminal: bool) -> None:
    """The frames of a request hold its headers and its body."""
    program = f"""
import sys
sys.stderr.isatty = lambda: {terminal}
import structlog
from narthex.main import configure_logs
configure_logs("info")
key = "demo:" + "secret:" + "0123"
def fail(given):
    raise RuntimeError("unforeseen")
try:
    fail(key)
except RuntimeError:
    structlog.get_logger().exception("unexpected")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "RuntimeError: unforeseen" in done.stderr
    assert "demo:secret:0123" not in done.stderr


@pytest.mark.parametrize("asked", [{"userId": "ann"}, {"userId": "nobody"}, {"alias": "ann@x"}, {"alias": "nobody"}])
async def test_a_known_and_an_unknown_user_are_asked_in_the_same_way(
    house: HouseInProcess, ceremonies: Ceremonies, asked: dict[str, str]
) -> None:
    """CVE-2024-39912, where the application conceals: the same members."""
    await ceremonies.register("ann", aliases=["ann@x"])
    await house.change_settings("demo", conceal_unknown_users=True)
    response = await ceremonies.ask_sign_in(**asked)
    (descriptor,) = accepted(response)["data"]["allowCredentials"]
    assert {"type", "id", "transports"} == descriptor.keys()
