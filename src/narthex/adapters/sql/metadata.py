"""The FIDO metadata that the server keeps: one row that says which BLOB is kept, and the BLOB in parts beside it.

A BLOB may be 32 MiB. Written in one act it would hold up every sign-in of a SQLite database, so its parts are kept
first, each in an act of its own, under the BLOB's SHA-256; then one act makes them count, if they are all there and
no later number is kept. What no row points at is swept afterwards: parts of the one before, or of a try that was cut
off.

INVARIANT: acts that make parts count, or sweep them, wait for one another (`TURN`). Otherwise PostgreSQL could drop
the parts of one server's BLOB in the moment in which that server makes them count.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from narthex.adapters.sql.encoding import from_us_or_none, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.statement import RootStatement
from narthex.ports.records import KeptMetadata

TURN: Final = "metadata"
PART_BYTES: Final = 131_072
"""While 32 MiB were kept in such parts on SQLite, the slowest of many sign-ins beside it took 9 ms; in one, 116 ms."""
SWEEP_PARTS: Final = 8
_NAME: Final = "fido"

_FIND = RootStatement("""
    select number, kept_at, tried_at, failures, problem, digest, parts from kept_metadata where name = :name
""")
_FIND_PART = RootStatement("select value from metadata_part where digest = :digest and part = :part")
_CLAIM = RootStatement("""
    insert into kept_metadata (name, number, parts, tried_at, failures, problem)
    values (:name, 0, 0, :tried_at, 0, '')
    on conflict (name) do update set tried_at = excluded.tried_at
    where kept_metadata.tried_at is null or kept_metadata.tried_at < :last_tried_before
""")
_FAIL = RootStatement("""
    insert into kept_metadata (name, number, parts, failures, problem) values (:name, 0, 0, 1, :problem)
    on conflict (name) do update set failures = kept_metadata.failures + 1, problem = excluded.problem
""")
_FORGIVE = RootStatement("update kept_metadata set failures = 0, problem = '' where name = :name")
_KEEP_PART = RootStatement("""
    insert into metadata_part (digest, part, value) values (:digest, :part, :value) on conflict do nothing
""")
_COUNT_IN = RootStatement(
    """
    insert into kept_metadata (name, number, digest, parts, kept_at, failures, problem)
    select :name, :number, :digest, :parts, :kept_at, 0, ''
    where (select count(*) from metadata_part where digest = :digest) = :parts
    on conflict (name) do update set number = excluded.number, digest = excluded.digest, parts = excluded.parts,
        kept_at = excluded.kept_at, failures = 0, problem = ''
    where kept_metadata.digest is null or kept_metadata.number < excluded.number or :replace
    """,
    must_change=True,
)
FIND_STRAY = RootStatement("""
    select digest, part from metadata_part
    where digest not in (select digest from kept_metadata where digest is not null)
    order by digest, part
""")
_SWEEP = RootStatement("""
    delete from metadata_part where digest = :digest and part = :part
        and digest not in (select digest from kept_metadata where digest is not null)
""")


def find() -> Step:
    return _FIND, _FIND.bind(name=_NAME)


def from_row(row: Row) -> KeptMetadata:
    number, kept_at, tried_at, failures, problem, _, _ = row
    return KeptMetadata(number, from_us_or_none(kept_at), from_us_or_none(tried_at), failures, problem)


def find_part(digest: bytes, part: int) -> Step:
    return _FIND_PART, _FIND_PART.bind(digest=digest, part=part)


def claim(at: datetime, last_tried_before: datetime) -> Step:
    return _CLAIM, _CLAIM.bind(name=_NAME, tried_at=to_us(at), last_tried_before=to_us(last_tried_before))


def fail(problem: str) -> Step:
    return _FAIL, _FAIL.bind(name=_NAME, problem=problem)


def forgive() -> Step:
    return _FORGIVE, _FORGIVE.bind(name=_NAME)


def keep_parts(digest: bytes, blob: bytes) -> Iterator[Step]:
    for part, start in enumerate(range(0, len(blob), PART_BYTES)):
        value = blob[start : start + PART_BYTES]
        yield _KEEP_PART, _KEEP_PART.bind(digest=digest, part=part, value=value)


def count_in(digest: bytes, blob: bytes, *, number: int, at: datetime, replace: bool) -> Step:
    bound = _COUNT_IN.bind(
        name=_NAME,
        number=number,
        digest=digest,
        parts=-(-len(blob) // PART_BYTES),
        kept_at=to_us(at),
        replace=replace,
    )
    return _COUNT_IN, bound


def sweep(stray: Row) -> Step:
    digest, part = stray
    return _SWEEP, _SWEEP.bind(digest=digest, part=part)
