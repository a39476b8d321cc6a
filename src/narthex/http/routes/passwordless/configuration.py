"""Authentication configurations in the compatible API (its section 7.12)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Final

from narthex.http.authenticate import Access
from narthex.http.body import Rule, at_most_characters, required
from narthex.http.routes.passwordless.shapes import Answer, Request, one_of, told
from narthex.http.routing import route
from narthex.ports.records import AuthenticationConfiguration, Scope
from narthex.usecases import configuration
from narthex.usecases.call import Call
from narthex.usecases.configuration import LONGEST_PURPOSE, LONGEST_TIME_TO_LIVE, Demands, is_purpose
from narthex.usecases.creation_options import HINTS, USER_VERIFICATIONS

_LONGEST_NAME: Final = 255
_NAMES_OF_HINTS: Final = {"security-key": "SecurityKey", "client-device": "ClientDevice", "hybrid": "Hybrid"}
# The constant form of a .NET TimeSpan, `[d.]hh:mm:ss[.fffffff]`, in ASCII digits and without a sign.
_TIME_SPAN: Final = re.compile(
    r"(?:(?P<days>[0-9]{1,8})\.)?(?P<hours>[01][0-9]|2[0-3]):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])"
    r"(?:\.(?P<fraction>[0-9]{1,7}))?\Z"
)


def time_span_of(text: str) -> timedelta | None:
    """A time span as .NET writes it; None for what is none, or has parts of a microsecond.

    >>> str(time_span_of("1.02:03:04.5000000")), time_span_of("120")
    ('1 day, 2:03:04.500000', None)
    """
    found = _TIME_SPAN.match(text)
    if found is None:
        return None
    ticks = int((found["fraction"] or "").ljust(7, "0"))
    if ticks % 10:
        return None
    return timedelta(
        days=int(found["days"] or 0),
        hours=int(found["hours"]),
        minutes=int(found["minutes"]),
        seconds=int(found["seconds"]),
        microseconds=ticks // 10,
    )


def _broken_purpose(value: str | None) -> str | None:
    if value and not is_purpose(value):
        return f"{{}} must be 1 to {LONGEST_PURPOSE} letters, digits, `_` and `-`."
    return None


def _broken_time_span(value: str | None) -> str | None:
    if not value:
        return None
    span = time_span_of(value)
    if span is None or span % timedelta(seconds=1):
        return "The {} field must be a time span of whole seconds, such as `00:02:00` or `1.00:00:00`."
    if not timedelta() < span <= LONGEST_TIME_TO_LIVE:
        return f"The {{}} field must be more than nothing, and {LONGEST_TIME_TO_LIVE.days} days at most."
    return None


def _broken_verification(value: str | None) -> str | None:
    if value is not None and one_of(value, USER_VERIFICATIONS) is None:
        return f"{{}} must be one of {', '.join(USER_VERIFICATIONS)}."
    return None


def _broken_hints(value: list[str | None] | None) -> str | None:
    if any(one_of(hint, HINTS) is None for hint in value or ()):
        return f"{{}} must be any of {', '.join(HINTS)}."
    return None


_SENT = Rule(lambda value: "The {} field is required." if value is None else None, needed=True)
_BY = (required, at_most_characters(_LONGEST_NAME))
Purpose = Annotated[str | None, told("What the sign-in is for: letters, digits, `_` and `-`.", "transfer-money")]
PerformedBy = Annotated[str | None, told("Who does it, for the event log.", "ann@example.com")]


class AuthConfigListQuery(Request):
    """Which configurations."""

    purpose: Annotated[str | None, told("Only that of this purpose.", "sign-in")] = None


class AuthConfigBody(Request):
    """What a sign-in for a purpose asks, and for how long it counts."""

    purpose: Purpose = None
    user_verification_requirement: Annotated[
        str | None, told("`required`, `preferred` or `discouraged`; `preferred` if left out.", "required")
    ] = None
    time_to_live: Annotated[
        str | None, told("How long the sign-in token counts: `[d.]hh:mm:ss`, at most 7 days.", "00:02:00")
    ] = None
    hints: Annotated[
        list[str | None] | None, told("Any of `security-key`, `client-device`, `hybrid`, the best first.")
    ] = None
    performed_by: PerformedBy = None

    rules: ClassVar = {
        "purpose": (required, Rule(_broken_purpose, {"maxLength": LONGEST_PURPOSE})),
        "user_verification_requirement": (Rule(_broken_verification),),
        "time_to_live": (required, Rule(_broken_time_span)),
        "hints": (Rule(_broken_hints, {"items": {"type": "string"}}),),
        "performed_by": _BY,
    }


class DeleteAuthConfigBody(Request):
    """Which purpose is forgotten."""

    purpose: Purpose = None
    performed_by: PerformedBy = None

    # The compatible API takes a blank name here, and only here.
    rules: ClassVar = {"purpose": (required,), "performed_by": (_SENT, at_most_characters(_LONGEST_NAME))}


class AuthConfigAnswer(Answer):
    """What a sign-in for a purpose asks, and for how long it counts."""

    purpose: Annotated[str, told("What the sign-in is for.", "sign-in")]
    user_verification_requirement: Annotated[str, told("`required`, `preferred` or `discouraged`.", "preferred")]
    time_to_live: Annotated[int, told("For how many seconds the sign-in token counts.", 120)]
    hints: Annotated[str, told("The best first, with commas between them; empty for none.", "SecurityKey, Hybrid")]
    created_by: Annotated[str, told("Who made it.", "System")]
    created_on: Annotated[str | None, told("When; null for a preset.", "2026-01-02T03:04:05.123456+00:00")]
    edited_by: Annotated[str | None, told("Who edited it last.")]
    edited_on: Annotated[str | None, told("When it was edited last.")]
    last_used_on: Annotated[str | None, told("When somebody signed in for it last, exact to a minute.")]


class AuthConfigListAnswer(Answer):
    """The configurations of an application."""

    configurations: list[AuthConfigAnswer]


@route(
    "GET",
    "/auth-configs/list",
    access=Access.SECRET_KEY,
    scope=Scope.CONFIGURATIONS_READ,
    query=AuthConfigListQuery,
    answer=AuthConfigListAnswer,
)
async def auth_configs_list(call: Call, query: AuthConfigListQuery) -> AuthConfigListAnswer:
    """What sign-ins for each purpose ask. `sign-in` and `step-up` are always there."""
    listed = await configuration.list_configurations(call, purpose=query.purpose)
    return AuthConfigListAnswer([_shown(each) for each in listed])


@route(
    "POST",
    "/auth-configs/add",
    access=Access.SECRET_KEY,
    scope=Scope.CONFIGURATIONS_WRITE,
    body=AuthConfigBody,
    status=201,
)
async def auth_configs_add(call: Call, body: AuthConfigBody) -> None:
    """Configure another purpose."""
    by = body.performed_by or ""
    await configuration.add_configuration(call, body.purpose or "", _demands(body), by=by)


@route(
    "POST",
    "/auth-configs",
    access=Access.SECRET_KEY,
    scope=Scope.CONFIGURATIONS_WRITE,
    body=AuthConfigBody,
    may_miss=True,
)
async def auth_configs_edit(call: Call, body: AuthConfigBody) -> None:
    """Replace as a whole what sign-ins for a purpose ask, from the next one on."""
    by = body.performed_by or ""
    await configuration.edit_configuration(call, body.purpose or "", _demands(body), by=by)


@route(
    "POST",
    "/auth-configs/delete",
    access=Access.SECRET_KEY,
    scope=Scope.CONFIGURATIONS_WRITE,
    body=DeleteAuthConfigBody,
    may_miss=True,
)
async def auth_configs_delete(call: Call, body: DeleteAuthConfigBody) -> None:
    """Forget a purpose. `sign-in` and `step-up` stay."""
    by = (body.performed_by or "").strip() or "Unknown User"
    await configuration.remove_configuration(call, body.purpose or "", by=by)


def _demands(body: AuthConfigBody) -> Demands:
    hints = (one_of(hint, HINTS) for hint in body.hints or ())
    return Demands(
        time_to_live=time_span_of(body.time_to_live or "") or timedelta(),
        user_verification=one_of(body.user_verification_requirement, USER_VERIFICATIONS) or "preferred",
        hints=tuple(dict.fromkeys(hint for hint in hints if hint is not None)),
    )


def _shown(kept: AuthenticationConfiguration) -> AuthConfigAnswer:
    return AuthConfigAnswer(
        purpose=kept.purpose,
        user_verification_requirement=kept.user_verification,
        time_to_live=kept.time_to_live_s,
        hints=", ".join(_NAMES_OF_HINTS[hint] for hint in kept.hints),
        created_by=kept.created_by,
        created_on=_with_offset(kept.created_at),
        edited_by=kept.edited_by,
        edited_on=_with_offset(kept.edited_at),
        last_used_on=_with_offset(kept.last_used_at),
    )


def _with_offset(instant: datetime | None) -> str | None:
    """As .NET writes a DateTimeOffset (the compatible API's section 2.4)."""
    return None if instant is None else instant.isoformat(timespec="microseconds")
