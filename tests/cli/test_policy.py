"""What an application asks of authenticators, decided at the command line; and whom a decision would lock out.

The passkeys are made by a house in this process, on the database that the commands then work on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import fields

from narthex.cli.policy import Rules
from narthex.http.body import camel
from narthex.ports.changes import AddCredential
from narthex.webauthn.authenticator_policy import AuthenticatorPolicy
from tests.cli.test_cli import KEY, Operator
from tests.cli.test_cli import operator as operator
from tests.store.records import make_credential
from tests.support.application import Application, Ceremonies, HouseInProcess, accepted
from tests.support.authenticator import SoftwareAuthenticator, maker
from tests.support.metadata import AAGUID

# `main` reads `sys.argv`, as it does in a process of its own; cyclopts suspects a slip when it sees a test do that.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

MODEL, ANOTHER_MODEL = str(UUID(bytes=AAGUID)), str(UUID(bytes=bytes(15) + b"\x02"))
BOUND, SYNCED = {"backup_eligible": False}, {"backup_eligible": True}


class Demo:
    """An application that a command made, and a server on the same database."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._made = json.loads(operator.does("app", "create", "demo", "--json", "--attestation"))

    def do(self, act: Callable[[HouseInProcess, Application], Awaitable[Any]]) -> Any:
        async def visit() -> Any:
            url = f"sqlite:///{self._operator.database}"
            async with HouseInProcess(url, master_key=KEY.encode()) as house:
                keys = self._made["apiKeys"][0], self._made["apiSecrets"][0]
                return await act(house, Application(house.client, "demo", *keys))

        return asyncio.run(visit())

    def enrol(self, *users: tuple[str, dict[str, Any]]) -> None:
        async def act(house: HouseInProcess, application: Application) -> None:
            for user_id, authenticator in users:
                await Ceremonies(application, authenticator=SoftwareAuthenticator(**authenticator)).register(user_id)

        self.do(act)

    def report(self, **members: Any) -> Any:
        async def act(house: HouseInProcess, application: Application) -> Any:
            return accepted(await house.manage("/admin/apps/demo/authenticator-policy/report", members))

        return self.do(act)


@pytest.fixture
def demo(operator: Operator) -> Demo:
    return Demo(operator)


def shown(operator: Operator) -> Any:
    return json.loads(operator.does("policy", "show", "demo", "--json"))


# --- rules ----------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[list[str], Any]] = {
    **{
        name: ([f"--{name.replace('_', '-')}", "monitor"], "monitor")
        for name in ("allow_list", "deny_list", "bad_status", "attestation", "device_bound", "certification", "fips")
    },
    "fresh_metadata": (["--fresh-metadata", "enforce"], "enforce"),
    "passkeys_per_user": (["--passkeys-per-user", "enforce-new"], "enforce-new"),
    "minimum_certification": (["--minimum-certification", "L3plus"], "L3plus"),
    "minimum_fips": (["--minimum-fips", "3"], 3),
    "allowed_algorithms": (["--algorithm", "-8", "--algorithm=-7"], [-8, -7]),
    "most_passkeys": (["--most-passkeys", "5"], 5),
}
ONLY_WITH_ANOTHER = {"algorithms"}
"""The rule needs to know which ones."""


def test_every_member_of_the_policy_has_an_option() -> None:
    members = {field.name for field in fields(AuthenticatorPolicy)}
    assert members == OPTIONS.keys() | ONLY_WITH_ANOTHER
    assert members == {"allowed_algorithms" if name == "algorithm" else name for name in vars(Rules())}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_rule_is_decided_and_the_others_stay(operator: Operator, demo: Demo, name: str) -> None:
    options, decided = OPTIONS[name]
    before = shown(operator)["policy"]
    printed = operator.does("policy", "set", "demo", *options)
    assert before | {camel(name): decided} == shown(operator)["policy"]
    assert f"{name.replace('_', ' ')}: " in printed


