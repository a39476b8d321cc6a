"""X.509 trust paths, as far as attestation needs them.

Attestation certificates name models, not hosts, so the web's path validation (which wants a subject alternative
name) does not fit and the walk is made by hand, after RFC 5280 section 6.1: names, signatures, dates, who may issue,
how long the path may be, and no critical extension that we do not understand. Revocation lists are not fetched: the
metadata service says which models are no longer trusted.

A path comes leaf first, may include or omit its root, and is judged twice. By itself: each certificate must be valid
now and issued by the next, else TrustPathInvalid. Against the anchors: a fact, not a refusal, because what to do
about an unknown maker is policy. An anchor is a certificate that we were told to trust: a root, an intermediate, or
the leaf itself (L3 #sctn-registering-a-new-credential, "is itself an acceptable certificate").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.x509.oid import ExtensionOID

from narthex.webauthn.cose import RSA_MIN_BITS
from narthex.webauthn.errors import CertificateMalformed, TrustPathInvalid

MAX_PATH_CERTIFICATES = 8
MAX_CERTIFICATE_BYTES = 16_384

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        # Nobody here asks for a policy, so any will do (RFC 5280 section 6.1.1, any-policy); what a policy adds is a
        # notice to be shown. The certificates of TPMs have it, critical.
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
# Beyond the spec: SHA-1 and MD5 signatures prove nothing any more. Edwards curves have no separate hash (None).
_SOUND_HASHES = (SHA256, SHA384, SHA512, type(None))
_READ_ERRORS = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    UserWarning,  # cryptography warns of odd certificates; where warnings are errors this is a refusal like the others
)


ExtensionValue = TypeVar("ExtensionValue", bound=x509.ExtensionType)


class TrustVerdict(StrEnum):
    """What following the trust path showed."""

    NO_PATH = "no-path"
    """There are no certificates: attestation `none` or `self`."""
    UNCERTAIN = "uncertain"
    """The path is sound, and we know no anchors to hold it against."""
    UNANCHORED = "unanchored"
    """The path is sound and leads to none of the anchors."""
    ANCHORED = "anchored"
    """The path leads to an anchor."""


class Trust(msgspec.Struct, frozen=True):
    """The verdict, and the anchor that was reached."""

    verdict: TrustVerdict
    anchor: bytes | None = None
    """DER of the anchor; None unless anchored."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate read to the end, so that nothing in it can surprise a later check."""

    raw: bytes
    parsed: x509.Certificate
    subject: x509.Name
    extensions: x509.Extensions
    public_key: object
    ca: bool
    path_length: int | None
    may_sign_certificates: bool
    """True also where the key usage is not restricted."""

    def find_extension(self, oid: x509.ObjectIdentifier) -> x509.Extension[x509.ExtensionType] | None:
        return next((e for e in self.extensions if e.oid == oid), None)

    def find_value(self, kind: type[ExtensionValue]) -> ExtensionValue | None:
        """The value of an extension that the certificate library knows."""
        return next((e.value for e in self.extensions if isinstance(e.value, kind)), None)

    def find_unread(self, oid: x509.ObjectIdentifier) -> bytes | None:
        """The value of an extension that the certificate library does not know."""
        extension = self.find_extension(oid)
        value = extension.value if extension is not None else None
        return value.value if isinstance(value, x509.UnrecognizedExtension) else None


