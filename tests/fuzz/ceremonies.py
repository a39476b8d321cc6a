"""Honest ceremonies that come out the same in every run, for whoever spoils them.

A case is to be made again from its seed alone, so what the software authenticator leaves to chance is fixed here: RSA
keys are the same in every run, and certificates are signed again in the one way that RFC 6979 gives. Two things remain
different, and no verdict hangs on them: the salts of PSS, and the instant in a SafetyNet answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from narthex.webauthn.authentication import StoredCredential
from tests.support.authenticator import (
    ALGORITHMS,
    Faults,
    KeyPair,
    Lots,
    SoftwareAuthenticator,
    SoftwareCredential,
    make_key_pair,
    maker,
)
from tests.support.statements_android_key import item
from tests.webauthn.ceremony import RP_ID, USER_HANDLE

Json = dict[str, Any]
Edit = Callable[[bytes], bytes]

CREDENTIAL_ID = bytes(range(32, 64))
_RSA = (-257, -258, -259, -37, -38, -39)
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")

_P = int(
    "f8a759d1cb9e380b28a56b27fcca0dbb349c1ae200822ce4983fe8bb3c4b9bf3953bb808bf3a6baf5ffe3825be1610358a8d"
    "49761fb881d689c5c35c5e8c8dd81cc406eaefec5b018cf39010225f1af4ce5ee0b81d8ee95e71fecf73b6ffbbfc4a80c440"
    "b232b7456b94a86d53ddca13cda2d75afc471d880fb6eefa0771d41d",
    16,
)
_Q = int(
    "d1166f8729bc0b53e8a1f5106454a0ef0db312a9e6d33e46f12977065393e733a945f1f986704e28818fdf21b2ba9e73302e"
    "f4f567a52d9cd98ce5516855c066dc239ad3e81580a8ad834fd2fb1de31499d369e36d337beaa4c7f31646b3a71e44fbdb6e"
    "a2e1ed8a688581113e95c26ae78e705d1bb31200c200b3ecc5aa4d23",
    16,
)


@cache
def steady_rsa_key() -> rsa.RSAPrivateKey:
    """The RSA key of every run. It protects nothing."""
    e = 65537
    d = rsa.rsa_recover_private_exponent(e, _P, _Q)
    numbers = rsa.RSAPublicNumbers(e, _P * _Q)
    crt = rsa.rsa_crt_dmp1(d, _P), rsa.rsa_crt_dmq1(d, _Q), rsa.rsa_crt_iqmp(_P, _Q)
    return rsa.RSAPrivateNumbers(_P, _Q, d, *crt, numbers).private_key()


@cache
def steady_key(alg: int) -> KeyPair:
    return KeyPair(alg, steady_rsa_key(), True) if alg in _RSA else make_key_pair(alg, Lots(f"fuzz {alg}"))


def reissued(der: bytes, edit: Edit = bytes) -> bytes:
    """A certificate that the maker of our certificates signs again; ``edit`` changes what is signed."""
    signed = edit(x509.load_der_x509_certificate(der).tbs_certificate_bytes)
    signature = maker().key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))
    return item(0x30, signed + _ECDSA_WITH_SHA256 + item(0x03, b"\0" + signature))


@cache
def steady_root() -> bytes:
    """The root of all certificates, in DER."""
    return reissued(maker().der)


class SteadyAuthenticator(SoftwareAuthenticator):
    """One that has the same key of each algorithm, and the same credential id, every time."""

    def _make_credential(self, options: Json, origin: str, faults: Faults) -> SoftwareCredential:
        credential_id = CREDENTIAL_ID if faults.credential_id is None else faults.credential_id
        key = steady_key(self._choose_algorithm(options))
        return SoftwareCredential(credential_id, key, RP_ID, USER_HANDLE, self.backup_eligible)


@dataclass(frozen=True)
class Format:
    """What to make: an attestation, with which algorithms of the credential, and what makes it steady."""

    attestation: str
    algorithms: tuple[int, ...]
    attestation_algorithm: int = -7
    making: Callable[[], Json] = dict

    @property
    def has_certificates(self) -> bool:
        """In ``x5c`` of the statement; those of SafetyNet are in its answer."""
        return self.attestation not in ("none", "packed-self", "android-safetynet")


# The last byte is a truth value, and one of the judges looks at it.
_CLOCK = {"clock_info": bytes(16) + b"\x01"}

FORMATS = {
    "none": Format("none", ALGORITHMS),
    "packed-self": Format("packed-self", ALGORITHMS),
    "packed-x5c": Format("packed-x5c", ALGORITHMS),
    "packed-x5c-ed25519": Format("packed-x5c", (-7, -8), attestation_algorithm=-8),
    "packed-x5c-p384": Format("packed-x5c", (-7,), attestation_algorithm=-35),
    "fido-u2f": Format("fido-u2f", (-7,)),
    "tpm": Format("tpm", (-257, -7, -35, -36), making=lambda: {"info": _CLOCK}),
    "tpm-rsa": Format("tpm", (-257, -7), making=lambda: {"info": _CLOCK, "aik": steady_key(-257)}),
    "android-key": Format("android-key", (-7, -35, -257), making=lambda: {"with_root": True}),
    "apple": Format("apple", (-7, -35, -257)),
    "android-safetynet": Format("android-safetynet", (-7,), making=lambda: {"key": steady_key(-257)}),
}


def stored_credential(alg: int, *, sign_count: int = 0, backup_eligible: bool | None = True) -> StoredCredential:
    """The record of the steady credential."""
    return StoredCredential(
        credential_id=CREDENTIAL_ID,
        public_key=cbor2.dumps(steady_key(alg).cose(), canonical=True),
        sign_count=sign_count,
        user_handle=USER_HANDLE,
        backup_eligible=backup_eligible,
    )
