"""Shapes that several endpoints of the compatible API share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from narthex.base.errors import Malformed
from narthex.base.values import from_base64url, to_base64url
from narthex.http.body import Body, Rule, between, folded
from narthex.http.problems import ValidationFailed

CEREMONY_TIMEOUT_MS = 60_000
NUMBER = between(0, 2**31 - 1)
"""The compatible API counts in 32 bits."""


def told(description: str, *examples: Any) -> msgspec.Meta:
    """What the API reference says of a member, and the example it shows; members without one are left out of it."""
    return msgspec.Meta(description=description, examples=list(examples) or None)


UserId = Annotated[str | None, told("Your own id of the user, at most 64 bytes.", "user-1")]
Origin = Annotated[str | None, told("The page, as `window.location.origin` gives it.", "https://example.com")]
RpId = Annotated[str | None, told("The domain, as `window.location.hostname` gives it.", "example.com")]


AcceptLockOut = Annotated[
    bool | None, told("Decide it also where it leaves users without a passkey that signs them in.")
]


def instant_of(text: str | None) -> datetime | None:
    """An ISO 8601 instant; without a zone it is UTC.

    Raises:
        ValueError, OverflowError: it is none; `INSTANT` refuses it before.
    """
    if not text:
        return None
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _broken_instant(value: str | None) -> str | None:
    try:
        instant_of(value)
    except (ValueError, OverflowError):
        return "The {} field is not an ISO 8601 date and time."
    return None


INSTANT = Rule(_broken_instant, {"format": "date-time"})
"""The text is an instant."""


class Request(Body):
    """A request: sentences about a member spell it with a capital."""

    @classmethod
    def spelled(cls, name: str) -> str:
        """``user_id`` as ``UserId``."""
        return "".join(word.title() for word in name.split("_"))


class Answer(msgspec.Struct, rename="camel"):
    """An answer: camelCase names, and nulls are written."""


class TokenAnswer(Answer):
    """A token."""

    token: Annotated[str, told("A sealed token: pass it on unchanged.", "verify_ATBy_ALUMx_fmRk…")]


class BeginAnswer(Answer):
    """Options for the browser, and the session that goes with the answer."""

    data: Annotated[
        dict[str, Any], told("The options, binary members as base64url.", {"challenge": "7mJk0Qh1…", "…": "…"})
    ]
    session: Annotated[str, told("Send it back with the authenticator's answer.", "session_ATBy_AK0qbVx…")]


def uuid_of(text: str | None) -> UUID | None:
    """A UUID in its usual spelling; None for what is none."""
    try:
        return UUID(text) if text is not None and len(text) == 36 else None
    except ValueError:
        return None


def given(text: str | None, place: str) -> str:
    """A text that must be there.

    Args:
        place: the path to it in the body: ``response.rawId``.

    Raises:
        ValidationFailed: it is missing or empty.
    """
    if not text:
        raise ValidationFailed({place: [f"The {_spelled(place)} field is required."]})
    return text


def bytes_of(text: str | None, place: str) -> bytes:
    """Decode base64url from a client, padding tolerated.

    Raises:
        ValidationFailed: it is missing, or not base64url.
    """
    encoded = given(text, place)
    try:
        return from_base64url(encoded, padding_tolerated=True)
    except Malformed as e:
        raise ValidationFailed({place: [f"The {_spelled(place)} field is not base64url."]}) from e


def one_of(text: str | None, names: Sequence[str]) -> str | None:
    """The one of some names that a text is, in any case, or whose number it is: so the compatible API reads enums."""
    if text is None:
        return None
    wanted = folded(text)
    return next((name for number, name in enumerate(names) if wanted in (name, str(number))), None)


def public_key_type(value: str | None, place: str) -> None:
    """Pass the one type of credential that there is (L3 #enumdef-publickeycredentialtype), or none given.

    Raises:
        ValidationFailed: it is another.
    """
    if value is not None and folded(value) != "public-key":
        raise ValidationFailed({place: [f"The {_spelled(place)} field must be `public-key`."]})


def _spelled(place: str) -> str:
    return ".".join(name[:1].upper() + name[1:] for name in place.split("."))


def options_credential(credential_id: bytes, transports: Sequence[str]) -> dict[str, Any]:
    """A credential descriptor; transports are told where they are known (L3 #dom-publickeycredentialdescriptor)."""
    descriptor: dict[str, Any] = {"type": "public-key", "id": to_base64url(credential_id)}
    return {**descriptor, "transports": list(transports)} if transports else descriptor


def instant_bare(instant: datetime) -> str:
    """An instant that was stored: UTC without a zone, as the Java SDK reads it (the compatible API's section 2.4)."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%f")


def known_attachment(text: str | None) -> str | None:
    """``authenticatorAttachment``, if it is a value that Level 3 knows (L3 #enumdef-authenticatorattachment)."""
    return text if text in ("platform", "cross-platform") else None
