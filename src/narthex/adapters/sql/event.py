"""The event log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from narthex.adapters.sql.encoding import EPOCH, to_us
from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import AddEvent

_ADD = TenantStatement(
    """
    insert into event (app_id, event_id, performed_at, event_type, severity, message, performed_by, subject,
        api_key_hint, trace_id, assurance)
    values (:app_id, :event_id, :performed_at, :event_type, :severity, :message, :performed_by, :subject,
        :api_key_hint, :trace_id, :assurance)
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
    )
    return [(_ADD, bound)]


CHANGES: Plans = {AddEvent: Plan(_add, message="the id that we drew for an event is taken")}
