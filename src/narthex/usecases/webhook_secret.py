"""The secrets that sign what is sent to webhooks: spelled as Standard Webhooks 1.0 has it, and kept wrapped."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Final

from narthex.base.values import Secret
from narthex.ports.environment import Keyring, Random
from narthex.ports.records import Webhook

_SECRET_BYTES: Final = 32
_PREFIX: Final = "whsec_"
_PURPOSE: Final = "webhook-secret"


def draw_secret(random: Random) -> Secret:
    """A new secret, as its receiver is told it."""
    return Secret(f"{_PREFIX}{b64encode(random(_SECRET_BYTES)).decode()}")


def wrap_secret(keyring: Keyring, app_id: str, webhook_id: bytes, secret: Secret) -> bytes:
    """A secret as it is kept."""
    return keyring.wrap(_PURPOSE, _context(app_id, webhook_id), b64decode(secret.removeprefix(_PREFIX)))


def signing_secrets(keyring: Keyring, app_id: str, webhook: Webhook, *, now: datetime) -> list[bytes]:
    """What a message is signed with: the secret, and for a while after a rotation the one before it."""
    wrapped = [webhook.wrapped_secret]
    if webhook.wrapped_old_secret and webhook.old_secret_until is not None and now < webhook.old_secret_until:
        wrapped.append(webhook.wrapped_old_secret)
    return [keyring.unwrap(_PURPOSE, _context(app_id, webhook.webhook_id), each) for each in wrapped]


def _context(app_id: str, webhook_id: bytes) -> bytes:
    """Binds a wrapped secret to its row, so that rows cannot be exchanged in the table."""
    return webhook_id + app_id.encode()
