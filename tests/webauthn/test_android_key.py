"""The format `android-key`: a certificate for this key, made for this registration, by a keystore that limits it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import AttestationType, Evidence
from narthex.webauthn.attestation.android_key import parse_key_description, verify_android_key
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.messages import RegistrationResponse
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import ALGORITHMS, SoftwareAuthenticator, make_key_pair, maker, rsa_key
from tests.support.statements_android_key import (
    ALL_APPLICATIONS,
    GENERATED,
    ORIGIN,
    PURPOSE,
    SIGNING,
    authorization_list,
    explicit,
    integer,
    item,
    key_description,
    set_of,
)
from tests.webauthn.cases import Case, check_registration_refused, edit_statement
from tests.webauthn.ceremony import (
    NOW,
    creation_options,
    register,
    registration_response,
    respond,
    verify_creation,
)
from tests.webauthn.ceremony import ORIGIN as PAGE
from tests.webauthn.oracles import accepts, fido2_registers, py_webauthn_registers
from tests.webauthn.test_mutations import replaced, spoilt, without_the_rest_of_the_path

OTHER = make_key_pair(-7)
ANCHORED = {"anchors": (maker().der,), "trust_required": True}
NONE: dict[int, bytes] = {}
BOTH = SIGNING | GENERATED
OPEN = {ALL_APPLICATIONS: item(0x05, b"")}
SOFTWARE, TEE = 0, 1


def android(**making: Any) -> dict[str, Any]:
    return {"attestation": "android-key", "making": making}


def described(**members: Any) -> dict[str, Any]:
    return android(description=members)


def edited(edit: Any) -> dict[str, Any]:
    return android(edit_description=edit)


def stated(changes: dict[str, Any], *without: str) -> dict[str, Any]:
    return {"attestation": "android-key", "edit_statement": edit_statement(changes, *without)}


def without_member(value: bytes) -> bytes:
    """The sequence with its last member, an empty list, left out."""
    assert value.endswith(b"\x30\x00")
    return item(0x30, value[2:-2])


MALFORMED, CERTIFICATE = no.AttestationStatementMalformed, no.AttestationCertificateInvalid
NOT_DER = no.CertificateMalformed
MEMBERS = ("alg", "sig", "x5c")
SHORT = {"software": NONE, "tee": NONE, "level": SOFTWARE}

CASES = (
    # members
    *(Case(f"no {name}", MALFORMED, stated({}, name)) for name in MEMBERS),
    *(Case(f"{name} is a text", MALFORMED, stated({name: "x"})) for name in MEMBERS),
    Case("a member too many", MALFORMED, stated({"ver": "1"})),
    Case("x5c is empty", MALFORMED, stated({"x5c": []})),
    Case("no certificate at all", no.CertificateMalformed, stated({"x5c": [b"x"]})),
    # the signature and the key
    Case("alg of another key type", no.AttestationAlgorithmMismatch, android(alg=-257)),
    Case("alg of another curve", no.AttestationAlgorithmMismatch, android(alg=-35)),
    Case("alg that nobody knows", no.AlgorithmUnsupported, android(alg=-65535)),
    Case("signature empty", no.AttestationSignatureInvalid, stated({"sig": b""})),
    Case("signature over other data", no.AttestationSignatureInvalid, android(edit_signed=lambda raw: raw + b"\0")),
    Case("signed by another key", no.AttestationSignatureInvalid, android(sign_with=OTHER)),
    Case("certificate of another key", no.AttestationSignatureInvalid, android(leaf_key=OTHER.private)),
    Case("another key, which signs", no.AttestationKeyMismatch, android(leaf_key=OTHER.private, sign_with=OTHER)),
    Case(
        "another key of another type, which signs",
        no.AttestationKeyMismatch,
        android(leaf_key=rsa_key(), sign_with=make_key_pair(-257), alg=-257),
    ),
    # the extension
    Case("no extension", CERTIFICATE, edited(lambda value: None)),
    Case("another OID", CERTIFICATE, android(oid=ObjectIdentifier("1.3.6.1.4.1.11129.2.1.18"))),
    Case("extension empty", NOT_DER, edited(lambda value: b"")),
    Case("extension cut off", NOT_DER, edited(lambda value: value[:-1])),
    Case("bytes after the extension", NOT_DER, edited(lambda value: value + b"\0")),
    Case("extension is a SET", NOT_DER, edited(lambda value: b"\x31" + value[1:])),
    Case(
        "a member missing",
        NOT_DER,
        described(**SHORT) | {"making": {"description": SHORT, "edit_description": without_member}},
    ),
    Case("a member too many", NOT_DER, edited(lambda value: item(0x30, value[2:] + integer(1)))),
    Case("another challenge", no.AttestationNonceMismatch, android(challenge=bytes(32))),
    Case("challenge cut off", no.AttestationNonceMismatch, android(challenge=b"x")),
    # the authorization lists
    Case("open to all applications, says the system", CERTIFICATE, described(software=OPEN)),
    Case("open to all applications, says the hardware", CERTIFICATE, described(tee=BOTH | OPEN)),
    Case("imported", CERTIFICATE, described(tee=SIGNING | {ORIGIN: integer(2)})),
    Case("imported, says the system", CERTIFICATE, described(software={ORIGIN: integer(2)})),
    Case("origin unknown", CERTIFICATE, described(tee=SIGNING)),
    Case("origin negative", CERTIFICATE, described(tee=SIGNING | {ORIGIN: integer(-1)})),
    Case("for no purpose", CERTIFICATE, described(tee=GENERATED)),
    Case("for an empty set of purposes", CERTIFICATE, described(tee=GENERATED | {PURPOSE: set_of()})),
    Case("for decrypting", CERTIFICATE, described(tee=GENERATED | {PURPOSE: set_of(1)})),
    Case("for signing and decrypting", CERTIFICATE, described(tee=GENERATED | {PURPOSE: set_of(1, 2)})),
    Case("for decrypting too, says the system", CERTIFICATE, described(software={PURPOSE: set_of(1)})),
    Case("hardware that says nothing", CERTIFICATE, described(software=NONE, tee=NONE)),
    Case("software and imported", CERTIFICATE, described(level=SOFTWARE, tee={ORIGIN: integer(1)})),
    Case("origin is no number", NOT_DER, described(tee=SIGNING | {ORIGIN: item(0x04, b"\0")})),
    Case("origin twice in one", NOT_DER, described(tee=SIGNING | {ORIGIN: integer(0) * 2})),
    Case("origin is empty", NOT_DER, described(tee=SIGNING | {ORIGIN: item(0x02, b"")})),
    Case("origin with a needless zero", NOT_DER, described(tee=SIGNING | {ORIGIN: item(0x02, b"\0\0")})),
    Case("purposes are no set", NOT_DER, described(tee=GENERATED | {PURPOSE: integer(2)})),
    Case("a purpose is no number", NOT_DER, described(tee=GENERATED | {PURPOSE: item(0x31, item(0x04, b"\2"))})),
    Case("a field twice", NOT_DER, described(tee=item(0x30, explicit(ORIGIN, integer(0)) * 2))),
    Case("a field without its tag", NOT_DER, described(tee=item(0x30, integer(0)))),
    # the path
    Case("expired", no.TrustPathInvalid, android(not_after=datetime(2021, 1, 1, tzinfo=UTC))),
    Case("not valid yet", no.TrustPathInvalid, android(not_before=datetime(2030, 1, 1, tzinfo=UTC))),
    Case("issued by somebody else", no.TrustPathInvalid, android(root="Another Root", with_root=True)),
    Case("another root", no.AttestationUntrusted, android(root="Another Root"), expect=ANCHORED),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_keystore_vouches_for_a_key_of_any_algorithm(algorithm: int) -> None:
    verified = register(algorithm=algorithm, **android(), expect=ANCHORED)
    assert verified.attestation.format == "android-key"
    assert verified.attestation.type is AttestationType.BASIC
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


@pytest.mark.parametrize(
    "members",
    [
        {"software": NONE, "tee": BOTH},
        {"software": BOTH, "tee": BOTH},
        {"tee": BOTH | {20_000: integer(1)}},
        {"tee": BOTH, "level": 2},
    ],
    ids=["hardware", "both", "field of the future", "strongbox"],
)
def test_what_the_hardware_enforces_is_vouched_for(members: dict[str, Any]) -> None:
    register(**described(**members), expect=ANCHORED)


@pytest.mark.parametrize(
    "members",
    [
        {"software": BOTH, "tee": NONE},
        {"software": SIGNING, "tee": GENERATED},
        {"software": NONE, "tee": NONE, "level": SOFTWARE},
        {"software": GENERATED, "tee": NONE, "level": SOFTWARE},
        {"tee": BOTH, "level": SOFTWARE},
        {"tee": BOTH, "kept_in": SOFTWARE},
    ],
    ids=[
        "system",
        "half and half",
        "software that says nothing",
        "software that says half",
        "software that speaks for hardware",
        "hardware that speaks for software",
    ],
)
def test_what_the_system_enforces_verifies_and_nobody_vouches_for_it(members: dict[str, Any]) -> None:
    verified = register(**described(**members), expect={"anchors": (maker().der,)})
    assert Trust(TrustVerdict.UNANCHORED) == verified.trust


@pytest.mark.parametrize("algorithm", [-7, -257])
def test_others_accept_it_too(algorithm: int) -> None:
    authenticator = SoftwareAuthenticator(seed=3, algorithm=algorithm)
    message = authenticator.register(creation_options(), origin=PAGE, **android(with_root=True))
    assert verify_creation(registration_response(message)).attestation.format == "android-key"
    assert accepts(py_webauthn_registers, message)
    assert accepts(fido2_registers, message)


def test_a_statement_of_another_registration_is_refused() -> None:
    """Its key is the same, for the authenticator is seeded; its client data is not."""
    kept: list[dict[str, Any]] = []
    register(attestation="android-key", edit_statement=lambda statement: kept.append(statement) or statement)
    with pytest.raises(no.AttestationSignatureInvalid):
        register(attestation="android-key", cross_origin=None, edit_statement=lambda statement: kept[0])


# --- any bytes ------------------------------------------------------------------------------------------------------

HONEST = parse_attestation_object(respond(**android()).attestation_object)
DESCRIPTION = key_description(bytes(32))
LISTS = st.dictionaries(st.integers(0, 20_000), st.integers().map(integer), max_size=4)


@given(st.one_of(st.binary(max_size=80), spoilt(DESCRIPTION)))
def test_any_bytes_are_a_description_or_refused(raw: bytes) -> None:
    try:
        parse_key_description(raw)
    except no.CertificateMalformed:
        return


@given(st.binary(max_size=200), LISTS, LISTS, st.integers(0, 2**40))
def test_what_is_written_is_read(challenge: bytes, software: Any, tee: Any, level: int) -> None:
    raw = key_description(challenge, software=software, tee=tee, level=level)
    description = parse_key_description(raw)
    assert (challenge, level) == (description.challenge, description.security_level)
    assert (software, tee) == (description.software_enforced, description.tee_enforced)
    assert raw.endswith(authorization_list(description.tee_enforced))


def test_a_description_is_read_whole_or_not_at_all() -> None:
    for end in range(len(DESCRIPTION)):
        with pytest.raises(no.CertificateMalformed):
            parse_key_description(DESCRIPTION[:end])


ANYTHING = st.one_of(st.binary(max_size=40), st.text(max_size=8), st.integers(), st.lists(st.binary(max_size=40)))


@given(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING))
def test_any_members_are_refused(members: dict[str, Any]) -> None:
    evidence = Evidence(HONEST.authenticator_data, bytes(32), NOW)
    for statement in (members, HONEST.statement | members):
        with pytest.raises(Refusal):
            verify_android_key(statement, evidence)


@cache
def honest_response() -> RegistrationResponse:
    return respond(**android(with_root=True))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_spoilt_registration_is_refused(data: st.DataObject) -> None:
    honest = honest_response()
    changed = data.draw(spoilt(honest.attestation_object))
    try:
        verified = verify_creation(replaced(honest, "attestation_object", changed), **ANCHORED)
    except Refusal:
        return
    accepted = verify_creation(honest, **ANCHORED)
    assert without_the_rest_of_the_path(verified) == without_the_rest_of_the_path(accepted)
