"""Jobs: when they are due, that one server at a time does each, and what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from narthex.adapters.sql.schema import metadata
from narthex.ports.changes import AddDelivery, AddEvent, AddTokenKey, ClaimMail, KeepReport, SpendNonce
from narthex.ports.records import DeliveryState, JobRun
from narthex.usecases.call import Caller, OperatorCall
from narthex.usecases.job import (
    JOBS,
    TRIED_AGAIN_AFTER,
    Daily,
    Every,
    Job,
    JobNotFound,
    JobUnderWay,
    run_due_jobs,
    run_job,
)
from tests.store.records import make_delivery, make_event, make_mail, make_report, make_token_key, raw, timed_id
from tests.store.test_two_tenants import plant
from tests.support.application import (
    MANAGEMENT_KEY,
    START,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    refused,
)
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NAMES = [job.name for job in JOBS]


def operator_call(house: HouseInProcess) -> OperatorCall:
    """What the server's own loop acts with."""
    env = house.env
    return OperatorCall(
        root=env.root,
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=env.clock.now(),
        caller=Caller(),
        catalog=env.catalog,
        facilities=env.facilities,
    )


async def due(house: HouseInProcess, jobs: Sequence[Job] = JOBS) -> list[str]:
    """The names of the jobs that were due, and have been done."""
    return [run.name for run in await run_due_jobs(operator_call(house), jobs=jobs)]


async def ran(house: HouseInProcess, name: str) -> str:
    """What a job did, which must succeed."""
    run = accepted(await house.manage(f"/admin/jobs/{name}/run", {}))
    assert "" == run["problem"]
    assert run["finishedAt"] is not None
    return str(run["result"])


async def shown(house: HouseInProcess) -> dict[str, Json]:
    answer: Any = accepted(await house.manage("/admin/jobs"))
    return {each["name"]: each for each in answer}


class Work:
    """A job's act that counts how often it was done, and does as it is told."""

    def __init__(self, act: Callable[[], Awaitable[None]] | None = None) -> None:
        self.done = 0
        self._act = act

    async def __call__(self, call: OperatorCall) -> str:
        if self._act is not None:
            await self._act()
        self.done += 1
        return f"done {self.done}"


async def fail() -> None:
    raise RuntimeError("the disk is full")


# --- what operators see


async def test_jobs_are_listed_with_their_turns(any_house: HouseInProcess) -> None:
    jobs = await shown(any_house)
    assert NAMES == list(jobs)
    assert {
        "name": "reports",
        "meaning": "Count users and credentials of each application.",
        "turn": "daily at 22:00 UTC",
        "dueAt": "2026-03-03T22:00:00.000000Z",
        "lastRun": None,
    } == jobs["reports"]
    assert ("every minute", "every hour", "daily at 00:00 UTC") == tuple(
        jobs[name]["turn"] for name in ("nonces", "events", "mails")
    )


async def test_a_job_is_listed_with_how_it_went(any_house: HouseInProcess) -> None:
    result = await ran(any_house, "nonces")
    assert "0 nonces forgotten" == result
    job = (await shown(any_house))["nonces"]
    assert "2026-03-04T05:07:07.891011Z" == job["dueAt"]
    finished_at = job["lastRun"].pop("finishedAt")
    assert "2026-03-04T05:06:07.891011Z" <= finished_at < "2026-03-04T05:06:17"
    assert {
        "name": "nonces",
        "startedAt": "2026-03-04T05:06:07.891011Z",
        "result": "0 nonces forgotten",
        "problem": "",
    } == job["lastRun"]


@pytest.mark.parametrize("name", NAMES)
async def test_every_job_can_be_run_on_an_empty_server(house: HouseInProcess, name: str) -> None:
    assert await ran(house, name)
    assert await ran(house, name), "and again"


@pytest.mark.parametrize("name", ["job", "Nonces", "%2e%2e", "x" * 500])
async def test_a_job_that_is_not_there_is_not_found(house: HouseInProcess, name: str) -> None:
    refused(await house.manage(f"/admin/jobs/{name}/run", {}), 404, "job_not_found")
    with pytest.raises(JobNotFound):
        await run_job(operator_call(house), name)


async def test_jobs_are_the_operators_alone(house: HouseInProcess, application: Application) -> None:
    for headers in ({}, {"ManagementKey": "wrong"}, {"ApiSecret": application.secret_key}):
        refused(await house.client.get("/admin/jobs", headers=headers), 401, "key_required")
        refused(await house.client.post("/admin/jobs/nonces/run", headers=headers), 401, "key_required")
    assert [] == await house.root.list_job_runs()
    answer = await house.client.post("/admin/jobs/nonces/run", headers={"ManagementKey": MANAGEMENT_KEY})
    assert 200 == answer.status_code, "no body is asked for"


