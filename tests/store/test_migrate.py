"""What the migrations make is what `schema` says, on both databases, however often and from wherever they run."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from narthex.adapters.sql import migrate, open_store, sqlite
from narthex.adapters.sql.encoding import to_us
from narthex.adapters.sql.fill import Fill
from narthex.adapters.sql.postgres import connected
from narthex.adapters.sql.schema import metadata
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddCredential, ApplicationGone, CredentialExists
from narthex.ports.records import ApiKey, ApplicationSettings, CredentialExtensions, KeyKind
from narthex.ports.store import StoreUnavailable
from narthex.webauthn.trust import TrustVerdict
from tests.store.conftest import run_on
from tests.store.records import NOW, make_credential, make_evidence, raw
from tests.support.postgres import Cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that nobody has migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    yield cluster.create_database("empty")
    cluster.drop_database("empty")


def differences(url: str) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        return found

    async def compare_over_asyncpg() -> list[Any]:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(compare)
        finally:
            await engine.dispose()

    if not url.startswith("sqlite"):
        return asyncio.run(compare_over_asyncpg())
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return compare(connection)
    finally:
        engine.dispose()


def test_a_migrated_database_is_what_the_schema_says(empty_url: str) -> None:
    asyncio.run(migrate.upgrade(empty_url))
    assert differences(empty_url) == []


def test_sqlite_tables_are_strict_and_kept_as_the_schema_says(sqlite_url: str) -> None:
    """Alembic does not compare these."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        rows = connection.execute("select name, wr, strict from pragma_table_list where type = 'table'").fetchall()
    ours = {name: (bool(wr), bool(strict)) for name, wr, strict in rows if name in metadata.tables}
    expected = {
        name: (not table.dialect_options["sqlite"]["with_rowid"], True) for name, table in metadata.tables.items()
    }
    assert ours == expected


def test_ids_compare_byte_by_byte_on_postgresql(postgres_cluster: Cluster, postgresql_url: str) -> None:
    """Alembic does not compare collations. A new libc may reorder the others, and so break their indexes."""
    database = postgresql_url.partition("@/")[2].partition("?")[0]
    printed = postgres_cluster.execute(
        "select table_name || '.' || column_name from information_schema.columns "
        "where table_schema = 'public' and collation_name = 'C'",
        database=database,
    )
    expected = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if getattr(column.type, "collation", None) == "C"
    }
    assert set(printed.split()) == expected


def test_counts_of_requests_are_not_logged_on_postgresql(postgres_cluster: Cluster, postgresql_url: str) -> None:
    database = postgresql_url.partition("@/")[2].partition("?")[0]
    statement = "select relname from pg_class where relkind = 'r' and relpersistence = 'u'"
    assert postgres_cluster.execute(statement, database=database).split() == ["request_count"]


def test_every_tenant_table_is_keyed_by_the_application() -> None:
    for table in metadata.tables.values():
        columns = [column.name for column in table.primary_key]
        if table.name in ("application", "server_fact", "kept_metadata", "metadata_part", "job_run", "request_count"):
            continue
        (key,) = table.foreign_key_constraints
        # What belongs to a credential goes with it, and so with the application.
        through = ["app_id", "credential_id"] if table.name == "attestation" else ["app_id"]
        assert (columns[0], key.column_keys, key.ondelete) == ("app_id", through, "cascade"), table.name


def test_the_revision_is_known_before_and_after(empty_url: str) -> None:
    assert asyncio.run(migrate.current(empty_url)) is None
    asyncio.run(migrate.upgrade(empty_url))
    assert asyncio.run(migrate.current(empty_url)) == migrate.head()


def test_the_head_is_the_one_that_alembic_sees() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert scripts.get_heads() == [migrate.head()]


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    async def act() -> None:
        root = await open_store(database_url)
        await root.keep_fact("name", b"value")
        await migrate.upgrade(database_url)
        assert await root.find_fact("name") == b"value"
        await root.close()

    asyncio.run(act())
    assert differences(database_url) == []


def test_two_nodes_may_migrate_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as nodes:
        list(nodes.map(lambda _: asyncio.run(migrate.upgrade(empty_url)), range(4)))
    assert differences(empty_url) == []
    assert asyncio.run(migrate.current(empty_url)) == migrate.head()


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        rendered = migrate.statements
        patch.setattr(migrate, "statements", lambda dialect, **span: [*rendered(dialect, **span), "create nonsense"])
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            asyncio.run(migrate.upgrade(empty_url))
    assert asyncio.run(migrate.current(empty_url)) is None
    asyncio.run(migrate.upgrade(empty_url))


