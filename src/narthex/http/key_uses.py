"""When keys were used last: noted here with every request, and kept in the store once a minute.

A durable write with every request would cost more than the request. What a process that dies takes with it is the
last minute's word.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from narthex.ports.records import ApiKey

PRECISION: Final = timedelta(minutes=1)


class KeyUses:
    """The uses that nobody has kept yet. Bounded by the keys that there are: only a good key is noted."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], datetime] = {}

    def note(self, app_id: str, key: ApiKey, *, now: datetime) -> None:
        """Remember a use, unless one of this minute is kept already."""
        if key.last_used_at is None or now - key.last_used_at >= PRECISION:
            self._uses[app_id, key.key_id] = now

    def take(self) -> list[tuple[str, str, datetime]]:
        """Application, key and instant of each use, to be kept; they are forgotten here."""
        taken = [(app_id, key_id, used_at) for (app_id, key_id), used_at in self._uses.items()]
        self._uses.clear()
        return taken
