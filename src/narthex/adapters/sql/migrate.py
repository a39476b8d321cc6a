"""Bringing a database's tables to the form that this version of the house expects.

Alembic keeps the history and renders each revision as SQL (its offline mode); we execute that over the drivers
we serve with, inside one transaction that also holds a lock. What no SQL can say stands among it as a `fill`. So
two nodes that start together migrate once, a migration that fails leaves nothing behind, and no third driver is
installed for its sake. Alembic is imported only when there is something to do.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from narthex.adapters.sql import sqlite
from narthex.adapters.sql.database_url import DatabaseUrl, parse_database_url
from narthex.adapters.sql.engine import unavailable
from narthex.adapters.sql.fill import Fill
from narthex.ports.store import StoreUnavailable

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_REVISION_FILE: Final = re.compile(r"(\d{4})_\w+\.py\Z")
# Any number will do as long as it stays: it is the name of the lock among all programs on the server.
_ADVISORY_LOCK: Final = 0x6E617274686578  # "narthex"
_PATIENCE_S: Final = 600


def head() -> str:
    """The newest revision that this version knows. Revisions are numbered, and their files named for them."""
    found = (_REVISION_FILE.match(path.name) for path in (_MIGRATIONS / "versions").iterdir())
    return max(match.group(1) for match in found if match)


async def current(database_url: str) -> str | None:
    """The revision that the database has, None if it was never migrated. Raises `StoreUnavailable`."""
    url = parse_database_url(database_url)
    if url.is_postgres:
        return await _postgres_current(url)
    return _sqlite_current(url.path)


async def upgrade(database_url: str) -> None:
    """Bring the database to `head`; does nothing when it is there already.

    Safe to call from several nodes at once. Makes a SQLite file that is not there yet. A database in memory is
    migrated when it is opened, so there is nothing to do here.

    Raises:
        StoreUnavailable: the database does not answer, or was made by a newer version.
    """
    url = parse_database_url(database_url)
    if url.is_postgres:
        await _upgrade_postgres(url)
    elif not url.is_memory:
        sqlite.create_file(url.path)
        with closing(sqlite.connect(url.path)) as connection:
            upgrade_sqlite(connection)


def _sqlite_current(path: str) -> str | None:
    if not Path(path).exists():
        return None
    with closing(sqlite.connect(path)) as connection:
        return _sqlite_revision(connection)


def upgrade_sqlite(connection: sqlite3.Connection) -> None:
    """The same for a connection that is open already."""
    if _sqlite_revision(connection) == head():
        return
    try:
        connection.execute("begin exclusive")
        try:
            for step in statements("sqlite", since=_sqlite_revision(connection), until=head()):
                if isinstance(step, Fill):
                    _fill_sqlite(connection, step)
                else:
                    connection.execute(step)
            connection.execute("commit")
        finally:
            if connection.in_transaction:
                connection.execute("rollback")
    except sqlite3.Error as e:
        raise _failed(e) from e


async def _upgrade_postgres(url: DatabaseUrl) -> None:
    import asyncpg

    from narthex.adapters.sql.postgres import connected

    try:
        async with connected(url.text) as connection:
            if await _postgres_revision(connection) == head():
                return
            # Another node may hold this for as long as its migration takes. Taken before the transaction begins: a
            # transaction would go on believing what it saw of the catalog before it waited.
            await connection.execute(f"select pg_advisory_lock({_ADVISORY_LOCK})", timeout=_PATIENCE_S)
            async with connection.transaction():
                since = await _postgres_revision(connection)
                for step in statements("postgresql", since=since, until=head()):
                    if isinstance(step, Fill):
                        await _fill_postgres(connection, step)
                    else:
                        await connection.execute(step, timeout=_PATIENCE_S)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise _failed(e) from e


async def _postgres_current(url: DatabaseUrl) -> str | None:
    import asyncpg

    from narthex.adapters.sql.postgres import connected

    try:
        async with connected(url.text) as connection:
            return await _postgres_revision(connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise unavailable(e) from e


def _failed(cause: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the migration failed and nothing was changed: {str(cause) or type(cause).__name__}")


def _fill_sqlite(connection: sqlite3.Connection, fill: Fill) -> None:
    read, write, last = fill.read().sqlite, fill.write().sqlite, None
    while rows := connection.execute(read, fill.bind_read(last)).fetchall():
        connection.executemany(write, fill.bind_writes(rows))
        last = rows[-1]


async def _fill_postgres(connection: Any, fill: Fill) -> None:
    read, write, last = fill.read().postgres, fill.write().postgres, None
    while rows := await connection.fetch(read, *fill.bind_read(last), timeout=_PATIENCE_S):
        await connection.executemany(write, fill.bind_writes(rows), timeout=_PATIENCE_S)
        last = rows[-1]


@lru_cache(maxsize=4)
def statements(dialect: str, *, since: str | None, until: str) -> Sequence[str | Fill]:
    """What to execute to come from a revision to another, in order."""
    if since == until:
        return []
    if since is not None and since > until:
        raise StoreUnavailable(
            f"the database is at revision {since}, newer than this version's {until}",
            advice="run the version of narthex that migrated it, or a later one",
        )
    # Imported here: serving must not pay for them.
    from alembic import command
    from alembic.config import Config

    output = _Statements()
    config = Config(attributes={"dialect": dialect, "output": output})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, f"{since or 'base'}:{until}", sql=True)
    return output.kept


class _Statements:
    """Takes Alembic's script, which it writes one statement at a time; a revision adds its fills among them."""

    def __init__(self) -> None:
        self.kept: list[str | Fill] = []

    def write(self, text: str) -> None:
        statement = text.strip().removesuffix(";")
        if not statement.startswith("--"):
            self.kept.append(statement)

    def flush(self) -> None:
        pass


def _sqlite_revision(connection: sqlite3.Connection) -> str | None:
    try:
        if not connection.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchall():
            return None
        rows: list[tuple[str]] = connection.execute("select version_num from alembic_version").fetchall()
    except sqlite3.Error as e:
        raise unavailable(e) from e
    return rows[0][0] if rows else None


async def _postgres_revision(connection: Any) -> str | None:
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("select version_num from alembic_version")
    return revision
