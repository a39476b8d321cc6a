"""The command line: every act of an operator that needs no browser.

A refusal prints one sentence, and what to do about it, on standard error, and ends with status 1.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from narthex import __version__
from narthex.base.errors import Refusal
from narthex.cli import lifecycle as lifecycle  # With it, applications have the commands of their life.
from narthex.cli.alias import aliases
from narthex.cli.api_key import keys
from narthex.cli.application import applications
from narthex.cli.configuration import configurations
from narthex.cli.credential import credentials
from narthex.cli.event import events
from narthex.cli.job import jobs
from narthex.cli.metadata import metadata
from narthex.cli.operator import AsJson, Config, print_json, printable, settings_of
from narthex.cli.policy import policies
from narthex.cli.transfer import export, imports
from narthex.cli.user import users
from narthex.cli.webhook import webhooks
from narthex.http.problems import sentence
from narthex.settings import SETTINGS, Settings

app = App(name="narthex", help="A self-hosted passkey server.", version=__version__)
for room in (
    applications,
    keys,
    policies,
    users,
    credentials,
    aliases,
    configurations,
    events,
    webhooks,
    jobs,
    imports,
    metadata,
):
    app.command(room)
app.command(export)

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
        # A refusal may quote a file that strangers made.
        print(printable(sentence(refusal.message)), file=sys.stderr)
        if refusal.advice:
            print(printable(sentence(refusal.advice)), file=sys.stderr)
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
def migrate(*, as_json: AsJson = False, config: Config = None) -> None:
    """Bring the database to the schema of this version."""
    from narthex import main as house

    before, after = asyncio.run(house.bring_up_to_date(settings_of(config)))
    if as_json:
        print_json({"before": before, "after": after})
        return
    moved = before != after
    print(f"The schema went from {before or 'nothing'} to {after}." if moved else f"The schema is at {after}.")


@app.command
def settings(*, as_json: AsJson = False, config: Config = None) -> None:
    """Print every setting, what it means, and what it is now. Secrets are not shown."""
    given = settings_of(config)
    shown = [(row, _shown(row.name, given, secret=row.secret)) for row in SETTINGS]
    if as_json:
        print_json(
            {
                "settings": [
                    {"variable": row.variable, "name": row.name, "value": value, "meaning": row.meaning}
                    for row, value in shown
                ]
            }
        )
        return
    for row, value in shown:
        print(f"{row.variable} = {'(not set)' if value is None else value}\n    {row.meaning}")


@app.command
def doctor(*, as_json: AsJson = False, config: Config = None) -> None:
    """Check the database, keys, jobs, mail, the clock and the public URL; say what to mend.

    Ends with status 1 where the server cannot work as things are.
    """
    from narthex.diagnosis import examine

    findings = asyncio.run(examine(settings_of(config)))
    marked = [("ok" if each.ok else "FAIL" if each.fatal else "warn", each) for each in findings]
    if as_json:
        listed = [{"subject": each.subject, "state": mark.lower(), "words": each.words} for mark, each in marked]
        print_json({"findings": listed})
    else:
        for mark, each in marked:
            print(f"{mark:4}  {each.subject}: {each.words}")
    if any(mark == "FAIL" for mark, _ in marked):
        raise SystemExit(1)


@app.command
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Whose script to print.")],
    /,
) -> None:
    """Print a script by which a shell completes commands and options.

    - bash: `narthex completion bash > ~/.local/share/bash-completion/completions/narthex`
    - zsh: `narthex completion zsh > ~/.zfunc/_narthex`, with `fpath+=~/.zfunc` before `compinit`
    - fish: `narthex completion fish > ~/.config/fish/completions/narthex.fish`
    """
    print(app.generate_completion(shell=shell))


def _shown(name: str, given: Settings, *, secret: bool) -> str | None:
    """What a setting is, as a person would write it; None where it is not set."""
    if name == "listen":
        return f"{given.listen_host}:{given.listen_port}"
    value: Any = getattr(given, name)
    if value is None or value in ((), ""):
        return None
    if name in ("database_url", "rate_limits"):
        text = str(value)
        return _without_password(text) if name == "database_url" or "://" in text else text
    if secret:
        return "***"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return str(value // timedelta(hours=1))
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_password(url: str) -> str:
    """A database URL keeps everything but its passwords, which may stand before the host or among the options."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "***"
    account, at, place = rest.rpartition("@")
    user = account.partition(":")[0]
    return _PASSWORD_OPTION.sub(r"\1***", f"{scheme}://{user}:***@{place}" if at else url)
