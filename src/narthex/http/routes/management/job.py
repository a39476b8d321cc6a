"""What the server does by itself now and then, and how it went."""

from __future__ import annotations

from typing import Annotated

from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.routes.passwordless.shapes import Answer, told
from narthex.http.routing import route
from narthex.ports.records import JobRun
from narthex.usecases import job
from narthex.usecases.call import OperatorCall


class JobRunAnswer(Answer):
    """How a job went."""

    name: str
    started_at: str
    finished_at: Annotated[str | None, told("Null while it runs, or after its process died.")]
    result: Annotated[str, told("What was done.", "12 events forgotten")]
    problem: Annotated[str, told("What it failed with; empty after a success.")]


class JobAnswer(Answer):
    """Something that the server does now and then."""

    name: str
    meaning: str
    turn: Annotated[str, told("When it is done.", "daily at 22:00 UTC")]
    due_at: Annotated[str, told("When it is done next; at once where that has passed.")]
    last_run: JobRunAnswer | None


@route("GET", "/admin/jobs", access=Access.MANAGEMENT_KEY, answer=list[JobAnswer])
async def admin_jobs(call: OperatorCall) -> list[JobAnswer]:
    """The jobs of the server: what each is for, when it is due, and how it went last."""
    return [_shown(state) for state in await job.list_jobs(call)]


@route("POST", "/admin/jobs/{name}/run", access=Access.MANAGEMENT_KEY, answer=JobRunAnswer, may_miss=True)
async def admin_jobs_run(call: OperatorCall, name: str) -> JobRunAnswer:
    """Do a job now. One that fails says so in `problem`."""
    return _run(await job.run_job(call, name))


def _shown(state: job.JobState) -> JobAnswer:
    return JobAnswer(
        name=state.job.name,
        meaning=state.job.meaning,
        turn=str(state.job.turn),
        due_at=instant_z(state.due_at),
        last_run=None if state.last is None else _run(state.last),
    )


def _run(run: JobRun) -> JobRunAnswer:
    finished_at = None if run.finished_at is None else instant_z(run.finished_at)
    return JobRunAnswer(run.name, instant_z(run.started_at), finished_at, run.result, run.problem)
