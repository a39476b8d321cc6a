"""What a browser is told to make a credential (L3 #dictdef-publickeycredentialcreationoptions): words and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from narthex.base.errors import Malformed
from narthex.ports.records import Credential
from narthex.tokens.payloads import RegisterToken, RequestedExtensions
from narthex.usecases.call import Call
from narthex.webauthn.authenticator_policy import needs_attestation

OFFERED_ALGORITHMS = (-8, -7, -257, -37, -35, -258, -38, -36, -259, -39)
USER_VERIFICATIONS = ("required", "preferred", "discouraged")
AUTHENTICATOR_TYPES = ("platform", "cross-platform")
HINTS = ("security-key", "client-device", "hybrid")
LARGE_BLOB_SUPPORT = ("preferred", "required")
CREDENTIAL_PROTECTION = (
    "userVerificationOptional",
    "userVerificationOptionalWithCredentialIDList",
    "userVerificationRequired",
)
_ATTACHMENT_OF_HINT = {"security-key": "cross-platform", "hybrid": "cross-platform", "client-device": "platform"}


class InvalidArgument(Malformed):
    """A setting has a value that we do not know."""

    code = "invalid-argument"
    advice = "use one of the values that the API reference lists"


class InvalidAttestation(Malformed):
    """The attestation conveyance is none that we support."""

    code = "invalid-attestation"
    advice = "use `none`, or `direct`, `indirect` or `enterprise` where the application allows it"


class AttestationNotAllowed(Malformed):
    """The application does not ask for attestation."""

    code = "attestation-not-supported-on-plan"
    advice = "ask the operator to allow attestation for this application, or use `none`"


class EnterpriseAttestationNotAllowed(Malformed):
    """The application does not ask which very authenticator it is."""

    code = "enterprise-attestation-not-allowed"
    advice = "ask the operator to allow enterprise attestation for this application, or use `direct`"


@dataclass(frozen=True, slots=True)
class CreationOptions:
    """What the browser must be told to make a credential (L3 #dictdef-publickeycredentialcreationoptions)."""

    rp_id: str
    user_handle: bytes
    username: str
    display_name: str
    challenge: bytes
    attestation: str
    attachment: str | None
    discoverable: bool
    user_verification: str
    hints: Sequence[str]
    exclude: Sequence[Credential]
    algorithms: Sequence[int]
    """COSE identifiers, the best first."""
    conditional: bool
    extensions: RequestedExtensions | None


def allowed_attestation(call: Call, attestation: str | None) -> str:
    """The attestation that a backend asked for, if the application may ask it.

    Raises:
        InvalidAttestation, AttestationNotAllowed, EnterpriseAttestationNotAllowed.
    """
    if not attestation or attestation.lower() == "none":
        return "none"
    if attestation not in ("direct", "indirect", "enterprise"):
        raise InvalidAttestation("attestation type not supported")
    settings = call.application.settings
    if not settings.allow_attestation:
        raise AttestationNotAllowed("attestation is not enabled for this application")
    if attestation == "enterprise" and not settings.enterprise_attestation:
        raise EnterpriseAttestationNotAllowed("enterprise attestation is not enabled for this application")
    return attestation


def conveyance(call: Call, asked: str) -> str:
    """What to ask of the browser: where the policy cannot be met without attestation, `direct` at least."""
    policy = call.application.settings.authenticator_policy
    needed = needs_attestation(policy, allow_list_used=bool(call.tenant.allowed_models))
    return "direct" if needed and asked in ("none", "indirect") else asked


def attachment(leave: RegisterToken) -> str | None:
    """What the hints say of the authenticator, or else its type.

    Raises:
        InvalidArgument.
    """
    if leave.hints:
        return _ATTACHMENT_OF_HINT[leave.hints[0]]
    if leave.authenticator_type.lower() == "any":
        return None
    return known_word(leave.authenticator_type, AUTHENTICATOR_TYPES, "authenticator type")


def known_word(text: str, known: tuple[str, ...], noun: str) -> str:
    """One of some words, in any case.

    Raises:
        InvalidArgument.
    """
    if text.lower() not in known:
        raise InvalidArgument(f"`{text[:50]}` is no {noun} that we know", advice=f"use one of {', '.join(known)}")
    return text.lower()
