"""Daily reports: how many users and credentials an application has, and how many users were active.

One row a day for each application, made at the hour of the job. A report that is made late, because no server ran at
that hour, counts what there is when it is made: what there was cannot be asked any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from narthex.ports.changes import KeepReport
from narthex.ports.records import DailyReport
from narthex.usecases.call import Call, OperatorCall

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


async def list_reports(call: Call, *, since: date | None, until: date | None) -> Sequence[DailyReport]:
    """The reports of an application in the order of their days, both bounds included."""
    return await call.store.list_reports(since=since, until=until)


async def keep_report(call: OperatorCall, app_id: str, *, due_at: datetime) -> bool:
    """Make an application's report of a day, unless there is one already.

    Args:
        due_at: when the report was to be made, on its day.

    Returns:
        False for an application that did not exist then, or exists no longer.
    """
    store = call.root.tenant(app_id)
    application = await store.find_application()
    if application is None or application.created_at > due_at:
        return False
    report = DailyReport(
        day=due_at.date(),
        users=await store.count_users(),
        credentials=await store.count_credentials(),
        daily_active_users=await store.count_active_users(since=call.now - _DAY),
        weekly_active_users=await store.count_active_users(since=call.now - _WEEK),
    )
    await store.commit(KeepReport(report=report))
    return True
