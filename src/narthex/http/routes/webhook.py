"""Webhooks of an application, and what was sent to them. Ours: the compatible API has none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from narthex.base.values import instant_z, uuid_text
from narthex.http.authenticate import Access
from narthex.http.body import Rule, between, required
from narthex.http.routes.passwordless.shapes import Answer, Request, told, uuid_of
from narthex.http.routing import route
from narthex.ports.changes import DeliveryNotFound, WebhookNotFound
from narthex.ports.records import Delivery, DeliveryState, Scope, Webhook
from narthex.usecases import webhook
from narthex.usecases.call import Call
from narthex.usecases.delivery import message_id
from narthex.usecases.webhook import WebhookTerms

_DEFAULT_PAGE = 50
_MOST_PAGE = 100
_STATES = [state.value for state in DeliveryState]
_DEFAULT_OVERLAP_S = webhook.DEFAULT_OVERLAP // timedelta(seconds=1)
_MOST_OVERLAP_S = webhook.LONGEST_OVERLAP // timedelta(seconds=1)


def _broken_state(value: str | None) -> str | None:
    return None if value is None or value in _STATES else "{} must be `pending`, `delivered` or `failed`."


Url = Annotated[
    str | None, told("Where messages are posted: https, without credentials.", "https://example.com/hooks/passkeys")
]
EventTypes = Annotated[
    list[str | None] | None,
    told("Names of event types; `ApiUser*` for all that begin so. Empty for all.", ["ApiUser*", "ApiWebhookChanged"]),
]
Description = Annotated[str | None, told("For people, at most 200 characters.", "shop backend")]
Enabled = Annotated[bool | None, told("Whether anything is sent there.", True)]


class WebhookBody(Request):
    """A webhook to make."""

    url: Url = None
    event_types: EventTypes = None
    description: Description = None
    enabled: Enabled = True

    rules: ClassVar = {"url": (required,)}


class ReviseWebhookBody(Request):
    """What to decide anew; what is left out stays."""

    url: Url = None
    event_types: EventTypes = None
    description: Description = None
    enabled: Enabled = None


class RotateWebhookBody(Request):
    """How long both secrets sign."""

    overlap_seconds: Annotated[
        int | None, told("For how long messages bear both signatures. Default: a day.", _DEFAULT_OVERLAP_S)
    ] = _DEFAULT_OVERLAP_S

    rules: ClassVar = {"overlap_seconds": (between(0, _MOST_OVERLAP_S),)}


class DeliveriesQuery(Request):
    """Which deliveries."""

    state: Annotated[str | None, told("Only those in this state.", "failed")] = None
    cursor: Annotated[str | None, told("`nextCursor` of the page before, unchanged.")] = None
    limit: Annotated[int | None, told("How many the page has at most.", _DEFAULT_PAGE)] = _DEFAULT_PAGE

    rules: ClassVar = {
        "state": (Rule(_broken_state, {"enum": _STATES}),),
        "limit": (between(1, _MOST_PAGE),),
    }


class WebhookAnswer(Answer):
    """A webhook."""

    id: Annotated[str, told("A UUID.", "5d3a0c9e-6f5b-4e0e-9d53-0a7f6e2f9b11")]
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    created_at: Annotated[str, told("UTC.", "2026-01-02T03:04:05.123456Z")]
    failing_since: Annotated[str | None, told("Since when nothing has got through; null where the last message did.")]
    old_secret_until: Annotated[str | None, told("Until when messages also bear a signature with the secret before.")]


class NewWebhookAnswer(WebhookAnswer):
    """A webhook, with its secret: it is shown now and never again."""

    secret: Annotated[str, told("What messages are signed with.", "whsec_dGhpcnR5LXR3byByYW5kb20gYnl0ZXMgYXJlIGhlcmU=")]


class TestedAnswer(Answer):
    """A test that is about to go out."""

    delivery_id: Annotated[str, told("As the list of deliveries names it.", "019c5f0e-8f1c-7cc0-a2b8-0c1f4a5b6c7d")]


class DeliveryAnswer(Answer):
    """A message that was sent, or is to be."""

    id: Annotated[str, told("A UUID.", "019c5f0e-8f1c-7cc0-a2b8-0c1f4a5b6c7d")]
    message_id: Annotated[str, told("The header `webhook-id`.", "msg_019c5f0e8f1c7cc0a2b80c1f4a5b6c7d")]
    event_type: Annotated[str, told("`type` in the body.", "ApiUserSignInCompleted")]
    state: Annotated[str, told("`pending`, `delivered` or `failed`, which means given up.", "delivered")]
    tries: int
    status: Annotated[int | None, told("Of the last answer; null where there was none.", 204)]
    problem: Annotated[str, told("What the last try failed with; empty if it did not.")]
    created_at: Annotated[str, told("UTC.", "2026-01-02T03:04:05.123456Z")]
    next_try_at: Annotated[str | None, told("Null where there will be none.")]
    settled_at: Annotated[str | None, told("When it got there or was given up.", "2026-01-02T03:04:05.456789Z")]


class DeliveriesAnswer(Answer):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryAnswer]
    next_cursor: Annotated[str | None, told("Where the next page begins; null on the last one.")]


@route("GET", "/webhooks", access=Access.SECRET_KEY, scope=Scope.WEBHOOKS_READ, answer=list[WebhookAnswer])
async def webhooks_list(call: Call) -> list[WebhookAnswer]:
    """The webhooks of the application, without their secrets."""
    return [WebhookAnswer(**_shown(each, call.now)) for each in await webhook.list_webhooks(call)]


@route(
    "POST",
    "/webhooks",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_WRITE,
    body=WebhookBody,
    answer=NewWebhookAnswer,
    status=201,
)
async def webhooks_create(call: Call, body: WebhookBody) -> NewWebhookAnswer:
    """Tell another address of the application's events. The secret is shown now and never again.

    Messages are signed as Standard Webhooks has it (https://www.standardwebhooks.com).
    """
    terms = WebhookTerms(
        url=body.url or "",
        event_types=_patterns(body.event_types),
        description=body.description or "",
        enabled=body.enabled is not False,
    )
    made, secret = await webhook.create_webhook(call, terms)
    return NewWebhookAnswer(**_shown(made, call.now), secret=str(secret))


@route(
    "POST",
    "/webhooks/{webhook_id}",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_WRITE,
    body=ReviseWebhookBody,
    answer=WebhookAnswer,
    may_miss=True,
)
async def webhooks_revise(call: Call, body: ReviseWebhookBody, webhook_id: str) -> WebhookAnswer:
    """Decide anew where a webhook leads, what it is told, and whether. What is left out stays."""
    event_types = None if body.event_types is None else _patterns(body.event_types)
    asked = {"url": body.url, "event_types": event_types, "description": body.description, "enabled": body.enabled}
    terms = {name: value for name, value in asked.items() if value is not None}
    revised = await webhook.revise_webhook(call, _webhook_id(webhook_id), **terms)
    return WebhookAnswer(**_shown(revised, call.now))


@route("DELETE", "/webhooks/{webhook_id}", access=Access.SECRET_KEY, scope=Scope.WEBHOOKS_WRITE, may_miss=True)
async def webhooks_delete(call: Call, webhook_id: str) -> None:
    """Forget a webhook, and what was or is to be sent to it."""
    await webhook.remove_webhook(call, _webhook_id(webhook_id))


@route(
    "POST",
    "/webhooks/{webhook_id}/rotate",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_WRITE,
    body=RotateWebhookBody,
    answer=NewWebhookAnswer,
    may_miss=True,
)
async def webhooks_rotate(call: Call, body: RotateWebhookBody, webhook_id: str) -> NewWebhookAnswer:
    """Draw a new secret; for a while, messages bear a signature with each of the two."""
    seconds = _DEFAULT_OVERLAP_S if body.overlap_seconds is None else body.overlap_seconds
    made, secret = await webhook.rotate_secret(call, _webhook_id(webhook_id), overlap=timedelta(seconds=seconds))
    return NewWebhookAnswer(**_shown(made, call.now), secret=str(secret))


@route(
    "POST",
    "/webhooks/{webhook_id}/test",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_WRITE,
    answer=TestedAnswer,
    status=202,
    may_miss=True,
)
async def webhooks_test(call: Call, webhook_id: str) -> TestedAnswer:
    """Send a message of the type `webhook.test`, whatever the webhook asked for."""
    return TestedAnswer(delivery_id=uuid_text(await webhook.queue_test(call, _webhook_id(webhook_id))))


@route(
    "GET",
    "/webhooks/{webhook_id}/deliveries",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_READ,
    query=DeliveriesQuery,
    answer=DeliveriesAnswer,
    may_miss=True,
)
async def webhooks_deliveries(call: Call, query: DeliveriesQuery, webhook_id: str) -> DeliveriesAnswer:
    """What was sent to a webhook in the last 30 days, or is to be, newest first."""
    page = await webhook.list_deliveries(
        call,
        _webhook_id(webhook_id),
        state=None if query.state is None else DeliveryState(query.state),
        cursor=query.cursor,
        most=query.limit or _DEFAULT_PAGE,
    )
    return DeliveriesAnswer([_delivery(each) for each in page.deliveries], page.next_cursor)


@route(
    "POST",
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/retry",
    access=Access.SECRET_KEY,
    scope=Scope.WEBHOOKS_WRITE,
    may_miss=True,
)
async def webhooks_retry(call: Call, webhook_id: str, delivery_id: str) -> None:
    """Send a message again, whatever became of it, with the same `webhook-id` and all its tries before it."""
    which = uuid_of(delivery_id)
    if which is None:
        raise DeliveryNotFound("the webhook has no such delivery")
    await webhook.retry_delivery(call, _webhook_id(webhook_id), which.bytes)


def _shown(each: Webhook, now: datetime) -> dict[str, Any]:
    overlaps_until = each.old_secret_until
    return {
        "id": uuid_text(each.webhook_id),
        "url": each.url,
        "event_types": list(each.event_types),
        "description": each.description,
        "enabled": each.enabled,
        "created_at": instant_z(each.created_at),
        "failing_since": None if each.failing_since is None else instant_z(each.failing_since),
        "old_secret_until": instant_z(overlaps_until) if overlaps_until and now < overlaps_until else None,
    }


def _delivery(each: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=uuid_text(each.delivery_id),
        message_id=message_id(each),
        event_type=each.subject,
        state=each.state.value,
        tries=each.tries,
        status=each.status,
        problem=each.problem,
        created_at=instant_z(each.created_at),
        next_try_at=instant_z(each.next_try_at) if each.state is DeliveryState.PENDING else None,
        settled_at=None if each.settled_at is None else instant_z(each.settled_at),
    )


def _patterns(value: list[str | None] | None) -> tuple[str, ...]:
    # A null names no type, and is refused as such: left out, it might make of one type all of them.
    return tuple(each or "" for each in value or ())


def _webhook_id(text: str) -> bytes:
    """
    Raises:
        WebhookNotFound.
    """
    webhook_id = uuid_of(text)
    if webhook_id is None:
        raise WebhookNotFound("the application has no such webhook")
    return webhook_id.bytes
