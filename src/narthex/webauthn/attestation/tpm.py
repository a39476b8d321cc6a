"""The format `tpm` (L3 #sctn-tpm-attestation): a Trusted Platform Module certifies the credential's key.

The TPM signs ``certInfo`` with an attestation identity key (AIK), whose certificate is the leaf. ``certInfo`` names the
key by a hash of its public area, and carries a hash of the authenticator data and the client data.

RS1, which is PKCS #1 v1.5 over SHA-1, is accepted here and nowhere else, and for nothing but the signature of an AIK:
TPMs behind Windows Hello sign so to this day, and most statements of this format come from them. It rests on second
preimages, which SHA-1 still withstands, and not on collisions: the TPM writes all of ``certInfo`` but 66 bytes in its
middle, and the colliding blocks of a chosen prefix need several hundred. Certificates over SHA-1 are refused as ever,
and so are keys named by it (docs/divergences.md).

Who vouches for a TPM is decided by the trust anchors. That its certificate names a manufacturer is checked for its form
alone, and no registry of them is asked (docs/divergences.md).

Beyond the spec: the statement has exactly its six members, so ``ecdaaKeyId`` of Level 1 is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha1, sha256, sha384, sha512
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1

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
from narthex.webauthn.attestation.tpm_structures import KeyNumbers, parse_attest, parse_public_area
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.cose import PublicKey, bind_key, parse_public_key
from narthex.webauthn.errors import (
    AlgorithmUnsupported,
    AttestationCertificateInvalid,
    AttestationKeyMismatch,
    AttestationNonceMismatch,
    AttestationStatementMalformed,
)
from narthex.webauthn.trust import Certificate, parse_certificate

_MEMBERS = frozenset({"ver", "alg", "x5c", "sig", "certInfo", "pubArea"})

RS1, _RS256 = -65535, -257
SIGNATURE_HASHES: dict[int, Callable[[bytes], Any]] = {
    -7: sha256,
    -9: sha256,
    -35: sha384,
    -51: sha384,
    -36: sha512,
    -52: sha512,
    -257: sha256,
    -258: sha384,
    -259: sha512,
    -37: sha256,
    -38: sha384,
    -39: sha512,
    RS1: sha1,
}
"""COSE identifier → "the hash algorithm employed in alg", for the algorithms that a TPM may sign with."""

TCG_KP_AIK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.3")
TCG_AT_TPM_MANUFACTURER = x509.ObjectIdentifier("2.23.133.2.1")
TCG_AT_TPM_MODEL = x509.ObjectIdentifier("2.23.133.2.2")
TCG_AT_TPM_VERSION = x509.ObjectIdentifier("2.23.133.2.3")

_MANUFACTURER = re.compile(r"id:[0-9A-Fa-f]{8}")


def verify_tpm(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a TPM statement.

    Raises:
        AttestationStatementMalformed, AttestationKeyMismatch, AlgorithmUnsupported, AttestationNonceMismatch,
        CertificateMalformed, AttestationAlgorithmMismatch, AttestationSignatureInvalid,
        AttestationCertificateInvalid, AaguidMismatch.
    """
    if statement.keys() != _MEMBERS:
        raise AttestationStatementMalformed("tpm statement has not exactly its six members")
    if statement["ver"] != "2.0":
        raise AttestationStatementMalformed("tpm statement is not of version `2.0`")
    path = get_certificates(statement)
    alg, cert_info = get_algorithm_id(statement), get_bytes(statement, "certInfo")
    public_area = parse_public_area(get_bytes(statement, "pubArea"))
    _check_key(public_area.key, evidence.attested.public_key)
    attest = parse_attest(cert_info)
    if attest.extra_data != _get_hash(alg)(evidence.signed).digest():
        raise AttestationNonceMismatch("certInfo was made for another registration")
    if attest.name != public_area.name:
        raise AttestationKeyMismatch("certInfo certifies another key than that of pubArea")
    certificate = parse_certificate(path[0])
    _check_signature(alg, certificate, get_bytes(statement, "sig"), cert_info)
    check_certificate(certificate)
    check_aaguid(certificate, evidence.attested.aaguid)
    return Attestation("tpm", AttestationType.ATTCA, path, key_may_leave=not public_area.stays)


def check_certificate(certificate: Certificate) -> None:
    """Check L3 #sctn-tpm-cert-requirements, except for trust, which is the path's affair.

    Raises:
        AttestationCertificateInvalid.
    """
    check_end_entity(certificate)
    if certificate.subject.rdns:
        raise AttestationCertificateInvalid("certificate of the AIK has a subject")
    _check_alternative_name(certificate)
    _check_usage(certificate)


def _check_key(numbers: KeyNumbers, credential_key: bytes) -> None:
    key = parse_public_key(credential_key).key
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)) or key.public_numbers() != numbers:
        raise AttestationKeyMismatch("pubArea has another key than the credential's")


def _get_hash(alg: int) -> Callable[[bytes], Any]:
    digest = SIGNATURE_HASHES.get(alg)
    if digest is None:
        raise AlgorithmUnsupported(f"algorithm `{alg}` is none that a TPM signs with")
    return digest


def _check_signature(alg: int, certificate: Certificate, signature: bytes, signed: bytes) -> None:
    try:
        check_signature(_bind(alg, certificate.public_key), signature, signed)
    except UnsupportedAlgorithm as e:
        raise AlgorithmUnsupported("algorithm `RS1` is switched off on this server") from e


def _bind(alg: int, key: object) -> PublicKey | None:
    if alg != RS1:
        return bind_key(alg, key)
    if not isinstance(key, rsa.RSAPublicKey) or bind_key(_RS256, key) is None:
        return None
    return PublicKey(RS1, key, (padding.PKCS1v15(), SHA1()))  # noqa: S303 - see above


def _check_alternative_name(certificate: Certificate) -> None:
    """TCG EK Credential Profile section 3.2.9: manufacturer, model and version as a directory name."""
    alternative = certificate.find_value(x509.SubjectAlternativeName)
    if alternative is None:
        raise AttestationCertificateInvalid("certificate of the AIK has no subject alternative name")
    names = alternative.get_values_for_type(x509.DirectoryName)
    if not _MANUFACTURER.fullmatch(single_value(names, TCG_AT_TPM_MANUFACTURER)):
        raise AttestationCertificateInvalid("certificate of the AIK names no TPM manufacturer by its vendor id")
    if not single_value(names, TCG_AT_TPM_MODEL) or not single_value(names, TCG_AT_TPM_VERSION):
        raise AttestationCertificateInvalid("certificate of the AIK does not name the model and version of the TPM")


def _check_usage(certificate: Certificate) -> None:
    usage = certificate.find_value(x509.ExtendedKeyUsage)
    if usage is None:
        raise AttestationCertificateInvalid("certificate of the AIK has no extended key usage")
    if TCG_KP_AIK_CERTIFICATE not in usage:
        raise AttestationCertificateInvalid("certificate of the AIK is not for attestation identity keys")
