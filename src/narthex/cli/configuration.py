"""Authentication configurations at the command line: what a sign-in for a purpose asks, and how long it counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    Yes,
    minute,
    operate_within,
    print_answer,
    print_json,
    print_table,
    printable,
    require_agreement,
)

if TYPE_CHECKING:
    from narthex.ports.records import AuthenticationConfiguration
    from narthex.usecases.call import Call

configurations = App(name="config", help="What sign-ins for each purpose ask, and for how long they count.")

Purpose = Annotated[str, Parameter(help="What the sign-in is for: letters, digits, `_` and `-`.")]
Verification = Annotated[
    Literal["required", "preferred", "discouraged"] | None,
    Parameter(name="--user-verification", help="Whether the authenticator verifies its user; `preferred` at first."),
]
TimeToLive = Annotated[
    timedelta | None, Parameter(help="For how long a sign-in counts: `90s`, `2m`, at most `7d`; two minutes at first.")
]
Hints = Annotated[
    list[Literal["security-key", "client-device", "hybrid"]] | None,
    Parameter(name="--hint", help="What browsers offer first; repeat for more, the best first."),
]
_BY = "System"
_AT_FIRST = timedelta(minutes=2)


@configurations.command(name="list")
def list_(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print what sign-ins for each purpose ask."""
    from narthex.http.routes.passwordless.configuration import AuthConfigListQuery, auth_configs_list
    from narthex.usecases.configuration import list_configurations

    if as_json:
        print_answer(operate_within(config, name, lambda call: auth_configs_list(call, AuthConfigListQuery())))
        return

    async def act(call: Call) -> Sequence[AuthenticationConfiguration]:
        return await list_configurations(call)

    print_table(
        ("PURPOSE", "USER VERIFICATION", "COUNTS FOR", "LAST USED", "HINTS"),
        (
            (
                each.purpose,
                each.user_verification,
                timedelta(seconds=each.time_to_live_s),
                minute(each.last_used_at) if each.last_used_at else "never",
                each.hints,
            )
            for each in operate_within(config, name, act)
        ),
    )


@configurations.command
def add(
    name: Name,
    purpose: Purpose,
    /,
    *,
    verification: Verification = None,
    time_to_live: TimeToLive = None,
    hint: Hints = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Configure another purpose."""
    from narthex.usecases.configuration import Demands, add_configuration

    demands = Demands(
        time_to_live=_AT_FIRST if time_to_live is None else time_to_live,
        user_verification=verification or "preferred",
        hints=tuple(hint or ()),
    )

    async def act(call: Call) -> None:
        await add_configuration(call, purpose, demands, by=_BY)

    operate_within(config, name, act)
    _tell(name, purpose, config, as_json=as_json)


@configurations.command(name="set")
def set_(
    name: Name,
    purpose: Purpose,
    /,
    *,
    verification: Verification = None,
    time_to_live: TimeToLive = None,
    hint: Hints = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide anew what sign-ins for a purpose ask; what is not named stays."""
    from narthex.ports.changes import ConfigurationNotFound
    from narthex.usecases.configuration import Demands, edit_configuration, list_configurations

    async def act(call: Call) -> None:
        kept = next(iter(await list_configurations(call, purpose=purpose)), None)
        if kept is None:
            raise ConfigurationNotFound(f"there is no configuration for `{printable(purpose)}`")
        demands = Demands(
            time_to_live=timedelta(seconds=kept.time_to_live_s) if time_to_live is None else time_to_live,
            user_verification=verification or kept.user_verification,
            hints=kept.hints if hint is None else tuple(hint),
        )
        await edit_configuration(call, purpose, demands, by=_BY)

    operate_within(config, name, act)
    _tell(name, purpose, config, as_json=as_json)


@configurations.command
def delete(
    name: Name, purpose: Purpose, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None
) -> None:
    """Forget a purpose: from then on a sign-in for it is one for `sign-in`, with what that asks."""
    from narthex.usecases.configuration import list_configurations, remove_configuration

    async def look(call: Call) -> Sequence[AuthenticationConfiguration]:
        return await list_configurations(call, purpose=purpose)

    kept = operate_within(config, name, look)
    for each in kept:
        used = f"was used last at {minute(each.last_used_at)} UTC" if each.last_used_at else "was never used"
        require_agreement(f"The purpose {each.purpose} of {name} {used}. Delete it?", yes=yes)

    async def act(call: Call) -> None:
        await remove_configuration(call, purpose, by=_BY)

    operate_within(config, name, act)
    if as_json:
        print_json({"purpose": purpose, "is_deleted": True})
        return
    print(f"The purpose {printable(purpose)} is deleted.")


def _tell(name: str, purpose: str, config: Path | None, *, as_json: bool) -> None:
    from narthex.http.routes.passwordless.configuration import AuthConfigListQuery, auth_configs_list

    query = AuthConfigListQuery(purpose=purpose)
    answer = operate_within(config, name, lambda call: auth_configs_list(call, query))
    for each in answer.configurations:
        if as_json:
            print_answer(each)
            continue
        hints = f", hints {each.hints}" if each.hints else ""
        counts = timedelta(seconds=each.time_to_live)
        print(f"{each.purpose}: user verification {each.user_verification_requirement}, counts for {counts}{hints}.")
