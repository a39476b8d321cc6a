"""Every statement of the house, and the two stores that run them.

Reads are a statement and a function from its row to a record; both name the columns, in one order. A change is
a row of `CHANGES`: the steps it takes and what is refused when a step finds nothing to change. Instants are
kept as microseconds since 1970 in UTC, lists and settings as JSON; the functions at the end are the only ones
that know.
"""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from narthex.adapters.sql.engine import Engine, ParentMissing, Row, Step, StepRefused
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.base.errors import Conflict, Refusal
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddCredential,
    AddEvent,
    AddTokenKey,
    AliasTaken,
    ApplicationExists,
    ApplicationGone,
    Change,
    CredentialChanged,
    CredentialExists,
    NonceSpent,
    ReplaceAliases,
    SetSettings,
    SpendNonce,
    TouchConfiguration,
    TouchCredential,
)
from narthex.ports.records import (
    ApiKey,
    Application,
    ApplicationSettings,
    AuthenticationConfiguration,
    Credential,
    KeyKind,
    TokenKey,
)
from narthex.ports.store import MOST_CREDENTIALS

# ── credentials ──────────────────────────────────────────────────────────────────────────────────────────────

_CREDENTIAL = """
    credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
    transports, backup_eligible, backup_state, user_verified, discoverable, nickname, device, country,
    created_at, last_used_at
"""
_FIND_CREDENTIAL = TenantStatement(
    f"select {_CREDENTIAL} from credential where app_id = :app_id and credential_id = :credential_id"
)
_LIST_CREDENTIALS = TenantStatement(f"""
    select {_CREDENTIAL} from credential where app_id = :app_id and user_id = :user_id
    order by created_at, credential_id limit :most
""")
# In portions: over a million users one count held SQLite's readers, who run on the event loop, for 0.15 s. A portion
# takes 2 ms. A counter would be a row for which all registrations of an application wait, to decide one setting.
_COUNT_USERS = TenantStatement("""
    select count(*), max(user_id) from (
        select distinct user_id from credential where app_id = :app_id and user_id > :after order by user_id limit :most
    ) as portion
""")
_ADD_CREDENTIAL = TenantStatement(
    f"""
    insert into credential (app_id, {_CREDENTIAL})
    values (:app_id, :credential_id, :user_id, :user_handle, :public_key, :sign_count, :attestation_format,
        :aaguid, :rp_id, :origin, :transports, :backup_eligible, :backup_state, :user_verified, :discoverable,
        :nickname, :device, :country, :created_at, :last_used_at)
    on conflict do nothing
    """,
    must_change=True,
)
# L3 #sctn-sign-counter: a counter must grow, unless the authenticator has none and both are zero.
_TOUCH_CREDENTIAL = TenantStatement(
    """
    update credential set sign_count = :sign_count, backup_state = :backup_state,
        user_verified = user_verified or :user_verified, device = :device, country = :country,
        last_used_at = :used_at
    where app_id = :app_id and credential_id = :credential_id
        and (sign_count < :sign_count or (sign_count = 0 and :sign_count = 0))
    """,
    must_change=True,
)


def _credential(row: Row) -> Credential:
    (credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
     transports, backup_eligible, backup_state, user_verified, discoverable, nickname, device, country,
     created_at, last_used_at) = row  # fmt: skip
    return Credential(
        credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
        _from_json_list(transports), backup_eligible == 1, backup_state == 1, user_verified == 1,
        _from_flag(discoverable), nickname, device, country, _from_us(created_at), _from_us(last_used_at),
    )  # fmt: skip


def _add_credential(app_id: str, change: AddCredential) -> list[Step]:
    values = msgspec.structs.asdict(change.credential)
    values["transports"] = _to_json(change.credential.transports)
    values["created_at"] = _to_us(change.credential.created_at)
    values["last_used_at"] = _to_us(change.credential.last_used_at)
    return [(_ADD_CREDENTIAL, _ADD_CREDENTIAL.bind(app_id, **values))]


def _touch_credential(app_id: str, change: TouchCredential) -> list[Step]:
    bound = _TOUCH_CREDENTIAL.bind(
        app_id,
        credential_id=change.credential_id,
        sign_count=change.sign_count,
        backup_state=change.backup_state,
        user_verified=change.user_verified,
        device=change.device,
        country=change.country,
        used_at=_to_us(change.used_at),
    )
    return [(_TOUCH_CREDENTIAL, bound)]


