"""What all formats share: how a statement is read, and the fact that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import msgspec

from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.authenticator_data import AttestedCredentialData, AuthenticatorData
from narthex.webauthn.errors import AttestationStatementMalformed, AttestedCredentialDataMissing


class AttestationType(StrEnum):
    """L3 #sctn-attestation-types."""

    NONE = "none"
    SELF = "self"
    BASIC = "basic"
    """A certificate vouches. Most formats cannot tell one of a model from one of a single authenticator (attca)."""
    ATTCA = "attca"
    """A certificate vouches that a CA made for this authenticator's attestation key (#attca)."""
    ANONYMOUS_CA = "anonca"
    """A certificate made for this credential alone vouches (#anonymization-ca)."""


class Evidence(msgspec.Struct, frozen=True):
    """What a statement is about."""

    data: AuthenticatorData
    client_data_hash: bytes
    """32 bytes."""
    now: datetime
    """Instant of the call, UTC."""

    @property
    def attested(self) -> AttestedCredentialData:
        """The new credential.

        Raises:
            AttestedCredentialDataMissing.
        """
        if self.data.attested is None:
            raise AttestedCredentialDataMissing("authenticator data has no credential to attest")
        return self.data.attested

    @property
    def signed(self) -> bytes:
        """authData and the hash of the client data, joined: what most formats sign."""
        return self.data.raw + self.client_data_hash


class Attestation(msgspec.Struct, frozen=True):
    """A statement that verified: what kind it is and which certificates it leads to."""

    format: str
    type: AttestationType
    trust_path: tuple[bytes, ...] = ()
    """DER certificates, leaf first."""
    parts: tuple[Attestation, ...] = ()
    """What a compound statement is made of; empty for any other."""
    covers_aaguid: bool = True
    """False where the certificates vouch for the key, and not for the AAGUID that came with it."""
    key_may_leave: bool = False
    """True where the statement itself lets the key be outside the hardware: an anchor then proves nothing of it."""

    @property
    def judged(self) -> tuple[Attestation, ...]:
        """The statements whose trust paths count: itself, or of a compound one the parts that cover the AAGUID.

        A part that does not would otherwise make a fact of a model that nobody signed for.
        """
        return tuple(part for part in self.parts if part.covers_aaguid) if self.parts else (self,)


Verifier = Callable[[Statement, Evidence], Attestation]
"""(statement, what it is about) → a fact, or a refusal."""


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
