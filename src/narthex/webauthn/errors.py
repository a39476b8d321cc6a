"""Every "no" this room can say: one class each, with a code for machines and the paragraph it enforces."""

from __future__ import annotations

from narthex.base.errors import Malformed, Rejected

SHOWN_CHARACTERS = 80


def quoted(text: object) -> str:
    """Show a stranger's input in a message: in backticks, printable, and no longer than a line.

    >>> quoted("https://example.org")
    '`https://example.org`'
    """
    raw = str(text)
    shown = "".join(c if c.isprintable() and c != "`" else "�" for c in raw[:SHOWN_CHARACTERS])
    return f"`{shown}…`" if len(raw) > SHOWN_CHARACTERS else f"`{shown}`"


# --- what cannot be read ------------------------------------------------------------------------------------------


class CborMalformed(Malformed):
    """The bytes are not exactly one CBOR item of the kind that authenticators may send."""

    code, spec = "cbor-malformed", "CTAP 2.1 #ctap2-canonical-cbor-encoding-form"


class PublicKeyMalformed(Malformed):
    """The credential public key is not a COSE key that its own algorithm allows."""

    code, spec = "public-key-malformed", "WebAuthn L3 #sctn-alg-identifier; RFC 9053 section 7"


class ClientDataMalformed(Malformed):
    """The client data is not the JSON object that a browser makes."""

    code, spec = "client-data-malformed", "WebAuthn L3 #dictionary-client-data"


class OriginMalformed(Malformed):
    """The text is not an origin."""

    code, spec = "origin-malformed", "HTML #concept-origin; RFC 6454 section 6"


class RpIdMalformed(Malformed):
    """The text is not a valid domain, so it cannot be a relying party identifier."""

    code, spec = "rp-id-malformed", "WebAuthn L3 #relying-party-identifier"


class AuthenticatorDataMalformed(Malformed):
    """The authenticator data does not have the layout that its flags announce."""

    code, spec = "authenticator-data-malformed", "WebAuthn L3 #sctn-authenticator-data"


class AttestationObjectMalformed(Malformed):
    """The attestation object is not a map of exactly a format, a statement and authenticator data."""

    code, spec = "attestation-object-malformed", "WebAuthn L3 #sctn-generating-an-attestation-object"


class AttestationStatementMalformed(Malformed):
    """The attestation statement does not have the members that its format prescribes."""

    code, spec = "attestation-statement-malformed", "WebAuthn L3 #sctn-defined-attestation-formats"


class CertificateMalformed(Malformed):
    """The bytes are not an X.509 certificate that we can read to the end."""

    code, spec = "certificate-malformed", "RFC 5280 section 4.1"


# --- what was read and is not accepted: both ceremonies -----------------------------------------------------------


class CredentialIdMismatch(Rejected):
    """Two places that must name the same credential do not."""

    code, spec = "credential-id-mismatch", "WebAuthn L3 #iface-pkcredential"


class CeremonyTypeMismatch(Rejected):
    """The client data was made for the other ceremony."""

    code, spec = "ceremony-type-mismatch", "WebAuthn L3 #dom-collectedclientdata-type"


class ChallengeMismatch(Rejected):
    """The client data answers another challenge than ours."""

    code, spec = "challenge-mismatch", "WebAuthn L3 #sctn-cryptographic-challenges"


class OriginNotAllowed(Rejected):
    """The client data names an origin that this relying party does not expect."""

    code, spec = "origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"


class CrossOriginNotAllowed(Rejected):
    """The ceremony ran in a cross-origin frame and this relying party expects none."""

    code, spec = "cross-origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"


class TopOriginNotAllowed(Rejected):
    """The page that framed the ceremony is not one this relying party lets frame it."""

    code, spec = "top-origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"


class RpIdMismatch(Rejected):
    """The authenticator signed for another relying party."""

    code, spec = "rp-id-mismatch", "WebAuthn L3 #authdata-rpidhash"


class UserNotPresent(Rejected):
    """The authenticator did not see a person consent."""

    code, spec = "user-not-present", "WebAuthn L3 #concept-user-present"


