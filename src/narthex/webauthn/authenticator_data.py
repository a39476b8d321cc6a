"""What the authenticator says: flags, counter, a new credential, extensions.

WebAuthn L3 #sctn-authenticator-data. The layout is read to its exact end. A value keeps the bytes it was read from,
because they are what was signed; the public key inside keeps the bytes the authenticator sent, because they are what
is stored. Reserved flags (bits 1 and 5) are kept and not judged.
"""

from __future__ import annotations

import msgspec

from narthex.webauthn import cbor
from narthex.webauthn.errors import AuthenticatorDataMalformed

UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80

_FIXED_SIZE_BYTES = 37
MAX_CREDENTIAL_ID_BYTES = 1023
# Without a new credential only extensions are left, and those that authenticators answer fit into some 200 bytes.
MAX_UNATTESTED_SIZE_BYTES = 4_096

Extensions = dict[str, object]


class AttestedCredentialData(msgspec.Struct, frozen=True):
    """A new credential (#sctn-attested-credential-data)."""

    aaguid: bytes
    """16 bytes; all zero when the authenticator keeps its model to itself."""
    credential_id: bytes
    """1 … 1023 bytes."""
    public_key: bytes
    """The COSE_Key, in the very bytes the authenticator sent."""


class AuthenticatorData(msgspec.Struct, frozen=True):
    """The authenticator's signed statement about itself and the user."""

    raw: bytes
    rp_id_hash: bytes
    """32 bytes."""
    flags: int
    sign_count: int
    """0 … 2**32 - 1; zero in every ceremony means that the authenticator does not count."""
    attested: AttestedCredentialData | None = None
    extensions: Extensions = {}

    @property
    def user_present(self) -> bool:
        return bool(self.flags & UP)

    @property
    def user_verified(self) -> bool:
        return bool(self.flags & UV)

    @property
    def backup_eligible(self) -> bool:
        return bool(self.flags & BE)

    @property
    def backup_state(self) -> bool:
        return bool(self.flags & BS)


def parse_authenticator_data(raw: bytes) -> AuthenticatorData:
    """Read authenticator data.

    Raises:
        AuthenticatorDataMalformed: a part is missing, too long, or follows although its flag is not set.
        CborMalformed: the public key or the extensions are not CBOR.
    """
    if len(raw) < _FIXED_SIZE_BYTES:
        raise AuthenticatorDataMalformed(f"authenticator data is shorter than {_FIXED_SIZE_BYTES} bytes")
    flags = raw[32]
    if not flags & AT and len(raw) > MAX_UNATTESTED_SIZE_BYTES:
        raise AuthenticatorDataMalformed(
            f"authenticator data without a credential is larger than {MAX_UNATTESTED_SIZE_BYTES} bytes"
        )
    rest = raw[_FIXED_SIZE_BYTES:]
    attested: AttestedCredentialData | None = None
    extensions: Extensions = {}
    if flags & AT:
        attested, rest = _read_attested(rest)
    if flags & ED:
        extensions, rest = _read_extensions(rest)
    if rest:
        raise AuthenticatorDataMalformed(f"{len(rest)} bytes follow the authenticator data")
    return AuthenticatorData(raw, raw[:32], flags, int.from_bytes(raw[33:37], "big"), attested, extensions)


def _read_attested(raw: bytes) -> tuple[AttestedCredentialData, bytes]:
    size = int.from_bytes(raw[16:18], "big")
    if len(raw) < 18 + size:
        raise AuthenticatorDataMalformed("attested credential data is cut off")
    if not 1 <= size <= MAX_CREDENTIAL_ID_BYTES:
        raise AuthenticatorDataMalformed(f"credential id has {size} bytes, not 1 to {MAX_CREDENTIAL_ID_BYTES}")
    rest = raw[18 + size :]
    end = cbor.length_of_first(rest)
    return AttestedCredentialData(raw[:16], raw[18 : 18 + size], rest[:end]), rest[end:]


def _read_extensions(raw: bytes) -> tuple[Extensions, bytes]:
    if not raw:
        raise AuthenticatorDataMalformed("authenticator data announces extensions and has none")
    extensions, rest = cbor.decode_first(raw)
    if not isinstance(extensions, dict) or not all(isinstance(name, str) for name in extensions):
        raise AuthenticatorDataMalformed("extensions are not a map whose keys are text")
    return extensions, rest
