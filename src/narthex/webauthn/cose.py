"""Credential public keys: COSE in, something that verifies out.

``ALGORITHMS`` is the one table; adding an algorithm is adding a row. A row fixes everything that a key of the
algorithm may be: its key type, its curve, its hash. Level 3 (#sctn-alg-identifier) narrows COSE: an ES256 key is on
P-256, an EdDSA key on Ed25519, elliptic points are never compressed, and the key carries its ``alg`` and no optional
member.

Beyond the spec: RSA moduli from 2048 to 8192 bits with an odd exponent from 3 to 2**32, PSS salts exactly as long as
the hash (RFC 8230 section 2), no leading zeros in RSA numbers, no Ed25519 point of small order (under such a key one
signature fits every message).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from narthex.base.errors import quoted
from narthex.webauthn import cbor
from narthex.webauthn.errors import AlgorithmUnsupported, PublicKeyMalformed, SignatureInvalid

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # pragma: no cover - cryptography before 47 has no ML-DSA
    mldsa = None  # type: ignore[assignment]

OKP, EC2, RSA, AKP = 1, 2, 3, 7
_KTY, _ALG = 1, 3

RSA_MIN_BITS, RSA_MAX_BITS = 2048, 8192
RSA_MAX_EXPONENT = 2**32

CACHED_KEYS = 4096
"""Loading a P-256 point costs about a third of a verification; a key is about 1 KiB."""

Member = int | bytes
Members = dict[int, Member]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: what a key of this algorithm is, and what its verification is called with."""

    identifier: int
    name: str
    kty: int
    load: Callable[[Members], object]
    """Members of the COSE key beside ``kty`` and ``alg`` → a public key; raises PublicKeyMalformed."""
    fits: Callable[[object], bool]
    """Is a key from elsewhere (a certificate) one that this algorithm may use?"""
    arguments: tuple[object, ...] = ()
    """What ``verify`` takes after signature and message."""
    members: frozenset[int] = frozenset()
    """The labels that the COSE key has, all of them and no other, beside ``kty`` and ``alg``."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key bound to the one algorithm it may be used with."""

    alg: int
    key: Any = field(repr=False)
    """The library's object, which can be compared with another."""
    _arguments: tuple[object, ...] = field(repr=False)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature.

        Raises:
            SignatureInvalid: it does not fit, or it is not encoded as the algorithm prescribes.
        """
        try:
            self.key.verify(signature, message, *self._arguments)
        except InvalidSignature as e:
            raise SignatureInvalid("signature does not fit the message and the key") from e


@lru_cache(maxsize=CACHED_KEYS)
def parse_public_key(raw: bytes) -> PublicKey:
    """Read a COSE_Key.

    WebAuthn L3 #sctn-attested-credential-data, credentialPublicKey.

    Raises:
        CborMalformed, PublicKeyMalformed: it is no key, or not one that its algorithm allows.
        AlgorithmUnsupported: the algorithm is not in the table.
    """
    members = _members_of(cbor.decode(raw))
    algorithm = _algorithm_of(members)
    if members.pop(_KTY, None) != algorithm.kty:
        raise PublicKeyMalformed(f"public key has another key type than {algorithm.name} asks for")
    if members.keys() != algorithm.members:
        raise PublicKeyMalformed(f"public key has not exactly the members of an {algorithm.name} key")
    try:
        return _bind(algorithm, algorithm.load(members))
    except ValueError as e:
        raise PublicKeyMalformed(f"public key is not a valid {algorithm.name} key") from e


def bind_key(alg: int, key: object) -> PublicKey | None:
    """Bind a key from a certificate to an algorithm; None if the algorithm cannot use such a key.

    Raises:
        AlgorithmUnsupported: the algorithm is not in the table.
    """
    algorithm = get_algorithm(alg)
    return _bind(algorithm, key) if algorithm.fits(key) else None


def get_algorithm(alg: object) -> Algorithm:
    """Look an algorithm up.

    Raises:
        AlgorithmUnsupported: it is not in the table.
    """
    algorithm = ALGORITHMS.get(alg) if type(alg) is int else None
    if algorithm is None:
        raise AlgorithmUnsupported(f"algorithm {quoted(alg)} is not supported")
    return algorithm


def _bind(algorithm: Algorithm, key: object) -> PublicKey:
    return PublicKey(algorithm.identifier, key, algorithm.arguments)


def _members_of(item: object) -> Members:
    if not isinstance(item, dict):
        raise PublicKeyMalformed("public key is not a CBOR map")
    for label, value in item.items():
        if type(label) is not int or type(value) not in (int, bytes):
            raise PublicKeyMalformed("public key has a label that is no integer, or a value of an unexpected type")
    return item


def _algorithm_of(members: Members) -> Algorithm:
    alg = members.pop(_ALG, None)
    if type(alg) is not int:
        raise PublicKeyMalformed("public key names no algorithm")
    return get_algorithm(alg)


def _octets(members: Members, label: int, *, size: int | None = None) -> bytes:
    value = members[label]
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise PublicKeyMalformed("public key has a member of a wrong type or length")
    return value


def _check_curve(members: Members, crv: int) -> None:
    value = members[-1]
    if type(value) is not int or value != crv:
        raise PublicKeyMalformed("public key is on another curve than its algorithm asks for")


# --- elliptic curves: RFC 9053 section 7.1.1 ------------------------------------------------------------------------


def _ecdsa(identifier: int, name: str, crv: int, curve: ec.EllipticCurve, digest: HashAlgorithm) -> Algorithm:
    size = (curve.key_size + 7) // 8

    def load(members: Members) -> ec.EllipticCurvePublicKey:
        _check_curve(members, crv)
        point = b"\x04" + _octets(members, -2, size=size) + _octets(members, -3, size=size)
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)  # refuses a point off the curve

    def fits(key: object) -> bool:
        return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == curve.name

    return Algorithm(identifier, name, EC2, load, fits, (ec.ECDSA(digest),), frozenset({-1, -2, -3}))


# --- Edwards curves: RFC 9053 section 7.2 ---------------------------------------------------------------------------

_P25519 = 2**255 - 19
# The y of the points of order 1, 2, 4 and 8: their sum with themselves, eight times, is the neutral point.
_Y_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _P25519 - 1, _Y_OF_ORDER_8, _P25519 - _Y_OF_ORDER_8})


def _load_ed25519(members: Members) -> ed25519.Ed25519PublicKey:
    _check_curve(members, 6)
    x = _octets(members, -2, size=32)
    y = int.from_bytes(x, "little") & (2**255 - 1)
    if y >= _P25519 or y in _SMALL_ORDER_Y:
        raise PublicKeyMalformed("public key is a point of small order, or not in canonical form")
    return ed25519.Ed25519PublicKey.from_public_bytes(x)


def _load_ed448(members: Members) -> ed448.Ed448PublicKey:
    _check_curve(members, 7)
    return ed448.Ed448PublicKey.from_public_bytes(_octets(members, -2, size=57))


def _ed25519(identifier: int, name: str) -> Algorithm:
    def fits(key: object) -> bool:
        return isinstance(key, ed25519.Ed25519PublicKey)

    return Algorithm(identifier, name, OKP, _load_ed25519, fits, (), frozenset({-1, -2}))


def _ed448(identifier: int, name: str) -> Algorithm:
    def fits(key: object) -> bool:
        return isinstance(key, ed448.Ed448PublicKey)

    return Algorithm(identifier, name, OKP, _load_ed448, fits, (), frozenset({-1, -2}))


# --- RSA: RFC 8230 section 4 ----------------------------------------------------------------------------------------


def _load_rsa(members: Members) -> rsa.RSAPublicKey:
    n, e = _octets(members, -1), _octets(members, -2)
    if n[:1] in (b"", b"\0") or e[:1] in (b"", b"\0"):
        raise PublicKeyMalformed("public key has an RSA number that is empty or has leading zeros")
    if len(n) * 8 > RSA_MAX_BITS or len(e) > 5:
        raise PublicKeyMalformed("public key has an RSA number that is too long")
    numbers = rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big"))
    if not _is_sound_rsa(numbers):
        raise PublicKeyMalformed("public key has an RSA modulus or exponent that we do not accept")
    return numbers.public_key()


def _is_sound_rsa(numbers: rsa.RSAPublicNumbers) -> bool:
    is_modulus = numbers.n % 2 == 1 and RSA_MIN_BITS <= numbers.n.bit_length() <= RSA_MAX_BITS
    return is_modulus and numbers.e % 2 == 1 and 3 <= numbers.e <= RSA_MAX_EXPONENT


def _fits_rsa(key: object) -> bool:
    return isinstance(key, rsa.RSAPublicKey) and _is_sound_rsa(key.public_numbers())


def _pkcs1(identifier: int, name: str, digest: HashAlgorithm) -> Algorithm:
    return Algorithm(identifier, name, RSA, _load_rsa, _fits_rsa, (padding.PKCS1v15(), digest), frozenset({-1, -2}))


def _pss(identifier: int, name: str, digest: HashAlgorithm) -> Algorithm:
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return Algorithm(identifier, name, RSA, _load_rsa, _fits_rsa, (scheme, digest), frozenset({-1, -2}))


# --- ML-DSA: RFC 9964, kty AKP --------------------------------------------------------------------------------------


def _mldsa(identifier: int, name: str) -> Algorithm | None:
    """A row for ML-DSA, or None where the installed cryptography has none."""
    key_class = getattr(mldsa, f"{name.replace('-', '')}PublicKey", None)
    private_class = getattr(mldsa, f"{name.replace('-', '')}PrivateKey", None)
    if key_class is None or private_class is None:
        return None
    try:
        private_class.from_seed_bytes(bytes(32))
    except UnsupportedAlgorithm:
        return None

    def load(members: Members) -> object:
        return key_class.from_public_bytes(_octets(members, -1))

    def fits(key: object) -> bool:
        return isinstance(key, key_class)

    return Algorithm(identifier, name, AKP, load, fits, (), frozenset({-1}))


_P256, _P384, _P521 = ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()
_ROWS = (
    _ecdsa(-7, "ES256", 1, _P256, SHA256()),
    _ecdsa(-35, "ES384", 2, _P384, SHA384()),
    _ecdsa(-36, "ES512", 3, _P521, SHA512()),
    _ecdsa(-9, "ESP256", 1, _P256, SHA256()),
    _ecdsa(-51, "ESP384", 2, _P384, SHA384()),
    _ecdsa(-52, "ESP512", 3, _P521, SHA512()),
    _ed25519(-8, "EdDSA"),
    _ed25519(-19, "Ed25519"),
    _ed448(-53, "Ed448"),
    _pkcs1(-257, "RS256", SHA256()),
    _pkcs1(-258, "RS384", SHA384()),
    _pkcs1(-259, "RS512", SHA512()),
    _pss(-37, "PS256", SHA256()),
    _pss(-38, "PS384", SHA384()),
    _pss(-39, "PS512", SHA512()),
    _mldsa(-48, "ML-DSA-44"),
    _mldsa(-49, "ML-DSA-65"),
    _mldsa(-50, "ML-DSA-87"),
)
ALGORITHMS: dict[int, Algorithm] = {row.identifier: row for row in _ROWS if row is not None}
"""COSE identifier → row, strongest habit first. SHA-1 (RS1, -65535) has no row and gets none."""