def test_a_database_of_a_newer_version_is_refused(database_url: str, postgres_cluster: Cluster) -> None:
    statement = "update alembic_version set version_num = '9999'"
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            connection.execute(statement)
            connection.commit()
    else:
        postgres_cluster.execute(statement, database=database_url.partition("@/")[2].partition("?")[0])
    with pytest.raises(StoreUnavailable, match="newer"):
        asyncio.run(migrate.upgrade(database_url))


def test_an_unmigrated_database_says_what_to_do(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        Path(empty_url.removeprefix("sqlite:///")).touch()

    async def act() -> None:
        root = await open_store(empty_url)
        try:
            for ask in (root.ping, root.tenant("app").find_application, root.list_applications):
                with pytest.raises(StoreUnavailable) as caught:
                    await ask()
                assert caught.value.advice == "run `narthex migrate`"
        finally:
            await root.close()

    asyncio.run(act())


def test_a_new_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    asyncio.run(migrate.upgrade(url))

    async def act() -> None:
        root = await open_store(url)
        await root.keep_fact("name", b"value")
        modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
        assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
        await root.close()

    asyncio.run(act())


def test_serving_a_migrated_database_imports_no_migration_tool(sqlite_url: str) -> None:
    program = f"""
import asyncio, sys
from narthex.adapters.sql import migrate, open_store
async def serve():
    await migrate.upgrade({sqlite_url!r})
    root = await open_store({sqlite_url!r})
    await root.ping()
    await root.close()
asyncio.run(serve())
print(sorted({{"sqlalchemy", "alembic", "asyncpg"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ── from 0001 ──

_ES256_KEY = {1: 2, 3: -7, -1: 1, -2: raw("x"), -3: raw("y")}
KEYS: list[tuple[bytes, int]] = [
    (cbor2.dumps(_ES256_KEY), -7),
    (cbor2.dumps(dict(reversed(_ES256_KEY.items()))), -7),
    (cbor2.dumps({1: 1, 3: -8, -1: 6, -2: raw("x")}), -8),
    (cbor2.dumps({-2: b"\1\0\1", -1: raw("n", 256), 3: -257, 1: 3}), -257),
    (cbor2.dumps({1: 2, 3: -36, -1: 3, -2: raw("x", 66), -3: raw("y", 66)}), -36),
    # Heads that are not the shortest, which the walker tolerates.
    (b"\xa2\x18\x01\x02\x18\x03\x39\x00\x22", -35),
    # What no registration would have kept says nothing, and does not stop the migration.
    (b"", 0), (b"\xff", 0), (cbor2.dumps([1, 2]), 0), (cbor2.dumps({1: 2}), 0), (cbor2.dumps({1: 2, 3: "ES256"}), 0),
]  # fmt: skip
OF_0001 = (
    "app_id", "credential_id", "user_id", "user_handle", "public_key", "sign_count", "attestation_format", "aaguid",
    "rp_id", "origin", "transports", "backup_eligible", "backup_state", "user_verified", "discoverable", "nickname",
    "device", "country", "created_at", "last_used_at",
)  # fmt: skip
CREDENTIALS = 1_000 + len(KEYS)


def _row_of_0001(n: int) -> tuple[Any, ...]:
    return (
        f"app{n % 3}", raw(f"{n}"), f"user {n % 400} ñ", raw(f"{n}", 16), KEYS[n % len(KEYS)][0], 2**32 - 1 - n,
        ("none", "packed")[n % 2], raw(f"model {n % 5}", 16), "example.org", "https://example.org", '["internal"]',
        n % 2 == 0, n % 3 == 0, n % 5 == 0, (None, True, False)[n % 3], (None, "Ānna’s 🔑")[n % 2], "Firefox", "CH",
        to_us(NOW) + n, to_us(NOW) + 2 * n,
    )  # fmt: skip


async def _execute(url: str, statements: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite.connect(url.removeprefix("sqlite:///"))) as connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)
        return
    async with connected(url) as connection:
        for statement, rows in statements:
            await connection.executemany(re.sub(r"\?(\d+)", r"$\1", statement), rows)


async def _fetch(url: str, statement: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        with closing(sqlite.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(statement).fetchall()
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


@pytest.fixture
def first_url(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of revision 0001 with three applications and a thousand credentials."""

    async def make() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "head", lambda: "0001")
            await migrate.upgrade(empty_url)
        marks = ", ".join(f"?{n}" for n, _ in enumerate(OF_0001, 1))
        await _execute(
            empty_url,
            [
                (
                    "insert into application (app_id, created_at, settings) values (?1, ?2, ?3)",
                    [(f"app{n}", to_us(NOW), '{"event_logging":true}') for n in range(3)],
                ),
                (
                    f"insert into credential ({', '.join(OF_0001)}) values ({marks})",
                    [_row_of_0001(n) for n in range(CREDENTIALS)],
                ),
                (
                    "insert into event (app_id, event_id, performed_at, event_type, severity, message, performed_by,"
                    " subject, api_key_hint, trace_id) values (?1, ?2, ?3, 1103, 3, 'signed in', 'user', '', '', '')",
                    [("app0", raw(f"{n}", 16), to_us(NOW)) for n in range(10)],
                ),
            ],
        )

    asyncio.run(make())
    return empty_url


