"""Every "no" this room can say: one class each, with a code for machines and the paragraph it enforces."""

from __future__ import annotations

from narthex.base.errors import Malformed, Rejected

_PASS_ON = (
    "pass on unchanged what the browser gave; if it is unchanged, the authenticator, or an extension that stands in "
    "for one, is at fault: try another"
)


# --- what cannot be read ------------------------------------------------------------------------------------------


class CborMalformed(Malformed):
    """The bytes are not exactly one CBOR item of the kind that authenticators may send."""

    code, spec = "cbor-malformed", "CTAP 2.1 #ctap2-canonical-cbor-encoding-form"
    advice = _PASS_ON


class PublicKeyMalformed(Malformed):
    """The credential public key is not a COSE key that its own algorithm allows."""

    code, spec = "public-key-malformed", "WebAuthn L3 #sctn-alg-identifier; RFC 9053 section 7"
    advice = "try another authenticator: this one makes keys that its own algorithm forbids"


class ClientDataMalformed(Malformed):
    """The client data is not the JSON object that a browser makes."""

    code, spec = "client-data-malformed", "WebAuthn L3 #dictionary-client-data"
    advice = (
        "pass on `clientDataJSON` byte for byte, as base64url of what the browser gave; never parse and print it again"
    )


class OriginMalformed(Malformed):
    """The text is not an origin."""

    code, spec = "origin-malformed", "HTML #concept-origin; RFC 6454 section 6"
    advice = "send what `window.location.origin` gives, or the app's own origin such as `android:apk-key-hash:…`"


class RpIdMalformed(Malformed):
    """The text is not a valid domain, so it cannot be a relying party identifier."""

    code, spec = "rp-id-malformed", "WebAuthn L3 #relying-party-identifier"
    advice = "send a domain in lower case, such as `example.com` or `localhost`; an IP address cannot have passkeys"


class AuthenticatorDataMalformed(Malformed):
    """The authenticator data does not have the layout that its flags announce."""

    code, spec = "authenticator-data-malformed", "WebAuthn L3 #sctn-authenticator-data"
    advice = _PASS_ON


class AttestationObjectMalformed(Malformed):
    """The attestation object is not a map of exactly a format, a statement and authenticator data."""

    code, spec = "attestation-object-malformed", "WebAuthn L3 #sctn-generating-an-attestation-object"
    advice = _PASS_ON


class AttestationStatementMalformed(Malformed):
    """The attestation statement does not have the members that its format prescribes."""

    code, spec = "attestation-statement-malformed", "WebAuthn L3 #sctn-defined-attestation-formats"
    advice = _PASS_ON


class CertificateMalformed(Malformed):
    """The bytes are not an X.509 certificate that we can read to the end."""

    code, spec = "certificate-malformed", "RFC 5280 section 4.1"
    advice = _PASS_ON


# --- what was read and is not accepted: both ceremonies -----------------------------------------------------------


class CredentialIdMismatch(Rejected):
    """Two places that must name the same credential do not."""

    code, spec = "credential-id-mismatch", "WebAuthn L3 #iface-pkcredential"
    advice = "send `id` and `rawId` as the browser gave them, both as base64url of the same bytes"


class CeremonyTypeMismatch(Rejected):
    """The client data was made for the other ceremony."""

    code, spec = "ceremony-type-mismatch", "WebAuthn L3 #dom-collectedclientdata-type"
    advice = (
        "send the answer of `navigator.credentials.create` to `/register/complete`, and that of `get` to "
        "`/signin/complete`"
    )


class ChallengeMismatch(Rejected):
    """The client data answers another challenge than ours."""

    code, spec = "challenge-mismatch", "WebAuthn L3 #sctn-cryptographic-challenges"
    advice = (
        "send the session that came with these options; when a page begins again, the earlier answer is worth nothing"
    )


class OriginNotAllowed(Rejected):
    """The client data names an origin that this relying party does not expect."""

    code, spec = "origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"
    advice = "send the origin of the page that called the browser, and open it at an origin that the application allows"


class CrossOriginNotAllowed(Rejected):
    """The ceremony ran in a cross-origin frame and this relying party expects none."""

    code, spec = "cross-origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"
    advice = "open the page by itself, or have the operator name the framing page with `--top-origin`"


class TopOriginNotAllowed(Rejected):
    """The page that framed the ceremony is not one this relying party lets frame it."""

    code, spec = "top-origin-not-allowed", "WebAuthn L3 #sctn-validating-origin"
    advice = "have the operator add the framing page's origin with `--top-origin`"


class RpIdMismatch(Rejected):
    """The authenticator signed for another relying party."""

    code, spec = "rp-id-mismatch", "WebAuthn L3 #authdata-rpidhash"
    advice = "use the same rp id when the passkey is made and when it is used"


class UserNotPresent(Rejected):
    """The authenticator did not see a person consent."""

    code, spec = "user-not-present", "WebAuthn L3 #concept-user-present"
    advice = "begin again, and let the user touch the authenticator"


class UserNotVerified(Rejected):
    """This relying party requires user verification, and the authenticator did not do it."""

    code, spec = "user-not-verified", "WebAuthn L3 #concept-user-verified"
    advice = "let the user unlock the authenticator by PIN, fingerprint or face, or use one that can"


class BackupStateInvalid(Rejected):
    """The credential says that it is backed up although it cannot be."""

    code, spec = "backup-state-invalid", "WebAuthn L3 #sctn-credential-backup"
    advice = _PASS_ON


class AlgorithmUnsupported(Rejected):
    """We have no verification for this algorithm."""

    code, spec = "algorithm-unsupported", "WebAuthn L3 #sctn-alg-identifier"
    advice = "use an authenticator with one of the algorithms that the options offer"


