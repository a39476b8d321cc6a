"""What an operator does without a browser: applications, keys, users, passkeys, the event log, webhooks and jobs.

Each command once for what it is there for, and once for what it refuses. Users come by a server in this process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from typing import Any

import pytest
from cyclopts import App

from narthex.cli import app
from narthex.cli.operator import parse_instant, print_table
from narthex.usecases import webhook
from narthex.usecases.webhook import queue_test
from tests.cli.test_cli import MAIL, NARTHEX, Operator
from tests.cli.test_cli import operator as operator
from tests.cli.test_policy import BOUND, SYNCED, Demo
from tests.cli.test_policy import demo as demo
from tests.support.application import Application, HouseInProcess

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOBODY = "00000000-0000-4000-8000-000000000000"


def told(operator: Operator, *command: str) -> Any:
    """What a command says to a script."""
    return json.loads(operator.does(*command, "--json"))


def leaves(above: App = app, *path: str) -> dict[str, App]:
    """Every command by its whole name."""
    found: dict[str, App] = {}
    for name in above:
        if not name.startswith("-"):
            found |= leaves(above[name], *path, name) or {" ".join((*path, name)): above[name]}
    return found


# --- applications ---------------------------------------------------------------------------------------------------


def test_an_application_is_frozen_and_opened_again(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    assert "demo: frozen since" in operator.does("app", "freeze", "demo", "--yes")
    assert "frozen since" in operator.does("app", "list")
    assert "closed with the application" in operator.does("key", "list", "demo")
    assert told(operator, "app", "unfreeze", "demo")["frozenAt"] is None
    assert "open" in operator.does("app", "list")


def test_what_cannot_be_taken_back_is_not_done_unasked(operator: Operator, demo: Demo) -> None:
    """Nobody is there to answer: standard input is no terminal."""
    demo.enrol(("ann", SYNCED))
    operator.does("config", "add", "demo", "pay")
    operator.does("alias", "set", "demo", "ann", "ann@a.test")
    key = told(operator, "key", "list", "demo")[0]["id"]
    passkey = told(operator, "credential", "list", "demo", "ann")["values"][0]["descriptor"]["id"]
    hook = told(operator, "webhook", "create", "demo", "https://a.test/hook")["id"]
    before = operator.does("app", "list"), told(operator, "user", "show", "demo", "ann")["credentials"]
    for command, losses in (
        (["app", "freeze", "demo"], "Nobody signs in to demo"),
        (["app", "delete", "demo"], "demo has 1 user with 1 passkey."),
        (["app", "delete", "demo", "--now"], "deleted now and for good"),
        (["key", "delete", "demo", key], f"***{key}"),
        (["user", "delete", "demo", "ann"], "1 passkey and 1 alias"),
        (["credential", "delete", "demo", passkey], "the user has no other"),
        (["alias", "set", "demo", "ann"], "has 1 alias"),
        (["config", "delete", "demo", "pay"], "was never used"),
        (["webhook", "delete", "demo", hook], "0 messages"),
    ):
        said = operator.fails(*command)
        assert losses in said
        assert "Say --yes to do it." in said
    assert before == (operator.does("app", "list"), told(operator, "user", "show", "demo", "ann")["credentials"])
    assert [hook] == [each["id"] for each in told(operator, "webhook", "list", "demo")]


def test_a_young_application_is_deleted_at_once(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    assert told(operator, "app", "delete", "demo", "--yes")["isDeleted"] is True
    assert {"applications": []} == told(operator, "app", "list")


def old_with_a_user(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED))
    operator.execute("update application set created_at = created_at - 30 * 86400000000")


def test_an_old_application_with_users_has_a_month_to_come_back(operator: Operator, demo: Demo) -> None:
    old_with_a_user(operator, demo)
    printed = operator.does("app", "delete", "demo", "--yes")
    assert "demo is closed, and deleted at" in printed
    assert "deleted at" in operator.does("app", "list")
    assert "is marked for deletion already" in operator.fails("app", "delete", "demo", "--yes")
    assert told(operator, "app", "cancel-delete", "demo")["deleteAt"] is None
    assert 1 == len(told(operator, "user", "list", "demo")["values"])


def test_an_application_is_deleted_before_its_time_if_that_is_said(operator: Operator, demo: Demo) -> None:
    old_with_a_user(operator, demo)
    operator.does("app", "delete", "demo", "--yes")
    assert "demo is deleted.\n" == operator.does("app", "delete", "demo", "--now", "--yes")
    assert "There is no application `demo`." in operator.fails("app", "show", "demo")


def test_the_history_says_what_was_decided(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    operator.does("app", "set", "demo", "--max-users", "5")
    printed = operator.does("app", "history", "demo")
    assert "maxUsers: - -> 5" in printed
    assert "as it began" in printed
    assert {"maxUsers": {"from": None, "to": 5}} == told(operator, "app", "history", "demo")["revisions"][0]["changes"]


@pytest.mark.parametrize("command", [name for name in leaves() if name.split()[0] in ("app", "key", "events")])
def test_an_application_that_is_not_there_is_told(operator: Operator, command: str) -> None:
    members = {"app move": ["--end"], "app answer-for": ["a.test"], "key create": ["--scope", "all"]}
    more = members.get(command, ["1234"] if command.startswith("key ") and command != "key list" else [])
    if command not in ("app create", "app list"):
        assert "There is no application `nobody`." in operator.fails(*command.split(), "nobody", *more)


def test_a_new_application_may_send_magic_links(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    shown = told(operator, "app", "show", "demo")
    assert (True, 1_000) == (shown["eventLogging"], shown["magicLinkMonthlyQuota"])


# --- templates ------------------------------------------------------------------------------------------------------


def test_templates_may_be_files_in_a_directory(operator: Operator) -> None:
    mails = operator.directory / "mails"
    mails.mkdir()
    (mails / "magic-link.de.txt").write_text("Subject: Anmelden\n\nHier: $LINK\n")
    (mails / "magic-link.de.html").write_text("<a href='$LINK'>hier</a>")
    operator.does("app", "create", "demo", "--mail-templates", "mails")
    expected = MAIL | {"subject": "Anmelden", "text": "Hier: $LINK\n", "html": "<a href='$LINK'>hier</a>"}
    assert [expected] == told(operator, "app", "show", "demo")["mailTemplates"]
    assert "mail templates: magic-link de\n" in operator.does("app", "show", "demo")
    (operator.directory / "none").mkdir()
    assert [] == told(operator, "app", "set", "demo", "--mail-templates", "none")["mailTemplates"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "cannot be read"),
        ({"mails": "{}"}, "holds no list of mail templates"),
        ({"mails": "no json"}, "holds no list of mail templates"),
        ({"mails/magic-link.txt": "Hello\n\n$LINK"}, "does not begin with `Subject: `"),
        ({"mails/magic-link.html": "$LINK"}, "no magic-link.txt"),
        ({"mails/magic-link.txt": "Subject: a\n\nno link"}, "has no `$LINK`"),
        ({"mails/what.txt": "Subject: a\n\nb"}, "is no kind of mail"),
    ],
)
def test_templates_that_are_none_are_refused(operator: Operator, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (operator.directory / name).parent.mkdir(exist_ok=True)
        (operator.directory / name).write_text(text)
    assert said in operator.fails("app", "create", "demo", "--mail-templates", "mails")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_new_key_stands_alone_on_standard_output(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    done = operator.run("key", "create", "demo", "--scope", "users:read", "--name", "shop", "--expires", "90d")
    assert re.fullmatch(r"demo:secret:[0-9a-f]{32}\n", done.stdout)
    assert "It is shown only now." in done.stderr
    kept = next(each for each in told(operator, "key", "list", "demo") if each["id"] == done.stdout.strip()[-4:])
    assert ("shop", ["users:read"]) == (kept["name"], kept["scopes"])
    assert timedelta(days=89) < datetime.fromisoformat(kept["expiresAt"]) - datetime.now(UTC) < timedelta(days=91)


def test_a_key_opens_what_it_was_made_for(operator: Operator, demo: Demo) -> None:
    key = operator.does("key", "create", "demo", "--scope", "users:read").strip()

    async def act(house: HouseInProcess, application: Application) -> None:
        headers = {"ApiSecret": key}
        assert 200 == (await house.client.get("/users/list", headers=headers)).status_code
        assert 403 == (await house.client.get("/events?pageNumber=1", headers=headers)).status_code

    demo.do(act)


def test_a_public_key_needs_no_scope(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    key = told(operator, "key", "create", "demo", "--kind", "public")["apiKey"]
    kept = next(each for each in told(operator, "key", "list", "demo") if each["id"] == key[-4:])
    assert ["login", "register"] == kept["scopes"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Say --scope all, or any of: aliases:read"),
        (["--scope", "everything"], "`everything` is no scope of a secret key"),
        (["--scope", "all", "--network", "here"], "`here` is no network"),
        (["--scope", "all", "--expires", "soon"], "`soon` is no instant"),
        (["--scope", "all", "--expires", "2020-01-01"], "expired already"),
    ],
)
def test_a_key_that_cannot_be_is_refused(operator: Operator, options: list[str], said: str) -> None:
    operator.does("app", "create", "demo")
    assert said in operator.fails("key", "create", "demo", *options)
    assert 4 == len(told(operator, "key", "list", "demo"))


def test_a_key_is_revised_where_something_is_named(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    made = ["--scope", "users:read", "--name", "shop", "--network", "192.0.2.0/24", "--expires", "9d"]
    key = operator.does("key", "create", "demo", *made).strip()[-4:]
    before = next(each for each in told(operator, "key", "list", "demo") if each["id"] == key)
    assert before | {"scopes": ["events:read"]} == told(
        operator, "key", "revise", "demo", key, "--scope", "events:read"
    )
    revised = told(operator, "key", "revise", "demo", key, "--empty-network", "--expires", "never", "--name", "")
    assert ([], None, "") == (revised["networks"], revised["expiresAt"], revised["name"])


def test_a_legacy_key_is_marked_and_keeps_what_it_may_when_it_is_rotated(operator: Operator) -> None:
    made = told(operator, "app", "create", "demo")
    key = made["apiSecrets"][0][-4:]
    operator.execute(f"update api_key set legacy = 1, scopes = '[\"token_verify\"]' where hint = '{key}'")
    printed = operator.does("key", "list", "demo")
    assert re.search(rf"{key} +secret +- +legacy, open +never +token_verify", printed)
    assert "A legacy key may do whatever" in printed
    done = operator.run("key", "rotate", "demo", key)
    assert "The old key ends at" in done.stderr
    successor = next(each for each in told(operator, "key", "list", "demo") if each["id"] == done.stdout.strip()[-4:])
    assert {"token_verify", "users:read"} <= set(successor["scopes"])
    assert not {"token_register", "webhooks:write"} & set(successor["scopes"])
    revised = told(operator, "key", "revise", "demo", key, "--name", "old")
    assert (False, successor["scopes"]) == (revised["isLegacy"], revised["scopes"])


def test_two_keys_overlap_for_90_days_at_most(operator: Operator) -> None:
    key = told(operator, "app", "create", "demo")["apiSecrets"][0][-4:]
    assert "90 days at most" in operator.fails("key", "rotate", "demo", key, "--overlap", "91d")
    assert {"apiKey", "oldKeyExpiresAt"} == told(operator, "key", "rotate", "demo", key, "--overlap", "0s").keys()


def test_a_key_is_locked_unlocked_and_deleted(operator: Operator) -> None:
    key = told(operator, "app", "create", "demo")["apiSecrets"][0][-4:]
    assert "locked" in operator.does("key", "lock", "demo", key)
    assert told(operator, "key", "unlock", "demo", key)["isLocked"] is False
    assert f"Key ***{key} is deleted.\n" == operator.does("key", "delete", "demo", key, "--yes")
    assert 3 == len(told(operator, "key", "list", "demo"))
    for command in ("revise", "rotate", "lock", "unlock", "delete"):
        assert f"Application `demo` has no key `{key}`." in operator.fails("key", command, "demo", key)


# --- users, passkeys, aliases ---------------------------------------------------------------------------------------


def test_users_are_listed_in_portions_and_found(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("bob", BOUND), ("-carl", BOUND))
    first = told(operator, "user", "list", "demo", "--limit", "2")
    assert ["-carl", "ann"] == [each["userId"] for each in first["values"]]
    rest = told(operator, "user", "list", "demo", "--limit", "2", "--cursor", first["nextCursor"])
    assert ["bob"] == [each["userId"] for each in rest["values"]]
    printed = operator.does("user", "list", "demo", "--limit", "1")
    assert "There are more: add `--cursor " in printed
    assert "bob" not in operator.does("user", "list", "demo", "--search", "an")
    assert "There is nobody of this name.\n" == operator.does("user", "list", "demo", "--search", "zoe")
    assert "cursor cannot be read" in operator.fails("user", "list", "demo", "--cursor", "AAAA")


def test_a_user_is_shown_and_deleted(operator: Operator, demo: Demo) -> None:
    demo.enrol(("-ann", SYNCED))
    operator.does("alias", "set", "demo", "-ann", "ann@a.test", "--plain")
    printed = operator.does("user", "show", "demo", "-ann")
    assert "user: -ann\naliases: ann@a.test\n" in printed
    assert "ApiUserSetAliases" in printed
    shown = told(operator, "user", "show", "demo", "-ann")
    assert (1, "ann@a.test") == (len(shown["credentials"]), shown["aliases"][0]["plaintext"])
    expected = {"userId": "-ann", "credentialsDeleted": 1, "aliasesDeleted": 1}
    assert expected == told(operator, "user", "delete", "demo", "-ann", "--yes")
    for command in (["show"], ["delete", "--yes"]):
        assert "There is no user `-ann`." in operator.fails("user", *command, "demo", "-ann")
    assert "There is nobody.\n" == operator.does("user", "list", "demo")


def test_a_passkey_is_renamed_and_deleted(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("ann", BOUND))
    first, second = (each["descriptor"]["id"] for each in told(operator, "credential", "list", "demo", "ann")["values"])
    assert "is called My key now" in operator.does("credential", "rename", "demo", first, "My key")
    assert "My key" in operator.does("credential", "list", "demo", "ann")
    assert told(operator, "credential", "rename", "demo", first, "")["nickname"] is None
    assert "ann has 1 other" in operator.does("credential", "delete", "demo", first, "--yes")
    assert [second] == [
        each["descriptor"]["id"] for each in told(operator, "credential", "list", "demo", "ann")["values"]
    ]
    assert "keeps no passkey of this id" in operator.fails("credential", "delete", "demo", first, "--yes")
    assert "64 characters" in operator.fails("credential", "rename", "demo", second, "a" * 65)
    assert "`no/id` is no id of a passkey" in operator.fails("credential", "rename", "demo", "no/id", "a")
    assert "User zoe has no passkey here.\n" == operator.does("credential", "list", "demo", "zoe")


def test_aliases_are_hashed_unless_somebody_wants_them_plain(operator: Operator, demo: Demo) -> None:
    assert "has 2 aliases now" in operator.does("alias", "set", "demo", "ann", "ann@a.test", "anna")
    assert ["(hashed)", "(hashed)"] == re.findall(r"\(hashed\)", operator.does("alias", "list", "demo", "ann"))
    assert "Another user bears one of the aliases." in operator.fails("alias", "set", "demo", "bob", "anna")
    plain = told(operator, "alias", "set", "demo", "ann", "anna", "--plain", "--yes")
    assert ["anna"] == [each["plaintext"] for each in plain["values"]]
    assert [] == told(operator, "alias", "set", "demo", "ann", "--yes")["values"]
    assert "User ann has no alias.\n" == operator.does("alias", "list", "demo", "ann")


# --- configurations -------------------------------------------------------------------------------------------------


def test_a_purpose_is_configured(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    printed = operator.does("config", "add", "demo", "pay", "--time-to-live", "90s", "--hint", "hybrid")
    assert "pay: user verification preferred, counts for 0:01:30, hints Hybrid.\n" == printed
    revised = told(operator, "config", "set", "demo", "pay", "--user-verification", "required")
    assert ("required", 90, "Hybrid") == (
        revised["userVerificationRequirement"],
        revised["timeToLive"],
        revised["hints"],
    )
    listed = told(operator, "config", "list", "demo")["configurations"]
    assert {"pay", "step-up", "sign-in"} == {each["purpose"] for each in listed}
    assert re.search(r"pay +required +0:01:30 +never +hybrid", operator.does("config", "list", "demo"))
    assert "The purpose pay is deleted.\n" == operator.does("config", "delete", "demo", "pay", "--yes")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["add", "demo", "sign-in"], "every application has the purpose"),
        (["add", "demo", "two words"], "cannot be a purpose"),
        (["add", "demo", "pay", "--time-to-live", "8d"], "cannot count for"),
        (["set", "demo", "pay"], "There is no configuration for `pay`."),
        (["delete", "demo", "pay", "--yes"], "onfiguration"),
        (["delete", "demo", "sign-in", "--yes"], "cannot be deleted"),
    ],
)
def test_a_purpose_that_cannot_be_is_refused(operator: Operator, command: list[str], said: str) -> None:
    operator.does("app", "create", "demo")
    assert said.casefold() in operator.fails("config", *command).casefold()


# --- the event log --------------------------------------------------------------------------------------------------


def test_events_are_listed_with_filters_and_in_portions(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED), ("bob", SYNCED))
    page = told(operator, "events", "list", "demo", "--event-type", "ApiAuthUser*", "--limit", "1")
    assert (2, 1) == (page["totalEventCount"], len(page["events"]))
    chosen = ["--event-type", "ApiAuthUser*"]
    rest = told(operator, "events", "list", "demo", *chosen, "--limit", "1", "--cursor", page["nextCursor"])
    assert {"ann", "bob"} == {each["performedBy"] for each in page["events"] + rest["events"]}
    assert 0 == told(operator, "events", "list", "demo", "--until", "2020-01-01")["totalEventCount"]
    assert "ManagementAppCreated" not in operator.does("events", "list", "demo", "--performed-by", "ann")
    assert re.search(r"ApiAuthUserRegistered +ann +demo", operator.does("events", "list", "demo"))
    assert "ManagementAppCreated" in operator.does("events", "list", "demo", "--from", "1h")


@pytest.mark.parametrize("command", ["list", "tail", "export"])
def test_a_log_that_is_not_kept_and_a_type_that_is_none_are_refused(operator: Operator, command: str) -> None:
    operator.does("app", "create", "demo", "--no-events")
    assert "Event logging is off for this application." in operator.fails("events", command, "demo")
    said = operator.fails("events", command, "demo", "--event-type", "ApiNothing")
    assert "No type of event is called `ApiNothing`" in said


def test_the_log_is_exported(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann", SYNCED))
    lines = [json.loads(line) for line in operator.does("events", "export", "demo").splitlines()]
    assert {"ApiManagementAppCreated", "ApiAuthUserRegistered"} <= {each["eventType"] for each in lines}
    done = operator.run("events", "export", "demo", "--format", "csv", "--output", "log.csv", "--performed-by", "ann")
    assert ("", "The events are in log.csv.\n") == (done.stdout, done.stderr)
    head, *rest = (operator.directory / "log.csv").read_bytes().decode().split("\r\n")
    assert head.startswith('"id","applicationId"')
    assert ['"ann"' in line for line in rest if line] == [True] * (len(rest) - 1)
    assert len(rest) > 1
    assert 0 == (operator.directory / "log.csv").stat().st_mode & 0o077
    assert "cannot be written" in operator.fails("events", "export", "demo", "--output", "nowhere/log")


def environment(operator: Operator) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
    return given | {f"NARTHEX_{name.upper()}": value for name, value in operator.settings.items()}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_log_is_followed_until_ctrl_c(operator: Operator, options: list[str]) -> None:
    operator.does("app", "create", "demo")
    following = subprocess.Popen(
        [str(NARTHEX), "events", "tail", "demo", *options],
        env=environment(operator),
        cwd=operator.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with following:
        assert following.stdout is not None
        first = following.stdout.readline()
        operator.does("config", "add", "demo", "pay")
        second = following.stdout.readline()
        following.send_signal(signal.SIGINT)
        rest, said = following.communicate(timeout=30)
    assert (130, "", "") == (following.returncode, rest, said)
    if options:
        first, second = json.loads(first)["eventType"], json.loads(second)["eventType"]
    assert "ApiManagementAppCreated" in first
    assert "ApiAuthenticationConfigurationCreated" in second


def test_who_follows_the_log_and_has_read_enough_hears_no_more(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    for number in range(3):
        operator.does("config", "add", "demo", f"pay{number}")
    for command in ("events tail demo", "events list demo", "key list demo", "events export demo"):
        piped = subprocess.run(
            ["/bin/sh", "-c", f"'{NARTHEX}' {command} | head -1"],
            env=environment(operator) | {"PYTHONUNBUFFERED": "1"},
            cwd=operator.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (1, "") == (piped.stdout.count("\n"), piped.stderr)


# --- webhooks -------------------------------------------------------------------------------------------------------


def test_a_webhook_is_made_changed_and_deleted(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    done = operator.run("webhook", "create", "demo", "https://a.test/hook", "--event-type", "ApiUser*")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", done.stdout)
    (listed,) = told(operator, "webhook", "list", "demo")
    hook = listed["id"]
    assert hook in done.stderr
    assert (["ApiUser*"], True) == (listed["eventTypes"], listed["enabled"])
    assert "https://a.test/hook" in operator.does("webhook", "list", "demo")
    changed = told(operator, "webhook", "set", "demo", hook, "--empty-event-type", "--no-enabled")
    assert listed | {"eventTypes": [], "enabled": False} == changed
    assert "enabled, told of all" in operator.does("webhook", "set", "demo", hook, "--enabled")
    assert operator.does("webhook", "rotate", "demo", hook).startswith("whsec_")
    assert "Nothing is sent to https://a.test/hook any more.\n" == operator.does(
        "webhook", "delete", "demo", hook, "--yes"
    )
    assert "There are no webhooks yet" in operator.does("webhook", "list", "demo")


def test_a_test_that_no_server_sends_waits(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    hook = told(operator, "webhook", "create", "demo", "https://a.test/hook")["id"]
    assert "does the server run?" in operator.fails("webhook", "test", "demo", hook, "--wait", "0")
    (delivery,) = told(operator, "webhook", "deliveries", "demo", hook)["deliveries"]
    assert ("webhook.test", "pending") == (delivery["eventType"], delivery["state"])
    assert "webhook.test" in operator.does("webhook", "deliveries", "demo", hook)
    assert "There are none.\n" == operator.does("webhook", "deliveries", "demo", hook, "--state", "failed")
    assert "within seconds" in operator.does("webhook", "retry", "demo", hook, delivery["id"])
    assert "no such delivery" in operator.fails("webhook", "retry", "demo", hook, NOBODY)


@pytest.mark.parametrize("command", ["set", "delete --yes", "rotate", "test", "deliveries"])
def test_a_webhook_that_is_not_there_is_told(operator: Operator, command: str) -> None:
    operator.does("app", "create", "demo")
    name, *options = command.split()
    assert "The application has no such webhook." in operator.fails("webhook", name, "demo", NOBODY, *options)


def test_a_webhook_leads_to_a_public_address(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    assert "NARTHEX_EGRESS_NETWORKS" in operator.fails("webhook", "create", "demo", "https://127.0.0.1/hook")
    said = operator.fails("webhook", "create", "demo", "https://a.test", "--event-type", "Nothing*")
    assert "`Nothing*` names no type of event." in said


def test_a_test_is_followed_until_it_got_there(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server sends it within seconds; here is what the command reads of that."""
    operator.does("app", "create", "demo")
    hook = told(operator, "webhook", "create", "demo", "https://a.test/hook")["id"]
    statement = "update delivery set state = {}, tries = 1, status = 204, problem = '{}'"

    async def sent(call: Any, webhook_id: bytes, *, settled: tuple[str, str]) -> bytes:
        delivery_id = await queue_test(call, webhook_id)
        operator.execute(statement.format(*settled))
        return delivery_id

    monkeypatch.setattr(webhook, "queue_test", partial(sent, settled=("'delivered'", "")))
    assert "It got there: the receiver answered 204.\n" == operator.does("webhook", "test", "demo", hook)
    monkeypatch.setattr(webhook, "queue_test", partial(sent, settled=("'pending'", "nobody answers")))
    assert "It did not get there: nobody answers." in operator.fails("webhook", "test", "demo", hook)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_all_of_it_works_on_postgresql(operator: Operator, postgresql_url: str) -> None:
    operator.settings["database_url"] = postgresql_url
    key = told(operator, "app", "create", "demo")["apiSecrets"][0][-4:]
    operator.does("key", "rotate", "demo", key)
    assert 5 == len(told(operator, "key", "list", "demo"))
    operator.does("alias", "set", "demo", "ann", "ann@a.test")
    assert ["ann"] == [each["userId"] for each in told(operator, "user", "list", "demo")["values"]]
    operator.does("config", "add", "demo", "pay")
    operator.does("webhook", "create", "demo", "https://a.test/hook")
    assert "ApiUserSetAliases" in operator.does("events", "list", "demo")
    assert "reports" in operator.does("jobs", "list")
    operator.does("jobs", "run", "reports")
    assert f"***{key} end within 14 days" in doctor(operator, database_url=postgresql_url)["expiring keys"][1]
    assert "demo is deleted.\n" == operator.does("app", "delete", "demo", "--now", "--yes")


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_is_done_now(operator: Operator) -> None:
    assert "0 nonces forgotten.\n" == operator.does("jobs", "run", "nonces")
    (nonces,) = (each for each in told(operator, "jobs", "list") if each["name"] == "nonces")
    assert "0 nonces forgotten" == nonces["lastRun"]["result"]
    assert re.search(r"nonces +every minute .* 0 nonces forgotten\n", operator.does("jobs", "list"))
    assert "There is no job `nothing`." in operator.fails("jobs", "run", "nothing")


