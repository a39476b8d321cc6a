"""The command line as an operator uses it. What serves runs in a process of its own; the rest need not."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import chdir, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import fields

from narthex.cli import main
from narthex.http.body import camel
from narthex.ports.records import ApplicationSettings

# `main` reads `sys.argv`, as it does in a process of its own; cyclopts suspects a slip when it sees a test do that.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

NARTHEX = Path(sys.executable).with_name("narthex")
KEY = "a master key of 32 characters or more"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Operator:
    """Runs `narthex` in a directory of its own, with settings of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = {"master_key": KEY, "data_dir": str(directory / "data")}

    @property
    def database(self) -> Path:
        return self.directory / "data/narthex.db"

    def run(self, *arguments: str, **settings: str) -> Done:
        given = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
        given |= {f"NARTHEX_{name.upper()}": value for name, value in (self.settings | settings).items()}
        if arguments[0] == "serve":
            command = [str(NARTHEX), *arguments]
            done = subprocess.run(command, env=given, cwd=self.directory, capture_output=True, timeout=60, check=False)
            return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        with (
            patch.dict(os.environ, given, clear=True),
            patch.object(sys, "argv", ["narthex", *arguments]),
            chdir(self.directory),
            redirect_stdout(StringIO()) as stdout,
            redirect_stderr(StringIO()) as stderr,
        ):
            try:
                main()
                status = 0
            except SystemExit as e:
                if isinstance(e.code, str):  # Python prints it, and ends with 1.
                    print(e.code, file=stderr)
                status = 1 if isinstance(e.code, str) else e.code or 0
        return Done(status, stdout.getvalue(), stderr.getvalue())

    def does(self, *arguments: str, **settings: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments, **settings)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def fails(self, *arguments: str, **settings: str) -> str:
        """What a command says that must be refused: sentences, and no traceback."""
        done = self.run(*arguments, **settings)
        assert 1 == done.returncode, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.execute(statement)
            connection.commit()


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


# --- app ------------------------------------------------------------------------------------------------------------


def test_an_application_is_made_and_its_keys_are_shown(operator: Operator) -> None:
    printed = operator.does("app", "create", "demo", "--origin", "https://App.Example.com:443")
    keys = re.findall(r"demo:(public|secret):[0-9a-f]{32}$", printed, re.MULTILINE)
    assert ["public", "secret", "public", "secret"] == keys
    assert re.fullmatch(
        r"APPLICATION  MADE              STATE\ndemo         \S+ \S+  open\n", operator.does("app", "list")
    )
    with closing(sqlite3.connect(operator.database)) as connection:
        ((settings,),) = connection.execute("select settings from application").fetchall()
    assert '"https://app.example.com"' in settings


