"""What the sealed tokens say.

Fields only ever append, with a default: a token made before an upgrade is read after it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from narthex.base.errors import Forbidden


class ExpiredToken(Forbidden):
    """The token was good once."""

    code = "expired-token"
    advice = "ask for a new token; the time a token lives is set where it is made"


class RequestedExtensions(msgspec.Struct, frozen=True, array_like=True):
    """What a backend wants a new passkey to be able to do, or to tell (L3 #sctn-extensions)."""

    prf: bool = False
    large_blob: str | None = None
    """`preferred` or `required`."""
    credential_protection: str | None = None
    """A policy's name (CTAP 2.1, section 12.1)."""
    enforce_credential_protection: bool = False
    min_pin_length: bool = False


class RegisterToken(msgspec.Struct, frozen=True, array_like=True):
    """A backend's leave to enrol one passkey for one user."""

    token_id: bytes
    expires_at: datetime
    user_id: str
    username: str
    display_name: str
    attestation: str
    authenticator_type: str
    discoverable: bool
    user_verification: str
    aliases: tuple[str, ...] | None
    alias_hashing: bool
    hints: tuple[str, ...]
    conditional: bool = False
    """Whether the passkey may be made without asking the user (L3 #dom-credentialmediationrequirement-conditional)."""
    extensions: RequestedExtensions | None = None
    notice_email: str = ""
    """Whom to tell by mail once the passkey is made; empty for nobody."""


class RegistrationSession(msgspec.Struct, frozen=True, array_like=True):
    """A registration under way: what the answer must match."""

    session_id: bytes
    """What is spent; begins with the instant, so that the table of spent nonces grows at its end."""
    challenge: bytes
    expires_at: datetime
    rp_id: str
    user_id: str
    user_verification_required: bool
    register_token_id: bytes
    register_token_expires_at: datetime
    aliases: tuple[str, ...] | None
    alias_hashing: bool
    conditional: bool = False
    algorithms: tuple[int, ...] = ()
    """Those that were offered; none in a session of an older server, which offered them all."""
    notice_email: str = ""


class SignInSession(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in under way: what the answer must match."""

    session_id: bytes
    challenge: bytes
    expires_at: datetime
    rp_id: str
    user_id: str | None
    """The user whose credential must answer, empty if nobody's can; None when anybody's will do."""
    user_verification_required: bool
    purpose: str
    decoy: bytes | None = None
    """What the decoy grows from that was offered instead of a credential."""
    asked_rp_id: str | None = None
    """What the page asked for, where it was given the older id of a relying party that is moving."""
    filler: bytes = b""
    """Where users are concealed: makes the session as long for nobody as for whoever bears an alias."""


class VerifyToken(msgspec.Struct, frozen=True, array_like=True):
    """What a backend learns when it verifies a sign-in."""

    token_id: bytes
    expires_at: datetime
    type: str
    user_id: str
    timestamp: datetime
    purpose: str | None
    rp_id: str | None = None
    origin: str | None = None
    device: str | None = None
    country: str | None = None
    nickname: str | None = None
    credential_id: bytes | None = None
    assurance: bytes = b""
    """How surely it is the user, packed: this room does not know what the record says."""
    host: str = ""
    """Where a magic link led; empty for what is none."""
    locale: str = ""
    """The language tag that the link was mailed with."""


class LinkTicket(msgspec.Struct, frozen=True, array_like=True):
    """A magic link that waits for a click: what it will lead to, and for whom."""

    ticket_id: bytes
    expires_at: datetime
    user_id: str
    url_template: str
    locale: str = ""


_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def refuse_expired(expires_at: datetime, *, now: datetime) -> None:
    """Pass while ``expires_at >= now``: the exact instant still counts.

    Raises:
        ExpiredToken: it is later.
    """
    if expires_at < now:
        raise ExpiredToken(f"the token expired {in_words((now - expires_at).total_seconds())} ago")


def in_words(seconds: float) -> str:
    """Say a span in its largest whole unit.

    >>> in_words(10), in_words(1), in_words(7300), in_words(200_000)
    ('10 seconds', '1 second', '2 hours', '2 days')
    """
    unit, size_s = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    count = max(1, int(seconds // size_s))
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