class UserNotVerified(Rejected):
    """This relying party requires user verification, and the authenticator did not do it."""

    code, spec = "user-not-verified", "WebAuthn L3 #concept-user-verified"


class BackupStateInvalid(Rejected):
    """The credential says that it is backed up although it cannot be."""

    code, spec = "backup-state-invalid", "WebAuthn L3 #sctn-credential-backup"


class AlgorithmUnsupported(Rejected):
    """We have no verification for this algorithm."""

    code, spec = "algorithm-unsupported", "WebAuthn L3 #sctn-alg-identifier"


class SignatureInvalid(Rejected):
    """The signature was not made over these bytes by this key."""

    code, spec = "signature-invalid", "WebAuthn L3 #sctn-verifying-assertion"


# --- registration -------------------------------------------------------------------------------------------------


class AttestedCredentialDataMissing(Rejected):
    """The authenticator data of a registration carries no new credential."""

    code, spec = "attested-credential-data-missing", "WebAuthn L3 #sctn-attested-credential-data"


class AlgorithmNotAllowed(Rejected):
    """The new key is of an algorithm that the options did not offer."""

    code, spec = "algorithm-not-allowed", "WebAuthn L3 #sctn-registering-a-new-credential"


class AttestationFormatUnsupported(Rejected):
    """We have no verification for this attestation statement format."""

    code, spec = "attestation-format-unsupported", "WebAuthn L3 #sctn-defined-attestation-formats"


class AttestationAlgorithmMismatch(Rejected):
    """The statement names an algorithm that does not fit the key it was signed with."""

    code, spec = "attestation-algorithm-mismatch", "WebAuthn L3 #sctn-packed-attestation"


class AttestationSignatureInvalid(Rejected):
    """The attestation signature was not made over this credential."""

    code, spec = "attestation-signature-invalid", "WebAuthn L3 #sctn-packed-attestation"


class AttestationCertificateInvalid(Rejected):
    """The attestation certificate does not meet the requirements of its format."""

    code, spec = "attestation-certificate-invalid", "WebAuthn L3 #sctn-packed-attestation-cert-requirements"


class AaguidMismatch(Rejected):
    """The attestation certificate was issued for another authenticator model."""

    code, spec = "aaguid-mismatch", "WebAuthn L3 #sctn-packed-attestation-cert-requirements"


class TrustPathInvalid(Rejected):
    """The certificates sent do not form a path: a date, a signature, a name or a constraint is wrong."""

    code, spec = "trust-path-invalid", "RFC 5280 section 6.1"


class AttestationUntrusted(Rejected):
    """The attestation leads to no trust anchor that we know, and this registration requires one."""

    code, spec = "attestation-untrusted", "WebAuthn L3 #sctn-registering-a-new-credential"


# --- authentication -----------------------------------------------------------------------------------------------


class CredentialNotAllowed(Rejected):
    """The credential is not among those the options asked for."""

    code, spec = "credential-not-allowed", "WebAuthn L3 #sctn-verifying-assertion"


class UserHandleMismatch(Rejected):
    """The authenticator knows the credential under another user than we do."""

    code, spec = "user-handle-mismatch", "WebAuthn L3 #sctn-verifying-assertion"


class UserHandleMissing(Rejected):
    """The user was not known beforehand and the authenticator does not say who it is."""

    code, spec = "user-handle-missing", "WebAuthn L3 #sctn-verifying-assertion"


class AttestedCredentialDataUnexpected(Rejected):
    """The authenticator data of an assertion carries a credential, which only a registration may."""

    code, spec = "attested-credential-data-unexpected", "WebAuthn L3 #sctn-authenticator-data"


class BackupEligibilityChanged(Rejected):
    """The credential's backup eligibility differs from what it was registered with, and it never changes."""

    code, spec = "backup-eligibility-changed", "WebAuthn L3 #sctn-credential-backup"


class SignCountDecreased(Rejected):
    """The signature counter did not go up, so the credential may have been cloned."""

    code, spec = "sign-count-decreased", "WebAuthn L3 #sctn-sign-counter"
    advice = "Ask the user whether the authenticator was copied; removing the credential and adding it anew resets it."
