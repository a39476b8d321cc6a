"""Where applications want to be told of their events."""

from __future__ import annotations

from narthex.adapters.sql import delivery
from narthex.adapters.sql.encoding import from_us, from_us_or_none, list_from_json, to_json, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import AddWebhook, NoteWebhookHealth, RemoveWebhook, ReviseWebhook, WebhookNotFound
from narthex.ports.records import Webhook

COLUMNS: dict[str, str] = {
    "webhook_id": "bytea", "url": "text", "event_types": "text", "wrapped_secret": "bytea", "created_at": "bigint",
    "description": "text", "enabled": "boolean", "wrapped_old_secret": "bytea", "old_secret_until": "bigint",
    "failing_since": "bigint",
}  # fmt: skip
_ADD = TenantStatement(
    """
    insert into webhook (app_id, webhook_id, url, event_types, wrapped_secret, created_at, description, enabled,
        wrapped_old_secret, old_secret_until, failing_since)
    values (:app_id, :webhook_id, :url, :event_types, :wrapped_secret, :created_at, :description, :enabled,
        :wrapped_old_secret, :old_secret_until, :failing_since)
    on conflict do nothing
    """,
    must_change=True,
)
_REVISE = TenantStatement(
    """
    update webhook set url = :url, event_types = :event_types, wrapped_secret = :wrapped_secret,
        description = :description, enabled = :enabled, wrapped_old_secret = :wrapped_old_secret,
        old_secret_until = :old_secret_until, failing_since = :failing_since
    where app_id = :app_id and webhook_id = :webhook_id
    """,
    must_change=True,
)
_REMOVE = TenantStatement(
    "delete from webhook where app_id = :app_id and webhook_id = :webhook_id",
    must_change=True,
)
_NOTE_FAILURE = TenantStatement("""
    update webhook set failing_since = :failing_since
    where app_id = :app_id and webhook_id = :webhook_id and failing_since is null
""")
_NOTE_SUCCESS = TenantStatement("""
    update webhook set failing_since = null
    where app_id = :app_id and webhook_id = :webhook_id and failing_since is not null
""")


def from_row(row: Row) -> Webhook:
    (
        webhook_id, url, event_types, wrapped_secret, created_at, description, enabled, wrapped_old_secret,
        old_secret_until, failing_since,
    ) = row  # fmt: skip
    return Webhook(
        webhook_id, url, list_from_json(event_types), wrapped_secret, from_us(created_at), description, enabled == 1,
        wrapped_old_secret, from_us_or_none(old_secret_until), from_us_or_none(failing_since),
    )  # fmt: skip


def _values(webhook: Webhook) -> dict[str, object]:
    return {
        "webhook_id": webhook.webhook_id,
        "url": webhook.url,
        "event_types": to_json(webhook.event_types),
        "wrapped_secret": webhook.wrapped_secret,
        "created_at": to_us(webhook.created_at),
        "description": webhook.description,
        "enabled": webhook.enabled,
        "wrapped_old_secret": webhook.wrapped_old_secret,
        "old_secret_until": to_us_or_none(webhook.old_secret_until),
        "failing_since": to_us_or_none(webhook.failing_since),
    }


def _add(app_id: str, change: AddWebhook) -> list[Step]:
    return [(_ADD, _ADD.bind(app_id, **_values(change.webhook)))]


def _revise(app_id: str, change: ReviseWebhook) -> list[Step]:
    return [(_REVISE, _REVISE.bind(app_id, **_values(change.webhook)))]


def _remove(app_id: str, change: RemoveWebhook) -> list[Step]:
    return [
        (_REMOVE, _REMOVE.bind(app_id, webhook_id=change.webhook_id)),
        (delivery.DROP, delivery.DROP.bind(app_id, target=change.webhook_id)),
    ]


def _note_health(app_id: str, change: NoteWebhookHealth) -> list[Step]:
    if change.failing_since is None:
        return [(_NOTE_SUCCESS, _NOTE_SUCCESS.bind(app_id, webhook_id=change.webhook_id))]
    bound = _NOTE_FAILURE.bind(app_id, webhook_id=change.webhook_id, failing_since=to_us(change.failing_since))
    return [(_NOTE_FAILURE, bound)]


CHANGES: Plans = {
    AddWebhook: Plan(_add, message="the id that we drew for a webhook is taken"),
    ReviseWebhook: Plan(_revise, WebhookNotFound, "the application has no such webhook"),
    RemoveWebhook: Plan(_remove, WebhookNotFound, "the application has no such webhook"),
    NoteWebhookHealth: Plan(_note_health),
}
