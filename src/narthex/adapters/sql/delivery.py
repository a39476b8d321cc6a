"""What is to go out, and how far it has come."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from narthex.adapters.sql.encoding import from_us, from_us_or_none, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import AddDelivery, DeliveryNotFound, RetryDelivery, SettleDelivery
from narthex.ports.records import Delivery, DeliveryKind, DeliveryState

_COLUMNS = """
    delivery_id, kind, target, content, subject, created_at, next_try_at, tries, state, status, problem, settled_at
"""
# A mail has no target, so that nobody who asks for those of a webhook is given mails.
_OF_TARGET = "app_id = :app_id and target = :target and kind = 'webhook'"
LIST = TenantStatement(f"""
    select {_COLUMNS} from delivery where {_OF_TARGET} and delivery_id >= :low and delivery_id < :high
    order by delivery_id desc limit :most
""")
LIST_IN_STATE = TenantStatement(f"""
    select {_COLUMNS} from delivery
    where {_OF_TARGET} and delivery_id >= :low and delivery_id < :high and state = :state
    order by delivery_id desc limit :most
""")
CUT = TenantStatement("""
    select delivery_id from delivery
    where app_id = :app_id and target = :target and delivery_id >= :low and delivery_id < :high
    order by delivery_id desc limit 1 offset :skip
""")
# Whoever takes a delivery moves the instant from which another may. On PostgreSQL, rows that a claim beside this one
# is about to take are passed over; SQLite has one writer. Materialized, or a join might look for due ones once a row,
# and take more than it was told to.
CLAIM = RootStatement(f"""
    with due as materialized (
        select app_id, delivery_id from delivery where next_try_at <= :now order by next_try_at limit :most
        for update skip locked
    )
    update delivery set next_try_at = :busy_until
    where (app_id, delivery_id) in (select app_id, delivery_id from due) and next_try_at <= :now
    returning app_id, {_COLUMNS}
""")
# A delivery is settled after it was made, so those that were made too late need no look: its id tells.
LIST_AGED = RootStatement("""
    select app_id, exists (
        select 1 from delivery where delivery.app_id = application.app_id
            and delivery_id < :made_before and settled_at < :settled_before
    ) from application where app_id > :after order by app_id limit :most
""")
PURGE = TenantStatement("""
    delete from delivery where app_id = :app_id and delivery_id in (
        select delivery_id from delivery
        where app_id = :app_id and delivery_id < :made_before and settled_at < :settled_before
        order by delivery_id limit :most
    )
""")
DROP = TenantStatement(f"delete from delivery where {_OF_TARGET}")
_ADD = TenantStatement(
    f"""
    insert into delivery (app_id, {_COLUMNS})
    values (:app_id, :delivery_id, :kind, :target, :content, :subject, :created_at, :next_try_at, :tries, :state,
        :status, :problem, :settled_at)
    on conflict do nothing
    """,
    must_change=True,
)
# Looks at the index of those that wait, and no further into it than it must.
_ADD_WHERE_ROOM_IS = TenantStatement(f"""
    insert into delivery (app_id, {_COLUMNS})
    select :app_id, :delivery_id, :kind, :target, :content, :subject, :created_at, :next_try_at, :tries, :state,
        :status, :problem, :settled_at
    where not exists (
        select 1 from delivery where app_id = :app_id and target = :target and next_try_at is not null
        limit 1 offset :most - 1
    )
""")
# What is settled stays so: the answer of one who was too slow, and lost his claim to another, comes too late.
_SETTLE = TenantStatement("""
    update delivery set tries = :tries, state = :state, status = :status, problem = :problem,
        next_try_at = :next_try_at, settled_at = :settled_at
    where app_id = :app_id and delivery_id = :delivery_id and state = 'pending'
""")
_RETRY = TenantStatement(
    """
    update delivery set tries = 0, state = 'pending', status = null, problem = '', next_try_at = :at, settled_at = null
    where app_id = :app_id and delivery_id = :delivery_id and kind = 'webhook'
    """,
    must_change=True,
)


def from_row(row: Row) -> Delivery:
    (
        delivery_id, kind, target, content, subject, created_at, next_try_at, tries, state, status, problem, settled_at,
    ) = row  # fmt: skip
    return Delivery(
        delivery_id, DeliveryKind(kind), target, content, subject, from_us(created_at),
        # Of one that is settled no next try is kept; it would be in the past.
        from_us(next_try_at if next_try_at is not None else settled_at or created_at),
        tries, DeliveryState(state), status, problem, from_us_or_none(settled_at),
    )  # fmt: skip


def _add(app_id: str, change: AddDelivery) -> list[Step]:
    delivery = change.delivery
    statement = _ADD if change.most is None else _ADD_WHERE_ROOM_IS
    bound = statement.bind(
        app_id,
        delivery_id=delivery.delivery_id,
        kind=delivery.kind.value,
        target=delivery.target,
        content=delivery.content,
        subject=delivery.subject,
        created_at=to_us(delivery.created_at),
        next_try_at=to_us(delivery.next_try_at) if delivery.state is DeliveryState.PENDING else None,
        tries=delivery.tries,
        state=delivery.state.value,
        status=delivery.status,
        problem=delivery.problem,
        settled_at=to_us_or_none(delivery.settled_at),
        most=change.most,
    )
    return [(statement, bound)]


def _settle(app_id: str, change: SettleDelivery) -> list[Step]:
    bound = _SETTLE.bind(
        app_id,
        delivery_id=change.delivery_id,
        tries=change.tries,
        state=change.state.value,
        status=change.status,
        problem=change.problem,
        next_try_at=to_us(change.next_try_at) if change.state is DeliveryState.PENDING else None,
        settled_at=to_us_or_none(change.settled_at),
    )
    return [(_SETTLE, bound)]


def _retry(app_id: str, change: RetryDelivery) -> list[Step]:
    return [(_RETRY, _RETRY.bind(app_id, delivery_id=change.delivery_id, at=to_us(change.at)))]


CHANGES: Plans = {
    AddDelivery: Plan(_add, message="the id that we drew for a delivery is taken"),
    SettleDelivery: Plan(_settle),
    RetryDelivery: Plan(_retry, DeliveryNotFound, "there is no such delivery of a webhook"),
}
