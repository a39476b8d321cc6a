"""`narthex export` and `narthex import archive` as an operator runs them, also killed in the middle."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.transfer.commands import Commands, credential
from tests.transfer.reference import ReferenceDatabase

MANY = 20_000
TABLES = ("credential", "alias", "api_key")


@pytest.fixture
def here(tmp_path: Path) -> Commands:
    return Commands(tmp_path, data="here")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Commands:
    return Commands(tmp_path, data="elsewhere")


def fill(commands: Commands, *, credentials: int) -> None:
    """The application `demo`, brought from the reference."""
    reference = ReferenceDatabase(commands.directory / "old.db")
    reference.add_application("demo")
    reference.add_key("demo", f"demo:secret:{'2' * 28}bbbb")
    reference.connection.execute("begin")
    for number in range(credentials):
        reference.add_credential("demo", credential(number))
    reference.add_alias("demo", "user1", "ann@example.org")
    reference.connection.execute("commit")
    reference.close()
    commands.does("import", "passwordless", "old.db")


def rows(commands: Commands) -> list[list[tuple[object, ...]]]:
    """What is kept, but for what another server seals in its own way."""
    queries = (
        "select * from credential order by credential_id",
        "select user_id, mac, plaintext from alias order by mac",
        "select hint, kind, scopes, reference_hash, legacy, locked, created_at from api_key order by hint",
        "select created_at, settings from application",
    )
    with closing(sqlite3.connect(commands.database)) as connection:
        return [connection.execute(query).fetchall() for query in queries]


def test_an_application_goes_out_and_comes_in(here: Commands, elsewhere: Commands) -> None:
    fill(here, credentials=5)
    printed = here.does("export", "demo", "demo.archive")
    path = here.directory / "demo.archive"
    assert "Application demo is in demo.archive: 1 settings, 1 api-key, 5 credential, 1 alias.\n" in printed
    assert (0o600, False) == (stat.S_IMODE(path.stat().st_mode), Path(f"{path}.partial").exists())
    checked = elsewhere.does("import", "archive", "demo.archive", "--dry-run")
    assert "Application demo: checked.\n" in checked
    told = json.loads(elsewhere.does("import", "archive", "demo.archive", "--json"))
    assert {"of": "credentials", "found": 5, "imported": 5, "thereAlready": 0, "refused": 0} in told["applications"][0][
        "tallies"
    ]
    assert rows(here) == rows(elsewhere)


def test_an_archive_is_lines_that_any_tool_reads(here: Commands) -> None:
    fill(here, credentials=2)
    told = json.loads(here.does("export", "demo", "demo.archive", "--json"))
    unpacked = gzip.decompress((here.directory / "demo.archive").read_bytes())
    lines = [json.loads(line) for line in unpacked.splitlines()]
    assert ("narthex-archive", 1, "demo") == tuple(lines[0][name] for name in ("format", "version", "application"))
    assert ("end", told["sha256"], 2) == (lines[-1]["kind"], lines[-1]["sha256"], lines[-1]["counts"]["credential"])


def test_an_export_that_was_killed_goes_on(here: Commands, elsewhere: Commands) -> None:
    fill(here, credentials=MANY)
    partial = here.directory / "demo.archive.partial"
    with here.start("export", "demo", "demo.archive") as process:
        deadline = time.monotonic() + 60
        while not partial.exists() or partial.stat().st_size < 100_000:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == process.returncode
    assert not (here.directory / "demo.archive").exists()
    with partial.open("ab") as file:
        file.write(b"\x1f\x8b half a member")
    assert "was begun and not ended" in here.fails("export", "demo", "demo.archive")

    here.does("export", "demo", "demo.archive", "--resume")
    elsewhere.does("import", "archive", "demo.archive")

    assert not partial.exists()
    assert rows(here) == rows(elsewhere)


def test_an_import_that_was_killed_goes_on(here: Commands, elsewhere: Commands) -> None:
    fill(here, credentials=MANY)
    here.does("export", "demo", "demo.archive")
    elsewhere.does("migrate")
    with elsewhere.start("import", "archive", "demo.archive") as process:
        deadline = time.monotonic() + 60
        with closing(sqlite3.connect(elsewhere.database, timeout=10)) as connection:
            while not connection.execute("select 1 from credential limit 1").fetchall():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == process.returncode

    printed = elsewhere.does("import", "archive", "demo.archive")

    assert "Application demo: completed.\n" in printed
    assert rows(here) == rows(elsewhere)


@pytest.mark.parametrize("place", [0, 100, -5, -30])
def test_a_file_that_was_altered_is_refused(here: Commands, elsewhere: Commands, place: int) -> None:
    fill(here, credentials=5)
    here.does("export", "demo", "demo.archive")
    path = here.directory / "demo.archive"
    raw = bytearray(path.read_bytes())
    raw[place] ^= 0x55
    path.write_bytes(raw)
    assert "rchive" in elsewhere.fails("import", "archive", "demo.archive")
    assert not elsewhere.database.exists()


@pytest.mark.parametrize("left", [0, 1, 100, -1, -100])
def test_a_file_that_was_cut_off_is_refused(here: Commands, elsewhere: Commands, left: int) -> None:
    fill(here, credentials=5)
    here.does("export", "demo", "demo.archive")
    path = here.directory / "demo.archive"
    path.write_bytes(path.read_bytes()[:left])
    elsewhere.fails("import", "archive", "demo.archive")
    assert not elsewhere.database.exists()


def test_a_partial_archive_is_refused(here: Commands, elsewhere: Commands) -> None:
    """Its members are whole, and it is not."""
    fill(here, credentials=5)
    here.does("export", "demo", "demo.archive")
    path = here.directory / "demo.archive"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\x1f\x8b\x08")])
    assert "The archive is not whole: it stops before its end." in elsewhere.fails("import", "archive", "demo.archive")


def test_a_file_that_is_there_is_not_replaced(here: Commands) -> None:
    fill(here, credentials=1)
    (here.directory / "demo.archive").write_text("precious")
    assert "There is a file `demo.archive` already." in here.fails("export", "demo", "demo.archive")
    assert "precious" == (here.directory / "demo.archive").read_text()


def test_nothing_is_begun_for_an_application_that_there_is_not(here: Commands) -> None:
    assert "There is no application `demo`." in here.fails("export", "demo", "demo.archive")
    assert not list(here.directory.glob("demo.archive*"))


def test_a_place_that_cannot_be_written_is_refused(here: Commands) -> None:
    fill(here, credentials=1)
    assert "cannot be written" in here.fails("export", "demo", "missing/demo.archive")


def test_another_id_draws_new_keys_into_a_file(here: Commands) -> None:
    fill(here, credentials=1)
    here.does("export", "demo", "demo.archive")
    printed = here.does("import", "archive", "demo.archive", "--as", "copy", "--keys", "new", "--keys-file", "keys")
    (line,) = [json.loads(line) for line in (here.directory / "keys").read_text().splitlines()]
    assert ("copy", True) == (line["application"], line["secret"].startswith("copy:secret:"))
    assert "Refused 1 row of aliases: only its hash is kept, and the old id of the application is part" in printed
