"""The API keys of an application."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from narthex.adapters.sql.encoding import from_us, from_us_or_none, list_from_json, to_json, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import (
    AddApiKey,
    AdoptKey,
    ApiKeyHintTaken,
    ApiKeyNotFound,
    ExpireKey,
    NoteKeyUse,
    RemoveApiKey,
    ReviseKey,
    SetKeyLock,
)
from narthex.ports.records import ApiKey, KeyKind

COLUMNS = {
    "key_id": "text", "kind": "text", "mac": "bytea", "hint": "text", "value": "text", "scopes": "text",
    "created_at": "bigint", "locked": "boolean", "last_locked_at": "bigint", "name": "text", "legacy": "boolean",
    "expires_at": "bigint", "last_used_at": "bigint", "networks": "text", "reference_hash": "text",
}  # fmt: skip
_ADD = TenantStatement(
    """
    insert into api_key (app_id, key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at, name,
        legacy, expires_at, last_used_at, networks, reference_hash)
    values (:app_id, :key_id, :kind, :mac, :hint, :value, :scopes, :created_at, :locked, :last_locked_at, :name,
        :legacy, :expires_at, :last_used_at, :networks, :reference_hash)
    on conflict do nothing
    """,
    must_change=True,
)
_SET_LOCK = TenantStatement(
    """
    update api_key set locked = :locked,
        last_locked_at = case when :locked and not locked then :at else last_locked_at end
    where app_id = :app_id and key_id = :key_id
    """,
    must_change=True,
)
_REVISE = TenantStatement(
    """
    update api_key set name = :name, scopes = :scopes, networks = :networks, expires_at = :expires_at, legacy = false
    where app_id = :app_id and key_id = :key_id
    """,
    must_change=True,
)
_EXPIRE = TenantStatement(
    """
    update api_key set expires_at = case when expires_at <= :expires_at then expires_at else :expires_at end
    where app_id = :app_id and key_id = :key_id
    """,
    must_change=True,
)
# INVARIANT: a key that was not imported, or that is known already, keeps its MAC.
_ADOPT = TenantStatement("""
    update api_key set mac = :mac, reference_hash = null
    where app_id = :app_id and key_id = :key_id and reference_hash is not null
""")
# A key is used by every request of a backend: were its row written each time, all of them would wait for one another.
_NOTE_USE = TenantStatement("""
    update api_key set last_used_at = :used_at
    where app_id = :app_id and key_id = :key_id and (last_used_at is null or last_used_at <= :just_before)
""")
_REMOVE = TenantStatement("delete from api_key where app_id = :app_id and key_id = :key_id", must_change=True)
_PRECISION: Final = timedelta(minutes=1)
_NOT_FOUND: Final = "the application has no such key"


def from_row(row: Row) -> ApiKey:
    (key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at, name, legacy, expires_at,
     last_used_at, networks, reference_hash) = row  # fmt: skip
    return ApiKey(
        key_id, KeyKind(kind), mac, hint, value, frozenset(list_from_json(scopes)), from_us(created_at),
        locked == 1, from_us_or_none(last_locked_at), name, legacy == 1, from_us_or_none(expires_at),
        from_us_or_none(last_used_at), list_from_json(networks), reference_hash,
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
        name=key.name,
        legacy=key.legacy,
        expires_at=to_us_or_none(key.expires_at),
        last_used_at=to_us_or_none(key.last_used_at),
        networks=to_json(key.networks),
        reference_hash=key.reference_hash,
    )
    return [(_ADD, bound)]


def _set_lock(app_id: str, change: SetKeyLock) -> list[Step]:
    return [(_SET_LOCK, _SET_LOCK.bind(app_id, key_id=change.key_id, locked=change.locked, at=to_us(change.at)))]


def _revise(app_id: str, change: ReviseKey) -> list[Step]:
    bound = _REVISE.bind(
        app_id,
        key_id=change.key_id,
        name=change.name,
        scopes=to_json(sorted(change.scopes)),
        networks=to_json(change.networks),
        expires_at=to_us_or_none(change.expires_at),
    )
    return [(_REVISE, bound)]


def _expire(app_id: str, change: ExpireKey) -> list[Step]:
    return [(_EXPIRE, _EXPIRE.bind(app_id, key_id=change.key_id, expires_at=to_us(change.expires_at)))]


def _adopt(app_id: str, change: AdoptKey) -> list[Step]:
    return [(_ADOPT, _ADOPT.bind(app_id, key_id=change.key_id, mac=change.mac))]


def _note_use(app_id: str, change: NoteKeyUse) -> list[Step]:
    bound = _NOTE_USE.bind(
        app_id,
        key_id=change.key_id,
        used_at=to_us(change.used_at),
        just_before=to_us(change.used_at - _PRECISION),
    )
    return [(_NOTE_USE, bound)]


def _remove(app_id: str, change: RemoveApiKey) -> list[Step]:
    return [(_REMOVE, _REMOVE.bind(app_id, key_id=change.key_id))]


CHANGES: Plans = {
    # That the drawn id is taken looks the same from here; another key has another one of both.
    AddApiKey: Plan(_add, ApiKeyHintTaken, "another key of the application ends in the same characters"),
    SetKeyLock: Plan(_set_lock, ApiKeyNotFound, _NOT_FOUND),
    ReviseKey: Plan(_revise, ApiKeyNotFound, _NOT_FOUND),
    ExpireKey: Plan(_expire, ApiKeyNotFound, _NOT_FOUND),
    AdoptKey: Plan(_adopt),
    NoteKeyUse: Plan(_note_use),
    RemoveApiKey: Plan(_remove, ApiKeyNotFound, _NOT_FOUND),
}
