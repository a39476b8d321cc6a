"""Whether a certificate of a path was revoked: lists by its issuer, from wherever they come (RFC 5280 section 6.3).

A list that is sound and names the certificate counts however old it is; one that is missing, expired or unsound
absolves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from narthex.base.errors import Rejected, quoted
from narthex.webauthn.trust import Certificate

MAX_CRL_BYTES = 5 * 1024 * 1024
MAX_REVOCATION_URLS = 8


class MetadataSignerRevoked(Rejected):
    """A certificate of the metadata BLOB was revoked by its issuer."""

    code, spec = "metadata-signer-revoked", "FIDO Metadata Service v3.1 section 3.2"
    advice = "do not use this file; fetch the present one from where FIDO publishes it"


_CRL_ERRORS = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    UserWarning,  # where warnings are errors, as in the tests
)


def check_revocation(path: Sequence[Certificate], crls: Collection[bytes], now: datetime) -> bool:
    """Whether all certificates below the root are known not to be revoked.

    Raises:
        MetadataSignerRevoked: one of them is.
    """
    lists = [crl for crl in map(_parse_crl, crls) if crl is not None]
    # A list, so that each of them is looked at, whatever came of the one before it.
    covered = [_is_covered(certificate, issuer, lists, now) for certificate, issuer in pairwise(path)]
    return all(covered)


def _is_covered(
    certificate: Certificate, issuer: Certificate, lists: Sequence[x509.CertificateRevocationList], now: datetime
) -> bool:
    covered = False
    for crl in lists:
        if not _is_by(crl, issuer) or not _is_about(crl, certificate):
            continue
        if crl.get_revoked_certificate_by_serial_number(certificate.parsed.serial_number) is not None:
            raise MetadataSignerRevoked(f"certificate of {quoted(certificate.subject.rfc4514_string())} was revoked")
        covered = covered or _is_current(crl, now)
    return covered


def _parse_crl(der: bytes) -> x509.CertificateRevocationList | None:
    if len(der) > MAX_CRL_BYTES:
        return None
    try:
        crl = x509.load_der_x509_crl(der)
        # Parsed when first asked for: ask here, where the errors are caught.
        _ = crl.extensions, crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.signature_hash_algorithm
        return crl
    except _CRL_ERRORS:
        return None


def _is_by(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    usage = issuer.find_value(x509.KeyUsage)
    may_sign = usage is None or usage.crl_sign
    key = issuer.public_key
    if (
        crl.issuer != issuer.subject
        or not may_sign
        or not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    ):
        return False
    return isinstance(crl.signature_hash_algorithm, SHA256 | SHA384 | SHA512) and crl.is_signature_valid(key)


def _is_about(crl: x509.CertificateRevocationList, certificate: Certificate) -> bool:
    """Whether the list's scope includes the certificate. Lists of changes, and those for others, are left aside."""
    for extension in crl.extensions:
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            if not _is_in_scope(extension.value, certificate):
                return False
        elif extension.critical:
            return False
    return True


def _is_in_scope(scope: x509.IssuingDistributionPoint, certificate: Certificate) -> bool:
    if scope.indirect_crl or scope.only_contains_attribute_certs or scope.only_some_reasons or scope.relative_name:
        return False
    if scope.only_contains_user_certs if certificate.ca else scope.only_contains_ca_certs:
        return False
    published = {name.value for name in scope.full_name or ()}
    return not published or not published.isdisjoint(distribution_points(certificate))


def _is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    return crl.next_update_utc is not None and crl.last_update_utc <= now <= crl.next_update_utc


def distribution_points(certificate: Certificate) -> Iterator[str]:
    """The addresses at which a certificate says that its issuer publishes lists (RFC 5280 section 4.2.1.13)."""
    points = certificate.find_value(x509.CRLDistributionPoints)
    for point in points or ():
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith(("http://", "https://")):
                yield name.value