_ALL_OF_0001 = f"select {', '.join(OF_0001)} from credential order by app_id, credential_id"


def test_a_database_of_0001_is_migrated_with_everything_in_it(first_url: str) -> None:
    before = asyncio.run(_fetch(first_url, _ALL_OF_0001))
    assert len(before) == CREDENTIALS
    asyncio.run(migrate.upgrade(first_url))
    assert differences(first_url) == []
    assert asyncio.run(_fetch(first_url, _ALL_OF_0001)) == before
    assert asyncio.run(_fetch(first_url, "select distinct assurance from event")) == [(None,)]
    assert asyncio.run(_fetch(first_url, "select count(*) from event")) == [(10,)]

    async def read(root: SqlRootStore) -> None:
        for n in range(CREDENTIALS):
            found = await root.tenant(f"app{n % 3}").find_credential(raw(f"{n}"))
            assert found is not None
            # INVARIANT: nothing vouches for them, so none of them counts as attested.
            assert (found.attestation_format, found.attestation_type) == (("none", "packed")[n % 2], "none")
            assert (found.trust, found.anchor, found.judged_with) == (TrustVerdict.NO_PATH, None, "")
            assert (found.alg, found.backup_eligible) == (KEYS[n % len(KEYS)][1], n % 2 == 0)
            assert (found.key_identifiers, found.extensions) == ((), CredentialExtensions())
            assert await root.tenant(f"app{n % 3}").find_evidence(raw(f"{n}")) is None
        application = await root.tenant("app0").find_application()
        assert application is not None
        assert application.settings == ApplicationSettings(event_logging=True)

    run_on(first_url, read)


def test_a_migrated_database_still_deletes_what_belongs_to_an_application(first_url: str) -> None:
    """SQLite's table is a new one: it must have the old one's key, index and foreign key."""
    asyncio.run(migrate.upgrade(first_url))

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app0")
        with pytest.raises(CredentialExists):
            await tenant.commit(AddCredential(make_credential("0")))
        await tenant.commit(AddCredential(make_credential("new", backup_eligible=None), make_evidence()))
        delete = RootStatement("delete from application where app_id = :app_id")
        assert await root._engine.execute(delete, delete.bind(app_id="app0")) == 1
        assert await tenant.scan_credentials(after=None, most=1) == []
        assert await tenant.find_evidence(raw("new")) is None
        with pytest.raises(ApplicationGone):
            await tenant.commit(AddCredential(make_credential("new")))

    run_on(first_url, act)
    if first_url.startswith("sqlite"):
        assert asyncio.run(_fetch(first_url, "pragma foreign_key_check")) == []
        assert asyncio.run(_fetch(first_url, "pragma integrity_check")) == [("ok",)]


