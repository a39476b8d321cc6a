"""Applications, and the one read that brings an application with all that a request needs to know of it."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from narthex.adapters.sql import api_key, authenticator, configuration, related_rp_id, seen_origin, token_key, webhook
from narthex.adapters.sql.encoding import from_us, from_us_or_none, settings_from_json, to_json, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import (
    AddApplication,
    ApplicationExists,
    ApplicationGone,
    ExpectSettings,
    ScheduleDeletion,
    SetFrozen,
    SetSettings,
    SettingsChanged,
)
from narthex.ports.records import Application

_PARTS = {
    "application": {
        "created_at": "bigint", "settings": "text", "delete_at": "bigint", "settings_version": "bigint",
        "frozen_at": "bigint",
    },
    "api_key": api_key.COLUMNS,
    "token_key": token_key.COLUMNS,
    "authentication_configuration": configuration.COLUMNS,
    "authenticator": authenticator.COLUMNS,
    "seen_origin": seen_origin.COLUMNS,
    "related_rp_id": related_rp_id.COLUMNS,
    "webhook": webhook.COLUMNS,
}  # fmt: skip


# The answer has as many columns of a kind as the table with most of that kind; all tables share them. With columns of
# their own for each table a row had 33 instead of 12, most of them null, and the read took half as long again.
_SLOTS = [
    kind
    for kind in ("text", "bytea", "bigint", "boolean")
    for _ in range(max(list(columns.values()).count(kind) for columns in _PARTS.values()))
]


def _places(columns: dict[str, str]) -> list[int]:
    """Which of the slots each column of a table has."""
    places: list[int] = []
    for kind in columns.values():
        places.append(next(n for n, slot in enumerate(_SLOTS) if slot == kind and n not in places))
    return places


def _together() -> TenantStatement:
    """All rows that several tables keep of an application, in one statement and so as of one instant.

    A row begins with the place of its table; slots that the table leaves free are null.
    """
    selects = []
    for place, (table, columns) in enumerate(_PARTS.items()):
        row = [f"cast(null as {kind})" for kind in _SLOTS]
        for name, slot in zip(columns, _places(columns), strict=True):
            row[slot] = name
        selects.append(f"select {place}, {', '.join(row)} from {table} where app_id = :app_id")
    return TenantStatement(" union all ".join(selects))


def _picker(columns: dict[str, str]) -> Callable[[Row], Row]:
    """Takes a table's columns out of a row, in their order."""
    places = [1 + slot for slot in _places(columns)]
    return itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)


FIND = _together()
_PICKERS = [_picker(columns) for columns in _PARTS.values()]
LIST = RootStatement("select app_id from application")
LIST_SCHEDULED = RootStatement("""
    select app_id, delete_at from application where delete_at is not null order by app_id
""")
_ADD = TenantStatement(
    """
    insert into application (app_id, created_at, settings) values (:app_id, :created_at, :settings)
    on conflict do nothing
    """,
    must_change=True,
)
_EXPECT_SETTINGS = TenantStatement(
    """
    update application set settings_version = settings_version + 1
    where app_id = :app_id and settings_version = :version
    """,
    must_change=True,
)
_SET_SETTINGS = TenantStatement("update application set settings = :settings where app_id = :app_id", must_change=True)
_SET_FROZEN = TenantStatement("update application set frozen_at = :frozen_at where app_id = :app_id", must_change=True)
_SCHEDULE = TenantStatement("update application set delete_at = :delete_at where app_id = :app_id", must_change=True)
# Null-safe in both dialects; no deletion is due in 1970.
_STILL = "created_at = :created_at and coalesce(delete_at, 0) = :delete_at"
FIND_FATE = TenantStatement("select created_at, coalesce(delete_at, 0) from application where app_id = :app_id")
ERASE = TenantStatement(f"delete from application where app_id = :app_id and {_STILL}")


class Erasure(NamedTuple):
    """How the rows of one table go in portions, in the order of their keys, while the application is to go as a whole.

    Past the last key, and not from the start each time: PostgreSQL would step over all that is deleted already.
    """

    cut: TenantStatement
    """The last key of the next portion; no row past the end."""
    delete: TenantStatement


