"""The store's tests run on both databases. Each runs its own event loop, because a store belongs to one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from narthex.adapters.sql import open_store
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddApplication
from narthex.ports.records import ApplicationSettings
from tests.store.records import NOW

Test: TypeAlias = Callable[[SqlRootStore], Awaitable[None]]


def run_on(database_url: str, test: Test) -> None:
    """Open the store, let the test act, close the store."""

    async def run() -> None:
        root = await open_store(database_url)
        try:
            await test(root)
        finally:
            await root.close()

    asyncio.run(run())


async def make_application(root: SqlRootStore, app_id: str) -> None:
    await root.tenant(app_id).commit(AddApplication(created_at=NOW, settings=ApplicationSettings()))


@pytest.fixture
def on_store(database_url: str) -> Callable[[Test], None]:
    """Runs an async function on an open store with two applications, `app` and `other`."""

    async def prepared(root: SqlRootStore, test: Test) -> None:
        for app_id in ("app", "other"):
            await make_application(root, app_id)
        await test(root)

    return lambda test: run_on(database_url, lambda root: prepared(root, test))
