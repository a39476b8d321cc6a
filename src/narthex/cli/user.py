"""Users at the command line: whoever has a passkey or an alias in an application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

from narthex.cli.credential import print_credentials
from narthex.cli.operator import (
    AsJson,
    Config,
    Cursor,
    Name,
    UserId,
    Yes,
    counted,
    minute,
    operate_within,
    print_answer,
    print_json,
    print_members,
    print_table,
    printable,
    require_agreement,
)

if TYPE_CHECKING:
    from narthex.usecases.call import Call
    from narthex.usecases.user import User, UserPage

users = App(name="user", help="The users of an application.")


@users.command(name="list")
def list_(
    name: Name,
    /,
    *,
    search: Annotated[
        str | None,
        Parameter(help="The beginning of a user id, or a whole alias: finds both.", allow_leading_hyphen=True),
    ] = None,
    limit: Annotated[
        int, Parameter(help="How many users at most.", validator=validators.Number(gte=1, lte=1_000))
    ] = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Print users in the order of their ids, with how many passkeys each has."""
    from narthex.http.routes.passwordless.user import UserListQuery, users_list
    from narthex.usecases import user

    if as_json:
        query = UserListQuery(limit=limit, cursor=cursor, search=search)
        print_answer(operate_within(config, name, lambda call: users_list(call, query)))
        return

    async def act(call: Call) -> UserPage:
        return await user.list_users(call, most=limit, cursor=cursor, search=search or "")

    page = operate_within(config, name, act)
    if not page.users:
        print("There is nobody." if search is None else "There is nobody of this name.")
        return
    print_table(
        ("PASSKEYS", "LAST USED", "USER", "ALIASES"),
        (
            (
                each.credential_count,
                minute(each.last_used_at),
                each.user_id,
                ["(hashed)" if alias is None else alias for alias in each.aliases],
            )
            for each in page.users
        ),
    )
    if page.next_cursor is not None:
        print(f"There are more: add `--cursor {page.next_cursor}`.")


@users.command
def show(name: Name, user_id: UserId, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print all that is known of a user: passkeys, aliases, and the last events."""
    from narthex.http.routes.passwordless.user import UserGetQuery, users_get
    from narthex.usecases import user

    if as_json:
        query = UserGetQuery(user_id=user_id)
        print_answer(operate_within(config, name, lambda call: users_get(call, query)))
        return

    async def act(call: Call) -> User:
        return await user.get_user(call, user_id)

    found = operate_within(config, name, act)
    aliases = ["(hashed)" if alias is None else alias for alias in found.summary.aliases]
    print_members(
        {"user": found.summary.user_id, "aliases": aliases, "last_used_at": minute(found.summary.last_used_at)}
    )
    if found.credentials:
        print()
        print_credentials(found.credentials)
    if found.events:
        print()
        print_table(
            ("AT", "EVENT", "BY", "MESSAGE"),
            (
                (minute(line.performed_at), line.event_type.name, line.performed_by, line.message)
                for line in found.events
            ),
        )


@users.command
def delete(name: Name, user_id: UserId, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None) -> None:
    """Delete all passkeys and aliases of a user, which is all that there is of one."""
    from narthex.usecases import user

    async def look(call: Call) -> User:
        return await user.get_user(call, user_id)

    found = operate_within(config, name, look)
    credentials, aliases = len(found.credentials), len(found.aliases)
    losses = f"{counted(credentials, 'passkey')} and {_aliases(aliases)}"
    require_agreement(f"User {printable(user_id)} of {name} has {losses}. Delete them for good?", yes=yes)

    async def act(call: Call) -> None:
        await user.remove_user(call, user_id)

    operate_within(config, name, act)
    if as_json:
        print_json({"user_id": user_id, "credentials_deleted": credentials, "aliases_deleted": aliases})
        return
    print(f"User {printable(user_id)} is deleted, with {losses}.")


def _aliases(number: int) -> str:
    return "1 alias" if number == 1 else f"{number} aliases"
