"""The command line: every act of an operator that needs no browser.

A refusal prints one sentence, and what to do about it, on standard error, and ends with status 1.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from narthex import __version__
from narthex.base.errors import Refusal
from narthex.cli.application import applications
from narthex.cli.metadata import metadata
from narthex.cli.operator import Config, settings_of
from narthex.cli.policy import policies
from narthex.http.problems import sentence
from narthex.settings import SETTINGS, Settings

app = App(name="narthex", help="A self-hosted passkey server.", version=__version__)
app.command(applications)
app.command(policies)
app.command(metadata)

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))]
_PASSWORD_OPTION = re.compile(r"(password=)[^&#]*", re.IGNORECASE)


def main() -> None:
    """Run the command line."""
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has had enough, as `head` has. What was to be done is done; the rest has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run() -> None:
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

    settings = settings_of(config)
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

    before, after = asyncio.run(house.bring_up_to_date(settings_of(config)))
    moved = before != after
    print(f"The schema went from {before or 'nothing'} to {after}." if moved else f"The schema is at {after}.")


@app.command
def settings(*, config: Config = None) -> None:
    """Print every setting, what it means, and what it is now. Secrets are not shown."""
    given = settings_of(config)
    for row in SETTINGS:
        print(f"{row.variable} = {_shown(row.name, given, secret=row.secret)}\n    {row.meaning}")


@app.command
def doctor(*, config: Config = None) -> None:
    """Check the database, the migrations, the keys, the clock and the public URL; say what to mend."""
    from narthex.diagnosis import examine

    findings = asyncio.run(examine(settings_of(config)))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL' if finding.fatal else 'warn'}  {finding.subject}: {finding.words}")
    if any(finding.fatal and not finding.ok for finding in findings):
        raise SystemExit(1)


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
