"""The records that the store keeps, as the house sees them.

Instants are aware datetimes in UTC. Nothing here carries the tenant: a store belongs to one application, so
its records need not say which.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

import msgspec


class KeyKind(StrEnum):
    """Which half of a key pair: the public one goes into pages, the secret one stays on backends."""

    PUBLIC = "public"
    SECRET = "secret"


class Scope(StrEnum):
    """What a key may be used for (Passwordless.dev API, key scopes)."""

    REGISTER = "register"
    LOGIN = "login"
    TOKEN_REGISTER = "token_register"
    TOKEN_VERIFY = "token_verify"


class ApiKey(msgspec.Struct, frozen=True):
    """A key of an application. Only its MAC is kept; a public key is kept in clear as well, for listings."""

    key_id: str
    kind: KeyKind
    mac: bytes
    """HMAC-SHA-256 of the whole key text under the server's pepper, 32 bytes."""
    hint: str
    """The last four characters: what listings and the event log show."""
    value: str | None
    """The key itself when it is public, None when it is secret."""
    scopes: frozenset[str]
    created_at: datetime
    locked: bool = False
    last_locked_at: datetime | None = None


class TokenKey(msgspec.Struct, frozen=True):
    """A key that seals an application's tokens; the material is wrapped by the master key."""

    key_id: int
    """0 … 2**31 - 1, random; travels in clear inside tokens."""
    wrapped: bytes
    created_at: datetime


class AuthenticationConfiguration(msgspec.Struct, frozen=True):
    """The settings of one purpose: what a sign-in for it asks of the authenticator, and how long it counts."""

    purpose: str
    user_verification: str = "preferred"
    time_to_live_s: int = 120
    hints: tuple[str, ...] = ()
    created_by: str = "System"
    created_at: datetime | None = None
    edited_by: str | None = None
    edited_at: datetime | None = None
    last_used_at: datetime | None = None


class ApplicationSettings(msgspec.Struct, frozen=True):
    """What an operator has decided for one application."""

    origins: tuple[str, ...] = ()
    """Origins that ceremonies may come from. Empty: any origin, as the compatible API does by default."""
    top_origins: tuple[str, ...] = ()
    """Pages that may frame the application's own; empty: ceremonies in a cross-origin frame are refused."""
    admin_emails: tuple[str, ...] = ()
    event_logging: bool = False
    event_retention_days: int = 365
    magic_link_monthly_quota: int = 0
    max_users: int | None = None
    allow_attestation: bool = False
    manual_tokens: bool = True
    magic_links: bool = True
    single_use_verify_tokens: bool = True
    conceal_unknown_users: bool = False
    """Answer a sign-in for an unknown user with a decoy credential instead of an empty list."""


class Application(msgspec.Struct, frozen=True):
    """All that a request needs to know of its application: read together, kept for at most a second."""

    app_id: str
    created_at: datetime
    settings: ApplicationSettings
    api_keys: tuple[ApiKey, ...] = ()
    token_keys: tuple[TokenKey, ...] = ()
    """Newest first."""
    configurations: tuple[AuthenticationConfiguration, ...] = ()
    delete_at: datetime | None = None


class Credential(msgspec.Struct, frozen=True):
    """A public key credential and what we learnt when it was made and last used."""

    credential_id: bytes
    user_id: str
    user_handle: bytes
    public_key: bytes
    """The COSE_Key, in the very bytes the authenticator sent."""
    sign_count: int
    attestation_format: str
    aaguid: bytes
    """16 bytes; all zero when the authenticator gave none."""
    rp_id: str
    origin: str
    transports: tuple[str, ...]
    backup_eligible: bool
    backup_state: bool
    user_verified: bool
    """Whether the user has been verified with this credential at least once (L3, uvInitialized)."""
    discoverable: bool | None
    nickname: str | None
    device: str
    country: str
    created_at: datetime
    last_used_at: datetime


class Alias(msgspec.Struct, frozen=True):
    """Another name of a user, kept so that a copied table cannot be searched."""

    mac: bytes
    """HMAC-SHA-256 under the server's pepper of the reference hash, 32 bytes."""
    sealed_hash: bytes
    """The reference hash itself, wrapped by the master key: listings show it."""
    plaintext: str | None
    """The alias itself, where the application asked for it not to be hashed."""


class EventType(IntEnum):
    """What the event log can say; numbers and names are those of the compatible API (its section 10).

    From 1900 on they are ours: refusals, which the reference never records.
    """

    ApiAuthUserRegistered = 1000
    ApiAuthPasskeyRegistrationBegan = 1001
    ApiAuthPasskeyRegistrationCompleted = 1002
    ApiAuthInvalidSecretKeyUsed = 1003
    ApiAuthInvalidPublicKeyUsed = 1004
    ApiAuthDisabledSecretKeyUsed = 1005
    ApiAuthDisabledPublicKeyUsed = 1006
    ApiUserSignInCompleted = 1103
    ApiUserSignInVerified = 1104
    ApiUserSigninTokenCreated = 1106
    ApiManagementAppCreated = 1202
    ApiAuthPasskeyRegistrationRefused = 1900
    ApiUserSignInRefused = 1901


class Severity(IntEnum):
    """How much an event matters; numbers are those of the compatible API."""

    Unknown = 0
    Alert = 1
    Warning = 2
    Informational = 3
    Error = 5


class Event(msgspec.Struct, frozen=True):
    """One line of an application's event log."""

    event_id: bytes
    """16 bytes; begins with the instant in milliseconds, so that ids sort by time (RFC 9562, UUIDv7)."""
    performed_at: datetime
    event_type: EventType
    severity: Severity
    message: str
    performed_by: str
    subject: str
    api_key_hint: str
    trace_id: str
