"""How long the server keeps what it need not keep for ever. Each function says in words what went."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from narthex.ports.changes import AddTokenKey
from narthex.usecases.call import OperatorCall
from narthex.usecases.token_key import DROPPED_AFTER, RENEWED_AFTER, new_token_key

CLOCKS_MAY_DIFFER_BY: Final = timedelta(minutes=5)
"""Those of two servers. A nonce is remembered a little longer than its token can live."""
MAILS_ARE_KEPT_FOR: Final = timedelta(days=50)
"""The quota of magic links looks back 30 days."""
DELIVERIES_ARE_KEPT_FOR: Final = timedelta(days=30)
"""Once they are settled."""
LONGEST_RETENTION_DAYS: Final = 3_650
"""For how long an application may ask that its events are kept."""


async def forget_nonces(call: OperatorCall) -> str:
    """Forget spent nonces whose tokens have expired anyway."""
    return f"{await call.root.purge_nonces(expired_before=call.now - CLOCKS_MAY_DIFFER_BY)} nonces forgotten"


async def forget_events(call: OperatorCall) -> str:
    """Forget events that are older than their own application keeps them."""
    return f"{await call.root.purge_events(now=call.now)} events forgotten"


async def forget_mails(call: OperatorCall) -> str:
    """Forget which magic links were sent."""
    return f"{await call.root.purge_mails(sent_before=call.now - MAILS_ARE_KEPT_FOR)} mails forgotten"


async def forget_deliveries(call: OperatorCall) -> str:
    """Forget what was delivered, or given up."""
    gone = await call.root.purge_deliveries(settled_before=call.now - DELIVERIES_ARE_KEPT_FOR)
    return f"{gone} deliveries forgotten"


async def forget_request_counts(call: OperatorCall) -> str:
    """Forget how often somebody asked in a window that is over."""
    gone = await call.root.purge_request_counts(expired_before_s=int(call.now.timestamp()))
    return f"{gone} counts forgotten"


async def renew_token_key(call: OperatorCall, app_id: str) -> bool:
    """Give an application a new token key if its newest is old, and drop those whose tokens are all dead.

    An application that seals tokens does so by itself; one that nobody uses would keep its keys for ever.

    Returns:
        whether there was something to do.
    """
    store = call.root.tenant(app_id)
    application = await store.find_application()
    keys = application.token_keys if application is not None else ()
    drop_before = call.now - DROPPED_AFTER
    if not keys or (call.now < keys[0].created_at + RENEWED_AFTER and keys[-1].created_at >= drop_before):
        return False
    key = new_token_key(app_id, keyring=call.keyring, random=call.random, now=call.now)
    await store.commit(AddTokenKey(key=key, drop_before=drop_before))
    call.directory.forget(app_id)
    return True
