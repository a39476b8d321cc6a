"""The aliases of users at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    UserId,
    Yes,
    operate_within,
    print_answer,
    print_table,
    printable,
    require_agreement,
)

if TYPE_CHECKING:
    from narthex.http.routes.passwordless.alias import AliasListAnswer
    from narthex.usecases.call import Call

aliases = App(name="alias", help="Other names that users sign in by.")


@aliases.command(name="list")
def list_(name: Name, user_id: UserId, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print a user's aliases. Of one that was hashed, only the hash is known."""
    answer = operate_within(config, name, lambda call: _listed(call, user_id))
    if as_json:
        print_answer(answer)
        return
    if not answer.values:
        print(f"User {printable(user_id)} has no alias.")
        return
    print_table(("ALIAS", "HASH"), ((each.plaintext or "(hashed)", each.alias) for each in answer.values))


@aliases.command(name="set")
def set_(
    name: Name,
    user_id: UserId,
    /,
    *named: Annotated[
        str, Parameter(name="ALIAS", help="The aliases, all of them; none takes all away.", allow_leading_hyphen=True)
    ],
    plain: Annotated[
        bool, Parameter(help="Keep them as they are, so that lists show them and notices reach them.", negative="")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Give a user exactly these aliases, instead of those there are. They are kept as hashes, unless --plain."""
    from narthex.usecases.user import set_aliases

    had = len(operate_within(config, name, lambda call: _listed(call, user_id)).values)
    if had:
        those = "alias, which goes" if had == 1 else "aliases, which go"
        require_agreement(
            f"User {printable(user_id)} has {had} {those} unless named here again. Replace what there is?", yes=yes
        )

    async def act(call: Call) -> AliasListAnswer:
        await set_aliases(call, user_id, named, hashing=not plain)
        return await _listed(call, user_id)

    answer = operate_within(config, name, act)
    if as_json:
        print_answer(answer)
        return
    number = len(answer.values)
    print(f"User {printable(user_id)} has {number} {'alias' if number == 1 else 'aliases'} now.")


async def _listed(call: Call, user_id: str) -> AliasListAnswer:
    from narthex.http.routes.passwordless.alias import AliasListQuery, alias_list

    answer: AliasListAnswer = await alias_list(call, AliasListQuery(user_id=user_id))
    return answer
