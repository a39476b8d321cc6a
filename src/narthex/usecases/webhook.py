"""Webhooks: where an application wants to be told of its events (Standard Webhooks 1.0, standardwebhooks.com).

Each webhook has a secret of its own, which signs what is sent there; it is told once and kept wrapped. Whoever decides
something for webhooks goes on only if nobody else decided anything meanwhile, as settings do: a rotation and a sender
who gives a webhook up must not undo one another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec

from narthex.base.errors import Conflict, Malformed, quoted
from narthex.base.values import Secret, instant_z, uuid_text
from narthex.ports.changes import (
    AddDelivery,
    AddWebhook,
    ApplicationGone,
    Change,
    DeliveryNotFound,
    ExpectSettings,
    RemoveWebhook,
    RetryDelivery,
    ReviseWebhook,
    SettingsChanged,
    WebhookNotFound,
)
from narthex.ports.egress import AddressNotAllowed
from narthex.ports.limits import Limit
from narthex.ports.records import Application, Delivery, DeliveryKind, DeliveryState, EventType, Webhook
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.cursor import open_cursor, seal_cursor
from narthex.usecases.event import event, matches, recorded
from narthex.usecases.limit import count_for_application
from narthex.usecases.webhook_secret import draw_secret, wrap_secret

MOST_WEBHOOKS: Final = 20
MOST_EVENT_TYPES: Final = 50
LONGEST_DESCRIPTION: Final = 200
LONGEST_OVERLAP: Final = timedelta(days=7)
DEFAULT_OVERLAP: Final = timedelta(days=1)
TEST_TYPE: Final = "webhook.test"
"""What a test says it is: no type of event, so that no pattern can ask for it or miss it."""
WEBHOOK_TESTS: Final = Limit("webhook-tests-of-application", most=20, window_s=60)
_MOST_DRAFTS: Final = 100
"""Of so many that decide at once, each round lets one through."""

Made = TypeVar("Made")


class WebhookInvalid(Malformed):
    """A webhook's description is too long, it names too many types, or its secrets would overlap for too long."""

    code = "webhook-invalid"
    advice = "describe it in 200 characters, name 50 types of event at most, and let two secrets overlap for 7 days"


class EventTypeUnknown(Malformed):
    """There is no event of this type, nor one whose name begins so."""

    code = "event-type-unknown"
    advice = "name types of events as the event log does, or the beginning of names with a `*` at its end: `ApiUser*`"


class TooManyWebhooks(Conflict):
    """The application has as many webhooks as may be."""

    code = "too-many-webhooks"
    advice = "delete a webhook that is not in use any more"


class WebhookDisabled(Conflict):
    """Nothing is sent to this webhook."""

    code = "webhook-disabled"
    advice = "enable the webhook first"


class WebhookTerms(msgspec.Struct, frozen=True):
    """Where to tell what."""

    url: str
    event_types: tuple[str, ...] = ()
    """Names of event types, or beginnings of names with a `*` at the end; empty for all."""
    description: str = ""
    enabled: bool = True


class DeliveryPage(msgspec.Struct, frozen=True):
    """A portion of what was sent to a webhook, or is to be, newest first."""

    deliveries: Sequence[Delivery]
    next_cursor: str | None


class _Draft(msgspec.Struct, frozen=True):
    """What somebody decides for a webhook, on the grounds of what was read."""

    webhook_id: bytes
    change: Change
    message: str
    event_type: EventType = EventType.ApiWebhookChanged


# --- deciding ---------------------------------------------------------------------------------------------------------


async def list_webhooks(call: Call) -> tuple[Webhook, ...]:
    """The webhooks of the application, in the order in which they were made."""
    return (await _read(call)).webhooks


async def create_webhook(call: Call, terms: WebhookTerms) -> tuple[Webhook, Secret]:
    """Tell another address of the application's events; the answer is the only time that its secret is told.

    Raises:
        AddressNotAllowed, EventTypeUnknown, WebhookInvalid, TooManyWebhooks.
    """
    terms = checked_terms(call, terms)
    webhook_id, secret = time_ordered_id(call.now, call.random), draw_secret(call.random)
    webhook = Webhook(
        webhook_id=webhook_id,
        url=terms.url,
        event_types=terms.event_types,
        wrapped_secret=wrap_secret(call.keyring, call.application.app_id, webhook_id, secret),
        created_at=call.now,
        description=terms.description,
        enabled=terms.enabled,
    )

    def add(application: Application) -> tuple[_Draft, Webhook]:
        if len(application.webhooks) >= MOST_WEBHOOKS:
            raise TooManyWebhooks(f"an application has {MOST_WEBHOOKS} webhooks at most")
        return _Draft(webhook_id, AddWebhook(webhook), f"webhook {uuid_text(webhook_id)} created"), webhook

    return await _decide(call, add), secret


