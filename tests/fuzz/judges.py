"""Three judges of one ceremony: we, and the libraries ``webauthn`` (py_webauthn) and ``fido2`` (Yubico).

All three trust one root, so certificates count for all; but ``fido2`` has no verification of `android-key`, and is
asked about the rest of such a registration.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import webauthn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fido2.attestation import Attestation, InvalidSignature, verify_x509_chain
from fido2.server import Fido2Server
from fido2.webauthn import AttestedCredentialData, PublicKeyCredentialRpEntity, PublicKeyCredentialUserEntity
from fido2.webauthn import AuthenticationResponse as Fido2Authentication
from fido2.webauthn import RegistrationResponse as Fido2Registration
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import AttestationFormat

from narthex.base.errors import Refusal
from narthex.base.values import from_base64url
from narthex.webauthn import messages
from narthex.webauthn.authentication import StoredCredential
from narthex.webauthn.trust import TrustVerdict
from tests.fuzz.ceremonies import Json, steady_root
from tests.fuzz.mutations import Ceremony
from tests.webauthn.ceremony import CHALLENGE, ORIGIN, RP_ID, USER_HANDLE, verify_creation, verify_request
from tests.webauthn.oracles import py_webauthn_signs_in


@dataclass(frozen=True)
class Verdict:
    """Whether a judge accepts, and what it said if it does not."""

    accepted: bool
    code: str = ""
    """Our code of the refusal, or the oracle's class of exception."""
    words: str = ""


ACCEPTED = Verdict(True)
UNTRUSTED = Verdict(False, "attestation-untrusted", "attestation is unanchored")


def we(ceremony: Ceremony) -> Verdict:
    """Our verdict. What is no refusal is a crash, and is raised."""
    try:
        with warnings.catch_warnings():
            # As in the tests, where cryptography's warnings of odd certificates are errors.
            warnings.simplefilter("error")
            return _we_register(ceremony.message) if ceremony.is_registration else _we_sign_in(ceremony)
    except Refusal as refusal:
        return Verdict(False, refusal.code, refusal.message)


def _we_register(message: Json) -> Verdict:
    response = message["response"]
    read = messages.RegistrationResponse(
        id=message["id"],
        raw_id=_decoded(message["rawId"]),
        client_data_json=_decoded(response["clientDataJSON"]),
        attestation_object=_decoded(response["attestationObject"]),
    )
    verified = verify_creation(read, now=datetime.now(UTC), anchors=(steady_root(),))
    judged = verified.trust.verdict in (TrustVerdict.NO_PATH, TrustVerdict.ANCHORED)
    return ACCEPTED if judged else UNTRUSTED


def _we_sign_in(ceremony: Ceremony) -> Verdict:
    message, response = ceremony.message, ceremony.message["response"]
    handle = response.get("userHandle")
    read = messages.AuthenticationResponse(
        id=message["id"],
        raw_id=_decoded(message["rawId"]),
        client_data_json=_decoded(response["clientDataJSON"]),
        authenticator_data=_decoded(response["authenticatorData"]),
        signature=_decoded(response["signature"]),
        user_handle=None if handle is None else _decoded(handle),
    )
    verify_request(read, ceremony.stored)
    return ACCEPTED


def _decoded(text: str) -> bytes:
    """As the HTTP edge reads it."""
    return from_base64url(text, padding_tolerated=True)


@cache
def _root_pem() -> bytes:
    return x509.load_der_x509_certificate(steady_root()).public_bytes(Encoding.PEM)


def _py_webauthn_registers(message: Json) -> None:
    webauthn.verify_registration_response(
        credential=json.dumps(message),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=ORIGIN,
        supported_pub_key_algs=list(COSEAlgorithmIdentifier),
        pem_root_certs_bytes_by_fmt={fmt: [_root_pem()] for fmt in AttestationFormat},
    )


@cache
def _fido2_server() -> Fido2Server:
    """Made once, because it is slow to make: as slow as all else that a ceremony costs."""
    return Fido2Server(PublicKeyCredentialRpEntity(name="Example", id=RP_ID))


@cache
def _fido2_state() -> Any:
    user = PublicKeyCredentialUserEntity(name="ada", id=USER_HANDLE, display_name="Ada")
    return _fido2_server().register_begin(user, challenge=CHALLENGE)[1]


def _fido2_signs_in(message: Json, stored: StoredCredential) -> None:
    size = len(stored.credential_id).to_bytes(2, "big")
    credential = AttestedCredentialData(bytes(16) + size + stored.credential_id + stored.public_key)
    _fido2_server().authenticate_complete(_fido2_state(), [credential], Fido2Authentication.from_dict(message))


def _fido2_registers(message: Json) -> None:
    registration = Fido2Registration.from_dict(message)
    _fido2_server().register_complete(_fido2_state(), registration)
    response = registration.response
    attestation = response.attestation_object
    if attestation.fmt == "android-key":
        return
    verifier = Attestation.for_type(attestation.fmt)()
    result = verifier.verify(attestation.att_stmt, attestation.auth_data, response.client_data.hash)
    try:
        verify_x509_chain([*result.trust_path, steady_root()])
    except InvalidSignature as e:
        # Told apart from the signature of the statement.
        raise ValueError("Above the leaf" if len(result.trust_path) > 1 else "leaf") from e


def _oracle(register: Callable[[Json], None], sign_in: Callable[..., None]) -> Callable[[Ceremony], Verdict]:
    def judge(ceremony: Ceremony) -> Verdict:
        arguments: tuple[Any, ...] = (ceremony.message,)
        if not ceremony.is_registration:
            arguments = (ceremony.message, ceremony.stored)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (register if ceremony.is_registration else sign_in)(*arguments)
        except Exception as e:  # an oracle may leak anything, and some do
            return Verdict(False, type(e).__name__, _told(e))
        return ACCEPTED

    return judge


ORACLES: dict[str, Callable[[Ceremony], Verdict]] = {
    "webauthn": _oracle(_py_webauthn_registers, py_webauthn_signs_in),
    "fido2": _oracle(_fido2_registers, _fido2_signs_in),
}


def _told(error: BaseException | None) -> str:
    """What it says, and what caused it."""
    words = []
    while error is not None:
        words.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return " | ".join(words)
