"""The life of an application and of its keys, in the compatible management API (its section 8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, TypeVar

from narthex.base.errors import Rejected
from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.body import between
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.shapes import INSTANT, Answer, Request, instant_bare, instant_of, told
from narthex.http.routing import route
from narthex.ports.records import ApiKey, Application, KeyKind
from narthex.usecases import api_key, lifecycle
from narthex.usecases.api_key import KeyTerms, is_open, scopes_from
from narthex.usecases.application import (
    ApplicationNotFound,
    InvalidApplicationId,
    change_settings,
    check_app_id,
    get_application,
)
from narthex.usecases.call import OperatorCall

_MOST_RETENTION_DAYS = 90
_INT32_MOST = 2**31 - 1
_MASKED = "*" * 28
_KIND_NUMBERS = {KeyKind.PUBLIC: 1, KeyKind.SECRET: 2}
_DAY_S = 86_400

Done = TypeVar("Done")


class AppNotFound(Rejected):
    """There is no such application; a 400 where the compatible API answers so."""

    code = "app-not-found"
    advice = "check the id: it stands before the first colon of the application's keys"


class AvailableAnswer(Answer):
    """Whether an id is free."""

    available: bool


class FeaturesAnswer(Answer):
    """What an application is allowed."""

    event_logging_is_enabled: bool
    event_logging_retention_period: int
    developer_logging_ends_at: str | None
    max_users: int | None
    allow_attestation: bool
    is_generate_sign_in_token_endpoint_enabled: bool
    is_magic_links_enabled: bool
    magic_link_email_monthly_quota: int


class ManagedFeaturesBody(Request):
    """What an application is allowed, as a whole: what is left out is off."""

    event_logging_is_enabled: bool | None = False
    event_logging_retention_period: int | None = 0
    magic_link_email_monthly_quota: int | None = 0
    max_users: int | None = None
    allow_attestation: bool | None = False

    rules: ClassVar = {
        "event_logging_retention_period": (between(0, _MOST_RETENTION_DAYS),),
        "magic_link_email_monthly_quota": (between(0, _INT32_MOST),),
        "max_users": (between(0, _INT32_MOST),),
    }


class KeyBody(Request):
    """What a key is to be good for."""

    scopes: Annotated[list[str | None] | None, told("Names; or the compatible API's numbers, 0 and 1.")] = None
    name: Annotated[str | None, told("What people call it.", "shop backend")] = None
    networks: Annotated[list[str | None] | None, told("Where it may be used; empty for anywhere.")] = None
    expires_at: Annotated[str | None, told("When it ends, ISO 8601; null for never.")] = None

    rules: ClassVar = {"expires_at": (INSTANT,)}


class RotateBody(Request):
    """How long the old key goes on."""

    overlap_seconds: Annotated[int | None, told("For how long both keys open. Default: a day.", _DAY_S)] = _DAY_S

    rules: ClassVar = {"overlap_seconds": (between(0, api_key.LONGEST_OVERLAP // timedelta(seconds=1)),)}


class NewKeyAnswer(Answer):
    """A new key, whole: a secret one is never shown again."""

    api_key: str


class RotatedKeyAnswer(Answer):
    """The new key, and when the old one ends."""

    api_key: str
    old_key_expires_at: str


class ApiKeyAnswer(Answer):
    """A key in a listing. A secret one is masked."""

    id: str
    created_at: str
    api_key: str
    type: int
    scopes: list[str]
    is_locked: bool
    last_locked_at: str | None
    name: str
    is_legacy: bool
    expires_at: str | None
    last_used_at: str | None
    networks: list[str]


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


# --- applications ---------------------------------------------------------------------------------------------------


@route("GET", "/admin/apps/{app_id}/available", access=Access.MANAGEMENT_KEY, answer=AvailableAnswer)
async def available(call: OperatorCall, app_id: str) -> AvailableAnswer:
    """Whether an application could be made under this id."""
    try:
        check_app_id(app_id)
    except InvalidApplicationId as e:
        raise ValidationFailed(
            {"appId": ["AppId must be 3 to 62 lower-case letters and digits, a letter first."]}
        ) from e
    return AvailableAnswer(available=await call.root.tenant(app_id).find_application() is None)


@route("POST", "/admin/apps/{app_id}/freeze", access=Access.MANAGEMENT_KEY, may_miss=True)
async def freeze(call: OperatorCall, app_id: str) -> None:
    """Let none of the application's keys open anything."""
    await lifecycle.freeze(call, app_id)


@route("POST", "/admin/apps/{app_id}/unfreeze", access=Access.MANAGEMENT_KEY, may_miss=True)
async def unfreeze(call: OperatorCall, app_id: str) -> None:
    """Let the application's keys open again, and do not delete it."""
    await lifecycle.unfreeze(call, app_id)


