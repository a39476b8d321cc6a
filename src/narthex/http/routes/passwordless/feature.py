"""What an application switches on and off by itself (the compatible API, section 7.16)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import between
from narthex.http.routes.passwordless.shapes import Request, told
from narthex.http.routing import route
from narthex.ports.records import Scope
from narthex.usecases.call import Call
from narthex.usecases.feature import change_features

MOST_RETENTION_DAYS = 90


class FeaturesBody(Request):
    """What to change; a member that is left out, or null, stays as it is."""

    performed_by: Annotated[str | None, told("Who does it, for the event log.", "ann@example.org")] = "Api"
    event_logging_retention_period: Annotated[int | None, told("For how many days events are kept.", 30)] = None
    enable_manually_generated_authentication_tokens: Annotated[
        bool | None, told("Whether `/signin/generate-token` makes tokens.")
    ] = None
    enable_magic_links: Annotated[bool | None, told("Whether `/magic-links/send` sends links.")] = None

    rules: ClassVar = {"event_logging_retention_period": (between(0, MOST_RETENTION_DAYS),)}


@route("POST", "/apps/features", access=Access.SECRET_KEY, scope=Scope.FEATURES_WRITE, body=FeaturesBody)
async def apps_features(call: Call, body: FeaturesBody) -> None:
    """Switch features of the application on or off."""
    await change_features(
        call,
        by=(body.performed_by or "").strip() or "Unknown User",
        event_retention_days=body.event_logging_retention_period,
        manual_tokens=body.enable_manually_generated_authentication_tokens,
        magic_links=body.enable_magic_links,
    )
