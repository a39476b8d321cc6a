"""Credential public keys: what each algorithm allows, and nothing else."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import cose
from narthex.webauthn.errors import AlgorithmUnsupported, PublicKeyMalformed, SignatureInvalid
from tests.support.authenticator import ALGORITHMS, KeyPair, Lots, make_key_pair, rsa_key

MESSAGE = b"what is signed"


def key_of(alg: int, seed: str = "key") -> KeyPair:
    return make_key_pair(alg, Lots(seed))


def encode(members: dict[Any, Any]) -> bytes:
    return cbor2.dumps(members, canonical=True)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_verifies_what_its_private_half_signed(alg: int) -> None:
    pair = key_of(alg)
    key = cose.parse_public_key(encode(pair.cose()))
    assert key.alg == alg
    key.verify(pair.sign(MESSAGE), MESSAGE)
    with pytest.raises(SignatureInvalid):
        key.verify(pair.sign(MESSAGE), MESSAGE + b"!")


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_spoilt_signature_is_refused(alg: int) -> None:
    pair = key_of(alg)
    signature = pair.sign(MESSAGE)
    key = cose.parse_public_key(encode(pair.cose()))
    for spoilt in (b"", b"\0", signature[:-1], signature + b"\0", bytes(len(signature)), signature[::-1]):
        with pytest.raises(SignatureInvalid):
            key.verify(spoilt, MESSAGE)


def test_the_table_has_every_algorithm_of_the_authenticator() -> None:
    assert set(cose.ALGORITHMS) == set(ALGORITHMS)


def test_sha_1_is_not_supported() -> None:
    with pytest.raises(AlgorithmUnsupported):
        cose.get_algorithm(-65535)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_is_bound_to_its_algorithm(alg: int) -> None:
    """Under every other algorithm the same members are no key, or verify nothing."""
    pair = key_of(alg)
    for other in ALGORITHMS:
        if other == alg:
            continue
        try:
            key = cose.parse_public_key(encode(pair.cose() | {3: other}))
            key.verify(pair.sign(MESSAGE), MESSAGE)
        except (PublicKeyMalformed, SignatureInvalid):
            continue
        assert {alg, other} in ({-7, -9}, {-35, -51}, {-36, -52}, {-8, -19})


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_has_exactly_its_members(alg: int) -> None:
    members = key_of(alg).cose()
    for label in members:
        with pytest.raises(PublicKeyMalformed):
            cose.parse_public_key(encode({other: value for other, value in members.items() if other != label}))
    for more in ({2: b"kid"}, {4: 2}, {-4: b"d"}, {-70: b"x"}):
        with pytest.raises(PublicKeyMalformed):
            cose.parse_public_key(encode(members | more))


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("value", [b"", b"\0", 0, 1, True, None, "x", [], {}, 1.0, b"\xff" * 1100])
def test_a_member_of_another_kind_is_refused(alg: int, value: Any) -> None:
    members = key_of(alg).cose()
    for label in members:
        if members[label] == value and type(members[label]) is type(value):
            continue
        with pytest.raises((PublicKeyMalformed, AlgorithmUnsupported)):
            cose.parse_public_key(encode(members | {label: value}))


@pytest.mark.parametrize("alg", [-7, -35, -36])
def test_the_point_must_be_on_the_curve(alg: int) -> None:
    members = key_of(alg).cose()
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(encode(members | {-3: members[-2]}))
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(encode(members | {-2: bytes(len(members[-2])), -3: bytes(len(members[-3]))}))  # type: ignore[arg-type]


def test_eddsa_is_ed25519_alone() -> None:
    """L3 #sctn-alg-identifier: EdDSA (-8) keys specify the curve Ed25519; Ed448 has an identifier of its own."""
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(encode(key_of(-53).cose() | {3: -8}))


_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def _is_on_ed25519(x: int, y: int) -> bool:
    return (-x * x + y * y - 1 - _D * x * x * y * y) % _P == 0


