"""The FIDO metadata that is kept for all applications: which BLOB counts, who fetches the next, and how that went."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest

from narthex.adapters.sql import metadata, open_store
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddEvent
from narthex.ports.records import KeptMetadata
from tests.store.conftest import Test, make_application, run_on
from tests.store.records import NOW, SECOND, make_event

OnStore = Callable[[Test], None]

RACERS = 50
LARGEST_BYTES = 32 * 1024 * 1024


def make_blob(seed: int, size_bytes: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


async def count_parts(root: SqlRootStore) -> int:
    statement = RootStatement("select count(*) from metadata_part where part >= :least")
    return int((await root._engine.fetch(statement, statement.bind(least=0)))[0][0])


def test_nothing_is_known_of_the_metadata_at_first(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.find_metadata() == KeptMetadata()
        assert await root.read_metadata() is None

    on_store(act)


@pytest.mark.parametrize(
    "size_bytes",
    [0, 1, metadata.PART_BYTES - 1, metadata.PART_BYTES, metadata.PART_BYTES + 1, 3 * metadata.PART_BYTES],
)
def test_a_blob_is_read_as_it_was_kept(on_store: OnStore, size_bytes: int) -> None:
    blob = make_blob(1, size_bytes)

    async def act(root: SqlRootStore) -> None:
        assert await root.keep_metadata(number=7, blob=blob, at=NOW)
        assert await root.read_metadata() == blob
        assert await root.find_metadata() == KeptMetadata(number=7, kept_at=NOW)

    on_store(act)


def test_a_blob_of_the_largest_size_is_kept_beside_commits(on_store: OnStore) -> None:
    """An event is committed all the while, and each waits for a part at most, never for the whole BLOB."""
    first, second = make_blob(1, LARGEST_BYTES), make_blob(2, LARGEST_BYTES)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        waits: list[float] = []

        async def commit_events() -> None:
            while True:
                begun = perf_counter()
                await tenant.commit(AddEvent(make_event(f"{len(waits)}")))
                waits.append(perf_counter() - begun)

        beside = asyncio.create_task(commit_events())
        assert await root.keep_metadata(number=1, blob=first, at=NOW)
        assert await root.keep_metadata(number=2, blob=second, at=NOW)
        beside.cancel()
        assert await root.read_metadata() == second
        assert await count_parts(root) == LARGEST_BYTES // metadata.PART_BYTES
        # A part and the batch it is in; the bound leaves room for a machine that does other work.
        assert len(waits) > LARGEST_BYTES // metadata.PART_BYTES // 4

    on_store(act)


@pytest.mark.parametrize(("number", "kept"), [(6, False), (7, False), (8, True)])
def test_metadata_never_goes_back(on_store: OnStore, number: int, kept: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.keep_metadata(number=7, blob=b"seven", at=NOW)
        assert await root.keep_metadata(number=number, blob=b"other", at=NOW + SECOND) is kept
        assert await root.read_metadata() == (b"other" if kept else b"seven")
        assert await root.find_metadata() == (
            KeptMetadata(number=8, kept_at=NOW + SECOND) if kept else KeptMetadata(number=7, kept_at=NOW)
        )
        assert await count_parts(root) == 1

    on_store(act)


@pytest.mark.parametrize("number", [6, 7, 8])
@pytest.mark.parametrize("blob", [b"seven", b"other"])
def test_metadata_is_replaced_by_whatever_is_asked_for(on_store: OnStore, number: int, blob: bytes) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.keep_metadata(number=7, blob=b"seven", at=NOW)
        assert await root.keep_metadata(number=number, blob=blob, at=NOW + SECOND, replace=True)
        assert await root.find_metadata() == KeptMetadata(number=number, kept_at=NOW + SECOND)
        assert await root.read_metadata() == blob

    on_store(act)


@pytest.mark.parametrize("number", [7, 8])
def test_failures_are_counted_until_a_try_succeeds(on_store: OnStore, number: int) -> None:
    """A BLOB that is kept already is a success too."""

    async def act(root: SqlRootStore) -> None:
        await root.note_metadata_failure("no answer")
        assert await root.find_metadata() == KeptMetadata(failures=1, problem="no answer")
        await root.keep_metadata(number=7, blob=b"seven", at=NOW)
        assert await root.claim_metadata_try(at=NOW + SECOND, last_tried_before=NOW)
        for _ in range(3):
            await root.note_metadata_failure("the signature does not fit ✗")
        assert await root.find_metadata() == KeptMetadata(
            number=7, kept_at=NOW, tried_at=NOW + SECOND, failures=3, problem="the signature does not fit ✗"
        )
        assert await root.read_metadata() == b"seven"
        assert await root.keep_metadata(number=number, blob=b"next", at=NOW) is (number > 7)
        found = await root.find_metadata()
        assert (found.failures, found.problem, found.tried_at) == (0, "", NOW + SECOND)

    on_store(act)


def test_a_try_is_given_again_when_the_last_is_long_ago(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.claim_metadata_try(at=NOW, last_tried_before=NOW - SECOND)
        assert not await root.claim_metadata_try(at=NOW + SECOND, last_tried_before=NOW)
        assert (await root.find_metadata()).tried_at == NOW
        assert await root.claim_metadata_try(at=NOW + 2 * SECOND, last_tried_before=NOW + SECOND)
        assert (await root.find_metadata()).tried_at == NOW + 2 * SECOND

    on_store(act)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("tried", [False, True])
def test_one_of_many_is_given_the_try(database_url: str, nodes: int, tried: bool) -> None:
    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            if tried:
                await roots[0].claim_metadata_try(at=NOW - 9 * SECOND, last_tried_before=NOW - 9 * SECOND)
            told = await asyncio.gather(
                *(roots[n % nodes].claim_metadata_try(at=NOW, last_tried_before=NOW - SECOND) for n in range(RACERS))
            )
        finally:
            for root in roots:
                await root.close()
        assert sorted(told) == [False] * (RACERS - 1) + [True]

    asyncio.run(act())


_CLAIMANT = """
import asyncio, sys
from narthex.adapters.sql import open_store
from tests.store.records import NOW, SECOND

