"""Shapes that several endpoints of the compatible API share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from narthex.base.values import to_base64url


def told(description: str, *examples: Any) -> msgspec.Meta:
    """What the API reference says of a member, and the example it shows; members without one are left out of it."""
    return msgspec.Meta(description=description, examples=list(examples) or None)


UserId = Annotated[str | None, told("Your own id of the user, at most 64 bytes.", "user-1")]
Origin = Annotated[str | None, told("The page, as `window.location.origin` gives it.", "https://example.com")]
RpId = Annotated[str | None, told("The domain, as `window.location.hostname` gives it.", "example.com")]


class Answer(msgspec.Struct, rename="camel"):
    """An answer: camelCase names, and nulls are written."""


class TokenAnswer(Answer):
    """A token."""

    token: Annotated[str, told("A sealed token: pass it on unchanged.", "verify_ATBy_ALUMx_fmRk…")]


def options_credential(credential_id: bytes, transports: Sequence[str]) -> dict[str, Any]:
    """A credential descriptor; transports are told where they are known (L3 #dom-publickeycredentialdescriptor)."""
    descriptor: dict[str, Any] = {"type": "public-key", "id": to_base64url(credential_id)}
    return {**descriptor, "transports": list(transports)} if transports else descriptor


def instant_z(instant: datetime) -> str:
    """An instant of a token: UTC with a ``Z``, which the Java SDK insists on."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
