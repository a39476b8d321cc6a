"""How often something was asked for within a window of time, counted by several servers together."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.statement import RootStatement

COUNTED_AT_ONCE: Final = 64
"""Counts that share a round trip. One statement for each number of them is kept prepared."""
PURGE = RootStatement("""
    delete from request_count where (name, window_start_s) in (
        select name, window_start_s from request_count where expires_at_s < :expired_before_s
        order by expires_at_s limit :most
    )
""")


class Added(NamedTuple):
    """By how much a count rises."""

    name: str
    window_start_s: int
    times: int
    expires_at_s: int


def added(names: Iterable[tuple[str, int, int]]) -> list[Added]:
    """What is to be counted, each once; in one order, so that servers do not deadlock.

    >>> added([("b", 0, 60), ("a", 0, 60), ("b", 0, 60)])[1]
    Added(name='b', window_start_s=0, times=2, expires_at_s=60)
    """
    times: Counter[tuple[str, int]] = Counter()
    ends: dict[tuple[str, int], int] = {}
    for name, window_start_s, expires_at_s in names:
        times[name, window_start_s] += 1
        ends[name, window_start_s] = expires_at_s
    return [Added(*key, times[key], ends[key]) for key in sorted(times)]


def count(portion: Sequence[Added]) -> Step:
    """Counts a portion; returns the name, the window and the count of each."""
    statement = _statement(len(portion))
    values = {f"{field}_{n}": value for n, one in enumerate(portion) for field, value in one._asdict().items()}
    return statement, statement.bind(**values)


@lru_cache(maxsize=COUNTED_AT_ONCE)
def _statement(size: int) -> RootStatement:
    rows = ", ".join(f"(:name_{n}, :window_start_s_{n}, :times_{n}, :expires_at_s_{n})" for n in range(size))
    return RootStatement(f"""
        insert into request_count (name, window_start_s, count, expires_at_s) values {rows}
        on conflict (name, window_start_s) do update set count = request_count.count + excluded.count
        returning name, window_start_s, count
    """)
