"""Values that several rooms share, and the one way to print and parse base64url.

The alphabet is RFC 4648 section 5. WebAuthn's JSON carries it without padding (L3 #sctn-dependencies,
Base64url Encoding), and a text has exactly one spelling: unused trailing bits are zero. Python's own
decoder skips foreign characters and ignores trailing bits, which would let two texts name one credential.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from narthex.base.errors import Malformed

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*\Z")


def to_base64url(raw: bytes) -> str:
    """Print bytes as unpadded base64url.

    >>> to_base64url(b"narthex")
    'bmFydGhleA'
    """
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str | bytes, *, padding_tolerated: bool = False) -> bytes:
    """Parse canonical base64url.

    Args:
        padding_tolerated: accept correct ``=`` padding too, where a wire contract says so.

    Raises:
        Malformed: foreign characters, padding, an impossible length, or trailing bits that are not zero.

    >>> from_base64url("bmFydGhleA")
    b'narthex'
    """
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as e:
        raise Malformed("base64url text has characters outside its alphabet") from e
    if padding_tolerated and len(encoded) % 4 == 0:
        encoded = encoded.removesuffix(b"=").removesuffix(b"=")
    if not _BASE64URL.match(encoded):
        raise Malformed("base64url text has characters outside its alphabet, or padding")
    try:
        raw = urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error as e:
        raise Malformed("base64url text has an impossible length") from e
    if urlsafe_b64encode(raw).rstrip(b"=") != encoded:
        raise Malformed("base64url text is not canonical: its unused bits are not zero")
    return raw


class Secret(str):
    """A text that must not reach a log: its ``repr`` hides it.

    >>> Secret("demo:secret:0123")
    Secret('***')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"
