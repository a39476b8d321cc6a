"""SQLite, driven to serve many callers at once from one process.

Reads run inline on the event loop, on a connection of their own: in WAL mode a reader never waits for the
writer, and a lookup costs less than the trip to a thread would. Writes go through one writer with *group
commit*: whatever acts have arrived are applied in one transaction, each inside a savepoint so that a refused
act leaves its neighbours alone, and one COMMIT makes them all durable. Acts that arrive during that COMMIT
form the next batch. The statements run on the loop, where the data they need is; the COMMIT, which waits for
the disk, runs on a thread, so that a slow disk never stalls those who read (decision 0003 has the figures).

INVARIANT: a caller hears of success only after COMMIT returned with `synchronous = full`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Final
from urllib.parse import quote

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
from narthex.base.errors import Refusal
from narthex.ports.store import StoreUnavailable

if sys.platform != "win32":
    import fcntl

_OLDEST: Final = (3, 37, 0)
"""The first SQLite with strict tables."""
_CHECK_PATH: Final = "name a file, in a directory that exists and can be written, in NARTHEX_DATABASE_URL"
_BUSY_TIMEOUT_MS: Final = 5_000
_CACHE_KB: Final = 8_000
_BUSY_PAUSE_S: Final = 0.002
# A batch holds the event loop while its statements run, some 20 µs an act; what is over waits for the next one.
_BATCH_ACTS: Final = 200


def connect(path: str, *, busy_timeout_ms: int = _BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Open a connection in our manner. Raises `StoreUnavailable`.

    Args:
        busy_timeout_ms: how long statements wait for their turn. The opening itself is always patient: whoever closes
            the file as the last one locks it for a moment.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreUnavailable(f"SQLite 3.37 or later is needed; this Python has {sqlite3.sqlite_version}")
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
        try:
            connection.execute(f"pragma busy_timeout = {_BUSY_TIMEOUT_MS}")
            _use_write_ahead_log(connection, patience_s=_BUSY_TIMEOUT_MS / 1000)
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            # Savepoints and sorts spill into memory: a temporary file would be another disk to wait for.
            connection.execute("pragma temp_store = memory")
            # Nonces fall all over their tree; with the default 2 MB a batch spills pages before its COMMIT.
            connection.execute(f"pragma cache_size = -{_CACHE_KB}")
            connection.execute(f"pragma busy_timeout = {busy_timeout_ms}")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as e:
        raise StoreUnavailable(f"cannot open the SQLite database `{path}`: {e}", advice=_CHECK_PATH) from e
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection, *, patience_s: float) -> None:
    """Switch a file to WAL, which it then stays in.

    Of several nodes that open a new file at once, SQLite refuses the switch to all but one, without the patience that
    `busy_timeout` gives every other statement.
    """
    deadline = monotonic() + patience_s
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
            sleep(_BUSY_PAUSE_S)


def create_file(path: str) -> None:
    """Make an empty database that only its owner may read; one that is there already is left as it is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as e:
        raise StoreUnavailable(f"cannot create the SQLite database `{path}`: {e.strerror}", advice=_CHECK_PATH) from e


class _Act:
    """Steps to apply together, and the caller who waits for them."""

    __slots__ = ("changed", "done", "error", "returns", "rows", "steps")

    def __init__(self, steps: Sequence[Step], done: asyncio.Future[_Act], *, returns: bool) -> None:
        self.steps = steps
        self.done = done
        self.returns = returns
        self.changed = 0
        self.rows: Sequence[Row] = ()
        self.error: Exception | None = None

    def settle(self, failure: Exception | None) -> None:
        # A caller who was cancelled has a settled future already and is told nothing.
        if self.done.done():
            return
        if failure or self.error:
            self.done.set_exception(failure or self.error or AssertionError)
        else:
            self.done.set_result(self)


