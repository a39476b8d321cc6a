"""Jobs: what the server does by itself, every so often or at an hour of the day.

Of several servers on one database, one at a time does a job: it holds the job's name meanwhile, and a server that dies
lets go of it. When a job is due follows from how it went last, which is kept in the database; so neither a restart nor
an hour at which no server ran loses a turn. Every job can be done again at any time: what is done already stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from narthex.base.errors import Conflict, NotFound, Unavailable, quoted
from narthex.ports.changes import ApplicationGone
from narthex.ports.records import JobRun
from narthex.usecases import retention
from narthex.usecases.application import ApplicationNotFound
from narthex.usecases.call import OperatorCall
from narthex.usecases.lifecycle import DeletionNotPending, delete_due, due_deletions
from narthex.usecases.report import keep_report
from narthex.usecases.retention import CLOCKS_MAY_DIFFER_BY, renew_token_key
from narthex.usecases.stopwatch import Stopwatch

TRIED_AGAIN_AFTER: Final = timedelta(minutes=10)
"""A daily job that failed, or whose process died."""
_LONGEST_PROBLEM: Final = 1_000
_REPORTS_AT_HOUR: Final = 22
_DAY: Final = timedelta(days=1)


class JobNotFound(NotFound):
    """There is no job of this name."""

    code = "job-not-found"
    advice = "list the jobs: they go by their names"


class JobUnderWay(Conflict):
    """Somebody is doing this job at this moment, perhaps another server."""

    code = "job-under-way"
    advice = "wait until it is done, and look at how it went"


class Unfinished(RuntimeError):
    """A job could not do all that it should have done; its text says what."""


class Turn(Protocol):
    """When a job has its turns."""

    def next_at(self, last: JobRun | None, *, now: datetime) -> datetime:
        """When the job is due, given how it went last; an instant that has passed where it is due already."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Again and again, a span apart, however it went."""

    span: timedelta

    def __str__(self) -> str:
        minutes = self.span // timedelta(minutes=1)
        return "every minute" if minutes == 1 else "every hour" if minutes == 60 else f"every {minutes} minutes"

    def next_at(self, last: JobRun | None, *, now: datetime) -> datetime:
        return now if last is None else last.started_at + self.span


@dataclass(frozen=True, slots=True)
class Daily:
    """Once a day at an hour in UTC, or as soon after it as can be."""

    hour: int

    def __str__(self) -> str:
        return f"daily at {self.hour:02}:00 UTC"

    def last_at(self, now: datetime) -> datetime:
        """The last turn before an instant, or at it."""
        today = now.replace(hour=self.hour, minute=0, second=0, microsecond=0)
        return today if today <= now else today - _DAY

    def next_at(self, last: JobRun | None, *, now: datetime) -> datetime:
        turn = self.last_at(now)
        if last is None or last.started_at < turn:
            return turn
        succeeded = last.finished_at is not None and not last.problem
        return turn + _DAY if succeeded else last.started_at + TRIED_AGAIN_AFTER


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do now and then."""

    name: str
    meaning: str
    """For operators."""
    turn: Turn
    act: Callable[[OperatorCall], Awaitable[str]]
    """Does it, and says in words what was done."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, and how it stands with it."""

    job: Job
    due_at: datetime
    last: JobRun | None


async def _report(call: OperatorCall) -> str:
    due_at = Daily(_REPORTS_AT_HOUR).last_at(call.now)

    async def report(app_id: str) -> bool:
        return await keep_report(call, app_id, due_at=due_at)

    kept = await _for_each(await call.root.list_applications(), report)
    return f"{due_at.date()}: {kept} applications reported on"


async def _delete(call: OperatorCall) -> str:
    async def delete(app_id: str) -> bool:
        # The deletion may have been cancelled, or done, since the list was read: an erasure before it takes its time.
        with contextlib.suppress(DeletionNotPending, ApplicationNotFound):
            return (await delete_due(call, app_id)).is_deleted
        return False

    return f"{await _for_each(await due_deletions(call), delete)} applications deleted"


async def _renew_token_keys(call: OperatorCall) -> str:
    async def renew(app_id: str) -> bool:
        return await renew_token_key(call, app_id)

    return f"{await _for_each(await call.root.list_applications(), renew)} applications given a new token key"