@route("GET", "/admin/apps/{app_id}/features", access=Access.MANAGEMENT_KEY, answer=FeaturesAnswer, may_miss=True)
async def get_features(call: OperatorCall, app_id: str) -> FeaturesAnswer:
    """What the application is allowed."""
    settings = (await get_application(call, app_id)).settings
    return FeaturesAnswer(
        event_logging_is_enabled=settings.event_logging,
        event_logging_retention_period=settings.event_retention_days,
        developer_logging_ends_at=None,
        max_users=settings.max_users,
        allow_attestation=settings.allow_attestation,
        is_generate_sign_in_token_endpoint_enabled=settings.manual_tokens,
        is_magic_links_enabled=settings.magic_links,
        magic_link_email_monthly_quota=settings.magic_link_monthly_quota,
    )


@route("POST", "/admin/apps/{app_id}/features", access=Access.MANAGEMENT_KEY, body=ManagedFeaturesBody, may_miss=True)
async def set_features(call: OperatorCall, body: ManagedFeaturesBody, app_id: str) -> None:
    """Decide anew what the application is allowed, as a whole."""
    await change_settings(
        call,
        app_id,
        event_logging=body.event_logging_is_enabled is True,
        event_retention_days=body.event_logging_retention_period or 0,
        magic_link_monthly_quota=body.magic_link_email_monthly_quota or 0,
        max_users=body.max_users,
        allow_attestation=body.allow_attestation is True,
    )


@route("GET", "/admin/apps/{app_id}/can-delete-immediately", access=Access.MANAGEMENT_KEY, answer=bool)
async def can_delete_immediately(call: OperatorCall, app_id: str) -> bool:
    """Whether nothing is lost by it: the application is younger than three days, or nobody has a passkey."""
    return await lifecycle.can_delete_immediately(call, await _or_400(get_application, call, app_id))


@route("POST", "/admin/apps/{app_id}/mark-delete", access=Access.MANAGEMENT_KEY, body=DeleteBody, answer=DeletionAnswer)
async def mark_delete(call: OperatorCall, body: DeleteBody, app_id: str) -> DeletionAnswer:
    """Delete the application at once where nothing is lost by it, else in a month. Till then its keys are locked."""
    by = (body.deleted_by or "").strip() or "Unknown User"

    async def mark(call: OperatorCall, app_id: str) -> lifecycle.Deletion:
        return await lifecycle.mark_for_deletion(call, app_id, by=by)

    return _deletion(await _or_400(mark, call, app_id))


@route("POST", "/admin/apps/{app_id}/cancel-delete", access=Access.MANAGEMENT_KEY, answer=MessageAnswer, may_miss=True)
async def cancel_delete(call: OperatorCall, app_id: str) -> MessageAnswer:
    """Do not delete the application, and let its keys open again."""
    await lifecycle.cancel_deletion(call, app_id)
    return MessageAnswer(message="The application is not deleted, and its keys open again.")


@route("DELETE", "/admin/apps/{app_id}", access=Access.MANAGEMENT_KEY, answer=DeletionAnswer)
async def delete_application(call: OperatorCall, app_id: str) -> DeletionAnswer:
    """Delete an application whose time has come, with everything of it."""
    return _deletion(await _or_400(lifecycle.delete_due, call, app_id))


@route("GET", "/apps/list-pending-deletion", access=Access.MANAGEMENT_KEY, answer=list[str])
async def list_pending_deletion(call: OperatorCall) -> list[str]:
    """The applications that are to be deleted, and whose time has come."""
    return await lifecycle.due_deletions(call)


# --- keys -----------------------------------------------------------------------------------------------------------


@route(
    "POST",
    "/admin/apps/{app_id}/public-keys",
    access=Access.MANAGEMENT_KEY,
    body=KeyBody,
    answer=NewKeyAnswer,
    may_miss=True,
)
async def create_public_key(call: OperatorCall, body: KeyBody, app_id: str) -> NewKeyAnswer:
    """Make another public key."""
    return await _create(call, app_id, KeyKind.PUBLIC, body)


@route(
    "POST",
    "/admin/apps/{app_id}/secret-keys",
    access=Access.MANAGEMENT_KEY,
    body=KeyBody,
    answer=NewKeyAnswer,
    may_miss=True,
)
async def create_secret_key(call: OperatorCall, body: KeyBody, app_id: str) -> NewKeyAnswer:
    """Make another secret key. One whose scopes are numbers may do what the reference lets any secret key do."""
    return await _create(call, app_id, KeyKind.SECRET, body)


