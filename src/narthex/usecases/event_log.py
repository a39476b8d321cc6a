"""Reading the event log of an application: page by page, whole, and as it grows.

Events are read in the order of their ids, which begin with the clock of the server that wrote them. A page and an
export go from the newest to the oldest, so what happens meanwhile does not move them. Whoever follows the log reads the
last seconds again and again: the line of another server may come late, and is sent when it comes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from narthex.base.errors import Forbidden, RateLimited
from narthex.ports.records import Event, EventFilter, EventType, KeyKind, Scope
from narthex.ports.store import TenantStore
from narthex.usecases.api_key import is_open, is_open_from
from narthex.usecases.assurance import record_of, unpacked
from narthex.usecases.call import Call
from narthex.usecases.cursor import open_cursor, seal_cursor
from narthex.usecases.event import described, matches
from narthex.usecases.stopwatch import Stopwatch

MOST_FOLLOWERS: Final = 20
"""Of one application, in one process."""
_PORTION: Final = 500
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_followers: Counter[str] = Counter()
"""Who follows now, by application. It belongs to the process, as the connections do that it counts."""


class EventLoggingOff(Forbidden):
    """The application keeps no event log."""

    code = "event-logging-off"
    advice = "let the operator switch event logging on for this application"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a follower does what."""

    look_again_after_s: float = 1
    say_something_after: timedelta = timedelta(seconds=15)
    """Proxies cut connections on which nothing is said."""
    check_the_key_after: timedelta = timedelta(seconds=5)
    late_by: timedelta = timedelta(seconds=10)
    """How much later than its id says a line may come, and still be sent."""


PACE: Final = Pace()


@dataclass(frozen=True, slots=True)
class EventPage:
    """A portion of the log."""

    events: Sequence[Event]
    total: int
    """How many there were in all when the reading began."""
    next_cursor: str | None


class _Position(msgspec.Struct, array_like=True):
    before: bytes
    total: int


def require_event_log(call: Call) -> None:
    """
    Raises:
        EventLoggingOff.
    """
    if not call.application.settings.event_logging:
        raise EventLoggingOff("event logging is off for this application")


def types_named(pattern: str) -> frozenset[EventType]:
    """The types that a name, a number, or the beginning of names with a `*` at its end stands for.

    >>> sorted(each.name for each in types_named("ApiUserD*") | types_named("7008"))
    ['AdminApiKeyCreated', 'ApiUserDeleteCredential', 'ApiUserDeleted']
    """
    return frozenset(each for each in EventType if matches(pattern, each) or pattern == str(int(each)))


async def read_page(
    call: Call, which: EventFilter, *, most: int, page_number: int = 1, cursor: str | None = None
) -> EventPage:
    """A page of the log, newest first.

    Args:
        page_number: from 1 on, where there is no cursor. What happens between two requests moves such pages.
        cursor: goes on where another page ended, whatever happened since.

    Raises:
        EventLoggingOff, InvalidCursor.
    """
    require_event_log(call)
    app_id, name = call.application.app_id, _name(which)
    position = open_cursor(call.keyring, app_id, name, cursor, _Position)
    if position is None:
        total = await call.store.count_events(which=which)
        found = await call.store.list_events(which=which, before=None, most=most + 1, skip=(page_number - 1) * most)
    else:
        total = position.total
        found = await call.store.list_events(which=which, before=position.before, most=most + 1)
    events = found[:most]
    more = len(found) > most
    next_cursor = seal_cursor(call.keyring, app_id, name, _Position(events[-1].event_id, total)) if more else None
    return EventPage(events, total, next_cursor)


def _name(which: EventFilter) -> str:
    """What a cursor is bound to: the filter, written always the same way."""
    types = sorted(which.event_types or ())
    rest = [which.subject, which.performed_by, which.api_key_hint, which.trace_id, which.since, which.until]
    return "events " + msgspec.json.encode([types, *rest]).decode()