# --- when a job is due


def run_at(at: datetime, *, took: timedelta | None = timedelta(0), problem: str = "") -> JobRun:
    finished_at = None if took is None else at + took
    return JobRun("job", at, finished_at=finished_at, problem=problem)


SLOT = datetime(2026, 3, 3, 22, tzinfo=UTC)
NEXT_SLOT = SLOT + DAY


@pytest.mark.parametrize(
    ("last", "due_at"),
    [
        (None, SLOT),
        (run_at(SLOT - DAY), SLOT),
        (run_at(SLOT - timedelta(microseconds=1), took=HOUR), SLOT),
        (run_at(SLOT - HOUR, problem="failed"), SLOT),
        (run_at(SLOT), NEXT_SLOT),
        (run_at(SLOT + HOUR), NEXT_SLOT),
        (run_at(SLOT + HOUR, problem="failed"), SLOT + HOUR + TRIED_AGAIN_AFTER),
        (run_at(SLOT + HOUR, took=None), SLOT + HOUR + TRIED_AGAIN_AFTER),
    ],
)
def test_a_daily_job_is_due_until_its_turn_has_a_success(last: JobRun | None, due_at: datetime) -> None:
    for now in (START, SLOT + HOUR, NEXT_SLOT - timedelta(microseconds=1)):
        assert due_at == Daily(22).next_at(last, now=now)


def test_a_daily_job_is_due_at_its_hour() -> None:
    assert SLOT + DAY == Daily(22).next_at(run_at(SLOT), now=SLOT + DAY)
    assert datetime(2026, 3, 4, tzinfo=UTC) == Daily(0).next_at(None, now=START)
    assert START.replace(hour=5, minute=0, second=0, microsecond=0) == Daily(5).last_at(START)
    assert SLOT == Daily(22).last_at(SLOT)


def test_a_job_of_every_hour_is_due_an_hour_later_however_it_went() -> None:
    assert START == Every(HOUR).next_at(None, now=START)
    for last in (run_at(START), run_at(START, problem="failed"), run_at(START, took=None)):
        assert START + HOUR == Every(HOUR).next_at(last, now=START + DAY)


async def test_jobs_are_done_when_they_are_due(any_house: HouseInProcess) -> None:
    hourly = ["events", "deliveries", "request-counts", "token-keys", "deletions"]
    assert NAMES == await due(any_house)
    assert [] == await due(any_house)
    any_house.clock.move(seconds=59)
    assert [] == await due(any_house)
    any_house.clock.move(seconds=2)
    assert ["nonces"] == await due(any_house)
    any_house.clock.move(minutes=60)
    assert sorted(["nonces", *hourly]) == sorted(await due(any_house))
    any_house.clock.at = NEXT_SLOT - timedelta(seconds=1)
    assert "reports" not in await due(any_house)
    any_house.clock.at = NEXT_SLOT
    assert ["reports"] == [name for name in await due(any_house) if name != "nonces"]
    any_house.clock.at = datetime(2026, 3, 5, tzinfo=UTC)
    assert {"mails", "nonces"} <= set(await due(any_house))


async def test_a_restart_loses_no_turn_and_repeats_none(database_url: str) -> None:
    async with HouseInProcess(database_url) as house:
        await house.create_application()
        house.clock.at = NEXT_SLOT - MINUTE
        assert "reports" in await due(house), "the one of yesterday"
    async with HouseInProcess(database_url) as house:
        house.clock.at = NEXT_SLOT - timedelta(seconds=30)
        assert [] == await due(house)
    # Nobody served at the hour, and the day is over.
    async with HouseInProcess(database_url) as house:
        house.clock.at = NEXT_SLOT + timedelta(hours=5)
        assert "reports" in await due(house)
        assert [("2026-03-04",)] == [(f"{each.day}",) for each in await reports(house, "demo")]
        assert [] == await due(house)


async def test_a_clock_that_was_wrong_keeps_no_job_for_long(house: HouseInProcess) -> None:
    for name in NAMES:
        await house.root.keep_job_run(JobRun(name, START + 365 * DAY, START + 365 * DAY))
    assert NAMES == await due(house)


async def test_a_clock_that_is_a_little_ahead_changes_nothing(house: HouseInProcess) -> None:
    for name in NAMES:
        await house.root.keep_job_run(JobRun(name, START + MINUTE, START + MINUTE))
    assert [] == await due(house)


