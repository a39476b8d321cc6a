"""The records that the store keeps, as the house sees them.

Instants are aware datetimes in UTC. Nothing here carries the tenant: a store belongs to one application, so
its records need not say which.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import Final

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
    # From here on they are ours: the reference asks for none of them.
    TOKEN_GENERATE = "token_generate"
    MAGIC_LINKS_SEND = "magic_links:send"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    ALIASES_READ = "aliases:read"
    ALIASES_WRITE = "aliases:write"
    CONFIGURATIONS_READ = "configurations:read"
    CONFIGURATIONS_WRITE = "configurations:write"
    AUTHENTICATORS_READ = "authenticators:read"
    AUTHENTICATORS_WRITE = "authenticators:write"
    EVENTS_READ = "events:read"
    REPORTS_READ = "reports:read"
    FEATURES_WRITE = "features:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"


LEGACY_GRANTS: Final = frozenset(
    {
        Scope.MAGIC_LINKS_SEND,
        Scope.USERS_READ,
        Scope.USERS_WRITE,
        Scope.CREDENTIALS_READ,
        Scope.CREDENTIALS_WRITE,
        Scope.ALIASES_READ,
        Scope.ALIASES_WRITE,
        Scope.CONFIGURATIONS_READ,
        Scope.CONFIGURATIONS_WRITE,
        Scope.AUTHENTICATORS_READ,
        Scope.AUTHENTICATORS_WRITE,
        Scope.EVENTS_READ,
        Scope.REPORTS_READ,
        Scope.FEATURES_WRITE,
    }
)
"""What the reference lets any secret key do, whatever its scopes."""


class ApiKey(msgspec.Struct, frozen=True):
    """A key of an application. Only its MAC is kept; a public key is kept in clear as well, for listings."""

    key_id: str
    kind: KeyKind
    mac: bytes
    """HMAC-SHA-256 of the whole key text under the server's pepper, 32 bytes."""
    hint: str
    """The last four characters: what listings and the event log show. No two keys of an application share them."""
    value: str | None
    """The key itself when it is public, None when it is secret."""
    scopes: frozenset[str]
    created_at: datetime
    locked: bool = False
    last_locked_at: datetime | None = None
    name: str = ""
    """What people call it; theirs to choose."""
    legacy: bool = False
    """A secret key with the reference's scopes only: it may do what it might there, beside them."""
    expires_at: datetime | None = None
    """From then on it opens nothing; None for never."""
    last_used_at: datetime | None = None
    """Exact to a minute."""
    networks: tuple[str, ...] = ()
    """Networks that it may be used from, in CIDR notation; empty for anywhere."""
    reference_hash: str | None = None
    """How the reference kept the key, until its first use here tells us the key itself: `base64(salt):base64(hash)`."""

    def may(self, scope: str) -> bool:
        """Whether the key is good for a scope."""
        if scope in self.scopes:
            return True
        if not self.legacy:
            return False
        return scope in LEGACY_GRANTS or (scope == Scope.TOKEN_GENERATE and Scope.TOKEN_VERIFY in self.scopes)


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


class MailTemplate(msgspec.Struct, frozen=True):
    """How one kind of mail reads in one language. Names like `$LINK` are replaced; nothing else is done."""

    kind: str
    """`magic-link`, `new-passkey` or `recovery`."""
    subject: str
    text: str
    html: str = ""
    """Empty for a mail without HTML."""
    locale: str = ""
    """A language tag (RFC 5646) such as `de` or `pt-BR`; empty for all others."""


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
    magic_link_confirmation: bool = True
    """Links in mails lead to a page of this server that asks for a click: scanners open links, and click nothing."""
    magic_link_origins: tuple[str, ...] = ()
    """Where magic links may lead in the end. Empty: anywhere that the backend says."""
    mail_templates: tuple[MailTemplate, ...] = ()
    mail_sender_name: str = ""
    """Who mails are from, beside the address; empty for the host that they are about."""
    notices: bool = False
    """Tell users by mail of each new passkey and each sign-in by magic link, at their aliases kept in clear."""


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


class Webhook(msgspec.Struct, frozen=True):
    """Where an application wants to be told of its events (Standard Webhooks)."""

    webhook_id: bytes
    """16 bytes."""
    url: str
    event_types: tuple[str, ...]
    """Names of event types, or beginnings of names with a `*` at the end; empty for all."""
    wrapped_secret: bytes
    """What deliveries are signed with, wrapped by the master key."""
    created_at: datetime
    description: str = ""
    enabled: bool = True
    wrapped_old_secret: bytes | None = None
    """The secret before the last rotation: until `old_secret_until`, deliveries bear a second signature with it."""
    old_secret_until: datetime | None = None
    failing_since: datetime | None = None
    """Since when no delivery has got through; None after one did."""


