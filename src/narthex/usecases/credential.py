"""The credentials of an application, read through to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from narthex.ports.records import Credential
from narthex.ports.store import TenantStore

_PORTION = 500


async def credentials_by_user(store: TenantStore) -> AsyncIterator[tuple[str, list[Credential]]]:
    """Every user who has credentials, with all of them. Read in portions: other requests have their turn between."""
    after: tuple[str, bytes] | None = None
    gathered: list[Credential] = []
    while portion := await store.scan_credentials(after=after, most=_PORTION):
        for credential in portion:
            if gathered and gathered[0].user_id != credential.user_id:
                yield gathered[0].user_id, gathered
                gathered = []
            gathered.append(credential)
        after = (portion[-1].user_id, portion[-1].credential_id)
        await asyncio.sleep(0)  # SQLite answers without a pause.
    if gathered:
        yield gathered[0].user_id, gathered
