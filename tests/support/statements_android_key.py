"""Statements of the format `android-key`: what Android's keystore says of a credential's key.

The extension is written here in DER, by hand, from its published ASN.1 (Android key attestation, KeyDescription).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from tests.support.authenticator import NOT_AFTER, NOT_BEFORE, KeyPair, make_certificate, maker, name_of

if TYPE_CHECKING:
    from tests.support.statements import Made

KEY_DESCRIPTION = ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")
PURPOSE, ALGORITHM, ALL_APPLICATIONS, CREATED_AT, ORIGIN = 1, 2, 600, 701, 702


def item(tag: int, content: bytes) -> bytes:
    """One DER item with a tag of one byte."""
    return bytes([tag]) + length(len(content)) + content


def length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def integer(value: int, tag: int = 0x02) -> bytes:
    bits = (value if value >= 0 else ~value).bit_length()
    return item(tag, value.to_bytes(bits // 8 + 1, "big", signed=True))


def explicit(number: int, content: bytes) -> bytes:
    """[number] EXPLICIT."""
    if number < 31:
        return item(0xA0 | number, content)
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.insert(0, 0x80 | number & 0x7F)
    return bytes([0xBF, *groups]) + length(len(content)) + content


def authorization_list(fields: Mapping[int, bytes]) -> bytes:
    return item(0x30, b"".join(explicit(number, fields[number]) for number in sorted(fields)))


def set_of(*numbers: int) -> bytes:
    return item(0x31, b"".join(integer(number) for number in numbers))


SIGNING, GENERATED = {PURPOSE: set_of(2)}, {ORIGIN: integer(0)}
TEE = SIGNING | GENERATED | {ALGORITHM: integer(3)}
SOFTWARE = {CREATED_AT: integer(1_700_000_000_000)}


def key_description(
    challenge: bytes,
    *,
    level: int = 1,
    kept_in: int | None = None,
    software: Mapping[int, bytes] | bytes = SOFTWARE,
    tee: Mapping[int, bytes] | bytes = TEE,
) -> bytes:
    """KeyDescription; a list may be given as bytes.

    Args:
        level: attestationSecurityLevel, and keymasterSecurityLevel unless ``kept_in`` is that.
    """
    kept_in = level if kept_in is None else kept_in
    members = [integer(300), integer(level, 0x0A), integer(300), integer(kept_in, 0x0A)]
    members += [item(0x04, challenge), item(0x04, b"")]
    members += [fields if isinstance(fields, bytes) else authorization_list(fields) for fields in (software, tee)]
    return item(0x30, b"".join(members))


def make_android_key(
    made: Made,
    *,
    challenge: bytes | None = None,
    description: Mapping[str, Any] | None = None,
    edit_description: Callable[[bytes], bytes | None] = bytes,
    oid: ObjectIdentifier = KEY_DESCRIPTION,
    alg: int | None = None,
    sign_with: KeyPair | None = None,
    edit_signed: Callable[[bytes], bytes] = bytes,
    leaf_key: Any = None,
    with_root: bool = False,
    root: str = "Narthex Test Root",
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
) -> dict[str, Any]:
    """A statement of the format `android-key`.

    Args:
        description: keywords of ``key_description``.
        edit_description: None as its result leaves the extension out.
        sign_with: what signs instead of the credential's key.
        leaf_key: private key whose public half is certified instead of the credential's.
    """
    value = edit_description(key_description(challenge or made.client_data_hash, **(description or {})))
    issuer = maker(root)
    leaf = make_certificate(
        leaf_key or made.key.private,
        subject=name_of(country=None, organization=None, unit=None, common_name="Android Keystore Key"),
        issuer=issuer.certificate.subject,
        issuer_key=issuer.key,
        ca=None,
        not_before=not_before,
        not_after=not_after,
        extensions=() if value is None else ((x509.UnrecognizedExtension(oid, value), False),),
    ).public_bytes(Encoding.DER)
    return {
        "alg": made.key.alg if alg is None else alg,
        "sig": (sign_with or made.key).sign(edit_signed(made.data + made.client_data_hash)),
        "x5c": [leaf, maker().der] if with_root else [leaf],
    }
