"""Signed texts: a compact JWS that brings its own certificates.

Two things in this room arrive so: the metadata blob (FIDO MDS v3, Metadata BLOB) and the SafetyNet answer (WebAuthn
L3 #sctn-android-safetynet-attestation). Both name an algorithm and carry ``x5c``; both are signed by the key of the
first certificate. Whether those certificates deserve trust is the caller's question: ``trust`` answers it.

RFC 7515 and RFC 8725. The caller pins the algorithms, and the leaf's key must be one that the algorithm may use, by
the same table as credential keys (``cose``); so neither ``none`` nor a MAC keyed with a public key can pass. Header
members that we do not know are ignored, as RFC 7515 section 4 asks, but for those below.

Beyond the spec: every part has one spelling (unused bits are zero), no header member comes twice, and whatever would
name another key (``jwk``, ``jku``, ``x5u``), another reading of the payload (``b64``), or something that must be
understood (``crit``) is refused rather than ignored.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Collection

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from narthex.base.errors import Malformed, Rejected, quoted
from narthex.base.values import from_base64url
from narthex.webauthn.cose import ALGORITHMS
from narthex.webauthn.strict_json import strict_decoder
from narthex.webauthn.trust import MAX_CERTIFICATE_BYTES, MAX_PATH_CERTIFICATES, parse_certificate

MAX_HEADER_BYTES = 256 * 1024
"""Eight certificates of the greatest size, in base64 twice, fit."""
MAX_SIGNATURE_BYTES = 1024
"""An RSA signature by a key of 8192 bits."""

_REFUSED_MEMBERS = ("crit", "b64", "jwk", "jku", "x5u")
# The algorithms of RFC 7518 have the names of their COSE rows; the other rows (EdDSA, ML-DSA, …) are not pinned here.
_JOSE = {
    row.name: row
    for row in ALGORITHMS.values()
    if row.name in {f"{family}{bits}" for family in ("ES", "RS", "PS") for bits in (256, 384, 512)}
}

Header = dict[str, object]


class JwsMalformed(Malformed):
    """The bytes are not a compact JWS that carries its certificates."""

    code, spec = "jws-malformed", "RFC 7515 sections 3.1, 4.1 and 5.2"
    advice = "fetch the signed text again, and pass it on byte for byte"


class JwsAlgorithmNotAllowed(Rejected):
    """The JWS names an algorithm that is not pinned here, or that its certificate's key cannot use."""

    code, spec = "jws-algorithm-not-allowed", "RFC 8725 sections 3.1 and 3.2"
    advice = "fetch the signed text again from whoever signs it; if it comes out the same, tell them"


class JwsSignatureInvalid(Rejected):
    """The signature of the JWS was not made over this text by the key of its first certificate."""

    code, spec = "jws-signature-invalid", "RFC 7515 section 5.2"
    advice = "fetch the signed text again: it was altered or cut on its way"


class SignedText(msgspec.Struct, frozen=True):
    """A payload, and the certificates of whoever signed it."""

    payload: bytes
    path: tuple[bytes, ...]
    """DER, leaf first. The leaf's key made the signature; nobody has judged the path yet."""


def verify_jws(compact: bytes, *, algorithms: Collection[str]) -> SignedText:
    """Check the signature of a compact JWS with the key of its own leaf certificate.

    Args:
        compact: three parts of base64url; the caller bounds its size.
        algorithms: the pinned names, of ES256 … ES512, RS256 … RS512 and PS256 … PS512; any other is never met.
    Raises:
        JwsMalformed, CertificateMalformed: it cannot be read.
        JwsAlgorithmNotAllowed, JwsSignatureInvalid.
    """
    header_part, payload_part, signature_part = _split(compact)
    header = _parse_header(_decoded(header_part))
    alg = _pinned(header, algorithms)
    path = _path(header)
    payload = _decoded(payload_part)
    _decoded(signature_part)
    _check_signature(alg, path[0], header_part, payload_part, signature_part)
    return SignedText(payload, path)


def parse_path(compact: bytes) -> tuple[bytes, ...]:
    """Read the certificates that a compact JWS carries. Nothing is verified: they are whatever somebody wrote.

    Raises:
        JwsMalformed.
    """
    return _path(_parse_header(_decoded(_split(compact)[0])))