@lru_cache(maxsize=256)
def parse_certificate(der: bytes) -> Certificate:
    """Read one certificate.

    Raises:
        CertificateMalformed: the bytes are no certificate, or hold something that cannot be read.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateMalformed(f"certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return _read_certificate(der)
    except _READ_ERRORS as e:
        raise CertificateMalformed("certificate cannot be read") from e


def key_identifier(der: bytes) -> bytes:
    """The 20 bytes by which metadata names a U2F model: SHA-1 of the bits of the certificate's public key.

    RFC 5280 section 4.2.1.2, method 1; FIDO MDS v3, attestationCertificateKeyIdentifiers. It is computed, because the
    certificate's own extension may hold anything. A name, not a proof: SHA-1 is enough for a lookup.

    Raises:
        CertificateMalformed.
    """
    return x509.SubjectKeyIdentifier.from_public_key(parse_certificate(der).parsed.public_key()).digest


def verify_trust_path(path: Sequence[bytes], *, anchors: Collection[bytes], now: datetime) -> Trust:
    """Judge a trust path.

    Args:
        path: DER certificates, leaf first; empty when the attestation has none.
        anchors: DER certificates; empty when none are known for this authenticator.
        now: instant of the call, UTC.
    Raises:
        CertificateMalformed: a certificate of the path, or an anchor, cannot be read.
        TrustPathInvalid: the path is broken in itself.
    """
    if not path:
        return Trust(TrustVerdict.NO_PATH)
    if len(path) > MAX_PATH_CERTIFICATES:
        raise TrustPathInvalid(f"trust path has more than {MAX_PATH_CERTIFICATES} certificates")
    certificates = [parse_certificate(der) for der in path]
    _check_path(certificates, now)
    if not anchors:
        return Trust(TrustVerdict.UNCERTAIN)
    return _find_anchor(certificates, [parse_certificate(der) for der in anchors], now)


def _check_path(path: Sequence[Certificate], now: datetime) -> None:
    for at, certificate in enumerate(path):
        _check_certificate(certificate, now)
        if at:
            _check_issued(path[at - 1], by=certificate, below=_intermediates_in(path[1:at]))


def _find_anchor(path: Sequence[Certificate], anchors: Sequence[Certificate], now: datetime) -> Trust:
    for at, certificate in enumerate(path):
        for anchor in anchors:
            if certificate.raw == anchor.raw or _is_issued_by(certificate, anchor, path[1 : at + 1], now):
                return Trust(TrustVerdict.ANCHORED, anchor.raw)
    return Trust(TrustVerdict.UNANCHORED)


def _is_issued_by(
    certificate: Certificate, anchor: Certificate, above_leaf: Sequence[Certificate], now: datetime
) -> bool:
    try:
        _check_certificate(anchor, now)
        _check_issued(certificate, by=anchor, below=_intermediates_in(above_leaf))
    except TrustPathInvalid:
        return False
    return True


def _intermediates_in(path: Sequence[Certificate]) -> int:
    """Count what a path length constraint counts: issuers that are not self-issued (RFC 5280 section 4.2.1.9)."""
    return sum(certificate.parsed.issuer != certificate.subject for certificate in path)


def _check_certificate(certificate: Certificate, now: datetime) -> None:
    if not certificate.parsed.not_valid_before_utc <= now <= certificate.parsed.not_valid_after_utc:
        raise TrustPathInvalid("trust path has a certificate that is not valid now")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise TrustPathInvalid(f"trust path has an unknown critical extension `{extension.oid.dotted_string}`")


def _check_issued(certificate: Certificate, *, by: Certificate, below: int) -> None:
    if not by.ca or not by.may_sign_certificates:
        raise TrustPathInvalid("trust path has an issuer that may not issue certificates")
    if by.path_length is not None and below > by.path_length:
        raise TrustPathInvalid("trust path is longer than one of its issuers allows")
    if isinstance(by.public_key, rsa.RSAPublicKey) and by.public_key.key_size < RSA_MIN_BITS:
        raise TrustPathInvalid(f"trust path has an issuer whose RSA key is shorter than {RSA_MIN_BITS} bits")
    _check_signed(certificate.raw, by.raw)


@lru_cache(maxsize=256)
def _check_signed(der: bytes, by: bytes) -> None:
    """Check name and signature. That holds once and for all, so it is remembered; a refusal is not."""
    certificate, issuer = parse_certificate(der).parsed, parse_certificate(by).parsed
    try:
        if not isinstance(certificate.signature_hash_algorithm, _SOUND_HASHES):
            raise TrustPathInvalid("trust path has a signature over a hash that is broken")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as e:
        raise TrustPathInvalid("trust path has a certificate that the next one did not issue") from e


def _read_certificate(der: bytes) -> Certificate:
    certificate = x509.load_der_x509_certificate(der)
    # The bit string around the signature must use all its bits: the only byte of a certificate that neither the
    # signature nor the parser covers.
    if not der.endswith(b"\0" + certificate.signature):
        raise ValueError("signature is not a whole number of bytes")
    extensions = certificate.extensions
    constraints = next((e.value for e in extensions if isinstance(e.value, x509.BasicConstraints)), None)
    usage = next((e.value for e in extensions if isinstance(e.value, x509.KeyUsage)), None)
    # Names and dates are parsed when they are first asked for: ask here, where the errors are caught.
    _ = certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.version
    return Certificate(
        der,
        certificate,
        certificate.subject,
        extensions,
        certificate.public_key(),
        ca=constraints is not None and constraints.ca,
        path_length=constraints.path_length if constraints is not None else None,
        may_sign_certificates=usage is None or usage.key_cert_sign,
    )
