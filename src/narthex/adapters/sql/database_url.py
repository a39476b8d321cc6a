"""The one text by which an operator names a database.

`sqlite:///relative/path`, `sqlite:////absolute/path`, `sqlite:///:memory:`, or anything PostgreSQL's own
libraries accept under `postgresql://` or `postgres://`.
"""

from __future__ import annotations

from dataclasses import dataclass

from narthex.base.errors import Malformed


class DatabaseUrlMalformed(Malformed):
    """The database URL names no database that we can use."""

    code = "database-url-malformed"
    advice = "use sqlite:///path/to/file or postgresql://user@host/database"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database URL, read. The text may hold a password, so neither repr nor any message shows it."""

    text: str
    path: str
    """The file, where it is SQLite; empty for PostgreSQL."""

    @property
    def is_postgres(self) -> bool:
        return not self.path

    @property
    def is_memory(self) -> bool:
        return self.path == ":memory:"

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.path or 'postgresql://***'!r})"


def parse_database_url(text: str) -> DatabaseUrl:
    """Parse.

    >>> parse_database_url("sqlite:///narthex.db").path, parse_database_url("sqlite:////var/lib/narthex.db").path
    ('narthex.db', '/var/lib/narthex.db')

    Raises:
        DatabaseUrlMalformed: another scheme, or a SQLite URL without a path or with a query.
    """
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("postgresql", "postgres"):
        return DatabaseUrl(text=text, path="")
    if not mark or scheme != "sqlite":
        raise DatabaseUrlMalformed("the database URL does not begin with `sqlite:///` or `postgresql://`")
    if not rest.startswith("/") or len(rest) < 2 or rest.endswith("/"):
        raise DatabaseUrlMalformed("the database URL `sqlite://…` needs three slashes and the path of a file")
    if "?" in rest or "#" in rest:
        raise DatabaseUrlMalformed("a SQLite database URL takes no options after `?` or `#`")
    return DatabaseUrl(text=text, path=rest[1:])
