"""Portable SQL with `:names`, translated once to each driver's form.

Both databases are given numbered parameters and a tuple, so that one statement is bound one way: SQLite
reads ``?1``, PostgreSQL ``$1``. What differs between their dialects stays out of the text: instants are
integers, a flag is never compared with a number, and upserts use the clause they share. One clause SQLite is not shown:
it has a single writer, and no word for passing over rows that another is about to change.

This is the one door that SQL passes. A statement over tenants' rows is a `TenantStatement`, and its
constructor refuses a text that does not hold every table it reads to one application. The few statements
above applications say so in their type, `RootStatement`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import TypeAlias

Arguments: TypeAlias = tuple[object, ...]

_ROW_LOCK = " for update skip locked"
_NAME = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_CHANGED_TABLE = re.compile(r"\s*(?:insert\s+into|update|delete\s+from)\s+([a-z_]+)")
_INSERT = re.compile(r"\s*insert\s+into\s+[a-z_]+\s*\(\s*app_id\s*,[^)]*\)\s*(?:values\s*\(|select)\s*:app_id\b")
_TABLE_READ = re.compile(r"\b(?:from|join|(?<!do )update)\s+[a-z_]+")
_TENANT_BOUND = re.compile(r"(?<!:)\bapp_id\s*=\s*:app_id\b")


class Statement:
    """One statement: its text for each driver, and how named values become its arguments.

    Args:
        text: portable SQL; every value is a `:name`.
        must_change: a write that changes no row refuses the act it belongs to.

    >>> s = RootStatement("select value from server_fact where name = :name")
    >>> s.postgres, s.sqlite, s.bind(name="a")
    ('select value from server_fact where name = $1', 'select value from server_fact where name = ?1', ('a',))
    """

    __slots__ = ("_pick", "must_change", "names", "only_adds", "postgres", "sqlite", "table")

    def __init__(self, text: str, *, must_change: bool = False) -> None:
        text = " ".join(text.split())
        self.names: tuple[str, ...] = tuple(dict.fromkeys(_NAME.findall(text)))
        self.must_change = must_change
        changed = _CHANGED_TABLE.match(text)
        self.table: str | None = changed.group(1) if changed else None
        # What it does to one row cannot depend on what another such statement does to the table.
        self.only_adds = text.startswith("insert") and text.endswith("on conflict do nothing")
        self.sqlite = self._numbered(text.replace(_ROW_LOCK, ""), "?")
        self.postgres = self._numbered(text, "$")
        self._pick = _picker(self.names)

    def _numbered(self, text: str, mark: str) -> str:
        numbers = {name: f"{mark}{n}" for n, name in enumerate(self.names, 1)}
        return _NAME.sub(lambda found: numbers[found.group(1)], text)

    def shifted(self, by: int) -> str:
        """The text for PostgreSQL with its parameters counted from `by` + 1, to stand inside a longer one."""
        return re.sub(r"\$(\d+)", lambda found: f"${int(found.group(1)) + by}", self.postgres)


class RootStatement(Statement):
    """A statement above applications: it may see the rows of all of them."""

    __slots__ = ()

    def bind(self, **values: object) -> Arguments:
        return self._pick(values)


class TenantStatement(Statement):
    """A statement over the rows of one application.

    INVARIANT: every table it reads is held to `app_id = :app_id`; what it inserts is of `:app_id`.

    >>> TenantStatement("select user_id from credential where true")
    Traceback (most recent call last):
    ValueError: a tenant's statement reads a table without `app_id = :app_id`: select user_id from credential where true
    """

    __slots__ = ()

    def __init__(self, text: str, *, must_change: bool = False) -> None:
        super().__init__(text, must_change=must_change)
        flat = " ".join(text.split())
        if len(_TENANT_BOUND.findall(flat)) < len(_TABLE_READ.findall(flat)):
            raise ValueError(f"a tenant's statement reads a table without `app_id = :app_id`: {_head(flat)}")
        if flat.startswith("insert") and not _INSERT.match(flat):
            raise ValueError(f"a tenant's insert does not begin with the application's id: {_head(flat)}")
        if "app_id" not in self.names:
            raise ValueError(f"a tenant's statement does not bind `:app_id`: {_head(flat)}")

    def bind(self, app_id: str, /, **values: object) -> Arguments:
        values["app_id"] = app_id
        return self._pick(values)


def _picker(names: tuple[str, ...]) -> Callable[[dict[str, object]], Arguments]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


def _head(text: str) -> str:
    return f"{text[:50]} …" if len(text) > 50 else text