def _erasure(table: str, key: str) -> Erasure:
    return Erasure(
        TenantStatement(f"""
            select {key} from (
                select {key} from {table} where app_id = :app_id and {key} > :after order by {key} limit :most
            ) as portion order by {key} desc limit 1
        """),
        TenantStatement(f"""
            delete from {table} where app_id = :app_id and {key} > :after and {key} <= :last
            and exists (select 1 from application where app_id = :app_id and {_STILL})
        """),
    )


# The tables that may be long. What belongs to a credential goes with it, and the short ones go with the application.
ERASURES: Final = (
    _erasure("credential", "credential_id"),
    _erasure("alias", "mac"),
    _erasure("event", "event_id"),
    _erasure("delivery", "delivery_id"),
    _erasure("dispatched_mail", "mail_id"),
    _erasure("spent_nonce", "nonce"),
)
_GONE: Final = "the application is gone"


def from_rows(app_id: str, rows: Sequence[Row]) -> Application | None:
    parts: list[list[Row]] = [[] for _ in _PARTS]
    for row in rows:
        parts[row[0]].append(_PICKERS[row[0]](row))
    (
        applications, api_keys, token_keys, configurations, authenticators, seen_origins, related_rp_ids, webhooks,
    ) = parts  # fmt: skip
    if not applications:
        return None
    created_at, settings, delete_at, settings_version, frozen_at = applications[0]
    return Application(
        app_id=app_id,
        created_at=from_us(created_at),
        settings=settings_from_json(settings),
        api_keys=tuple(sorted(map(api_key.from_row, api_keys), key=lambda key: (key.created_at, key.key_id))),
        token_keys=tuple(
            sorted(map(token_key.from_row, token_keys), key=lambda key: (key.created_at, key.key_id), reverse=True)
        ),
        configurations=tuple(sorted(map(configuration.from_row, configurations), key=lambda kept: kept.purpose)),
        delete_at=from_us_or_none(delete_at),
        settings_version=settings_version,
        authenticators=tuple(sorted(map(authenticator.from_row, authenticators), key=lambda listed: listed.aaguid)),
        seen_origins=tuple(
            sorted(
                map(seen_origin.from_row, seen_origins), key=lambda seen: (seen.first_seen_at, seen.origin, seen.rp_id)
            )
        ),
        related_rp_ids=tuple(sorted(rp_id for (rp_id,) in related_rp_ids)),
        frozen_at=from_us_or_none(frozen_at),
        webhooks=tuple(sorted(map(webhook.from_row, webhooks), key=lambda kept: (kept.created_at, kept.webhook_id))),
    )


def _add(app_id: str, change: AddApplication) -> list[Step]:
    bound = _ADD.bind(app_id, created_at=to_us(change.created_at), settings=to_json(change.settings))
    return [(_ADD, bound)]


def _set_settings(app_id: str, change: SetSettings) -> list[Step]:
    return [(_SET_SETTINGS, _SET_SETTINGS.bind(app_id, settings=to_json(change.settings)))]


def _expect_settings(app_id: str, change: ExpectSettings) -> list[Step]:
    return [(_EXPECT_SETTINGS, _EXPECT_SETTINGS.bind(app_id, version=change.version))]


def _set_frozen(app_id: str, change: SetFrozen) -> list[Step]:
    return [(_SET_FROZEN, _SET_FROZEN.bind(app_id, frozen_at=to_us_or_none(change.frozen_at)))]


def _schedule_deletion(app_id: str, change: ScheduleDeletion) -> list[Step]:
    return [(_SCHEDULE, _SCHEDULE.bind(app_id, delete_at=to_us_or_none(change.delete_at)))]


CHANGES: Plans = {
    AddApplication: Plan(_add, ApplicationExists, "the application id is taken"),
    ExpectSettings: Plan(_expect_settings, SettingsChanged, "the settings were changed meanwhile"),
    SetSettings: Plan(_set_settings, ApplicationGone, _GONE),
    SetFrozen: Plan(_set_frozen, ApplicationGone, _GONE),
    ScheduleDeletion: Plan(_schedule_deletion, ApplicationGone, _GONE),
}
