"""What applications had at the ends of days."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from narthex.adapters.sql.encoding import EPOCH
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import KeepReport
from narthex.ports.records import DailyReport

_FIRST_DAY: Final = EPOCH.date()
LIST = TenantStatement("""
    select day, users, credentials, daily_active_users, weekly_active_users from daily_report
    where app_id = :app_id and day >= :since and day <= :until order by day
""")
_KEEP = TenantStatement("""
    insert into daily_report (app_id, day, users, credentials, daily_active_users, weekly_active_users)
    values (:app_id, :day, :users, :credentials, :daily_active_users, :weekly_active_users)
    on conflict do nothing
""")


def to_days(day: date) -> int:
    """
    >>> to_days(date(1970, 1, 2)), to_days(date(1969, 12, 31))
    (1, -1)
    """
    return (day - _FIRST_DAY).days


def from_row(row: Row) -> DailyReport:
    day, users, credentials, daily_active_users, weekly_active_users = row
    return DailyReport(_FIRST_DAY + timedelta(days=day), users, credentials, daily_active_users, weekly_active_users)


def _keep(app_id: str, change: KeepReport) -> list[Step]:
    report = change.report
    bound = _KEEP.bind(
        app_id,
        day=to_days(report.day),
        users=report.users,
        credentials=report.credentials,
        daily_active_users=report.daily_active_users,
        weekly_active_users=report.weekly_active_users,
    )
    return [(_KEEP, bound)]


CHANGES: Plans = {KeepReport: Plan(_keep)}
