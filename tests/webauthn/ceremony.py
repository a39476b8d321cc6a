"""One honest ceremony with everything overridable: what the tests of this room start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from narthex.base.values import from_base64url
from narthex.webauthn.authentication import StoredCredential, VerifiedAssertion, verify_assertion
from narthex.webauthn.cose import ALGORITHMS
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.registration import VerifiedRegistration, verify_registration
from tests.support.authenticator import Faults, SoftwareAuthenticator, b64u

RP_ID = "example.org"
ORIGIN = "https://example.org"
TOP_ORIGIN = "https://example.com"
CHALLENGE = bytes(range(32))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER_HANDLE = b"user-1"


def creation_options(**changes: Any) -> dict[str, Any]:
    return {
        "rp": {"id": RP_ID, "name": "Example"},
        "user": {"id": b64u(USER_HANDLE), "name": "ada", "displayName": "Ada"},
        "challenge": b64u(CHALLENGE),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
    } | changes


def request_options(**changes: Any) -> dict[str, Any]:
    return {"challenge": b64u(CHALLENGE), "rpId": RP_ID, "allowCredentials": []} | changes


def registration_response(message: dict[str, Any]) -> RegistrationResponse:
    response = message["response"]
    return RegistrationResponse(
        id=message["id"],
        raw_id=from_base64url(message["rawId"]),
        client_data_json=from_base64url(response["clientDataJSON"]),
        attestation_object=from_base64url(response["attestationObject"]),
        transports=tuple(response["transports"]),
        cred_props_rk=message["clientExtensionResults"].get("credProps", {}).get("rk"),
    )


def authentication_response(message: dict[str, Any]) -> AuthenticationResponse:
    response = message["response"]
    handle = response.get("userHandle")
    return AuthenticationResponse(
        id=message["id"],
        raw_id=from_base64url(message["rawId"]),
        client_data_json=from_base64url(response["clientDataJSON"]),
        authenticator_data=from_base64url(response["authenticatorData"]),
        signature=from_base64url(response["signature"]),
        user_handle=None if handle is None else from_base64url(handle),
    )


def verify_creation(response: RegistrationResponse, **changes: Any) -> VerifiedRegistration:
    """Verify with the honest expectations, but for the changes; `anchors` vouch for every model."""
    anchors = changes.pop("anchors", ())
    expected = {
        "find_anchors": lambda aaguid, attestation: anchors,
        "challenge": CHALLENGE,
        "rp_id": RP_ID,
        "origins": (ORIGIN,),
        "algorithms": ALGORITHMS,
        "user_verification_required": False,
        "now": NOW,
    }
    return verify_registration(response, **(expected | changes))


def verify_request(response: AuthenticationResponse, credential: StoredCredential, **changes: Any) -> VerifiedAssertion:
    """Verify with the honest expectations, but for the changes."""
    expected = {
        "credential": credential,
        "challenge": CHALLENGE,
        "rp_id": RP_ID,
        "origins": (ORIGIN,),
        "user_verification_required": False,
    }
    return verify_assertion(response, **(expected | changes))


@dataclass(frozen=True)
class Registered:
    """An authenticator and the credential record that its honest registration left."""

    authenticator: SoftwareAuthenticator
    stored: StoredCredential

    def respond(self, *, origin: str = ORIGIN, **knobs: Any) -> AuthenticationResponse:
        return authentication_response(self.authenticator.sign_in(request_options(), origin=origin, **knobs))

    def sign_in(self, *, expect: dict[str, Any] | None = None, **knobs: Any) -> VerifiedAssertion:
        return verify_request(self.respond(**knobs), self.stored, **(expect or {}))

    def with_stored(self, **changes: Any) -> Registered:
        members = {name: getattr(self.stored, name) for name in self.stored.__struct_fields__}
        return replace(self, stored=StoredCredential(**(members | changes)))


def respond(*, origin: str = ORIGIN, algorithm: int | None = None, **knobs: Any) -> RegistrationResponse:
    """A registration response of a seeded authenticator."""
    authenticator = SoftwareAuthenticator(seed=1, algorithm=algorithm)
    return registration_response(authenticator.register(creation_options(), origin=origin, **knobs))


def register(*, expect: dict[str, Any] | None = None, **knobs: Any) -> VerifiedRegistration:
    return verify_creation(respond(**knobs), **(expect or {}))


def registered(algorithm: int = -7, **settings: Any) -> Registered:
    authenticator = SoftwareAuthenticator(seed=2, algorithm=algorithm, **settings)
    message = authenticator.register(creation_options(), origin=ORIGIN, faults=Faults())
    return Registered(authenticator, stored_credential(verify_creation(registration_response(message))))


def stored_credential(verified: VerifiedRegistration) -> StoredCredential:
    return StoredCredential(
        credential_id=verified.credential_id,
        public_key=verified.public_key,
        sign_count=verified.sign_count,
        user_handle=USER_HANDLE,
        backup_eligible=verified.backup_eligible,
    )
