"""The reference server's SQLite database, read and never written.

How a file may be opened depends on what lies beside it. A write-ahead log that is not empty holds commits that are
not in the file yet, so SQLite must read both, and makes a small `-shm` file for that where there is none. A rollback
journal means that a server died while it wrote; only a writer can undo that, so the file is refused. Where there is
neither, the file is opened as one that nobody changes (`immutable`), which also works on a read-only disk; that
nobody did is seen by its size and time of change at the end of each table.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from narthex.base.errors import Malformed
from narthex.ports.reference import COLUMNS, Row

_READ_BYTES: Final = 1 << 20
_LONGEST_VALUE: Final = 8 << 20
_MAGIC: Final = b"SQLite format 3\0"
# Table → what says whose a row is, and by what rows are told apart: they are read in that order.
_KEYS: Final = {
    "AccountInfo": ("AcountName", "AcountName"),
    "AppFeatures": ("Tenant", "Tenant"),
    "ApiKeys": ("Tenant", "Id"),
    "AuthenticationConfigurations": ("Tenant", "Purpose"),
    "Authenticators": ("Tenant", "AaGuid"),
    "Credentials": ("Tenant", "DescriptorId"),
    "Aliases": ("Tenant", "Alias"),
}


class ReferenceDatabaseUnreadable(Malformed):
    """The file is not the database of a Passwordless.dev server, or cannot be read as one."""

    code = "reference-database-unreadable"
    advice = (
        "give a copy of the server's SQLite file, made with `sqlite3 FILE '.backup COPY'` or while the server is "
        "stopped; start the newest release of that server with it once, if it is older"
    )


class ReferenceDatabase:
    """One file (`narthex.ports.reference.ReferenceSource`)."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ReferenceDatabaseUnreadable.
        """
        self._path = path
        _check_file(path)
        # With a log beside it, what is in the file alone would be an old state, or none at all.
        self._frozen = not _size(_beside(path, "-wal"))
        self._state = _state(path)
        self.name = _digest(path)
        self._connection = _connected(path, frozen=self._frozen)
        try:
            self._check_schema()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> ReferenceDatabase:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def applications(self) -> Sequence[str]:
        """The ids of all applications, in order; one that is no text is none."""
        rows = self._fetch("select AcountName from AccountInfo order by AcountName")
        return [row[0] for row in rows if isinstance(row[0], str)]

    def count(self, table: str, app_id: str) -> int:
        owner, _ = _KEYS[table]
        counted: int = self._fetch(f"select count(*) from {table} where {owner} = ?", app_id)[0][0]  # noqa: S608 -- names of our own
        return counted

    def rows(self, table: str, app_id: str, *, most: int) -> Iterator[Sequence[Row]]:
        """The rows of an application, `most` together.

        Raises:
            ReferenceDatabaseUnreadable: the file is damaged, or it was changed while it was read.
        """
        owner, key = _KEYS[table]
        columns = ", ".join(COLUMNS[table])
        query = f"select {columns} from {table} where {owner} = ? order by {key}"  # noqa: S608 -- names of our own
        try:
            with closing(self._connection.execute(query, (app_id,))) as cursor:
                while portion := cursor.fetchmany(most):
                    yield portion
        except sqlite3.Error as e:
            raise self._unreadable(f"its table `{table}` cannot be read: {e}") from e
        # With its log, SQLite keeps us at one state whatever others write.
        if self._frozen and _state(self._path) != self._state:
            raise self._unreadable("it was changed while it was read: stop its server, or give a copy")

    def _check_schema(self) -> None:
        for table, columns in COLUMNS.items():
            # A view could be made up of anything, without end.
            kinds = self._fetch("select type from sqlite_master where name = ? collate nocase", table)
            if kinds and kinds[0][0] != "table":
                raise self._unreadable(f"its `{table}` is no table")
            there = {str(row[1]).lower() for row in self._fetch(f"pragma table_info({table})")}
            if not there:
                raise self._unreadable(f"it has no table `{table}`")
            owner, key = _KEYS[table]
            missing = [name for name in dict.fromkeys((owner, key, *columns)) if name.lower() not in there]
            if missing:
                named = ", ".join(f"`{name}`" for name in missing)
                raise self._unreadable(f"its table `{table}` has no {named}: it is of a release that is not known here")

    def _fetch(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as e:
            raise self._unreadable(f"it cannot be read: {e}") from e

    def _unreadable(self, words: str) -> ReferenceDatabaseUnreadable:
        return ReferenceDatabaseUnreadable(f"`{self._path}` cannot be imported: {words}")


def _check_file(path: Path) -> None:
    try:
        # A pipe would be waited for, and others are no databases either.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ReferenceDatabaseUnreadable(f"`{path}` is no file")
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as e:
        raise ReferenceDatabaseUnreadable(f"`{path}` cannot be read: {e.strerror}") from e
    if head != _MAGIC:
        raise ReferenceDatabaseUnreadable(f"`{path}` is no SQLite database")
    if _size(_beside(path, "-journal")):
        raise ReferenceDatabaseUnreadable(f"`{path}` has a journal beside it: its server died while it wrote")


def _connected(path: Path, *, frozen: bool) -> sqlite3.Connection:
    """Open the file, and stay at its state of this moment."""
    try:
        uri = f"file:{quote(str(path.resolve()))}?mode=ro{'&immutable=1' if frozen else ''}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        # A byte that is no UTF-8 spoils its row, and not the table.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute("pragma query_only = on")
        # The file may come from strangers (https://www.sqlite.org/security.html).
        connection.execute("pragma trusted_schema = off")
        connection.execute("pragma cell_size_check = on")
        connection.execute("pragma mmap_size = 0")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        connection.execute("begin")
        connection.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error as e:
        raise ReferenceDatabaseUnreadable(f"`{path}` cannot be opened: {e}") from e
    return connection


def _digest(path: Path) -> str:
    """Of the file and its log: 16 hexadecimal digits that change when a byte does."""
    digest = sha256()
    for each in (path, _beside(path, "-wal")):
        if not each.exists():
            continue
        with each.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    state = _state(path)
    return 0 if state is None else state[0]


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino
