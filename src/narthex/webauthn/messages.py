"""What arrives from the client, already decoded from JSON and base64url.

The HTTP edge owns spelling (member names in any case, padding); from here on bytes are bytes. ``id`` alone stays
text, because it must be checked against ``raw_id``.
"""

from __future__ import annotations

import msgspec

from narthex.base.errors import Malformed, quoted
from narthex.base.values import from_base64url, to_base64url
from narthex.webauthn.errors import CredentialIdMismatch


class RegistrationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """RegistrationResponseJSON (L3 #dictdef-registrationresponsejson)."""

    id: str
    raw_id: bytes
    client_data_json: bytes
    attestation_object: bytes
    transports: tuple[str, ...] = ()
    cred_props_rk: bool | None = None
    """``clientExtensionResults.credProps.rk``: unsigned, the client's word; None if it said nothing."""
    prf_enabled: bool | None = None
    """``clientExtensionResults.prf.enabled``: likewise. The results of prf are secrets and are never read."""
    large_blob_supported: bool | None = None
    """``clientExtensionResults.largeBlob.supported``: likewise."""
    attachment: str | None = None
    """``authenticatorAttachment``: `platform`, `cross-platform`, or nothing that we know."""


class AuthenticationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """AuthenticationResponseJSON (L3 #dictdef-authenticationresponsejson)."""

    id: str
    raw_id: bytes
    client_data_json: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes | None = None
    attachment: str | None = None


def check_id(response: RegistrationResponse | AuthenticationResponse) -> None:
    """Check that ``id`` is the base64url of ``rawId`` (L3 #iface-pkcredential); correct padding is tolerated.

    Raises:
        CredentialIdMismatch: it is other bytes, or no base64url.
    """
    if response.id == to_base64url(response.raw_id):
        return
    try:
        named = from_base64url(response.id, padding_tolerated=True)
    except Malformed as e:
        raise CredentialIdMismatch(f"credential id {quoted(response.id)} is not base64url") from e
    if named != response.raw_id:
        raise CredentialIdMismatch(f"credential id {quoted(response.id)} is not that of `rawId`")
