"""What callers see when the database fails, and that it works again afterwards without a restart."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from narthex.adapters.sql import open_store
from narthex.adapters.sql.database_url import DatabaseUrlMalformed
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddCredential, AddEvent, SpendNonce
from narthex.ports.store import StoreUnavailable
from tests.store.conftest import make_application, run_on
from tests.store.records import NOW, make_credential, make_event, raw
from tests.support.postgres import Cluster

# ── both ──


@pytest.mark.parametrize(
    "url",
    ["", "narthex.db", "mysql://host/db", "sqlite://narthex.db", "sqlite:///", "sqlite:///dir/", "sqlite:///a?b=c",
     "postgresql://host:not-a-port/db", "postgresql://user:pass/word@host/db"],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(DatabaseUrlMalformed) as caught:
        asyncio.run(open_store(url))
    assert "pass" not in str(caught.value)


def test_a_closed_store_refuses(database_url: str) -> None:
    async def act() -> None:
        root = await open_store(database_url)
        await make_application(root, "app")
        await root.close()
        with pytest.raises(StoreUnavailable):
            await root.ping()
        with pytest.raises(StoreUnavailable):
            await root.tenant("app").commit(AddEvent(make_event()))
        await root.close()

    asyncio.run(act())


def test_closing_waits_for_commits_that_are_under_way(database_url: str) -> None:
    async def act() -> None:
        root = await open_store(database_url)
        await make_application(root, "app")
        task = asyncio.create_task(root.tenant("app").commit(AddCredential(make_credential())))
        await asyncio.sleep(0)
        await root.close()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        root = await open_store(database_url)
        kept = await root.tenant("app").find_credential(raw("credential"))
        await root.close()
        assert (outcome is None) == (kept is not None)

    asyncio.run(act())


# ── SQLite ──


def test_a_missing_file_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no SQLite database"):
        asyncio.run(open_store(f"sqlite:///{tmp_path}/typo.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "narthex.db"
    path.write_text("this is a letter to my grandmother" * 100)
    with pytest.raises(StoreUnavailable):
        asyncio.run(open_store(f"sqlite:///{path}"))


def test_a_database_in_memory_needs_no_file() -> None:
    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        await asyncio.gather(*(tenant.commit(AddCredential(make_credential(f"{n}"))) for n in range(20)))
        assert len(await tenant.list_credentials("user")) == 20

    run_on("sqlite:///:memory:", act)
    assert not Path(":memory:").exists()


def test_a_full_disk_refuses_the_whole_batch_and_works_again_when_there_is_room(sqlite_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        writer = root._engine._writer  # type: ignore[attr-defined]
        (pages,) = writer.execute("pragma page_count").fetchone()
        writer.execute(f"pragma max_page_count = {pages + 4}")
        big = [AddCredential(make_credential(f"{n}", public_key=bytes(2_000))) for n in range(40)]
        outcomes = await asyncio.gather(*(tenant.commit(change) for change in big), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert await tenant.list_credentials("user") == []
        writer.execute("pragma max_page_count = 1000000")
        await asyncio.gather(*(tenant.commit(change) for change in big))
        assert len(await tenant.list_credentials("user")) == 40

    run_on(sqlite_url, act)


def test_a_commit_that_fails_refuses_the_whole_batch(sqlite_url: str) -> None:
    """A deferred constraint is the one thing that makes SQLite itself refuse a COMMIT on demand."""

    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        writer = root._engine._writer  # type: ignore[attr-defined]
        writer.execute("create table child (id integer references parent (id) deferrable initially deferred)")
        writer.execute("create table parent (id integer primary key)")
        writer.execute("create temp trigger break after insert on event begin insert into child values (1); end")
        outcomes = await asyncio.gather(
            tenant.commit(AddCredential(make_credential())),
            tenant.commit(AddEvent(make_event())),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert await tenant.find_credential(raw("credential")) is None
        writer.execute("drop trigger break")
        await tenant.commit(AddCredential(make_credential()), AddEvent(make_event()))

    run_on(sqlite_url, act)


def test_an_old_sqlite_is_said_so(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailable, match=r"3\.37"):
        asyncio.run(open_store(sqlite_url))


def test_another_process_may_write_for_a_while(sqlite_url: str) -> None:
    """The writer waits for its turn without holding up the event loop."""

    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("begin immediate")
            task = asyncio.create_task(tenant.commit(AddEvent(make_event())))
            for _ in range(20):
                await asyncio.sleep(0.005)
                assert not await tenant.has_users(1)
            assert not task.done()
            other.execute("commit")
            await task

    run_on(sqlite_url, act)


_WRITER = """
import asyncio, os, sys
from narthex.adapters.sql import open_store
from narthex.ports.changes import AddEvent, SpendNonce
from tests.store.records import NOW, make_event, raw

