"""The life of an application in the compatible management API (its section 8): frozen, deleted, taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from narthex.base.errors import Rejected
from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.routes.passwordless.shapes import Answer, Request, told
from narthex.http.routing import route
from narthex.usecases import lifecycle
from narthex.usecases.application import ApplicationNotFound, get_application
from narthex.usecases.call import OperatorCall


class AppNotFound(Rejected):
    """There is no such application; a 400 where the compatible API answers so."""

    code = "app-not-found"
    advice = "check the id: it stands before the first colon of the application's keys"


class DeleteBody(Request):
    """Who deletes."""

    deleted_by: Annotated[str | None, told("For the event log.", "ann@example.org")] = None


class DeletionAnswer(Answer):
    """What became of the wish to delete, and whom to tell."""

    message: str
    is_deleted: bool
    delete_at: str
    admin_emails: list[str]


class MessageAnswer(Answer):
    """What was done."""

    message: str


@route("POST", "/admin/apps/{app_id}/freeze", access=Access.MANAGEMENT_KEY, may_miss=True)
async def freeze(call: OperatorCall, app_id: str) -> None:
    """Let none of the application's keys open anything."""
    await lifecycle.freeze(call, app_id)


@route("POST", "/admin/apps/{app_id}/unfreeze", access=Access.MANAGEMENT_KEY, may_miss=True)
async def unfreeze(call: OperatorCall, app_id: str) -> None:
    """Let the application's keys open again, and do not delete it."""
    await lifecycle.unfreeze(call, app_id)


@route("GET", "/admin/apps/{app_id}/can-delete-immediately", access=Access.MANAGEMENT_KEY, answer=bool)
async def can_delete_immediately(call: OperatorCall, app_id: str) -> bool:
    """Whether nothing is lost by it: the application is younger than three days, or nobody has a passkey."""
    with _unknown_is_400():
        return await lifecycle.can_delete_immediately(call, await get_application(call, app_id))


@route("POST", "/admin/apps/{app_id}/mark-delete", access=Access.MANAGEMENT_KEY, body=DeleteBody, answer=DeletionAnswer)
async def mark_delete(call: OperatorCall, body: DeleteBody, app_id: str) -> DeletionAnswer:
    """Delete the application at once where nothing is lost by it, else in a month. Till then its keys are locked."""
    by = (body.deleted_by or "").strip() or "Unknown User"
    with _unknown_is_400():
        return _deletion(await lifecycle.mark_for_deletion(call, app_id, by=by))


@route("POST", "/admin/apps/{app_id}/cancel-delete", access=Access.MANAGEMENT_KEY, answer=MessageAnswer, may_miss=True)
async def cancel_delete(call: OperatorCall, app_id: str) -> MessageAnswer:
    """Do not delete the application, and let its keys open again."""
    await lifecycle.cancel_deletion(call, app_id)
    return MessageAnswer(message="The application is not deleted, and its keys open again.")


@route("DELETE", "/admin/apps/{app_id}", access=Access.MANAGEMENT_KEY, answer=DeletionAnswer)
async def delete_application(call: OperatorCall, app_id: str) -> DeletionAnswer:
    """Delete an application whose time has come, with everything of it."""
    with _unknown_is_400():
        return _deletion(await lifecycle.delete_due(call, app_id))


@route("GET", "/apps/list-pending-deletion", access=Access.MANAGEMENT_KEY, answer=list[str])
async def list_pending_deletion(call: OperatorCall) -> list[str]:
    """The applications that are to be deleted, and whose time has come."""
    return await lifecycle.due_deletions(call)


@contextmanager
def _unknown_is_400() -> Iterator[None]:
    """Where the compatible API answers an unknown application with a 400."""
    try:
        yield
    except ApplicationNotFound as e:
        raise AppNotFound(e.message) from e


def _deletion(deletion: lifecycle.Deletion) -> DeletionAnswer:
    delete_at = instant_z(deletion.delete_at)
    return DeletionAnswer(
        message="The application is deleted." if deletion.is_deleted else f"The application is deleted at {delete_at}.",
        is_deleted=deletion.is_deleted,
        delete_at=delete_at,
        admin_emails=list(deletion.admin_emails),
    )
