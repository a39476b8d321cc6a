"""The command line: every act of an operator that needs no browser.

A refusal prints one sentence, and what to do about it, on standard error, and ends with status 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from cyclopts import App, Parameter, validators

from narthex import __version__
from narthex.base.errors import Refusal
from narthex.http.problems import sentence
from narthex.settings import CONFIG, SETTINGS, Settings, read_settings, unknown_variables

if TYPE_CHECKING:
    from narthex.usecases.call import OperatorCall

T = TypeVar("T")

app = App(name="narthex", help="A self-hosted passkey server.", version=__version__)
applications = App(name="app", help="The applications whose users sign in here.")
app.command(applications)

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))]
_PASSWORD_OPTION = re.compile(r"(password=)[^&#]*", re.IGNORECASE)

Config = Annotated[Path | None, Parameter(name="--config", help="A TOML file with settings.")]


def main() -> None:
    """Run the command line."""
    try:
        app()
    except Refusal as refusal:
        print(sentence(refusal.message), file=sys.stderr)
        if refusal.advice:
            print(sentence(refusal.advice), file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@app.command
def serve(*, config: Config = None) -> None:
    """Start the server, with the settings of the environment and of the file."""
    from narthex import main as house
    from narthex import serving

    settings = _settings(config)
    house.configure_logs(settings.log_level)
    asyncio.run(house.prepare(settings))
    serving.serve(settings)


@app.command
def dev(*, port: Port = 8470, data_dir: Path = Path(".narthex")) -> None:
    """Start a server to try things with: a demo application, a playground, and one link to open.

    Parameters
    ----------
    port
        The port to listen on; when it is busy another one is taken, and for 0 any that is free.
    data_dir
        Where the demo keeps its data between starts.
    """
    from narthex import serving

    serving.serve_dev(port=port, data_dir=data_dir)


@app.command
def migrate(*, config: Config = None) -> None:
    """Bring the database to the schema of this version."""
    from narthex import main as house

    before, after = asyncio.run(house.bring_up_to_date(_settings(config)))
    moved = before != after
    print(f"The schema went from {before or 'nothing'} to {after}." if moved else f"The schema is at {after}.")


@dataclass(frozen=True)
class Choices:
    """What an operator may decide for an application; None leaves it as it is."""

    origin: Annotated[
        list[str] | None,
        Parameter(help="A page's origin, such as https://app.example.com; repeat for more. The list replaces the old."),
    ] = None
    top_origin: Annotated[
        list[str] | None, Parameter(help="An origin that may frame the application's pages; repeat for more.")
    ] = None
    conceal_users: Annotated[
        bool | None, Parameter(help="Answer for unknown users with a decoy, so that nobody can ask who is one.")
    ] = None
    single_use: Annotated[bool | None, Parameter(help="Accept each sign-in token once; on from the start.")] = None
    manual_tokens: Annotated[bool | None, Parameter(help="Make sign-in tokens by hand; on from the start.")] = None
    attestation: Annotated[bool | None, Parameter(help="Let registrations ask for attestation.")] = None
    events: Annotated[bool | None, Parameter(help="Keep an event log.")] = None
    event_days: Annotated[
        int | None, Parameter(help="Days that events are kept.", validator=validators.Number(gte=0, lte=3650))
    ] = None
    max_users: Annotated[
        int | None, Parameter(help="The most users with passkeys; 0 for no limit.", validator=validators.Number(gte=0))
    ] = None

    def changes(self) -> dict[str, Any]:
        """By the name of the application's setting: what was chosen."""
        chosen = {
            "origins": None if self.origin is None else tuple(self.origin),
            "top_origins": None if self.top_origin is None else tuple(self.top_origin),
            "conceal_unknown_users": self.conceal_users,
            "single_use_verify_tokens": self.single_use,
            "manual_tokens": self.manual_tokens,
            "allow_attestation": self.attestation,
            "event_logging": self.events,
            "event_retention_days": self.event_days,
        }
        changes = {name: value for name, value in chosen.items() if value is not None}
        return changes if self.max_users is None else {**changes, "max_users": self.max_users or None}


Name = Annotated[str, Parameter(help="The application's id.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON object, for scripts.", negative="")]
Chosen = Annotated[Choices, Parameter(name="*")]