async def _for_each(app_ids: Iterable[str], act: Callable[[str], Awaitable[bool]]) -> int:
    """Do something for one application after the other; one that fails does not keep it from the others.

    Returns:
        for how many something was done.
    Raises:
        Unfinished: some failed.
        Unavailable: the database is away, for all of them.
    """
    done, failures = 0, list[str]()
    for app_id in app_ids:
        await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        try:
            done += await act(app_id)
        except ApplicationGone:
            continue  # Somebody deleted it meanwhile.
        except Unavailable:
            raise
        except Exception as e:
            # The edge of the background: whatever is wrong with one application is told at the end.
            failures.append(f"`{app_id}`: {_words(e)}")
    if failures:
        raise Unfinished(f"{done} done, {len(failures)} failed: {'; '.join(failures)}")
    return done


_MINUTE: Final = Every(timedelta(minutes=1))
_HOUR: Final = Every(timedelta(hours=1))
JOBS: Final = (
    Job("nonces", "Forget spent one-time tokens that have expired anyway.", _MINUTE, retention.forget_nonces),
    Job("events", "Forget events older than their application keeps them.", _HOUR, retention.forget_events),
    Job("mails", "Forget magic links that were sent 50 days ago.", Daily(0), retention.forget_mails),
    Job("deliveries", "Forget deliveries settled 30 days ago.", _HOUR, retention.forget_deliveries),
    Job("request-counts", "Forget counts of requests that are over.", _HOUR, retention.forget_request_counts),
    Job("token-keys", "Renew token keys after a week, drop them after 30 days.", _HOUR, _renew_token_keys),
    Job("reports", "Count users and credentials of each application.", Daily(_REPORTS_AT_HOUR), _report),
    Job("deletions", "Delete applications whose time has come.", _HOUR, _delete),
)
"""In the order in which they are done where several are due: those that may take long come last."""


async def list_jobs(call: OperatorCall, *, jobs: Sequence[Job] = JOBS) -> list[JobState]:
    """All jobs, when each is due next, and how it went last."""
    last = await _last_runs(call)
    return [JobState(job, _due_at(job, last, now=call.now), last.get(job.name)) for job in jobs]


async def run_job(call: OperatorCall, name: str, *, jobs: Sequence[Job] = JOBS) -> JobRun:
    """Do a job now, whether or not it is due. How it went is kept, and a job that fails says so there.

    Raises:
        JobNotFound, JobUnderWay.
    """
    job = next((job for job in jobs if job.name == name), None)
    if job is None:
        raise JobNotFound(f"there is no job {quoted(name)}")
    async with call.root.hold(_hold_name(job)) as held:
        if not held:
            raise JobUnderWay(f"the job `{name}` is under way")
        return await _run(call, job)


async def run_due_jobs(call: OperatorCall, *, jobs: Sequence[Job] = JOBS) -> list[JobRun]:
    """Do the jobs that are due, one after the other; gives how those went that were done here.

    Raises:
        StoreUnavailable: the database is away. Why a job failed stands in its run.
    """
    watch = Stopwatch(call.now)
    last, runs = await _last_runs(call), list[JobRun]()
    for job in jobs:
        at = replace(call, now=watch.now())
        if _due_at(job, last, now=at.now) > at.now:
            continue
        async with call.root.hold(_hold_name(job)) as held:
            # Another server may have done it since we looked.
            if held and _due_at(job, await _last_runs(call), now=at.now) <= at.now:
                runs.append(await _run(at, job))
    return runs


async def _run(call: OperatorCall, job: Job) -> JobRun:
    watch = Stopwatch(call.now)
    run = JobRun(name=job.name, started_at=call.now)
    # Kept before it is done: a process that dies of its job does not begin it at once after each restart.
    await call.root.keep_job_run(run)
    try:
        run = msgspec.structs.replace(run, result=await job.act(call))
    except Exception as e:
        # The edge of the background: what fails is told, and tried again at its next turn.
        run = msgspec.structs.replace(run, problem=_words(e))
    run = msgspec.structs.replace(run, finished_at=watch.now())
    await call.root.keep_job_run(run)
    return run


async def _last_runs(call: OperatorCall) -> dict[str, JobRun]:
    return {run.name: run for run in await call.root.list_job_runs()}


def _due_at(job: Job, runs: Mapping[str, JobRun], *, now: datetime) -> datetime:
    last = runs.get(job.name)
    if last is not None and last.started_at > now + CLOCKS_MAY_DIFFER_BY:
        last = None  # A clock was wrong: nobody shall wait until it is right.
    return job.turn.next_at(last, now=now)


def _hold_name(job: Job) -> str:
    return f"job-{job.name}"


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_LONGEST_PROBLEM]
