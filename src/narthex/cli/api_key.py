"""API keys at the command line. A new key stands alone on standard output, so that it can be piped; advice does not."""

from __future__ import annotations

import sys
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
    operate,
    parse_instant,
    print_answer,
    print_json,
    print_table,
    printable,
    require_agreement,
    said,
)

if TYPE_CHECKING:
    from datetime import datetime

    from narthex.ports.records import ApiKey, Application
    from narthex.usecases.call import OperatorCall

keys = App(name="key", help="The API keys of an application, and what each is good for.")

KeyId = Annotated[str, Parameter(name="KEY", help="The key's last four characters, as `narthex key list` prints them.")]
Scopes = Annotated[
    list[str] | None,
    Parameter(
        name="--scope", help="What it is good for, such as `users:read`; repeat for more, or say `all`.", negative=""
    ),
]
KeyName = Annotated[str | None, Parameter(name="--name", help="What people call it.")]
Networks = Annotated[
    list[str] | None, Parameter(name="--network", help="Where it may be used, `192.0.2.0/24`; repeat for more.")
]
Expires = Annotated[
    str | None, Parameter(help="When it ends: `2027-01-31`, or a span from now such as `90d`; `never` for no end.")
]


@keys.command(name="list")
def list_(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print an application's keys: what each is good for, and when it was used last. Secrets are not known here."""
    from narthex.http.routes.passwordless.api_key import key_answer
    from narthex.usecases import api_key

    async def act(call: OperatorCall) -> tuple[Application, datetime]:
        application = await _find(call, name)
        await api_key.list_keys(call, application)
        return application, call.now

    _, (application, now) = operate(config, act)
    if as_json:
        print_answer([key_answer(application, key, now=now) for key in application.api_keys])
        return
    print_table(
        ("ID", "KIND", "NAME", "STATE", "LAST USED", "GOOD FOR"),
        (
            (
                key.hint,
                key.kind,
                key.name,
                _state(key, application, now=now),
                minute(key.last_used_at) if key.last_used_at else "never",
                _good_for(key),
            )
            for key in application.api_keys
        ),
    )
    if api_key.legacy_keys(application):
        print(
            "\nA legacy key may do whatever the compatible API lets any secret key do. `narthex key rotate` makes a "
            "successor\nthat names what it may, and `narthex key revise` narrows the key itself."
        )


@keys.command
def create(
    name: Name,
    /,
    *,
    kind: Annotated[
        Literal["secret", "public"], Parameter(help="A secret one for your backend, or a public one for pages.")
    ] = "secret",
    scope: Scopes = None,
    called: KeyName = None,
    network: Networks = None,
    expires: Expires = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make another key, and print it. It is shown only now.

    Without --scope a public key registers and signs in, which is all that there is; a secret key needs one or more.
    """
    from narthex.ports.records import KeyKind
    from narthex.usecases import api_key

    of = KeyKind(kind)
    wanted = scope or (["all"] if of is KeyKind.PUBLIC else [])

    async def act(call: OperatorCall) -> str:
        terms = api_key.KeyTerms(
            scopes=_scopes(of, wanted),
            name=called or "",
            networks=tuple(network or ()),
            expires_at=_end(expires, now=call.now),
        )
        return await api_key.create_key(call, await _find(call, name), of, terms)

    _, key = operate(config, act)
    _print_key(key, as_json=as_json)


@keys.command
def revise(
    name: Name,
    key: KeyId,
    /,
    *,
    scope: Scopes = None,
    called: KeyName = None,
    network: Networks = None,
    expires: Expires = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide anew what a key is good for; what is not named stays. It is no legacy key from then on."""
    from narthex.usecases import api_key

    async def act(call: OperatorCall) -> None:
        application = await _find(call, name)
        kept = api_key.get_key(application, key)
        terms = api_key.KeyTerms(
            scopes=_granted(kept) if scope is None else _scopes(kept.kind, scope),
            name=kept.name if called is None else called,
            networks=kept.networks if network is None else tuple(network),
            expires_at=kept.expires_at if expires is None else _end(expires, now=call.now),
        )
        await api_key.revise_key(call, application, key, terms)

    operate(config, act)
    _tell_key(name, key, config, as_json=as_json)


@keys.command
def rotate(
    name: Name,
    key: KeyId,
    /,
    *,
    overlap: Annotated[
        timedelta, Parameter(help="For how long both keys open: `0s`, `12h`, at most `90d`.", show_default=False)
    ] = timedelta(days=1),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make a successor that is good for the same, and print it; the old key ends a day later, or when --overlap says.

    The successor of a legacy key names as scopes all that the old one might do.
    """
    from narthex.base.values import instant_z
    from narthex.http.routes.passwordless.api_key import RotatedKeyAnswer
    from narthex.usecases import api_key

    async def act(call: OperatorCall) -> tuple[str, datetime]:
        return await api_key.rotate_key(call, await _find(call, name), key, overlap=overlap)

    _, (successor, ends_at) = operate(config, act)
    if as_json:
        print_answer(RotatedKeyAnswer(api_key=str(successor), old_key_expires_at=instant_z(ends_at)))
        return
    _print_key(successor, as_json=False)
    print(f"The old key ends at {minute(ends_at)} UTC.", file=sys.stderr)


@keys.command
def lock(name: Name, key: KeyId, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Let a key open nothing. Every server heeds it within a second, and `narthex key unlock` takes it back."""
    _set_lock(name, key, config, locked=True, as_json=as_json)


@keys.command
def unlock(name: Name, key: KeyId, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Let a key open again."""
    _set_lock(name, key, config, locked=False, as_json=as_json)


@keys.command
def delete(name: Name, key: KeyId, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None) -> None:
    """Delete a key for good. To see first who misses it, lock it."""
    from narthex.usecases import api_key

    async def look(call: OperatorCall) -> ApiKey:
        return api_key.get_key(await _find(call, name), key)

    _, kept = operate(config, look)
    used = f"was used last at {minute(kept.last_used_at)} UTC" if kept.last_used_at else "was never used"
    called = f" {kept.name}" if kept.name else ""
    question = f"The {kept.kind} key ***{kept.hint}{printable(called)} of {name} {used}. Delete it for good?"
    require_agreement(question, yes=yes)

    async def act(call: OperatorCall) -> None:
        await api_key.remove_key(call, await _find(call, name), kept.key_id)

    operate(config, act)
    if as_json:
        print_json({"id": kept.hint, "is_deleted": True})
        return
    print(f"Key ***{kept.hint} is deleted.")


async def _find(call: OperatorCall, name: str) -> Application:
    from narthex.usecases.application import get_application

    return await get_application(call, name)


def _set_lock(name: str, key: str, config: Path | None, *, locked: bool, as_json: bool) -> None:
    from narthex.usecases import api_key

    async def act(call: OperatorCall) -> None:
        await api_key.lock_key(call, await _find(call, name), key, locked=locked)

    operate(config, act)
    _tell_key(name, key, config, as_json=as_json)


def _tell_key(name: str, key: str, config: Path | None, *, as_json: bool) -> None:
    from narthex.http.routes.passwordless.api_key import key_answer
    from narthex.usecases import api_key

    async def look(call: OperatorCall) -> tuple[Application, datetime]:
        return await _find(call, name), call.now

    _, (application, now) = operate(config, look)
    kept = api_key.get_key(application, key)
    if as_json:
        print_answer(key_answer(application, kept, now=now))
        return
    print(f"Key ***{kept.hint}: {_state(kept, application, now=now)}, good for {_good_for(kept)}.")


def _print_key(key: str, *, as_json: bool) -> None:
    from narthex.http.routes.passwordless.api_key import NewKeyAnswer

    if as_json:
        print_answer(NewKeyAnswer(api_key=str(key)))
        return
    print(str(key), flush=True)
    if ":secret:" in key:
        print("It is shown only now. Keep it on your backend.", file=sys.stderr)


def _scopes(kind: str, wanted: list[str]) -> frozenset[str]:
    from narthex.ports.records import KeyKind
    from narthex.usecases.api_key import SCOPES_OF_KIND, KeyScopesRequired

    of = KeyKind(kind)
    known = frozenset(map(str, SCOPES_OF_KIND[of]))
    if not wanted:
        raise KeyScopesRequired("a key needs a scope", advice=f"say --scope all, or any of: {', '.join(sorted(known))}")
    return known if wanted == ["all"] else frozenset(wanted)


def _granted(key: ApiKey) -> frozenset[str]:
    """What a key may do; a legacy one more than its scopes say."""
    from narthex.usecases.api_key import SCOPES_OF_KIND

    return frozenset(str(scope) for scope in SCOPES_OF_KIND[key.kind] if key.may(scope)) if key.legacy else key.scopes


def _end(text: str | None, *, now: datetime) -> datetime | None:
    return None if text in (None, "never") else parse_instant(str(text), now=now, ahead=True)


def _state(key: ApiKey, application: Application, *, now: datetime) -> str:
    if key.locked:
        state = "locked"
    elif application.is_closed:
        state = "closed with the application"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    elif key.expires_at is not None:
        state = f"until {minute(key.expires_at)}"
    else:
        state = "open"
    return f"legacy, {state}" if key.legacy else state


def _good_for(key: ApiKey) -> str:
    from narthex.usecases.api_key import SCOPES_OF_KIND

    scopes = "all" if key.scopes >= SCOPES_OF_KIND[key.kind] else said(sorted(key.scopes))
    return f"{scopes}, from {said(key.networks)}" if key.networks else scopes
