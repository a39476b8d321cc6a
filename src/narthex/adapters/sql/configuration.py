"""The purposes of sign-ins that an application configured or used."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from narthex.adapters.sql.encoding import from_us_or_none, list_from_json, to_json, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import (
    AddConfiguration,
    ConfigurationExists,
    ConfigurationNotFound,
    RemoveConfiguration,
    ReviseConfiguration,
    TouchConfiguration,
)
from narthex.ports.records import AuthenticationConfiguration

COLUMNS = {
    "purpose": "text", "user_verification": "text", "time_to_live_s": "bigint", "hints": "text",
    "created_by": "text", "created_at": "bigint", "edited_by": "text", "edited_at": "bigint",
    "last_used_at": "bigint",
}  # fmt: skip
# A purpose is touched by every sign-in for it. Were the row locked each time, all sign-ins of an application
# would wait for one another's commit, so an instant that is less than a second newer is not written.
_TOUCH = TenantStatement("""
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
_INSERT = """
    insert into authentication_configuration (app_id, purpose, user_verification, time_to_live_s, hints,
        created_by, created_at, edited_by, edited_at, last_used_at)
    values (:app_id, :purpose, :user_verification, :time_to_live_s, :hints, :created_by, :created_at, :edited_by,
        :edited_at, :last_used_at)
"""
_ADD = TenantStatement(f"{_INSERT} on conflict do nothing", must_change=True)
_REVISE = TenantStatement(
    """
    update authentication_configuration set user_verification = :user_verification,
        time_to_live_s = :time_to_live_s, hints = :hints, edited_by = :edited_by, edited_at = :edited_at
    where app_id = :app_id and purpose = :purpose
    """,
    must_change=True,
)
_REVISE_OR_MAKE = TenantStatement(f"""
    {_INSERT} on conflict (app_id, purpose) do update set user_verification = excluded.user_verification,
        time_to_live_s = excluded.time_to_live_s, hints = excluded.hints, edited_by = excluded.edited_by,
        edited_at = excluded.edited_at
""")
_REMOVE = TenantStatement(
    "delete from authentication_configuration where app_id = :app_id and purpose = :purpose",
    must_change=True,
)
_TOUCH_KEPT = TenantStatement("""
    update authentication_configuration set last_used_at = :last_used_at
    where app_id = :app_id and purpose = :purpose and (last_used_at is null or last_used_at <= :just_before)
""")
_PRECISION: Final = timedelta(seconds=1)


def from_row(row: Row) -> AuthenticationConfiguration:
    (purpose, user_verification, time_to_live_s, hints, created_by, created_at, edited_by, edited_at,
     last_used_at) = row  # fmt: skip
    return AuthenticationConfiguration(
        purpose, user_verification, time_to_live_s, list_from_json(hints), created_by, from_us_or_none(created_at),
        edited_by, from_us_or_none(edited_at), from_us_or_none(last_used_at),
    )  # fmt: skip


def _values(kept: AuthenticationConfiguration) -> dict[str, object]:
    return {
        "purpose": kept.purpose,
        "user_verification": kept.user_verification,
        "time_to_live_s": kept.time_to_live_s,
        "hints": to_json(kept.hints),
        "created_by": kept.created_by,
        "created_at": to_us_or_none(kept.created_at),
        "edited_by": kept.edited_by,
        "edited_at": to_us_or_none(kept.edited_at),
        "last_used_at": to_us_or_none(kept.last_used_at),
    }


def _touch(app_id: str, change: TouchConfiguration) -> list[Step]:
    used_at = change.configuration.last_used_at
    just_before = to_us_or_none(used_at and used_at - _PRECISION)
    statement = _TOUCH if change.make else _TOUCH_KEPT
    return [(statement, statement.bind(app_id, just_before=just_before, **_values(change.configuration)))]


def _add(app_id: str, change: AddConfiguration) -> list[Step]:
    return [(_ADD, _ADD.bind(app_id, **_values(change.configuration)))]


def _revise(app_id: str, change: ReviseConfiguration) -> list[Step]:
    statement = _REVISE_OR_MAKE if change.make else _REVISE
    return [(statement, statement.bind(app_id, **_values(change.configuration)))]


def _remove(app_id: str, change: RemoveConfiguration) -> list[Step]:
    return [(_REMOVE, _REMOVE.bind(app_id, purpose=change.purpose))]


CHANGES: Plans = {
    TouchConfiguration: Plan(_touch),
    AddConfiguration: Plan(_add, ConfigurationExists, "the purpose is configured already"),
    ReviseConfiguration: Plan(_revise, ConfigurationNotFound, "the purpose is not configured"),
    RemoveConfiguration: Plan(_remove, ConfigurationNotFound, "the purpose is not configured"),
}