# ── aliases ──────────────────────────────────────────────────────────────────────────────────────────────────

_FIND_ALIAS_USER = TenantStatement("select user_id from alias where app_id = :app_id and mac = :mac")
_DROP_ALIASES = TenantStatement("delete from alias where app_id = :app_id and user_id = :user_id")
# A row of the same user can appear between our delete and our insert; only another user's row is a conflict.
_ADD_ALIAS = TenantStatement(
    """
    insert into alias (app_id, mac, sealed_hash, user_id, plaintext)
    values (:app_id, :mac, :sealed_hash, :user_id, :plaintext)
    on conflict (app_id, mac) do update set sealed_hash = excluded.sealed_hash, plaintext = excluded.plaintext
    where alias.user_id = excluded.user_id
    """,
    must_change=True,
)


@lru_cache(maxsize=32)
def _find_alias_owners(count: int) -> TenantStatement:
    macs = ", ".join(f":mac_{n}" for n in range(count))
    return TenantStatement(f"select distinct user_id from alias where app_id = :app_id and mac in ({macs})")


def _replace_aliases(app_id: str, change: ReplaceAliases) -> list[Step]:
    # In the order of their MACs, so that two acts that want the same aliases meet in one order.
    aliases = sorted({alias.mac: alias for alias in change.aliases}.items())
    return [
        (_DROP_ALIASES, _DROP_ALIASES.bind(app_id, user_id=change.user_id)),
        *(
            (
                _ADD_ALIAS,
                _ADD_ALIAS.bind(
                    app_id, mac=mac, sealed_hash=alias.sealed_hash, user_id=change.user_id, plaintext=alias.plaintext
                ),
            )
            for mac, alias in aliases
        ),
    ]


# ── nonces, events ───────────────────────────────────────────────────────────────────────────────────────────

_SPEND_NONCE = TenantStatement(
    """
    insert into spent_nonce (app_id, nonce, expires_at) values (:app_id, :nonce, :expires_at)
    on conflict do nothing
    """,
    must_change=True,
)
_FIND_NONCE = TenantStatement("select 1 from spent_nonce where app_id = :app_id and nonce = :nonce")
_ADD_EVENT = TenantStatement(
    """
    insert into event (app_id, event_id, performed_at, event_type, severity, message, performed_by, subject,
        api_key_hint, trace_id)
    values (:app_id, :event_id, :performed_at, :event_type, :severity, :message, :performed_by, :subject,
        :api_key_hint, :trace_id)
    on conflict do nothing
    """,
    must_change=True,
)
_PURGE_NONCES = RootStatement("""
    delete from spent_nonce where (app_id, nonce) in (
        select app_id, nonce from spent_nonce where expires_at < :expired_before
        order by expires_at limit :most
    )
""")


# An event's id begins with its instant, so the primary key finds the oldest ones: no other index is needed.
_PURGE_EVENTS = TenantStatement("""
    delete from event where app_id = :app_id and event_id in (
        select event_id from event where app_id = :app_id and event_id < :oldest_kept order by event_id limit :most
    )
""")
_LIST_OLDEST_EVENTS = RootStatement("""
    select app_id, settings,
        (select event_id from event where event.app_id = application.app_id order by event_id limit 1)
    from application where app_id > :after order by app_id limit :most
""")


def _spend_nonce(app_id: str, change: SpendNonce) -> list[Step]:
    return [(_SPEND_NONCE, _SPEND_NONCE.bind(app_id, nonce=change.nonce, expires_at=_to_us(change.expires_at)))]


def _add_event(app_id: str, change: AddEvent) -> list[Step]:
    event = change.event
    bound = _ADD_EVENT.bind(
        app_id,
        event_id=event.event_id,
        performed_at=_to_us(event.performed_at),
        event_type=int(event.event_type),
        severity=int(event.severity),
        message=event.message,
        performed_by=event.performed_by,
        subject=event.subject,
        api_key_hint=event.api_key_hint,
        trace_id=event.trace_id,
    )
    return [(_ADD_EVENT, bound)]


