"""The command line: every act of an operator that needs no browser.

A refusal prints one sentence, and what to do about it, on standard error, and ends with status 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from narthex import __version__
from narthex.base.errors import Refusal
from narthex.http.problems import sentence
from narthex.settings import CONFIG, SETTINGS, Settings, read_settings, unknown_variables

app = App(
    name="narthex", help="A passkey server and a policy decision point, kept apart on purpose.", version=__version__
)
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
    from narthex.adapters.sql import migrate as migrations

    settings = _settings(config)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    before = asyncio.run(migrations.current(settings.database_url))
    asyncio.run(migrations.upgrade(settings.database_url))
    after = asyncio.run(migrations.current(settings.database_url))
    moved = before != after
    print(f"The schema went from {before or 'nothing'} to {after}." if moved else f"The schema is at {after}.")


@applications.command
def create(
    name: Annotated[str, Parameter(help="Its id: 3 to 62 lower-case letters and digits, beginning with a letter.")],
    /,
    *,
    origin: Annotated[
        list[str] | None,
        Parameter(
            help="A page's origin, such as https://app.example.com; repeat for more. Without one, any is accepted.",
            negative="",
        ),
    ] = None,
    top_origin: Annotated[
        list[str] | None,
        Parameter(help="An origin that may frame the application's pages; repeat for more.", negative=""),
    ] = None,
    conceal_users: Annotated[
        bool,
        Parameter(help="Answer for unknown users with a decoy, so that nobody can ask who is one.", negative=""),
    ] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON object, for scripts.", negative="")] = False,
    config: Config = None,
) -> None:
    """Make an application and print its keys, which are shown only now."""
    from narthex import main as house
    from narthex.ports.records import ApplicationSettings
    from narthex.usecases.application import ApplicationKeys, create_application

    chosen = ApplicationSettings(
        origins=tuple(origin or ()),
        top_origins=tuple(top_origin or ()),
        conceal_unknown_users=conceal_users,
        event_logging=True,
    )
    settings = _settings(config)

    async def act() -> ApplicationKeys:
        async with house.operating(settings) as call:
            return await create_application(call, name, chosen)

    keys = asyncio.run(act())
    if as_json:
        print(
            json.dumps(
                {"appId": name, "apiUrl": settings.public_url, "apiKeys": keys.public, "apiSecrets": keys.secret}
            )
        )
        return
    print(f"Application {name}. These keys are shown only now: keep the secret one on your backend.\n")
    print(f"  API URL     {settings.public_url}")
    print(f"  ApiKey      {keys.public[0]}")
    print(f"  ApiSecret   {keys.secret[0]!s}\n")
    print("A second pair, for when you change the first:\n")
    print(f"  ApiKey      {keys.public[1]}")
    print(f"  ApiSecret   {keys.secret[1]!s}")


@applications.command(name="list")
def list_(*, config: Config = None) -> None:
    """Print the ids of all applications."""
    from narthex import main as house

    settings = _settings(config)

    async def act() -> list[str]:
        async with house.operating(settings) as call:
            return list(await call.root.list_applications())

    names = asyncio.run(act())
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
