"""Somebody else's archives: what no act of this server could have made is refused before anything is written."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from narthex.adapters.reference_database import ReferenceDatabase as OpenedReference
from narthex.adapters.reference_database import ReferenceDatabaseUnreadable
from narthex.adapters.secret_file import SecretFile, SecretFileUnusable
from narthex.ports.archive import ArchiveUnreadable
from narthex.ports.store import RootStore
from narthex.usecases import archive_import
from narthex.usecases.archive_line import MOST_OWN_LINES, Checker
from narthex.usecases.arrival import Arrival
from narthex.usecases.job import JOBS, run_job
from tests.support.application import HouseInProcess
from tests.support.authenticator import SoftwareAuthenticator
from tests.transfer.commands import Commands
from tests.transfer.ledger import operator_of
from tests.transfer.reference import ReferenceDatabase
from tests.transfer.test_archive import (
    ANOTHER_KEY,
    application,
    archive_of,
    authenticator,
    bring,
    elsewhere,
)

pytestmark = pytest.mark.anyio
__all__ = ["SoftwareAuthenticator", "application", "authenticator"]

BASE64 = {size: b64encode(bytes(size)).decode() for size in (3, 17, 300)}


@pytest.fixture
async def house(sqlite_url: str) -> AsyncIterator[HouseInProcess]:
    async with HouseInProcess(sqlite_url) as house:
        yield house


def sealed(lines: list[bytes]) -> list[bytes]:
    """Lines with an end that fits them, as whoever alters an archive would write it anew."""
    counts: dict[str, int] = {}
    for raw in lines:
        kind = json.loads(raw)["kind"]
        counts[kind] = counts.get(kind, 0) + 1
    end = {"kind": "end", "counts": counts, "sha256": sha256(b"".join(lines)).hexdigest()}
    return [*lines, json.dumps(end).encode() + b"\n"]


def bent(lines: list[bytes], kind: str, member: str, value: object) -> list[bytes]:
    """The archive with another member in all lines of a kind."""
    altered = []
    for raw in lines[:-1]:
        line: Any = json.loads(raw)
        if line["kind"] == kind:
            within = line
            *way, last = member.split(".")
            for step in way:
                within = within[step]
            within[last] = value
        altered.append(json.dumps(line).encode() + b"\n")
    return sealed(altered)


async def applications(root: RootStore) -> list[str]:
    return list(await root.list_applications())


@pytest.mark.parametrize(
    ("kind", "member", "value"),
    [
        # Each of these made the job that forgets events fail for all applications, or an import end with a traceback,
        # or stood in the database as something that answers with an unforeseen error.
        ("settings", "settings.event_retention_days", -4_000_000),
        ("settings", "settings.event_retention_days", 10**12),
        ("settings", "settings.magic_link_monthly_quota", -1),
        ("settings", "settings.max_users", -1),
        ("settings", "created_at", "2024-01-01T00:00:00"),
        ("settings", "created_at", "0001-01-01T00:00:00+14:00"),
        ("settings", "created_at", "9999-12-31T23:59:59-12:00"),
        ("settings", "delete_at", "2024-01-01T00:00:00"),
        ("configuration", "configuration.purpose", ""),
        ("configuration", "configuration.purpose", "a\0b"),
        ("configuration", "configuration.user_verification", "whatever"),
        ("configuration", "configuration.time_to_live_s", -5),
        ("configuration", "configuration.time_to_live_s", 10**18),
        ("configuration", "configuration.hints", ["\x1b[31m"]),
        ("configuration", "configuration.created_at", "2024-01-01T00:00:00"),
        ("api-key", "api_key.key_id", "x"),
        ("api-key", "api_key.hint", "too long"),
        ("api-key", "api_key.mac", BASE64[3]),
        ("api-key", "api_key.value", "demo:secret:in clear"),
        ("api-key", "api_key.networks", ["nonsense"]),
        ("api-key", "api_key.reference_hash", "nonsense"),
        ("api-key", "api_key.scopes", ["root"]),
        ("api-key", "api_key.name", "\x1b]0;title\x07"),
        ("api-key", "api_key.created_at", "2024-01-01T00:00:00"),
        ("authenticator", "authenticator.aaguid", BASE64[17]),
        ("origin", "origin.origin", "https://Example.org/page"),
        ("origin", "origin.rp_id", "Example.ORG"),
        ("origin", "origin.first_seen_at", "2024-01-01T00:00:00"),
        ("rp-id", "rp_id", "EVIL host"),
        ("webhook", "webhook_id", BASE64[300]),
        ("webhook", "url", "file:///etc/passwd"),
        ("webhook", "description", "x" * 201),
        ("report", "report.users", -1),
        ("report", "report.users", 10**30),
        ("credential", "credential.created_at", "2024-01-01T00:00:00"),
        ("credential", "credential.created_at", "0001-01-01T00:00:00+10:00"),
        ("event", "event.event_id", BASE64[3]),
        ("event", "event.event_id", b64encode(b"\xff" * 16).decode()),
        ("event", "event.performed_at", "2024-01-01T00:00:00"),
    ],
)
@pytest.mark.usefixtures("application")
async def test_what_no_server_could_have_written_is_refused_at_once(
    house: HouseInProcess, template: Path, tmp_path: Path, kind: str, member: str, value: object
) -> None:
    lines = bent(await archive_of(house), kind, member, value)
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        with pytest.raises(ArchiveUnreadable, match="cannot be kept"):
            await bring(other, lines, keys="keep-or-new")
        assert [] == await applications(other.root)


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("reference_hash", BASE64[3], "its hash is not 32 bytes"),
        ("user_id", "", "it names no user"),
        ("user_id", "x" * 65, "its user id is longer than 64 bytes, and no browser takes it"),
        ("plaintext", "admin@example.org", "its hash is not that of its text"),
    ],
)
@pytest.mark.usefixtures("application")
async def test_an_alias_that_none_could_bear_stays_behind(
    house: HouseInProcess, template: Path, tmp_path: Path, member: str, value: str, reason: str
) -> None:
    lines = bent(await archive_of(house), "alias", member, value)
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        report = await bring(other, lines)
        assert [("aliases", reason, 2)] == [
            (each.noun, each.reason, each.count) for each in report.refusals if each.noun == "aliases"
        ]
        assert [] == list(await other.root.tenant("demo").scan_aliases(after=b"", most=9))


@pytest.mark.usefixtures("application")
async def test_no_archive_makes_a_job_fail(house: HouseInProcess, template: Path, tmp_path: Path) -> None:
    """Instants at both ends of the calendar are kept, and every job goes on for all."""
    lines = bent(await archive_of(house), "settings", "created_at", "0001-01-01T00:00:00Z")
    lines = bent(lines, "event", "event.performed_at", "9999-12-31T23:59:59Z")
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        assert "made" == (await bring(other, lines)).state
        for job in JOBS:
            assert "" == (await run_job(operator_of(other), job.name)).problem


@pytest.mark.usefixtures("application")
async def test_a_line_nested_without_end_is_refused(house: HouseInProcess) -> None:
    header, settings, *_ = await archive_of(house)
    deep = settings[:-2] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    checker = Checker()
    checker.read(header)
    with pytest.raises(ArchiveUnreadable, match="line 2"):
        checker.read(deep)


@pytest.mark.usefixtures("application")
async def test_an_application_of_endless_lists_is_refused(house: HouseInProcess) -> None:
    header, settings, *_ = await archive_of(house)
    checker = Checker()
    checker.read(header)
    checker.read(settings)
    for number in range(MOST_OWN_LINES - 2):
        checker.read(b'{"kind":"rp-id","rp_id":"h%d.example.org"}\n' % number)
    with pytest.raises(ArchiveUnreadable, match="more of the application itself"):
        checker.read(b'{"kind":"rp-id","rp_id":"one.too.many.example.org"}\n')


@pytest.mark.usefixtures("application")
async def test_long_lines_come_in_small_portions(
    house: HouseInProcess, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thousand lines of 8 MiB each, which pack to a few megabytes, would have been in memory together."""
    monkeypatch.setattr(archive_import, "_PORTION_BYTES", 100)
    portions: list[int] = []
    kept = Arrival.credentials

    async def credentials(self: Arrival, portion: Any) -> None:
        portions.append(len(portion))
        await kept(self, portion)

    monkeypatch.setattr(Arrival, "credentials", credentials)
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        assert "made" == (await bring(other, await archive_of(house))).state
        assert [1, 1, 1] == portions


