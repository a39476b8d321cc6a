"""Aliases in the compatible API (its sections 7.4 and 7.5)."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, ClassVar

from narthex.http.authenticate import Access
from narthex.http.body import at_most_bytes, required
from narthex.http.routes.passwordless.registration import ALIASES
from narthex.http.routes.passwordless.shapes import Answer, Request, UserId, told
from narthex.http.routing import route
from narthex.ports.records import Alias, Scope
from narthex.usecases import user
from narthex.usecases.alias import listed_hash
from narthex.usecases.call import Call
from narthex.usecases.user import LONGEST_USER_ID_BYTES


class AliasBody(Request):
    """The aliases of a user, all of them."""

    user_id: UserId = None
    aliases: Annotated[
        list[str | None] | None,
        told("Other names to sign in by, compared exactly. They replace the ones the user has.", ["ann@example.com"]),
    ] = None
    hashing: Annotated[bool | None, told("Whether aliases are kept so that nobody can read them.")] = True

    rules: ClassVar = {"user_id": (required, at_most_bytes(LONGEST_USER_ID_BYTES)), "aliases": (required, ALIASES)}


class AliasListQuery(Request):
    """Whose aliases."""

    user_id: UserId = None

    rules: ClassVar = {"user_id": (required,)}


class AliasAnswer(Answer):
    """An alias of a user."""

    user_id: Annotated[str, told("Whose it is.", "user-1")]
    alias: Annotated[str, told("SHA-256 of the application's id and the alias, standard base64.")]
    plaintext: Annotated[str | None, told("The alias itself; null where it was hashed.", "ann@example.com")]
    tenant: Annotated[str, told("The application.", "demo")]


class AliasListAnswer(Answer):
    """The aliases of a user."""

    values: list[AliasAnswer]


@route("POST", "/alias", access=Access.SECRET_KEY, scope=Scope.ALIASES_WRITE, body=AliasBody)
async def alias(call: Call, body: AliasBody) -> None:
    """Give a user exactly these aliases. An empty list takes all away.

    Aliases are compared exactly. One that would look like another is refused: white space at its ends, characters
    that nobody sees, another spelling than NFC, words that mix alphabets which look alike.
    """
    names = [each for each in body.aliases or () if each is not None]
    await user.set_aliases(call, body.user_id or "", names, hashing=body.hashing is not False)


@route(
    "GET",
    "/alias/list",
    access=Access.SECRET_KEY,
    scope=Scope.ALIASES_READ,
    query=AliasListQuery,
    answer=AliasListAnswer,
)
async def alias_list(call: Call, query: AliasListQuery) -> AliasListAnswer:
    """The aliases of a user; none for a user who is unknown."""
    user_id = query.user_id or ""
    return AliasListAnswer([alias_answer(call, user_id, each) for each in await call.store.list_aliases(user_id)])


def alias_answer(call: Call, user_id: str, kept: Alias) -> AliasAnswer:
    """An alias as lists show it."""
    name = b64encode(listed_hash(call, kept)).decode()
    return AliasAnswer(user_id=user_id, alias=name, plaintext=kept.plaintext, tenant=call.application.app_id)