class SignatureInvalid(Rejected):
    """The signature was not made over these bytes by this key."""

    code, spec = "signature-invalid", "WebAuthn L3 #sctn-verifying-assertion"
    advice = (
        "begin again; if it happens again, the stored key is not this authenticator's: remove the passkey "
        "and make a new one"
    )


# --- registration -------------------------------------------------------------------------------------------------


class AttestedCredentialDataMissing(Rejected):
    """The authenticator data of a registration carries no new credential."""

    code, spec = "attested-credential-data-missing", "WebAuthn L3 #sctn-attested-credential-data"
    advice = "send the answer of `navigator.credentials.create`, not that of `get`"


class AlgorithmNotAllowed(Rejected):
    """The new key is of an algorithm that the options did not offer."""

    code, spec = "algorithm-not-allowed", "WebAuthn L3 #sctn-registering-a-new-credential"
    advice = "use an authenticator with one of the algorithms that the options offer"


class AttestationFormatUnsupported(Rejected):
    """We have no verification for this attestation statement format."""

    code, spec = "attestation-format-unsupported", "WebAuthn L3 #sctn-defined-attestation-formats"
    advice = "ask for attestation `none`, or use an authenticator that attests as `packed`"


class AttestationAlgorithmMismatch(Rejected):
    """The statement names an algorithm that does not fit the key it was signed with."""

    code, spec = "attestation-algorithm-mismatch", "WebAuthn L3 #sctn-packed-attestation"
    advice = _PASS_ON


class AttestationSignatureInvalid(Rejected):
    """The attestation signature was not made over this credential."""

    code, spec = "attestation-signature-invalid", "WebAuthn L3 #sctn-packed-attestation"
    advice = _PASS_ON


class AttestationCertificateInvalid(Rejected):
    """The attestation certificate does not meet the requirements of its format."""

    code, spec = "attestation-certificate-invalid", "WebAuthn L3 #sctn-packed-attestation-cert-requirements"
    advice = "ask the maker of the authenticator, or ask for attestation `none`"


class AttestationKeyMismatch(Rejected):
    """The attestation vouches for another key than the credential has."""

    code, spec = "attestation-key-mismatch", "WebAuthn L3 #sctn-apple-anonymous-attestation"
    advice = _PASS_ON


class AttestationNonceMismatch(Rejected):
    """The attestation vouches for other authenticator data, or was made in another ceremony."""

    code, spec = "attestation-nonce-mismatch", "WebAuthn L3 #sctn-apple-anonymous-attestation"
    advice = _PASS_ON


class AttestationTimeInvalid(Rejected):
    """The attestation was not made at the time of the ceremony."""

    code, spec = "attestation-time-invalid", "WebAuthn L3 #sctn-android-safetynet-attestation"
    advice = "begin again, and have the operator check the server's clock"


class DeviceNotSound(Rejected):
    """The attestation says that the device fails the compatibility tests of its platform."""

    code, spec = "device-not-sound", "WebAuthn L1 #android-safetynet-attestation"
    advice = "use another device: its system was altered, or was never certified"


class AaguidMismatch(Rejected):
    """The attestation certificate was issued for another authenticator model."""

    code, spec = "aaguid-mismatch", "WebAuthn L3 #sctn-packed-attestation-cert-requirements"
    advice = "ask the maker of the authenticator, or ask for attestation `none`"


class TrustPathInvalid(Rejected):
    """The certificates sent do not form a path: a date, a signature, a name or a constraint is wrong."""

    code, spec = "trust-path-invalid", "RFC 5280 section 6.1"
    advice = "ask the maker of the authenticator, or ask for attestation `none`"


class AttestationUntrusted(Rejected):
    """The attestation leads to no trust anchor that we know, and this registration requires one."""

    code, spec = "attestation-untrusted", "WebAuthn L3 #sctn-registering-a-new-credential"
    advice = "use an authenticator of a maker that the operator trusts"


# --- authentication -----------------------------------------------------------------------------------------------


class CredentialNotAllowed(Rejected):
    """The credential is not among those the options asked for."""

    code, spec = "credential-not-allowed", "WebAuthn L3 #sctn-verifying-assertion"
    advice = "let the user choose a passkey of the account that was asked for, or begin without naming a user"


class UserHandleMismatch(Rejected):
    """The authenticator knows the credential under another user than we do."""

    code, spec = "user-handle-mismatch", "WebAuthn L3 #sctn-verifying-assertion"
    advice = "let the user choose another passkey; this one was made for another account"


class UserHandleMissing(Rejected):
    """The user was not known beforehand and the authenticator does not say who it is."""

    code, spec = "user-handle-missing", "WebAuthn L3 #sctn-verifying-assertion"
    advice = "pass on `userHandle` as the browser gave it, or name the user when the sign-in begins"


class AttestedCredentialDataUnexpected(Rejected):
    """The authenticator data of an assertion carries a credential, which only a registration may."""

    code, spec = "attested-credential-data-unexpected", "WebAuthn L3 #sctn-authenticator-data"
    advice = "send the answer of `navigator.credentials.get`, not that of `create`"


class BackupEligibilityChanged(Rejected):
    """The credential's backup eligibility differs from what it was registered with, and it never changes."""

    code, spec = "backup-eligibility-changed", "WebAuthn L3 #sctn-credential-backup"
    advice = "remove the passkey and make a new one with this authenticator"


class SignCountDecreased(Rejected):
    """The signature counter did not go up, so the credential may have been cloned."""

    code, spec = "sign-count-decreased", "WebAuthn L3 #sctn-sign-counter"
    advice = (
        "ask the user whether the authenticator was copied; removing the passkey and making a new one resets "
        "the counter"
    )
