"""What a use case may ask a store to change, as values.

A use case gathers the changes of one act and commits them together: all are applied in order or none is. A
change that finds nothing to do (the nonce was spent, the credential is gone) refuses the whole act; which
refusal that is stands beside the change.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from narthex.base.errors import Conflict, NotFound, Rejected
from narthex.ports.records import (
    Alias,
    ApiKey,
    ApplicationSettings,
    AttestationEvidence,
    AuthenticationConfiguration,
    Credential,
    DailyReport,
    Delivery,
    DeliveryState,
    DispatchedMail,
    Event,
    SettingsRevision,
    TokenKey,
    Webhook,
)
from narthex.webauthn.trust import TrustVerdict


class NonceSpent(Rejected):
    """The token was used before, and it counts only once."""

    code = "token-already-used"
    advice = (
        "begin again: each session and each sign-in token is accepted once, and a register token enrols one passkey"
    )


class CredentialExists(Conflict):
    """The application already keeps a credential of this id."""

    code = "credential-exists"
    advice = "sign in with the passkey that is there, or make one with another authenticator"


class CredentialChanged(Rejected):
    """The credential was deleted, or used elsewhere, while this request was under way."""

    code = "credential-changed"
    advice = "begin the sign-in again"


class AliasTaken(Conflict):
    """Another user of the application bears this alias."""

    code = "alias-conflict"
    advice = "choose another alias, or remove it from the other user first"


class ApplicationExists(Conflict):
    """The application id is taken."""

    code = "application-exists"
    advice = "choose another id"


class ApiKeyHintTaken(Conflict):
    """Another key of the application ends in the same four characters, by which people tell keys apart."""

    code = "api-key-hint-taken"
    advice = "draw another key"


class ApiKeyNotFound(NotFound):
    """The application has no such key."""

    code = "api-key-not-found"
    advice = "list the keys of the application: the id of one is its last four characters"


class CredentialNotFound(NotFound):
    """The application keeps no credential of this id."""

    code = "credential-not-found"
    advice = "list the credentials of the user, and send `descriptor.id` as it stands there"


class ConfigurationExists(Rejected):
    """The application has a configuration for this purpose already, or it is one of the two that all have."""

    code = "configuration-exists"
    advice = "change the configuration that is there, or choose another purpose"


class ConfigurationNotFound(NotFound):
    """The application has no configuration for this purpose."""

    code = "configuration-not-found"
    advice = "list the configurations of the application, or add one for this purpose"


class WebhookNotFound(NotFound):
    """The application has no such webhook."""

    code = "webhook-not-found"
    advice = "list the webhooks of the application"


class DeliveryNotFound(NotFound):
    """There is no such delivery, or it is not one that can be sent again."""

    code = "delivery-not-found"
    advice = "list the deliveries of the webhook: they are kept for 30 days"


class MailQuotaReached(Conflict):
    """As many magic links were sent as may be."""

    code = "mail-quota-reached"
    advice = "wait, or ask the operator for a larger quota"


class SettingsChanged(Conflict):
    """Somebody else decided something for the application meanwhile."""

    code = "settings-changed"
    advice = "look at what was decided, and try again"


class ApplicationGone(NotFound):
    """The application was deleted while this request was under way."""

    code = "application-gone"
    advice = "use the keys of an application that exists"


class RpIdAnswered(Conflict):
    """Another application of this server answers for the host of this relying party id."""

    code = "rp-id-answered"
    advice = "take the host from the other application first: one application alone decides who may use its passkeys"


class SpendNonce(msgspec.Struct, frozen=True):
    """Remember that a one-time token was used. Refuses with `NonceSpent`."""

    nonce: bytes
    """16 bytes or more, unique among all tokens of the application."""
    expires_at: datetime
    """When the token would have expired by itself: the memory may go then."""


class AddCredential(msgspec.Struct, frozen=True):
    """Keep a new credential. Refuses with `CredentialExists`, also where the user has as many as may be.

    Which of the two it was, the caller can see: the credential is there, or it is not.
    """

    credential: Credential
    evidence: AttestationEvidence | None = None
    """What vouches for it; None where nothing does."""
    most: int | None = None
    """How many credentials the user may have, this one included; None for no limit."""


class RejudgeCredential(msgspec.Struct, frozen=True):
    """Record where a credential's trust path leads, now that other anchors are known."""

    credential_id: bytes
    trust: TrustVerdict
    anchor: bytes | None
    judged_with: str


