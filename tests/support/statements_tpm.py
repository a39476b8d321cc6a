"""Statements of the format `tpm`: what a TPM and its AIK say of a credential's key (TPM 2.0 Library, Part 2).

Honest by default; every field of both structures and of the certificate is a keyword.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from tests.support.authenticator import (
    AAGUID_EXTENSION,
    NOT_AFTER,
    NOT_BEFORE,
    KeyPair,
    Lots,
    make_certificate,
    make_key_pair,
    maker,
)

if TYPE_CHECKING:
    from tests.support.statements import Made

AIK = make_key_pair(-7, Lots("AIK"))
RS1 = -65535

AIK_USAGE = ObjectIdentifier("2.23.133.8.3")
MANUFACTURER, MODEL, VERSION = (ObjectIdentifier(f"2.23.133.2.{n}") for n in (1, 2, 3))
INFINEON = "id:49465800"
CLOCK_INFO = bytes(range(17))

_HASHES = {-7: "sha256", -35: "sha384", -36: "sha512", -257: "sha256", -258: "sha384", -259: "sha512", RS1: "sha1"}
_NAME_ALGS = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_CURVES = {"secp256r1": 3, "secp384r1": 4, "secp521r1": 5}


def u8(number: int) -> bytes:
    return number.to_bytes(1, "big")


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def sized(content: bytes, size: int | None = None) -> bytes:
    """TPM2B; ``size`` is what it claims to have."""
    return u16(len(content) if size is None else size) + content


def public_area(
    key: Any,
    *,
    kind: int | None = None,
    name_alg: int = 0x000B,
    attributes: int = 0x0006_0472,
    policy: bytes = b"",
    symmetric: int = 0x0010,
    scheme: bytes = u16(0x0010),
    curve: int | None = None,
    kdf: int = 0x0010,
    bits: int | None = None,
    exponent: int = 0,
    unique: bytes | None = None,
) -> bytes:
    """TPMT_PUBLIC of a public key."""
    is_ecc = isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    head = u16((0x0023 if is_ecc else 0x0001) if kind is None else kind) + u16(name_alg) + u32(attributes)
    head += sized(policy) + u16(symmetric) + scheme
    if is_ecc:
        size = (key.curve.key_size + 7) // 8
        point = sized(numbers.x.to_bytes(size, "big")) + sized(numbers.y.to_bytes(size, "big"))
        head += u16(_CURVES[key.curve.name] if curve is None else curve) + u16(kdf)
        return head + (point if unique is None else unique)
    head += u16(key.key_size if bits is None else bits) + u32(exponent)
    return head + (sized(numbers.n.to_bytes(key.key_size // 8, "big")) if unique is None else unique)


def name_of_area(area: bytes) -> bytes:
    """nameAlg and the hash of the area (Part 1 section 16)."""
    return area[2:4] + hashlib.new(_NAME_ALGS[int.from_bytes(area[2:4], "big")], area).digest()


def attest(
    *,
    magic: int = 0xFF544347,
    kind: int = 0x8017,
    signer: bytes = b"\x00\x0b" + bytes(32),
    extra_data: bytes,
    clock_info: bytes = CLOCK_INFO,
    firmware: bytes = bytes(8),
    name: bytes,
    qualified_name: bytes = b"\x00\x0b" + bytes(32),
) -> bytes:
    """TPMS_ATTEST of a certification."""
    head = u32(magic) + u16(kind) + sized(signer) + sized(extra_data) + clock_info + firmware
    return head + sized(name) + sized(qualified_name)


def tpm_name(
    *, manufacturer: str | None = INFINEON, model: str | None = "SLB 9670", version: str | None = "id:13"
) -> x509.GeneralName:
    """The directory name that says what the TPM is."""
    pairs = ((MANUFACTURER, manufacturer), (MODEL, model), (VERSION, version))
    return x509.DirectoryName(x509.Name([x509.NameAttribute(oid, v) for oid, v in pairs if v is not None]))


def aik_certificate(
    key: Any,
    *,
    subject: x509.Name = x509.Name([]),  # noqa: B008 - names do not change
    names: tuple[x509.GeneralName, ...] | None = None,
    usages: tuple[ObjectIdentifier, ...] = (AIK_USAGE,),
    ca: bool | None = False,
    aaguid: bytes | None = None,
    aaguid_critical: bool = False,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    root: str = "Narthex Test Root",
) -> bytes:
    """The certificate of an AIK, in DER; () leaves the names or the usages out."""
    names = (tpm_name(),) if names is None else names
    if names:
        extensions = (*extensions, (x509.SubjectAlternativeName(names), True))
    if usages:
        extensions = (*extensions, (x509.ExtendedKeyUsage(usages), False))
    if aaguid is not None:
        value = x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04\x10" + aaguid)
        extensions = (*extensions, (value, aaguid_critical))
    issuer = maker(root)
    return make_certificate(
        key,
        subject=subject,
        issuer=issuer.certificate.subject,
        issuer_key=issuer.key,
        ca=ca,
        not_before=not_before,
        not_after=not_after,
        extensions=extensions,
    ).public_bytes(Encoding.DER)


def sign(key: KeyPair, message: bytes) -> bytes:
    if key.alg == RS1:
        return key.private.sign(message, padding.PKCS1v15(), SHA1())
    return key.sign(message)


def make_tpm(
    made: Made,
    *,
    aik: KeyPair = AIK,
    alg: int | None = None,
    ver: Any = "2.0",
    key: Any = None,
    area: Mapping[str, Any] | None = None,
    edit_area: Callable[[bytes], bytes] = bytes,
    info: Mapping[str, Any] | None = None,
    edit_info: Callable[[bytes], bytes] = bytes,
    leaf_key: Any = None,
    with_root: bool = False,
    **certificate: Any,
) -> dict[str, Any]:
    """A statement of the format `tpm`.

    Args:
        aik: what signs; the certificate is for it, unless ``leaf_key`` is another private key.
        alg: what the statement names, if it is not the AIK's algorithm.
        key: public key that is certified instead of the credential's.
        area, info: keywords of ``public_area`` and ``attest``; the edits come after them and before what signs them.
    """
    public = edit_area(public_area(key or made.key.private.public_key(), **(area or {})))
    extra_data = hashlib.new(_HASHES[aik.alg], made.data + made.client_data_hash).digest()
    fields = {"extra_data": extra_data, "name": name_of_area(public)} | dict(info or {})
    cert_info = edit_info(attest(**fields))
    leaf = aik_certificate(leaf_key or aik.private, **certificate)
    return {
        "ver": ver,
        "alg": aik.alg if alg is None else alg,
        "x5c": [leaf, maker().der] if with_root else [leaf],
        "sig": sign(aik, cert_info),
        "certInfo": cert_info,
        "pubArea": public,
    }