@applications.command
def create(
    name: Annotated[str, Parameter(help="Its id: 3 to 62 lower-case letters and digits, beginning with a letter.")],
    /,
    *,
    choices: Chosen = Choices(),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make an application and print its keys, which are shown only now.

    Without --origin, ceremonies may come from any page.
    """
    from narthex.ports.records import ApplicationSettings
    from narthex.usecases.application import create_application

    chosen = ApplicationSettings(**{"event_logging": True, **choices.changes()})
    settings, keys = _operate(config, lambda call: create_application(call, name, chosen))
    if as_json:
        names = {"appId": name, "apiUrl": settings.public_url}
        print(json.dumps({**names, "apiKeys": keys.public, "apiSecrets": keys.secret}))
        return
    print(f"Application {name}. These keys are shown only now: keep the secret one on your backend.\n")
    print(f"  API URL     {settings.public_url}")
    print(f"  ApiKey      {keys.public[0]}")
    print(f"  ApiSecret   {keys.secret[0]!s}\n")
    print("A second pair, for when you change the first:\n")
    print(f"  ApiKey      {keys.public[1]}")
    print(f"  ApiSecret   {keys.secret[1]!s}")


@applications.command(name="set")
def set_(
    name: Name,
    /,
    *,
    choices: Chosen = Choices(),
    config: Config = None,
) -> None:
    """Decide something else for an application; what is not named stays. Servers follow within a second."""
    from narthex.usecases.application import change_settings

    _, changed = _operate(config, lambda call: change_settings(call, name, **choices.changes()))
    _print_members(msgspec.to_builtins(changed))


@applications.command
def show(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print what is decided for an application, and its keys. Secrets are not known here."""
    from narthex.usecases.application import get_application

    _, application = _operate(config, lambda call: get_application(call, name))
    decided = msgspec.to_builtins(application.settings)
    keys = [
        {"kind": str(key.kind), "key": key.value or f"{name}:secret:{'*' * 28}{key.hint}", "locked": key.locked}
        for key in application.api_keys
    ]
    if as_json:
        print(json.dumps({"appId": name, "createdAt": application.created_at.isoformat(), **decided, "keys": keys}))
        return
    _print_members({"created_at": f"{application.created_at:%Y-%m-%d %H:%M} UTC", **decided})
    for key in keys:
        print(f"{key['kind']} key: {key['key']}{' (locked)' if key['locked'] else ''}")


@applications.command(name="list")
def list_(*, config: Config = None) -> None:
    """Print the ids of all applications."""
    _, names = _operate(config, lambda call: call.root.list_applications())
    print("\n".join(names) if names else "There are no applications yet: `narthex app create NAME` makes one.")


@app.command
def settings(*, config: Config = None) -> None:
    """Print every setting, what it means, and what it is now. Secrets are not shown."""
    given = _settings(config)
    for row in SETTINGS:
        print(f"{row.variable} = {_shown(row.name, given, secret=row.secret)}\n    {row.meaning}")


@app.command
def doctor(*, config: Config = None) -> None:
    """Check the database, the migrations, the keys, the clock and the public URL; say what to mend."""
    from narthex.diagnosis import examine

    findings = asyncio.run(examine(_settings(config)))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL' if finding.fatal else 'warn'}  {finding.subject}: {finding.words}")
    if any(finding.fatal and not finding.ok for finding in findings):
        raise SystemExit(1)


def _operate(config: Path | None, act: Callable[[OperatorCall], Awaitable[T]]) -> tuple[Settings, T]:
    """Do something as the operator of the database that the settings name."""
    from narthex import main as house

    settings = _settings(config)

    async def acted() -> T:
        async with house.operating(settings) as call:
            return await act(call)

    return settings, asyncio.run(acted())


def _print_members(members: Mapping[str, Any]) -> None:
    for name, value in members.items():
        print(f"{name.replace('_', ' ')}: {_said(value)}")


def _said(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None | "" | () | []:
            return "-"
        case tuple() | list():
            return ", ".join(map(str, value))
    return str(value)


def _settings(config: Path | None) -> Settings:
    if config is not None:
        # Worker processes read their settings anew and must find the same file.
        os.environ[CONFIG] = str(config)
    for name in unknown_variables(os.environ):
        print(f"{name} is set and is no setting: see `narthex settings`.", file=sys.stderr)
    return read_settings(os.environ)


def _shown(name: str, given: Settings, *, secret: bool) -> str:
    if name == "listen":
        return f"{given.listen_host}:{given.listen_port}"
    value: Any = getattr(given, name)
    if value is None or value == ():
        return "(not set)"
    if name == "database_url":
        return _without_password(str(value))
    if secret:
        return "***"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_password(url: str) -> str:
    """A database URL keeps everything but its passwords, which may stand before the host or among the options."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "***"
    account, at, place = rest.rpartition("@")
    user = account.partition(":")[0]
    return _PASSWORD_OPTION.sub(r"\1***", f"{scheme}://{user}:***@{place}" if at else url)
