"""The lists of authenticator models of the compatible API (its section 7.13)."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from narthex.http.authenticate import Access
from narthex.http.body import Rule, required
from narthex.http.routes.passwordless.shapes import AcceptLockOut, Answer, Request, instant_bare, told, uuid_of
from narthex.http.routing import route
from narthex.ports.records import ListedAuthenticator, Scope
from narthex.usecases import authenticator_policy
from narthex.usecases.call import Call

_MOST_AT_ONCE = 1_000


def _broken_aaguids(value: list[str | None] | None) -> str | None:
    if not value:
        return "The {} field is required."
    if len(value) > _MOST_AT_ONCE:
        return f"{{}} cannot hold more than {_MOST_AT_ONCE} AAGUIDs."
    if any(uuid_of(each) is None for each in value):
        return "{} must hold AAGUIDs in the form of UUIDs."
    return None


_AAGUIDS = Rule(_broken_aaguids, {"items": {"type": "string", "format": "uuid"}, "minItems": 1}, needed=True)
AaGuids = Annotated[list[str | None] | None, told("Models, as UUIDs.", ["2fc0579f-8113-47ea-b116-bb5a8db9202a"])]


class ListAuthenticatorsQuery(Request):
    """Which of the two lists."""

    is_allowed: Annotated[bool | None, told("True for the allow list, false for the deny list.", True)] = None

    rules: ClassVar = {"is_allowed": (required,)}


class AddAuthenticatorsBody(Request):
    """Models to allow, or to deny."""

    aa_guids: AaGuids = None
    is_allowed: Annotated[bool | None, told("True for the allow list; without it, the deny list.")] = False
    accept_lock_out: AcceptLockOut = None

    rules: ClassVar = {"aa_guids": (_AAGUIDS,)}


class RemoveAuthenticatorsBody(Request):
    """Models to take from the lists."""

    aa_guids: AaGuids = None
    accept_lock_out: AcceptLockOut = None

    rules: ClassVar = {"aa_guids": (_AAGUIDS,)}


class ListedAuthenticatorAnswer(Answer):
    """A model on a list."""

    aa_guid: Annotated[str, told("A UUID.", "2fc0579f-8113-47ea-b116-bb5a8db9202a")]
    created_at: Annotated[str, told("Since when, UTC without a zone.", "2026-01-02T03:04:05.123456")]


@route(
    "GET",
    "/authenticators/list",
    access=Access.SECRET_KEY,
    scope=Scope.AUTHENTICATORS_READ,
    query=ListAuthenticatorsQuery,
    answer=list[ListedAuthenticatorAnswer],
)
async def authenticators_list(call: Call, query: ListAuthenticatorsQuery) -> list[ListedAuthenticatorAnswer]:
    """The models that the application allows, or denies. An empty allow list allows every model."""
    listed = authenticator_policy.list_models(call, allowed=query.is_allowed is True)
    return [_listed(each) for each in listed]


@route(
    "POST",
    "/authenticators/add",
    access=Access.SECRET_KEY,
    scope=Scope.AUTHENTICATORS_WRITE,
    body=AddAuthenticatorsBody,
)
async def authenticators_add(call: Call, body: AddAuthenticatorsBody) -> None:
    """Put models on the allow list or on the deny list. A model that is on the other one changes lists.

    A model satisfies the allow list only with attestation that leads to a trusted root: an AAGUID alone is a claim.
    """
    accepted, allowed = body.accept_lock_out is True, body.is_allowed is True
    await authenticator_policy.add_models(call, _uuids(body.aa_guids), allowed=allowed, accept_lock_out=accepted)


@route(
    "POST",
    "/authenticators/remove",
    access=Access.SECRET_KEY,
    scope=Scope.AUTHENTICATORS_WRITE,
    body=RemoveAuthenticatorsBody,
)
async def authenticators_remove(call: Call, body: RemoveAuthenticatorsBody) -> None:
    """Take models from either list. Those that are on none are ignored."""
    accepted = body.accept_lock_out is True
    await authenticator_policy.remove_models(call, _uuids(body.aa_guids), accept_lock_out=accepted)


def _listed(each: ListedAuthenticator) -> ListedAuthenticatorAnswer:
    return ListedAuthenticatorAnswer(aa_guid=str(UUID(bytes=each.aaguid)), created_at=instant_bare(each.created_at))


def _uuids(texts: list[str | None] | None) -> list[UUID]:
    return [aaguid for text in texts or () if (aaguid := uuid_of(text)) is not None]
