"""The origins and relying party ids that verified ceremonies have named."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from narthex.adapters.sql.encoding import from_us, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import ForgetOrigins, NoteOrigin
from narthex.ports.records import SeenOrigin

COLUMNS = {"origin": "text", "rp_id": "text", "first_seen_at": "bigint", "last_seen_at": "bigint"}
# All sign-ins of an application name the same few origins, so their rows are spared as a purpose's is: an instant
# that is less than a second newer is not written.
_NOTE = TenantStatement("""
    insert into seen_origin (app_id, origin, rp_id, first_seen_at, last_seen_at)
    select :app_id, :origin, :rp_id, :seen_at, :seen_at
    where not exists (
        select 1 from seen_origin
        where app_id = :app_id and origin = :origin and rp_id = :rp_id and last_seen_at > :just_before
    )
    on conflict (app_id, origin, rp_id) do update set last_seen_at = excluded.last_seen_at
    where seen_origin.last_seen_at < excluded.last_seen_at
""")
_FORGET = TenantStatement("delete from seen_origin where app_id = :app_id")
_PRECISION: Final = timedelta(seconds=1)


def from_row(row: Row) -> SeenOrigin:
    origin, rp_id, first_seen_at, last_seen_at = row
    return SeenOrigin(origin, rp_id, from_us(first_seen_at), from_us(last_seen_at))


def _note(app_id: str, change: NoteOrigin) -> list[Step]:
    bound = _NOTE.bind(
        app_id,
        origin=change.origin,
        rp_id=change.rp_id,
        seen_at=to_us(change.seen_at),
        just_before=to_us(change.seen_at - _PRECISION),
    )
    return [(_NOTE, bound)]


def _forget(app_id: str, change: ForgetOrigins) -> list[Step]:
    return [(_FORGET, _FORGET.bind(app_id))]


CHANGES: Plans = {NoteOrigin: Plan(_note), ForgetOrigins: Plan(_forget)}
