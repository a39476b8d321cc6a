"""What all formats share: how a statement is read, and the fact that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.authenticator_data import AuthenticatorData
from narthex.webauthn.errors import AttestationStatementMalformed


class AttestationType(StrEnum):
    """L3 #sctn-attestation-types."""

    NONE = "none"
    SELF = "self"
    BASIC = "basic"
    """A certificate vouches. Whether per model or per authenticator (AttCA, AnonCA), only metadata can tell."""


class Attestation(msgspec.Struct, frozen=True):
    """A statement that verified: what kind it is and which certificates it leads to."""

    format: str
    type: AttestationType
    trust_path: tuple[bytes, ...] = ()
    """DER certificates, leaf first."""


Verifier = Callable[[Statement, AuthenticatorData, bytes], Attestation]
"""(statement, authenticator data, hash of the client data) → a fact, or a refusal."""


def get_bytes(statement: Statement, name: str) -> bytes:
    """Read a member that is bytes."""
    value = statement[name]
    if not isinstance(value, bytes):
        raise AttestationStatementMalformed(f"attestation statement has a `{name}` that is not bytes")
    return value


def get_algorithm_id(statement: Statement) -> int:
    """Read ``alg``, a COSE algorithm identifier."""
    value = statement["alg"]
    if type(value) is not int:
        raise AttestationStatementMalformed("attestation statement has an `alg` that is not an integer")
    return value


def get_certificates(statement: Statement) -> tuple[bytes, ...]:
    """Read ``x5c``: one or more DER certificates, leaf first."""
    value = statement["x5c"]
    if not isinstance(value, list) or not value or not all(isinstance(der, bytes) for der in value):
        raise AttestationStatementMalformed("attestation statement has an `x5c` that is not a list of certificates")
    return tuple(value)