class SqliteEngine:
    """One SQLite database. Belongs to the event loop on which it is first used."""

    def __init__(self, path: str, *, connection: sqlite3.Connection | None = None) -> None:
        """
        Args:
            path: of an existing file.
            connection: serves reads and writes alike; for a database in memory, which has no second door.
        """
        if connection is None and not os.path.exists(path):
            raise StoreUnavailable(f"there is no SQLite database `{path}`", advice="run `narthex migrate`")
        # The writer polls for its turn instead of sleeping inside SQLite, where it would hold the event loop.
        self._writer = connection or connect(path, busy_timeout_ms=0)
        self._reader = connection or connect(path)
        if connection is None:
            self._reader.execute("pragma query_only = on")
        self._path = path if connection is None else None
        self._held: set[str] = set()
        self._waiting: list[_Act] = []
        self._writing: asyncio.Task[None] | None = None
        self._committer = _Committer(self._writer)
        self._closed = False

    async def fetch(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        _refuse_nul(arguments)
        try:
            return self._reader.execute(statement.sqlite, arguments).fetchall()
        except (sqlite3.Error, UnicodeError, OverflowError) as e:
            raise _translated(e) from e

    async def execute(self, statement: Statement, arguments: Arguments) -> int:
        return (await self._enqueue(((statement, arguments),))).changed

    async def execute_returning(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        return (await self._enqueue(((statement, arguments),), returns=True)).rows

    async def commit(self, steps: Sequence[Step], *, in_turn: Sequence[str] = ()) -> None:
        # There is one writer, so all acts take turns anyway.
        await self._enqueue(steps)

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[bool]:
        """Hold a name by the lock of a file beside the database, which the system frees when its process ends.

        A database in memory has no other process to keep out. On Windows, which has no such locks, one process alone
        may serve a SQLite database: it keeps out nobody but itself.
        """
        if self._closed:
            raise StoreUnavailable("the database was closed")
        if sys.platform == "win32" or self._path is None:
            with self._held_here(name) as held:
                yield held
        else:
            with _locked(f"{self._path}.{quote(name, safe='')}.lock") as held:
                yield held

    @contextmanager
    def _held_here(self, name: str) -> Iterator[bool]:
        if name in self._held:
            yield False
            return
        self._held.add(name)
        try:
            yield True
        finally:
            self._held.discard(name)

    async def close(self) -> None:
        self._closed = True
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._committer.stop()
        self._reader.close()
        self._writer.close()

    def _enqueue(self, steps: Sequence[Step], *, returns: bool = False) -> asyncio.Future[_Act]:
        if self._closed:
            raise StoreUnavailable("the database was closed")
        for _, arguments in steps:
            _refuse_nul(arguments)
        loop = asyncio.get_running_loop()
        act = _Act(steps, loop.create_future(), returns=returns)
        self._waiting.append(act)
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return act.done

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_batch()
        finally:
            self._writing = None

    async def _write_batch(self) -> None:
        batch: list[_Act] = []
        failure: Exception | None = None
        try:
            await self._begin()
            # Taken only now: whoever arrived while we waited for our turn comes along.
            batch = self._take()
            for act in batch:
                self._apply(act)
            await self._committer.commit()
        except sqlite3.Error as e:
            told = _translated(e)
            failure = told if isinstance(told, StoreUnavailable) else unavailable(e)
            self._roll_back()
        except asyncio.CancelledError:
            # The loop is being torn down, perhaps in the middle of a COMMIT: whether it counts is not known.
            self._closed = True
            failure = StoreUnavailable("the database was closed")
            raise
        finally:
            for act in batch or self._take():
                act.settle(failure)

    def _take(self) -> list[_Act]:
        batch = self._waiting[:_BATCH_ACTS]
        del self._waiting[:_BATCH_ACTS]
        return [act for act in batch if not act.done.done()]

    async def _begin(self) -> None:
        """Become the one writer of the file; another process may hold that place for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BUSY_TIMEOUT_MS / 1_000
        while True:
            try:
                self._writer.execute("begin immediate")
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                    raise
                await asyncio.sleep(_BUSY_PAUSE_S)
            else:
                return

    def _apply(self, act: _Act) -> None:
        """Run the steps of one act, or none of them.

        Raises:
            sqlite3.Error: the database failed, and with it the whole batch; a fault of the act itself is kept
                for its caller instead.
        """
        execute = self._writer.execute
        # One statement undoes itself; a savepoint costs 4 µs, a quarter of what an act's statements do.
        guarded = len(act.steps) > 1
        if guarded:
            execute("savepoint act")
        try:
            for index, (statement, arguments) in enumerate(act.steps):
                cursor = execute(statement.sqlite, arguments)
                if act.returns:
                    act.rows = cursor.fetchall()
                act.changed = cursor.rowcount
                if act.changed == 0 and statement.must_change:
                    raise StepRefused(index)
        except (sqlite3.OperationalError, sqlite3.InternalError):
            raise
        except Exception as e:
            if type(e) is sqlite3.DatabaseError:
                raise
            act.error = e if isinstance(e, StepRefused) else _translated(e)
            if guarded:
                execute("rollback to act")
        if guarded:
            execute("release act")

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself (a full disk does that); then there is nothing left to undo.
        with contextlib.suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("rollback")


@contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Lock a file, which stays: one that is removed could be held by one process and made anew by another."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as e:
        raise StoreUnavailable(f"cannot open the lock file `{path}`: {e.strerror}", advice=_CHECK_PATH) from e
    try:
        yield _try_lock(descriptor, path)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        raise StoreUnavailable(f"cannot lock the file `{path}`: {e.strerror}", advice=_CHECK_PATH) from e
    return True


class _Committer:
    """The thread that waits for the disk. It runs COMMIT and nothing else, so it needs the GIL for moments only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def commit(self) -> asyncio.Future[None]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="narthex-commit", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put((loop, done))
        return done

    def stop(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (order := self._queue.get()) is not None:
            loop, done = order
            failure: sqlite3.Error | None = None
            try:
                self._connection.execute("commit")
            except sqlite3.Error as e:
                failure = e
            # The loop may be gone when a server is torn down mid-commit: then nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, done, failure)


def _refuse_nul(arguments: Arguments) -> None:
    """PostgreSQL's texts hold no NUL; SQLite's would, and a database could not move from one to the other."""
    for argument in arguments:
        if argument.__class__ is str and "\0" in argument:
            raise unkeepable("the text holds a NUL character")


def _settle(done: asyncio.Future[None], failure: sqlite3.Error | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _translated(error: Exception) -> Exception:
    """What a driver's error is to the house; an error that is a fault of ours stays what it is."""
    match error:
        case Refusal():
            return error
        case sqlite3.IntegrityError() if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return ParentMissing()
        case sqlite3.OperationalError() if str(error).startswith(("no such table", "no such column")):
            return not_migrated(error)
        case sqlite3.OperationalError() | sqlite3.InternalError():
            return unavailable(error)
        case sqlite3.DataError() | UnicodeError() | OverflowError():
            return unkeepable(error)
        case sqlite3.ProgrammingError() if "closed database" in str(error):
            return StoreUnavailable("the database was closed")
        case sqlite3.DatabaseError() if type(error) is sqlite3.DatabaseError:
            return unavailable(error)
    return error