# --- one at a time


async def test_two_servers_at_once_do_a_job_once(database_url: str) -> None:
    work = Work(lambda: asyncio.sleep(0.05))
    jobs = [Job(f"job-{n}", "", Every(HOUR), work) for n in range(5)]
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        for turn in (1, 2):
            runs = await asyncio.gather(*(due(house, jobs) for house in (one, other, one, other)))
            assert sorted(job.name for job in jobs) == sorted(name for names in runs for name in names)
            assert 5 * turn == work.done
            for house in (one, other):
                house.clock.move(hours=1, seconds=30)


async def test_a_job_that_another_holds_is_left_to_it(database_url: str) -> None:
    work = Work()
    jobs = (Job("held", "", Every(MINUTE), work), Job("free", "", Every(MINUTE), work))
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        async with one.root.hold("job-held") as held:
            assert held
            assert ["free"] == await due(other, jobs)
            with pytest.raises(JobUnderWay):
                await run_job(operator_call(other), "held", jobs=jobs)
        assert ["held"] == await due(other, jobs)
        async with one.root.hold("job-nonces"):
            refused(await other.manage("/admin/jobs/nonces/run", {}), 409, "job_under_way")
        assert 2 == work.done


async def test_what_a_dead_server_began_another_does(database_url: str) -> None:
    begun = asyncio.Event()

    async def never_end() -> None:
        begun.set()
        await asyncio.Event().wait()

    daily = (Job("job", "", Daily(22), Work(never_end)),)
    same = (Job("job", "", Daily(22), Work()),)
    async with HouseInProcess(database_url) as other:
        async with HouseInProcess(database_url) as one:
            dying = asyncio.create_task(due(one, daily))
            await begun.wait()
            assert [] == await due(other, same)
            (run,) = await other.root.list_job_runs()
            assert (None, "", "") == (run.finished_at, run.result, run.problem)
            dying.cancel()
            await asyncio.gather(dying, return_exceptions=True)
        assert [] == await due(other, same), "a job that kills its process does not begin at once after each restart"
        other.clock.at += TRIED_AGAIN_AFTER + timedelta(seconds=1)
        assert ["job"] == await due(other, same)
        (run,) = await other.root.list_job_runs()
        assert ("done 1", "") == (run.result, run.problem)


# --- failures


async def test_a_job_that_fails_says_so_and_is_tried_again(any_house: HouseInProcess) -> None:
    good, mended = Work(), Work()
    jobs = (Job("bad", "", Every(MINUTE), Work(fail)), Job("good", "", Every(MINUTE), good))
    bad_run, good_run = await run_due_jobs(operator_call(any_house), jobs=jobs)
    assert ("bad", "", "the disk is full") == (bad_run.name, bad_run.result, bad_run.problem)
    assert bad_run.finished_at is not None
    assert ("good", "done 1", "") == (good_run.name, good_run.result, good_run.problem)
    assert [bad_run, good_run] == list(await any_house.root.list_job_runs())
    assert [] == await due(any_house, jobs)
    any_house.clock.move(minutes=1, seconds=1)
    jobs = (Job("bad", "", Every(MINUTE), mended), jobs[1])
    assert ["bad", "good"] == await due(any_house, jobs)
    assert (1, 2) == (mended.done, good.done)
    assert [("done 1", ""), ("done 2", "")] == [
        (run.result, run.problem) for run in await any_house.root.list_job_runs()
    ]


async def test_an_error_without_words_is_told_by_its_kind(house: HouseInProcess) -> None:
    async def fail_silently() -> None:
        raise ZeroDivisionError

    run = await run_job(operator_call(house), "bad", jobs=(Job("bad", "", Daily(0), Work(fail_silently)),))
    assert "ZeroDivisionError" == run.problem


async def test_a_daily_job_that_fails_is_tried_again_that_day(house: HouseInProcess) -> None:
    bad, good = (Job("job", "", Daily(22), Work(fail)),), (Job("job", "", Daily(22), Work()),)
    assert ["job"] == await due(house, bad)
    assert [] == await due(house, good)
    house.clock.at += TRIED_AGAIN_AFTER + timedelta(seconds=1)
    assert ["job"] == await due(house, good)
    house.clock.at += TRIED_AGAIN_AFTER + timedelta(seconds=1)
    assert [] == await due(house, good)


async def break_application(house: HouseInProcess, app_id: str) -> None:
    """As a database does that was restored in parts."""
    await house.write("update application set settings = '{' where app_id = :app_id", app_id=app_id)


