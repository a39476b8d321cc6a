"""The event log."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from narthex.adapters.sql.encoding import EPOCH, from_us, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.span import Span, span_of_time
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import AddEvent
from narthex.ports.records import Event, EventFilter, EventType, Severity

_COLUMNS = """
    event_id, performed_at, event_type, severity, message, performed_by, subject, api_key_hint, trace_id, assurance,
    reason
"""
_WITHIN = "app_id = :app_id and event_id >= :low and event_id < :high"
CUT_NEWEST = TenantStatement(f"""
    select event_id from event where {_WITHIN} order by event_id desc limit 1 offset :skip
""")
CUT_OLDEST = TenantStatement(f"select event_id from event where {_WITHIN} order by event_id limit 1 offset :skip")
# What a filter does not ask for is empty. The ids bound the time to a millisecond, and the instants say the rest. Of
# a trace id (W3C Trace Context, `00-` 32 digits `-` 16 digits `-` flags), its own part may be given alone.
_PASSES = f"""
    {_WITHIN} and performed_at >= :since and performed_at < :until
    and (:subject = '' or subject = :subject) and (:performed_by = '' or performed_by = :performed_by)
    and (:api_key_hint = '' or api_key_hint = :api_key_hint)
    and (:trace_id = '' or trace_id = :trace_id or substr(trace_id, 4, 32) = :trace_id)
"""
_FIRST_US: Final = -(2**63)
_LAST_US: Final = 2**63 - 1
_ADD = TenantStatement(
    f"""
    insert into event (app_id, {_COLUMNS})
    values (:app_id, :event_id, :performed_at, :event_type, :severity, :message, :performed_by, :subject,
        :api_key_hint, :trace_id, :assurance, :reason)
    on conflict do nothing
    """,
    must_change=True,
)
# An event's id begins with its instant, so the primary key finds the oldest ones: no other index is needed.
PURGE = TenantStatement("""
    delete from event where app_id = :app_id and event_id in (
        select event_id from event where app_id = :app_id and event_id < :oldest_kept order by event_id limit :most
    )
""")
LIST_OLDEST = RootStatement("""
    select app_id, settings,
        (select event_id from event where event.app_id = application.app_id order by event_id limit 1)
    from application where app_id > :after order by app_id limit :most
""")
_DAY_MS: Final = 86_400_000


def oldest_kept_id(now: datetime, retention_days: int) -> bytes:
    """Event ids of instants that are kept are not less than this; one that sorts before all when none is too old.

    >>> from datetime import UTC
    >>> oldest_kept_id(datetime(2026, 1, 2, tzinfo=UTC), 1) == oldest_kept_id(datetime(2026, 1, 1, tzinfo=UTC), 0)
    True
    """
    oldest_kept_ms = (now - EPOCH) // timedelta(milliseconds=1) - retention_days * _DAY_MS
    return max(0, oldest_kept_ms).to_bytes(6, "big")


@lru_cache(maxsize=len(EventType) + 1)  # One for each number of types that a filter may name.
def list_newest(types: int) -> TenantStatement:
    return TenantStatement(f"""
        select {_COLUMNS} from event where {_passes(types)} order by event_id desc limit :most offset :skip
    """)


@lru_cache(maxsize=len(EventType) + 1)
def list_oldest(types: int) -> TenantStatement:
    return TenantStatement(f"select {_COLUMNS} from event where {_passes(types)} order by event_id limit :most")


@lru_cache(maxsize=len(EventType) + 1)
def count(types: int) -> TenantStatement:
    return TenantStatement(f"select count(*) from event where {_passes(types)}")


def _passes(types: int) -> str:
    if not types:
        return _PASSES
    names = ", ".join(f":type_{n}" for n in range(types))
    return f"{_PASSES} and event_type in ({names})"


def span_of(which: EventFilter) -> Span:
    """The ids among which all events lie that can pass."""
    return span_of_time(which.since, which.until)


def is_selective(which: EventFilter) -> bool:
    """Whether events between the instants may be left out: then it is not known how many must be looked at."""
    return bool(which.event_types or which.subject or which.performed_by or which.api_key_hint or which.trace_id)


def values_of(which: EventFilter) -> dict[str, object]:
    """What the statements bind for a filter; `list_newest` and the others are told the number of types."""
    types = sorted(which.event_types or ())
    return {
        "since": _FIRST_US if which.since is None else to_us(which.since),
        "until": _LAST_US if which.until is None else to_us(which.until),
        "subject": which.subject,
        "performed_by": which.performed_by,
        "api_key_hint": which.api_key_hint,
        "trace_id": which.trace_id,
        **{f"type_{n}": int(event_type) for n, event_type in enumerate(types)},
    }


def from_row(row: Row) -> Event:
    (
        event_id, performed_at, event_type, severity, message, performed_by, subject, api_key_hint, trace_id, assurance,
        reason,
    ) = row  # fmt: skip
    return Event(
        event_id, from_us(performed_at), EventType(event_type), Severity(severity), message, performed_by, subject,
        api_key_hint, trace_id, assurance or b"", reason,
    )  # fmt: skip


def _add(app_id: str, change: AddEvent) -> list[Step]:
    event = change.event
    bound = _ADD.bind(
        app_id,
        event_id=event.event_id,
        performed_at=to_us(event.performed_at),
        event_type=int(event.event_type),
        severity=int(event.severity),
        message=event.message,
        performed_by=event.performed_by,
        subject=event.subject,
        api_key_hint=event.api_key_hint,
        trace_id=event.trace_id,
        assurance=event.assurance or None,
        reason=event.reason,
    )
    return [(_ADD, bound)]


CHANGES: Plans = {AddEvent: Plan(_add, message="the id that we drew for an event is taken")}