def _double(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = _D * x * x * y * y % _P
    return 2 * x * y * pow(1 + product, -1, _P) % _P, (y * y + x * x) * pow(1 - product, -1, _P) % _P


def _root(square: int) -> int:
    root = pow(square, (_P + 3) // 8, _P)
    return root if root * root % _P == square else root * pow(2, (_P - 1) // 4, _P) % _P


def test_the_points_of_small_order_are_those_of_the_table() -> None:
    """Doubled three times, and no sooner for all of them, each is the neutral point (0, 1)."""
    for y in cose._SMALL_ORDER_Y:
        x = _root((y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P)
        assert _is_on_ed25519(x, y)
        assert _double(_double(_double((x, y)))) == (0, 1)
    assert len(cose._SMALL_ORDER_Y) == 5, "with both signs of x: 1 + 1 + 2 + 4 points"


@pytest.mark.parametrize("y", [*sorted(cose._SMALL_ORDER_Y), _P, _P + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 2**255])
def test_a_point_of_small_order_is_no_key(y: int, sign: int) -> None:
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(encode({1: 1, 3: -8, -1: 6, -2: (y | sign).to_bytes(32, "little")}))


def rsa_members(n: int, e: int = 65537) -> bytes:
    def octets(number: int) -> bytes:
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    return encode({1: 3, 3: -257, -1: octets(n), -2: octets(e)})


@pytest.mark.parametrize("e", [1, 2, 65536, 2**32 + 1, 2**64 + 1])
def test_an_rsa_exponent_is_odd_and_moderate(e: int) -> None:
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(rsa_members(rsa_key().public_key().public_numbers().n, e))


@pytest.mark.parametrize("n", [2**2047, 2**2046 + 1, 2**1023 + 1, 2**8192 + 1, 2**9000 + 1])
def test_an_rsa_modulus_is_odd_and_has_2048_to_8192_bits(n: int) -> None:
    with pytest.raises(PublicKeyMalformed):
        cose.parse_public_key(rsa_members(n))


@pytest.mark.parametrize(("n", "e"), [(2**2047 + 1, 3), (2**8191 + 1, 2**32 - 1)])
def test_an_rsa_key_may_be_as_small_and_as_large_as_that(n: int, e: int) -> None:
    assert cose.parse_public_key(rsa_members(n, e)).alg == -257


def test_rsa_numbers_have_no_leading_zeros() -> None:
    members = key_of(-257).cose()
    for label in (-1, -2):
        with pytest.raises(PublicKeyMalformed):
            cose.parse_public_key(encode(members | {label: b"\0" + members[label]}))  # type: ignore[operator]


CERTIFICATE_KEYS: dict[str, Any] = {
    "p256": ec.derive_private_key(7, ec.SECP256R1()).public_key(),
    "p384": ec.derive_private_key(7, ec.SECP384R1()).public_key(),
    "secp256k1": ec.derive_private_key(7, ec.SECP256K1()).public_key(),
    "ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
    "small rsa": rsa.RSAPublicNumbers(3, 2**1023 + 1).public_key(),
}


def test_a_certificate_key_is_bound_only_where_it_fits() -> None:
    fitting = {(alg, name) for alg in ALGORITHMS for name, key in CERTIFICATE_KEYS.items() if cose.bind_key(alg, key)}
    assert fitting == {(-7, "p256"), (-9, "p256"), (-35, "p384"), (-51, "p384"), (-8, "ed25519"), (-19, "ed25519")}


@given(st.binary(max_size=100))
def test_any_bytes_are_a_key_or_refused(raw: bytes) -> None:
    try:
        cose.parse_public_key(raw)
    except Refusal:
        return


@given(st.sampled_from(ALGORITHMS), st.data())
def test_a_mutated_key_is_a_key_or_refused(alg: int, data: st.DataObject) -> None:
    raw = bytearray(encode(key_of(alg).cose()))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        key = cose.parse_public_key(bytes(raw))
        key.verify(b"\x30\x06\x02\x01\x01\x02\x01\x01", MESSAGE)
    except Refusal:
        return
