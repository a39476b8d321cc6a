"""The attestation object: authenticator data, and a statement about it in some format."""

from __future__ import annotations

import msgspec

from narthex.webauthn import cbor
from narthex.webauthn.authenticator_data import AuthenticatorData, parse_authenticator_data
from narthex.webauthn.errors import AttestationObjectMalformed

_MEMBERS = frozenset({"fmt", "attStmt", "authData"})

Statement = dict[str, object]


class AttestationObject(msgspec.Struct, frozen=True):
    """What an authenticator returns for a new credential."""

    fmt: str
    statement: Statement
    authenticator_data: AuthenticatorData


def parse_attestation_object(raw: bytes) -> AttestationObject:
    """Read an attestation object (L3 #sctn-generating-an-attestation-object).

    Raises:
        AttestationObjectMalformed: not exactly the three members, or of other types.
        CborMalformed, AuthenticatorDataMalformed: a part is not what it should be.
    """
    item = cbor.decode(raw)
    if not isinstance(item, dict) or item.keys() != _MEMBERS:
        raise AttestationObjectMalformed("attestation object has not exactly `fmt`, `attStmt` and `authData`")
    fmt, statement, data = item["fmt"], item["attStmt"], item["authData"]
    if not (isinstance(fmt, str) and isinstance(statement, dict) and isinstance(data, bytes)):
        raise AttestationObjectMalformed("attestation object has a member of a wrong type")
    if not all(isinstance(name, str) for name in statement):
        raise AttestationObjectMalformed("attestation statement has a key that is not text")
    return AttestationObject(fmt, statement, parse_authenticator_data(data))
