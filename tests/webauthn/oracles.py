"""Two other implementations, to compare verdicts with: ``webauthn`` (py_webauthn) and ``fido2`` (Yubico)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import webauthn
from cryptography.hazmat.primitives.serialization import Encoding
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import AttestationFormat

from narthex.webauthn.authentication import StoredCredential
from tests.support.authenticator import maker
from tests.webauthn.ceremony import CHALLENGE, ORIGIN, RP_ID

Json = dict[str, Any]

# It has roots of its own for these, and asks for none where it is given none.
_ROOTED = (AttestationFormat.APPLE, AttestationFormat.ANDROID_SAFETYNET, AttestationFormat.ANDROID_KEY)
_ROOT = maker().certificate.public_bytes(Encoding.PEM)


def py_webauthn_registers(message: Json) -> None:
    webauthn.verify_registration_response(
        credential=json.dumps(message),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=ORIGIN,
        supported_pub_key_algs=list(COSEAlgorithmIdentifier),
        pem_root_certs_bytes_by_fmt={fmt: [_ROOT] for fmt in _ROOTED},
    )


def py_webauthn_signs_in(message: Json, stored: StoredCredential) -> None:
    webauthn.verify_authentication_response(
        credential=json.dumps(message),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=ORIGIN,
        credential_public_key=stored.public_key,
        credential_current_sign_count=stored.sign_count,
    )


def _server() -> Fido2Server:
    return Fido2Server(PublicKeyCredentialRpEntity(name="Example", id=RP_ID))


def fido2_registers(message: Json) -> None:
    server = _server()
    user = PublicKeyCredentialUserEntity(name="ada", id=b"user-1", display_name="Ada")
    _, state = server.register_begin(user, challenge=CHALLENGE)
    server.register_complete(state, RegistrationResponse.from_dict(message))


def fido2_signs_in(message: Json, stored: StoredCredential) -> None:
    server = _server()
    size = len(stored.credential_id).to_bytes(2, "big")
    credential = AttestedCredentialData(bytes(16) + size + stored.credential_id + stored.public_key)
    _, state = server.authenticate_begin([credential], challenge=CHALLENGE)
    server.authenticate_complete(state, [credential], AuthenticationResponse.from_dict(message))


def accepts(oracle: Callable[..., None], *args: Any) -> bool:
    """Its verdict; whatever it raises is a no."""
    try:
        oracle(*args)
    except Exception:  # an oracle may leak anything, and some do
        return False
    return True