# ── the application and what is read with it ─────────────────────────────────────────────────────────────────

_APPLICATION = {"created_at": "bigint", "settings": "text", "delete_at": "bigint"}
_API_KEY = {
    "key_id": "text", "kind": "text", "mac": "bytea", "hint": "text", "value": "text", "scopes": "text",
    "created_at": "bigint", "locked": "boolean", "last_locked_at": "bigint",
}  # fmt: skip
_TOKEN_KEY = {"key_id": "bigint", "wrapped": "bytea", "created_at": "bigint"}
_CONFIGURATION = {
    "purpose": "text", "user_verification": "text", "time_to_live_s": "bigint", "hints": "text",
    "created_by": "text", "created_at": "bigint", "edited_by": "text", "edited_at": "bigint",
    "last_used_at": "bigint",
}  # fmt: skip
_PARTS = {
    "application": _APPLICATION,
    "api_key": _API_KEY,
    "token_key": _TOKEN_KEY,
    "authentication_configuration": _CONFIGURATION,
}


def _together(parts: dict[str, dict[str, str]]) -> TenantStatement:
    """All rows that several tables keep of an application, in one statement and so as of one instant.

    A row begins with the place of its table; each table has columns of its own, null in the others' rows.
    """
    selects = []
    for place, table in enumerate(parts):
        columns = [
            name if owner == table else f"cast(null as {kind})"
            for owner, kinds in parts.items()
            for name, kind in kinds.items()
        ]
        selects.append(f"select {place}, {', '.join(columns)} from {table} where app_id = :app_id")
    return TenantStatement(" union all ".join(selects))


_FIND_APPLICATION = _together(_PARTS)
_ADD_APPLICATION = TenantStatement(
    """
    insert into application (app_id, created_at, settings) values (:app_id, :created_at, :settings)
    on conflict do nothing
    """,
    must_change=True,
)
_SET_SETTINGS = TenantStatement("update application set settings = :settings where app_id = :app_id", must_change=True)
_ADD_API_KEY = TenantStatement(
    """
    insert into api_key (app_id, key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at)
    values (:app_id, :key_id, :kind, :mac, :hint, :value, :scopes, :created_at, :locked, :last_locked_at)
    on conflict do nothing
    """,
    must_change=True,
)
_ADD_TOKEN_KEY = TenantStatement(
    """
    insert into token_key (app_id, key_id, wrapped, created_at) values (:app_id, :key_id, :wrapped, :created_at)
    on conflict do nothing
    """,
    must_change=True,
)
_DROP_TOKEN_KEYS = TenantStatement("delete from token_key where app_id = :app_id and created_at < :drop_before")
# A purpose is touched by every sign-in for it. Were the row locked each time, all sign-ins of an application
# would wait for one another's commit, so an instant that is less than a second newer is not written.
_TOUCH_CONFIGURATION = TenantStatement("""
    insert into authentication_configuration (app_id, purpose, user_verification, time_to_live_s, hints,
        created_by, created_at, edited_by, edited_at, last_used_at)
    select :app_id, :purpose, :user_verification, :time_to_live_s, :hints, :created_by, :created_at, :edited_by,
        :edited_at, :last_used_at
    where not exists (
        select 1 from authentication_configuration
        where app_id = :app_id and purpose = :purpose and last_used_at > :just_before
    )
    on conflict (app_id, purpose) do update set last_used_at = excluded.last_used_at
""")
_CONFIGURATION_PRECISION: Final = timedelta(seconds=1)


def _application(app_id: str, rows: Sequence[Row]) -> Application | None:
    parts: list[list[Row]] = [[] for _ in _PARTS]
    spans = _spans()
    for row in rows:
        parts[row[0]].append(row[spans[row[0]]])
    applications, api_keys, token_keys, configurations = parts
    if not applications:
        return None
    created_at, settings, delete_at = applications[0]
    return Application(
        app_id=app_id,
        created_at=_from_us(created_at),
        settings=_SETTINGS.decode(settings),
        api_keys=tuple(sorted(map(_api_key, api_keys), key=lambda key: (key.created_at, key.key_id))),
        token_keys=tuple(
            sorted(map(_token_key, token_keys), key=lambda key: (key.created_at, key.key_id), reverse=True)
        ),
        configurations=tuple(sorted(map(_configuration, configurations), key=lambda kept: kept.purpose)),
        delete_at=_from_us_or_none(delete_at),
    )