@pytest.mark.parametrize("place", ["in the middle", "at the end"])
def test_a_migration_that_fails_leaves_0001_as_it_was(
    first_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = asyncio.run(_fetch(first_url, _ALL_OF_0001))
    with monkeypatch.context() as patch:
        rendered = migrate.statements

        def broken(dialect: str, **span: Any) -> list[Any]:
            steps = list(rendered(dialect, **span))
            at = len(steps) if place == "at the end" else 1 + steps.index(next(s for s in steps if isinstance(s, Fill)))
            return [*steps[:at], "create nonsense", *steps[at:]]

        patch.setattr(migrate, "statements", broken)
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            asyncio.run(migrate.upgrade(first_url))
    assert asyncio.run(migrate.current(first_url)) == "0001"
    assert asyncio.run(_fetch(first_url, _ALL_OF_0001)) == before
    assert [len(row) for row in asyncio.run(_fetch(first_url, "select * from credential limit 1"))] == [len(OF_0001)]
    asyncio.run(migrate.upgrade(first_url))
    assert asyncio.run(_fetch(first_url, _ALL_OF_0001)) == before


def test_two_nodes_may_migrate_0001_at_once(first_url: str) -> None:
    with ThreadPoolExecutor(4) as nodes:
        list(nodes.map(lambda _: asyncio.run(migrate.upgrade(first_url)), range(4)))
    assert differences(first_url) == []
    assert len(asyncio.run(_fetch(first_url, _ALL_OF_0001))) == CREDENTIALS


def test_a_database_of_0001_says_what_to_do(first_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        for ask in (root.tenant("app0").find_application, root.find_metadata):
            with pytest.raises(StoreUnavailable) as caught:
                await ask()
            assert caught.value.advice == "run `narthex migrate`"

    run_on(first_url, act)


# ── from 0002 ──

KEYS_OF_0002 = [
    ("app0", "1", "public", "0001", "app0:public:0001"),
    ("app0", "2", "secret", "0002", None),
    ("app1", "1", "secret", "0002", None),
    # By our own drawing two keys of an application end alike once in 65,536 times.
    ("app1", "2", "secret", "0002", None),
    ("app1", "3", "public", "0002", "app1:public:0002"),
]


@pytest.fixture
def second_url(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of revision 0002 with two applications and their keys."""

    async def make() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "head", lambda: "0002")
            await migrate.upgrade(empty_url)
        await _execute(
            empty_url,
            [
                (
                    "insert into application (app_id, created_at, settings) values (?1, ?2, '{}')",
                    [(app_id, to_us(NOW)) for app_id in ("app0", "app1")],
                ),
                (
                    "insert into api_key (app_id, key_id, kind, mac, hint, value, scopes, created_at, locked)"
                    " values (?1, ?2, ?3, ?4, ?5, ?6, '[\"token_verify\"]', ?7, false)",
                    [
                        (app_id, key_id, kind, raw(f"{app_id} {key_id}"), hint, value, to_us(NOW))
                        for app_id, key_id, kind, hint, value in KEYS_OF_0002
                    ],
                ),
            ],
        )

    asyncio.run(make())
    return empty_url


def _keys_of(url: str) -> dict[tuple[str, str], ApiKey]:
    found: dict[tuple[str, str], ApiKey] = {}

    async def read(root: SqlRootStore) -> None:
        for app_id in await root.list_applications():
            application = await root.tenant(app_id).find_application()
            assert application is not None
            found.update({(app_id, key.key_id): key for key in application.api_keys})

    run_on(url, read)
    return found


def test_secret_keys_of_0002_may_do_what_they_might(second_url: str) -> None:
    asyncio.run(migrate.upgrade(second_url))
    assert differences(second_url) == []
    for (app_id, key_id), key in _keys_of(second_url).items():
        expected = next(kept for kept in KEYS_OF_0002 if kept[:2] == (app_id, key_id))
        assert (key.kind, key.value, key.mac) == (expected[2], expected[4], raw(f"{app_id} {key_id}"))
        assert (key.scopes, key.created_at, key.locked) == ({"token_verify"}, NOW, False)
        assert key.legacy == (key.kind is KeyKind.SECRET)
        assert (key.name, key.networks, key.expires_at, key.last_used_at) == ("", (), None, None)


def test_keys_of_0002_that_end_alike_are_told_apart(second_url: str) -> None:
    asyncio.run(migrate.upgrade(second_url))
    assert {name: key.hint for name, key in _keys_of(second_url).items()} == {
        ("app0", "1"): "0001",
        ("app0", "2"): "0002",
        ("app1", "1"): "0002",
        ("app1", "2"): "0002-2",
        ("app1", "3"): "0002-3",
    }
