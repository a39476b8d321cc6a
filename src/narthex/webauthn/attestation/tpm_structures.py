"""The two TPM structures of a `tpm` statement (TPM 2.0 Library, Part 2: Structures).

TPMS_ATTEST is what the TPM signed, TPMT_PUBLIC the public area of the key it signed about. Numbers are big-endian,
variable fields carry their length in two bytes. Every length has its bound, and nothing may follow the structure.

A credential key only signs, and unrestricted: the parameters that belong to other keys must be TPM_ALG_NULL, as Part 2
says of TPMS_RSA_PARMS and TPMS_ECC_PARMS.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256, sha384, sha512
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from narthex.webauthn.cose import RSA_MAX_BITS
from narthex.webauthn.errors import AttestationStatementMalformed

TPM_GENERATED_VALUE = 0xFF544347
TPM_ST_ATTEST_CERTIFY = 0x8017

_ALG_RSA, _ALG_ECC, _ALG_NULL = 0x0001, 0x0023, 0x0010
_SIGNATURE_SCHEMES = {_ALG_RSA: {0x0014, 0x0016}, _ALG_ECC: {0x0018}}
"""RSASSA and RSAPSS; ECDSA. Each is followed by its hash."""

_DEFAULT_EXPONENT = 65_537
_MAX_DIGEST_BYTES = 64
_MAX_NAME_BYTES = _MAX_EXTRA_DATA_BYTES = 2 + _MAX_DIGEST_BYTES  # TPMT_HA: an algorithm and its digest
_CLOCK_INFO_BYTES, _FIRMWARE_VERSION_BYTES = 8 + 4 + 4 + 1, 8

# Beyond the spec: SHA-1 names no key. The name binds the attestation to the key, and whoever makes the key could look
# for two of one name.
_NAME_HASHES: dict[int, Callable[[bytes], Any]] = {0x000B: sha256, 0x000C: sha384, 0x000D: sha512}
"""TPMI_ALG_HASH → hash."""
_CURVES: dict[int, ec.EllipticCurve] = {3: ec.SECP256R1(), 4: ec.SECP384R1(), 5: ec.SECP521R1()}
"""TPMI_ECC_CURVE → curve."""

_STAYS = 1 << 1 | 1 << 4 | 1 << 5
"""TPMA_OBJECT (section 8.3): fixedTPM, fixedParent and sensitiveDataOrigin. A key without them came from outside, or
may be copied out, and a TPM certifies it all the same."""

KeyNumbers = ec.EllipticCurvePublicNumbers | rsa.RSAPublicNumbers


class Attest(msgspec.Struct, frozen=True):
    """TPMS_ATTEST with the attested TPMS_CERTIFY_INFO, as far as it is judged."""

    extra_data: bytes
    """What the caller gave to be signed along."""
    name: bytes
    """Of the key that is attested."""


class PublicArea(msgspec.Struct, frozen=True):
    """TPMT_PUBLIC, as far as it is judged."""

    name: bytes
    """nameAlg and the hash of the area (Part 1 section 16)."""
    key: KeyNumbers
    stays: bool
    """The TPM made the key, and never gives it away."""


def parse_attest(raw: bytes) -> Attest:
    """Read TPMS_ATTEST (Part 2 section 10.12.8).

    qualifiedSigner, clockInfo, firmwareVersion and qualifiedName are read over: they are for risk engines.

    Raises:
        AttestationStatementMalformed: it was not made by a TPM, is no certification, or is cut off or too long.
    """
    reader = _Reader(raw, "certInfo")
    if reader.number(4) != TPM_GENERATED_VALUE:
        raise AttestationStatementMalformed("certInfo was not made by a TPM")
    if reader.number(2) != TPM_ST_ATTEST_CERTIFY:
        raise AttestationStatementMalformed("certInfo does not certify a key")
    reader.sized(_MAX_NAME_BYTES)  # qualifiedSigner
    extra_data = reader.sized(_MAX_EXTRA_DATA_BYTES)
    reader.take(_CLOCK_INFO_BYTES)
    reader.take(_FIRMWARE_VERSION_BYTES)
    name = reader.sized(_MAX_NAME_BYTES)
    reader.sized(_MAX_NAME_BYTES)  # qualifiedName
    reader.end()
    return Attest(extra_data, name)


def parse_public_area(raw: bytes) -> PublicArea:
    """Read TPMT_PUBLIC (Part 2 section 12.2.4).

    Raises:
        AttestationStatementMalformed: it is no signing key of RSA or on a NIST curve, or is cut off or too long.
    """
    reader = _Reader(raw, "pubArea")
    kind = reader.number(2)
    name_alg = reader.take(2)
    digest = _NAME_HASHES.get(int.from_bytes(name_alg, "big"))
    if digest is None or kind not in _SIGNATURE_SCHEMES:
        raise AttestationStatementMalformed("pubArea is of a type, or is named by a hash, that we do not accept")
    attributes = reader.number(4)
    reader.sized(_MAX_DIGEST_BYTES)  # authPolicy
    _read_schemes(reader, kind)
    key: KeyNumbers = _read_rsa(reader) if kind == _ALG_RSA else _read_ecc(reader)
    reader.end()
    return PublicArea(name_alg + digest(raw).digest(), key, stays=attributes & _STAYS == _STAYS)


def _read_schemes(reader: _Reader, kind: int) -> None:
    """Symmetric and scheme, which the parameters of both types begin with."""
    reader.null()
    scheme = reader.number(2)
    if scheme == _ALG_NULL:
        return
    if scheme not in _SIGNATURE_SCHEMES[kind]:
        raise AttestationStatementMalformed("pubArea is of a key that is not for signing")
    reader.take(2)  # its hash


def _read_rsa(reader: _Reader) -> rsa.RSAPublicNumbers:
    """The rest of TPMS_RSA_PARMS, and TPM2B_PUBLIC_KEY_RSA."""
    bits, exponent = reader.number(2), reader.number(4)
    modulus = int.from_bytes(reader.sized(RSA_MAX_BITS // 8), "big")
    if modulus.bit_length() != bits:
        raise AttestationStatementMalformed("pubArea has an RSA modulus of another length than it says")
    return rsa.RSAPublicNumbers(exponent or _DEFAULT_EXPONENT, modulus)


def _read_ecc(reader: _Reader) -> ec.EllipticCurvePublicNumbers:
    """The rest of TPMS_ECC_PARMS, and TPMS_ECC_POINT. Some TPMs leave out leading zeros of coordinates."""
    curve = _CURVES.get(reader.number(2))
    if curve is None:
        raise AttestationStatementMalformed("pubArea is on a curve that we do not accept")
    reader.null()  # kdf
    size = (curve.key_size + 7) // 8
    x, y = (int.from_bytes(reader.sized(size), "big") for _ in range(2))
    return ec.EllipticCurvePublicNumbers(x, y, curve)


class _Reader:
    """Reads a structure from its start to its end."""

    __slots__ = ("_at", "_name", "_raw")

    def __init__(self, raw: bytes, name: str) -> None:
        self._raw, self._name, self._at = raw, name, 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._raw):
            raise AttestationStatementMalformed(f"{self._name} is cut off")
        taken, self._at = self._raw[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, limit: int) -> bytes:
        """A TPM2B: a length in two bytes, and as many bytes."""
        size = self.number(2)
        if size > limit:
            raise AttestationStatementMalformed(f"{self._name} has a field of more than {limit} bytes")
        return self.take(size)

    def null(self) -> None:
        if self.number(2) != _ALG_NULL:
            raise AttestationStatementMalformed(f"{self._name} has a parameter that no credential key has")

    def end(self) -> None:
        if self._at != len(self._raw):
            raise AttestationStatementMalformed(f"bytes follow {self._name}")
