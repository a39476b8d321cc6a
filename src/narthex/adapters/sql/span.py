"""Stretches of ids, and how a long one is cut.

A filter that few rows pass would read a whole table at once, and SQLite answers on the event loop: all others would
wait for it. So a stretch is read portion by portion, and others have their turn between two.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from narthex.adapters.sql.encoding import EPOCH

PORTION: Final = 2_000
"""Rows that are looked at together: some milliseconds on SQLite."""
MILLISECOND: Final = timedelta(milliseconds=1)


class Span(NamedTuple):
    """Ids from `low`, included, to `high`, not included, byte by byte."""

    low: bytes = b""
    high: bytes = b"\xff" * 17
    """Past every id of 16 bytes, if nothing else is said."""

    def before(self, value: bytes | None) -> Span:
        return self if value is None else self._replace(high=min(self.high, value))

    def after(self, value: bytes) -> Span:
        # The least text of bytes that is greater.
        return self._replace(low=max(self.low, value + b"\0"))

    def cut(self, at: bytes, *, newest_first: bool) -> tuple[Span, Span]:
        """What is read next, and what remains.

        >>> Span(b"a", b"z").cut(b"m", newest_first=True)
        (Span(low=b'm', high=b'z'), Span(low=b'a', high=b'm'))
        """
        older, newer = self._replace(high=at), self._replace(low=at)
        return (newer, older) if newest_first else (older, newer)


def first_id(at: datetime) -> bytes:
    """UUIDv7 of instants from `at` on are not less than this (RFC 9562, section 5.7: they begin with milliseconds).

    >>> from datetime import UTC
    >>> first_id(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)).hex()
    '0000000003e8'
    """
    return max(0, (at - EPOCH) // MILLISECOND).to_bytes(6, "big")


def span_of_time(since: datetime | None, until: datetime | None) -> Span:
    """Ids of rows that can lie between two instants; a millisecond more on either side, so the rows' own decide."""
    span = Span()
    if since is not None:
        span = span._replace(low=first_id(since - MILLISECOND))
    if until is not None:
        span = span._replace(high=first_id(until + MILLISECOND))
    return span
