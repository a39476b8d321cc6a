"""The attestation object: authenticator data, and a statement about it in some format."""

from __future__ import annotations

import msgspec

from narthex.webauthn import cbor
from narthex.webauthn.authenticator_data import AuthenticatorData, parse_authenticator_data
from narthex.webauthn.errors import AttestationObjectMalformed

_MEMBERS = frozenset({"fmt", "attStmt", "authData"})

# A compound statement stands between the map and the statements: one level more than CTAP2 has.
_MAX_DEPTH = cbor.MAX_DEPTH + 1

Statement = dict[str, object]
COMPOUND, PARTS = "compound", "parts"
"""A format, and the only member of its statements, which arrive as an array (L3 #sctn-compound-attestation)."""


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
    item = cbor.decode(raw, max_depth=_MAX_DEPTH)
    if not isinstance(item, dict) or item.keys() != _MEMBERS:
        raise AttestationObjectMalformed("attestation object has not exactly `fmt`, `attStmt` and `authData`")
    fmt, statement, data = item["fmt"], item["attStmt"], item["authData"]
    # All verifiers are given a map, so the array becomes one; and no other statement may look like it.
    if fmt == COMPOUND:
        statement = {PARTS: statement} if isinstance(statement, list) else None
    if not (isinstance(fmt, str) and isinstance(statement, dict) and isinstance(data, bytes)):
        raise AttestationObjectMalformed("attestation object has a member of a wrong type")
    if not all(isinstance(name, str) for name in statement):
        raise AttestationObjectMalformed("attestation statement has a key that is not text")
    return AttestationObject(fmt, statement, parse_authenticator_data(data))
