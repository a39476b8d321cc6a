"""The format `apple` (L3 #sctn-apple-anonymous-attestation): a certificate made for this credential alone.

There is no signature in the statement. Apple's CA certifies the credential's own key and writes into the certificate
what the key was made for, so that whoever trusts the CA needs nothing else.

Beyond the spec: the statement has no member but ``x5c``, and the extension is DER to the last byte.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509

from narthex.webauthn.attestation.attested_key import load_credential_key
from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, get_certificates
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.errors import AttestationKeyMismatch, AttestationNonceMismatch, AttestationStatementMalformed
from narthex.webauthn.trust import Certificate, parse_certificate

NONCE_EXTENSION = x509.ObjectIdentifier("1.2.840.113635.100.8.2")
# SEQUENCE { [1] { OCTET STRING of 32 bytes } }: all of these lengths are fixed, so there is nothing to parse.
_BEFORE_NONCE = bytes.fromhex("3024a1220420")


def verify_apple(statement: Statement, evidence: Evidence) -> Attestation:
    """Check an Apple anonymous statement.

    Raises:
        AttestationStatementMalformed, CertificateMalformed, AttestationNonceMismatch, AttestationKeyMismatch.
    """
    if statement.keys() != {"x5c"}:
        raise AttestationStatementMalformed("apple statement has not exactly `x5c`")
    path = get_certificates(statement)
    certificate = parse_certificate(path[0])
    _check_nonce(certificate, sha256(evidence.signed).digest())
    if certificate.public_key != load_credential_key(evidence.attested.public_key):
        raise AttestationKeyMismatch("attestation certificate is for another key than the credential's")
    return Attestation("apple", AttestationType.ANONYMOUS_CA, path)


def _check_nonce(certificate: Certificate, nonce: bytes) -> None:
    """nonce: the hash of nonceToHash, which is authData and clientDataHash."""
    extension = certificate.find_extension(NONCE_EXTENSION)
    if extension is None or not isinstance(extension.value, x509.UnrecognizedExtension):
        raise AttestationNonceMismatch("attestation certificate has no nonce")
    if extension.value.value != _BEFORE_NONCE + nonce:
        raise AttestationNonceMismatch("attestation certificate was made for another registration")
