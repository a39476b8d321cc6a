"""Signed texts: the pinned algorithm, the leaf's key, one spelling, and nothing that points elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn.errors import CertificateMalformed
from narthex.webauthn.jws import (
    JwsAlgorithmNotAllowed,
    JwsMalformed,
    JwsSignatureInvalid,
    SignedText,
    parse_path,
    verify_jws,
)
from narthex.webauthn.trust import MAX_PATH_CERTIFICATES
from tests.support.authenticator import KeyPair, b64u, make_certificate, name_of, rsa_key

PAYLOAD = b'{"no":1}'
PINNED = ("ES256", "RS256", "PS256")
P256, P384, P521 = (ec.derive_private_key(7, curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
KEYS: dict[str, tuple[int, Any]] = {
    "ES256": (-7, P256),
    "ES384": (-35, P384),
    "ES512": (-36, P521),
    "RS256": (-257, rsa_key()),
    "RS384": (-258, rsa_key()),
    "RS512": (-259, rsa_key()),
    "PS256": (-37, rsa_key()),
    "PS384": (-38, rsa_key()),
    "PS512": (-39, rsa_key()),
}


@cache  # an ECDSA signature is another one each time
def certificate(key: Any) -> bytes:
    subject = name_of(common_name="signer")
    made = make_certificate(key, subject=subject, issuer=subject, issuer_key=key, ca=False)
    return made.public_bytes(Encoding.DER)


LEAF = certificate(P256)


def signature(alg: str, text: bytes, key: Any = None) -> bytes:
    cose, usual = KEYS[alg]
    key = key or usual
    made = KeyPair(cose, key).sign(text)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return made
    size = (key.curve.key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(made))


def jws(
    *,
    alg: str = "ES256",
    header: dict[str, Any] | None = None,
    raw_header: bytes | None = None,
    path: tuple[bytes, ...] | None = None,
    payload: bytes = PAYLOAD,
    key: Any = None,
) -> bytes:
    path = (certificate(KEYS[alg][1]),) if path is None else path
    members = {"alg": alg, "x5c": [b64encode(der).decode() for der in path]} | (header or {})
    members = {name: value for name, value in members.items() if value is not None}
    raw = json.dumps(members).encode() if raw_header is None else raw_header
    text = f"{b64u(raw)}.{b64u(payload)}".encode()
    return text + b"." + b64u(signature(alg, text, key)).encode()


@pytest.mark.parametrize("alg", KEYS)
def test_a_text_signed_by_its_leaf_is_read(alg: str) -> None:
    assert SignedText(PAYLOAD, (certificate(KEYS[alg][1]),)) == verify_jws(jws(alg=alg), algorithms=(alg,))


def test_the_path_is_given_back_and_not_judged() -> None:
    path = (LEAF, b"not a certificate")
    assert path == verify_jws(jws(path=path), algorithms=PINNED).path


def test_the_path_can_be_read_where_nothing_is_verified() -> None:
    assert (LEAF, b"other") == parse_path(jws(path=(LEAF, b"other"), header={"alg": "none"}))


def test_an_unknown_header_member_is_ignored() -> None:
    assert PAYLOAD == verify_jws(jws(header={"typ": "JWT", "new": {"a": 1}}), algorithms=PINNED).payload


def test_a_payload_may_be_large_and_of_any_bytes() -> None:
    payload = bytes(range(256)) * 4096
    assert payload == verify_jws(jws(payload=payload), algorithms=PINNED).payload


@pytest.mark.parametrize("name", ["crit", "b64", "jwk", "jku", "x5u"])
def test_a_header_that_points_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(JwsMalformed):
        verify_jws(jws(header={name: ["exp"]}), algorithms=PINNED)


@pytest.mark.parametrize("alg", ["ES384", "RS256"])
def test_an_algorithm_that_is_not_pinned_is_refused(alg: str) -> None:
    with pytest.raises(JwsAlgorithmNotAllowed):
        verify_jws(jws(alg=alg), algorithms=("ES256",))


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "EdDSA", "ES256K", "es256"])
def test_an_algorithm_without_a_public_key_of_ours_is_refused_even_where_it_is_pinned(alg: str) -> None:
    with pytest.raises(JwsAlgorithmNotAllowed):
        verify_jws(jws(header={"alg": alg}), algorithms=(*PINNED, alg))


def test_an_unsigned_text_is_refused() -> None:
    header, payload, _ = jws(header={"alg": "none"}).split(b".")
    with pytest.raises(JwsAlgorithmNotAllowed):
        verify_jws(header + b"." + payload + b".", algorithms=PINNED)


def test_an_empty_signature_is_refused() -> None:
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(jws().rpartition(b".")[0] + b".", algorithms=PINNED)


@pytest.mark.parametrize("algorithms", [PINNED, (*PINNED, "HS256")])
def test_a_mac_keyed_with_the_public_key_is_refused(algorithms: tuple[str, ...]) -> None:
    text = jws(header={"alg": "HS256"}).rpartition(b".")[0]
    secret = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(text)
    with pytest.raises(JwsAlgorithmNotAllowed):
        verify_jws(text + b"." + b64u(mac.finalize()).encode(), algorithms=algorithms)


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("RS256", P256),
        ("ES256", rsa_key()),
        ("ES256", P384),
        ("ES256", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
        ("RS256", rsa_key(1024)),
    ],
    ids=["EC for RS256", "RSA for ES256", "another curve", "Edwards", "short RSA"],
)
def test_a_key_that_the_algorithm_cannot_use_is_refused(alg: str, key: Any) -> None:
    with pytest.raises(JwsAlgorithmNotAllowed):
        verify_jws(jws(alg=alg, path=(certificate(key),)), algorithms=PINNED)


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(jws(key=ec.derive_private_key(8, ec.SECP256R1())), algorithms=PINNED)


def test_a_signature_by_another_certificate_of_the_path_is_refused() -> None:
    other = certificate(ec.derive_private_key(8, ec.SECP256R1()))
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(jws(path=(other, LEAF)), algorithms=PINNED)


def test_an_ecdsa_signature_in_der_is_refused() -> None:
    text = jws().rpartition(b".")[0]
    der = KeyPair(-7, P256).sign(text)
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(text + b"." + b64u(der).encode(), algorithms=PINNED)


def test_rsa_pss_and_pkcs1_are_not_confused() -> None:
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(jws(alg="RS256", header={"alg": "PS256"}), algorithms=PINNED)


@pytest.mark.parametrize("part", [0, 1])
def test_an_altered_part_is_refused(part: int) -> None:
    parts = jws().split(b".")
    parts[part] = parts[part].replace(b"e", b"f", 1) if part else jws(header={"typ": "JWT"}).split(b".")[0]
    with pytest.raises(JwsSignatureInvalid):
        verify_jws(b".".join(parts), algorithms=PINNED)


ENCODED = b64encode(LEAF).decode()
BAD_HEADERS: dict[str, bytes] = {
    "no JSON": b"{",
    "no object": b"[]",
    "no UTF-8": b'{"alg":"\xff"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"alg":"ES256","n":NaN}',
    "nested beyond reading": b"[" * 100_000,
    "empty": b"",
    "alg twice": json.dumps({"alg": "none", "x5c": [ENCODED]}).encode()[:-1] + b',"alg":"ES256"}',
    "member twice below": json.dumps({"alg": "ES256", "x5c": [ENCODED]}).encode()[:-1] + b',"a":{"b":1,"b":2}}',
}


@pytest.mark.parametrize("raw", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_can_be_read_in_two_ways_or_none_is_refused(raw: bytes) -> None:
    with pytest.raises(JwsMalformed):
        verify_jws(jws(raw_header=raw), algorithms=PINNED)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": None},
        {"alg": 7},
        {"alg": ["ES256"]},
        {"x5c": None},
        {"x5c": []},
        {"x5c": ENCODED},
        {"x5c": [7]},
        {"x5c": ["ä"]},
        {"x5c": [ENCODED.rstrip("=")[:-1]]},
        {"x5c": [ENCODED + "\n"]},
        {"x5c": [ENCODED[:64] + "\n" + ENCODED[64:]]},
        {"x5c": [ENCODED.replace("/", "_").replace("+", "-") + "_-=="]},
        {"x5c": ["QUJDRB=="]},
        {"x5c": ["A" * 30_000]},
        {"x5c": [ENCODED] * (MAX_PATH_CERTIFICATES + 1)},
    ],
    ids=range(15),  # certificates differ from process to process
)
def test_a_header_without_an_algorithm_or_certificates_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(JwsMalformed):
        verify_jws(jws(header=header), algorithms=PINNED)


def test_a_leaf_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(CertificateMalformed):
        verify_jws(jws(path=(b"\x30\x00",)), algorithms=PINNED)


GOOD = jws()


@pytest.mark.parametrize(
    "compact",
    [
        b"",
        b"..",
        GOOD + b".",
        GOOD + b"\n",
        GOOD + b"=",
        b" " + GOOD,
        GOOD.replace(b".", b"=.", 1),
        GOOD.rpartition(b".")[0],
        GOOD + b"A" * 2000,
        b"A" * 300_000 + b".A.A",
    ],
    ids=range(10),
)
def test_what_is_not_exactly_a_compact_jws_is_refused(compact: bytes) -> None:
    with pytest.raises(JwsMalformed):
        verify_jws(compact, algorithms=PINNED)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda raw: GOOD + raw))
def test_any_bytes_are_a_value_or_a_refusal(raw: bytes) -> None:
    try:
        verify_jws(raw, algorithms=PINNED)
    except Refusal:
        return


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_can_be_altered_unseen(at: int, by: int) -> None:
    altered = GOOD[:at] + bytes([GOOD[at] ^ by]) + GOOD[at + 1 :]
    with pytest.raises(Refusal):
        verify_jws(altered, algorithms=PINNED)


def test_the_library_is_not_loaded_until_a_text_is_checked() -> None:
    code = "import sys, narthex.webauthn.jws; sys.exit('joserfc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
