"""The one place that reads the clock and draws lots."""

from __future__ import annotations

import os
from datetime import UTC, datetime


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def system_random(size_bytes: int, /) -> bytes:
    """The operating system's generator."""
    return os.urandom(size_bytes)
