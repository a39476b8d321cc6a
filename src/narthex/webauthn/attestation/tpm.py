"""The format `tpm` (L3 #sctn-tpm-attestation): a Trusted Platform Module certifies the credential's key.

The TPM signs ``certInfo`` with an attestation identity key (AIK), whose certificate is the leaf. ``certInfo`` names the
key by a hash of its public area, and carries a hash of the authenticator data and the client data.

RS1, which is PKCS #1 v1.5 over SHA-1, is accepted here and nowhere else, and for nothing but the signature of an AIK:
TPMs behind Windows Hello sign so to this day, and most statements of this format come from them. It rests on second
preimages, which SHA-1 still withstands, and not on collisions: the TPM writes all of ``certInfo`` but 66 bytes in its
middle, and the colliding blocks of a chosen prefix need several hundred. Certificates over SHA-1 are refused as ever,
and so are keys named by it (docs/divergences.md).

Beyond the spec: the statement has exactly its six members, so ``ecdaaKeyId`` of Level 1 is refused; and a manufacturer
must be in the registry of the TCG.
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

from narthex.webauthn.attestation.attested_key import check_signature, load_credential_key
from narthex.webauthn.attestation.packed import _check_aaguid as check_aaguid
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
from narthex.webauthn.cose import PublicKey, bind_key
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

_MANUFACTURER = re.compile(r"id:([0-9A-Fa-f]{8})")
MANUFACTURERS: dict[int, str] = {
    0x414D4400: "AMD",
    0x414E5400: "Ant Group",
    0x41544D4C: "Atmel",
    0x4252434D: "Broadcom",
    0x4353434F: "Cisco",
    0x464C5953: "FlySlice Technologies",
    0x474F4F47: "Google",
    0x48495349: "Huawei",
    0x48504500: "HPE",
    0x48504900: "HPI",
    0x49424D00: "IBM",
    0x49465800: "Infineon",
    0x494E5443: "Intel",
    0x4C454E00: "Lenovo",
    0x4D534654: "Microsoft",
    0x4E534700: "NSING",
    0x4E534D20: "National Semiconductor",
    0x4E544300: "Nuvoton Technology",
    0x4E545A00: "Nationz",
    0x51434F4D: "Qualcomm",
    0x524F4343: "Fuzhou Rockchip",
    0x53454345: "SecEdge",
    0x534D5343: "SMSC",
    0x534D534E: "Samsung",
    0x534E5300: "Sinosun",
    0x53544D20: "STMicroelectronics",
    0x54584E00: "Texas Instruments",
    0x57454300: "Winbond",
}
"""TCG Vendor ID Registry for TPM 2.0: four characters as a number → whose they are. No simulators."""


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
    return Attestation("tpm", AttestationType.BASIC, path)


def check_certificate(certificate: Certificate) -> None:
    """Check L3 #sctn-tpm-cert-requirements, except for trust, which is the path's affair.

    Raises:
        AttestationCertificateInvalid.
    """
    if certificate.parsed.version is not x509.Version.v3:
        raise AttestationCertificateInvalid("certificate of the AIK is not of version 3")
    if certificate.subject.rdns:
        raise AttestationCertificateInvalid("certificate of the AIK has a subject")
    _check_alternative_name(certificate)
    _check_usage(certificate)
    if certificate.find_extension(x509.BasicConstraints.oid) is None or certificate.ca:
        raise AttestationCertificateInvalid("certificate of the AIK does not say that it is no CA")


def _check_key(numbers: KeyNumbers, credential_key: bytes) -> None:
    key = load_credential_key(credential_key)
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
    return PublicKey(RS1, key.verify, (padding.PKCS1v15(), SHA1()))  # noqa: S303 - see above


def _check_alternative_name(certificate: Certificate) -> None:
    """TCG EK Credential Profile section 3.2.9: manufacturer, model and version as a directory name."""
    extension = certificate.find_extension(x509.SubjectAlternativeName.oid)
    if extension is None or not isinstance(extension.value, x509.SubjectAlternativeName):
        raise AttestationCertificateInvalid("certificate of the AIK has no subject alternative name")
    names = extension.value.get_values_for_type(x509.DirectoryName)
    manufacturer = _MANUFACTURER.fullmatch(_single(names, TCG_AT_TPM_MANUFACTURER))
    if manufacturer is None or int(manufacturer[1], 16) not in MANUFACTURERS:
        raise AttestationCertificateInvalid("certificate of the AIK names no TPM manufacturer that we know")
    if not _single(names, TCG_AT_TPM_MODEL) or not _single(names, TCG_AT_TPM_VERSION):
        raise AttestationCertificateInvalid("certificate of the AIK does not name the model and version of the TPM")


def _single(names: list[x509.Name], oid: x509.ObjectIdentifier) -> str:
    """The value of an attribute that occurs once; empty if it does not."""
    values = [attribute.value for name in names for attribute in name.get_attributes_for_oid(oid)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _check_usage(certificate: Certificate) -> None:
    extension = certificate.find_extension(x509.ExtendedKeyUsage.oid)
    if extension is None or not isinstance(extension.value, x509.ExtendedKeyUsage):
        raise AttestationCertificateInvalid("certificate of the AIK has no extended key usage")
    if TCG_KP_AIK_CERTIFICATE not in extension.value:
        raise AttestationCertificateInvalid("certificate of the AIK is not for attestation identity keys")