@pytest.mark.parametrize("name", ["reports", "token-keys", "deletions"])
async def test_a_broken_application_keeps_the_job_from_no_other(any_house: HouseInProcess, name: str) -> None:
    for app_id in ("aaa", "bbb", "ccc"):
        await any_house.create_application(app_id)
        await any_house.write("update application set delete_at = 0 where app_id = :app_id", app_id=app_id)
    any_house.clock.move(days=40)
    await break_application(any_house, "bbb")
    run = accepted(await any_house.manage(f"/admin/jobs/{name}/run", {}))
    assert run["problem"].startswith("2 done, 1 failed: `bbb`: "), run
    assert "" == run["result"]
    for app_id in ("aaa", "ccc"):
        if name == "reports":
            assert 1 == len(await reports(any_house, app_id))
        elif name == "deletions":
            assert await any_house.root.tenant(app_id).find_application() is None
        else:
            assert [any_house.clock.at] == await token_keys(any_house, app_id)


# --- what the jobs do


async def reports(house: HouseInProcess, app_id: str) -> Sequence[Any]:
    return await house.root.tenant(app_id).list_reports(since=None, until=None)


async def token_keys(house: HouseInProcess, app_id: str) -> list[datetime]:
    application = await house.root.tenant(app_id).find_application()
    assert application is not None
    return [key.created_at for key in application.token_keys]


async def count(house: HouseInProcess, table: str, app_id: str = "demo") -> int:
    ((rows,),) = await house.rows(f"select count(*) from {table} where app_id = :app_id", app_id=app_id)
    return int(rows)


async def test_events_are_kept_as_long_as_their_application_says(any_house: HouseInProcess) -> None:
    for app_id, days in (("none", 0), ("short", 30), ("long", 90)):
        await any_house.create_application(app_id, eventLoggingIsEnabled=True, eventLoggingRetentionPeriod=days)
        tenant = any_house.root.tenant(app_id)
        for day in (1, 29, 31, 89, 91):
            at = START + (100 - day) * DAY
            event = make_event(event_id=timed_id(f"{day}", at), performed_at=at, message=f"{day} days old")
            await tenant.commit(AddEvent(event=event))
    any_house.clock.move(days=100)
    assert "12 events forgotten" == await ran(any_house, "events")
    assert [0, 2, 4] == [await count(any_house, "event", app_id) for app_id in ("none", "short", "long")]


async def test_nonces_are_remembered_a_little_longer_than_tokens_live(any_house: HouseInProcess) -> None:
    await any_house.create_application()
    tenant = any_house.root.tenant("demo")
    await tenant.commit(SpendNonce(raw("dead", 16), START), SpendNonce(raw("alive", 16), START + MINUTE))
    any_house.clock.move(minutes=5)
    assert "0 nonces forgotten" == await ran(any_house, "nonces")
    any_house.clock.move(seconds=1)
    assert "1 nonces forgotten" == await ran(any_house, "nonces")
    assert [False, True] == [await tenant.is_spent(raw(name, 16)) for name in ("dead", "alive")]


async def test_mails_are_forgotten_after_fifty_days(any_house: HouseInProcess) -> None:
    for app_id in ("demo", "other"):
        await any_house.create_application(app_id)
        for name, at in (("old", START), ("new", START + DAY)):
            mail = make_mail(name, created_at=at)
            await any_house.root.tenant(app_id).commit(ClaimMail(mail=mail, since=START, most=None))
    any_house.clock.move(days=50, seconds=1)
    assert "2 mails forgotten" == await ran(any_house, "mails")
    assert [1, 1] == [await count(any_house, "dispatched_mail", app_id) for app_id in ("demo", "other")]


async def test_settled_deliveries_are_forgotten_after_thirty_days(any_house: HouseInProcess) -> None:
    await any_house.create_application()
    delivered, failed = DeliveryState.DELIVERED, DeliveryState.FAILED
    for delivery in (
        make_delivery("pending"),
        make_delivery("delivered", state=delivered, settled_at=START),
        make_delivery("failed", state=failed, settled_at=START),
        make_delivery("settled later", state=delivered, settled_at=START + DAY),
    ):
        await any_house.root.tenant("demo").commit(AddDelivery(delivery=delivery))
    any_house.clock.move(days=30, seconds=1)
    assert "2 deliveries forgotten" == await ran(any_house, "deliveries")
    assert 2 == await count(any_house, "delivery")