def test_the_rule_on_algorithms_comes_with_some(operator: Operator, demo: Demo) -> None:
    assert "accepts none" in operator.fails("policy", "set", "demo", "--algorithms", "enforce")
    operator.does("policy", "set", "demo", "--algorithms", "enforce", "--algorithm", "-7")
    assert ("enforce", [-7]) == (
        shown(operator)["policy"]["algorithms"],
        shown(operator)["policy"]["allowedAlgorithms"],
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--minimum-fips", "5"], "is not from 1 to 4"),
        (["--most-passkeys", "0"], "is not from 1 to 100"),
        (["--algorithm", "5"], "is not supported"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_sentence(
    operator: Operator, demo: Demo, options: list[str], said: str
) -> None:
    before = shown(operator)
    assert said in operator.fails("policy", "set", "demo", *options)
    assert before == shown(operator)


def test_a_mode_that_does_not_exist_is_refused(operator: Operator, demo: Demo) -> None:
    assert 0 != operator.run("policy", "set", "demo", "--attestation", "strict").returncode


@pytest.mark.parametrize("command", [["show"], ["set"], ["report"], ["distrust", "anchor"], ["allow", MODEL]])
def test_an_application_that_is_not_there_is_a_sentence(operator: Operator, command: list[str]) -> None:
    said = operator.fails("policy", command[0], "nobody", *command[1:])
    assert "There is no application `nobody`." in said


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_report_has_the_numbers_that_the_api_has(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("ann", BOUND), ("bob", SYNCED), ("eve", BOUND))
    options = ["--device-bound", "enforce", "--attestation", "monitor"]
    printed = json.loads(operator.does("policy", "report", "demo", *options, "--json"))
    found = demo.report(deviceBound="enforce", attestation="monitor")
    assert found == printed
    assert (4, 3, 4, 3) == tuple(printed[name] for name in ("credentials", "users", "refused", "lockedOut"))
    assert "off" == shown(operator)["policy"]["deviceBound"], "nothing was decided"


def test_the_report_in_words(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("ann", BOUND), ("bob", SYNCED))
    lines = operator.does("policy", "report", "demo", "--device-bound", "enforce").splitlines()
    assert [
        "3 passkeys of 2 users, if every rule that is on were enforced:",
        "  2 passkeys would be refused, and 1 user locked out.",
    ] == lines[:2]
    assert ["device-bound", "enforce", "2", "2", "1"] in [line.split() for line in lines]
    assert [["ann", "device-bound"], ["bob", "device-bound"]] == [
        [words[0], words[-1]] for line in lines if len(words := line.split()) == 4 and words[0] in ("ann", "bob")
    ]
    assert "locked out: bob" == lines[-1]


def test_a_long_report_says_how_many_more_there_are(operator: Operator, demo: Demo) -> None:
    async def import_many(house: HouseInProcess, application: Application) -> None:
        many = (make_credential(f"{n}", user_id=f"user {n:03}") for n in range(130))
        await house.root.tenant("demo").commit(*map(AddCredential, many))

    demo.do(import_many)
    printed = operator.does("policy", "report", "demo", "--device-bound", "monitor")
    assert "… and 30 more." in printed
    assert printed.endswith("user 099 and 30 more\n")


def test_a_report_on_nobody(operator: Operator, demo: Demo) -> None:
    assert "0 passkeys of 0 users" in operator.does("policy", "report", "demo")


# --- nobody is locked out unawares ----------------------------------------------------------------------------------


class Terminal(StringIO):
    """Somebody is there, and types this."""

    def isatty(self) -> bool:
        return True


def test_nobody_there_to_ask_means_no(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("bob", BOUND))
    done = operator.run("policy", "set", "demo", "--device-bound", "enforce")
    assert 1 == done.returncode
    assert "locked out: ann" in done.stdout
    assert (
        "1 of 2 users would have no passkey left that signs them in. Do it all the same? Say --yes to do it."
        in done.stderr
    )
    assert "off" == shown(operator)["policy"]["deviceBound"]


def test_an_operator_may_accept_it_beforehand(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("bob", BOUND))
    printed = operator.does("policy", "set", "demo", "--device-bound", "enforce", "--yes")
    assert "locked out: ann" in printed
    assert "enforce" == shown(operator)["policy"]["deviceBound"]


@pytest.mark.parametrize(("typed", "status", "mode"), [("y\n", 0, "enforce"), ("n\n", 1, "off"), ("\n", 1, "off")])
def test_an_operator_who_is_there_is_asked(
    operator: Operator, demo: Demo, monkeypatch: pytest.MonkeyPatch, typed: str, status: int, mode: str
) -> None:
    demo.enrol(("ann", SYNCED))
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert status == operator.run("policy", "set", "demo", "--device-bound", "enforce").returncode
    assert mode == shown(operator)["policy"]["deviceBound"]


def test_what_locks_nobody_out_is_not_asked_about(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("ann", BOUND))
    operator.does("policy", "set", "demo", "--device-bound", "enforce", "--attestation", "enforce-new")


def test_the_question_comes_with_the_report_of_what_is_enforced(operator: Operator, demo: Demo) -> None:
    """A rule that is only monitored would hide, among all that it objects to, who is locked out."""
    demo.enrol(("ann", SYNCED), ("bob", BOUND))
    operator.does("policy", "set", "demo", "--attestation", "monitor")
    done = operator.run("policy", "set", "demo", "--device-bound", "enforce")
    assert ["device-bound", "enforce", "1", "1", "1"] in [line.split() for line in done.stdout.splitlines()]
    assert "attestation" not in done.stdout
    assert "bob" not in done.stdout


def test_what_was_accepted_once_is_not_asked_about_again(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED))
    operator.does("policy", "set", "demo", "--device-bound", "enforce", "--yes")
    operator.does("policy", "set", "demo", "--attestation", "enforce")
    operator.does("policy", "set", "demo", "--device-bound", "off")
    operator.does("policy", "set", "demo", "--attestation", "monitor")


WITHOUT_YES = "Do it all the same? Say --yes to do it."


def locked_out(operator: Operator, *command: str) -> None:
    """The command asks; nobody is there, and nothing is done; with --yes it is."""
    before = shown(operator)
    said = operator.fails("policy", *command)
    assert f"1 of 1 users would have no passkey left that signs them in. {WITHOUT_YES}\n" == said
    assert before == shown(operator)
    operator.does("policy", *command, "--yes")
    assert before != shown(operator)


@pytest.fixture
def listed(operator: Operator, demo: Demo, pem: Path) -> Demo:
    """`ann` has one passkey of MODEL, which our anchor attests; both lists refuse sign-ins."""
    operator.does("policy", "trust", "demo", str(pem), "--aaguid", MODEL)
    demo.enrol(("ann", {"attestation": "packed-x5c", "backup_eligible": False}))
    operator.does("policy", "set", "demo", "--allow-list", "enforce", "--deny-list", "enforce")
    return demo


def test_the_first_model_on_the_allow_list_is_asked_about(operator: Operator, listed: Demo) -> None:
    locked_out(operator, "allow", "demo", ANOTHER_MODEL)


def test_a_model_in_use_is_not_denied_unasked(operator: Operator, listed: Demo) -> None:
    operator.does("policy", "deny", "demo", ANOTHER_MODEL)
    locked_out(operator, "deny", "demo", MODEL)


def test_a_model_in_use_is_not_delisted_unasked(operator: Operator, listed: Demo) -> None:
    operator.does("policy", "allow", "demo", MODEL, ANOTHER_MODEL)
    locked_out(operator, "delist", "demo", MODEL)


def test_an_anchor_in_use_is_not_distrusted_unasked(operator: Operator, listed: Demo) -> None:
    operator.does("policy", "allow", "demo", MODEL)
    locked_out(operator, "distrust", "demo", "ours")


def test_an_anchor_in_use_is_not_narrowed_unasked(operator: Operator, listed: Demo, pem: Path) -> None:
    operator.does("policy", "allow", "demo", MODEL)
    locked_out(operator, "trust", "demo", str(pem), "--aaguid", ANOTHER_MODEL)


def test_somebody_at_a_terminal_is_asked_about_a_list(
    operator: Operator, listed: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, expected in (("n\n", {}), ("y\n", {ANOTHER_MODEL: True})):
        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        operator.run("policy", "allow", "demo", ANOTHER_MODEL)
        assert expected == models(operator)


# --- lists of models ------------------------------------------------------------------------------------------------


def models(operator: Operator) -> dict[str, bool]:
    return {model["aaGuid"]: model["isAllowed"] for model in shown(operator)["models"]}


def test_models_are_listed_also_where_the_metadata_does_not_know_them(operator: Operator, demo: Demo) -> None:
    printed = operator.does("policy", "allow", "demo", MODEL, ANOTHER_MODEL)
    assert [f"{model} is allowed: no metadata" for model in (MODEL, ANOTHER_MODEL)] == printed.splitlines()
    assert f"{MODEL} is denied" in operator.does("policy", "deny", "demo", MODEL)
    assert {MODEL: False, ANOTHER_MODEL: True} == models(operator)
    said = operator.does("policy", "show", "demo")
    assert [MODEL, "denied", "no", "metadata"] in [line.split() for line in said.splitlines()]
    assert f"{MODEL} is on neither list" in operator.does("policy", "delist", "demo", MODEL)
    assert {ANOTHER_MODEL: True} == models(operator)


def test_a_model_that_is_none_is_refused(operator: Operator, demo: Demo) -> None:
    assert 0 != operator.run("policy", "allow", "demo", "Key 5").returncode
    assert {} == models(operator)


# --- anchors --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "ours.pem"
    path.write_bytes(maker().certificate.public_bytes(Encoding.PEM))
    return path


def anchors(operator: Operator) -> list[tuple[str, list[str], bool]]:
    return [(each["name"], each["aaguids"], each["hardware"]) for each in shown(operator)["anchors"]]


def test_a_certificate_is_trusted_and_distrusted(operator: Operator, demo: Demo, pem: Path) -> None:
    operator.does("policy", "trust", "demo", str(pem))
    operator.does("policy", "trust", "demo", str(pem), "--called", "Keys", "--aaguid", MODEL, "--hardware")
    assert [("ours", [], False), ("Keys", [MODEL], True)] == anchors(operator)
    said = operator.does("policy", "show", "demo")
    assert "anchor ours: any model\n" in said
    assert f"anchor Keys: {MODEL}, keys in hardware\n" in said
    operator.does("policy", "trust", "demo", str(pem), "--aaguid", ANOTHER_MODEL)
    assert [("Keys", [MODEL], True), ("ours", [ANOTHER_MODEL], False)] == anchors(operator)
    assert "anchors: ours" in operator.does("policy", "distrust", "demo", "Keys")
    assert [("ours", [ANOTHER_MODEL], False)] == anchors(operator)


def test_an_anchor_that_is_not_there_cannot_be_distrusted(operator: Operator, demo: Demo, pem: Path) -> None:
    """A slip in its name would leave trusted what must not be."""
    operator.does("policy", "trust", "demo", str(pem))
    said = operator.fails("policy", "distrust", "demo", "Ours")
    assert "No anchor of demo is called Ours: `narthex policy show demo` prints them.\n" == said
    assert [("ours", [], False)] == anchors(operator)


def test_an_anchor_attests_what_it_vouches_for(operator: Operator, demo: Demo, pem: Path) -> None:
    demo.enrol(("ann", {"attestation": "packed-x5c"}))
    command = ["policy", "report", "demo", "--attestation", "monitor", "--json"]
    assert 1 == json.loads(operator.does(*command))["refused"]
    operator.does("policy", "trust", "demo", str(pem))
    assert 0 == json.loads(operator.does(*command))["refused"]
    operator.does("policy", "distrust", "demo", "ours")
    assert 1 == json.loads(operator.does(*command))["refused"]


def test_a_file_that_holds_no_certificate_is_a_sentence(operator: Operator, demo: Demo, pem: Path) -> None:
    missing = pem.with_name("missing.pem")
    for content, said in (
        (None, "cannot be read: No such file"),
        (b"-----BEGIN NOTHING-----", "holds no certificate in PEM form"),
        (pem.read_bytes() * 2, "holds 2 certificates: give one at a time"),
    ):
        if content is not None:
            missing.write_bytes(content)
        done = operator.run("policy", "trust", "demo", str(missing))
        assert 1 == done.returncode
        assert said in done.stderr
    assert [] == anchors(operator)
