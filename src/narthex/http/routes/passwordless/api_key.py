"""The keys of an application in the compatible management API (its section 8), and what each is good for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.body import between
from narthex.http.routes.passwordless.shapes import INSTANT, Answer, Request, instant_bare, instant_of, told
from narthex.http.routing import route
from narthex.ports.records import ApiKey, Application, KeyKind
from narthex.usecases import api_key
from narthex.usecases.api_key import KeyTerms, is_open, scopes_from
from narthex.usecases.application import get_application
from narthex.usecases.call import OperatorCall

_MASKED = "*" * 28
_KIND_NUMBERS = {KeyKind.PUBLIC: 1, KeyKind.SECRET: 2}
_DAY_S = 86_400


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