# --- the doctor -----------------------------------------------------------------------------------------------------


def doctor(operator: Operator, **settings: str) -> dict[str, tuple[str, str]]:
    given = {"public_url": "https://passkeys.example.com", "metadata": "off", **settings}
    findings = json.loads(operator.run("doctor", "--json", **given).stdout)["findings"]
    return {each["subject"]: (each["state"], each["words"]) for each in findings}


def test_the_doctor_looks_at_keys(operator: Operator) -> None:
    keys = [key[-4:] for key in told(operator, "app", "create", "demo")["apiSecrets"]]
    assert ("ok", "4 open, none of them in need of anything") == doctor(operator)["API keys"]
    operator.execute(f"update api_key set legacy = 1 where hint = '{keys[0]}'")
    operator.does("key", "create", "demo", "--scope", "all", "--expires", "13d")
    operator.execute("update api_key set created_at = created_at - 31 * 86400000000")
    found = doctor(operator)
    assert {"legacy keys", "expiring keys", "unused keys"} <= found.keys()
    assert all("warn" == found[subject][0] for subject in ("legacy keys", "expiring keys", "unused keys"))
    assert f"demo ***{keys[0]} may do whatever" in found["legacy keys"][1]
    for key in told(operator, "key", "list", "demo"):
        operator.does("key", "lock", "demo", key["id"])
    assert "ok" == doctor(operator)["API keys"][0]