@lru_cache(maxsize=1)
def _spans() -> list[slice]:
    """Where in a row of `_FIND_APPLICATION` each table's columns stand."""
    spans, start = [], 1
    for columns in _PARTS.values():
        spans.append(slice(start, start + len(columns)))
        start += len(columns)
    return spans


def _api_key(row: Row) -> ApiKey:
    key_id, kind, mac, hint, value, scopes, created_at, locked, last_locked_at = row
    return ApiKey(
        key_id, KeyKind(kind), mac, hint, value, frozenset(_from_json_list(scopes)), _from_us(created_at),
        locked == 1, _from_us_or_none(last_locked_at),
    )  # fmt: skip


def _token_key(row: Row) -> TokenKey:
    key_id, wrapped, created_at = row
    return TokenKey(key_id, wrapped, _from_us(created_at))


def _configuration(row: Row) -> AuthenticationConfiguration:
    (purpose, user_verification, time_to_live_s, hints, created_by, created_at, edited_by, edited_at,
     last_used_at) = row  # fmt: skip
    return AuthenticationConfiguration(
        purpose, user_verification, time_to_live_s, _from_json_list(hints), created_by, _from_us_or_none(created_at),
        edited_by, _from_us_or_none(edited_at), _from_us_or_none(last_used_at),
    )  # fmt: skip


def _add_application(app_id: str, change: AddApplication) -> list[Step]:
    bound = _ADD_APPLICATION.bind(app_id, created_at=_to_us(change.created_at), settings=_to_json(change.settings))
    return [(_ADD_APPLICATION, bound)]


def _set_settings(app_id: str, change: SetSettings) -> list[Step]:
    return [(_SET_SETTINGS, _SET_SETTINGS.bind(app_id, settings=_to_json(change.settings)))]


def _add_api_key(app_id: str, change: AddApiKey) -> list[Step]:
    key = change.key
    bound = _ADD_API_KEY.bind(
        app_id,
        key_id=key.key_id,
        kind=key.kind.value,
        mac=key.mac,
        hint=key.hint,
        value=key.value,
        scopes=_to_json(sorted(key.scopes)),
        created_at=_to_us(key.created_at),
        locked=key.locked,
        last_locked_at=_to_us_or_none(key.last_locked_at),
    )
    return [(_ADD_API_KEY, bound)]


def _add_token_key(app_id: str, change: AddTokenKey) -> list[Step]:
    key = change.key
    return [
        (
            _ADD_TOKEN_KEY,
            _ADD_TOKEN_KEY.bind(app_id, key_id=key.key_id, wrapped=key.wrapped, created_at=_to_us(key.created_at)),
        ),
        (_DROP_TOKEN_KEYS, _DROP_TOKEN_KEYS.bind(app_id, drop_before=_to_us(change.drop_before))),
    ]


def _touch_configuration(app_id: str, change: TouchConfiguration) -> list[Step]:
    kept = change.configuration
    used_at = kept.last_used_at
    bound = _TOUCH_CONFIGURATION.bind(
        app_id,
        purpose=kept.purpose,
        user_verification=kept.user_verification,
        time_to_live_s=kept.time_to_live_s,
        hints=_to_json(kept.hints),
        created_by=kept.created_by,
        created_at=_to_us_or_none(kept.created_at),
        edited_by=kept.edited_by,
        edited_at=_to_us_or_none(kept.edited_at),
        last_used_at=_to_us_or_none(used_at),
        just_before=_to_us_or_none(used_at and used_at - _CONFIGURATION_PRECISION),
    )
    return [(_TOUCH_CONFIGURATION, bound)]


# ── what each change takes, and what is refused ──────────────────────────────────────────────────────────────


class _Plan(NamedTuple):
    steps: Callable[[str, Any], list[Step]]
    refusal: type[Refusal] = Conflict
    message: str = "the id is taken"


