"""The database behind the house: SQLite where one machine is enough, PostgreSQL where it is not.

`statement` translates portable SQL once to each driver's form; `engine` says what a database must do, and
`sqlite` and `postgres` do it: they alone know which database it is. Each noun's statements are in a file of its
name, with `encoding` and `plan` for what they share, and `store` fulfils the ports with them. `schema`, `migrate`
and `migrations/` shape the tables; SQLAlchemy and Alembic are imported only when there is something to migrate, and
asyncpg only where the database is PostgreSQL.
"""

from __future__ import annotations

from narthex.adapters.sql.database_url import parse_database_url
from narthex.adapters.sql.store import SqlRootStore


async def open_store(database_url: str, *, pool_size: int = 16) -> SqlRootStore:
    """Open a database that was migrated before (`narthex.adapters.sql.migrate.upgrade`).

    A database in memory, `sqlite:///:memory:`, is migrated as it is opened and ends with the store.

    Args:
        pool_size: at most so many connections to PostgreSQL; SQLite needs no pool.
    Raises:
        DatabaseUrlMalformed: the URL names no database that we can use.
        StoreUnavailable: the database does not answer, or there is no such file.
    """
    url = parse_database_url(database_url)
    if url.is_postgres:
        from narthex.adapters.sql.postgres import PostgresEngine

        return SqlRootStore(await PostgresEngine.opened(url.text, pool_size=pool_size))
    from narthex.adapters.sql.sqlite import SqliteEngine, connect

    if not url.is_memory:
        return SqlRootStore(SqliteEngine(url.path))
    from narthex.adapters.sql.migrate import upgrade_sqlite

    connection = connect(url.path)
    upgrade_sqlite(connection)
    return SqlRootStore(SqliteEngine(url.path, connection=connection))