class DeliveryKind(StrEnum):
    """What goes out behind an act's back, as soon as it can."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""


class Delivery(msgspec.Struct, frozen=True):
    """Something that is to go out: kept in the act that causes it, and tried until it gets there or is given up."""

    delivery_id: bytes
    """16 bytes; begins with the instant in milliseconds (RFC 9562, UUIDv7)."""
    kind: DeliveryKind
    target: bytes
    """The webhook's id; empty for a mail."""
    content: bytes
    """A webhook's body, as it is signed; a mail, packed."""
    subject: str
    """What it is about, for people: the event's type, the kind of mail."""
    created_at: datetime
    next_try_at: datetime
    tries: int = 0
    state: DeliveryState = DeliveryState.PENDING
    status: int | None = None
    """Of the last answer, if there was one."""
    problem: str = ""
    """What the last try failed with."""
    settled_at: datetime | None = None


class DispatchedMail(msgspec.Struct, frozen=True):
    """A magic link that was sent, or is being sent: the quota counts these."""

    mail_id: bytes
    """16 bytes, UUIDv7."""
    created_at: datetime
    user_id: str
    recipient: str
    url_template: str


class DailyReport(msgspec.Struct, frozen=True):
    """What an application had at the end of a day."""

    day: date
    users: int
    credentials: int
    daily_active_users: int
    weekly_active_users: int


class SettingsRevision(msgspec.Struct, frozen=True):
    """What the settings of an application became, when, and by whom."""

    version: int
    changed_at: datetime
    changed_by: str
    settings: ApplicationSettings


class JobRun(msgspec.Struct, frozen=True):
    """How a job went when it ran last."""

    name: str
    started_at: datetime
    finished_at: datetime | None = None
    """None while it runs, or after its process died."""
    result: str = ""
    """What it did, in words."""
    problem: str = ""
    """What it failed with; empty after a success."""


class UserSummary(msgspec.Struct, frozen=True):
    """A user in a list."""

    user_id: str
    aliases: tuple[str | None, ...]
    """None for one that is kept as a hash only."""
    credential_count: int
    last_used_at: datetime | None


class EventFilter(msgspec.Struct, frozen=True):
    """Which events are asked for; what is empty or None asks for nothing."""

    event_types: frozenset[EventType] | None = None
    subject: str = ""
    performed_by: str = ""
    api_key_hint: str = ""
    trace_id: str = ""
    """The 32 hexadecimal digits of the trace, or the whole trace id."""
    since: datetime | None = None
    """Included."""
    until: datetime | None = None
    """Not included."""


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
    frozen_at: datetime | None = None
    """Since when none of its keys opens anything."""
    webhooks: tuple[Webhook, ...] = ()
    """In the order in which they were made."""

    @property
    def is_closed(self) -> bool:
        """Whether it is frozen or about to be deleted: its keys count as locked."""
        return self.frozen_at is not None or self.delete_at is not None


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

    From 1900 to 1999 they are ours: refusals, which the reference never records, and what it cannot do.
    """

    ApiAuthUserRegistered = 1000
    ApiAuthPasskeyRegistrationBegan = 1001
    ApiAuthPasskeyRegistrationCompleted = 1002
    ApiAuthInvalidSecretKeyUsed = 1003
    ApiAuthInvalidPublicKeyUsed = 1004
    ApiAuthDisabledSecretKeyUsed = 1005
    ApiAuthDisabledPublicKeyUsed = 1006
    ApiUserSetAliases = 1100
    ApiUserDeleteCredential = 1101
    ApiUserSignInBegan = 1102
    ApiUserSignInCompleted = 1103
    ApiUserSignInVerified = 1104
    ApiUserDeleted = 1105
    ApiUserSigninTokenCreated = 1106
    ApiUserMagicLinkCreated = 1107
    ApiManagementAppMarkedForDeletion = 1200
    ApiManagementAppDeletionCancelled = 1201
    ApiManagementAppCreated = 1202
    ApiManagementAppFrozen = 1203
    ApiManagementAppUnfrozen = 1204
    ApiAuthenticatorsAllowlisted = 1300
    ApiAuthenticatorsBlacklisted = 1301
    ApiAuthenticatorsDelisted = 1302
    ApiAuthenticationConfigurationCreated = 1400
    ApiAuthenticationConfigurationUpdated = 1401
    ApiAuthenticationConfigurationDeleted = 1402
    ApiAuthPasskeyRegistrationRefused = 1900
    ApiUserSignInRefused = 1901
    ApiUserSignInFlagged = 1902
    ApiAuthenticatorPolicyObjected = 1903
    ApiManagementSettingsChanged = 1904
    ApiUserCredentialRenamed = 1905
    ApiUserMagicLinkOpened = 1906
    ApiAuthKeyRefusedByNetwork = 1907
    ApiWebhookChanged = 1908
    ApiWebhookDisabled = 1909
    ApiManagementApiKeyChanged = 1910
    ApiManagementAppImported = 1911
    ApiUserNoticeSent = 1912
    AdminApiKeyCreated = 7008
    AdminApiKeyDeleted = 7009
    AdminApiKeyLocked = 7010
    AdminApiKeyUnlocked = 7011
    AdminApiKeysEnumerated = 7012
    AdminGenerateSignInTokenEndpointEnabled = 7013
    AdminGenerateSignInTokenEndpointDisabled = 7014
    AdminMagicLinksEnabled = 7015
    AdminMagicLinksDisabled = 7016


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
    reason: str = ""
    """The stable code of what refused a ceremony; empty where nothing was refused."""


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