def test_an_application_is_made_once(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    assert "The application id is taken." in operator.fails("app", "create", "demo")


@pytest.mark.parametrize("name", ["a", "1ab", "De-mo", "a" * 63, "démo", ""])
def test_another_id_is_refused_with_advice(operator: Operator, name: str) -> None:
    assert "3 to 62 lower-case letters and digits" in operator.fails("app", "create", name)


@pytest.mark.parametrize("origin", ["example.com", "https://", "null"])
def test_what_is_no_origin_is_refused(operator: Operator, origin: str) -> None:
    assert "rigin" in operator.fails("app", "create", "demo", "--origin", origin)
    assert "no applications yet" in operator.does("app", "list")


# --- migrate --------------------------------------------------------------------------------------------------------


def test_a_database_is_migrated_once(operator: Operator) -> None:
    assert re.fullmatch(r"The schema went from nothing to \d{4}\.\n", operator.does("migrate"))
    assert re.fullmatch(r"The schema is at \d{4}\.\n", operator.does("migrate"))


def test_a_new_database_can_be_read_by_its_owner_only(operator: Operator) -> None:
    operator.does("migrate")
    assert 0 == operator.database.stat().st_mode & 0o077


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_a_database_of_another_version_is_not_served(operator: Operator, revision: str) -> None:
    operator.does("migrate")
    operator.execute(f"update alembic_version set version_num = '{revision}'")
    said = operator.fails("serve", listen="127.0.0.1:9")
    assert f"`{revision}`" in said
    assert "narthex migrate" in said


def test_a_database_from_the_future_is_not_migrated(operator: Operator) -> None:
    operator.does("migrate")
    operator.execute("update alembic_version set version_num = '9999'")
    assert "newer" in operator.fails("migrate")


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_are_printed_without_secrets(operator: Operator) -> None:
    printed = operator.does(
        "settings",
        database_url="postgresql://narthex:hush@db/narthex?sslmode=require&password=hush",
        management_key="hush://hush",
        trusted_proxies="10.0.0.0/8",
        rate_limits="off",
    )
    assert "hush" not in printed
    assert KEY not in printed
    assert "NARTHEX_DATABASE_URL = postgresql://narthex:***@db/narthex?sslmode=require&password=***\n" in printed
    assert "NARTHEX_MANAGEMENT_KEY = ***\n" in printed
    assert "NARTHEX_TRUSTED_PROXIES = 10.0.0.0/8\n" in printed
    assert "NARTHEX_RATE_LIMITS = off\n" in printed


def test_a_file_of_settings_is_taken_by_option(operator: Operator) -> None:
    (operator.directory / "narthex.toml").write_text('listen = "127.0.0.1:9000"\n')
    assert "NARTHEX_LISTEN = 127.0.0.1:9000\n" in operator.does("settings", "--config", "narthex.toml")


def test_a_wrong_setting_stops_every_command_with_a_sentence(operator: Operator) -> None:
    for command in (["migrate"], ["settings"], ["doctor"], ["app", "list"]):
        assert "NARTHEX_WORKERS `many` is not a number from 1 to 128.\n" in operator.fails(*command, workers="many")


def test_a_setting_that_does_not_exist_is_pointed_out(operator: Operator) -> None:
    done = operator.run("settings", worker="1")
    assert 0 == done.returncode
    assert "NARTHEX_WORKER is set and is no setting" in done.stderr


# --- serve ----------------------------------------------------------------------------------------------------------


def test_a_server_for_more_than_this_machine_needs_its_public_url(operator: Operator) -> None:
    assert "NARTHEX_PUBLIC_URL is required" in operator.fails("serve", listen="0.0.0.0:8470")


def test_a_port_that_is_taken_is_named(operator: Operator) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = operator.fails("serve", listen=address)
    assert f"`{address}` cannot be listened on: Address already in use." in said
    assert "NARTHEX_LISTEN" in said


def test_another_master_key_is_refused(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    for command in (["serve"], ["app", "list"]):
        said = operator.fails(*command, master_key=KEY + " but another")
        assert "The master key is not the one that this database was set up with." in said
        assert KEY not in said


def test_a_lost_master_key_is_told_and_not_made_anew(operator: Operator) -> None:
    operator.does("app", "create", "demo", master_key="")
    key_file = operator.directory / "data/master.key"
    key_file.unlink()

    assert "is gone, and this database was set up with it" in operator.fails("serve", master_key="")
    assert not key_file.exists()


def test_keys_are_printed_as_json_for_scripts(operator: Operator) -> None:
    made = json.loads(operator.does("app", "create", "demo", "--json"))

    assert {"appId", "apiUrl", "apiKeys", "apiSecrets"} == made.keys()
    assert ["demo:public:", "demo:secret:"] == [made["apiKeys"][0][:12], made["apiSecrets"][1][:12]]


def test_a_short_master_key_is_refused(operator: Operator) -> None:
    said = operator.fails("app", "list", master_key="too short")
    assert "9 characters and needs at least 32" in said
    assert "too short" not in said


def test_a_master_key_file_that_is_not_there_is_refused(operator: Operator) -> None:
    said = operator.fails("app", "list", master_key="", master_key_file="/nowhere/key")
    assert "`/nowhere/key` cannot be read" in said


@pytest.mark.parametrize(
    "url", ["mysql://u:hush@h/d", "sqlite://narthex.db", "sqlite:///", "hush", "postgresql://u:hush@h:port/d"]
)
def test_a_database_url_that_is_none_is_refused_without_its_password(operator: Operator, url: str) -> None:
    assert "hush" not in operator.fails("app", "list", database_url=url)


def test_postgresql_that_does_not_answer_is_a_sentence(operator: Operator) -> None:
    said = operator.fails("app", "list", database_url=f"postgresql://u:hush@/d?host={operator.directory}")
    assert "Cannot reach PostgreSQL" in said
    assert "hush" not in said


def test_the_first_start_makes_a_master_key_for_its_owner_only(operator: Operator) -> None:
    operator.does("app", "create", "demo", master_key="")
    key = operator.directory / "data/master.key"
    assert 0 == key.stat().st_mode & 0o077
    assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
    operator.does("app", "create", "other", master_key="")


# --- doctor ---------------------------------------------------------------------------------------------------------

WELL = {"public_url": "https://passkeys.example.com", "management_key": "m" * 32, "metadata": "off"}


def findings(done: Done) -> dict[str, str]:
    """By subject: `ok`, `warn` or `FAIL`."""
    return {subject: mark for mark, subject in re.findall(r"^(ok|warn|FAIL) +([\w ]+): ", done.stdout, re.MULTILINE)}


def test_a_house_in_order_is_well(operator: Operator) -> None:
    operator.does("app", "create", "demo", **WELL)
    done = operator.run("doctor", **WELL)
    assert 0 == done.returncode, done.stdout
    subjects = ["database", "migrations", "master key", "master key file", "management key", "clock", "public URL"]
    more = ["FIDO metadata", "API keys", "jobs", "mail", "rate limits"]
    assert dict.fromkeys([*subjects, *more], "ok") == findings(done)


def test_the_doctor_changes_nothing(operator: Operator) -> None:
    operator.run("doctor", **WELL)
    assert not operator.database.exists()
    assert not (operator.directory / "data/master.key").exists()


def diagnosed(operator: Operator, **settings: str) -> tuple[int, dict[str, str]]:
    done = operator.run("doctor", **WELL | settings)
    assert "Traceback" not in done.stderr
    return done.returncode, findings(done)


def test_the_doctor_finds_an_empty_database(operator: Operator) -> None:
    status, found = diagnosed(operator)
    assert (0, "warn") == (status, found["migrations"])


def test_the_doctor_finds_an_old_database(operator: Operator) -> None:
    operator.does("migrate")
    operator.execute("update alembic_version set version_num = '0000'")
    status, found = diagnosed(operator)
    assert (1, "FAIL") == (status, found["migrations"])


def test_the_doctor_finds_a_database_that_does_not_answer(operator: Operator) -> None:
    status, found = diagnosed(operator, database_url=f"postgresql:///d?host={operator.directory}")
    assert (1, "FAIL") == (status, found["database"])


def test_the_doctor_finds_a_file_that_is_no_database(operator: Operator) -> None:
    operator.database.parent.mkdir()
    operator.database.write_bytes(b"not a database " * 100)
    status, found = diagnosed(operator)
    assert (1, "FAIL") == (status, found["database"])


def test_the_doctor_finds_another_master_key(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    status, found = diagnosed(operator, master_key=KEY + " but another")
    assert (1, "FAIL") == (status, found["master key"])


def test_the_doctor_finds_that_the_master_key_was_lost(operator: Operator) -> None:
    operator.does("app", "create", "demo", master_key="")
    (operator.directory / "data/master.key").unlink()
    status, found = diagnosed(operator, master_key="")
    assert (1, "FAIL") == (status, found["master key"])


def test_the_doctor_finds_a_short_master_key(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    status, found = diagnosed(operator, master_key="short")
    assert (1, "FAIL") == (status, found["master key"])


def test_the_doctor_warns_of_a_key_file_that_others_can_read(operator: Operator) -> None:
    operator.does("app", "create", "demo", master_key="")
    (operator.directory / "data/master.key").chmod(0o644)
    status, found = diagnosed(operator, master_key="")
    assert (0, "warn") == (status, found["master key file"])


def test_the_doctor_warns_of_a_management_key_that_can_be_guessed(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    status, found = diagnosed(operator, management_key="password")
    assert (0, "warn") == (status, found["management key"])


@pytest.mark.parametrize(
    ("url", "status", "mark"), [("http://passkeys.example.com", 1, "FAIL"), ("http://localhost:8470", 0, "warn")]
)
def test_the_doctor_looks_at_the_public_url(operator: Operator, url: str, status: int, mark: str) -> None:
    operator.does("app", "create", "demo")
    assert (status, mark) == (lambda done: (done[0], done[1]["public URL"]))(diagnosed(operator, public_url=url))


def test_the_doctor_warns_of_an_application_that_is_open_to_the_conformance_tests(operator: Operator) -> None:
    operator.does("app", "create", "demo")
    _, found = diagnosed(operator)
    assert "conformance application" not in found
    status, found = diagnosed(operator, conformance_application="demo")
    assert (0, "warn") == (status, found["conformance application"])
    assert "anybody can make passkeys for `demo`" in operator.does("doctor", conformance_application="demo")


# --- a pipe that closes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["app list", "app show demo", "settings", "policy show demo"])
def test_who_has_read_enough_hears_no_more(operator: Operator, command: str) -> None:
    """As `| head -1` ends. Here what reads is gone before anything is written, and nothing waits to be written."""
    operator.does("app", "create", "demo")
    given = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
    given |= {f"NARTHEX_{name.upper()}": value for name, value in operator.settings.items()}
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [str(NARTHEX), *command.split()],
        env=given,
        cwd=operator.directory,
        stdout=writes,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writes)
    assert (0, b"") == (done.returncode, done.stderr)


# --- what an operator decides for an application --------------------------------------------------------------------


def shown(operator: Operator, name: str = "demo") -> dict[str, object]:
    """By the name of the member in JSON."""
    document: dict[str, object] = json.loads(operator.does("app", "show", name, "--json"))
    return document


MAIL = {"kind": "magic-link", "subject": "Sign in", "text": "Here: $LINK", "html": "", "locale": "de"}
OPTIONS: dict[str, tuple[list[str], object]] = {
    "origins": (
        ["--origin", "https://a.test", "--origin", "HTTPS://B.test:443/x"],
        ["https://a.test", "https://b.test"],
    ),
    "top_origins": (["--top-origin", "https://frame.test"], ["https://frame.test"]),
    "conceal_unknown_users": (["--conceal-users"], True),
    "single_use_verify_tokens": (["--no-single-use"], False),
    "manual_tokens": (["--no-manual-tokens"], False),
    "allow_attestation": (["--attestation"], True),
    "event_logging": (["--no-events"], False),
    "event_retention_days": (["--event-days", "30"], 30),
    "max_users": (["--max-users", "5"], 5),
    "rp_ids": (["--rp-id", "a.test", "--rp-id", "b.test"], ["a.test", "b.test"]),
    "enterprise_attestation": (["--enterprise"], True),
    "sign_count_stalled": (["--sign-count", "flag"], "flag"),
    "backup_eligibility_changed": (["--backup-eligibility", "flag"], "flag"),
    "fips_for_aal3": (["--fips-for-aal3"], True),
    "admin_emails": (["--admin-email", "ann@a.test", "--admin-email", "bob@A.test"], ["ann@a.test", "bob@a.test"]),
    "magic_links": (["--no-magic-links"], False),
    "magic_link_monthly_quota": (["--magic-link-quota", "7"], 7),
    "magic_link_confirmation": (["--no-magic-link-confirmation"], False),
    "magic_link_origins": (["--magic-link-origin", "HTTPS://a.test:443"], ["https://a.test"]),
    "mail_templates": (["--mail-templates", "mails.json"], [MAIL]),
    "mail_sender_name": (["--mail-sender-name", "Café"], "Café"),
    "notices": (["--notices"], True),
}
BY_A_COMMAND_OF_THEIR_OWN = {"authenticator_policy", "trust_anchors", "rp_id_migration"}


def test_every_setting_of_an_application_has_an_option() -> None:
    assert {field.name for field in fields(ApplicationSettings)} - BY_A_COMMAND_OF_THEIR_OWN == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_setting_is_decided_at_the_start_or_later(operator: Operator, name: str) -> None:
    options, decided = OPTIONS[name]
    (operator.directory / "mails.json").write_text(json.dumps([MAIL]))
    operator.does("app", "create", "first", *options)
    operator.does("app", "create", "demo")
    before = shown(operator)
    operator.does("app", "set", "demo", *options)
    after = shown(operator)

    member = camel(name)
    assert decided == shown(operator, "first")[member] == after[member]
    # How many links may be sent follows from the quota and the application's age.
    assert before | {member: decided, "magicLinksAllowed": after["magicLinksAllowed"]} == after


def test_a_limit_and_a_list_are_taken_back(operator: Operator) -> None:
    operator.does("app", "create", "demo", "--max-users", "5", "--origin", "https://a.test")
    operator.does("app", "set", "demo", "--max-users", "0", "--empty-origin")

    assert (None, []) == (shown(operator)["maxUsers"], shown(operator)["origins"])


def test_an_application_is_shown_without_its_secrets(operator: Operator) -> None:
    made = json.loads(operator.does("app", "create", "demo", "--json"))
    said = operator.does("app", "show", "demo")

    assert made["apiKeys"][0] in said
    assert not any(secret in said for secret in made["apiSecrets"])
    assert f"demo:secret:{'*' * 28}{made['apiSecrets'][0][-4:]}" in said


def test_an_application_shows_how_much_of_its_quota_is_used(operator: Operator) -> None:
    operator.does("app", "create", "demo", "--magic-link-quota", "50")
    # Of a day-old application's quota a fifth is open.
    assert "magic links sent: 0 of 10 in 30 days" in operator.does("app", "show", "demo")
    shown = json.loads(operator.does("app", "show", "demo", "--json"))
    assert (0, 10) == (shown["magicLinksSent"], shown["magicLinksAllowed"])


@pytest.mark.parametrize("command", [["app", "set", "nobody", "--events"], ["app", "show", "nobody"]])
def test_an_unknown_application_is_told(operator: Operator, command: list[str]) -> None:
    assert "There is no application `nobody`." in operator.fails(*command)


def test_an_origin_that_is_none_changes_nothing(operator: Operator) -> None:
    operator.does("app", "create", "demo", "--origin", "https://a.test")
    assert "Origin `nonsense`" in operator.fails("app", "set", "demo", "--origin", "nonsense", "--max-users", "3")

    assert (["https://a.test"], None) == (shown(operator)["origins"], shown(operator)["maxUsers"])


# --- a start that cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["app", "list"]])
def test_a_data_directory_that_cannot_be_is_one_sentence(operator: Operator, command: list[str]) -> None:
    (operator.directory / "file").write_text("")
    said = operator.fails(*command, data_dir=str(operator.directory / "file/data"))

    assert "Nothing can be kept in" in said
    assert "NARTHEX_DATA_DIR" in said


@pytest.mark.parametrize("name", ["master_key", "management_key", "public_url"])
def test_a_setting_that_is_no_utf_8_is_one_sentence(operator: Operator, name: str) -> None:
    assert f"NARTHEX_{name.upper()} is not UTF-8." in operator.fails("serve", **{name: "\udcff" * 40})


def test_the_doctor_does_not_vouch_for_a_key_that_the_database_never_met(operator: Operator) -> None:
    operator.does("migrate", master_key="")
    status, found = diagnosed(operator)

    assert (0, "ok") == (status, found["master key"])
    assert "the first start binds this database to it" in operator.does("doctor")


def test_migrating_binds_the_database_to_the_key_at_hand(operator: Operator) -> None:
    operator.does("migrate")

    assert "not the one" in operator.fails("app", "list", master_key=KEY + " but another")


def test_migrating_without_a_key_makes_none(operator: Operator) -> None:
    operator.does("migrate", master_key="")

    assert not (operator.directory / "data/master.key").exists()


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"database_url": "sqlite:////nowhere/narthex.db"}, "NARTHEX_DATABASE_URL"),
        ({"database_url": "sqlite:////tmp"}, "NARTHEX_DATABASE_URL"),
        ({"database_url": "postgresql://narthex@127.0.0.1:1/narthex"}, "NARTHEX_DATABASE_URL"),
        (
            {"listen": "203.0.113.9:8470", "public_url": "https://a.test"},
            "NARTHEX_LISTEN to an address of this machine",
        ),
    ],
)
def test_a_start_that_fails_says_what_to_mend(operator: Operator, settings: dict[str, str], remedy: str) -> None:
    """Not to try again in a moment: nothing would change."""
    assert remedy in operator.fails("serve", **settings)
