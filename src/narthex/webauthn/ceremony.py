"""The checks that registration and authentication share, in the words of Level 3."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from hmac import compare_digest

from narthex.base.errors import quoted
from narthex.webauthn.authenticator_data import BE, BS, UP, UV, AuthenticatorData
from narthex.webauthn.client_data import ClientData
from narthex.webauthn.errors import (
    BackupStateInvalid,
    CeremonyTypeMismatch,
    ChallengeMismatch,
    CrossOriginNotAllowed,
    OriginNotAllowed,
    RpIdMismatch,
    TopOriginNotAllowed,
    UserNotPresent,
    UserNotVerified,
)
from narthex.webauthn.origin import parse_origin

MIN_CHALLENGE_BYTES = 16


def check_type(client_data: ClientData, expected: str) -> None:
    """C.type."""
    if client_data.type != expected:
        raise CeremonyTypeMismatch(f"client data is of type {quoted(client_data.type)}, not `{expected}`")


def check_challenge(client_data: ClientData, challenge: bytes) -> None:
    """C.challenge."""
    if len(challenge) < MIN_CHALLENGE_BYTES:
        # Not a refusal: our own caller forgot the challenge, and an empty one would match an empty one.
        raise ValueError(f"a challenge has at least {MIN_CHALLENGE_BYTES} bytes")
    if not compare_digest(client_data.challenge, challenge):
        raise ChallengeMismatch("client data answers another challenge")


def check_origins(client_data: ClientData, origins: Collection[str], top_origins: Collection[str]) -> None:
    """C.origin, C.crossOrigin and C.topOrigin (#sctn-validating-origin).

    Args:
        origins: canonical; one of them must be the client's.
        top_origins: canonical; empty means that no cross-origin frame is expected.
    """
    # An origin that is literally expected is canonical already: the common case needs no parsing.
    if client_data.origin not in origins and parse_origin(client_data.origin) not in origins:
        raise OriginNotAllowed(f"origin {quoted(client_data.origin)} is not expected")
    if not client_data.cross_origin:
        return
    if not top_origins:
        raise CrossOriginNotAllowed("the ceremony ran in a cross-origin frame, and none is expected")
    top_origin = client_data.top_origin
    if top_origin is not None and parse_origin(top_origin) not in top_origins:
        raise TopOriginNotAllowed(f"top origin {quoted(top_origin)} is not expected")


def check_rp_id(data: AuthenticatorData, rp_id: str) -> None:
    """authData.rpIdHash."""
    if data.rp_id_hash != sha256(rp_id.encode()).digest():
        raise RpIdMismatch(f"authenticator data is not for relying party id {quoted(rp_id)}")


def check_flags(data: AuthenticatorData, *, up_required: bool, uv_required: bool) -> None:
    """authData.flags: UP, UV, and BS only with BE."""
    flags = data.flags
    if up_required and not flags & UP:
        raise UserNotPresent("the authenticator did not see the user consent")
    if uv_required and not flags & UV:
        raise UserNotVerified("the authenticator did not verify the user")
    if flags & BS and not flags & BE:
        raise BackupStateInvalid("the credential claims to be backed up and not to be eligible for it")