async def revise_webhook(call: Call, webhook_id: bytes, **terms: Any) -> Webhook:
    """Decide anew what is named, and leave the rest. Another address, or an enabled one, is not failing yet.

    Args:
        terms: members of `WebhookTerms`.

    Raises:
        WebhookNotFound, AddressNotAllowed, EventTypeUnknown, WebhookInvalid.
    """

    def revise(application: Application) -> tuple[_Draft | None, Webhook]:
        webhook = get_webhook(application, webhook_id)
        asked = msgspec.structs.replace(_terms_of(webhook), **terms)
        decided = checked_terms(call, asked) if "url" in terms else _checked_wording(asked)
        changed = [name for name in WebhookTerms.__struct_fields__ if getattr(decided, name) != getattr(webhook, name)]
        if not changed:
            return None, webhook
        begins_anew = "url" in changed or "enabled" in changed
        revised = msgspec.structs.replace(
            webhook,
            url=decided.url,
            event_types=decided.event_types,
            description=decided.description,
            enabled=decided.enabled,
            failing_since=None if begins_anew else webhook.failing_since,
        )
        # Names alone: an address may hold a secret.
        return _revision(revised, f"changed: {', '.join(changed)}"), revised

    return await _decide(call, revise)


async def remove_webhook(call: Call, webhook_id: bytes) -> None:
    """Forget a webhook, and what was or is to be sent to it.

    Raises:
        WebhookNotFound.
    """

    def remove(application: Application) -> tuple[_Draft, None]:
        get_webhook(application, webhook_id)
        return _Draft(webhook_id, RemoveWebhook(webhook_id), f"webhook {uuid_text(webhook_id)} deleted"), None

    await _decide(call, remove)


