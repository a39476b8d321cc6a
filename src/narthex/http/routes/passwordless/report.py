"""Daily reports in the compatible API (its section 7.15)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import Rule
from narthex.http.routes.passwordless.shapes import Answer, Request, told
from narthex.http.routing import route
from narthex.ports.records import DailyReport, Scope
from narthex.usecases import report
from narthex.usecases.call import Call

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


def _broken_day(value: str | None) -> str | None:
    try:
        _day(value)
    except ValueError:
        return "The {} field is not a date such as 2026-01-02."
    return None


def _day(text: str | None) -> date | None:
    """
    Raises:
        ValueError: it is no day.
    """
    if not text:
        return None
    if not _DAY.match(text):
        raise ValueError(text)
    return date.fromisoformat(text)


_DATE = Rule(_broken_day, {"format": "date"})


class ReportsQuery(Request):
    """From which day to which."""

    from_: Annotated[str | None, told("The first day.", "2026-01-02")] = None
    to: Annotated[str | None, told("The last day.", "2026-01-31")] = None

    rules: ClassVar = {"from_": (_DATE,), "to": (_DATE,)}


class CredentialReportAnswer(Answer):
    """What there was at the end of a day."""

    created_at: Annotated[str, told("The day.", "2026-01-02")]
    users: Annotated[int, told("Users who have a passkey.", 7)]
    credentials: Annotated[int, told("Passkeys.", 9)]


class ActiveUserReportAnswer(Answer):
    """Who was active until the end of a day."""

    created_at: Annotated[str, told("The day.", "2026-01-02")]
    daily_active_users: Annotated[int, told("Users who used a passkey within a day.", 3)]
    weekly_active_users: Annotated[int, told("Users who used a passkey within a week.", 5)]
    total_users: Annotated[int, told("Users who have a passkey.", 7)]


@route(
    "GET",
    "/reporting/credentials/periodic",
    access=Access.SECRET_KEY,
    scope=Scope.REPORTS_READ,
    query=ReportsQuery,
    answer=list[CredentialReportAnswer],
)
async def reporting_credentials(call: Call, query: ReportsQuery) -> list[CredentialReportAnswer]:
    """How many users and passkeys there were, day by day.

    A report is made each day at 22:00 UTC. Both bounds are included.
    """
    return [
        CredentialReportAnswer(each.day.isoformat(), each.users, each.credentials)
        for each in await _reports(call, query)
    ]


@route(
    "GET",
    "/reporting/active-users/periodic",
    access=Access.SECRET_KEY,
    scope=Scope.REPORTS_READ,
    query=ReportsQuery,
    answer=list[ActiveUserReportAnswer],
)
async def reporting_active_users(call: Call, query: ReportsQuery) -> list[ActiveUserReportAnswer]:
    """How many users were active, day by day.

    A report is made each day at 22:00 UTC. Both bounds are included.
    """
    return [
        ActiveUserReportAnswer(each.day.isoformat(), each.daily_active_users, each.weekly_active_users, each.users)
        for each in await _reports(call, query)
    ]


async def _reports(call: Call, query: ReportsQuery) -> Sequence[DailyReport]:
    return await report.list_reports(call, since=_day(query.from_), until=_day(query.to))
