"""A name that one process at a time can hold."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from narthex.adapters.sql import open_store
from narthex.adapters.sql.postgres import PostgresEngine
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.store import StoreUnavailable
from tests.store.conftest import Test, run_on

OnStore = Callable[[Test], None]


def test_a_name_is_held_by_one_and_free_again_after_it(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        for _ in range(2):
            async with root.hold("jobs") as first, root.hold("jobs") as second, root.hold("others") as third:
                assert (first, second, third) == (True, False, True)
                # One who did not get it does not free it when he leaves.
                async with root.hold("jobs") as fourth:
                    assert not fourth
                async with root.hold("jobs") as fifth:
                    assert not fifth

    on_store(act)


def test_a_name_is_free_after_a_failure_and_after_a_cancellation(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        async def fail() -> None:
            async with root.hold("jobs") as held:
                assert held
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        async def hold_long() -> None:
            async with root.hold("jobs") as held:
                assert held
                holding.set()
                await asyncio.sleep(60)

        holding = asyncio.Event()
        task = asyncio.create_task(hold_long())
        await holding.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with root.hold("jobs") as held:
            assert held

    on_store(act)


def test_two_servers_on_one_database_exclude_one_another(database_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        other = await open_store(database_url)
        try:
            async with root.hold("jobs") as first, other.hold("jobs") as second:
                assert (first, second) == (True, False)
            async with other.hold("jobs") as second:
                assert second
        finally:
            await other.close()

    run_on(database_url, act)


def test_a_database_in_memory_has_names_of_its_own() -> None:
    async def act(root: SqlRootStore) -> None:
        other = await open_store("sqlite:///:memory:")
        try:
            async with root.hold("jobs") as first, root.hold("jobs") as second, other.hold("jobs") as third:
                assert (first, second, third) == (True, False, True)
            async with root.hold("jobs") as again:
                assert again
        finally:
            await other.close()

    run_on("sqlite:///:memory:", act)


def test_a_name_on_sqlite_is_a_file_beside_the_database(sqlite_url: str, tmp_path: Path) -> None:
    async def act(root: SqlRootStore) -> None:
        async with root.hold("../jobs") as held:
            assert held

    run_on(sqlite_url, act)
    (lock,) = tmp_path.glob("*.lock")
    assert lock.name == "narthex.db...%2Fjobs.lock"
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_lock_file_that_cannot_be_made_says_so(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "narthex.db.jobs.lock").mkdir()

    async def act(root: SqlRootStore) -> None:
        with pytest.raises(StoreUnavailable, match=r"narthex\.db\.jobs\.lock"):
            async with root.hold("jobs"):
                pass

    run_on(sqlite_url, act)


def test_a_holder_keeps_no_connection_from_the_others(postgresql_url: str) -> None:
    """The pool has a single connection, and it serves while a name is held."""

    async def act() -> None:
        root = await open_store(postgresql_url, pool_size=1)
        try:
            async with root.hold("jobs"):
                await root.ping()
        finally:
            await root.close()

    asyncio.run(act())


_HOLDER = """
import asyncio, sys
from narthex.adapters.sql import open_store

async def main():
    root = await open_store(sys.argv[1])
    async with root.hold("jobs") as held:
        print(held, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@contextlib.contextmanager
def holding_process(database_url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, database_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_process_holds_nothing(database_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        with holding_process(database_url) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            async with root.hold("jobs") as held:
                assert not held
            process.send_signal(signal.SIGKILL)
            process.wait()
        # PostgreSQL sees in a moment that the other end is gone.
        for _ in range(200):
            async with root.hold("jobs") as held:
                if held:
                    return
            await asyncio.sleep(0.02)
        pytest.fail("the name was never free again")

    run_on(database_url, act)


def test_a_closed_store_holds_nothing(database_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            async with root.hold("jobs"):
                pass

    run_on(database_url, act)


def test_a_lock_is_gone_with_its_connection_and_its_holder_ends_in_peace(postgresql_url: str) -> None:
    cut = RootStatement("select pg_terminate_backend(pid) from pg_locks where locktype = :kind")

    async def act(root: SqlRootStore) -> None:
        async with root.hold("jobs") as first:
            assert first
            await root._engine.fetch(cut, cut.bind(kind="advisory"))
            for _ in range(200):
                async with root.hold("jobs") as second:
                    if second:
                        break
                await asyncio.sleep(0.02)
            assert second

    run_on(postgresql_url, act)


def test_nobody_holds_a_name_of_a_database_that_is_away() -> None:
    async def act() -> None:
        root = SqlRootStore(PostgresEngine("postgresql://127.0.0.1:1/none", pool_size=1))
        with pytest.raises(StoreUnavailable):
            async with root.hold("jobs"):
                pass
        await root.close()

    asyncio.run(act())
