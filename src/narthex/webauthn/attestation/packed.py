"""The format `packed` (L3 #sctn-packed-attestation): signed by the new key itself, or by the maker's certificate.

Beyond the spec: the statement has no member but ``alg``, ``sig`` and ``x5c``, so ``ecdaaKeyId`` of Level 1 is refused;
and the certificate's key is of the very type and curve that ``alg`` asks of a credential key.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from narthex.webauthn.attestation.attested_key import check_signature
from narthex.webauthn.attestation.certificate import check_aaguid, check_end_entity, single_value
from narthex.webauthn.attestation.statement import (
    Attestation,
    AttestationType,
    Evidence,
    get_algorithm_id,
    get_bytes,
    get_certificates,
)
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.cose import bind_key, parse_public_key
from narthex.webauthn.errors import (
    AttestationAlgorithmMismatch,
    AttestationCertificateInvalid,
    AttestationStatementMalformed,
)
from narthex.webauthn.trust import parse_certificate

_SELF_MEMBERS = frozenset({"alg", "sig"})
_CERTIFIED_MEMBERS = frozenset({"alg", "sig", "x5c"})


def verify_packed(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a packed statement.

    Raises:
        AttestationStatementMalformed, AlgorithmUnsupported, AttestationAlgorithmMismatch,
        AttestationSignatureInvalid, CertificateMalformed, AttestationCertificateInvalid, AaguidMismatch.
    """
    if statement.keys() == _SELF_MEMBERS:
        return _verify_self(statement, evidence)
    if statement.keys() == _CERTIFIED_MEMBERS:
        return _verify_certified(statement, evidence)
    raise AttestationStatementMalformed("packed statement has not exactly `alg`, `sig` and perhaps `x5c`")


def _verify_self(statement: Statement, evidence: Evidence) -> Attestation:
    key = parse_public_key(evidence.attested.public_key)
    if get_algorithm_id(statement) != key.alg:
        raise AttestationAlgorithmMismatch("packed statement names another algorithm than the credential has")
    check_signature(key, get_bytes(statement, "sig"), evidence.signed)
    return Attestation("packed", AttestationType.SELF)


def _verify_certified(statement: Statement, evidence: Evidence) -> Attestation:
    path = get_certificates(statement)
    certificate = parse_certificate(path[0])
    key = bind_key(get_algorithm_id(statement), certificate.public_key)
    check_signature(key, get_bytes(statement, "sig"), evidence.signed)
    _check_certificate(path[0])
    check_aaguid(certificate, evidence.attested.aaguid)
    return Attestation("packed", AttestationType.BASIC, path)


@lru_cache(maxsize=256)
def _check_certificate(der: bytes) -> None:
    """L3 #sctn-packed-attestation-cert-requirements, but for the AAGUID. Those of a model come again and again."""
    certificate = parse_certificate(der)
    check_end_entity(certificate)
    _check_subject(certificate.subject)


def _check_subject(subject: x509.Name) -> None:
    country = single_value([subject], NameOID.COUNTRY_NAME)
    if len(country) != 2 or not (country.isascii() and country.isalpha()):
        raise AttestationCertificateInvalid("attestation certificate has no ISO 3166 country")
    if not single_value([subject], NameOID.ORGANIZATION_NAME) or not single_value([subject], NameOID.COMMON_NAME):
        raise AttestationCertificateInvalid("attestation certificate names no organization, or has no common name")
    if single_value([subject], NameOID.ORGANIZATIONAL_UNIT_NAME) != "Authenticator Attestation":
        raise AttestationCertificateInvalid("attestation certificate is not of unit `Authenticator Attestation`")
