"""The records that the store keeps, as the house sees them.

Instants are aware datetimes in UTC. Nothing here carries the tenant: a store belongs to one application, so
its records need not say which.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

import msgspec

from narthex.webauthn.authenticator_policy import AuthenticatorPolicy
from narthex.webauthn.trust import TrustVerdict


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


class Oddity(StrEnum):
    """What happens when a credential shows something that an honest one never does."""

    REFUSE = "refuse"
    """The sign-in is refused, and recorded."""
    FLAG = "flag"
    """The sign-in passes; it is recorded, and its assurance says so."""


class TrustAnchor(msgspec.Struct, frozen=True):
    """A certificate that the application trusts to vouch for authenticators, beside those of the metadata."""

    name: str
    certificate: str
    """DER in base64, standard alphabet."""
    aaguids: tuple[str, ...] = ()
    """Models that it may vouch for, as UUIDs; empty for any."""
    hardware: bool = False
    """Whether the operator knows that the keys it vouches for stay in hardware."""


class RpIdMigration(msgspec.Struct, frozen=True):
    """A move from one relying party id to another, during which passkeys of both sign in."""

    old: str
    new: str


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
    rp_ids: tuple[str, ...] = ()
    """Relying party ids that ceremonies may name. Empty: any that covers one of the origins."""
    rp_id_migration: RpIdMigration | None = None
    enterprise_attestation: bool = False
    """Let registrations ask which very authenticator it is, where the authenticator was made to tell."""
    sign_count_stalled: Oddity = Oddity.REFUSE
    """A signature counter did not rise: the authenticator may have been copied (L3 #sctn-sign-counter)."""
    backup_eligibility_changed: Oddity = Oddity.REFUSE
    """A credential became eligible for backup, or ceased to be, which none may (L3 #sctn-credential-backup)."""
    fips_for_aal3: bool = False
    """AAL3 needs an authenticator whose metadata says FIPS 140, as NIST asks of agencies."""
    authenticator_policy: AuthenticatorPolicy = AuthenticatorPolicy()
    trust_anchors: tuple[TrustAnchor, ...] = ()


class ListedAuthenticator(msgspec.Struct, frozen=True):
    """A model that the application allows or denies by name."""

    aaguid: bytes
    """16 bytes."""
    is_allowed: bool
    created_at: datetime


class SeenOrigin(msgspec.Struct, frozen=True):
    """An origin and a relying party id that a verified ceremony has named."""

    origin: str
    """Canonical."""
    rp_id: str
    first_seen_at: datetime
    last_seen_at: datetime


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
    settings_version: int = 0
    """Rises whenever somebody decides anew on the grounds of what was read: `ExpectSettings` compares it."""
    authenticators: tuple[ListedAuthenticator, ...] = ()
    """In the order of their AAGUIDs."""
    seen_origins: tuple[SeenOrigin, ...] = ()
    """In the order in which they were first seen."""
    related_rp_ids: tuple[str, ...] = ()
    """Relying party ids under whose hosts this server answers for the application (`/.well-known/webauthn`)."""


class CredentialExtensions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the extensions said when the credential was made; None where they said nothing."""

    cred_protect: int | None = None
    """1 … 3 (CTAP 2.1, section 12.1): signed by the authenticator, as `min_pin_length` and `hmac_secret` are."""
    min_pin_length: int | None = None
    hmac_secret: bool | None = None
    prf: bool | None = None
    """The client's word, unsigned, as `large_blob` is."""
    large_blob: bool | None = None


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
    backup_eligible: bool | None
    """None in a record from a server that did not keep it: the next assertion says."""
    backup_state: bool
    user_verified: bool
    """Whether the user has been verified with this credential at least once (L3, uvInitialized)."""
    discoverable: bool | None
    nickname: str | None
    device: str
    country: str
    created_at: datetime
    last_used_at: datetime
    alg: int = -7
    """COSE algorithm identifier of the public key."""
    attestation_type: str = "none"
    trust: TrustVerdict = TrustVerdict.NO_PATH
    """Where the attestation's trust path led when it was last judged."""
    anchor: bytes | None = None
    """SHA-256 of the anchor that it reached: whether that one is still trusted is asked at each use."""
    key_identifiers: tuple[bytes, ...] = ()
    """Of the certificates that attested the credential, leaf first, 20 bytes each: how metadata lists those without
    an AAGUID."""
    judged_with: str = ""
    """Which anchors were known when the path was last judged."""
    extensions: CredentialExtensions = CredentialExtensions()


class AttestationEvidence(msgspec.Struct, frozen=True):
    """What vouched for a credential, in the very bytes that arrived, so that it can be judged again."""

    attestation_object: bytes
    client_data_json: bytes


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
    ApiAuthenticatorsAllowlisted = 1300
    ApiAuthenticatorsBlacklisted = 1301
    ApiAuthenticatorsDelisted = 1302
    ApiAuthPasskeyRegistrationRefused = 1900
    ApiUserSignInRefused = 1901
    ApiUserSignInFlagged = 1902
    ApiAuthenticatorPolicyObjected = 1903
    ApiManagementSettingsChanged = 1904


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
    assurance: bytes = b""
    """What was proved, packed as it travels in tokens; empty where the event is no authentication."""


class KeptMetadata(msgspec.Struct, frozen=True):
    """What the server has of the FIDO metadata, and how the last try to get it went."""

    number: int = 0
    """The serial number of the BLOB that is kept; 0 while there is none."""
    kept_at: datetime | None = None
    tried_at: datetime | None = None
    failures: int = 0
    """How many tries in a row have failed."""
    problem: str = ""
    """What the last failure said; empty after a success."""
