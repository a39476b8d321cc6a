"""What the house asks of whoever counts requests."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Limit(msgspec.Struct, frozen=True):
    """So many in so much time."""

    name: str
    """Of what is counted; no two limits share it."""
    most: int
    window_s: int


class Limiter(Protocol):
    """Counts, in one process or for all that share a database."""

    async def hit(self, *counted: tuple[Limit, str]) -> int | None:
        """Count one of each; None to go on, or the seconds to wait for the longest of those that are used up.

        Args:
            counted: limits, each with what it is counted for, such as an application's id or a network.
        """
        ...

    async def close(self) -> None:
        """Let go of what it counts with."""
        ...
