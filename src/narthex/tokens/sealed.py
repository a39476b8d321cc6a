"""Tokens that only we can read or make.

``register_``, ``session_``, ``verify_`` and ``link_`` tokens are sealed with AES-256-GCM, not merely signed: whoever
carries one learns nothing from it. The text is ``prefix + base64url(version ‖ key id ‖ nonce ‖ ciphertext)``.

* Each application has keys of its own, derived by HKDF-SHA-256 from 32 random bytes; the key id travels in
  clear, so that keys can rotate.
* The associated data names the version, the key, the kind and the application, length first: a token of one
  kind, or of one application, is not a token of another, though the prefix and the key be swapped.
* Nonces are 96 random bits. A key seals for 7 days; at 7,000 tokens a second the chance that two share a
  nonce stays below 2**-32 (NIST SP 800-38D, section 8.3, allows 2**32 uses of a key).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from narthex.base.errors import Malformed
from narthex.base.values import from_base64url, to_base64url

NONCE_SIZE = 12
_TAG_SIZE = 16
_VERSION = b"\x01"
_HEAD_SIZE = len(_VERSION) + 4
_LONGEST_TOKEN = 64 * 1024

Payload = TypeVar("Payload")


class MissingToken(Malformed):
    """No token was sent."""

    code = "missing-token"
    advice = "send the token that the step before gave you"


class InvalidToken(Malformed):
    """The token is not one of ours, or not for this: wrong kind, wrong application, altered, or too old."""

    code = "invalid-token"
    advice = "ask for a new token and send it unchanged, with a key of the application that it was made for"


class InvalidTokenFormat(Malformed):
    """The token's prefix is right and the rest cannot be read."""

    code = "invalid-token-format"
    advice = "send the whole token, exactly as it was given to you"


class TokenKind(Enum):
    """What a token is for: the prefix that people see, and a label that no two kinds share."""

    REGISTER = ("register_", b"register", 1)
    REGISTRATION_SESSION = ("session_", b"session/registration", 1)
    SIGN_IN_SESSION = ("session_", b"session/sign-in", 256)
    VERIFY = ("verify_", b"verify", 256)
    LINK = ("link_", b"link", 64)

    def __init__(self, prefix: str, label: bytes, block_size: int) -> None:
        self.prefix = prefix
        self.label = label
        self.block_size = block_size
        """The plaintext is padded to a multiple of this: the length of a sign-in's session must not tell whether the
        user who was asked for exists, nor that of its token what is known of the authenticator."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A token key of one application, ready for use."""

    key_id: int
    app_id: str
    cipher: AESGCM

    @classmethod
    def derive(cls, *, key_id: int, app_id: str, material: bytes) -> SealingKey:
        """Make the key from its 32 bytes of material (HKDF-SHA-256, RFC 5869)."""
        info = b"narthex token v1" + _framed(app_id.encode())
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material)
        return cls(key_id=key_id, app_id=app_id, cipher=AESGCM(key))

    def __repr__(self) -> str:
        return f"SealingKey(key_id={self.key_id}, app_id={self.app_id!r})"


class UnknownKey(InvalidToken):
    """The token names a key that we do not hold; a key made elsewhere a moment ago may yet turn up."""


def seal(payload: Any, kind: TokenKind, *, key: SealingKey, nonce: bytes) -> str:
    """Make a token.

    Args:
        payload: a msgspec struct.
        nonce: 12 random bytes, never used with this key before.
    """
    head = _VERSION + key.key_id.to_bytes(4, "big")
    plaintext = _padded(msgspec.msgpack.encode(payload), kind.block_size)
    sealed = key.cipher.encrypt(nonce, plaintext, head + _associated_data(kind, key.app_id))
    return kind.prefix + to_base64url(head + nonce + sealed)


def open_sealed(text: str | None, kind: TokenKind, shape: type[Payload], *, keys: Iterable[SealingKey]) -> Payload:
    """Read a token.

    Args:
        shape: the struct that the payload must fit.
        keys: those of the application that the caller belongs to.

    Raises:
        MissingToken: there is none.
        InvalidToken: it has another prefix, it was altered, or it was made for another purpose.
        UnknownKey: none of our keys made it.
        InvalidTokenFormat: it cannot be read at all.
    """
    head, nonce, sealed = _take_apart(text, kind)
    key_id = int.from_bytes(head[1:], "big")
    key = next((key for key in keys if key.key_id == key_id), None)
    if key is None:
        raise UnknownKey("the token was made with a key that this application does not have")
    try:
        plaintext = key.cipher.decrypt(nonce, sealed, head + _associated_data(kind, key.app_id))
    except InvalidTag as e:
        raise InvalidToken("the token was altered, or was made for another purpose") from e
    try:
        return msgspec.msgpack.decode(_unpadded(plaintext), type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        # msgspec lets a text that is no UTF-8 through as Python's own error.
        raise InvalidToken("the token was made by a version that this one cannot read") from e


def _take_apart(text: str | None, kind: TokenKind) -> tuple[bytes, bytes, bytes]:
    if not text:
        raise MissingToken(f"a token that starts with `{kind.prefix}` is required")
    if text[: len(kind.prefix)].lower() != kind.prefix:
        raise InvalidToken(f"a token must start with `{kind.prefix}`, and this one starts with `{text[:10]}`")
    if len(text) > _LONGEST_TOKEN:
        raise InvalidTokenFormat("the token is longer than any of ours")
    try:
        raw = from_base64url(text[len(kind.prefix) :])
    except Malformed as e:
        raise InvalidTokenFormat("the token is not base64url after its prefix") from e
    if len(raw) < _HEAD_SIZE + NONCE_SIZE + _TAG_SIZE or raw[:1] != _VERSION:
        raise InvalidTokenFormat("the token is cut short, or of another make")
    return raw[:_HEAD_SIZE], raw[_HEAD_SIZE : _HEAD_SIZE + NONCE_SIZE], raw[_HEAD_SIZE + NONCE_SIZE :]


def _padded(plaintext: bytes, block_size: int) -> bytes:
    """One bit, then zeros (ISO/IEC 7816-4)."""
    marked = plaintext + b"\x80"
    return marked + bytes(-len(marked) % block_size)


def _unpadded(padded: bytes) -> bytes:
    return padded.rstrip(b"\x00").removesuffix(b"\x80")


@cache
def _associated_data(kind: TokenKind, app_id: str) -> bytes:
    # Length first: without it, ("ab", "c") and ("a", "bc") would be one (advisories on delimiter injection).
    return _framed(kind.label) + _framed(app_id.encode())


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
