"""Users: whoever has a passkey or an alias. Nothing else makes one, and nothing else is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Final

from narthex.base.errors import Malformed, NotFound, quoted
from narthex.ports.changes import RemoveUser, ReplaceAliases
from narthex.ports.records import Alias, Credential, Event, EventFilter, EventType, UserSummary
from narthex.usecases.alias import LONGEST_ALIAS, alias_mac, alias_records, check_aliases
from narthex.usecases.call import Call
from narthex.usecases.credential import credentials_of
from narthex.usecases.cursor import open_cursor, seal_cursor
from narthex.usecases.event import log

LONGEST_USER_ID_BYTES: Final = 64
"""That of a user handle (L3 #user-handle)."""
MOST_USERS: Final = 1_000
"""In one portion of the list."""
MOST_RECENT_EVENTS: Final = 20


class UserIdInvalid(Malformed):
    """A user id is 1 to 64 bytes in UTF-8, and not blank: it travels inside passkeys, which hold no more."""

    code, spec = "user-id-invalid", "WebAuthn L3 #user-handle"
    advice = "use an id of 64 bytes at most that never changes, such as the primary key of your own table"


class UserNotFound(NotFound):
    """The application has no such user: nobody of this id has a passkey or an alias."""

    code = "user-not-found"
    advice = "list the users of the application: ids are compared exactly, also their case"


@dataclass(frozen=True, slots=True)
class UserPage:
    """A portion of the users."""

    users: Sequence[UserSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class User:
    """All that is known of a user."""

    summary: UserSummary
    credentials: Sequence[Credential]
    aliases: Sequence[Alias]
    events: Sequence[Event] | None
    """The last ones by the user or about the user, newest first; None where the application keeps no log."""


def check_user_id(user_id: str) -> None:
    """
    Raises:
        UserIdInvalid.
    """
    if not user_id.strip():
        raise UserIdInvalid("the user id is blank")
    if len(user_id.encode()) > LONGEST_USER_ID_BYTES:
        raise UserIdInvalid(f"user id {quoted(user_id)} is longer than {LONGEST_USER_ID_BYTES} bytes")


async def list_users(call: Call, *, most: int = MOST_USERS, cursor: str | None = None, search: str = "") -> UserPage:
    """A portion of the users, in the order of their ids.

    What happens between two portions moves none of the users who stay: each is listed once.

    Args:
        search: only those whose id begins so, and before them the one who bears this very alias.

    Raises:
        InvalidCursor.
    """
    app_id, name = call.application.app_id, f"users {search}"
    after = open_cursor(call.keyring, app_id, name, cursor, str)
    first = await _bearer(call, search) if after is None and 0 < len(search) <= LONGEST_ALIAS else []
    found = [*first, *await call.store.list_users(after=after, most=most + 1 - len(first), prefix=search)]
    if len(found) <= most:
        return UserPage(found, None)
    listed = found[:most]
    # Behind the bearer alone, the list proper has not begun.
    last = "" if listed == first else listed[-1].user_id
    return UserPage(listed, seal_cursor(call.keyring, app_id, name, last))


async def _bearer(call: Call, alias: str) -> list[UserSummary]:
    """Who bears an alias, unless the list of ids that begin like it names that user anyway."""
    user_id = await call.store.find_alias_user(alias_mac(call, alias))
    if user_id is None or user_id.startswith(alias):
        return []
    bearer = await call.store.find_user(user_id)
    return [] if bearer is None else [bearer]


async def get_user(call: Call, user_id: str) -> User:
    """
    Raises:
        UserNotFound.
    """
    summary = await call.store.find_user(user_id)
    if summary is None:
        raise UserNotFound(f"there is no user {quoted(user_id)}")
    return User(
        summary=summary,
        credentials=await credentials_of(call.store, user_id),
        aliases=await call.store.list_aliases(user_id),
        events=await _recent_events(call, user_id) if call.application.settings.event_logging else None,
    )


async def _recent_events(call: Call, user_id: str) -> list[Event]:
    lists = [
        await call.store.list_events(which=which, before=None, most=MOST_RECENT_EVENTS)
        for which in (EventFilter(subject=user_id), EventFilter(performed_by=user_id))
    ]
    newest_first = merge(*lists, key=lambda line: line.event_id, reverse=True)
    # What users do to themselves stands in both lists.
    by_id = {line.event_id: line for line in newest_first}
    return list(by_id.values())[:MOST_RECENT_EVENTS]


async def set_aliases(call: Call, user_id: str, aliases: Sequence[str], *, hashing: bool) -> None:
    """Give a user exactly these aliases; none takes all away.

    Args:
        hashing: keep them so that nobody can read them.

    Raises:
        UserIdInvalid, AliasTaken, and what `check_aliases` raises.
    """
    check_user_id(user_id)
    records = alias_records(call, check_aliases(aliases), hashing=hashing)
    message = f"aliases set: {len(records)} in all"
    await call.store.commit(
        ReplaceAliases(user_id=user_id, aliases=records),
        *log(call, EventType.ApiUserSetAliases, message, performed_by=user_id, subject=user_id),
    )


async def remove_user(call: Call, user_id: str) -> None:
    """Take all passkeys and aliases of a user away. One who has none is no error: nobody of this id is left."""
    await call.store.commit(
        RemoveUser(user_id=user_id),
        *log(call, EventType.ApiUserDeleted, "user deleted", performed_by="System", subject=user_id),
    )
