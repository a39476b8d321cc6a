"""The format `apple` (L3 #sctn-apple-anonymous-attestation): a certificate made for this credential alone.

There is no signature in the statement. Apple's CA certifies the credential's own key and writes into the certificate
what the key was made for, so that whoever trusts the CA needs nothing else.

Devices of autumn 2020 sent an ``alg`` as well, which says nothing that the certificate does not; it is let through for
their records' sake (docs/divergences.md).

Beyond the spec: the statement has no other member beside ``x5c``, and the extension is DER to the last byte.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509

from narthex.webauthn.attestation.attested_key import check_same_key
from narthex.webauthn.attestation.statement import (
    Attestation,
    AttestationType,
    Evidence,
    get_algorithm_id,
    get_certificates,
)
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.errors import AttestationNonceMismatch, AttestationStatementMalformed
from narthex.webauthn.trust import Certificate, parse_certificate

NONCE_EXTENSION = x509.ObjectIdentifier("1.2.840.113635.100.8.2")
# SEQUENCE { [1] { OCTET STRING of 32 bytes } }: all of these lengths are fixed, so there is nothing to parse.
_BEFORE_NONCE = bytes.fromhex("3024a1220420")


def verify_apple(statement: Statement, evidence: Evidence) -> Attestation:
    """Check an Apple anonymous statement.

    Raises:
        AttestationStatementMalformed, CertificateMalformed, AttestationNonceMismatch, AttestationKeyMismatch.
    """
    if statement.keys() - {"alg"} != {"x5c"}:
        raise AttestationStatementMalformed("apple statement has not exactly `x5c` and perhaps `alg`")
    if "alg" in statement:
        get_algorithm_id(statement)
    path = get_certificates(statement)
    certificate = parse_certificate(path[0])
    _check_nonce(certificate, sha256(evidence.signed).digest())
    check_same_key(certificate, evidence.attested.public_key)
    return Attestation("apple", AttestationType.ANONYMOUS_CA, path)


def _check_nonce(certificate: Certificate, nonce: bytes) -> None:
    """nonce: the hash of nonceToHash, which is authData and clientDataHash."""
    if certificate.find_unread(NONCE_EXTENSION) != _BEFORE_NONCE + nonce:
        raise AttestationNonceMismatch("attestation certificate has no nonce, or was made for another registration")
