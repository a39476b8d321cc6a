"""The format `fido-u2f` (L3 #sctn-fido-u2f-attestation): security keys from before CTAP2.

Such a key knows neither authenticator data nor AAGUIDs. It signs the hash of the rp id, the hash of the client data,
the credential id and the public key; the browser writes the rest around them. So flags, counter and AAGUID are not
signed: the model is told by the certificate (``trust.key_identifier``), never by the AAGUID.

Beyond the spec: the AAGUID is zero, which CTAP 2.1 #u2f-authenticatorMakeCredential-interoperability asks of the
browser, because any other would claim a model that nobody signed for; and the credential's key is one of ES256, the
only algorithm of U2F.
"""

from __future__ import annotations

from typing import cast

from narthex.webauthn import cbor
from narthex.webauthn.attestation.attested_key import check_signature
from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, get_bytes, get_certificates
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.cose import PublicKey, bind_key, parse_public_key
from narthex.webauthn.errors import (
    AaguidMismatch,
    AttestationAlgorithmMismatch,
    AttestationCertificateInvalid,
    AttestationStatementMalformed,
)
from narthex.webauthn.trust import parse_certificate

ES256 = -7
NO_AAGUID = bytes(16)


def verify_fido_u2f(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a U2F statement.

    Raises:
        AttestationStatementMalformed, CertificateMalformed, AttestationCertificateInvalid,
        AttestationAlgorithmMismatch, AaguidMismatch, AttestationSignatureInvalid.
    """
    if statement.keys() != {"sig", "x5c"}:
        raise AttestationStatementMalformed("fido-u2f statement has not exactly `sig` and `x5c`")
    path = get_certificates(statement)
    if len(path) != 1:
        raise AttestationStatementMalformed("fido-u2f statement has more than one certificate")
    key = _get_key(path[0])
    if evidence.attested.aaguid != NO_AAGUID:
        raise AaguidMismatch("fido-u2f statement comes with an AAGUID, which U2F does not have")
    check_signature(key, get_bytes(statement, "sig"), _verification_data(evidence))
    return Attestation("fido-u2f", AttestationType.BASIC, path)


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
    if parse_public_key(raw).alg != ES256:
        raise AttestationAlgorithmMismatch("fido-u2f statement is about a key that is not of ES256")
    members = cast(dict[int, bytes], cbor.decode(raw))
    return b"\x04" + members[-2] + members[-3]
