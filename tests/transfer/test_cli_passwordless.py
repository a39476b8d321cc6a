"""`narthex import passwordless` as an operator runs it, also one that is killed in the middle."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from narthex.usecases.arrival import PORTION
from tests.transfer.commands import Commands, credential
from tests.transfer.reference import ReferenceDatabase

MANY = 20_000
TWO_PORTIONS_BYTES = 3_000_000
"""Reached when two portions or more are kept, and long before all are."""
SECRET = f"demo:secret:{'2' * 28}bbbb"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def reference_with(path: Path, *, credentials: int) -> ReferenceDatabase:
    reference = ReferenceDatabase(path)
    reference.add_application("demo")
    reference.add_key("demo", SECRET)
    reference.connection.execute("begin")
    for number in range(credentials):
        reference.add_credential("demo", credential(number))
    reference.add_alias("demo", "user1", "ann@example.org")
    reference.connection.execute("commit")
    return reference


def kept_bytes(database: Path) -> int:
    """How much lies in a database's file and in its log."""
    sizes = 0
    for path in (database, database.with_name(f"{database.name}-wal")):
        with suppress(FileNotFoundError):
            sizes += path.stat().st_size
    return sizes


def count(database: Path, table: str) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        try:
            counted: int = connection.execute(f"select count(*) from {table}").fetchone()[0]
        except sqlite3.OperationalError:  # The tables are being made.
            return 0
    return counted


def test_an_import_is_told_in_a_table(commands: Commands, tmp_path: Path) -> None:
    reference = reference_with(tmp_path / "old.db", credentials=3)
    reference.add_credential("demo", credential(9), PublicKey=b"\xa0")
    dry = commands.does("import", "passwordless", "old.db", "--dry-run")
    printed = commands.does("import", "passwordless", "old.db")
    again = commands.does("import", "passwordless", "old.db")
    assert "Application demo: checked.\n" in dry
    assert "Application demo: made.\n" in printed
    assert ["credentials", "4", "3", "0", "1"] in [line.split() for line in printed.splitlines()]
    assert "Refused 1 row of credentials: its COSE key cannot be used: public key names no algorithm (" in printed
    assert ["credentials", "4", "0", "3", "1"] in [line.split() for line in again.splitlines()]
    assert "It was imported before: its settings, keys and lists stay as they are here.\n" in again


def test_an_import_is_told_as_json(commands: Commands, tmp_path: Path) -> None:
    reference_with(tmp_path / "old.db", credentials=2)
    told = json.loads(commands.does("import", "passwordless", "old.db", "--json", "--app", "demo"))
    (application,) = told["applications"]
    assert ("demo", "made", None) == (application["appId"], application["state"], told["keysFile"])
    assert {"of": "credentials", "found": 2, "imported": 2, "thereAlready": 0, "refused": 0} in application["tallies"]


def test_new_keys_go_into_a_file_for_its_owner_alone(commands: Commands, tmp_path: Path) -> None:
    reference_with(tmp_path / "old.db", credentials=1)
    printed = commands.does("import", "passwordless", "old.db", "--keys", "new")
    path = tmp_path / "old.db.keys"
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (0o600, "demo", "secret key instead of ***bbbb") == (
        stat.S_IMODE(path.stat().st_mode),
        line["application"],
        line["name"],
    )
    assert "New secrets: 1, in old.db.keys." in printed
    assert line["secret"] not in printed


def test_a_refused_application_ends_the_command_with_1(commands: Commands, tmp_path: Path) -> None:
    reference_with(tmp_path / "old.db", credentials=1)
    commands.does("app", "create", "demo")
    done = commands.run("import", "passwordless", "old.db")
    assert (1, True) == (done.returncode, "no import made it" in done.stdout)


def test_a_file_that_is_none_is_refused_with_a_sentence(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "old.db").write_text("nothing")
    done = commands.run("import", "passwordless", "old.db")
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("`old.db` is no SQLite database.\nGive a copy of the server's SQLite file")


def test_an_import_that_was_killed_goes_on(commands: Commands, tmp_path: Path) -> None:
    """Killed once two portions are kept; then begun again: all is there once, and who was deleted stays away."""
    reference_with(tmp_path / "old.db", credentials=MANY).close()
    with commands.start("import", "passwordless", "old.db") as process:
        deadline = time.monotonic() + 60
        # By its size, without opening it: whoever reads a new file may keep the import from opening it too.
        while kept_bytes(commands.database) < TWO_PORTIONS_BYTES:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == process.returncode
    reached = count(commands.database, "credential")
    assert PORTION < reached < MANY
    with closing(sqlite3.connect(commands.database)) as connection:
        # Of the first portion, which is done: the user went while nobody imported.
        connection.execute("delete from credential where credential_id = ?", (credential(0).credential_id,))
        connection.commit()

    printed = commands.does("import", "passwordless", "old.db")

    assert "Application demo: completed.\n" in printed
    assert (MANY - 1, 1, 1) == tuple(count(commands.database, table) for table in ("credential", "alias", "api_key"))
