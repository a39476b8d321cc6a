"""PostgreSQL through asyncpg, in as few round trips as an act allows.

Steps that need not see one another become one statement: each is a data-modifying part of a ``with``, and a function
made by the migrations, ``narthex_refuse``, aborts the whole when a part that had to change a row changed none. It
raises a code of our own with the step's number as its message, so we learn which one it was. Steps that change
one table twice run in a transaction of several round trips; those acts are rare.

Connections are pooled here rather than by asyncpg: our statements leave no session state behind, so a returned
connection needs neither a reset nor the task that guards it (decision 0003 has the figures). A connection whose
caller was cancelled or timed out is dropped, because what it is doing is not known.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg

from narthex.adapters.sql.database_url import DatabaseUrlMalformed
from narthex.adapters.sql.engine import (
    ParentMissing,
    Row,
    Step,
    StepRefused,
    not_migrated,
    unavailable,
    unkeepable,
)
from narthex.adapters.sql.statement import Arguments, Statement
from narthex.ports.store import StoreUnavailable

Connection: TypeAlias = Any
"""`asyncpg.Connection`; the package carries no types."""
T = TypeVar("T")

# Hashed with another seed than the names of acts that take turns, so that the two never wait for one another.
_HOLD: Final = "select pg_try_advisory_lock(hashtextextended($1, 1))"
REFUSED: Final = "NX001"
"""The SQLSTATE that ``narthex_refuse`` raises; the migrations make that function."""
_CONNECT_TIMEOUT_S: Final = 5.0
_ACQUIRE_TIMEOUT_S: Final = 5.0
_COMMAND_TIMEOUT_S: Final = 10.0
_ATTEMPTS: Final = 5

# After an error of these severities the server hangs up, and the connection learns of it only in a moment.
_LAST_WORDS: Final = ("FATAL", "PANIC")
# SQLSTATE classes that mean "not now" (PostgreSQL manual, appendix A): connection, authorization, catalog name,
# resources, operator intervention, system, internal; and a server that became a read-only standby.
_AWAY: Final = ("08", "28", "3D", "53", "57", "58", "XX", "25006")
_UNDEFINED: Final = ("42P01", "42703", "42883", "3F000")
# Another transaction won, or the plan went stale under a migration: the same act may succeed at once.
_AGAIN: Final = ("40001", "40P01", "0A000")


async def connect(url: str) -> Connection:
    """Open a connection in our manner. Raises `StoreUnavailable`, `DatabaseUrlMalformed`."""
    try:
        return await asyncpg.connect(
            url,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": "narthex"},
        )
    except (OSError, asyncpg.PostgresError) as e:
        raise StoreUnavailable(
            f"cannot reach PostgreSQL: {str(e) or type(e).__name__}",
            advice="check that it runs, and that NARTHEX_DATABASE_URL names its host, user and database",
        ) from e
    except (ValueError, asyncpg.InterfaceError):
        # Neither the text nor the cause is shown: a password with a stray `/` or `@` ends up in the message.
        raise DatabaseUrlMalformed("the database URL cannot be read as one of PostgreSQL") from None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection for one errand, closed after it."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        await _closed(connection)


async def _closed(connection: Connection) -> None:
    try:
        await connection.close(timeout=1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


class PostgresEngine:
    """One PostgreSQL database. Belongs to one event loop."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        self._url = url
        self._pool = _Pool(lambda: connect(url), size=pool_size)

    @classmethod
    async def opened(cls, url: str, *, pool_size: int) -> PostgresEngine:
        """An engine that has reached its database once, so that a wrong address is known at the start."""
        engine = cls(url, pool_size=pool_size)
        engine._pool.release(await engine._pool.acquire())
        return engine

    async def fetch(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        async def act(connection: Connection) -> Sequence[Row]:
            rows: Sequence[Row] = await connection.fetch(statement.postgres, *arguments)
            return rows

        return await self._run(act)

    async def execute(self, statement: Statement, arguments: Arguments) -> int:
        return await self._run(lambda connection: _execute(connection, (statement, arguments)))

    async def execute_returning(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        return await self.fetch(statement, arguments)

    async def commit(self, steps: Sequence[Step], *, in_turn: Sequence[str] = ()) -> None:
        if not in_turn and _independent(steps):
            await self._run(lambda connection: _commit_at_once(connection, steps))
        else:
            await self._run(lambda connection: _commit_in_turn(connection, steps, in_turn))

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[bool]:
        """Hold a name by an advisory lock of a session, on a connection that serves nothing else meanwhile.

        The lock lives as long as the connection. Where that is lost before the context ends, be it by a restart of
        PostgreSQL, another may hold the name, and the first holder is not told.
        """
        if self._pool.is_closed:
            raise StoreUnavailable("the database was closed")
        async with connected(self._url) as connection:
            try:
                held = await connection.fetchval(_HOLD, name)
            except asyncpg.PostgresError as e:
                raise _translated(e) from e
            except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as e:
                raise unavailable(e) from e
            yield held

    async def close(self) -> None:
        await self._pool.close()

    async def _run(self, act: Callable[[Connection], Awaitable[T]]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                return await self._run_once(act)
            except asyncpg.PostgresError as e:
                if e.sqlstate not in _AGAIN:
                    raise _translated(e) from e
                lost = e
            except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as e:
                # The last of them is what asyncpg says of a connection that lay idle when the server shut down.
                raise unavailable(e) from e
        raise unavailable(lost) from lost

    async def _run_once(self, act: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await self._pool.acquire()
        try:
            result = await act(connection)
        except (asyncpg.PostgresError, StepRefused, ValueError) as e:
            if getattr(e, "severity_en", None) in _LAST_WORDS:
                self._pool.drop(connection)
            else:
                self._pool.release(connection)
            raise
        except BaseException:
            # Cancelled, timed out or cut off: what the connection is doing is not known.
            self._pool.drop(connection)
            raise
        self._pool.release(connection)
        return result


def _independent(steps: Sequence[Step]) -> bool:
    """Whether no step needs to see what another did: the parts of one statement all see the rows from before it."""
    tables = Counter(statement.table for statement, _ in steps)
    return all(statement.only_adds or tables[statement.table] == 1 for statement, _ in steps)


async def _execute(connection: Connection, step: Step) -> int:
    statement, arguments = step
    status: str = await connection.execute(statement.postgres, *arguments)
    return int(status.rsplit(" ", 1)[1])


async def _commit_at_once(connection: Connection, steps: Sequence[Step]) -> None:
    if len(steps) == 1:
        if await _execute(connection, steps[0]) == 0 and steps[0][0].must_change:
            raise StepRefused(0)
        return
    text = _joined(tuple(statement for statement, _ in steps))
    await connection.fetchrow(text, *(argument for _, arguments in steps for argument in arguments))


async def _commit_in_turn(connection: Connection, steps: Sequence[Step], in_turn: Sequence[str]) -> None:
    async with connection.transaction():
        for name in in_turn:
            await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", name)
        for index, step in enumerate(steps):
            if await _execute(connection, step) == 0 and step[0].must_change:
                raise StepRefused(index)


@lru_cache(maxsize=512)
def _joined(statements: tuple[Statement, ...]) -> str:
    """Several writes as one statement that does all or nothing."""
    parts, refusals, count = [], ["1"], 0
    for index, statement in enumerate(statements):
        parts.append(f"s{index} as ({statement.shifted(count)} returning 1)")
        count += len(statement.names)
        if statement.must_change:
            refusals.append(f"case when not exists (select from s{index}) then narthex_refuse({index}) end")
    return f"with {', '.join(parts)} select {', '.join(refusals)}"


def _translated(error: Any) -> Exception:
    """What a PostgreSQL error is to the house; an error that is a fault of ours stays what it is."""
    code: str = error.sqlstate or ""
    if code == REFUSED:
        return StepRefused(int(str(error)))
    if code == "23503":
        return ParentMissing()
    if code in _UNDEFINED:
        return not_migrated(error)
    if code.startswith(_AWAY):
        return unavailable(error)
    if code.startswith("22"):
        return unkeepable(error)
    return error if isinstance(error, Exception) else AssertionError(error)


class _Pool:
    """Connections that wait to be used, the most recent first, and callers that wait for one, the oldest first.

    INVARIANT: `_open` counts connections that are idle, lent, or being opened, and never passes `size`.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, size: int) -> None:
        self._connect = connect
        self._size = size
        self._open = 0
        self._idle: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def acquire(self) -> Connection:
        while True:
            if self._closed:
                raise StoreUnavailable("the database was closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._open -= 1
            if self._open < self._size:
                return await self._opened()
            if (given := await self._turn()) is not None:
                return given

    def release(self, connection: Connection) -> None:
        if self._closed or connection.is_closed():
            self.drop(connection)
        elif not self._hand_over(connection):
            self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        connection.terminate()
        self._free()

    async def close(self) -> None:
        self._closed = True
        while self._hand_over(None):
            pass
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        for connection in idle:
            await _closed(connection)

    async def _opened(self) -> Connection:
        self._open += 1
        try:
            connection = await self._connect()
        except BaseException:
            self._free()
            raise
        if self._closed:
            self.drop(connection)
            raise StoreUnavailable("the database was closed")
        return connection

    async def _turn(self) -> Connection | None:
        """Wait for a connection, or for None: room to open one, or the end."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiters.append(waiter)
        alarm = loop.call_later(_ACQUIRE_TIMEOUT_S, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled in the very moment of being served: what we were given goes to the next one.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                if (connection := waiter.result()) is not None:
                    self.release(connection)
                else:
                    self._hand_over(None)
            raise
        finally:
            alarm.cancel()

    def _free(self) -> None:
        self._open -= 1
        self._hand_over(None)

    def _hand_over(self, connection: Connection | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False


def _give_up(waiter: asyncio.Future[Connection | None]) -> None:
    if not waiter.done():
        waiter.set_exception(StoreUnavailable("all connections to the database are in use"))
