"""The format `android-key` (L3 #sctn-android-key-attestation): the device's keystore certifies the credential's key.

The leaf is a certificate for the credential's own key. An extension in it, the key description of Android's key
attestation, says how the key was made and what it may do: in two lists, one enforced by the system, the other by the
secure hardware. A relying party may ask that the hardware enforces everything. We verify by the union of both lists, as
the specification allows; but unless the hardware itself says that it made the key and holds it to its purpose, no
anchor counts for it (``key_may_leave``).

Beyond the spec: the statement has no member but ``alg``, ``sig`` and ``x5c``; the description is DER, with exactly the
eight members of its type; signing is the only purpose.
"""

from __future__ import annotations

import msgspec
from cryptography import x509

from narthex.webauthn.attestation.attested_key import check_same_key, check_signature
from narthex.webauthn.attestation.der import (
    ENUMERATED,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    read_all,
    read_one,
    to_integer,
)
from narthex.webauthn.attestation.statement import (
    Attestation,
    AttestationType,
    Evidence,
    get_algorithm_id,
    get_bytes,
    get_certificates,
)
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.cose import bind_key
from narthex.webauthn.errors import (
    AttestationCertificateInvalid,
    AttestationNonceMismatch,
    AttestationStatementMalformed,
    CertificateMalformed,
)
from narthex.webauthn.trust import Certificate, parse_certificate

KEY_DESCRIPTION = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")

PURPOSE, ALL_APPLICATIONS, ORIGIN = 1, 600, 702
"""Tags of an AuthorizationList."""
KM_PURPOSE_SIGN = 2
KM_ORIGIN_GENERATED = 0
SECURITY_LEVEL_SOFTWARE = 0

# attestationVersion, attestationSecurityLevel, keymasterVersion, keymasterSecurityLevel, attestationChallenge,
# uniqueId, softwareEnforced, teeEnforced. Later versions renamed some of them and changed none.
_DESCRIPTION_TAGS = [INTEGER, ENUMERATED, INTEGER, ENUMERATED, OCTET_STRING, OCTET_STRING, SEQUENCE, SEQUENCE]

AuthorizationList = dict[int, bytes]
"""Tag → the DER of its value."""


class KeyDescription(msgspec.Struct, frozen=True):
    """What the extension says, as far as it is judged."""

    security_level: int
    """0 software, 1 trusted environment, 2 StrongBox: of what attests, or of what keeps the key, the lower."""
    challenge: bytes
    software_enforced: AuthorizationList
    tee_enforced: AuthorizationList

    def find_all(self, tag: int) -> list[bytes]:
        """The values of a field in either list."""
        return [fields[tag] for fields in (self.software_enforced, self.tee_enforced) if tag in fields]

    @property
    def in_hardware(self) -> bool:
        """The hardware says how the key was made and what it may do."""
        return self.security_level > SECURITY_LEVEL_SOFTWARE and {PURPOSE, ORIGIN} <= self.tee_enforced.keys()


def verify_android_key(statement: Statement, evidence: Evidence) -> Attestation:
    """Check an Android key statement.

    Raises:
        AttestationStatementMalformed, AlgorithmUnsupported, AttestationAlgorithmMismatch,
        AttestationSignatureInvalid, CertificateMalformed, AttestationKeyMismatch, AttestationNonceMismatch,
        AttestationCertificateInvalid.
    """
    if statement.keys() != {"alg", "sig", "x5c"}:
        raise AttestationStatementMalformed("android-key statement has not exactly `alg`, `sig` and `x5c`")
    path = get_certificates(statement)
    certificate = parse_certificate(path[0])
    key = bind_key(get_algorithm_id(statement), certificate.public_key)
    check_signature(key, get_bytes(statement, "sig"), evidence.signed)
    check_same_key(certificate, evidence.attested.public_key)
    description = _find_description(certificate)
    if description.challenge != evidence.client_data_hash:
        raise AttestationNonceMismatch("attestation certificate was made for another registration")
    _check_authorizations(description)
    return Attestation("android-key", AttestationType.BASIC, path, key_may_leave=not description.in_hardware)


def parse_key_description(raw: bytes) -> KeyDescription:
    """Read a KeyDescription.

    Raises:
        CertificateMalformed: it is not DER, or not of this type.
    """
    members = read_all(read_one(raw, SEQUENCE))
    if [member.tag for member in members] != _DESCRIPTION_TAGS:
        raise CertificateMalformed("key description has not the members of its type")
    _, attested_in, _, kept_in, challenge, _, software, tee = (member.content for member in members)
    level = min(to_integer(attested_in), to_integer(kept_in))
    return KeyDescription(level, challenge, _read_list(software), _read_list(tee))


def _read_list(raw: bytes) -> AuthorizationList:
    fields = read_all(raw)
    if not all(field.is_explicit() for field in fields):
        raise CertificateMalformed("authorization list has a field without a tag of its own")
    values = {field.tag.number: field.content for field in fields}
    if len(values) != len(fields):
        raise CertificateMalformed("authorization list has a field twice")
    return values


def _find_description(certificate: Certificate) -> KeyDescription:
    description = certificate.find_unread(KEY_DESCRIPTION)
    if description is None:
        raise AttestationCertificateInvalid("attestation certificate has no key description")
    return parse_key_description(description)


def _check_authorizations(description: KeyDescription) -> None:
    if description.find_all(ALL_APPLICATIONS):
        raise AttestationCertificateInvalid("attested key is open to all applications")
    origins = {to_integer(read_one(raw, INTEGER)) for raw in description.find_all(ORIGIN)}
    _check_only(origins, KM_ORIGIN_GENERATED, description, "attested key was not generated where it is kept")
    purposes = {purpose for raw in description.find_all(PURPOSE) for purpose in _read_purposes(raw)}
    _check_only(purposes, KM_PURPOSE_SIGN, description, "attested key is not for signing alone")


def _check_only(values: set[int], expected: int, description: KeyDescription, message: str) -> None:
    # The specification's own test vector is of software and has two empty lists. Secure hardware always fills them.
    if not values and description.security_level == SECURITY_LEVEL_SOFTWARE:
        return
    if values != {expected}:
        raise AttestationCertificateInvalid(message)


def _read_purposes(raw: bytes) -> list[int]:
    elements = read_all(read_one(raw, SET))
    if not all(element.tag == INTEGER for element in elements):
        raise CertificateMalformed("authorization list has a purpose that is no number")
    return [to_integer(element.content) for element in elements]
