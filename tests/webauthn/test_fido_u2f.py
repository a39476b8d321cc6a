"""The format `fido-u2f`: one certificate, one curve, one algorithm, and no model but the certificate's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import AttestationType, Evidence
from narthex.webauthn.attestation.fido_u2f import verify_fido_u2f
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import KeyPair, make_key_pair, maker, rsa_key
from tests.support.statements import U2F_KEY, issue
from tests.webauthn.cases import Case, ber_signature, check_registration_refused, edit_statement
from tests.webauthn.ceremony import NOW, register, respond

LEAF = issue(U2F_KEY.private)


def u2f(**making: Any) -> dict[str, Any]:
    return {"attestation": "fido-u2f", "making": making}


def stated(changes: dict[str, Any], *without: str) -> dict[str, Any]:
    return {"attestation": "fido-u2f", "edit_statement": edit_statement(changes, *without)}


def signature(edit: Any) -> dict[str, Any]:
    return {"attestation": "fido-u2f", "edit_statement": lambda members: members | {"sig": edit(members["sig"])}}


def over(edit: Any) -> dict[str, Any]:
    return u2f(edit_signed=edit)


CASES = (
    # members
    Case("no signature", no.AttestationStatementMalformed, stated({}, "sig")),
    Case("no certificates", no.AttestationStatementMalformed, stated({}, "x5c")),
    Case("an algorithm", no.AttestationStatementMalformed, stated({"alg": -7})),
    Case("signature is a text", no.AttestationStatementMalformed, stated({"sig": "x"})),
    Case("x5c empty", no.AttestationStatementMalformed, stated({"x5c": []})),
    Case("x5c is bytes", no.AttestationStatementMalformed, stated({"x5c": LEAF})),
    Case("a second certificate", no.AttestationStatementMalformed, stated({"x5c": [LEAF, maker().der]})),
    Case("the same certificate twice", no.AttestationStatementMalformed, stated({"x5c": [LEAF, LEAF]})),
    Case("no certificate at all", no.CertificateMalformed, stated({"x5c": [b"x"]})),
    # the certificate
    Case("key on P-384", no.AttestationCertificateInvalid, u2f(sign_with=make_key_pair(-35))),
    Case(
        "key on secp256k1",
        no.AttestationCertificateInvalid,
        u2f(sign_with=KeyPair(-7, ec.derive_private_key(7, ec.SECP256K1()))),
    ),
    Case("key of RSA", no.AttestationCertificateInvalid, u2f(sign_with=KeyPair(-257, rsa_key()))),
    Case("key of Ed25519", no.AttestationCertificateInvalid, u2f(sign_with=make_key_pair(-8))),
    Case("another certificate", no.AttestationSignatureInvalid, u2f(leaf_key=make_key_pair(-7).private)),
    # the credential
    Case("a key of ESP256", no.AttestationAlgorithmMismatch, u2f(), algorithm=-9),
    Case("a key of ES384", no.AttestationAlgorithmMismatch, u2f(), algorithm=-35),
    Case("a key of EdDSA", no.AttestationAlgorithmMismatch, u2f(edit_signed=bytes), algorithm=-8),
    # the signature
    Case("signature empty", no.AttestationSignatureInvalid, signature(lambda der: b"")),
    Case("signature in BER", no.AttestationSignatureInvalid, signature(ber_signature)),
    Case("signature followed by a byte", no.AttestationSignatureInvalid, signature(lambda der: der + b"\0")),
    Case("over another first byte", no.AttestationSignatureInvalid, over(lambda raw: b"\1" + raw[1:])),
    Case("over no first byte", no.AttestationSignatureInvalid, over(lambda raw: raw[1:])),
    Case("over another rp id", no.AttestationSignatureInvalid, over(lambda raw: raw[:1] + bytes(32) + raw[33:])),
    Case("over other client data", no.AttestationSignatureInvalid, over(lambda raw: raw[:33] + bytes(32) + raw[65:])),
    Case("over another credential", no.AttestationSignatureInvalid, over(lambda raw: raw[:65] + bytes(32) + raw[97:])),
    Case("over another key", no.AttestationSignatureInvalid, over(lambda raw: raw[:-64] + bytes(64))),
    Case("over a compressed key", no.AttestationSignatureInvalid, over(lambda raw: raw[:-65] + b"\2" + raw[-64:-32])),
    Case("over what packed signs", no.AttestationSignatureInvalid, over(lambda raw: raw[1:33] + raw)),
    # the path
    Case("expired", no.TrustPathInvalid, u2f(not_after=datetime(2021, 1, 1, tzinfo=UTC))),
    Case("not valid yet", no.TrustPathInvalid, u2f(not_before=datetime(2030, 1, 1, tzinfo=UTC))),
    Case(
        "issued by somebody else",
        no.AttestationUntrusted,
        u2f(root="Another Root"),
        expect={"anchors": (maker().der,), "trust_required": True},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize("anchor", [maker().der, LEAF], ids=["root", "certificate itself"])
def test_a_statement_leads_to_a_known_certificate(anchor: bytes) -> None:
    """Metadata of U2F models may list the attestation certificate itself."""
    verified = register(expect={"anchors": (anchor,), "trust_required": True}, **stated({"x5c": [LEAF]}))
    assert verified.attestation.format == "fido-u2f"
    assert verified.attestation.type is AttestationType.BASIC
    assert verified.trust.verdict is TrustVerdict.ANCHORED
    assert verified.aaguid == bytes(16)


def test_an_aaguid_is_nobodys_word() -> None:
    """It is not told, and anchors are not looked up by it."""
    asked: list[bytes] = []

    def find_anchors(aaguid: bytes, attestation: Any) -> tuple[bytes, ...]:
        asked.append(aaguid)
        return (maker().der,)

    verified = register(attestation="fido-u2f", aaguid=b"x" * 16, expect={"find_anchors": find_anchors})
    assert (verified.aaguid, verified.trust.verdict) == (bytes(16), TrustVerdict.ANCHORED)
    assert asked == [bytes(16)]


def test_without_anchors_the_certificate_is_uncertain() -> None:
    assert register(attestation="fido-u2f").trust == Trust(TrustVerdict.UNCERTAIN)


@pytest.mark.parametrize("size", [1, 64, 255])
def test_a_key_handle_has_the_length_its_maker_likes(size: int) -> None:
    register(attestation="fido-u2f", credential_id=b"x" * size)


def test_flags_and_counter_are_the_browsers_word() -> None:
    """U2F does not sign them: what they say proves nothing about the authenticator."""
    kept: list[dict[str, Any]] = []
    register(attestation="fido-u2f", edit_statement=lambda statement: kept.append(statement) or statement)
    verified = register(
        attestation="fido-u2f", uv=False, be=False, bs=False, sign_count=7, edit_statement=lambda statement: kept[0]
    )
    assert (verified.user_verified, verified.sign_count) == (False, 7)


HONEST = parse_attestation_object(respond(attestation="fido-u2f").attestation_object)
ANYTHING = st.one_of(
    st.binary(max_size=80), st.sampled_from(["", "x"]), st.integers(), st.lists(st.binary(max_size=40))
)


@given(st.dictionaries(st.sampled_from(["x5c", "sig", "alg"]), ANYTHING))
def test_any_statement_is_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        verify_fido_u2f(statement, Evidence(HONEST.authenticator_data, bytes(32), NOW))


@given(st.binary(max_size=80))
def test_any_bytes_are_no_signature(sig: bytes) -> None:
    with pytest.raises(no.AttestationSignatureInvalid):
        verify_fido_u2f({"sig": sig, "x5c": [LEAF]}, Evidence(HONEST.authenticator_data, bytes(32), NOW))
