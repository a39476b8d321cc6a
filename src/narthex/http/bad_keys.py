"""Which requests with a bad key are worth a line in the event log.

Whoever knows an application's id can send bad keys for it, and each line is a durable write. So a minute has one line
for each kind of bad key and each neighbourhood of addresses, and an application a hundred in all. Counted in this
process: a server with several has as many times the lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

from narthex.ports.records import EventType

MOST_LINES_A_MINUTE = 100
MOST_TRIALS_A_MINUTE = 120
"""Of one neighbourhood of addresses at the imported keys of one application."""
MOST_TRIALS_OF_APPLICATION = 1_200
"""Of all neighbourhoods: six seconds of one processor."""


class BadKeyLines:
    """The lines of the present minute.

    What it remembers is bounded by the applications that there are: a line is asked for only where one was found.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._written: defaultdict[str, set[tuple[EventType, str]]] = defaultdict(set)
        self._trials: Counter[str] = Counter()
        self._trials_of: Counter[tuple[str, str]] = Counter()

    def claim(self, app_id: str, event_type: EventType, group: str, *, now: datetime) -> bool:
        """Whether this one is written; if so, its like is not until the minute is over.

        Args:
            event_type: says which kind of key it was, and whether it is locked or wrong.
            group: the client's neighbourhood (`narthex.http.client.rate_limit_group`).
        """
        self._turn(now)
        lines = self._written[app_id]
        if (event_type, group) in lines or len(lines) >= MOST_LINES_A_MINUTE:
            return False
        lines.add((event_type, group))
        return True

    def claim_trial(self, app_id: str, group: str, *, now: datetime) -> bool:
        """Whether one more key may be held against the slow hash of an imported one in this minute.

        Args:
            group: the client's neighbourhood. Each has trials of its own, or a stranger could use up those of the
                backend that comes with the right key for the first time.
        """
        self._turn(now)
        if self._trials[app_id] >= MOST_TRIALS_OF_APPLICATION or self._trials_of[app_id, group] >= MOST_TRIALS_A_MINUTE:
            return False
        self._trials[app_id] += 1
        self._trials_of[app_id, group] += 1
        return True

    def _turn(self, now: datetime) -> None:
        minute = int(now.timestamp()) // 60
        if minute != self._minute:
            self._minute = minute
            self._written.clear()
            self._trials.clear()
            self._trials_of.clear()
