"""What time it is in an act that lasts longer than a moment: a job, a stream.

A call has one instant, read when it began. What has passed since is measured by the event loop, which no correction
of the system's clock moves.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta


class Stopwatch:
    """Runs from the instant that it is given."""

    def __init__(self, began_at: datetime) -> None:
        self._began_at = began_at
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()

    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=self._loop.time() - self._began_s)
