"""Users in the compatible API (its sections 7.8 to 7.10), in portions, with a search, and one of them whole."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import at_most_characters, between, required
from narthex.http.routes.passwordless.alias import AliasAnswer, alias_answer
from narthex.http.routes.passwordless.credential import CredentialAnswer, credential_answer
from narthex.http.routes.passwordless.shapes import Answer, Request, UserId, instant_bare, told
from narthex.http.routing import route
from narthex.ports.records import Scope, UserSummary
from narthex.usecases import event_log, user
from narthex.usecases.alias import LONGEST_ALIAS
from narthex.usecases.call import Call
from narthex.usecases.user import MOST_USERS


class UserListQuery(Request):
    """Which users, and how many at once."""

    limit: Annotated[int | None, told("How many users the answer has at most; 1000 if left out.", 100)] = None
    cursor: Annotated[str | None, told("`nextCursor` of another answer, with the same search: goes on there.")] = None
    search: Annotated[
        str | None, told("The beginning of a user id in its very case, or a whole alias: finds both.", "user-")
    ] = None

    rules: ClassVar = {"limit": (between(1, MOST_USERS),), "search": (at_most_characters(LONGEST_ALIAS),)}


class UserGetQuery(Request):
    """Which user."""

    user_id: UserId = None

    rules: ClassVar = {"user_id": (required,)}


class DeleteUserBody(Request):
    """Who goes."""

    user_id: UserId = None

    rules: ClassVar = {"user_id": (required,)}


class UserAnswer(Answer):
    """A user in a list."""

    user_id: Annotated[str, told("Your own id of the user.", "user-1")]
    alias_count: int
    aliases: Annotated[list[str | None], told("Null for an alias that was hashed.", ["ann@example.com"])]
    credentials_count: int
    last_used_at: Annotated[
        str | None, told("When a passkey was used last, UTC without a zone.", "2026-01-02T03:04:05.123456")
    ]


class UserListAnswer(Answer):
    """Users in the order of their ids."""

    values: list[UserAnswer]
    next_cursor: Annotated[str | None, told("Where the next portion begins; null on the last one.")]


class UserCountAnswer(Answer):
    """How many there are."""

    count: Annotated[int, told("Users with one passkey or more.", 3)]


class UserGetAnswer(Answer):
    """All that is known of a user."""

    user_id: Annotated[str, told("Your own id of the user.", "user-1")]
    last_used_at: Annotated[
        str | None, told("When a passkey was used last, UTC without a zone.", "2026-01-02T03:04:05.123456")
    ]
    credentials: list[CredentialAnswer]
    aliases: list[AliasAnswer]
    events: Annotated[
        list[dict[str, Any]] | None,
        told("The last 20 by the user or about the user, newest first, as exports show them; null without a log."),
    ]


@route(
    "GET",
    "/users/list",
    access=Access.SECRET_KEY,
    scope=Scope.USERS_READ,
    query=UserListQuery,
    answer=UserListAnswer,
)
async def users_list(call: Call, query: UserListQuery) -> UserListAnswer:
    """Everybody who has a passkey or an alias, in the order of their ids.

    Users who come or go between two requests move nobody else: whoever stays is listed once.
    """
    most = query.limit or MOST_USERS
    page = await user.list_users(call, most=most, cursor=query.cursor, search=query.search or "")
    return UserListAnswer(values=[_listed(each) for each in page.users], next_cursor=page.next_cursor)


@route("GET", "/users/count", access=Access.SECRET_KEY, scope=Scope.USERS_READ, answer=UserCountAnswer)
async def users_count(call: Call) -> UserCountAnswer:
    """How many users have a passkey."""
    return UserCountAnswer(count=await call.store.count_users())


@route(
    "GET",
    "/users/get",
    access=Access.SECRET_KEY,
    scope=Scope.USERS_READ,
    query=UserGetQuery,
    answer=UserGetAnswer,
    may_miss=True,
)
async def users_get(call: Call, query: UserGetQuery) -> UserGetAnswer:
    """One user with passkeys, aliases and recent events."""
    found = await user.get_user(call, query.user_id or "")
    summary, app_id = found.summary, call.application.app_id
    return UserGetAnswer(
        user_id=summary.user_id,
        last_used_at=instant_bare(summary.last_used_at) if summary.last_used_at else None,
        credentials=[credential_answer(each) for each in found.credentials],
        aliases=[alias_answer(call, summary.user_id, each) for each in found.aliases],
        events=None if found.events is None else [event_log.exported(app_id, line) for line in found.events],
    )


@route("POST", "/users/delete", access=Access.SECRET_KEY, scope=Scope.USERS_WRITE, body=DeleteUserBody, status=200)
async def users_delete(call: Call, body: DeleteUserBody) -> None:
    """Delete all passkeys and aliases of a user. Nobody of this id is no error."""
    await user.remove_user(call, body.user_id or "")


def _listed(summary: UserSummary) -> UserAnswer:
    return UserAnswer(
        user_id=summary.user_id,
        alias_count=len(summary.aliases),
        aliases=list(summary.aliases),
        credentials_count=summary.credential_count,
        last_used_at=instant_bare(summary.last_used_at) if summary.last_used_at else None,
    )
