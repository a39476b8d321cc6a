"""Daily reports: the compatible shapes, their bounds, and what the job counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from narthex.ports.changes import AddCredential, KeepReport
from narthex.ports.records import KeyKind, Scope
from tests.http.test_jobs import ran
from tests.store.records import make_credential, make_report
from tests.support.application import Application, HouseInProcess, accepted, refused

pytestmark = pytest.mark.anyio

CREDENTIALS, ACTIVE_USERS = "/reporting/credentials/periodic", "/reporting/active-users/periodic"


async def ask(application: Application, path: str, query: str = "") -> httpx.Response:
    return await application.client.get(f"{path}{query}", headers={"ApiSecret": application.secret_key})


async def days(application: Application, query: str = "") -> list[str]:
    answers: Any = [accepted(await ask(application, path, query)) for path in (CREDENTIALS, ACTIVE_USERS)]
    first, second = ([each["createdAt"] for each in answer] for answer in answers)
    assert first == second
    return first


async def keep_reports(house: HouseInProcess, app_id: str = "demo", *, days: tuple[int, ...] = (3, 1, 2)) -> None:
    for day in days:
        report = make_report(day=datetime(2026, 3, day, tzinfo=UTC).date())
        await house.root.tenant(app_id).commit(KeepReport(report=report))


async def test_reports_have_the_compatible_shape(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    await keep_reports(any_house, days=(2,))
    credentials: Any = accepted(await ask(application, CREDENTIALS))
    assert [{"createdAt": "2026-03-02", "users": 7, "credentials": 9}] == credentials
    active: Any = accepted(await ask(application, ACTIVE_USERS))
    expected = {"createdAt": "2026-03-02", "dailyActiveUsers": 3, "weeklyActiveUsers": 5, "totalUsers": 7}
    assert [expected] == active


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3]),
        ("?from=&to=", [1, 2, 3]),
        ("?from=2026-03-02", [2, 3]),
        ("?to=2026-03-02", [1, 2]),
        ("?FROM=2026-03-02&To=2026-03-02", [2]),
        ("?from=0001-01-01&to=9999-12-31", [1, 2, 3]),
        ("?from=2026-03-03&to=2026-03-01", []),
    ],
)
async def test_both_bounds_are_included(
    house: HouseInProcess, application: Application, query: str, expected: list[int]
) -> None:
    await keep_reports(house)
    assert [f"2026-03-0{day}" for day in expected] == await days(application, query)


@pytest.mark.parametrize("path", [CREDENTIALS, ACTIVE_USERS])
@pytest.mark.parametrize("member", ["from", "to"])
@pytest.mark.parametrize("value", ["today", "20260302", "2026-W10-1", "2026-02-30", "2026-03-02T00:00:00Z"])
async def test_what_is_no_day_is_refused(application: Application, path: str, member: str, value: str) -> None:
    problem = refused(await ask(application, path, f"?{member}={value}"), 400, "validation_failed")
    assert [member] == list(problem["errors"])


async def test_other_applications_see_none_of_it(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other")
    await keep_reports(house)
    assert [] == await days(other)


@pytest.mark.parametrize("path", [CREDENTIALS, ACTIVE_USERS])
async def test_a_key_without_the_scope_reads_nothing(
    house: HouseInProcess, application: Application, path: str
) -> None:
    key = await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({Scope.TOKEN_VERIFY, Scope.EVENTS_READ}))
    refused(await house.get(path, ApiSecret=key), 403, "forbidden")


async def test_a_report_counts_who_was_active_in_a_day_and_in_a_week(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    await any_house.create_application("other")
    made_at = datetime(2026, 3, 20, 22, tzinfo=UTC)
    used = {
        ("ann", "a phone"): datetime(2026, 3, 19, 22, tzinfo=UTC),
        ("ann", "a key"): datetime(2026, 3, 20, 21, tzinfo=UTC),
        ("bob", "his phone"): datetime(2026, 3, 19, 21, 59, tzinfo=UTC),
        ("cleo", "her phone"): datetime(2026, 3, 13, 22, tzinfo=UTC),
        ("dan", "his phone"): datetime(2026, 3, 13, 21, 59, tzinfo=UTC),
    }
    for (user_id, name), last_used_at in used.items():
        credential = make_credential(f"{user_id} {name}", user_id=user_id, last_used_at=last_used_at)
        await any_house.root.tenant("demo").commit(AddCredential(credential=credential))
    any_house.clock.at = made_at
    await ran(any_house, "reports")
    assert [{"createdAt": "2026-03-20", "users": 4, "credentials": 5}] == accepted(await ask(application, CREDENTIALS))
    expected = {"createdAt": "2026-03-20", "dailyActiveUsers": 1, "weeklyActiveUsers": 3, "totalUsers": 4}
    assert [expected] == accepted(await ask(application, ACTIVE_USERS))
