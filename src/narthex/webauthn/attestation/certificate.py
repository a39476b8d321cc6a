"""What the formats ask of attestation certificates alike, except for trust, which is the path's affair."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from narthex.webauthn.errors import AaguidMismatch, AttestationCertificateInvalid
from narthex.webauthn.trust import Certificate

ID_FIDO_GEN_CE_AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")


def check_end_entity(certificate: Certificate) -> None:
    """Check that it is of version 3 and says that it is no CA.

    Raises:
        AttestationCertificateInvalid.
    """
    if certificate.parsed.version is not x509.Version.v3:
        raise AttestationCertificateInvalid("attestation certificate is not of version 3")
    if certificate.find_value(x509.BasicConstraints) is None or certificate.ca:
        raise AttestationCertificateInvalid("attestation certificate does not say that it is no CA")


def check_aaguid(certificate: Certificate, aaguid: bytes) -> None:
    """Check that a certificate that names a model (#sctn-packed-attestation-cert-requirements) names this one.

    Raises:
        AttestationCertificateInvalid, AaguidMismatch.
    """
    extension = certificate.find_extension(ID_FIDO_GEN_CE_AAGUID)
    if extension is None:
        return
    if extension.critical:
        raise AttestationCertificateInvalid("attestation certificate marks its AAGUID as critical")
    # The extension wraps a DER OCTET STRING of 16 bytes in the OCTET STRING that every extension is.
    if certificate.find_unread(ID_FIDO_GEN_CE_AAGUID) != b"\x04\x10" + aaguid:
        raise AaguidMismatch("attestation certificate was issued for another AAGUID")


def single_value(names: Iterable[x509.Name], oid: x509.ObjectIdentifier) -> str:
    """The value of an attribute that occurs once in all these names; empty if it does not."""
    values = [attribute.value for name in names for attribute in name.get_attributes_for_oid(oid)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""
