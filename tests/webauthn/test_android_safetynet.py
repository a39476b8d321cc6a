"""The format `android-safetynet`: signed by the service, about this registration, now, on a sound device."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import AttestationType, Evidence
from narthex.webauthn.attestation.android_safetynet import verify_android_safetynet
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.jws import JwsAlgorithmNotAllowed, JwsMalformed, JwsSignatureInvalid
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import ALGORITHMS, KeyPair, b64u, make_key_pair, maker, rsa_key
from tests.support.statements import SAFETYNET_HOST
from tests.webauthn.cases import Case, check_registration_refused, edit_statement
from tests.webauthn.ceremony import NOW, register, respond


def safetynet(**making: Any) -> dict[str, Any]:
    return {"attestation": "android-safetynet", "making": {"made_at": NOW} | making}


def stated(changes: dict[str, Any], *without: str) -> dict[str, Any]:
    return safetynet() | {"edit_statement": edit_statement(changes, *without)}


def answered(**changes: Any) -> dict[str, Any]:
    """Members of the payload that differ; None leaves one out."""
    return safetynet(changes=changes)


def payload(edit: Any) -> dict[str, Any]:
    return safetynet(edit_payload=edit)


def at(**span: float) -> dict[str, Any]:
    return safetynet(made_at=NOW + timedelta(**span))


def mac(text: bytes) -> bytes:
    """HS256 keyed with what everybody knows: the public key."""
    key = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signer = hmac.HMAC(key, hashes.SHA256())
    signer.update(text)
    return signer.finalize()


def with_part(at: int, part: bytes) -> dict[str, Any]:
    """The response with one of its three parts replaced."""

    def edit(response: bytes) -> bytes:
        parts = response.split(b".")
        return b".".join([*parts[:at], part, *parts[at + 1 :]])

    return safetynet(edit_response=edit)


Malformed = no.AttestationStatementMalformed

CASES = (
    # members
    Case("no version", Malformed, stated({}, "ver")),
    Case("no response", Malformed, stated({}, "response")),
    Case("a member more", Malformed, stated({"x5c": [b"x"]})),
    Case("version empty", Malformed, stated({"ver": ""})),
    Case("version is a number", Malformed, stated({"ver": 14799021})),
    Case("version is bytes", Malformed, stated({"ver": b"14799021"})),
    Case("response is a text", Malformed, safetynet(edit_response=bytes.decode)),
    Case("response empty", JwsMalformed, stated({"response": b""})),
    # the signature
    Case("response cut off", JwsMalformed, safetynet(edit_response=lambda raw: raw.rsplit(b".", 1)[0])),
    Case("not signed", JwsAlgorithmNotAllowed, safetynet(alg="none", sign=lambda text: b"")),
    Case("HS256 with the public key", JwsAlgorithmNotAllowed, safetynet(alg="HS256", sign=mac)),
    Case("RS512", JwsAlgorithmNotAllowed, safetynet(alg="RS512", key=KeyPair(-259, rsa_key()))),
    Case("ES256 with an RSA certificate", JwsAlgorithmNotAllowed, safetynet(alg="ES256")),
    Case("RS256 with an EC certificate", JwsAlgorithmNotAllowed, safetynet(leaf_key=make_key_pair(-7).private)),
    Case("another payload", JwsSignatureInvalid, with_part(1, b64u(b"{}").encode())),
    Case("another signature", JwsSignatureInvalid, with_part(2, b64u(bytes(256)).encode())),
    Case("no signature", JwsSignatureInvalid, with_part(2, b"")),
    # the payload
    Case("payload is no JSON", Malformed, payload(lambda raw: raw[1:])),
    Case("payload is an array", Malformed, payload(lambda raw: b"[" + raw + b"]")),
    Case("payload is not UTF-8", Malformed, payload(lambda raw: raw.replace(b"gms", b"\xff\xfe"))),
    Case("payload with a byte order mark", Malformed, payload(lambda raw: b"\xef\xbb\xbf" + raw)),
    Case("payload too deep", Malformed, payload(lambda raw: raw[:-1] + b',"x":' + b"[" * 9_000 + b"]" * 9_000 + b"}")),
    Case("nonce twice", Malformed, payload(lambda raw: b'{"nonce":"x",' + raw[1:])),
    Case("verdict twice", Malformed, payload(lambda raw: b'{"ctsProfileMatch":true,' + raw[1:])),
    Case("member twice below", Malformed, payload(lambda raw: b'{"x":{"a":1,"a":2},' + raw[1:])),
    Case("nan", Malformed, payload(lambda raw: b'{"x":NaN,' + raw[1:])),
    Case("no nonce", Malformed, answered(nonce=None)),
    Case("nonce is a list", Malformed, answered(nonce=["x"])),
    Case("another nonce", no.AttestationNonceMismatch, answered(nonce="AAAA")),
    Case("nonce empty", no.AttestationNonceMismatch, answered(nonce="")),
    Case("nonce in base64url", no.AttestationNonceMismatch, payload(lambda raw: raw.replace(b'=",', b'",'))),
    Case("a nonce that surrogates spoil", no.AttestationNonceMismatch, answered(nonce="\ud800")),
    # the device
    Case("device not sound", no.DeviceNotSound, answered(ctsProfileMatch=False)),
    Case("no verdict", Malformed, answered(ctsProfileMatch=None)),
    Case("verdict is a text", Malformed, answered(ctsProfileMatch="true")),
    Case("verdict is a number", Malformed, answered(ctsProfileMatch=1)),
    # the instant
    Case("a minute and a bit old", no.AttestationTimeInvalid, at(seconds=-60, milliseconds=-1)),
    Case("a year old", no.AttestationTimeInvalid, at(days=-365)),
    Case("from the future", no.AttestationTimeInvalid, at(seconds=10, milliseconds=1)),
    Case("from a far future", no.AttestationTimeInvalid, answered(timestampMs=10**4000)),
    Case("before 1970", no.AttestationTimeInvalid, answered(timestampMs=-1)),
    Case("in seconds", no.AttestationTimeInvalid, answered(timestampMs=int(NOW.timestamp()))),
    Case("no instant", Malformed, answered(timestampMs=None)),
    Case("instant is a text", Malformed, answered(timestampMs=str(int(NOW.timestamp() * 1000)))),
    Case("instant is a fraction", Malformed, answered(timestampMs=NOW.timestamp() * 1000)),
    Case("instant is true", Malformed, answered(timestampMs=True)),
    # the service
    Case("another host", no.AttestationCertificateInvalid, safetynet(names=("attest.example.com",))),
    Case("a host below", no.AttestationCertificateInvalid, safetynet(names=(f"x.{SAFETYNET_HOST}",))),
    Case("a host around", no.AttestationCertificateInvalid, safetynet(names=(f"{SAFETYNET_HOST}.example.com",))),
    Case("a wildcard", no.AttestationCertificateInvalid, safetynet(names=("*.android.com",))),
    Case("a common name only", no.AttestationCertificateInvalid, safetynet(names=(), common_name=SAFETYNET_HOST)),
    # the path
    Case("expired", no.TrustPathInvalid, safetynet(not_after=datetime(2021, 1, 1, tzinfo=UTC))),
    Case("not valid yet", no.TrustPathInvalid, safetynet(not_before=datetime(2030, 1, 1, tzinfo=UTC))),
    Case("issued by somebody else", no.TrustPathInvalid, safetynet(root="Another Root")),
    Case(
        "another root",
        no.AttestationUntrusted,
        safetynet(root="Another Root", with_root=False),
        expect={"anchors": (maker().der,), "trust_required": True},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_service_vouches_for_a_key_of_any_algorithm(algorithm: int) -> None:
    verified = register(algorithm=algorithm, expect={"anchors": (maker().der,), "trust_required": True}, **safetynet())
    assert verified.attestation.format == "android-safetynet"
    assert verified.attestation.type is AttestationType.BASIC
    assert len(verified.attestation.trust_path) == 2
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


@pytest.mark.parametrize("span", [{"seconds": -60}, {"seconds": 0}, {"seconds": 10}], ids=str)
def test_an_answer_of_the_last_minute_is_accepted(span: dict[str, float]) -> None:
    register(**at(**span))


def test_an_old_record_is_judged_at_its_own_instant() -> None:
    then = datetime(2021, 5, 1, tzinfo=UTC)
    register(expect={"now": then}, **safetynet(made_at=then))


def test_the_host_may_be_one_of_several() -> None:
    register(**safetynet(names=("example.com", SAFETYNET_HOST)))


@pytest.mark.parametrize("name", ["apkPackageName", "apkCertificateDigestSha256", "basicIntegrity"])
def test_what_the_answer_says_besides_is_not_judged(name: str) -> None:
    register(**answered(**{name: None}))


HONEST = parse_attestation_object(respond(**safetynet()).attestation_object)
ANYTHING = st.one_of(
    st.binary(max_size=80), st.sampled_from(["", "x"]), st.integers(), st.lists(st.binary(max_size=40))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["ver", "response", "x5c"]), ANYTHING))
def test_any_statement_is_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        verify_android_safetynet(statement, Evidence(HONEST.authenticator_data, bytes(32), NOW))


@settings(deadline=None)
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_that_the_service_might_sign_are_refused(raw: bytes) -> None:
    with pytest.raises(no.AttestationStatementMalformed):
        register(**payload(lambda honest: raw))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["nonce", "timestampMs", "ctsProfileMatch"]), JSON, min_size=1))
def test_an_answer_with_other_members_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        register(**answered(**changes))
    except Refusal:
        return
    assert changes == {"ctsProfileMatch": True}
