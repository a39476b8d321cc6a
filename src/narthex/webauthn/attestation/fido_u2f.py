"""The format `fido-u2f` (L3 #sctn-fido-u2f-attestation): security keys from before CTAP2.

Such a key knows neither authenticator data nor AAGUIDs. It signs the hash of the rp id, the hash of the client data,
the credential id and the public key; the browser writes the rest around them. So flags, counter and AAGUID are not
signed: the model is told by the certificate (``trust.key_identifier``), never by the AAGUID.

CTAP 2.1 #u2f-authenticatorMakeCredential-interoperability asks the browser for an AAGUID of zeros. Another one is let
through, as Level 3 does, and is nobody's word: the certificate does not cover it, so a verified registration does not
tell it, and a part of a compound statement is not judged for trust.

Beyond the spec: the credential's key is one of ES256, the only algorithm of U2F.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from narthex.webauthn.attestation.attested_key import check_signature
from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, get_bytes, get_certificates
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.cose import PublicKey, bind_key, parse_public_key
from narthex.webauthn.errors import (
    AttestationAlgorithmMismatch,
    AttestationCertificateInvalid,
    AttestationStatementMalformed,
)
from narthex.webauthn.trust import parse_certificate

ES256 = -7


def verify_fido_u2f(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a U2F statement.

    Raises:
        AttestationStatementMalformed, CertificateMalformed, AttestationCertificateInvalid,
        AttestationAlgorithmMismatch, AttestationSignatureInvalid.
    """
    if statement.keys() != {"sig", "x5c"}:
        raise AttestationStatementMalformed("fido-u2f statement has not exactly `sig` and `x5c`")
    path = get_certificates(statement)
    if len(path) != 1:
        raise AttestationStatementMalformed("fido-u2f statement has more than one certificate")
    key = _get_key(path[0])
    check_signature(key, get_bytes(statement, "sig"), _verification_data(evidence))
    return Attestation("fido-u2f", AttestationType.BASIC, path, covers_aaguid=False)


def _get_key(der: bytes) -> PublicKey:
    """Certificate public key."""
    key = bind_key(ES256, parse_certificate(der).public_key)
    if key is None:
        raise AttestationCertificateInvalid("attestation certificate has a key that is not on P-256")
    return key


def _verification_data(evidence: Evidence) -> bytes:
    """verificationData."""
    attested, rp_id_hash = evidence.attested, evidence.data.rp_id_hash
    key = _u2f_key(attested.public_key)
    return b"\0" + rp_id_hash + evidence.client_data_hash + attested.credential_id + key


def _u2f_key(raw: bytes) -> bytes:
    """publicKeyU2F: the uncompressed point of ANSI X9.62."""
    key = parse_public_key(raw)
    if key.alg != ES256:
        raise AttestationAlgorithmMismatch("fido-u2f statement is about a key that is not of ES256")
    point: bytes = key.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return point
