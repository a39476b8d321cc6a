"""Limits: where a window ends, what several nodes count together, and what happens when their common place is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from narthex.adapters.limits import (
    CROWDS,
    MOST_NAMES,
    REST_S,
    WARN_EVERY_S,
    Counter,
    CountsUnavailable,
    DatabaseCounts,
    MemoryLimiter,
    RedisCounts,
    RedisMissing,
    RedisUrlMalformed,
    SharedLimiter,
    open_limiter,
)
from narthex.adapters.sql import open_store
from narthex.adapters.sql.store import SqlRootStore
from narthex.adapters.system import SystemClock
from narthex.http.client import rate_limit_group
from narthex.http.limits import ADDRESS
from narthex.ports.limits import Limit
from narthex.usecases import limit as limits_of_usecases
from tests.support.application import MovableClock
from tests.support.postgres import Cluster
from tests.support.redis import RedisServer, find_redis

pytestmark = pytest.mark.anyio

THREE = Limit("three-a-minute", most=3, window_s=60)
FIVE = Limit("five-an-hour", most=5, window_s=3_600)
HOUR = datetime(2026, 7, 1, 12, tzinfo=UTC)
"""An instant at which a window of each limit begins."""


class ToldCounts:
    """A place for counts that is as well as a test says."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}
        self.is_away = False
        self.is_silent = False
        self.asked = 0

    async def add(self, counters: Sequence[Counter]) -> Sequence[int]:
        self.asked += 1
        if self.is_silent:
            await asyncio.sleep(60)
        if self.is_away:
            raise CountsUnavailable("it is away")
        for name, start_s, _ in counters:
            self.counts[name, start_s] = self.counts.get((name, start_s), 0) + 1
        return [self.counts[name, start_s] for name, start_s, _ in counters]

    async def close(self) -> None: ...


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(HOUR)


@pytest.fixture
def memory(clock: MovableClock) -> MemoryLimiter:
    return MemoryLimiter(clock)


@pytest.fixture
def told() -> ToldCounts:
    return ToldCounts()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    program = find_redis()
    if program is None:
        pytest.skip("needs the program `redis-server`, which `make test` installs where it may")
    server = RedisServer(program)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
async def two_on_redis(redis_server: RedisServer, clock: MovableClock) -> AsyncIterator[list[SharedLimiter]]:
    limiters = [SharedLimiter(RedisCounts(redis_server.url), clock) for _ in range(2)]
    yield limiters
    for limiter in limiters:
        await limiter.close()


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SqlRootStore]:
    opened = await open_store(sqlite_url)
    yield opened
    await opened.close()


# ── in memory ──


async def test_what_is_used_up_waits_until_the_window_ends(memory: MemoryLimiter, clock: MovableClock) -> None:
    clock.move(seconds=15.5)
    assert [None, None, None, 45, 45] == [await memory.hit((THREE, "a")) for _ in range(5)]


async def test_the_last_moment_waits_a_second_and_the_edge_none(memory: MemoryLimiter, clock: MovableClock) -> None:
    clock.move(seconds=59.999)
    assert [None, None, None, 1] == [await memory.hit((THREE, "a")) for _ in range(4)]
    clock.move(seconds=0.001)
    assert await memory.hit((THREE, "a")) is None


async def test_a_clock_that_was_set_back_shuts_nobody_out(memory: MemoryLimiter, clock: MovableClock) -> None:
    assert [None, None, None, 60] == [await memory.hit((THREE, "a")) for _ in range(4)]
    clock.move(seconds=-7_200)
    assert await memory.hit((THREE, "a")) is None


async def test_the_longest_wait_is_told(memory: MemoryLimiter, clock: MovableClock) -> None:
    for _ in range(5):
        await memory.hit((THREE, "a"), (FIVE, "a"))
    clock.move(seconds=1)
    assert 3_599 == await memory.hit((THREE, "a"), (FIVE, "a"))


