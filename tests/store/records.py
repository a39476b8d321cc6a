"""Records for the store's tests: valid as they are; a test names only what matters to it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from narthex.ports.changes import RejudgeCredential, TouchCredential
from narthex.ports.records import (
    Alias,
    ApiKey,
    ApplicationSettings,
    AttestationEvidence,
    AuthenticationConfiguration,
    Credential,
    CredentialExtensions,
    DailyReport,
    Delivery,
    DeliveryKind,
    DispatchedMail,
    Event,
    EventType,
    KeyKind,
    SettingsRevision,
    Severity,
    TokenKey,
    Webhook,
)
from narthex.webauthn.trust import TrustVerdict

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_011, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def raw(text: str, size_bytes: int = 32) -> bytes:
    """Bytes that look random and are always the same for a text."""
    return hashlib.shake_256(text.encode()).digest(size_bytes)


def make_credential(name: str = "credential", **but: Any) -> Credential:
    values: dict[str, Any] = {
        "credential_id": raw(name),
        "user_id": "user",
        "user_handle": raw("user", 16),
        "public_key": raw("public key", 77),
        "sign_count": 0,
        "attestation_format": "none",
        "aaguid": bytes(16),
        "rp_id": "example.org",
        "origin": "https://example.org",
        "transports": ("internal", "hybrid"),
        "backup_eligible": True,
        "backup_state": False,
        "user_verified": False,
        "discoverable": None,
        "nickname": None,
        "device": "Firefox on Linux",
        "country": "",
        "created_at": NOW,
        "last_used_at": NOW,
        "alg": -7,
        "attestation_type": "none",
        "trust": TrustVerdict.NO_PATH,
        "anchor": None,
        "key_identifiers": (),
        "judged_with": "",
        "extensions": CredentialExtensions(),
    }
    return Credential(**values | but)


def make_attested(name: str = "attested", **but: Any) -> Credential:
    """A credential about which there is all to say that can be said."""
    values: dict[str, Any] = {
        "attestation_format": "packed",
        "aaguid": raw("model", 16),
        "alg": -257,
        "attestation_type": "basic",
        "trust": TrustVerdict.ANCHORED,
        "anchor": raw("anchor"),
        "key_identifiers": (raw("leaf", 20), raw("issuer", 20)),
        "judged_with": "metadata 7",
        "extensions": CredentialExtensions(
            cred_protect=3, min_pin_length=6, hmac_secret=True, prf=False, large_blob=True
        ),
    }
    return make_credential(name, **values | but)


def make_evidence(name: str = "evidence") -> AttestationEvidence:
    return AttestationEvidence(
        attestation_object=raw(f"object {name}", 1_500), client_data_json=f'{{"{name}":"\u0101"}}'.encode()
    )


def make_rejudged(name: str = "credential", **but: Any) -> RejudgeCredential:
    values: dict[str, Any] = {
        "credential_id": raw(name),
        "trust": TrustVerdict.UNANCHORED,
        "anchor": None,
        "judged_with": "metadata 8",
    }
    return RejudgeCredential(**values | but)


def make_touch(name: str = "credential", **but: Any) -> TouchCredential:
    values: dict[str, Any] = {
        "credential_id": raw(name),
        "sign_count": 1,
        "backup_state": True,
        "user_verified": False,
        "device": "Chrome on Android",
        "country": "CH",
        "used_at": NOW + SECOND,
        "backup_eligible": True,
    }
    return TouchCredential(**values | but)


def make_alias(name: str, *, plaintext: str | None = None) -> Alias:
    return Alias(mac=raw(name), sealed_hash=raw(f"sealed {name}", 60), plaintext=plaintext)


def make_event(name: str = "event", **but: Any) -> Event:
    values: dict[str, Any] = {
        "event_id": raw(name, 16),
        "performed_at": NOW,
        "event_type": EventType.ApiUserSignInCompleted,
        "severity": Severity.Informational,
        "message": "a user signed in",
        "performed_by": "user",
        "subject": "app",
        "api_key_hint": "abcd",
        "trace_id": "0123",
    }
    return Event(**values | but)


def make_api_key(key_id: str = "key", **but: Any) -> ApiKey:
    values: dict[str, Any] = {
        "key_id": key_id,
        "kind": KeyKind.SECRET,
        "mac": raw(key_id),
        "hint": raw(key_id).hex()[-4:],
        "value": None,
        "scopes": frozenset({"token_register", "token_verify"}),
        "created_at": NOW,
    }
    return ApiKey(**values | but)


def make_token_key(key_id: int = 1, **but: Any) -> TokenKey:
    values: dict[str, Any] = {"key_id": key_id, "wrapped": raw(f"token key {key_id}", 60), "created_at": NOW}
    return TokenKey(**values | but)


def make_configuration(purpose: str = "sign-in", **but: Any) -> AuthenticationConfiguration:
    values: dict[str, Any] = {"purpose": purpose, "hints": ("client-device",), "last_used_at": NOW}
    return AuthenticationConfiguration(**values | but)


def make_revision(version: int = 1, **but: Any) -> SettingsRevision:
    values: dict[str, Any] = {
        "version": version,
        "changed_at": NOW,
        "changed_by": "anna",
        "settings": ApplicationSettings(max_users=version),
    }
    return SettingsRevision(**values | but)


def make_webhook(name: str = "webhook", **but: Any) -> Webhook:
    values: dict[str, Any] = {
        "webhook_id": raw(name, 16),
        "url": "https://backend.example/events",
        "event_types": ("ApiUser*", "AdminApiKeyCreated"),
        "wrapped_secret": raw(f"secret {name}", 60),
        "created_at": NOW,
    }
    return Webhook(**values | but)


def timed_id(name: str, at: datetime) -> bytes:
    """An id that begins with an instant, and is always the same for a name and an instant."""
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)).to_bytes(6, "big") + raw(name, 10)


def make_delivery(name: str = "delivery", **but: Any) -> Delivery:
    created_at = but.get("created_at", NOW)
    values: dict[str, Any] = {
        "delivery_id": timed_id(name, created_at),
        "kind": DeliveryKind.WEBHOOK,
        "target": raw("webhook", 16),
        "content": f'{{"type":"{name}"}}'.encode(),
        "subject": "ApiUserSignInCompleted",
        "created_at": created_at,
        "next_try_at": created_at,
    }
    return Delivery(**values | but)


def make_mail(name: str = "mail", **but: Any) -> DispatchedMail:
    values: dict[str, Any] = {
        "mail_id": raw(name, 16),
        "created_at": NOW,
        "user_id": "user",
        "recipient": "anna@example.org",
        "url_template": "https://example.org/in?token=$TOKEN",
    }
    return DispatchedMail(**values | but)


def make_report(**but: Any) -> DailyReport:
    values: dict[str, Any] = {
        "day": NOW.date(), "users": 7, "credentials": 9, "daily_active_users": 3, "weekly_active_users": 5,
    }  # fmt: skip
    return DailyReport(**values | but)
