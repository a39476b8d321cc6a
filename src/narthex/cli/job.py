"""What the server does now and then, at the command line: how it went, and doing it now."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from narthex.cli.operator import AsJson, Config, minute, operate, print_answer, print_table, printable, working
from narthex.http.problems import sentence

if TYPE_CHECKING:
    from narthex.usecases.job import JobState

jobs = App(name="jobs", help="What the server does by itself now and then.")


@jobs.command(name="list")
def list_(*, as_json: AsJson = False, config: Config = None) -> None:
    """Print the jobs of the server: when each is due, and how it went last."""
    from narthex.http.routes.management.job import admin_jobs
    from narthex.usecases.job import list_jobs

    if as_json:
        print_answer(operate(config, admin_jobs)[1])
        return
    _, states = operate(config, list_jobs)
    print_table(
        ("JOB", "DONE", "DUE", "LAST", "HOW IT WENT"),
        (
            (
                state.job.name,
                str(state.job.turn),
                minute(state.due_at),
                minute(state.last.started_at) if state.last else "never",
                _how_it_went(state),
            )
            for state in states
        ),
    )


@jobs.command
def run(
    job: Annotated[str, Parameter(help="The job's name.")], /, *, as_json: AsJson = False, config: Config = None
) -> None:
    """Do a job now, whether or not it is due. Ends with status 1 where the job fails."""
    from narthex.http.routes.management.job import admin_jobs_run

    with working(f"Doing {job}"):
        _, answer = operate(config, lambda call: admin_jobs_run(call, name=job))
    if as_json:
        print_answer(answer)
    elif not answer.problem:
        print(sentence(printable(answer.result)))
    if answer.problem:
        print(f"The job failed: {sentence(printable(answer.problem))}", file=sys.stderr)
        raise SystemExit(1)


def _how_it_went(state: JobState) -> str:
    if state.last is None:
        return "-"
    if state.last.problem:
        return f"FAILED: {state.last.problem}"
    return "under way, or its process died" if state.last.finished_at is None else state.last.result
