"""Compare our verdicts with those of two other implementations, over ceremonies spoilt at random.

Every disagreement must be a row of ``explained``; one that is not fails the run, and is shown with the command that
makes it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing import get_context
from traceback import format_exc

from tests.fuzz.explained import Lax, explain
from tests.fuzz.judges import ACCEPTED, ORACLES, Verdict, we
from tests.fuzz.mutations import Ceremony, make_ceremony

Row = tuple[str, str, str]
"""What is disagreed about, with whom, why."""


@dataclass
class Tally:
    """What a run has seen."""

    ceremonies: int = 0
    accepted: int = 0
    """By us."""
    explained: Counter[Row] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.ceremonies += other.ceremonies
        self.accepted += other.accepted
        self.explained += other.explained
        self.unexplained += other.unexplained


def judge_all(seed: str, numbers: Iterable[int]) -> Tally:
    """Make and judge the ceremonies of a seed and these numbers."""
    tally = Tally()
    for number in numbers:
        _judge(make_ceremony(f"{seed}:{number}"), tally)
    return tally


def _judge(ceremony: Ceremony, tally: Tally) -> None:
    tally.ceremonies += 1
    try:
        ours = we(ceremony)
    except Exception:  # a crash is what we look for
        tally.unexplained.append(f"we crash:\n{format_exc()}\n{told(ceremony)}")
        return
    tally.accepted += ours.accepted
    for name, judge in ORACLES.items():
        theirs = judge(ceremony)
        if ours.accepted == theirs.accepted:
            continue
        row = explain(ours, theirs, name, ceremony)
        if row is None:
            tally.unexplained.append(f"{_words('we', ours)}\n{_words(name, theirs)}\n{told(ceremony)}")
        else:
            heading = f"we refuse: {row}" if isinstance(row, Lax) else f"we accept; {row}"
            tally.explained[heading, name, row.reason] += 1


def _words(name: str, verdict: Verdict) -> str:
    return f"{name} accept(s)" if verdict == ACCEPTED else f"{name} refuse(s): {verdict.code}: {verdict.words}"


def told(ceremony: Ceremony) -> str:
    return (
        f"ceremony {ceremony.name}: {ceremony.format}, algorithm {ceremony.alg}, "
        f"{', '.join(ceremony.mutations) or 'honest'}\n"
        f"again: .venv/bin/python -m tests.fuzz again {ceremony.name}"
    )


def again(name: str) -> str:
    """One ceremony in full: how it was made, the message, and the three verdicts."""
    ceremony = make_ceremony(name)
    try:
        lines = [_words("we", we(ceremony))]
    except Exception:  # a crash is what we look for
        lines = [f"we crash:\n{format_exc()}"]
    lines += [_words(oracle, judge(ceremony)) for oracle, judge in ORACLES.items()]
    return "\n".join([told(ceremony), json.dumps(ceremony.message, indent=2), *lines])


def run(seed: str, count: int, *, jobs: int) -> Tally:
    """Judge many ceremonies, on several cores."""
    size = 500
    chunks = [(seed, range(start, min(start + size, count))) for start in range(0, count, size)]
    tally = Tally()
    with get_context("spawn").Pool(jobs) as pool:
        for done in pool.imap_unordered(_judge_chunk, chunks):
            tally.add(done)
    return tally


def _judge_chunk(chunk: tuple[str, range]) -> Tally:
    return judge_all(*chunk)


def table(tally: Tally) -> str:
    """The counts of each class of disagreement, the most frequent first."""
    lines = [f"{tally.ceremonies} ceremonies, {tally.accepted} accepted by us; disagreements that are explained:"]
    rows = sorted(tally.explained.items(), key=lambda item: (-item[1], item[0]))
    lines += [f"{count:>8}  {oracle:<8}  {heading}: {reason}" for (heading, oracle, reason), count in rows]
    return "\n".join(lines)