async def rotate_secret(
    call: Call, webhook_id: bytes, *, overlap: timedelta = DEFAULT_OVERLAP
) -> tuple[Webhook, Secret]:
    """Draw a new secret. What is sent meanwhile bears two signatures, so that the receiver need not change at once.

    A secret that an earlier rotation left over ends now: it is the last one that overlaps.

    Raises:
        WebhookNotFound, WebhookInvalid.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise WebhookInvalid(f"two secrets overlap for {LONGEST_OVERLAP.days} days at most")
    secret = draw_secret(call.random)
    wrapped = wrap_secret(call.keyring, call.application.app_id, webhook_id, secret)

    def rotate(application: Application) -> tuple[_Draft, Webhook]:
        webhook = get_webhook(application, webhook_id)
        rotated = msgspec.structs.replace(
            webhook,
            wrapped_secret=wrapped,
            wrapped_old_secret=webhook.wrapped_secret if overlap else None,
            old_secret_until=call.now + overlap if overlap else None,
        )
        return _revision(rotated, "given a new secret"), rotated

    return await _decide(call, rotate), secret


async def disable_webhook(call: Call, tried: Webhook, why: str) -> None:
    """Send nothing more to a webhook that does not want it, unless its owner has meanwhile decided otherwise.

    Args:
        tried: the webhook as it was when its receiver was asked.
    """

    def disable(application: Application) -> tuple[_Draft | None, None]:
        webhook = next((each for each in application.webhooks if each.webhook_id == tried.webhook_id), None)
        if webhook is None or not webhook.enabled or webhook.url != tried.url:
            return None, None
        disabled = msgspec.structs.replace(webhook, enabled=False)
        return _revision(disabled, f"disabled: {why}", EventType.ApiWebhookDisabled), None

    await _decide(call, disable)


def get_webhook(application: Application, webhook_id: bytes) -> Webhook:
    """
    Raises:
        WebhookNotFound.
    """
    for webhook in application.webhooks:
        if webhook.webhook_id == webhook_id:
            return webhook
    raise WebhookNotFound("the application has no such webhook")


def checked_terms(call: Call, terms: WebhookTerms) -> WebhookTerms:
    """Spell each type once, and refuse what makes no webhook. A name is looked up when something is sent there.

    Raises:
        AddressNotAllowed, EventTypeUnknown, WebhookInvalid.
    """
    if call.facilities.egress is None:
        raise AddressNotAllowed("this server sends nothing to other addresses")
    call.facilities.egress.check(terms.url)
    return _checked_wording(terms)


def _checked_wording(terms: WebhookTerms) -> WebhookTerms:
    if len(terms.description) > LONGEST_DESCRIPTION or not terms.description.isprintable():
        raise WebhookInvalid(f"a webhook is described in {LONGEST_DESCRIPTION} printable characters at most")
    if len(terms.event_types) > MOST_EVENT_TYPES:
        raise WebhookInvalid(f"a webhook names {MOST_EVENT_TYPES} types of event at most")
    for pattern in terms.event_types:
        if not any(matches(pattern, event_type) for event_type in EventType):
            raise EventTypeUnknown(f"{quoted(pattern)} names no type of event")
    return msgspec.structs.replace(terms, event_types=tuple(dict.fromkeys(terms.event_types)))


def _terms_of(webhook: Webhook) -> WebhookTerms:
    return WebhookTerms(webhook.url, webhook.event_types, webhook.description, webhook.enabled)


def _revision(webhook: Webhook, what: str, event_type: EventType = EventType.ApiWebhookChanged) -> _Draft:
    message = f"webhook {uuid_text(webhook.webhook_id)} {what}"
    return _Draft(webhook.webhook_id, ReviseWebhook(webhook), message, event_type)


async def _decide(call: Call, decision: Callable[[Application], tuple[_Draft | None, Made]]) -> Made:
    """Decide on the grounds of what is there now; decided again when somebody else was faster.

    Raises:
        ApplicationGone, SettingsChanged, and what the decision does.
    """
    for _ in range(_MOST_DRAFTS):
        application = await _read(call)
        draft, made = decision(application)
        if draft is None:
            return made
        with contextlib.suppress(SettingsChanged):
            unchanged = ExpectSettings(application.settings_version)
            await call.store.commit(unchanged, draft.change, *_log(call, application, draft))
            call.directory.forget(application.app_id)
            return made
    raise SettingsChanged("the webhooks of the application are being changed by others at the same time")


async def _read(call: Call) -> Application:
    application = await call.store.find_application()
    if application is None:
        raise ApplicationGone("the application was deleted")
    return application


def _log(call: Call, application: Application, draft: _Draft) -> list[Change]:
    """What the log and the other webhooks are told. Not the one itself: its deliveries may be going with it."""
    others = tuple(each for each in application.webhooks if each.webhook_id != draft.webhook_id)
    line = event(
        draft.event_type,
        draft.message,
        performed_by="System",
        subject=uuid_text(draft.webhook_id),
        now=call.now,
        random=call.random,
        caller=call.caller,
    )
    return recorded(msgspec.structs.replace(application, webhooks=others), line, call.random)


# --- what is sent -----------------------------------------------------------------------------------------------------


async def queue_test(call: Call, webhook_id: bytes) -> bytes:
    """Let a message go to a webhook that says that it is a test; gives the delivery's id.

    Raises:
        WebhookNotFound, WebhookDisabled, RateLimited.
    """
    webhook = _require_enabled(await _read(call), webhook_id)
    await count_for_application(call, WEBHOOK_TESTS)
    app_id, delivery_id = call.application.app_id, time_ordered_id(call.now, call.random)
    data = {
        "applicationId": app_id,
        "webhookId": uuid_text(webhook.webhook_id),
        "message": "this is a test: nothing happened",
    }
    delivery = Delivery(
        delivery_id=delivery_id,
        kind=DeliveryKind.WEBHOOK,
        target=webhook.webhook_id,
        content=msgspec.json.encode({"type": TEST_TYPE, "timestamp": instant_z(call.now), "data": data}),
        subject=TEST_TYPE,
        created_at=call.now,
        next_try_at=call.now,
    )
    await call.store.commit(AddDelivery(delivery))
    return delivery_id


async def list_deliveries(
    call: Call, webhook_id: bytes, *, state: DeliveryState | None, cursor: str | None, most: int
) -> DeliveryPage:
    """A portion of what was sent to a webhook, or is to be, newest first.

    Raises:
        WebhookNotFound, InvalidCursor.
    """
    get_webhook(await _read(call), webhook_id)
    app_id, which = call.application.app_id, f"deliveries:{webhook_id.hex()}:{state or 'all'}"
    before = open_cursor(call.keyring, app_id, which, cursor, bytes)
    found = await call.store.list_deliveries(webhook_id, before=before, most=most + 1, state=state)
    page = found[:most]
    more = seal_cursor(call.keyring, app_id, which, page[-1].delivery_id) if len(found) > most else None
    return DeliveryPage(page, more)


async def retry_delivery(call: Call, webhook_id: bytes, delivery_id: bytes) -> None:
    """Send something again at once, whatever became of it, with the same id and all its tries before it.

    Raises:
        WebhookNotFound, WebhookDisabled, DeliveryNotFound.
    """
    _require_enabled(await _read(call), webhook_id)
    if not await _is_of(call, webhook_id, delivery_id):
        raise DeliveryNotFound("the webhook has no such delivery")
    await call.store.commit(RetryDelivery(delivery_id, at=call.now))


async def _is_of(call: Call, webhook_id: bytes, delivery_id: bytes) -> bool:
    successor = int.from_bytes(delivery_id) + 1
    before = successor.to_bytes(16) if successor < 1 << 128 else None
    found = await call.store.list_deliveries(webhook_id, before=before, most=1)
    return [delivery_id] == [each.delivery_id for each in found]


def _require_enabled(application: Application, webhook_id: bytes) -> Webhook:
    webhook = get_webhook(application, webhook_id)
    if not webhook.enabled:
        raise WebhookDisabled("the webhook is disabled")
    return webhook
