"""What the store asks of a database, whichever it is; and the texts of its refusals, so that both say the same.

An engine answers reads and commits writes. It knows statements and arguments, never what they mean: a step
that had to change a row and changed none comes back as `StepRefused` with its place, and the store knows
which refusal that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from narthex.adapters.sql.statement import Arguments, Statement
from narthex.base.errors import Malformed
from narthex.ports.store import StoreUnavailable

Row: TypeAlias = Sequence[Any]
Step: TypeAlias = tuple[Statement, Arguments]


class StepRefused(Exception):
    """A step that had to change a row changed none; nothing of its act was kept."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class ParentMissing(Exception):
    """A row names an application that is not there; nothing of its act was kept."""


class Engine(Protocol):
    """One database. Every method raises `StoreUnavailable` when it is away, and works again when it is back."""

    async def fetch(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        """All rows of a read."""
        ...

    async def execute(self, statement: Statement, arguments: Arguments) -> int:
        """Commit one write by itself; says how many rows it changed."""
        ...

    async def execute_returning(self, statement: Statement, arguments: Arguments) -> Sequence[Row]:
        """Commit one write by itself; the rows that it returns."""
        ...

    async def commit(self, steps: Sequence[Step], *, in_turn: Sequence[str] = ()) -> None:
        """Apply all steps in order, or none; returns when they are on the disk.

        Args:
            in_turn: acts that name the same text wait for one another; in order, so that they cannot deadlock.
        Raises:
            StepRefused, ParentMissing.
        """
        ...

    def hold(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold a name as long as the context lasts or the process lives; False at once where another holds it."""
        ...

    async def close(self) -> None: ...


def unavailable(cause: object) -> StoreUnavailable:
    """The database does not answer, in one sentence with its own words at the end."""
    return StoreUnavailable(f"the database does not answer: {str(cause) or type(cause).__name__}")


def not_migrated(cause: object) -> StoreUnavailable:
    """The tables are not there, or not these: somebody must migrate first."""
    return StoreUnavailable(f"the database lacks our tables: {cause}", advice="run `narthex migrate`")


def unkeepable(cause: object) -> Malformed:
    """A value that no column can hold: a text with a lone surrogate, a number past 64 bits."""
    return Malformed(f"a value cannot be stored: {cause}")
