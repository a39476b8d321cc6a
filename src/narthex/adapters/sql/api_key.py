"""The API keys of an application."""

from __future__ import annotations

from narthex.adapters.sql.encoding import from_us, from_us_or_none, list_from_json, to_json, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import AddApiKey
from narthex.ports.records import ApiKey, KeyKind

COLUMNS = {
    "key_id": "text", "kind": "text", "mac": "bytea", "hint": "text", "value": "text", "scopes": "text",
    "created_at": "bigint", "locked": "boolean", "last_locked_at": "bigint",
}  # fmt: skip
_ADD = TenantStatement(
    """
    insert into api_key (app_id, key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at)
    values (:app_id, :key_id, :kind, :mac, :hint, :value, :scopes, :created_at, :locked, :last_locked_at)
    on conflict do nothing
    """,
    must_change=True,
)


def from_row(row: Row) -> ApiKey:
    key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at = row
    return ApiKey(
        key_id, KeyKind(kind), mac, hint, value, frozenset(list_from_json(scopes)), from_us(created_at),
        locked == 1, from_us_or_none(last_locked_at),
    )  # fmt: skip


def _add(app_id: str, change: AddApiKey) -> list[Step]:
    key = change.key
    bound = _ADD.bind(
        app_id,
        key_id=key.key_id,
        kind=key.kind.value,
        mac=key.mac,
        hint=key.hint,
        value=key.value,
        scopes=to_json(sorted(key.scopes)),
        created_at=to_us(key.created_at),
        locked=key.locked,
        last_locked_at=to_us_or_none(key.last_locked_at),
    )
    return [(_ADD, bound)]


CHANGES: Plans = {AddApiKey: Plan(_add, message="the id that we drew for an API key is taken")}
