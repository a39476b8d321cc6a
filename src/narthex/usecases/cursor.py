"""Cursors: where a list goes on. Sealed, so that nobody can make one up or take one elsewhere (CVE-2026-33503).

A cursor is bound to the application and to the list that it was given for, filters included.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from narthex.base.errors import Malformed, Refusal
from narthex.base.values import from_base64url, to_base64url
from narthex.ports.environment import CannotUnwrap, Keyring

LONGEST = 2_000

Position = TypeVar("Position")


class InvalidCursor(Malformed):
    """The cursor is not one of ours, or was given for another list."""

    code = "invalid-cursor"
    advice = (
        "send `nextCursor` unchanged, to the endpoint that gave it, with the same filters; or begin anew without one"
    )


def seal_cursor(keyring: Keyring, app_id: str, which: str, position: object) -> str:
    """Make a cursor.

    Args:
        which: names the list and its filters; whoever reads the cursor must name the same.
        position: what msgpack can hold.
    """
    wrapped = keyring.wrap("cursor", _context(app_id, which), msgspec.msgpack.encode(position))
    return to_base64url(wrapped)


def open_cursor(keyring: Keyring, app_id: str, which: str, text: str | None, shape: type[Position]) -> Position | None:
    """Where a list goes on; None without a cursor: at its beginning.

    Raises:
        InvalidCursor.
    """
    if not text:
        return None
    try:
        if len(text) > LONGEST:
            raise InvalidCursor("the cursor is longer than any of ours")
        plaintext = keyring.unwrap("cursor", _context(app_id, which), from_base64url(text))
        return msgspec.msgpack.decode(plaintext, type=shape)
    except (CannotUnwrap, msgspec.MsgspecError, UnicodeDecodeError, Refusal) as e:
        raise InvalidCursor("the cursor cannot be read") from e


def _context(app_id: str, which: str) -> bytes:
    return msgspec.msgpack.encode([app_id, which])
