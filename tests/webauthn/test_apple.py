"""The format `apple`: the certificate is for this key and for this registration, or it says nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import AttestationType, Evidence
from narthex.webauthn.attestation.apple import verify_apple
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import ALGORITHMS, make_key_pair, maker, rsa_key
from tests.support.statements import apple_nonce, der, issue
from tests.webauthn.cases import Case, check_registration_refused, edit_statement
from tests.webauthn.ceremony import NOW, register, respond

OTHER_LEAF = issue(make_key_pair(-7).private)


def apple(**making: Any) -> dict[str, Any]:
    return {"attestation": "apple", "making": making}


def extension(**tags: int) -> dict[str, Any]:
    return apple(edit_extension=lambda nonce: apple_nonce(nonce, **tags))


def extended(edit: Any) -> dict[str, Any]:
    return apple(edit_extension=lambda nonce: edit(apple_nonce(nonce)))


def stated(changes: dict[str, Any], *without: str) -> dict[str, Any]:
    return {"attestation": "apple", "edit_statement": edit_statement(changes, *without)}


CASES = (
    # members
    Case("no certificates", no.AttestationStatementMalformed, stated({}, "x5c")),
    Case("an algorithm that is a text", no.AttestationStatementMalformed, stated({"alg": "ES256"})),
    Case("an algorithm that is a truth value", no.AttestationStatementMalformed, stated({"alg": True})),
    Case("an algorithm alone", no.AttestationStatementMalformed, stated({"alg": -7}, "x5c")),
    Case("a signature", no.AttestationStatementMalformed, stated({"sig": b"x"})),
    Case("x5c empty", no.AttestationStatementMalformed, stated({"x5c": []})),
    Case("x5c is bytes", no.AttestationStatementMalformed, stated({"x5c": b"x"})),
    Case("x5c holds a text", no.AttestationStatementMalformed, stated({"x5c": ["x"]})),
    Case("no certificate at all", no.CertificateMalformed, stated({"x5c": [b"x"]})),
    # the nonce
    Case("no extension", no.AttestationNonceMismatch, apple(edit_extension=lambda nonce: None)),
    Case("another OID", no.AttestationNonceMismatch, apple(oid=ObjectIdentifier("1.2.840.113635.100.8.3"))),
    Case("another nonce", no.AttestationNonceMismatch, apple(edit_extension=lambda nonce: apple_nonce(bytes(32)))),
    Case("nonce cut off", no.AttestationNonceMismatch, apple(edit_extension=lambda nonce: apple_nonce(nonce[:31]))),
    Case("nonce not wrapped", no.AttestationNonceMismatch, apple(edit_extension=bytes)),
    Case("nonce wrapped once", no.AttestationNonceMismatch, apple(edit_extension=lambda nonce: der(0x04, nonce))),
    Case("nonce is a UTF8String", no.AttestationNonceMismatch, extension(inner=0x0C)),
    Case("nonce tagged [0]", no.AttestationNonceMismatch, extension(middle=0xA0)),
    Case("nonce in a SET", no.AttestationNonceMismatch, extension(outer=0x31)),
    Case("bytes after the extension", no.AttestationNonceMismatch, extended(lambda value: value + b"\0")),
    Case("length in long form", no.AttestationNonceMismatch, extended(lambda value: b"\x30\x81" + value[1:])),
    Case("extension empty", no.AttestationNonceMismatch, extended(lambda value: b"")),
    Case("another certificate first", no.AttestationNonceMismatch, stated({"x5c": [OTHER_LEAF, maker().der]})),
    # the key
    Case("another key", no.AttestationKeyMismatch, apple(leaf_key=make_key_pair(-7).private)),
    Case("a key on another curve", no.AttestationKeyMismatch, apple(leaf_key=make_key_pair(-35).private)),
    Case("a key of another type", no.AttestationKeyMismatch, apple(leaf_key=rsa_key())),
    # the path
    Case("expired", no.TrustPathInvalid, apple(not_after=datetime(2021, 1, 1, tzinfo=UTC))),
    Case("not valid yet", no.TrustPathInvalid, apple(not_before=datetime(2030, 1, 1, tzinfo=UTC))),
    Case("issued by somebody else", no.TrustPathInvalid, apple(root="Another Root")),
    Case("nonce marked as critical", no.TrustPathInvalid, apple(critical=True)),
    Case(
        "another root",
        no.AttestationUntrusted,
        apple(),
        expect={"anchors": (maker("Another Root").der,), "trust_required": True},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_certificate_vouches_for_a_key_of_any_algorithm(algorithm: int) -> None:
    verified = register(
        algorithm=algorithm, attestation="apple", expect={"anchors": (maker().der,), "trust_required": True}
    )
    assert verified.attestation.format == "apple"
    assert verified.attestation.type is AttestationType.ANONYMOUS_CA
    assert len(verified.attestation.trust_path) == 2
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


@pytest.mark.parametrize("alg", [-7, -257])
def test_an_algorithm_is_let_through_as_the_first_devices_sent_it(alg: int) -> None:
    assert register(**stated({"alg": alg})).attestation.format == "apple"


def test_a_statement_of_another_registration_is_refused() -> None:
    """Its key is the same, for the authenticator is seeded; its client data is not."""
    kept: list[dict[str, Any]] = []
    register(attestation="apple", edit_statement=lambda statement: kept.append(statement) or statement)
    with pytest.raises(no.AttestationNonceMismatch):
        register(attestation="apple", cross_origin=None, edit_statement=lambda statement: kept[0])


HONEST = parse_attestation_object(respond(attestation="apple").attestation_object)
ANYTHING = st.one_of(
    st.binary(max_size=40), st.sampled_from(["", "x"]), st.integers(), st.lists(st.binary(max_size=40))
)


@given(st.dictionaries(st.sampled_from(["x5c", "alg"]), ANYTHING))
def test_any_statement_is_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        verify_apple(statement, Evidence(HONEST.authenticator_data, bytes(32), NOW))


@given(st.binary(max_size=60))
def test_any_bytes_in_the_extension_are_refused(value: bytes) -> None:
    with pytest.raises(no.AttestationNonceMismatch):
        register(**apple(edit_extension=lambda nonce: value))