async def main():
    root = await open_store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    claims = (root.claim_metadata_try(at=NOW, last_tried_before=NOW - SECOND) for _ in range(10))
    print(sum(await asyncio.gather(*claims)), flush=True)
    await root.close()

asyncio.run(main())
"""


def test_one_of_several_processes_is_given_the_try(database_url: str) -> None:
    command = [sys.executable, "-c", _CLAIMANT, database_url]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    # All stand at the line before any is told to go.
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(process.communicate()[0] for process in processes) == ["0\n", "0\n", "1\n"]


@pytest.mark.parametrize("nodes", [1, 2])
def test_of_blobs_kept_at_once_the_newest_counts_and_is_whole(database_url: str, nodes: int) -> None:
    """Each sweeps what does not count, also parts that another is about to make count."""
    blobs = {number: make_blob(number, 2 * metadata.PART_BYTES + number) for number in range(1, 13)}

    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            for root in roots[:1]:
                await make_application(root, "app")
            told = await asyncio.gather(
                *(
                    roots[number % nodes].keep_metadata(number=number, blob=blobs[number], at=NOW)
                    for number in random.Random(nodes).sample(sorted(blobs), len(blobs))
                )
            )
            assert any(told)
            for root in roots:
                assert (await root.find_metadata()).number == 12
                assert await root.read_metadata() == blobs[12]
            assert await count_parts(roots[0]) == 3
        finally:
            for root in roots:
                await root.close()

    asyncio.run(act())


def test_a_blob_is_read_whole_while_others_take_its_place(database_url: str) -> None:
    blobs = {number: make_blob(number, 4 * metadata.PART_BYTES + number) for number in range(1, 9)}

    async def act() -> None:
        reading, keeping = await open_store(database_url), await open_store(database_url)
        read: list[bytes | None] = []
        try:
            await keeping.keep_metadata(number=1, blob=blobs[1], at=NOW)

            async def read_on() -> None:
                while True:
                    read.append(await reading.read_metadata())

            beside = asyncio.create_task(read_on())
            for number in range(2, 9):
                await keeping.keep_metadata(number=number, blob=blobs[number], at=NOW)
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
        finally:
            await reading.close()
            await keeping.close()
        assert read
        assert set(read) <= set(blobs.values())

    asyncio.run(act())


def test_parts_of_a_try_that_was_cut_off_are_swept_by_the_next(on_store: OnStore) -> None:
    blob = make_blob(1, 5 * metadata.PART_BYTES)

    async def act(root: SqlRootStore) -> None:
        await root.keep_metadata(number=1, blob=b"one", at=NOW)
        for step in list(metadata.keep_parts(b"digest", blob))[:3]:
            await root._engine.execute(*step)
        assert await count_parts(root) == 4
        assert not await root.keep_metadata(number=1, blob=b"one", at=NOW)
        assert await count_parts(root) == 1
        assert await root.read_metadata() == b"one"

    on_store(act)


def test_a_blob_that_lost_a_part_is_none(on_store: OnStore) -> None:
    drop = RootStatement("delete from metadata_part where part = :part")

    async def act(root: SqlRootStore) -> None:
        await root.keep_metadata(number=1, blob=make_blob(1, 2 * metadata.PART_BYTES), at=NOW)
        await root._engine.execute(drop, drop.bind(part=1))
        assert await root.read_metadata() is None

    on_store(act)


def test_metadata_outlives_a_restart(database_url: str) -> None:
    blob = make_blob(1, 3 * metadata.PART_BYTES)
    expected = KeptMetadata(number=7, kept_at=NOW, tried_at=NOW, failures=1, problem="no answer")

    async def keep(root: SqlRootStore) -> None:
        await root.claim_metadata_try(at=NOW, last_tried_before=NOW)
        await root.keep_metadata(number=7, blob=blob, at=NOW)
        await root.note_metadata_failure("no answer")

    async def read(root: SqlRootStore) -> None:
        assert await root.find_metadata() == expected
        assert await root.read_metadata() == blob
        assert not await root.claim_metadata_try(at=NOW + SECOND, last_tried_before=NOW)

    run_on(database_url, keep)
    run_on(database_url, read)