class TouchCredential(msgspec.Struct, frozen=True):
    """Record a use. Refuses with `CredentialChanged` if the credential is gone or its counter moved on.

    The counter is compared again inside the transaction: two assertions verified side by side against the
    same stored counter must not both count (L3 #sctn-sign-counter).
    """

    credential_id: bytes
    sign_count: int
    backup_state: bool
    user_verified: bool
    device: str
    country: str
    used_at: datetime
    backup_eligible: bool
    """Once true, it stays so."""
    sign_count_may_stall: bool = False
    """Do not compare the counter: the application lets one that does not rise pass. The larger of both is kept."""


class ReplaceAliases(msgspec.Struct, frozen=True):
    """Give a user exactly these aliases. Refuses with `AliasTaken` if another user bears one of them."""

    user_id: str
    aliases: tuple[Alias, ...]


class TouchConfiguration(msgspec.Struct, frozen=True):
    """Record that a purpose was used, keeping the preset as a row of its own if it was none yet."""

    configuration: AuthenticationConfiguration
    """What to keep when there is no row; `last_used_at` is set in either case, and exact to a second."""
    make: bool = True
    """Without it, a purpose that has no row any more is left alone: somebody deleted it meanwhile."""


class AddConfiguration(msgspec.Struct, frozen=True):
    """Configure a purpose. Refuses with `ConfigurationExists`."""

    configuration: AuthenticationConfiguration


class ReviseConfiguration(msgspec.Struct, frozen=True):
    """Replace what a purpose asks and who edited it when; who made it and when it was used stay.

    Refuses with `ConfigurationNotFound`, unless `make` says to keep it as a row of its own where there is none yet.
    """

    configuration: AuthenticationConfiguration
    make: bool = False


class RemoveConfiguration(msgspec.Struct, frozen=True):
    """Forget a purpose. Refuses with `ConfigurationNotFound`."""

    purpose: str


class RenameCredential(msgspec.Struct, frozen=True):
    """Give a credential another nickname, or none. Refuses with `CredentialNotFound`."""

    credential_id: bytes
    nickname: str | None


class RemoveCredential(msgspec.Struct, frozen=True):
    """Remove a credential and what vouched for it. Refuses with `CredentialNotFound`."""

    credential_id: bytes


class RemoveUser(msgspec.Struct, frozen=True):
    """Remove all credentials and aliases of a user; does nothing for one who has none."""

    user_id: str


class AddWebhook(msgspec.Struct, frozen=True):
    """Tell another address of the application's events."""

    webhook: Webhook


class ReviseWebhook(msgspec.Struct, frozen=True):
    """Replace a webhook as a whole, but for when it was made. Refuses with `WebhookNotFound`."""

    webhook: Webhook


class RemoveWebhook(msgspec.Struct, frozen=True):
    """Forget a webhook and its deliveries. Refuses with `WebhookNotFound`."""

    webhook_id: bytes


class NoteWebhookHealth(msgspec.Struct, frozen=True):
    """Remember since when no delivery gets through; the first such instant stays. None: one got through."""

    webhook_id: bytes
    failing_since: datetime | None


class AddDelivery(msgspec.Struct, frozen=True):
    """Let something go out as soon as it can."""

    delivery: Delivery
    most: int | None = None
    """How many for its target may wait, this one included: where there are more, it is left out without a word."""


class SettleDelivery(msgspec.Struct, frozen=True):
    """Record how a try went: it got there, is given up, or is to be tried again. Ignored where it is gone."""

    delivery_id: bytes
    tries: int
    state: DeliveryState
    status: int | None
    problem: str
    next_try_at: datetime
    settled_at: datetime | None


class RetryDelivery(msgspec.Struct, frozen=True):
    """Send something again, from its first try on. Refuses with `DeliveryNotFound`."""

    delivery_id: bytes
    at: datetime


class ClaimMail(msgspec.Struct, frozen=True):
    """Count a magic link before it goes. Refuses with `MailQuotaReached` where there were so many since an instant."""

    mail: DispatchedMail
    since: datetime
    most: int | None
    """None for no limit."""


class ReleaseMail(msgspec.Struct, frozen=True):
    """A magic link could not be sent after all: it does not count."""

    mail_id: bytes


class KeepReport(msgspec.Struct, frozen=True):
    """Keep the report of a day; one that is kept already stays."""

    report: DailyReport


class SetFrozen(msgspec.Struct, frozen=True):
    """Let none of the application's keys open anything, or let them again. Refuses with `ApplicationGone`."""

    frozen_at: datetime | None


class ScheduleDeletion(msgspec.Struct, frozen=True):
    """Say when the application is to be deleted, or that it is not. Refuses with `ApplicationGone`."""

    delete_at: datetime | None


