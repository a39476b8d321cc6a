"""Management of applications in the compatible API (its section 8)."""

from __future__ import annotations

import re
from typing import ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import between
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.shapes import Answer, Request
from narthex.http.routing import route
from narthex.ports.records import ApplicationSettings
from narthex.usecases.application import InvalidApplicationId, create_application
from narthex.usecases.call import OperatorCall

_MESSAGE = "Store keys safely. They will only be shown to you once."
_MOST_RETENTION_DAYS = 365
_INT32_MOST = 2**31 - 1
_SEPARATORS = re.compile(r"[,;\s]+")


class CreateBody(Request):
    """What a new application is allowed."""

    admin_email: str | None = ""
    event_logging_is_enabled: bool | None = False
    event_logging_retention_period: int | None = 365
    magic_link_email_monthly_quota: int | None = 0
    max_users: int | None = None
    allow_attestation: bool | None = False

    rules: ClassVar = {
        "event_logging_retention_period": (between(0, _MOST_RETENTION_DAYS),),
        "magic_link_email_monthly_quota": (between(0, _INT32_MOST),),
        "max_users": (between(0, _INT32_MOST),),
    }


class CreatedAnswer(Answer):
    """The keys of a new application, whole: they are never shown again."""

    message: str
    api_key1: str
    api_key2: str
    api_secret1: str
    api_secret2: str


@route(
    "POST",
    "/admin/apps/{app_id}/create",
    access=Access.MANAGEMENT_KEY,
    body=CreateBody,
    answer=CreatedAnswer,
)
async def create(call: OperatorCall, body: CreateBody, app_id: str) -> CreatedAnswer:
    """Make an application."""
    settings = ApplicationSettings(
        admin_emails=tuple(email for email in _SEPARATORS.split(body.admin_email or "") if email),
        event_logging=bool(body.event_logging_is_enabled),
        event_retention_days=_or_default(body.event_logging_retention_period, 365),
        magic_link_monthly_quota=_or_default(body.magic_link_email_monthly_quota, 0),
        max_users=body.max_users,
        allow_attestation=bool(body.allow_attestation),
    )
    try:
        keys = await create_application(call, app_id, settings)
    except InvalidApplicationId as e:
        raise ValidationFailed(
            {"appId": ["AppId must be 3 to 62 lower-case letters and digits, a letter first."]}
        ) from e
    return CreatedAnswer(
        message=_MESSAGE,
        api_key1=keys.public[0],
        api_key2=keys.public[1],
        api_secret1=str(keys.secret[0]),
        api_secret2=str(keys.secret[1]),
    )


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value