# --- files that others put there


def test_secrets_that_somebody_else_wrote_down_are_not_taken(tmp_path: Path) -> None:
    """Beside an archive in a directory of all, anybody could have laid keys that they know."""
    path = tmp_path / "demo.gz.keys"
    path.write_text('{"application":"demo","name":"a key","secret":"demo:secret:known"}\n')
    path.chmod(0o666)
    with pytest.raises(SecretFileUnusable, match="others could write"):
        SecretFile(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_secrets_of_another_user_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "demo.gz.keys"
    path.write_text('{"application":"demo","name":"a key","secret":"demo:secret:known"}\n')
    os.chown(path, 65534, 65534)
    with pytest.raises(SecretFileUnusable, match="others could write"):
        SecretFile(path)


def test_a_pipe_in_place_of_the_secrets_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys", 0o600)
    with pytest.raises(SecretFileUnusable, match="no file"):
        SecretFile(tmp_path / "keys")


def test_a_link_to_the_secrets_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch(0o600)
    os.symlink(tmp_path / "elsewhere", tmp_path / "keys")
    with pytest.raises(SecretFileUnusable, match="cannot be read"):
        SecretFile(tmp_path / "keys")


@pytest.mark.parametrize("name", ["archive", "passwordless"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no file" in Commands(tmp_path).fails("import", name, str(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["archive", "passwordless"])
def test_a_directory_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    said = Commands(tmp_path).fails("import", name, "/")
    assert "is no file" in said or "Is a directory" in said


# --- somebody else's database


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[ReferenceDatabase]:
    reference = ReferenceDatabase(tmp_path / "reference.db")
    reference.add_application("demo")
    yield reference
    reference.close()


def test_a_view_without_end_is_no_table(reference: ReferenceDatabase) -> None:
    reference.connection.executescript("""
        drop table Aliases;
        create view aliases as with recursive n(i) as (select 1 union all select i + 1 from n)
        select 'demo' as Tenant, i as Alias, 'ann' as UserId, null as Plaintext from n;
    """)
    with pytest.raises(ReferenceDatabaseUnreadable, match="`Aliases` is no table"):
        OpenedReference(reference.path)


def test_a_column_that_is_made_up_when_it_is_read_is_none(reference: ReferenceDatabase) -> None:
    reference.connection.executescript("""
        alter table Aliases add column Text text generated always as (hex(zeroblob(400000000)));
        alter table Aliases rename column Plaintext to Other;
        alter table Aliases rename column Text to Plaintext;
        insert into Aliases (Tenant, Alias, UserId) values ('demo', '', 'ann');
    """)
    with pytest.raises(ReferenceDatabaseUnreadable, match="has no `Plaintext`"):
        OpenedReference(reference.path)


def test_a_name_with_an_escape_sequence_does_not_reach_the_terminal(
    reference: ReferenceDatabase, tmp_path: Path
) -> None:
    reference.add_application("\x1b]0;title\x07")
    said = Commands(tmp_path).fails("import", "passwordless", str(reference.path), "--app", "nobody")
    assert "\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}, demo." in said
    assert "\x1b" not in said