async def main():
    root = await open_store(sys.argv[1])
    tenant = root.tenant("app")
    async def write(worker):
        n = 0
        while True:
            name = f"{worker}.{n}"
            await tenant.commit(SpendNonce(raw(name, 16), NOW), AddEvent(make_event(name)))
            os.write(1, f"{name}\\n".encode())
            n += 1
    await asyncio.gather(*(write(worker) for worker in range(16)))

asyncio.run(main())
"""


def test_what_was_acknowledged_outlives_a_kill(sqlite_url: str) -> None:
    async def prepare(root: SqlRootStore) -> None:
        await make_application(root, "app")

    run_on(sqlite_url, prepare)
    command = [sys.executable, "-c", _WRITER, sqlite_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        acknowledged = [line.decode().strip() for line in itertools.islice(child.stdout, 500)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [line.decode().strip() for line in child.stdout if line.endswith(b"\n")]

    async def check(root: SqlRootStore) -> None:
        again = await asyncio.gather(
            *(root.tenant("app").commit(SpendNonce(raw(name, 16), NOW)) for name in acknowledged),
            return_exceptions=True,
        )
        assert {type(outcome).__name__ for outcome in again} == {"NonceSpent"}

    run_on(sqlite_url, check)


# ── PostgreSQL ──


@pytest.mark.parametrize("immediate", [False, True], ids=["shut down", "crashed"])
def test_a_server_that_stops_and_starts_is_used_again(
    postgres_cluster: Cluster, postgresql_url: str, immediate: bool
) -> None:
    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        await asyncio.gather(*(tenant.commit(AddCredential(make_credential(f"{n}"))) for n in range(16)))
        postgres_cluster.stop(immediate=immediate)
        try:
            for _ in range(2):
                outcomes = await asyncio.gather(
                    tenant.find_application(),
                    root.ping(),
                    *(tenant.find_credential(raw(f"{n}")) for n in range(16)),
                    *(tenant.commit(AddEvent(make_event(f"{n}"))) for n in range(16)),
                    *(tenant.commit(SpendNonce(raw(f"{n}"), NOW), AddEvent(make_event(f"{n}"))) for n in range(16)),
                    return_exceptions=True,
                )
                assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        finally:
            postgres_cluster.start()
        await asyncio.gather(*(tenant.commit(AddEvent(make_event(f"{n}"))) for n in range(16)))
        assert len(await tenant.list_credentials("user")) == 16

    run_on(postgresql_url, act)


def test_a_connection_that_is_cut_harms_only_its_caller(postgres_cluster: Cluster, postgresql_url: str) -> None:
    async def act(root: SqlRootStore) -> None:
        await make_application(root, "app")
        tenant = root.tenant("app")
        await asyncio.gather(*(tenant.has_users(1) for _ in range(16)))
        postgres_cluster.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'narthex'"
        )
        outcomes = await asyncio.gather(*(tenant.has_users(1) for _ in range(50)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {bool, StoreUnavailable}
        assert not await tenant.has_users(1)

    run_on(postgresql_url, act)


def test_a_server_that_is_away_at_the_start_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot reach PostgreSQL"):
        asyncio.run(open_store(f"postgresql://narthex@/narthex?host={tmp_path}"))


def test_a_database_that_is_not_there_is_said_so(postgres_cluster: Cluster) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist"):
        asyncio.run(open_store(postgres_cluster.url("nowhere")))


def test_more_callers_than_connections_take_turns(postgresql_url: str) -> None:
    async def act() -> None:
        root = await open_store(postgresql_url, pool_size=3)
        try:
            await make_application(root, "app")
            tenant = root.tenant("app")
            await asyncio.gather(*(tenant.commit(AddEvent(make_event(f"{n}"))) for n in range(200)))
        finally:
            await root.close()

    asyncio.run(act())


def test_a_server_without_room_for_more_connections_is_unavailable(
    postgres_cluster: Cluster, postgresql_url: str
) -> None:
    async def act() -> None:
        root = await open_store(postgresql_url, pool_size=200)
        try:
            outcomes = await asyncio.gather(*(root.ping() for _ in range(200)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {type(None), StoreUnavailable}
            await root.ping()
        finally:
            await root.close()

    asyncio.run(act())