CHANGES: Final[dict[type[Change], _Plan]] = {
    SpendNonce: _Plan(_spend_nonce, NonceSpent, "the token was used before"),
    AddCredential: _Plan(_add_credential, CredentialExists, "the credential is kept already"),
    TouchCredential: _Plan(_touch_credential, CredentialChanged, "the credential is gone or its counter moved on"),
    ReplaceAliases: _Plan(_replace_aliases, AliasTaken, "another user bears one of the aliases"),
    TouchConfiguration: _Plan(_touch_configuration),
    AddEvent: _Plan(_add_event),
    AddApiKey: _Plan(_add_api_key),
    AddTokenKey: _Plan(_add_token_key),
    SetSettings: _Plan(_set_settings, ApplicationGone, "the application is gone"),
    AddApplication: _Plan(_add_application, ApplicationExists, "the application id is taken"),
}


# ── the stores ───────────────────────────────────────────────────────────────────────────────────────────────


_USERS_PORTION: Final = 5_000


class SqlTenantStore:
    """The rows of one application (`narthex.ports.store.TenantStore`)."""

    __slots__ = ("_app_id", "_engine")

    def __init__(self, engine: Engine, app_id: str) -> None:
        self._engine = engine
        self._app_id = app_id

    async def find_application(self) -> Application | None:
        return _application(self._app_id, await self._fetch(_FIND_APPLICATION))

    async def find_credential(self, credential_id: bytes) -> Credential | None:
        rows = await self._fetch(_FIND_CREDENTIAL, credential_id=credential_id)
        return _credential(rows[0]) if rows else None

    async def list_credentials(self, user_id: str) -> Sequence[Credential]:
        rows = await self._fetch(_LIST_CREDENTIALS, user_id=user_id, most=MOST_CREDENTIALS)
        return [_credential(row) for row in rows]

    async def has_users(self, at_least: int) -> bool:
        counted, after = 0, ""
        while counted < at_least:
            most = min(at_least - counted, _USERS_PORTION)
            found, last = (await self._fetch(_COUNT_USERS, after=after, most=most))[0]
            counted += found
            if found < most:
                break
            after = last
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        return counted >= at_least

    async def find_alias_user(self, alias_mac: bytes) -> str | None:
        rows = await self._fetch(_FIND_ALIAS_USER, mac=alias_mac)
        return rows[0][0] if rows else None

    async def find_alias_owners(self, alias_macs: Sequence[bytes]) -> Sequence[str]:
        if not alias_macs:
            return []
        # Rounded up to a power of two, the last one repeated, so that few statements serve all lengths.
        count = 1 << (len(alias_macs) - 1).bit_length()
        macs = [*alias_macs, *[alias_macs[-1]] * (count - len(alias_macs))]
        rows = await self._fetch(_find_alias_owners(count), **{f"mac_{n}": mac for n, mac in enumerate(macs)})
        return sorted(row[0] for row in rows)

    async def is_spent(self, nonce: bytes) -> bool:
        return bool(await self._fetch(_FIND_NONCE, nonce=nonce))

    async def commit(self, *changes: Change) -> None:
        steps: list[Step] = []
        plans: list[_Plan] = []
        in_turn: set[str] = set()
        for change in changes:
            plan = CHANGES[type(change)]
            taken = plan.steps(self._app_id, change)
            steps += taken
            plans += [plan] * len(taken)
            if type(change) is ReplaceAliases:
                # "Exactly these" is true only if no other act gives the same user aliases in the meantime.
                in_turn.add(f"aliases\x1f{self._app_id}\x1f{change.user_id}")
        if not steps:
            return
        try:
            await self._engine.commit(steps, in_turn=sorted(in_turn))
        except StepRefused as e:
            plan = plans[e.index]
            raise plan.refusal(plan.message) from None
        except ParentMissing as e:
            raise ApplicationGone("the application is gone") from e

    async def _fetch(self, statement: TenantStatement, **values: object) -> Sequence[Row]:
        return await self._engine.fetch(statement, statement.bind(self._app_id, **values))


_LIST_APPLICATIONS = RootStatement("select app_id from application")
_PING = RootStatement("select 1 from server_fact where name = :name")
_FIND_FACT = RootStatement("select value from server_fact where name = :name")
_KEEP_FACT = RootStatement("insert into server_fact (name, value) values (:name, :value) on conflict do nothing")
# A purge yields between portions: one long delete would keep sign-ins waiting.
_PURGE_PORTION: Final = 1000
_APPLICATIONS_PORTION: Final = 200