@route("GET", "/admin/apps/{app_id}/api-keys", access=Access.MANAGEMENT_KEY, answer=list[ApiKeyAnswer], may_miss=True)
async def list_api_keys(call: OperatorCall, app_id: str) -> list[ApiKeyAnswer]:
    """The keys of the application."""
    application = await get_application(call, app_id)
    return [key_answer(application, key, now=call.now) for key in await api_key.list_keys(call, application)]


@route("POST", "/admin/apps/{app_id}/api-keys/{key_id}", access=Access.MANAGEMENT_KEY, body=KeyBody, may_miss=True)
async def revise_api_key(call: OperatorCall, body: KeyBody, app_id: str, key_id: str) -> None:
    """Decide anew, and as a whole, what a key is good for. It is no legacy key from then on."""
    application = await get_application(call, app_id)
    terms = _terms(api_key.get_key(application, key_id).kind, body)
    await api_key.revise_key(call, application, key_id, terms)


@route("POST", "/admin/apps/{app_id}/api-keys/{key_id}/lock", access=Access.MANAGEMENT_KEY, may_miss=True)
async def lock_api_key(call: OperatorCall, app_id: str, key_id: str) -> None:
    """Let a key open nothing. Every node heeds it within a second."""
    await api_key.lock_key(call, await get_application(call, app_id), key_id, locked=True)


@route("POST", "/admin/apps/{app_id}/api-keys/{key_id}/unlock", access=Access.MANAGEMENT_KEY, may_miss=True)
async def unlock_api_key(call: OperatorCall, app_id: str, key_id: str) -> None:
    """Let a key open again."""
    await api_key.lock_key(call, await get_application(call, app_id), key_id, locked=False)


@route(
    "POST",
    "/admin/apps/{app_id}/api-keys/{key_id}/rotate",
    access=Access.MANAGEMENT_KEY,
    body=RotateBody,
    answer=RotatedKeyAnswer,
    may_miss=True,
)
async def rotate_api_key(call: OperatorCall, body: RotateBody, app_id: str, key_id: str) -> RotatedKeyAnswer:
    """Make a successor that is good for the same; the old key goes on opening for a while."""
    overlap = timedelta(seconds=_DAY_S if body.overlap_seconds is None else body.overlap_seconds)
    application = await get_application(call, app_id)
    key, ends_at = await api_key.rotate_key(call, application, key_id, overlap=overlap)
    return RotatedKeyAnswer(api_key=str(key), old_key_expires_at=instant_z(ends_at))


@route("DELETE", "/admin/apps/{app_id}/api-keys/{key_id}", access=Access.MANAGEMENT_KEY, may_miss=True)
async def delete_api_key(call: OperatorCall, app_id: str, key_id: str) -> None:
    """Delete a key."""
    await api_key.remove_key(call, await get_application(call, app_id), key_id)


def key_answer(application: Application, key: ApiKey, *, now: datetime) -> ApiKeyAnswer:
    """A key as listings show it."""
    expired = key.expires_at is not None and key.expires_at <= now
    return ApiKeyAnswer(
        id=key.hint,
        created_at=instant_bare(key.created_at),
        api_key=key.value or f"{application.app_id}:secret:{_MASKED}{key.hint}",
        type=_KIND_NUMBERS[key.kind],
        scopes=sorted(key.scopes),
        is_locked=not (is_open(key, application, now=now) or expired),
        last_locked_at=instant_bare(key.last_locked_at) if key.last_locked_at else None,
        name=key.name,
        is_legacy=key.legacy,
        expires_at=instant_z(key.expires_at) if key.expires_at else None,
        last_used_at=instant_z(key.last_used_at) if key.last_used_at else None,
        networks=list(key.networks),
    )


async def _create(call: OperatorCall, app_id: str, kind: KeyKind, body: KeyBody) -> NewKeyAnswer:
    application = await get_application(call, app_id)
    return NewKeyAnswer(api_key=str(await api_key.create_key(call, application, kind, _terms(kind, body))))


def _terms(kind: KeyKind, body: KeyBody) -> KeyTerms:
    named = scopes_from(kind, [scope for scope in body.scopes or () if scope is not None])
    return KeyTerms(
        scopes=named.scopes,
        name=body.name or "",
        networks=tuple(network for network in body.networks or () if network is not None),
        expires_at=instant_of(body.expires_at),
        legacy=named.legacy,
    )


async def _or_400(act: Callable[[OperatorCall, str], Awaitable[Done]], call: OperatorCall, app_id: str) -> Done:
    """An act whose refusal of an unknown application is a 400 in the compatible API."""
    try:
        return await act(call, app_id)
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
