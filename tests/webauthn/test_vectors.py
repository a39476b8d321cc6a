"""The test vectors of the specification itself (WebAuthn L3, Test Vectors)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509

from narthex.base.values import to_base64url
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.authentication import StoredCredential
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.registration import VerifiedRegistration
from narthex.webauthn.trust import TrustVerdict, key_identifier, parse_certificate
from tests.webauthn.ceremony import TOP_ORIGIN, verify_creation, verify_request

VECTORS = json.loads((Path(__file__).parent / "vectors" / "webauthn-l3.json").read_text())
CEREMONIES = {ceremony["name"]: ceremony for ceremony in VECTORS["ceremonies"]}
ROOT = bytes.fromhex(VECTORS["attestation_root"]["attestation_ca_cert"]["hex"])

# The vector of fido-u2f names a model, which CTAP 2.1 forbids and which its signature does not cover.
WITHOUT_MODEL = "fido-u2f-es256"
# By their own words these keys may lie elsewhere: the TPM's has none of the attributes of a key that stays, and
# Android's is of software.
KEY_MAY_LEAVE = frozenset({"tpm-es256", "android-key-es256"})


def raw(value: dict[str, str]) -> bytes:
    return bytes.fromhex(value["hex"])


def register(ceremony: dict[str, Any], **changes: Any) -> VerifiedRegistration:
    vector = ceremony["registration"]
    credential_id = raw(vector["credential_id"])
    response = RegistrationResponse(
        id=to_base64url(credential_id),
        raw_id=credential_id,
        client_data_json=raw(vector["clientDataJSON"]),
        attestation_object=raw(vector["attestationObject"]),
    )
    expected: dict[str, Any] = {"challenge": raw(vector["challenge"]), "top_origins": (TOP_ORIGIN,), "anchors": (ROOT,)}
    return verify_creation(response, **(expected | changes))


def sign_in(ceremony: dict[str, Any], *, public_key: bytes, backup_eligible: bool) -> None:
    vector = ceremony["authentication"]
    credential_id = raw(ceremony["registration"]["credential_id"])
    response = AuthenticationResponse(
        id=to_base64url(credential_id),
        raw_id=credential_id,
        client_data_json=raw(vector["clientDataJSON"]),
        authenticator_data=raw(vector["authenticatorData"]),
        signature=raw(vector["signature"]),
    )
    stored = StoredCredential(
        credential_id=credential_id,
        public_key=public_key,
        sign_count=0,
        user_handle=b"user",
        backup_eligible=backup_eligible,
    )
    verify_request(response, stored, challenge=raw(vector["challenge"]), top_origins=(TOP_ORIGIN,))


@pytest.mark.parametrize("name", CEREMONIES)
def test_a_vector_registers_and_signs_in(name: str) -> None:
    ceremony = CEREMONIES[name]
    verified = register(ceremony)
    assert verified.attestation.format == ceremony["format"]
    kind = {"apple": "anonca", "tpm": "attca"}.get(ceremony["format"], ceremony["attestation"])
    assert verified.attestation.type.value == {"x5c": "basic"}.get(kind, kind)
    assert verified.aaguid == (bytes(16) if name == WITHOUT_MODEL else raw(ceremony["registration"]["aaguid"]))
    has_path = ceremony["attestation"] == "x5c"
    assert verified.path.verdict is (TrustVerdict.ANCHORED if has_path else TrustVerdict.NO_PATH)
    worth = TrustVerdict.UNANCHORED if name in KEY_MAY_LEAVE else verified.path.verdict
    assert verified.trust.verdict is worth
    sign_in(ceremony, public_key=verified.public_key, backup_eligible=verified.backup_eligible)


@pytest.mark.parametrize("name", [name for name, ceremony in CEREMONIES.items() if ceremony["attestation"] == "x5c"])
def test_the_key_identifier_is_the_one_that_the_certificate_names(name: str) -> None:
    leaf = cbor2.loads(raw(CEREMONIES[name]["registration"]["attestationObject"]))["attStmt"]["x5c"][0]
    extension = parse_certificate(leaf).find_extension(x509.SubjectKeyIdentifier.oid)
    assert extension is not None
    assert extension.value == x509.SubjectKeyIdentifier(key_identifier(leaf))


def test_there_are_fifteen_vectors() -> None:
    assert len(CEREMONIES) == 15


@pytest.mark.parametrize("name", CEREMONIES)
def test_the_public_key_keeps_the_bytes_the_authenticator_sent(name: str) -> None:
    attestation_object = raw(CEREMONIES[name]["registration"]["attestationObject"])
    data = parse_attestation_object(attestation_object).authenticator_data
    assert data.raw == cbor2.loads(attestation_object)["authData"]
    assert data.attested is not None
    assert data.raw.endswith(data.attested.public_key)