class KeepRevision(msgspec.Struct, frozen=True):
    """Keep what the settings became, for the history; one of the same version is replaced."""

    revision: SettingsRevision


class AddEvent(msgspec.Struct, frozen=True):
    """Append a line to the event log."""

    event: Event


class AddApiKey(msgspec.Struct, frozen=True):
    """Give the application another key. Refuses with `ApiKeyHintTaken`."""

    key: ApiKey


class SetKeyLock(msgspec.Struct, frozen=True):
    """Lock a key, or unlock it. Refuses with `ApiKeyNotFound`; a key that is so already stays as it is."""

    key_id: str
    locked: bool
    at: datetime


class ReviseKey(msgspec.Struct, frozen=True):
    """Replace what a key is good for; it is no legacy key from then on. Refuses with `ApiKeyNotFound`."""

    key_id: str
    name: str
    scopes: frozenset[str]
    networks: tuple[str, ...]
    expires_at: datetime | None


class ExpireKey(msgspec.Struct, frozen=True):
    """Let a key open nothing from an instant on, if it did not end before. Refuses with `ApiKeyNotFound`."""

    key_id: str
    expires_at: datetime


class AdoptKey(msgspec.Struct, frozen=True):
    """Know an imported key by our own MAC from now on, and forget how the reference kept it."""

    key_id: str
    mac: bytes


class NoteKeyUse(msgspec.Struct, frozen=True):
    """Remember when a key was used last; never goes back, and does nothing for a key that is gone."""

    key_id: str
    used_at: datetime


class RemoveApiKey(msgspec.Struct, frozen=True):
    """Remove a key. Refuses with `ApiKeyNotFound`."""

    key_id: str


class AddTokenKey(msgspec.Struct, frozen=True):
    """Rotate: keep a new token key, drop those made before `drop_before`."""

    key: TokenKey
    drop_before: datetime


class ExpectSettings(msgspec.Struct, frozen=True):
    """Go on only if nobody decided anything since the settings were read. Refuses with `SettingsChanged`."""

    version: int


class SetSettings(msgspec.Struct, frozen=True):
    """Replace the application's settings."""

    settings: ApplicationSettings


class ListAuthenticators(msgspec.Struct, frozen=True):
    """Allow models, or deny them; what was said of them before is overwritten, and when it was said first is kept."""

    aaguids: tuple[bytes, ...]
    is_allowed: bool
    created_at: datetime


class DelistAuthenticators(msgspec.Struct, frozen=True):
    """Say nothing about models any more; those about which nothing was said are ignored."""

    aaguids: tuple[bytes, ...]


class NoteOrigin(msgspec.Struct, frozen=True):
    """Remember that a verified ceremony named this origin and relying party id."""

    origin: str
    rp_id: str
    seen_at: datetime
    """What is kept of it is exact to a second, and never goes back."""


class ForgetOrigins(msgspec.Struct, frozen=True):
    """Forget every origin that was seen."""


class AnswerForRpId(msgspec.Struct, frozen=True):
    """Answer for the host of a relying party id. Refuses with `RpIdAnswered`; no change where it does so already."""

    rp_id: str


class LeaveRpId(msgspec.Struct, frozen=True):
    """No longer answer for the host of a relying party id; ignored where it did not."""

    rp_id: str


class AddApplication(msgspec.Struct, frozen=True):
    """Make an application. Refuses with `ApplicationExists`. Always the first change of its act."""

    created_at: datetime
    settings: ApplicationSettings


Change: TypeAlias = (
    SpendNonce
    | AddCredential
    | TouchCredential
    | ReplaceAliases
    | TouchConfiguration
    | AddEvent
    | AddApiKey
    | AddTokenKey
    | ExpectSettings
    | SetSettings
    | RejudgeCredential
    | ListAuthenticators
    | DelistAuthenticators
    | NoteOrigin
    | ForgetOrigins
    | AnswerForRpId
    | LeaveRpId
    | AddApplication
    | SetKeyLock
    | ReviseKey
    | ExpireKey
    | AdoptKey
    | NoteKeyUse
    | RemoveApiKey
    | AddConfiguration
    | ReviseConfiguration
    | RemoveConfiguration
    | RenameCredential
    | RemoveCredential
    | RemoveUser
    | AddWebhook
    | ReviseWebhook
    | RemoveWebhook
    | NoteWebhookHealth
    | AddDelivery
    | SettleDelivery
    | RetryDelivery
    | ClaimMail
    | ReleaseMail
    | KeepReport
    | SetFrozen
    | ScheduleDeletion
    | KeepRevision
)