def test_the_doctor_looks_at_jobs(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    assert "none was done yet" in doctor(operator)["jobs"][1]
    for job in told(operator, "jobs", "list"):
        operator.does("jobs", "run", job["name"])
    assert ("ok", "all were done in time") == doctor(operator)["jobs"]
    operator.execute("update job_run set started_at = started_at - 3 * 86400000000 where name = 'events'")
    assert ("warn", "overdue: events; does the server run?") == doctor(operator)["jobs"]
    operator.execute("update job_run set problem = 'the disk is full' where name = 'mails'")
    state, words = doctor(operator)["jobs"]
    assert ("warn", True) == (state, "`mails` failed: the disk is full" in words)


def test_the_doctor_looks_at_mail_and_limits(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    found = doctor(operator, mail="smtp://127.0.0.1:1", mail_from="a@a.test", rate_limits="off")
    assert ("warn", "warn") == (found["mail"][0], found["rate limits"][0])
    mails = operator.directory / "mails"
    mails.mkdir()
    found = doctor(operator, mail=mails.as_uri(), mail_from="a@a.test")
    assert (("ok", "would be taken, from `a@a.test`"), "ok") == (found["mail"], found["rate limits"][0])
    workers = doctor(operator, workers="2", database_url="postgresql://narthex@127.0.0.1:1/narthex")
    assert "each of the 2 workers counts by itself" in workers["rate limits"][1]


# --- scripts --------------------------------------------------------------------------------------------------------


def test_every_command_that_answers_speaks_json() -> None:
    silent = {
        name
        for name, command in leaves().items()
        if "--json" not in {spelt for each in command.assemble_argument_collection() for spelt in each.names}
    }
    assert {"serve", "dev", "completion", "events export"} == silent


@pytest.mark.parametrize("command", ["settings", "doctor", "migrate", "app list", "jobs list", "metadata show"])
def test_a_command_without_an_application_speaks_json(operator: Operator, command: str) -> None:
    assert told(operator, *command.split())


def test_settings_in_json_keep_secrets_too(operator: Operator) -> None:
    printed = operator.does("settings", "--json", rate_limits="redis://:hush@localhost", management_key="hush" * 8)
    assert "hush" not in printed
    shown = {each["variable"]: each["value"] for each in json.loads(printed)["settings"]}
    assert ("***", "redis://:***@localhost") == (shown["NARTHEX_MANAGEMENT_KEY"], shown["NARTHEX_RATE_LIMITS"])


def test_json_is_ascii_so_that_no_terminal_obeys_it(operator: Operator, demo: Demo) -> None:
    demo.enrol(("ann\x1b[2J\u202e", SYNCED))
    for command in (["user", "list", "demo"], ["events", "list", "demo"]):
        printed = operator.does(*command, "--json")
        assert printed.isascii()
        assert printed.strip("\n").isprintable()
        assert all(line.isprintable() for line in operator.does(*command).split("\n"))


def test_bash_completes_commands(operator: Operator) -> None:
    script = operator.directory / "narthex.bash"
    script.write_text(operator.does("completion", "bash"))
    subprocess.run(["bash", "-n", str(script)], check=True)

    def offered(*words: str) -> set[str]:
        line = f"""source '{script}'; COMP_WORDS=({" ".join(words)} ''); COMP_CWORD={len(words)}; _narthex
            printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert {"app", "key", "user", "events", "webhook", "jobs", "doctor"} <= offered("narthex")
    assert {"create", "rotate", "lock"} <= offered("narthex", "key")
    assert {"tail", "export"} <= offered("narthex", "events")


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef narthex"), ("fish", "#")])
def test_other_shells_have_their_scripts(operator: Operator, shell: str, begins: str) -> None:
    printed = operator.does("completion", shell)
    assert printed.startswith(begins)
    assert "rotate" in printed


def test_a_shell_that_is_not_known_is_refused(operator: Operator) -> None:
    assert 2 == operator.run("completion", "tcsh").returncode


# --- tables and instants --------------------------------------------------------------------------------------------


class Terminal(StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def printed_table(monkeypatch: pytest.MonkeyPatch, columns: int, *rows: tuple[object, ...]) -> list[str]:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("ID", "MESSAGE"), rows)
    return terminal.getvalue().splitlines()


def test_a_last_column_that_is_too_wide_goes_on_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed_table(monkeypatch, 30, ("a1", "one two three four five six seven"), ("b2", "x" * 40))
    assert [
        "ID  MESSAGE",
        "a1  one two three four five",
        "    six seven",
        f"b2  {'x' * 26}",
        f"    {'x' * 14}",
    ] == lines


def test_a_table_that_is_too_wide_altogether_becomes_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed_table(monkeypatch, 30, ("a" * 25, "one"), ("b", "two"))
    assert [f"id: {'a' * 25}", "message: one", "", "id: b", "message: two"] == lines


def test_wide_characters_take_two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed_table(monkeypatch, 80, ("日本", "one"), ("e\u0301a", "two"))
    assert ["ID    MESSAGE", "日本  one", "e\u0301a    two"] == lines


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("30min", NOW + timedelta(minutes=30)),
        ("2w", NOW + timedelta(weeks=2)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_an_instant_is_a_date_or_a_span(text: str, instant: datetime) -> None:
    assert instant == parse_instant(text, now=NOW, ahead=True)


@pytest.mark.parametrize("text", ["", "soon", "90", "999999w", "2027-13-01", "-1d", "9999-12-31T23:59-23:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="is no instant"):
        parse_instant(text, now=NOW, ahead=True)


def test_who_is_asked_may_say_no(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.does("app", "create", "demo")
    for answer in ("n\n", "", "what\n"):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        done = operator.run("app", "freeze", "demo")
        assert (1, "") == (done.returncode, done.stdout)
        assert "Freeze it? [y/N] " in done.stderr
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert "frozen since" in operator.does("app", "freeze", "demo")
