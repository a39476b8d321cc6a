"""Applications in the compatible management API (its section 8): made, and told what they may."""

from __future__ import annotations

import re
from typing import ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import between
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.feature import MOST_RETENTION_DAYS
from narthex.http.routes.passwordless.shapes import NUMBER, Answer, Request
from narthex.http.routing import route
from narthex.ports.records import ApplicationSettings
from narthex.usecases.application import (
    InvalidApplicationId,
    change_settings,
    check_app_id,
    create_application,
    get_application,
)
from narthex.usecases.call import OperatorCall

_MESSAGE = "Store keys safely. They will only be shown to you once."
_NO_ID = "AppId must be 3 to 62 lower-case letters and digits, a letter first."
_MOST_RETENTION_DAYS_AT_FIRST = 365
_SEPARATORS = re.compile(r"[,;\s]+")


class ManagedFeaturesBody(Request):
    """What an application is allowed, as a whole: what is left out is off."""

    event_logging_is_enabled: bool | None = False
    event_logging_retention_period: int | None = 0
    magic_link_email_monthly_quota: int | None = 0
    max_users: int | None = None
    allow_attestation: bool | None = False

    rules: ClassVar = {
        "event_logging_retention_period": (between(0, MOST_RETENTION_DAYS),),
        "magic_link_email_monthly_quota": (NUMBER,),
        "max_users": (NUMBER,),
    }


class CreateBody(ManagedFeaturesBody):
    """What a new application is allowed, and whom to tell of it."""

    admin_email: str | None = ""
    event_logging_retention_period: int | None = _MOST_RETENTION_DAYS_AT_FIRST

    rules: ClassVar = {
        **ManagedFeaturesBody.rules,
        "event_logging_retention_period": (between(0, _MOST_RETENTION_DAYS_AT_FIRST),),
    }


class CreatedAnswer(Answer):
    """The keys of a new application, whole: they are never shown again."""

    message: str
    api_key1: str
    api_key2: str
    api_secret1: str
    api_secret2: str


class AvailableAnswer(Answer):
    """Whether an id is free."""

    available: bool


class FeaturesAnswer(Answer):
    """What an application is allowed."""

    event_logging_is_enabled: bool
    event_logging_retention_period: int
    developer_logging_ends_at: str | None
    max_users: int | None
    allow_attestation: bool
    is_generate_sign_in_token_endpoint_enabled: bool
    is_magic_links_enabled: bool
    magic_link_email_monthly_quota: int


@route(
    "POST",
    "/admin/apps/{app_id}/create",
    access=Access.MANAGEMENT_KEY,
    body=CreateBody,
    answer=CreatedAnswer,
)
async def create(call: OperatorCall, body: CreateBody, app_id: str) -> CreatedAnswer:
    """Make an application."""
    days = body.event_logging_retention_period
    settings = ApplicationSettings(
        admin_emails=tuple(email for email in _SEPARATORS.split(body.admin_email or "") if email),
        event_logging=bool(body.event_logging_is_enabled),
        event_retention_days=_MOST_RETENTION_DAYS_AT_FIRST if days is None else days,
        magic_link_monthly_quota=body.magic_link_email_monthly_quota or 0,
        max_users=body.max_users,
        allow_attestation=bool(body.allow_attestation),
    )
    try:
        keys = await create_application(call, app_id, settings)
    except InvalidApplicationId as e:
        raise ValidationFailed({"appId": [_NO_ID]}) from e
    return CreatedAnswer(
        message=_MESSAGE,
        api_key1=keys.public[0],
        api_key2=keys.public[1],
        api_secret1=str(keys.secret[0]),
        api_secret2=str(keys.secret[1]),
    )


@route("GET", "/admin/apps/{app_id}/available", access=Access.MANAGEMENT_KEY, answer=AvailableAnswer)
async def available(call: OperatorCall, app_id: str) -> AvailableAnswer:
    """Whether an application could be made under this id."""
    try:
        check_app_id(app_id)
    except InvalidApplicationId as e:
        raise ValidationFailed({"appId": [_NO_ID]}) from e
    return AvailableAnswer(available=await call.root.tenant(app_id).find_application() is None)


@route("GET", "/admin/apps/{app_id}/features", access=Access.MANAGEMENT_KEY, answer=FeaturesAnswer, may_miss=True)
async def get_features(call: OperatorCall, app_id: str) -> FeaturesAnswer:
    """What the application is allowed."""
    settings = (await get_application(call, app_id)).settings
    return FeaturesAnswer(
        event_logging_is_enabled=settings.event_logging,
        event_logging_retention_period=settings.event_retention_days,
        developer_logging_ends_at=None,
        max_users=settings.max_users,
        allow_attestation=settings.allow_attestation,
        is_generate_sign_in_token_endpoint_enabled=settings.manual_tokens,
        is_magic_links_enabled=settings.magic_links,
        magic_link_email_monthly_quota=settings.magic_link_monthly_quota,
    )


@route("POST", "/admin/apps/{app_id}/features", access=Access.MANAGEMENT_KEY, body=ManagedFeaturesBody, may_miss=True)
async def set_features(call: OperatorCall, body: ManagedFeaturesBody, app_id: str) -> None:
    """Decide anew what the application is allowed, as a whole."""
    await change_settings(
        call,
        app_id,
        event_logging=body.event_logging_is_enabled is True,
        event_retention_days=body.event_logging_retention_period or 0,
        magic_link_monthly_quota=body.magic_link_email_monthly_quota or 0,
        max_users=body.max_users,
        allow_attestation=body.allow_attestation is True,
    )
