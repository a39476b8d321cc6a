"""How each job went when it ran last."""

from __future__ import annotations

from narthex.adapters.sql.encoding import from_us, from_us_or_none, to_us, to_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.statement import RootStatement
from narthex.ports.records import JobRun

LIST = RootStatement("select name, started_at, finished_at, result, problem from job_run order by name")
_KEEP = RootStatement("""
    insert into job_run (name, started_at, finished_at, result, problem)
    values (:name, :started_at, :finished_at, :result, :problem)
    on conflict (name) do update set started_at = excluded.started_at, finished_at = excluded.finished_at,
        result = excluded.result, problem = excluded.problem
""")


def from_row(row: Row) -> JobRun:
    name, started_at, finished_at, result, problem = row
    return JobRun(name, from_us(started_at), from_us_or_none(finished_at), result, problem)


def keep(run: JobRun) -> Step:
    bound = _KEEP.bind(
        name=run.name,
        started_at=to_us(run.started_at),
        finished_at=to_us_or_none(run.finished_at),
        result=run.result,
        problem=run.problem,
    )
    return _KEEP, bound
