"""What a revision does to rows that no SQL of both databases can say: a column computed from another, by Python.

A revision is rendered before it meets a database, so it cannot look at rows itself. It puts a `Fill` among its
statements, and `narthex.adapters.sql.migrate` works it off in portions, inside the same transaction.
"""
# ruff: noqa: S608 -- the statements are joined from what a revision says; every value is a `:name`.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from narthex.adapters.sql.engine import Row
from narthex.adapters.sql.statement import Arguments, RootStatement

PORTION: Final = 1_000


class Fill(NamedTuple):
    """For every row of a table, one column from another."""

    table: str
    key: tuple[str, ...]
    """The columns by which rows are told apart and read in order."""
    start: tuple[object, ...]
    """Sorts before the key of every row."""
    source: str
    target: str
    convert: Callable[[Any], object]

    def read(self) -> RootStatement:
        """The next rows past a key: the key, the source, the target."""
        key = ", ".join(self.key)
        after = ", ".join(f":after_{name}" for name in self.key)
        return RootStatement(
            f"select {key}, {self.source}, {self.target} from {self.table} where ({key}) > ({after}) "
            f"order by {key} limit :most"
        )

    def bind_read(self, last: Row | None) -> Arguments:
        after = self.start if last is None else last[: len(self.key)]
        return (*after, PORTION)

    def write(self) -> RootStatement:
        held = " and ".join(f"{name} = :{name}" for name in self.key)
        return RootStatement(f"update {self.table} set {self.target} = :filled where {held}")

    def bind_writes(self, rows: Sequence[Row]) -> list[Arguments]:
        """For those rows alone that do not have the right value already: on PostgreSQL each leaves a dead one."""
        filled = [(self.convert(row[-2]), row) for row in rows]
        return [(value, *row[: len(self.key)]) for value, row in filled if value != row[-1]]
