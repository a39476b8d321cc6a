"""An erasure takes its time. What is decided meanwhile, by others and on other servers, counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from narthex.adapters.sql import application, store
from narthex.adapters.sql.statement import Statement
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddApplication, AddCredential, ScheduleDeletion
from narthex.ports.records import ApplicationSettings
from tests.store.records import NOW, make_credential, make_evidence
from tests.store.test_applications import OnStore

LATER = NOW + timedelta(days=1)


class Pause:
    """Holds one erasure before its first step of a kind."""

    def __init__(self, root: SqlRootStore, monkeypatch: pytest.MonkeyPatch, at: Callable[[Statement], bool]) -> None:
        self.reached, self.over = asyncio.Event(), asyncio.Event()
        execute = root._engine.execute

        async def paused(statement: Statement, arguments: Any) -> int:
            if at(statement) and not self.reached.is_set():
                self.reached.set()
                await self.over.wait()
            return await execute(statement, arguments)

        monkeypatch.setattr(root._engine, "execute", paused)


async def _add_users(root: SqlRootStore, *names: str) -> None:
    for name in names:
        await root.tenant("app").commit(AddCredential(make_credential(name), make_evidence()))


@pytest.mark.parametrize("step", ["rows", "application"])
def test_an_erasure_that_comes_late_spares_who_took_the_id_meanwhile(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Two servers delete; one is done, the id is taken anew, and the other one was not done yet."""
    delete = application.ERASE if step == "application" else application.ERASURES[0].delete

    async def act(root: SqlRootStore) -> None:
        await _add_users(root, "old")
        pause = Pause(root, monkeypatch, lambda statement: statement is delete)
        late = asyncio.create_task(root.erase_application("app"))
        await pause.reached.wait()
        assert await root.erase_application("app")
        await root.tenant("app").commit(AddApplication(created_at=LATER, settings=ApplicationSettings()))
        await _add_users(root, "new")
        pause.over.set()
        assert not await late
        kept = await root.tenant("app").find_application()
        assert kept is not None
        assert LATER == kept.created_at
        assert 1 == await root.tenant("app").count_credentials()

    on_store(act)


def test_a_deletion_that_is_cancelled_on_the_way_ends_there(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ERASED_AT_ONCE", 1)

    async def act(root: SqlRootStore) -> None:
        await _add_users(root, "one", "two", "three")
        await root.tenant("app").commit(ScheduleDeletion(NOW))
        pause = Pause(root, monkeypatch, lambda statement: statement is application.ERASURES[0].delete)
        erasing = asyncio.create_task(root.erase_application("app"))
        await pause.reached.wait()
        await root.tenant("app").commit(ScheduleDeletion(None))
        pause.over.set()
        assert not await erasing
        assert 3 == await root.tenant("app").count_credentials()
        assert await root.tenant("app").find_application() is not None

    on_store(act)


def test_two_erasures_at_once_delete_it_once(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ERASED_AT_ONCE", 1)

    async def act(root: SqlRootStore) -> None:
        await _add_users(root, *map(str, range(20)))
        assert [True, True] == await asyncio.gather(root.erase_application("app"), root.erase_application("app"))
        assert ["other"] == list(await root.list_applications())
        assert await root.erase_application("app")

    on_store(act)