async def test_counts_of_requests_are_forgotten_when_they_are_over(any_house: HouseInProcess) -> None:
    now_s = int(START.timestamp())
    await any_house.root.count_requests([("over", now_s - 60, now_s - 1), ("now", now_s, now_s + 60)])
    assert "1 counts forgotten" == await ran(any_house, "request-counts")
    assert [2, 1] == list(
        await any_house.root.count_requests([("now", now_s, now_s + 60), ("over", now_s - 60, now_s - 1)])
    )


async def test_token_keys_are_renewed_and_dropped_where_nobody_signs_in(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    began = any_house.clock.at
    any_house.clock.move(days=7, microseconds=-1)
    assert "0 applications given a new token key" == await ran(any_house, "token-keys")
    any_house.clock.move(microseconds=1)
    assert "1 applications given a new token key" == await ran(any_house, "token-keys")
    assert [began + 7 * DAY, began] == await token_keys(any_house, "demo")
    assert "0 applications given a new token key" == await ran(any_house, "token-keys")
    any_house.clock.move(days=30, seconds=1)
    assert "1 applications given a new token key" == await ran(any_house, "token-keys")
    assert [any_house.clock.at] == await token_keys(any_house, "demo")
    await Ceremonies(application).register("ann")


async def test_a_dead_token_key_is_dropped_though_the_newest_is_young(house: HouseInProcess) -> None:
    await house.create_application()
    house.clock.move(days=29)
    young = make_token_key(7, created_at=house.clock.at, wrapped=b"x")
    await house.root.tenant("demo").commit(AddTokenKey(key=young, drop_before=START))
    house.clock.move(days=1)
    assert "0 applications given a new token key" == await ran(house, "token-keys")
    house.clock.move(microseconds=1)
    assert "1 applications given a new token key" == await ran(house, "token-keys")
    assert [house.clock.at, young.created_at] == await token_keys(house, "demo")


async def test_a_report_is_made_once_a_day_for_who_was_there(any_house: HouseInProcess) -> None:
    await any_house.create_application("old")
    any_house.clock.at = NEXT_SLOT + HOUR
    await any_house.create_application("new")
    assert "2026-03-04: 1 applications reported on" == await ran(any_house, "reports")
    assert [] == await reports(any_house, "new")
    any_house.clock.move(hours=23)
    assert "2026-03-05: 2 applications reported on" == await ran(any_house, "reports")
    assert (2, 1) == (len(await reports(any_house, "old")), len(await reports(any_house, "new")))


async def test_a_report_that_is_there_stays(house: HouseInProcess) -> None:
    await house.create_application()
    house.clock.at = NEXT_SLOT
    report = make_report(day=NEXT_SLOT.date(), users=41)
    await house.root.tenant("demo").commit(KeepReport(report=report))
    await ran(house, "reports")
    assert [report] == list(await reports(house, "demo"))


TENANT_TABLES = sorted(table.name for table in metadata.tables.values() if "app_id" in table.columns)


async def dump(house: HouseInProcess, app_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that the database holds of an application, by table."""
    return {
        table: sorted(await house.rows(f"select * from {table} where app_id = :app_id", app_id=app_id))
        for table in TENANT_TABLES
    }


async def test_a_deletion_takes_every_row_of_its_application_and_of_no_other(any_house: HouseInProcess) -> None:
    for app_id in ("demo", "other"):
        await any_house.create_application(app_id)
        await plant(any_house.root.tenant(app_id), app_id)
    assert [] == [table for table, rows in (await dump(any_house, "demo")).items() if not rows], "plant more"
    any_house.clock.move(days=4)
    marked = accepted(await any_house.manage("/admin/apps/demo/mark-delete", {"deletedBy": "ann@example.org"}))
    assert marked["isDeleted"] is False
    others = await dump(any_house, "other")
    any_house.clock.move(days=30)
    assert "0 applications deleted" == await ran(any_house, "deletions")
    assert await any_house.root.tenant("demo").find_application() is not None
    any_house.clock.move(days=1)
    assert "1 applications deleted" == await ran(any_house, "deletions")
    assert {table: [] for table in TENANT_TABLES} == await dump(any_house, "demo")
    assert others == await dump(any_house, "other")


async def test_a_deletion_that_was_cancelled_is_not_done(house: HouseInProcess) -> None:
    application = await house.create_application()
    await Ceremonies(application).register("ann")
    house.clock.move(days=4)
    assert 200 == (await house.manage("/admin/apps/demo/mark-delete", {"deletedBy": "ann"})).status_code
    house.clock.move(days=1)
    accepted(await house.manage("/admin/apps/demo/cancel-delete", {}))
    house.clock.move(days=60)
    assert "0 applications deleted" == await ran(house, "deletions")
    await Ceremonies(application).register("bob")
