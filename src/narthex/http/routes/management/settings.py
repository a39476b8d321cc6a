"""The settings of an application, and what they were."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.body import Body, between, camel
from narthex.http.routes.passwordless.shapes import NUMBER, Answer, Request, told
from narthex.http.routing import route
from narthex.ports.records import Application, ApplicationSettings, MailTemplate, Oddity
from narthex.usecases.application import change_settings, get_application
from narthex.usecases.call import OperatorCall
from narthex.usecases.cursor import open_cursor, seal_cursor
from narthex.usecases.retention import LONGEST_RETENTION_DAYS
from narthex.usecases.settings_history import Revised, list_revisions

_PORTION = 50


class MailTemplateBody(Body):
    """How one kind of mail reads in one language."""

    kind: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    locale: str = ""


class SettingsBody(Request):
    """What to decide anew; a member that is left out stays as it is.

    Origins, rp ids, rules for authenticators and trust anchors have endpoints of their own, which look at whom a
    change locks out.
    """

    by: Annotated[str | None, told("Who decides, for the history.", "ann@example.org")] = None
    admin_emails: list[str] | UnsetType = UNSET
    event_logging: bool | UnsetType = UNSET
    event_retention_days: int | UnsetType = UNSET
    magic_link_monthly_quota: int | UnsetType = UNSET
    max_users: int | UnsetType | None = UNSET
    allow_attestation: bool | UnsetType = UNSET
    manual_tokens: bool | UnsetType = UNSET
    magic_links: bool | UnsetType = UNSET
    single_use_verify_tokens: bool | UnsetType = UNSET
    conceal_unknown_users: bool | UnsetType = UNSET
    enterprise_attestation: bool | UnsetType = UNSET
    sign_count_stalled: Oddity | UnsetType = UNSET
    backup_eligibility_changed: Oddity | UnsetType = UNSET
    fips_for_aal3: bool | UnsetType = UNSET
    magic_link_confirmation: bool | UnsetType = UNSET
    magic_link_origins: list[str] | UnsetType = UNSET
    mail_templates: list[MailTemplateBody] | UnsetType = UNSET
    mail_sender_name: str | UnsetType = UNSET
    notices: bool | UnsetType = UNSET

    rules: ClassVar = {
        "event_retention_days": (between(0, LONGEST_RETENTION_DAYS),),
        "magic_link_monthly_quota": (NUMBER,),
        "max_users": (NUMBER,),
    }


class SettingsAnswer(Answer):
    """All settings, and how often they were decided anew."""

    version: int
    settings: dict[str, Any]


class HistoryQuery(Request):
    """Which part of the history."""

    limit: Annotated[int | None, told("How many revisions at most.", _PORTION)] = _PORTION
    cursor: Annotated[str | None, told("`nextCursor` of the answer before.")] = None

    rules: ClassVar = {"limit": (between(1, 200),)}


class RevisionAnswer(Answer):
    """A decision: each member that it changed, from what to what."""

    version: int
    changed_at: str
    changed_by: str
    changes: dict[str, dict[str, Any]]


class HistoryAnswer(Answer):
    """Decisions, newest first."""

    revisions: list[RevisionAnswer]
    next_cursor: str | None


@route("GET", "/admin/apps/{app_id}/settings", access=Access.MANAGEMENT_KEY, answer=SettingsAnswer, may_miss=True)
async def get_settings(call: OperatorCall, app_id: str) -> SettingsAnswer:
    """All settings of the application."""
    return _settings(await get_application(call, app_id))


@route(
    "POST",
    "/admin/apps/{app_id}/settings",
    access=Access.MANAGEMENT_KEY,
    body=SettingsBody,
    answer=SettingsAnswer,
    may_miss=True,
    most_body_bytes=2 * 1024 * 1024,
)
async def set_settings(call: OperatorCall, body: SettingsBody, app_id: str) -> SettingsAnswer:
    """Decide settings anew."""
    given = {name: getattr(body, name) for name in body.__struct_fields__ if name != "by"}
    changes: dict[str, Any] = {name: _kept(value) for name, value in given.items() if value is not UNSET}
    await change_settings(call, app_id, by=(body.by or "").strip() or "System", **changes)
    return _settings(await get_application(call, app_id))


@route(
    "GET",
    "/admin/apps/{app_id}/settings/history",
    access=Access.MANAGEMENT_KEY,
    query=HistoryQuery,
    answer=HistoryAnswer,
    may_miss=True,
)
async def get_history(call: OperatorCall, query: HistoryQuery, app_id: str) -> HistoryAnswer:
    """Who decided what, and when, newest first."""
    await get_application(call, app_id)
    before = open_cursor(call.keyring, app_id, "settings-history", query.cursor, int)
    store = call.root.tenant(app_id)
    revised, goes_on = await list_revisions(store, before=before, most=query.limit or _PORTION)
    cursor = None if goes_on is None else seal_cursor(call.keyring, app_id, "settings-history", goes_on)
    return HistoryAnswer(revisions=[_revision(each) for each in revised], next_cursor=cursor)


def plain(value: Any) -> Any:
    """A record as JSON says it, in camelCase."""
    match value:
        case msgspec.Struct():
            return {camel(name): plain(getattr(value, name)) for name in value.__struct_fields__}
        case tuple() | list() | frozenset():
            return [plain(each) for each in value]
        case Enum():
            return value.value
        case _:
            return msgspec.to_builtins(value)


def _settings(application: Application) -> SettingsAnswer:
    return SettingsAnswer(version=application.settings_version, settings=plain(application.settings))


def _kept(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(
            MailTemplate(**msgspec.structs.asdict(each)) if isinstance(each, MailTemplateBody) else each
            for each in value
        )
    return value


def _revision(revised: Revised) -> RevisionAnswer:
    revision, before = revised.revision, revised.before or ApplicationSettings()
    return RevisionAnswer(
        version=revision.version,
        changed_at=instant_z(revision.changed_at),
        changed_by=revision.changed_by,
        changes={
            camel(name): {"from": plain(getattr(before, name)), "to": plain(getattr(revision.settings, name))}
            for name in revised.changed
        },
    )
