"""What is told of an import: while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from narthex.base.errors import Refusal

_MOST_EXAMPLES: Final = 20
_MOST_REASONS: Final = 100

Advance = Callable[[str, str, int], None]
"""Told now and then: of which application how many more of what were done."""


class Tally(msgspec.Struct):
    """How many of one kind came."""

    found: int = 0
    imported: int = 0
    there_already: int = 0
    refused: int = 0


class RefusedRows(msgspec.Struct):
    """Rows that were refused for the same reason."""

    noun: str
    reason: str
    count: int = 0
    examples: list[str] = msgspec.field(default_factory=list)
    """Which ones, at most twenty."""


class ApplicationReport(msgspec.Struct):
    """What became of one application."""

    app_id: str
    state: str = "read"
    """`made`, `completed` (an import went on), `merged` (into one that existed), `checked`, `refused` or `stopped`."""
    tallies: dict[str, Tally] = msgspec.field(default_factory=dict)
    refusals: list[RefusedRows] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)

    def tally(self, noun: str) -> Tally:
        return self.tallies.setdefault(noun, Tally())

    def refuse(self, noun: str, which: str, reason: str) -> None:
        """Count a row that is found and refused."""
        tally = self.tally(noun)
        tally.found += 1
        tally.refused += 1
        self._note(noun, which, reason)

    def turn_away(self, noun: str, which: str, reason: str) -> None:
        """A row that was good turned out to clash with what is here."""
        self.tally(noun).refused += 1
        self._note(noun, which, reason)

    def stop(self, refusal: Refusal) -> None:
        """Something stands against the whole of it."""
        self.state = "refused" if self.state == "read" else "stopped"
        self.notes.append(refusal.message + (f"; {refusal.advice}" if refusal.advice else ""))

    def _note(self, noun: str, which: str, reason: str) -> None:
        kept = self._of(noun, reason)
        if kept is None and len(self.refusals) >= _MOST_REASONS:
            # A reason may quote what the row says, and rows may all say something else.
            reason = "for one more reason"
            kept = self._of(noun, reason)
        if kept is None:
            kept = RefusedRows(noun, reason)
            self.refusals.append(kept)
        kept.count += 1
        if len(kept.examples) < _MOST_EXAMPLES:
            kept.examples.append(which)

    def _of(self, noun: str, reason: str) -> RefusedRows | None:
        return next((kept for kept in self.refusals if (kept.noun, kept.reason) == (noun, reason)), None)
