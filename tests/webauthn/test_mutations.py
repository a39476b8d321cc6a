"""Honest ceremonies, spoilt at random: refused, and never with anything but a refusal."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.registration import VerifiedRegistration
from tests.support.authenticator import ALGORITHMS, CertificateFaults, maker
from tests.webauthn.ceremony import NOW, Registered, registered, respond, verify_creation, verify_request

EXTENSIONS = {"credProtect": 2, "a": b"bytes"}


@cache
def honest_registration(attestation: str, algorithm: int) -> RegistrationResponse:
    return respond(
        attestation=attestation,
        algorithm=algorithm,
        extensions=EXTENSIONS,
        certificate=CertificateFaults(with_root=True),
        making={"made_at": NOW} if attestation == "android-safetynet" else {},
    )


@cache
def honest_assertion(algorithm: int) -> tuple[Registered, AuthenticationResponse]:
    party = registered(algorithm)
    return party, party.respond(extensions=EXTENSIONS)


@st.composite
def spoilt(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes with a few of them changed, inserted, left out, or cut off."""
    edited = bytearray(raw)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(edited) - 1, 0)))
        kind = draw(st.sampled_from(["change", "flip", "insert", "remove", "cut"]))
        if kind == "insert":
            edited[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "cut":
            del edited[at:]
        elif edited:
            if kind == "change":
                edited[at] = draw(st.integers(0, 255))
            elif kind == "flip":
                edited[at] ^= 1 << draw(st.integers(0, 7))
            else:
                del edited[at]
    return bytes(edited)


def replaced(message: Any, name: str, value: bytes) -> Any:
    return msgspec.structs.replace(message, **{name: value})


def without_the_rest_of_the_path(verified: VerifiedRegistration) -> VerifiedRegistration:
    attestation = msgspec.structs.replace(verified.attestation, trust_path=verified.attestation.trust_path[:1])
    return msgspec.structs.replace(verified, attestation=attestation)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALGORITHMS), st.data())
def test_a_spoilt_assertion_is_refused(algorithm: int, data: st.DataObject) -> None:
    party, honest = honest_assertion(algorithm)
    verify_request(honest, party.stored)
    name = data.draw(st.sampled_from(["client_data_json", "authenticator_data", "signature", "user_handle", "raw_id"]))
    original = getattr(honest, name)
    changed = data.draw(spoilt(original))
    if changed != original:
        with pytest.raises(Refusal):
            verify_request(replaced(honest, name, changed), party.stored)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["packed-self", "packed-x5c", "apple", "android-safetynet"]), st.sampled_from(ALGORITHMS), st.data()
)
def test_a_spoilt_attested_registration_is_refused(attestation: str, algorithm: int, data: st.DataObject) -> None:
    """Where an anchored certificate, or the key itself, signed: everything is signed or judged."""
    honest = honest_registration(attestation, algorithm)
    expected: dict[str, Any] = {}
    if attestation != "packed-self":
        expected = {"anchors": (maker().der,), "trust_required": True}
    accepted = verify_creation(honest, **expected)
    name = data.draw(st.sampled_from(["client_data_json", "attestation_object"]))
    original = getattr(honest, name)
    changed = data.draw(spoilt(original))
    try:
        verified = verify_creation(replaced(honest, name, changed), **expected)
    except Refusal:
        return
    # A CBOR head in a longer form than needed says the same. And what is sent along above the certificate that an
    # anchor issued is not what the anchor vouches for: nobody reads it. Nothing else may differ.
    assert without_the_rest_of_the_path(verified) == without_the_rest_of_the_path(accepted)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["none", "packed-self", "packed-x5c", "fido-u2f", "apple", "android-safetynet"]), st.data())
def test_a_spoilt_registration_is_accepted_or_refused(attestation: str, data: st.DataObject) -> None:
    """Without attestation nothing is signed; what remains is that nothing else than a refusal comes out."""
    honest = honest_registration(attestation, -7)
    changed = data.draw(spoilt(honest.attestation_object))
    try:
        verify_creation(replaced(honest, "attestation_object", changed))
    except Refusal:
        return


BYTES = st.binary(max_size=80)


@given(BYTES, BYTES, BYTES, BYTES, st.text())
def test_any_bytes_are_refused(one: bytes, two: bytes, three: bytes, four: bytes, text: str) -> None:
    party, _ = honest_assertion(-7)
    with pytest.raises(Refusal):
        verify_creation(RegistrationResponse(id=text, raw_id=one, client_data_json=two, attestation_object=three))
    response = AuthenticationResponse(
        id=text, raw_id=one, client_data_json=two, authenticator_data=three, signature=four
    )
    with pytest.raises(Refusal):
        verify_request(response, party.stored)