class SqlRootStore:
    """The database above applications (`narthex.ports.store.RootStore`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tenant(self, app_id: str) -> SqlTenantStore:
        return SqlTenantStore(self._engine, app_id)

    async def list_applications(self) -> Sequence[str]:
        rows = await self._engine.fetch(_LIST_APPLICATIONS, ())
        return sorted(row[0] for row in rows)

    async def purge_nonces(self, *, expired_before: datetime) -> int:
        bound = _PURGE_NONCES.bind(expired_before=_to_us(expired_before), most=_PURGE_PORTION)
        purged = 0
        while portion := await self._engine.execute(_PURGE_NONCES, bound):
            purged += portion
        return purged

    async def purge_events(self, *, now: datetime) -> int:
        purged, after = 0, ""
        while applications := await self._oldest_events(after):
            for app_id, settings, oldest in applications:
                oldest_kept = _oldest_kept_id(now, _SETTINGS.decode(settings).event_retention_days)
                if oldest is not None and oldest < oldest_kept:
                    purged += await self._purge_events_of(app_id, oldest_kept)
            after = applications[-1][0]
            # SQLite answers reads without a pause; between portions others have their turn.
            await asyncio.sleep(0)
        return purged

    async def _oldest_events(self, after: str) -> Sequence[Row]:
        bound = _LIST_OLDEST_EVENTS.bind(after=after, most=_APPLICATIONS_PORTION)
        return await self._engine.fetch(_LIST_OLDEST_EVENTS, bound)

    async def _purge_events_of(self, app_id: str, oldest_kept: bytes) -> int:
        bound = _PURGE_EVENTS.bind(app_id, oldest_kept=oldest_kept, most=_PURGE_PORTION)
        purged = 0
        while portion := await self._engine.execute(_PURGE_EVENTS, bound):
            purged += portion
        return purged

    async def find_fact(self, name: str) -> bytes | None:
        rows = await self._engine.fetch(_FIND_FACT, _FIND_FACT.bind(name=name))
        return rows[0][0] if rows else None

    async def keep_fact(self, name: str, value: bytes) -> bytes:
        await self._engine.execute(_KEEP_FACT, _KEEP_FACT.bind(name=name, value=value))
        kept = await self.find_fact(name)
        return value if kept is None else kept

    async def ping(self) -> None:
        await self._engine.fetch(_PING, _PING.bind(name=""))

    async def close(self) -> None:
        await self._engine.close()


# ── how values are kept ──────────────────────────────────────────────────────────────────────────────────────

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY_MS: Final = 86_400_000
_SETTINGS: Final = msgspec.json.Decoder(ApplicationSettings)
_LIST: Final = msgspec.json.Decoder(tuple[str, ...])


def _to_us(instant: datetime) -> int:
    """Exact: a float of seconds would lose the last digit.

    >>> _from_us(_to_us(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))).isoformat()
    '2026-01-02T03:04:05.678901+00:00'
    """
    return (instant - _EPOCH) // _MICROSECOND


def _from_us(kept: int) -> datetime:
    return _EPOCH + timedelta(microseconds=kept)


def _oldest_kept_id(now: datetime, retention_days: int) -> bytes:
    """Event ids of instants that are kept are not less than this; one that sorts before all when none is too old.

    >>> _oldest_kept_id(datetime(2026, 1, 2, tzinfo=UTC), 1) == _oldest_kept_id(datetime(2026, 1, 1, tzinfo=UTC), 0)
    True
    """
    oldest_kept_ms = (now - _EPOCH) // timedelta(milliseconds=1) - retention_days * _DAY_MS
    return max(0, oldest_kept_ms).to_bytes(6, "big")


def _to_us_or_none(instant: datetime | None) -> int | None:
    return None if instant is None else _to_us(instant)


def _from_us_or_none(kept: int | None) -> datetime | None:
    return None if kept is None else _from_us(kept)


def _from_flag(kept: bool | int | None) -> bool | None:
    return None if kept is None else kept == 1


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_json_list(kept: str) -> tuple[str, ...]:
    return _LIST.decode(kept)