def between(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Bounds for a filter; what lies past any event is moved nearer, where a store can still reckon with it."""
    return (
        None if since is None else min(max(since, _EARLIEST), _LATEST),
        None if until is None else min(max(until, _EARLIEST), _LATEST),
    )


async def scan(call: Call, which: EventFilter) -> AsyncGenerator[Sequence[Event], None]:
    """The whole log in portions, newest first."""
    before: bytes | None = None
    while portion := await call.store.list_events(which=which, before=before, most=_PORTION):
        yield portion
        before = portion[-1].event_id
        await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.


def exported(app_id: str, line: Event) -> dict[str, Any]:
    """A line as exports and streams say it: as webhooks do, and what was proved."""
    assurance = unpacked(line.assurance)
    return {**described(app_id, line), "assurance": None if assurance is None else record_of(assurance)}


async def follow(
    call: Call, which: EventFilter, *, after: bytes | None, pace: Pace = PACE
) -> AsyncGenerator[Sequence[Event], None]:
    """The log as it grows, until the key opens it no more. Nothing comes twice.

    Gives an empty portion first, once it has its place among the followers, and whenever nothing was said for long.

    Args:
        after: the id of an event, after which it goes on; None for what happens from now on.

    Raises:
        EventLoggingOff.
        RateLimited: too many follow already.
    """
    require_event_log(call)
    app_id = call.application.app_id
    if _followers[app_id] >= MOST_FOLLOWERS:
        raise RateLimited(
            "too many streams of this application are open", retry_after_s=60, advice="close one that nobody reads"
        )
    _followers[app_id] += 1
    try:
        yield ()
        async for portion in _follow(call, which, after, pace):
            yield portion
    finally:
        _followers[app_id] -= 1
        if not _followers[app_id]:
            del _followers[app_id]


async def _follow(
    call: Call, which: EventFilter, after: bytes | None, pace: Pace
) -> AsyncGenerator[Sequence[Event], None]:
    watch = Stopwatch(call.now)
    tail = _Tail(call.store, which, _first_id(call.now) if after is None else after, late_by=pace.late_by)
    said_at = checked_at = call.now
    while True:
        now = watch.now()
        if now - checked_at >= pace.check_the_key_after:
            if not await _may_read(call, now=now):
                return
            checked_at = now
        fresh = await tail.read(now=now)
        if fresh or now - said_at >= pace.say_something_after:
            yield fresh
            said_at = now
        # Whoever has much to catch up with does not wait.
        await asyncio.sleep(0 if fresh else pace.look_again_after_s)


class _Tail:
    """How far somebody has read. All up to `_position` is done with; of what lies past it, `_sent` was sent."""

    def __init__(self, store: TenantStore, which: EventFilter, position: bytes, *, late_by: timedelta) -> None:
        self._store = store
        self._which = which
        self._position = position
        self._late_by = late_by
        self._sent: set[bytes] = set()

    async def read(self, *, now: datetime) -> Sequence[Event]:
        """What was not sent yet, a portion at most."""
        at, fresh = self._position, list[Event]()
        # Another server's clock may be ahead: only our own says what is too old to come late.
        settled = _first_id(now - self._late_by)
        while portion := await self._store.list_events_after(which=self._which, after=at, most=_PORTION):
            at = portion[-1].event_id
            fresh = [line for line in portion if line.event_id not in self._sent]
            if fresh:
                break
        # Where all was read, the position moves on also past events that do not pass: they are not looked at again.
        self._position = max(self._position, min(at, settled) if fresh else settled)
        self._sent = {each for each in self._sent | {line.event_id for line in fresh} if each > self._position}
        return fresh


async def _may_read(call: Call, *, now: datetime) -> bool:
    """Whether the key of the call still opens the log."""
    tenant = await call.directory.find(call.application.app_id, now=now)
    if tenant is None or not tenant.application.settings.event_logging:
        return False
    hint = call.caller.api_key_hint
    keys = [key for key in tenant.application.api_keys if key.kind is KeyKind.SECRET and key.hint == hint]
    return any(
        is_open(key, tenant.application, now=now)
        and key.may(Scope.EVENTS_READ)
        and is_open_from(key, call.caller.address)
        for key in keys
    )


def _first_id(at: datetime) -> bytes:
    """No id of an event of this millisecond, or of a later one, is less.

    >>> _first_id(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)).hex()
    '0000000003e8'
    """
    return ((at - _EARLIEST) // timedelta(milliseconds=1)).to_bytes(6, "big")
