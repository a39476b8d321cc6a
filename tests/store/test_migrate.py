"""What the migrations make is what `schema` says, on both databases, however often and from wherever they run."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from narthex.adapters.sql import migrate, open_store
from narthex.adapters.sql.schema import metadata
from narthex.ports.store import StoreUnavailable
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


def test_every_tenant_table_is_keyed_by_the_application() -> None:
    for table in metadata.tables.values():
        columns = [column.name for column in table.primary_key]
        if table.name in ("application", "server_fact"):
            continue
        (key,) = table.foreign_key_constraints
        assert (columns[0], key.column_keys, key.ondelete) == ("app_id", ["app_id"], "cascade"), table.name


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
        patch.setattr(
            migrate, "statements", lambda dialect, *, since: [*rendered(dialect, since=since), "create nonsense"]
        )
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