def _split(compact: bytes) -> list[bytes]:
    if compact.count(b".") != 2:
        raise JwsMalformed("signed text has not three parts")
    parts = compact.split(b".")
    if len(parts[0]) > MAX_HEADER_BYTES or len(parts[2]) > MAX_SIGNATURE_BYTES * 4 // 3 + 1:
        raise JwsMalformed("signed text has a header or a signature that is too large")
    return parts


def _decoded(part: bytes) -> bytes:
    try:
        return from_base64url(part)
    except Malformed as e:
        raise JwsMalformed(f"signed text has a part that is not canonical: {e.message}") from e


def _parse_header(raw: bytes) -> Header:
    try:
        header = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError) as e:
        raise JwsMalformed("signed text has a header that is not JSON") from e
    if not isinstance(header, dict):
        raise JwsMalformed("signed text has a header that is not a JSON object")
    for name in _REFUSED_MEMBERS:
        if name in header:
            raise JwsMalformed(f"signed text has `{name}` in its header, which is not accepted here")
    return header


_DECODER = strict_decoder(JwsMalformed, "header of the signed text")


def _pinned(header: Header, algorithms: Collection[str]) -> str:
    alg = header.get("alg")
    if not isinstance(alg, str):
        raise JwsMalformed("signed text names no algorithm")
    if alg not in algorithms or alg not in _JOSE:
        raise JwsAlgorithmNotAllowed(f"signed text uses algorithm {quoted(alg)}, which is not accepted here")
    return alg


def _path(header: Header) -> tuple[bytes, ...]:
    certificates = header.get("x5c")
    if not isinstance(certificates, list) or not 1 <= len(certificates) <= MAX_PATH_CERTIFICATES:
        raise JwsMalformed(f"signed text has not from 1 to {MAX_PATH_CERTIFICATES} certificates in `x5c`")
    return tuple(map(_certificate, certificates))


def _certificate(text: object) -> bytes:
    """Read one member of x5c: base64 with padding, not base64url (RFC 7515 section 4.1.6)."""
    if not isinstance(text, str) or len(text) > MAX_CERTIFICATE_BYTES * 4 // 3 + 4:
        raise JwsMalformed("signed text has a certificate in `x5c` that is no text, or too large")
    try:
        encoded = text.encode("ascii")
        der = a2b_base64(encoded, strict_mode=True)
    except (UnicodeEncodeError, Error) as e:
        raise JwsMalformed("signed text has a certificate in `x5c` that is not base64") from e
    if b2a_base64(der, newline=False) != encoded:
        raise JwsMalformed("signed text has a certificate in `x5c` that is not canonical base64")
    return der


def _check_signature(alg: str, leaf: bytes, header: bytes, payload: bytes, signature: bytes) -> None:
    # Imported here: a server that never meets a signed text does not pay for the library.
    from joserfc.errors import JoseError
    from joserfc.jws import CompactSignature, JWSRegistry, validate_compact

    text = CompactSignature({"alg": alg}, b"")
    text.segments = {"header": header, "payload": payload, "signature": signature}
    key = _key(alg, leaf)
    try:
        # The parts are given as they came: the library's own splitting is bounded for small tokens.
        # It types keys by algorithm, which is only known now.
        sound = validate_compact(text, key, registry=JWSRegistry(algorithms=[alg]))  # type: ignore[arg-type]
    except (JoseError, ValueError) as e:
        raise JwsSignatureInvalid("signature of the signed text cannot be checked") from e
    if not sound:
        raise JwsSignatureInvalid("signature does not fit the signed text and the key of its first certificate")


def _key(alg: str, leaf: bytes) -> object:
    """The leaf's key as the library wants it.

    Raises:
        JwsAlgorithmNotAllowed: the algorithm cannot use it: another type, another curve, too short.
    """
    from joserfc.jwk import ECKey, RSAKey

    key = parse_certificate(leaf).public_key
    if not _JOSE[alg].fits(key) or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise JwsAlgorithmNotAllowed(f"signed text uses {quoted(alg)} with a certificate whose key cannot make it")
    kind = ECKey if isinstance(key, ec.EllipticCurvePublicKey) else RSAKey
    return kind.import_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
