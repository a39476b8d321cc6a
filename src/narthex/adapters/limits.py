"""Counts for limits: in this process, and for several that share a Redis server or the database.

A window is fixed and begins at a multiple of its length since 1970, so that all nodes mean the same one without asking;
their clocks must agree to a second or so. Around an edge as many as twice the limit may pass in a short time.

Whatever counts for several, this process counts too, and first:

- what is used up here is refused here, so that a flood costs neither Redis nor the database anything;
- when the other does not answer, the count goes on where it is. No limit falls away, and no sign-in depends on it.

All counters of one call count, also when one of them is used up: with fixed windows that makes nobody wait longer.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from narthex.base.errors import Malformed, Rejected
from narthex.ports.environment import Clock
from narthex.ports.limits import Limit
from narthex.ports.store import RootStore, StoreUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

Counted = tuple[Limit, str]
Counter = tuple[str, int, int]
"""A name, and in seconds since 1970 when its window began and when it may be forgotten."""

MOST_NAMES: Final = 65_536
"""How many of a limit are told apart within one window."""
CROWDS: Final = 65_536
PATIENCE_S: Final = 0.25
REST_S: Final = 5
"""How long one that did not answer is left alone."""
WARN_EVERY_S: Final = 60

_MOST_CONNECTIONS: Final = 32
_STEP_S: Final = 0.2
# Another node's clock may lag: what it still counts must not be swept away.
_KEPT_PAST_THE_END_S: Final = 60

_log = structlog.get_logger("narthex.limits")


class RedisMissing(Rejected):
    """Limits are to be counted in Redis, and the package that speaks to it is not installed."""

    code = "redis-missing"
    advice = "run `pip install narthex[redis]`, or set NARTHEX_RATE_LIMITS to `database` or `on`"


class RedisUrlMalformed(Malformed):
    """The address of the Redis server cannot be read."""

    code = "redis-url-malformed"
    advice = "set NARTHEX_RATE_LIMITS to an address like `redis://user:password@host:6379/0`"


def open_limiter(setting: str, store: RootStore, clock: Clock) -> MemoryLimiter | SharedLimiter | None:
    """What counts, by the setting `rate_limits`; close it in the end.

    Nobody is asked yet: a Redis server that is away does not keep this one from starting.

    Args:
        setting: `off`, `on`, `database`, or an address that begins with `redis://` or `rediss://`.
    Raises:
        RedisMissing, RedisUrlMalformed.
    """
    match setting:
        case "off":
            return None
        case "on":
            return MemoryLimiter(clock)
        case "database":
            return SharedLimiter(DatabaseCounts(store), clock)
        case url:
            return SharedLimiter(RedisCounts(url), clock)


# ── in this process ──


class _Window:
    """The counts of one limit in one window, in bounded memory.

    The first names have a counter each. Whoever comes after `MOST_NAMES` of them shares one with those whose hash falls
    together: an attacker with millions of addresses neither fills the memory nor goes uncounted, nor shuts others out,
    for it takes `CROWDS` times the limit to use up what they share. Python keys its hash anew in each process, so
    nobody outside can choose with whom to share.
    """

    __slots__ = ("_counts", "_crowds", "end_s", "start_s")

    def __init__(self, limit: Limit, now_s: float) -> None:
        self.start_s = _start_s(limit, now_s)
        self.end_s = self.start_s + limit.window_s
        # A hash in place of the name: a long name costs no more than a short one.
        self._counts: dict[int, int] = {}
        self._crowds: list[int] = []

    def add(self, what: str) -> int:
        name = hash(what)
        if name in self._counts or len(self._counts) < MOST_NAMES:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            return count
        if not self._crowds:
            self._crowds = [0] * CROWDS
        self._crowds[name % CROWDS] += 1
        return self._crowds[name % CROWDS]

    def use_up(self, what: str, most: int) -> None:
        if hash(what) in self._counts:
            self._counts[hash(what)] = most


class MemoryLimiter:
    """Counts in this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    async def hit(self, *counted: Counted) -> int | None:
        return self.count(counted, self._clock.now().timestamp())

    async def close(self) -> None:
        """There is nothing to let go of."""

    def count(self, counted: Sequence[Counted], now_s: float) -> int | None:
        wait_s = 0
        for limit, what in counted:
            window = self._window(limit, now_s)
            if window.add(what) > limit.most:
                wait_s = max(wait_s, ceil(window.end_s - now_s))
        return wait_s or None

    def use_up(self, limit: Limit, what: str, now_s: float) -> None:
        """Let nothing more pass until the window is over."""
        self._window(limit, now_s).use_up(what, limit.most)

    def _window(self, limit: Limit, now_s: float) -> _Window:
        window = self._windows.get(limit.name)
        # A clock that was set back begins a window too: an old one in the future would shut people out until then.
        if window is None or not window.start_s <= now_s < window.end_s:
            window = self._windows[limit.name] = _Window(limit, now_s)
        return window


