"""The key in an attestation certificate: did it sign the statement, and is it the credential's own?"""

from __future__ import annotations

from narthex.webauthn.cose import PublicKey, parse_public_key
from narthex.webauthn.errors import (
    AttestationAlgorithmMismatch,
    AttestationKeyMismatch,
    AttestationSignatureInvalid,
    SignatureInvalid,
)
from narthex.webauthn.trust import Certificate


def check_signature(key: PublicKey | None, signature: bytes, signed: bytes) -> None:
    """Check the signature of a statement.

    Args:
        key: as ``bind_key`` gives it: None if the certificate's key is not one for the statement's ``alg``.
    Raises:
        AttestationAlgorithmMismatch, AttestationSignatureInvalid.
    """
    if key is None:
        raise AttestationAlgorithmMismatch("statement names an algorithm that its certificate's key cannot use")
    try:
        key.verify(signature, signed)
    except SignatureInvalid as e:
        raise AttestationSignatureInvalid("attestation signature does not fit what it is about") from e


def check_same_key(certificate: Certificate, credential_key: bytes) -> None:
    """Check that a certificate is for the credential's own key.

    Args:
        credential_key: a COSE_Key.
    Raises:
        AttestationKeyMismatch, or what ``parse_public_key`` refuses.
    """
    if certificate.public_key != parse_public_key(credential_key).key:
        raise AttestationKeyMismatch("attestation certificate is for another key than the credential's")
