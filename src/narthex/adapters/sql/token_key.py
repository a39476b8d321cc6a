"""The keys that seal an application's tokens."""

from __future__ import annotations

from narthex.adapters.sql.encoding import from_us, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import AddTokenKey
from narthex.ports.records import TokenKey

COLUMNS = {"key_id": "bigint", "wrapped": "bytea", "created_at": "bigint"}
_ADD = TenantStatement(
    """
    insert into token_key (app_id, key_id, wrapped, created_at) values (:app_id, :key_id, :wrapped, :created_at)
    on conflict do nothing
    """,
    must_change=True,
)
_DROP = TenantStatement("delete from token_key where app_id = :app_id and created_at < :drop_before")


def from_row(row: Row) -> TokenKey:
    key_id, wrapped, created_at = row
    return TokenKey(key_id, wrapped, from_us(created_at))


def _add(app_id: str, change: AddTokenKey) -> list[Step]:
    key = change.key
    return [
        (_ADD, _ADD.bind(app_id, key_id=key.key_id, wrapped=key.wrapped, created_at=to_us(key.created_at))),
        (_DROP, _DROP.bind(app_id, drop_before=to_us(change.drop_before))),
    ]


CHANGES: Plans = {AddTokenKey: Plan(_add, message="the id that we drew for a token key is taken")}
