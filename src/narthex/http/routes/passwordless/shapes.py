"""Shapes that several endpoints of the compatible API share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from narthex.base.values import to_base64url


class Answer(msgspec.Struct, rename="camel"):
    """An answer: camelCase names, and nulls are written."""


class TokenAnswer(Answer):
    """A token."""

    token: str


def options_credential(credential_id: bytes, transports: Sequence[str]) -> dict[str, Any]:
    """A credential descriptor; transports are told where they are known (L3 #dom-publickeycredentialdescriptor)."""
    descriptor: dict[str, Any] = {"type": "public-key", "id": to_base64url(credential_id)}
    return {**descriptor, "transports": list(transports)} if transports else descriptor


def instant_z(instant: datetime) -> str:
    """An instant of a token: UTC with a ``Z``, which the Java SDK insists on."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
