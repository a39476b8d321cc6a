"""The format `packed` (L3 #sctn-packed-attestation): signed by the new key itself, or by the maker's certificate.

Beyond the spec: the statement has no member but ``alg``, ``sig`` and ``x5c``, so ``ecdaaKeyId`` of Level 1 is refused;
and the certificate's key is of the very type and curve that ``alg`` asks of a credential key.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from narthex.webauthn.attestation.statement import (
    Attestation,
    AttestationType,
    Evidence,
    get_algorithm_id,
    get_bytes,
    get_certificates,
)
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.authenticator_data import AttestedCredentialData
from narthex.webauthn.cose import PublicKey, bind_key, parse_public_key
from narthex.webauthn.errors import (
    AaguidMismatch,
    AttestationAlgorithmMismatch,
    AttestationCertificateInvalid,
    AttestationSignatureInvalid,
    AttestationStatementMalformed,
    SignatureInvalid,
)
from narthex.webauthn.trust import Certificate, parse_certificate

ID_FIDO_GEN_CE_AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_SELF_MEMBERS = frozenset({"alg", "sig"})
_CERTIFIED_MEMBERS = frozenset({"alg", "sig", "x5c"})


def verify_packed(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a packed statement.

    Raises:
        AttestationStatementMalformed, AlgorithmUnsupported, AttestationAlgorithmMismatch,
        AttestationSignatureInvalid, CertificateMalformed, AttestationCertificateInvalid, AaguidMismatch.
    """
    if statement.keys() == _SELF_MEMBERS:
        return _verify_self(statement, evidence.attested, evidence.signed)
    if statement.keys() == _CERTIFIED_MEMBERS:
        return _verify_certified(statement, evidence.attested, evidence.signed)
    raise AttestationStatementMalformed("packed statement has not exactly `alg`, `sig` and perhaps `x5c`")


def _verify_self(statement: Statement, attested: AttestedCredentialData, signed: bytes) -> Attestation:
    key = parse_public_key(attested.public_key)
    if get_algorithm_id(statement) != key.alg:
        raise AttestationAlgorithmMismatch("packed statement names another algorithm than the credential has")
    _check_signature(key, get_bytes(statement, "sig"), signed)
    return Attestation("packed", AttestationType.SELF)


def _verify_certified(statement: Statement, attested: AttestedCredentialData, signed: bytes) -> Attestation:
    path = get_certificates(statement)
    certificate = parse_certificate(path[0])
    key = bind_key(get_algorithm_id(statement), certificate.public_key)
    if key is None:
        raise AttestationAlgorithmMismatch("packed statement names an algorithm that its certificate's key cannot use")
    _check_signature(key, get_bytes(statement, "sig"), signed)
    check_certificate(certificate, attested.aaguid)
    return Attestation("packed", AttestationType.BASIC, path)


def _check_signature(key: PublicKey, signature: bytes, signed: bytes) -> None:
    try:
        key.verify(signature, signed)
    except SignatureInvalid as e:
        raise AttestationSignatureInvalid("attestation signature does not fit the credential") from e


def check_certificate(certificate: Certificate, aaguid: bytes) -> None:
    """Check L3 #sctn-packed-attestation-cert-requirements, except for trust, which is the path's affair.

    Raises:
        AttestationCertificateInvalid, AaguidMismatch.
    """
    if certificate.parsed.version is not x509.Version.v3:
        raise AttestationCertificateInvalid("attestation certificate is not of version 3")
    _check_subject(certificate.subject)
    constraints = certificate.find_extension(x509.BasicConstraints.oid)
    if constraints is None or certificate.ca:
        raise AttestationCertificateInvalid("attestation certificate does not say that it is no CA")
    _check_aaguid(certificate, aaguid)


def _check_subject(subject: x509.Name) -> None:
    country = _single(subject, NameOID.COUNTRY_NAME)
    if len(country) != 2 or not (country.isascii() and country.isalpha()):
        raise AttestationCertificateInvalid("attestation certificate has no ISO 3166 country")
    if not _single(subject, NameOID.ORGANIZATION_NAME) or not _single(subject, NameOID.COMMON_NAME):
        raise AttestationCertificateInvalid("attestation certificate names no organization, or has no common name")
    if _single(subject, NameOID.ORGANIZATIONAL_UNIT_NAME) != "Authenticator Attestation":
        raise AttestationCertificateInvalid("attestation certificate is not of unit `Authenticator Attestation`")


def _single(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    """The value of an attribute that occurs once; empty if it does not."""
    values = [attribute.value for attribute in subject.get_attributes_for_oid(oid)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _check_aaguid(certificate: Certificate, aaguid: bytes) -> None:
    extension = certificate.find_extension(ID_FIDO_GEN_CE_AAGUID)
    if extension is None:
        return
    if extension.critical:
        raise AttestationCertificateInvalid("attestation certificate marks its AAGUID as critical")
    value = extension.value
    # The extension wraps a DER OCTET STRING of 16 bytes in the OCTET STRING that every extension is.
    if not isinstance(value, x509.UnrecognizedExtension) or value.value != b"\x04\x10" + aaguid:
        raise AaguidMismatch("attestation certificate was issued for another AAGUID")
