"""The life of an application at the command line: frozen, deleted, taken back, and what was decided for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter, validators

from narthex.cli.application import applications, life_of, state_of
from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    Yes,
    counted,
    minute,
    operate,
    print_answer,
    print_json,
    printable,
    require_agreement,
    said,
    working,
)

if TYPE_CHECKING:
    from narthex.ports.records import Application
    from narthex.usecases.call import OperatorCall


@applications.command
def freeze(name: Name, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None) -> None:
    """Let none of an application's keys open anything, until `narthex app unfreeze`. Nothing is lost."""
    from narthex.usecases import lifecycle

    _require_application(name, config)
    require_agreement(f"Nobody signs in to {name} while it is frozen. Freeze it?", yes=yes)
    operate(config, lambda call: lifecycle.freeze(call, name))
    _tell_life(name, config, as_json=as_json)


@applications.command
def unfreeze(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Let an application's keys open again, and do not delete it."""
    from narthex.usecases import lifecycle

    operate(config, lambda call: lifecycle.unfreeze(call, name))
    _tell_life(name, config, as_json=as_json)


@applications.command
def delete(
    name: Name,
    /,
    *,
    now: Annotated[bool, Parameter(help="Do not wait for a month. There is no way back.", negative="")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Delete an application: in a month, or at once where nothing is lost by it.

    Nothing is lost where nobody has a passkey, or where the application is younger than three days. While the month
    lasts its keys open nothing, and `narthex app cancel-delete` takes all back.
    """
    from narthex.base.values import instant_z
    from narthex.usecases import lifecycle

    require_agreement(_what_is_lost(name, config, now=now), yes=yes)

    async def act(call: OperatorCall) -> lifecycle.Deletion:
        if not now:
            return await lifecycle.mark_for_deletion(call, name, by="System")
        application = await _find(call, name)
        await lifecycle.erase(call, name)
        return lifecycle.Deletion(True, call.now, application.settings.admin_emails)

    with working(f"Deleting {name}"):
        _, deletion = operate(config, act)
    if as_json:
        print_json({**msgspec.to_builtins(deletion), "delete_at": instant_z(deletion.delete_at)})
    elif deletion.is_deleted:
        print(f"{name} is deleted.")
    else:
        print(f"{name} is closed, and deleted at {minute(deletion.delete_at)} UTC.")
        print(f"`narthex app cancel-delete {name}` takes it back until then.")
        if deletion.admin_emails:
            print(f"Tell {said(deletion.admin_emails)}.")


@applications.command(name="cancel-delete")
def cancel_delete(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Do not delete an application, and let its keys open again."""
    from narthex.usecases import lifecycle

    operate(config, lambda call: lifecycle.cancel_deletion(call, name))
    _tell_life(name, config, as_json=as_json)


@applications.command
def history(
    name: Name,
    /,
    *,
    limit: Annotated[
        int, Parameter(help="How many decisions at most.", validator=validators.Number(gte=1, lte=200))
    ] = 20,
    cursor: Annotated[
        str | None, Parameter(help="`nextCursor` of the answer before, with --json.", allow_leading_hyphen=True)
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Print who decided what for an application, and when, newest first."""
    from narthex.http.routes.management.settings import HistoryQuery, get_history

    query = HistoryQuery(limit=limit, cursor=cursor)
    _, answer = operate(config, lambda call: get_history(call, query, app_id=name))
    if as_json:
        print_answer(answer)
        return
    for revision in answer.revisions:
        print(f"{revision.version}  {_bare_minute(revision.changed_at)} UTC  by {printable(revision.changed_by)}")
        for member, change in revision.changes.items():
            print(f"     {member}: {_brief(change['from'])} -> {_brief(change['to'])}")
        if not revision.changes:
            print("     as it began" if revision.version == 0 else "     nothing")
    if answer.next_cursor is not None:
        print(f"There is more: `narthex app history {name} --limit 200`.")


async def _find(call: OperatorCall, name: str) -> Application:
    from narthex.usecases.application import get_application

    return await get_application(call, name)


def _require_application(name: str, config: Path | None) -> None:
    """Nobody is asked about an application that is not there."""
    operate(config, lambda call: _find(call, name))


def _what_is_lost(name: str, config: Path | None, *, now: bool) -> str:
    """The question before a deletion."""
    from narthex.usecases import lifecycle

    async def act(call: OperatorCall) -> tuple[int, int, bool, str]:
        application = await _find(call, name)
        if application.delete_at is not None and not now:
            raise lifecycle.DeletionPending(f"application `{name}` is marked for deletion already")
        at_once = now or await lifecycle.can_delete_immediately(call, application)
        store = call.root.tenant(name)
        return (
            await store.count_users(),
            await store.count_credentials(),
            at_once,
            minute(lifecycle.in_a_month(call.now)),
        )

    with working(f"Counting what {name} has"):
        _, (users, credentials, at_once, later) = operate(config, act)
    has = f"{name} has {counted(users, 'user')} with {counted(credentials, 'passkey')}."
    if at_once:
        return f"{has} They are deleted now and for good, with its keys, settings and event log. Delete it?"
    return f"{has} Nobody signs in from now on, and at {later} UTC all is deleted. Do it?"


def _tell_life(name: str, config: Path | None, *, as_json: bool) -> None:
    _, application = operate(config, lambda call: _find(call, name))
    if as_json:
        print_json(life_of(application))
        return
    print(f"{name}: {state_of(application)}.")


def _bare_minute(instant: str) -> str:
    return instant[:16].replace("T", " ")


def _brief(value: object) -> str:
    text = said(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