async def test_all_count_though_one_is_used_up(memory: MemoryLimiter) -> None:
    for _ in range(5):
        await memory.hit((THREE, "a"), (FIVE, "a"))
    assert await memory.hit((FIVE, "a")) == 3_600


async def test_each_name_and_each_limit_counts_apart(memory: MemoryLimiter) -> None:
    for _ in range(4):
        await memory.hit((THREE, "a"))
    assert await memory.hit((THREE, "b")) is None
    assert await memory.hit((FIVE, "a")) is None


async def test_an_ipv6_network_counts_as_one(memory: MemoryLimiter) -> None:
    addresses = [f"2001:db8:0:1:{n:x}::{n:x}" for n in range(1, 5)]
    waits = [await memory.hit((THREE, rate_limit_group(address))) for address in addresses]
    assert [None, None, None, 60] == waits
    assert await memory.hit((THREE, rate_limit_group("2001:db8:0:2::1"))) is None


def test_a_million_addresses_fill_no_memory() -> None:
    """In a process of its own, whose peak is nobody else's; with a counter for each it would be some 100 MB."""
    done = subprocess.run([sys.executable, "-c", _MILLION], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 * 1024 * 1024


_MILLION = """
import resource, sys
from narthex.adapters.limits import MemoryLimiter
from narthex.adapters.system import SystemClock
from narthex.ports.limits import Limit

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

limiter, limit, before = MemoryLimiter(SystemClock()), Limit("many", most=1_200, window_s=60), peak_bytes()
for n in range(1_000_000):
    limiter.count([(limit, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")], 0)
print(peak_bytes() - before)
"""


async def test_a_flood_of_addresses_neither_frees_nor_shuts_out_anybody(memory: MemoryLimiter) -> None:
    many = Limit("many", most=100, window_s=60)
    for _ in range(101):
        await memory.hit((many, "early"))
    for n in range(MOST_NAMES + 3 * CROWDS):
        memory.count([(many, str(n))], HOUR.timestamp())
    assert await memory.hit((many, "early")) == 60
    waits = [await memory.hit((many, "late")) for _ in range(101)]
    assert [None, 60] == [waits[0], waits[-1]]


async def test_the_next_window_tells_all_apart_again(memory: MemoryLimiter, clock: MovableClock) -> None:
    for n in range(MOST_NAMES + 3 * CROWDS):
        memory.count([(THREE, str(n))], clock.now().timestamp())
    clock.move(seconds=60)
    assert [None, None, None, 60] == [await memory.hit((THREE, "a")) for _ in range(4)]
    assert await memory.hit((THREE, "b")) is None


def test_no_two_limits_share_a_name() -> None:
    kept = [*ADDRESS.values(), *(one for one in vars(limits_of_usecases).values() if isinstance(one, Limit))]
    names = [limit.name for limit in kept]
    assert len(names) > 6
    assert sorted(names) == sorted(set(names))
    assert [] == [name for name in names if ":" in name]


# ── together ──


async def test_two_nodes_count_together(told: ToldCounts, clock: MovableClock) -> None:
    one, other = SharedLimiter(told, clock), SharedLimiter(told, clock)
    assert [None, None] == [await one.hit((THREE, "a")) for _ in range(2)]
    assert [None, 60] == [await other.hit((THREE, "a")) for _ in range(2)]


async def test_what_is_used_up_costs_no_round_trip(told: ToldCounts, clock: MovableClock) -> None:
    one, other = SharedLimiter(told, clock), SharedLimiter(told, clock)
    for _ in range(3):
        await one.hit((THREE, "a"))
    assert [60, 60, 60] == [await other.hit((THREE, "a")) for _ in range(3)]
    assert 4 == told.asked
    clock.move(seconds=60)
    assert await other.hit((THREE, "a")) is None


async def test_one_that_is_away_is_left_alone_and_limits_hold(told: ToldCounts, clock: MovableClock) -> None:
    limiter, told.is_away = SharedLimiter(told, clock), True
    assert [None, None, None, 60] == [await limiter.hit((THREE, "a")) for _ in range(4)]
    assert 1 == told.asked
    clock.move(seconds=REST_S)
    told.is_away = False
    assert await limiter.hit((THREE, "b")) is None
    assert await limiter.hit((THREE, "b")) is None
    assert 3 == told.asked


async def test_one_that_is_silent_is_given_up_soon(told: ToldCounts, clock: MovableClock) -> None:
    limiter, told.is_silent = SharedLimiter(told, clock), True
    async with asyncio.timeout(5):
        assert await limiter.hit((THREE, "a")) is None


async def test_only_one_call_finds_out_whether_it_is_back(told: ToldCounts, clock: MovableClock) -> None:
    limiter, told.is_silent = SharedLimiter(told, clock), True
    await limiter.hit((THREE, "a"))
    clock.move(seconds=REST_S)
    assert [None] * 20 == await asyncio.gather(*(limiter.hit((THREE, str(n))) for n in range(20)))
    assert 2 == told.asked


async def test_an_outage_is_told_once_a_minute_and_so_is_its_end(told: ToldCounts, clock: MovableClock) -> None:
    limiter, told.is_away = SharedLimiter(told, clock), True
    with capture_logs() as lines:
        for _ in range(2 * WARN_EVERY_S // REST_S):
            await limiter.hit((THREE, "the-address-of-somebody"))
            clock.move(seconds=REST_S)
        told.is_away = False
        await limiter.hit((THREE, "the-address-of-somebody"))
        await limiter.hit((THREE, "the-address-of-somebody"))
    assert ["warning", "warning", "info"] == [line["log_level"] for line in lines]
    assert "it is away" == lines[0]["reason"]
    assert "somebody" not in str(lines)


async def test_no_two_names_are_written_alike_and_none_can_be_read(told: ToldCounts, clock: MovableClock) -> None:
    names = ["app:user", "app", "app:", "a:pp:user", "", "\0", "\udcff", "x" * 10_000, "Zo\u00eb", "Zoe\u0308"]
    limiter = SharedLimiter(told, clock)
    for name in names:
        assert await limiter.hit((THREE, name)) is None
    kept = [name for name, _ in told.counts]
    assert len(names) == len(set(kept))
    assert {len("three-a-minute:") + 24} == {len(name) for name in kept}
    assert all(name.isascii() and "user" not in name for name in kept)


# ── in the database ──


async def test_two_nodes_on_one_database_count_together(database_url: str, clock: MovableClock) -> None:
    stores = [await open_store(database_url, pool_size=4) for _ in range(2)]
    nodes = [SharedLimiter(DatabaseCounts(store), clock, patience_s=20) for store in stores]
    try:
        hundred = Limit("hundred", most=100, window_s=60)
        calls = [node.hit((hundred, "a"), (FIVE, str(n))) for n in range(60) for node in nodes]
        waits = await asyncio.gather(*calls)
        assert 100 == waits.count(None)
        assert 20 == waits.count(60)
        clock.move(seconds=60)
        assert await nodes[0].hit((hundred, "a")) is None
    finally:
        for store in stores:
            await store.close()


async def test_a_database_that_is_away_stops_nobody(
    postgresql_url: str, postgres_cluster: Cluster, clock: MovableClock
) -> None:
    store = await open_store(postgresql_url, pool_size=2)
    limiter = SharedLimiter(DatabaseCounts(store), clock)
    try:
        assert await limiter.hit((THREE, "a")) is None
        postgres_cluster.stop(immediate=True)
        try:
            assert [None, None, 60] == [await limiter.hit((THREE, "a")) for _ in range(3)]
        finally:
            postgres_cluster.start()
        clock.move(seconds=REST_S)
        with capture_logs() as lines:
            assert await limiter.hit((THREE, "b")) is None
        assert ["limits are counted together again"] == [line["event"] for line in lines]
    finally:
        await store.close()


# ── in Redis ──


async def test_two_nodes_on_one_redis_count_together(two_on_redis: list[SharedLimiter], clock: MovableClock) -> None:
    hundred = Limit("hundred", most=100, window_s=60)
    # One after the other: a busy machine may take longer than their patience to answer all at once.
    waits = [await node.hit((hundred, "a"), (FIVE, str(n))) for n in range(60) for node in two_on_redis]
    assert 100 == waits.count(None)
    assert 20 == waits.count(60)
    clock.move(seconds=60)
    assert await two_on_redis[0].hit((hundred, "a")) is None


async def test_every_count_in_redis_ends(two_on_redis: list[SharedLimiter], redis_server: RedisServer) -> None:
    await two_on_redis[0].hit((THREE, "a"), (FIVE, "a"))
    keyspace = redis_server.ask("INFO", "keyspace")
    assert b"keys=2,expires=2," in keyspace


async def test_a_redis_that_dies_is_done_without_and_found_again(
    two_on_redis: list[SharedLimiter], redis_server: RedisServer, clock: MovableClock
) -> None:
    one, other = two_on_redis
    assert await one.hit((THREE, "a")) is None
    assert await other.hit((THREE, "a")) is None
    redis_server.kill()
    with capture_logs() as lines:
        assert [None, None, 60] == [await one.hit((THREE, "a")) for _ in range(3)]
    assert ["limits are counted in this process alone for now"] == [line["event"] for line in lines]
    assert "the-password" not in str(lines)
    redis_server.start()
    clock.move(seconds=REST_S)
    assert [None, None, None] == [await node.hit((THREE, "b")) for node in (one, other, one)]
    assert 60 - REST_S == await other.hit((THREE, "b"))


async def test_a_redis_that_hangs_is_done_without_and_found_again(
    two_on_redis: list[SharedLimiter], redis_server: RedisServer, clock: MovableClock
) -> None:
    one, other = two_on_redis
    for _ in range(3):
        redis_server.freeze()
        async with asyncio.timeout(5):
            # More than there are connections, and all of them are given up in the middle.
            assert [None] * 100 == await asyncio.gather(*(one.hit((THREE, str(n))) for n in range(100)))
        redis_server.thaw()
        clock.move(seconds=60)
        assert [None, None, None, 60] == [await node.hit((THREE, "a")) for node in (one, other, one, other)]
    with capture_logs() as lines:
        assert [None] * 100 == await asyncio.gather(*(one.hit((THREE, str(n))) for n in range(100)))
    assert [] == lines


async def test_a_redis_that_refuses_us_is_done_without(redis_server: RedisServer, clock: MovableClock) -> None:
    limiter = SharedLimiter(RedisCounts(redis_server.url.replace("the-password", "a-wrong-one")), clock)
    with capture_logs() as lines:
        assert [None, None, None, 60] == [await limiter.hit((THREE, "a")) for _ in range(4)]
    await limiter.close()
    assert 1 == len(lines)
    assert "a-wrong-one" not in str(lines)


# ── by the setting ──


async def test_the_setting_says_who_counts(store: SqlRootStore) -> None:
    clock = SystemClock()
    assert open_limiter("off", store, clock) is None
    for setting in ("on", "database", "redis://user:word@127.0.0.1:1/0", "rediss://127.0.0.1:1"):
        limiter = open_limiter(setting, store, clock)
        assert limiter is not None
        assert await limiter.hit((FIVE, "a")) is None
        await limiter.close()


async def test_without_the_package_redis_is_refused(store: SqlRootStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(RedisMissing) as caught:
        open_limiter("redis://127.0.0.1/0", store, SystemClock())
    assert "pip install narthex[redis]" in (caught.value.advice or "")


@pytest.mark.parametrize(
    "url", ["redis://:the-password@host:port", "redis://:the-password@host/0?no_such_option=1", "redis://[::1"]
)
async def test_an_address_that_cannot_be_read_is_refused_unshown(store: SqlRootStore, url: str) -> None:
    with pytest.raises(RedisUrlMalformed) as caught:
        open_limiter(url, store, SystemClock())
    assert "the-password" not in f"{caught.value}{caught.value.advice}"
