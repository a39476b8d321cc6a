"""Events: what the log of an application says, and what its webhooks are told.

Whoever changes something hands the line over together with the change, so that both are kept or neither is. A line
goes to the log if the application keeps one, and to each webhook that asked for its type.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from narthex.base.values import instant_z, uuid_text
from narthex.ports.changes import AddDelivery, AddEvent, Change
from narthex.ports.environment import Random
from narthex.ports.records import Application, Delivery, DeliveryKind, Event, EventType, Severity, Webhook
from narthex.usecases.call import Call, Caller, OperatorCall, time_ordered_id

MOST_WAITING: Final = 10_000
"""Deliveries that wait for one webhook: strangers cause events, and a receiver that is away must not fill the disk."""

_SEVERITIES: Final = {
    EventType.ApiAuthInvalidSecretKeyUsed: Severity.Alert,
    EventType.ApiAuthInvalidPublicKeyUsed: Severity.Alert,
    EventType.ApiAuthDisabledSecretKeyUsed: Severity.Alert,
    EventType.ApiAuthDisabledPublicKeyUsed: Severity.Alert,
    EventType.ApiAuthKeyRefusedByNetwork: Severity.Alert,
    EventType.ApiManagementAppFrozen: Severity.Alert,
    EventType.ApiManagementAppUnfrozen: Severity.Alert,
    EventType.AdminGenerateSignInTokenEndpointEnabled: Severity.Alert,
    EventType.AdminGenerateSignInTokenEndpointDisabled: Severity.Alert,
    EventType.AdminMagicLinksEnabled: Severity.Alert,
    EventType.AdminMagicLinksDisabled: Severity.Alert,
    EventType.ApiAuthPasskeyRegistrationRefused: Severity.Warning,
    EventType.ApiUserSignInRefused: Severity.Warning,
    EventType.ApiUserSignInFlagged: Severity.Warning,
    EventType.ApiAuthenticatorPolicyObjected: Severity.Warning,
    EventType.ApiManagementSettingsChanged: Severity.Warning,
    EventType.ApiWebhookDisabled: Severity.Warning,
}
"""All others are `Informational`."""


def event(
    event_type: EventType,
    message: str,
    *,
    performed_by: str,
    subject: str,
    now: datetime,
    random: Random,
    caller: Caller,
    assurance: bytes = b"",
    reason: str = "",
) -> Event:
    """Make a line for the event log."""
    return Event(
        event_id=time_ordered_id(now, random),
        performed_at=now,
        event_type=event_type,
        severity=_SEVERITIES.get(event_type, Severity.Informational),
        message=message,
        performed_by=performed_by,
        subject=subject,
        api_key_hint=caller.api_key_hint,
        trace_id=caller.trace_id,
        assurance=assurance,
        reason=reason,
    )


def recorded(application: Application, line: Event, random: Random) -> list[Change]:
    """The changes that record a line."""
    changes: list[Change] = [AddEvent(event=line)] if application.settings.event_logging else []
    for webhook in application.webhooks:
        if webhook.enabled and asks_for(webhook, line.event_type):
            changes.append(AddDelivery(_told(application.app_id, webhook, line, random), most=MOST_WAITING))
    return changes


def log(
    call: Call,
    event_type: EventType,
    message: str,
    *,
    performed_by: str,
    subject: str,
    assurance: bytes = b"",
    reason: str = "",
) -> list[Change]:
    """The changes that record what happened in a call."""
    if not call.application.settings.event_logging and not call.application.webhooks:
        return []
    line = event(
        event_type,
        message,
        performed_by=performed_by,
        subject=subject,
        now=call.now,
        random=call.random,
        caller=call.caller,
        assurance=assurance,
        reason=reason,
    )
    return recorded(call.application, line, call.random)


def operator_log(
    call: OperatorCall, application: Application, event_type: EventType, message: str, *, by: str = "System"
) -> list[Change]:
    """The changes that record what an operator did to an application."""
    line = event(
        event_type,
        message,
        performed_by=by,
        subject=application.app_id,
        now=call.now,
        random=call.random,
        caller=call.caller,
    )
    return recorded(application, line, call.random)


def asks_for(webhook: Webhook, event_type: EventType) -> bool:
    """Whether a webhook wants to be told of events of a type."""
    return not webhook.event_types or any(matches(pattern, event_type) for pattern in webhook.event_types)


def matches(pattern: str, event_type: EventType) -> bool:
    """Whether a pattern, a name or the beginning of one with a `*` at its end, names a type.

    >>> matches("ApiUser*", EventType.ApiUserSignInCompleted), matches("ApiUser", EventType.ApiUserSignInCompleted)
    (True, False)
    """
    if pattern.endswith("*"):
        return event_type.name.startswith(pattern[:-1])
    return event_type.name == pattern


def described(app_id: str, line: Event) -> dict[str, Any]:
    """A line as JSON says it to webhooks, exports and streams."""
    return {
        "id": uuid_text(line.event_id),
        "applicationId": app_id,
        "performedAt": instant_z(line.performed_at),
        "eventType": line.event_type.name,
        "severity": line.severity.name,
        "message": line.message,
        "reason": line.reason or None,
        "performedBy": line.performed_by,
        "subject": line.subject,
        "apiKeyId": line.api_key_hint,
        "traceId": line.trace_id,
    }


def _told(app_id: str, webhook: Webhook, line: Event, random: Random) -> Delivery:
    body = {"type": line.event_type.name, "timestamp": instant_z(line.performed_at), "data": described(app_id, line)}
    return Delivery(
        delivery_id=time_ordered_id(line.performed_at, random),
        kind=DeliveryKind.WEBHOOK,
        target=webhook.webhook_id,
        content=msgspec.json.encode(body),
        subject=line.event_type.name,
        created_at=line.performed_at,
        next_try_at=line.performed_at,
    )