def _start_s(limit: Limit, now_s: float) -> int:
    return int(now_s // limit.window_s) * limit.window_s


# ── for several processes ──


class CountsUnavailable(Exception):
    """Whoever counts for several does not answer, or answers that it cannot."""


class Counts(Protocol):
    """Counts for all that ask the same place."""

    async def add(self, counters: Sequence[Counter]) -> Sequence[int]:
        """Count one of each, in one round trip; says how many each has now. Raises `CountsUnavailable`."""
        ...

    async def close(self) -> None: ...


class SharedLimiter:
    """Counts here and in a place that others share, and here alone while that place is away."""

    def __init__(self, counts: Counts, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        self._counts = counts
        self._patience_s = patience_s
        self._clock = clock
        self._memory = MemoryLimiter(clock)
        self._failed_at_s: float | None = None
        self._warned_at_s: float | None = None

    async def hit(self, *counted: Counted) -> int | None:
        now_s = self._clock.now().timestamp()
        wait_s = self._memory.count(counted, now_s)
        if wait_s is not None or _is_within(REST_S, self._failed_at_s, now_s):
            return wait_s
        if self._failed_at_s is not None:
            # This call finds out whether the other is back. The rest need not wait with it.
            self._failed_at_s = now_s
        try:
            async with asyncio.timeout(self._patience_s):
                counts = await self._counts.add([_counter(limit, what, now_s) for limit, what in counted])
        except (CountsUnavailable, TimeoutError) as e:
            self._note_failure(str(e) or f"no answer within {self._patience_s} s", now_s)
            return None
        self._note_answer()
        return self._judge(counted, counts, now_s)

    async def close(self) -> None:
        await self._counts.close()

    def _judge(self, counted: Sequence[Counted], counts: Sequence[int], now_s: float) -> int | None:
        wait_s = 0
        for (limit, what), count in zip(counted, counts, strict=True):
            if count > limit.most:
                self._memory.use_up(limit, what, now_s)
                wait_s = max(wait_s, ceil(_start_s(limit, now_s) + limit.window_s - now_s))
        return wait_s or None

    def _note_failure(self, reason: str, now_s: float) -> None:
        self._failed_at_s = now_s
        if not _is_within(WARN_EVERY_S, self._warned_at_s, now_s):
            self._warned_at_s = now_s
            _log.warning("limits are counted in this process alone for now", reason=reason)

    def _note_answer(self) -> None:
        if self._failed_at_s is not None:
            self._failed_at_s = self._warned_at_s = None
            _log.info("limits are counted together again")


def _is_within(span_s: float, since_s: float | None, now_s: float) -> bool:
    """Whether an instant is less than a span ago; one in the future was read from a clock that was set back since."""
    return since_s is not None and 0 <= now_s - since_s < span_s


def _counter(limit: Limit, what: str, now_s: float) -> Counter:
    """The name of a count, the same on every node.

    The limit's name has no colon and the hash one length, so no two are written alike, whatever an id holds. Neither
    Redis nor the database learns of addresses and users from it at a glance.
    """
    digest = blake2b(what.encode("utf-8", "surrogatepass"), digest_size=18).digest()
    start_s = _start_s(limit, now_s)
    name = f"{limit.name}:{urlsafe_b64encode(digest).decode()}"
    return name, start_s, start_s + limit.window_s + _KEPT_PAST_THE_END_S


class DatabaseCounts:
    """Counts for all that share the database."""

    def __init__(self, store: RootStore) -> None:
        self._store = store

    async def add(self, counters: Sequence[Counter]) -> Sequence[int]:
        try:
            return await self._store.count_requests(counters)
        except StoreUnavailable as e:
            raise CountsUnavailable(e.message) from e

    async def close(self) -> None:
        """The store is not ours to close."""


class RedisCounts:
    """Counts for all that share a Redis server.

    Raises:
        RedisMissing, RedisUrlMalformed.
    """

    def __init__(self, url: str) -> None:
        # The package is not looked for until somebody wants Redis: it is an extra.
        try:
            from redis.exceptions import RedisError
        except ModuleNotFoundError:
            raise RedisMissing("limits are to be counted in Redis, and the package `redis` is not installed") from None
        self._redis_error: type[Exception] = RedisError
        self._redis = _open_redis(url)

    async def add(self, counters: Sequence[Counter]) -> Sequence[int]:
        # A transaction: no count is left behind that never ends.
        pipeline = self._redis.pipeline(transaction=True)
        for name, start_s, expires_at_s in counters:
            key = f"narthex:{name}:{start_s}"
            pipeline.incr(key)
            # A span, not an instant: by the clock of the Redis server, which may be another.
            pipeline.expire(key, expires_at_s - start_s)
        try:
            answers = await pipeline.execute()
        except (self._redis_error, OSError) as e:
            raise CountsUnavailable(f"Redis: {e}") from e
        return [int(answer) for answer in answers[::2]]

    async def close(self) -> None:
        await self._redis.aclose()


def _open_redis(url: str) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            # Shorter than our own patience, and for the pool none: with spans that end at the same moment, calls to a
            # frozen server now and then were not given up at all.
            timeout=None,
            socket_connect_timeout=_STEP_S,
            socket_timeout=_STEP_S,
            # Once more at once, for a connection that the server closed while it lay idle.
            retry=Retry(NoBackoff(), 1),
        )
        # It connects to nothing yet, and reads what the address asks for.
        pool.make_connection()  # type: ignore[no-untyped-call]  # the package has no types there
    except (ValueError, TypeError):
        # The cause is not shown: it may hold the password.
        raise RedisUrlMalformed("NARTHEX_RATE_LIMITS is no address of a Redis server that can be read") from None
    return Redis.from_pool(pool)
