"""Values that several rooms share, and the one way to print and parse base64url.

The alphabet is RFC 4648 section 5. WebAuthn's JSON carries it without padding (L3 #sctn-dependencies,
Base64url Encoding), and a text has exactly one spelling: unused trailing bits are zero. Python's own
decoder skips foreign characters and ignores trailing bits, which would let two texts name one credential.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from datetime import datetime

from narthex.base.errors import Malformed

_TO_URL = bytes.maketrans(b"+/", b"-_")
# The two characters of the other alphabet become one that neither has, so that they are refused too.
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")


def to_base64url(raw: bytes) -> str:
    """Print bytes as unpadded base64url.

    >>> to_base64url(b"narthex")
    'bmFydGhleA'
    """
    return b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode()


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
    if encoded.endswith(b"="):
        raise Malformed("base64url text has padding")
    standard = encoded.translate(_FROM_URL) + b"=" * (-len(encoded) % 4)
    try:
        raw = a2b_base64(standard, strict_mode=True)
    except Error as e:
        raise Malformed("base64url text has characters outside its alphabet, or an impossible length") from e
    if b2a_base64(raw, newline=False) != standard:
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


def uuid_text(raw: bytes) -> str:
    """Print 16 bytes as a UUID (RFC 9562, section 4).

    >>> uuid_text(bytes(range(16)))
    '00010203-0405-0607-0809-0a0b0c0d0e0f'
    """
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def instant_z(instant: datetime) -> str:
    """Spell an instant in UTC with a ``Z``, which the official Java SDK insists on.

    >>> instant_z(datetime.fromisoformat("2026-01-02T03:04:05+00:00"))
    '2026-01-02T03:04:05.000000Z'
    """
    return f"{instant.isoformat(timespec='microseconds')[:-6]}Z"
