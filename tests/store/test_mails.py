"""The magic links that count against a quota, the daily reports, the jobs' runs, and what servers count together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest

from narthex.adapters.sql import open_store, request_count
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import AddEvent, ClaimMail, KeepReport, MailQuotaReached, ReleaseMail
from narthex.ports.records import JobRun
from tests.store.conftest import Test, make_application
from tests.store.records import NOW, SECOND, make_event, make_mail, make_report, raw

OnStore = Callable[[Test], None]

RACERS = 20
DAY = timedelta(days=1)


def claim(name: str, *, most: int | None, at: datetime = NOW) -> ClaimMail:
    return ClaimMail(mail=make_mail(name, created_at=at), since=NOW - 5 * SECOND, most=most)


def test_a_mail_past_the_quota_is_refused_and_a_released_one_makes_room(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await root.tenant("other").commit(claim("of other", most=1))
        # Before the instant from which on they count, and at it.
        await tenant.commit(claim("early", most=2, at=NOW - 5 * SECOND - timedelta(microseconds=1)))
        await tenant.commit(claim("first", most=2, at=NOW - 5 * SECOND))
        await tenant.commit(claim("second", most=2))
        with pytest.raises(MailQuotaReached):
            await tenant.commit(AddEvent(make_event()), claim("third", most=2))
        assert await tenant.count_mails(since=NOW - 5 * SECOND) == 2
        await tenant.commit(ReleaseMail(raw("second", 16)), ReleaseMail(raw("of other", 16)))
        assert await tenant.count_mails(since=NOW - 5 * SECOND) == 1
        await tenant.commit(claim("third", most=2))
        assert await tenant.count_mails(since=NOW - DAY) == 3
        assert await root.tenant("other").count_mails(since=NOW - DAY) == 1

    on_store(act)


def test_without_a_quota_any_mail_counts_and_with_one_of_zero_none_goes(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for n in range(3):
            await tenant.commit(claim(f"{n}", most=None))
        assert await tenant.count_mails(since=NOW) == 3
        with pytest.raises(MailQuotaReached):
            await root.tenant("other").commit(claim("none", most=0))

    on_store(act)


@pytest.mark.parametrize("nodes", [1, 2])
def test_of_many_mails_at_once_as_many_go_as_may(database_url: str, nodes: int) -> None:
    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            await make_application(roots[0], "app")
            await roots[0].tenant("app").commit(claim("kept", most=4))
            outcomes = await asyncio.gather(
                *(
                    roots[n % nodes].tenant("app").commit(AddEvent(make_event(f"{n}")), claim(f"{n}", most=4))
                    for n in range(RACERS)
                ),
                return_exceptions=True,
            )
            assert await roots[0].tenant("app").count_mails(since=NOW) == 4
        finally:
            for root in roots:
                await root.close()
        assert (
            sorted(type(outcome).__name__ for outcome in outcomes)
            == ["MailQuotaReached"] * (RACERS - 3) + ["NoneType"] * 3
        )

    asyncio.run(act())


def test_mails_are_forgotten_when_they_were_sent_long_ago(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narthex.adapters.sql.store._PURGE_PORTION", 2)
    monkeypatch.setattr("narthex.adapters.sql.store._APPLICATIONS_PORTION", 1)

    async def act(root: SqlRootStore) -> None:
        for app_id in ("app", "other"):
            for n in range(5):
                await root.tenant(app_id).commit(claim(f"old {n}", most=None, at=NOW - SECOND))
            await root.tenant(app_id).commit(claim("new", most=None))
        assert await root.purge_mails(sent_before=NOW) == 10
        assert await root.purge_mails(sent_before=NOW) == 0
        assert await root.tenant("app").count_mails(since=NOW - DAY) == 1

    on_store(act)


def test_reports_come_in_the_order_of_their_days_and_the_first_of_a_day_stays(on_store: OnStore) -> None:
    days = [date(2026, 3, 4), date(2026, 2, 28), date(2026, 3, 1), date(1969, 12, 31)]
    reports = {day: make_report(day=day, users=n) for n, day in enumerate(days)}

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for report in reports.values():
            await tenant.commit(KeepReport(report))
        await tenant.commit(KeepReport(make_report(day=days[0], users=99)))
        for since, until, expected in (
            (None, None, sorted(days)),
            (date(2026, 2, 28), date(2026, 3, 1), [date(2026, 2, 28), date(2026, 3, 1)]),
            (date(2026, 3, 1), None, [date(2026, 3, 1), date(2026, 3, 4)]),
            (None, date(2026, 2, 27), [date(1969, 12, 31)]),
            (date(2026, 3, 5), None, []),
        ):
            assert await tenant.list_reports(since=since, until=until) == [reports[day] for day in expected]

    on_store(act)


def test_a_job_s_last_run_is_what_is_kept_of_it(on_store: OnStore) -> None:
    running = JobRun("purge", NOW)
    done = JobRun("purge", NOW, NOW + SECOND, "3 nonces ✓", "")
    failed = JobRun("erase", NOW - DAY, NOW, "", "the database does not answer")

    async def act(root: SqlRootStore) -> None:
        assert await root.list_job_runs() == []
        await root.keep_job_run(running)
        await root.keep_job_run(failed)
        assert await root.list_job_runs() == [failed, running]
        await root.keep_job_run(done)
        assert await root.list_job_runs() == [failed, done]
        await root.keep_job_run(running)
        assert await root.list_job_runs() == [failed, running]

    on_store(act)


def test_requests_are_counted_by_name_and_window(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.count_requests([]) == []
        assert await root.count_requests([("b", 60, 120), ("a", 60, 120)]) == [1, 1]
        assert await root.count_requests([("a", 60, 120), ("a", 120, 180)]) == [2, 1]
        # Twice in one call counts twice, and both are told so; its two ends do not make two counts of it.
        assert await root.count_requests([("a", 60, 120), ("b", 60, 120), ("a", 60, 121)]) == [4, 2, 4]

    on_store(act)


def test_more_requests_than_share_a_round_trip_are_all_counted(on_store: OnStore) -> None:
    names = [(f"{n}", 60, 120) for n in range(2 * request_count.COUNTED_AT_ONCE + 1)]

    async def act(root: SqlRootStore) -> None:
        assert await root.count_requests(names) == [1] * len(names)
        assert await root.count_requests(names[::-1]) == [2] * len(names)

    on_store(act)


@pytest.mark.parametrize("nodes", [1, 2])
def test_servers_that_count_at_once_miss_nothing(database_url: str, nodes: int) -> None:
    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            # In different orders, which must not end in a deadlock.
            names = [("a", 60, 120), ("b", 60, 120), ("c", 60, 120)]
            counts = await asyncio.gather(
                *(roots[n % nodes].count_requests(names[n % 3 :] + names[: n % 3]) for n in range(60))
            )
        finally:
            for root in roots:
                await root.close()
        for place in range(3):
            assert sorted(told[(place - n) % 3] for n, told in enumerate(counts)) == list(range(1, 61))

    asyncio.run(act())


def test_counts_are_forgotten_when_they_may_be(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narthex.adapters.sql.store._PURGE_PORTION", 2)

    async def act(root: SqlRootStore) -> None:
        await root.count_requests([*((f"{n}", 60, 119) for n in range(5)), ("late", 60, 120)])
        assert await root.purge_request_counts(expired_before_s=120) == 5
        assert await root.purge_request_counts(expired_before_s=120) == 0
        assert await root.count_requests([("late", 60, 120), ("0", 60, 120)]) == [2, 1]

    on_store(act)
