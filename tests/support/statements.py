"""Attestation statements of the formats that are more than a signature: what Apple, U2F keys and SafetyNet send.

Each maker is honest by default and has its faults as keywords; ``SoftwareAuthenticator`` passes on ``Faults.making``.
Certificates are issued by ``maker()``, so one root anchors them all.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from tests.support.authenticator import (
    NOT_AFTER,
    NOT_BEFORE,
    KeyPair,
    Lots,
    b64u,
    make_certificate,
    make_key_pair,
    maker,
    name_of,
    rsa_key,
)
from tests.support.statements_android_key import make_android_key
from tests.support.statements_compound import make_compound
from tests.support.statements_tpm import make_tpm

Statement = dict[str, Any]
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]

APPLE_NONCE = ObjectIdentifier("1.2.840.113635.100.8.2")
SAFETYNET_HOST = "attest.android.com"


@dataclass(frozen=True, slots=True)
class Made:
    """What a statement is about: a credential that was just made."""

    key: KeyPair
    credential_id: bytes
    data: bytes
    """Authenticator data."""
    client_data_hash: bytes

    @property
    def nonce(self) -> bytes:
        return sha256(self.data + self.client_data_hash).digest()


def issue(
    key: Any,
    extensions: Extensions = (),
    *,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    common_name: str = "Test Model",
    root: str = "Narthex Test Root",
) -> bytes:
    """A leaf, in DER, issued by the maker of a name."""
    issuer = maker(root)
    return make_certificate(
        key,
        subject=name_of(common_name=common_name),
        issuer=issuer.certificate.subject,
        issuer_key=issuer.key,
        ca=False,
        not_before=not_before,
        not_after=not_after,
        extensions=extensions,
    ).public_bytes(Encoding.DER)


# --- apple ----------------------------------------------------------------------------------------------------------


def der(tag: int, content: bytes) -> bytes:
    """One DER item, short enough for a length of one byte."""
    return bytes([tag, len(content)]) + content


def apple_nonce(nonce: bytes, *, inner: int = 0x04, middle: int = 0xA1, outer: int = 0x30) -> bytes:
    """SEQUENCE { [1] { OCTET STRING } }; other tags make it something else."""
    return der(outer, der(middle, der(inner, nonce)))


def make_apple(
    made: Made,
    *,
    edit_extension: Callable[[bytes], bytes | None] = apple_nonce,
    oid: ObjectIdentifier = APPLE_NONCE,
    critical: bool = False,
    leaf_key: Any = None,
    **certificate: Any,
) -> Statement:
    """A statement of the format `apple`.

    Args:
        edit_extension: nonce → value of the extension; None leaves it out.
        leaf_key: private key whose public half is certified instead of the credential's.
    """
    value = edit_extension(made.nonce)
    extensions: Extensions = () if value is None else ((x509.UnrecognizedExtension(oid, value), critical),)
    key = leaf_key or made.key.private
    return {"x5c": [issue(key, extensions, common_name="Apple Test", **certificate), maker().der]}


# --- fido-u2f -------------------------------------------------------------------------------------------------------

U2F_KEY = make_key_pair(-7, Lots("U2F attestation key"))


def u2f_signed(made: Made) -> bytes:
    """What a U2F key signs when it makes a credential."""
    x, y = (made.key.cose().get(label, b"") for label in (-2, -3))
    assert isinstance(x, bytes)
    assert isinstance(y, bytes)
    return b"\0" + made.data[:32] + made.client_data_hash + made.credential_id + b"\x04" + x + y


def make_u2f(
    made: Made,
    *,
    edit_signed: Callable[[bytes], bytes] = bytes,
    sign_with: KeyPair = U2F_KEY,
    leaf_key: Any = None,
    **certificate: Any,
) -> Statement:
    """A statement of the format `fido-u2f`, with the one certificate it has.

    Args:
        sign_with: the key that signs; the certificate is for it, unless ``leaf_key`` is another private key.
    """
    leaf = issue(leaf_key or sign_with.private, **certificate)
    return {"sig": sign_with.sign(edit_signed(u2f_signed(made))), "x5c": [leaf]}


# --- android-safetynet ----------------------------------------------------------------------------------------------


def safetynet_payload(made: Made, made_at: datetime) -> dict[str, Any]:
    """The members that the service wrote."""
    return {
        "nonce": b64encode(made.nonce).decode(),
        "timestampMs": (made_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1),
        "apkPackageName": "com.google.android.gms",
        "apkDigestSha256": b64encode(bytes(32)).decode(),
        "ctsProfileMatch": True,
        "apkCertificateDigestSha256": [b64encode(bytes(32)).decode()],
        "basicIntegrity": True,
    }


def jose_signature(key: KeyPair, text: bytes) -> bytes:
    """RFC 7518 section 3.4: the two numbers of an ECDSA signature, joined."""
    signature = key.sign(text)
    if not isinstance(key.private, ec.EllipticCurvePrivateKey):
        return signature
    return b"".join(
        number.to_bytes((key.private.key_size + 7) // 8, "big") for number in decode_dss_signature(signature)
    )


def make_jws(
    payload: bytes, path: list[bytes], *, key: KeyPair, alg: str, sign: Callable[[bytes], bytes] | None = None
) -> bytes:
    """A compact JWS."""
    header = json.dumps({"alg": alg, "x5c": [b64encode(certificate).decode() for certificate in path]})
    text = f"{b64u(header.encode())}.{b64u(payload)}".encode()
    return text + b"." + b64u(sign(text) if sign else jose_signature(key, text)).encode()


def make_safetynet(
    made: Made,
    *,
    made_at: datetime | None = None,
    ver: Any = "14799021",
    changes: dict[str, Any] | None = None,
    edit_payload: Callable[[bytes], bytes] = bytes,
    edit_response: Callable[[bytes], Any] = bytes,
    alg: str = "RS256",
    key: KeyPair | None = None,
    sign: Callable[[bytes], bytes] | None = None,
    names: tuple[str, ...] = (SAFETYNET_HOST,),
    leaf_key: Any = None,
    with_root: bool = True,
    **certificate: Any,
) -> Statement:
    """A statement of the format `android-safetynet`.

    Args:
        made_at: instant of the answer; None takes that of the wall clock.
        changes: members of the payload; None as a value leaves one out.
        names: dNSNames of the leaf; none leaves the extension out.
        key: what signs; the certificate is for it, unless ``leaf_key`` is another private key.
    """
    key = key or KeyPair(-257, rsa_key())
    members = safetynet_payload(made, made_at or datetime.now(UTC)) | (changes or {})
    payload = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
    host = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    leaf = issue(
        leaf_key or key.private, ((host, False),) if names else (), **{"common_name": SAFETYNET_HOST} | certificate
    )
    path = [leaf, maker().der] if with_root else [leaf]
    response = make_jws(edit_payload(payload), path, key=key, alg=alg, sign=sign)
    return {"ver": ver, "response": edit_response(response)}


MAKERS: dict[str, Callable[..., Statement]] = {
    "apple": make_apple,
    "fido-u2f": make_u2f,
    "android-safetynet": make_safetynet,
    "android-key": make_android_key,
    "tpm": make_tpm,
    "compound": make_compound,
}
"""Format → maker of its statement."""
