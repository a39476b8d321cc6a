"""The key in an attestation certificate: did it sign the statement, and is it the credential's own?"""

from __future__ import annotations

from narthex.webauthn import cbor
from narthex.webauthn.cose import PublicKey, get_algorithm, parse_public_key
from narthex.webauthn.errors import AttestationAlgorithmMismatch, AttestationSignatureInvalid, SignatureInvalid


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
        raise AttestationSignatureInvalid("attestation signature does not fit the certificate") from e


def load_credential_key(raw: bytes) -> object:
    """Load the credential's key as the library's object, which can be compared with another.

    Raises:
        what ``parse_public_key`` refuses.
    """
    algorithm = get_algorithm(parse_public_key(raw).alg)
    members = cbor.decode(raw)
    assert isinstance(members, dict)  # parse_public_key has just read it
    return algorithm.load({label: members[label] for label in algorithm.members})
