"""The end of an application: frozen, marked for deletion, deleted; and the way back.

A frozen application's keys open nothing, and neither do those of one that is to be deleted. Each key keeps its own
lock meanwhile: whoever locked one because it leaked finds it locked after the freeze (the reference unlocks them all).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta
from typing import Final

import msgspec

from narthex.base.errors import Rejected, quoted
from narthex.ports.changes import Change, ScheduleDeletion, SetFrozen
from narthex.ports.records import Application, EventType
from narthex.usecases.application import get_application
from narthex.usecases.call import OperatorCall
from narthex.usecases.event import operator_log

_YOUNG: Final = timedelta(days=3)


class DeletionPending(Rejected):
    """The application is marked for deletion already."""

    code = "app-pending-deletion"
    advice = "wait for the deletion, or cancel it"


class DeletionNotPending(Rejected):
    """The application is not marked for deletion, or its time has not come."""

    code = "app-not-pending-deletion"
    advice = "mark the application for deletion, and come back when its time has come"


class Deletion(msgspec.Struct, frozen=True):
    """What became of a wish to delete."""

    is_deleted: bool
    delete_at: datetime
    admin_emails: tuple[str, ...]


async def freeze(call: OperatorCall, app_id: str) -> None:
    """Let none of the application's keys open anything.

    Raises:
        ApplicationNotFound.
    """
    application = await get_application(call, app_id)
    frozen_at = application.frozen_at or call.now
    await _commit(call, application, EventType.ApiManagementAppFrozen, "application frozen", SetFrozen(frozen_at))


async def unfreeze(call: OperatorCall, app_id: str) -> None:
    """Let its keys open again, and do not delete it.

    Raises:
        ApplicationNotFound.
    """
    application = await get_application(call, app_id)
    reopened = (SetFrozen(None), ScheduleDeletion(None))
    await _commit(call, application, EventType.ApiManagementAppUnfrozen, "application unfrozen", *reopened)


async def can_delete_immediately(call: OperatorCall, application: Application) -> bool:
    """Whether nothing is lost by it: the application is younger than three days, or nobody has a credential."""
    if call.now - application.created_at < _YOUNG:
        return True
    return not await call.root.tenant(application.app_id).has_users(1)


async def mark_for_deletion(call: OperatorCall, app_id: str, *, by: str) -> Deletion:
    """Delete the application: at once where nothing is lost by it, else in a month. Its keys open nothing till then.

    Raises:
        ApplicationNotFound, DeletionPending.
    """
    application = await get_application(call, app_id)
    if application.delete_at is not None:
        raise DeletionPending(f"application {quoted(app_id)} is marked for deletion already")
    immediately = await can_delete_immediately(call, application)
    delete_at = call.now if immediately else in_a_month(call.now)
    message = f"application marked for deletion at {delete_at:%Y-%m-%d %H:%M} UTC"
    marked = EventType.ApiManagementAppMarkedForDeletion
    await _commit(call, application, marked, message, ScheduleDeletion(delete_at), by=by)
    if immediately:
        await erase(call, app_id)
    return Deletion(immediately, delete_at, application.settings.admin_emails)


async def cancel_deletion(call: OperatorCall, app_id: str) -> None:
    """Do not delete the application, and let its keys open again.

    Raises:
        ApplicationNotFound.
    """
    application = await get_application(call, app_id)
    message, reopened = "deletion cancelled", (SetFrozen(None), ScheduleDeletion(None))
    await _commit(call, application, EventType.ApiManagementAppDeletionCancelled, message, *reopened)


async def delete_due(call: OperatorCall, app_id: str) -> Deletion:
    """Delete an application whose time has come.

    Raises:
        ApplicationNotFound, DeletionNotPending.
    """
    application = await get_application(call, app_id)
    if application.delete_at is None or application.delete_at > call.now:
        raise DeletionNotPending(f"application {quoted(app_id)} is not to be deleted now")
    await erase(call, app_id)
    return Deletion(True, application.delete_at, application.settings.admin_emails)


async def due_deletions(call: OperatorCall) -> list[str]:
    """The applications whose time has come."""
    return [app_id for app_id, delete_at in await call.root.list_scheduled_deletions() if delete_at <= call.now]


async def erase(call: OperatorCall, app_id: str) -> None:
    """Delete everything of an application.

    Raises:
        DeletionNotPending: somebody cancelled the deletion meanwhile; what was not deleted yet stays.
    """
    is_gone = await call.root.erase_application(app_id)
    call.directory.forget(app_id)
    if not is_gone:
        raise DeletionNotPending(f"the deletion of {quoted(app_id)} was cancelled while it was under way")


def in_a_month(now: datetime) -> datetime:
    """The same day of the next month, or its last one.

    >>> in_a_month(datetime(2026, 1, 31)).isoformat()
    '2026-02-28T00:00:00'
    """
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return now.replace(year=year, month=month, day=min(now.day, monthrange(year, month)[1]))


async def _commit(
    call: OperatorCall,
    application: Application,
    event_type: EventType,
    message: str,
    *changes: Change,
    by: str = "System",
) -> None:
    lines = operator_log(call, application, event_type, message, by=by)
    await call.root.tenant(application.app_id).commit(*changes, *lines)
    call.directory.forget(application.app_id)
