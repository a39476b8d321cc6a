"""The keys that seal an application's tokens: made on demand, renewed weekly, dropped after a month."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from narthex.ports.changes import AddTokenKey, ApplicationGone
from narthex.ports.environment import Keyring, Random
from narthex.ports.records import TokenKey
from narthex.tokens.sealed import NONCE_SIZE, SealingKey, TokenKind, UnknownKey, open_sealed, seal
from narthex.usecases.call import Call
from narthex.usecases.tenant import Tenant, unwrap_key, wrapping_context

RENEWED_AFTER = timedelta(days=7)
DROPPED_AFTER = timedelta(days=30)

Payload = TypeVar("Payload")


async def seal_token(call: Call, kind: TokenKind, payload: Any) -> str:
    """Make a token of the call's application."""
    key = await _current_key(call)
    return seal(payload, kind, key=key, nonce=call.random(NONCE_SIZE))


async def open_token(call: Call, text: str | None, kind: TokenKind, shape: type[Payload]) -> Payload:
    """Read a token of the call's application.

    Raises:
        MissingToken, InvalidToken, InvalidTokenFormat.
    """
    try:
        return open_sealed(text, kind, shape, keys=_living_keys(call, call.tenant))
    except UnknownKey:
        # Another process may have renewed the key within the second that we remember.
        tenant = await call.directory.refresh(call.application.app_id, now=call.now)
        return open_sealed(text, kind, shape, keys=_living_keys(call, tenant) if tenant else ())


def _living_keys(call: Call, tenant: Tenant) -> Sequence[SealingKey]:
    # INVARIANT: no token outlives its key, so that what is spent need be remembered no longer than that. The rows
    # of dead keys go at the next renewal, which an application that nobody uses may wait for.
    dead_before = call.now - DROPPED_AFTER
    kept = tenant.application.token_keys
    if kept and kept[-1].created_at >= dead_before:
        return tenant.sealing_keys
    return [key for row, key in zip(kept, tenant.sealing_keys, strict=True) if row.created_at >= dead_before]


async def _current_key(call: Call) -> SealingKey:
    key = _fresh_key(call, call.tenant)
    if key is not None:
        return key
    # One at a time: a page full of visitors at the hour of renewal makes one key, not a hundred.
    async with call.directory.lock(call.application.app_id):
        tenant = await call.directory.refresh(call.application.app_id, now=call.now)
        if tenant is None:
            raise ApplicationGone("the application was deleted")
        return _fresh_key(call, tenant) or await _renew(call)


def _fresh_key(call: Call, tenant: Tenant) -> SealingKey | None:
    keys = tenant.application.token_keys
    if keys and call.now < keys[0].created_at + RENEWED_AFTER:
        return tenant.sealing_keys[0]
    return None


async def _renew(call: Call) -> SealingKey:
    app_id = call.application.app_id
    key = new_token_key(app_id, keyring=call.keyring, random=call.random, now=call.now)
    await call.store.commit(AddTokenKey(key=key, drop_before=call.now - DROPPED_AFTER))
    call.directory.forget(app_id)
    return unwrap_key(key, app_id, call.keyring)


def new_token_key(app_id: str, *, keyring: Keyring, random: Random, now: datetime) -> TokenKey:
    """Draw a key and wrap it for keeping."""
    key_id = int.from_bytes(random(4), "big") >> 1
    wrapped = keyring.wrap("token-key", wrapping_context(app_id, key_id), random(32))
    return TokenKey(key_id=key_id, wrapped=wrapped, created_at=now)
