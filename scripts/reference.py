"""Write the reference pages that follow from tables: settings, errors and the command line.

`make docs` runs this; a test fails when a page says something else than the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import Parameter, cleandoc
from pathlib import Path
from typing import Any

from cyclopts import App

import narthex.http.app
import narthex.usecases.archive_export
import narthex.usecases.archive_import
import narthex.usecases.reference_import  # noqa: F401 - with these every refusal is defined that the page tells of
from narthex.base.errors import Refusal
from narthex.cli import app
from narthex.http.problems import sentence, status_of, wire_code
from narthex.http.routes.pages import refusals
from narthex.settings import SETTINGS

PAGES = Path(__file__).parent.parent / "docs" / "reference"
_WRITTEN = "<!-- Written by scripts/reference.py: `make docs` writes it anew. -->"


def settings_page() -> str:
    """Every setting: variable, name in the file, default, meaning."""
    rows = "\n".join(
        f"| `{row.variable}` | `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
        for row in SETTINGS
    )
    return f"""{_WRITTEN}
# Settings

A setting comes from the environment, or from a TOML file that `--config FILE` or `NARTHEX_CONFIG` names.
The environment wins.
A setting that is missing or wrong stops the start with one sentence that names it.
`narthex settings` prints all of them with the values they have now, secrets left out.
`narthex doctor` checks what depends on them.

| variable | in the file | default | meaning |
|---|---|---|---|
{rows}

The same in a file:

```toml
# narthex.toml
database_url = "postgresql://narthex@db.internal/narthex"
public_url = "https://passkeys.example.com"
listen = "0.0.0.0:8470"
workers = 2
trusted_proxies = ["10.0.0.0/8"]
```

`narthex dev`, which `make serve` runs, reads none of them: it is for trying things on one machine.
"""


def errors_page() -> str:
    """Every error: code, status, cause, remedy."""
    rows = "\n".join(_row(kind) for kind in refusals())
    return f"""{_WRITTEN}
# Errors

A refusal is a problem document (RFC 9457), `application/problem+json`.
`type` is the address of the page `/errors` of your own server, at the error's code.
`errorCode` never changes its meaning; `title` and `detail` are for people and may change.
`traceId` finds the request in the server's log.
When the verification of a ceremony refuses it, `errorCode` is `fido2_invalid_registration` or
`signin_complete_error`, and `reason` holds the code of the check that did.
When an application's authenticator policy refuses a passkey that was verified, `errorCode` is the policy's own
(`authenticator_not_allowed`, `attestation_required` …), and there is no `reason`.

| `errorCode` or `reason` | status | cause | what to do |
|---|---|---|---|
{rows}
"""


def _row(kind: type[Refusal]) -> str:
    cause = " ".join(cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    remedy = sentence(kind.advice) if kind.advice else ""
    spec = f" ({kind.spec})" if kind.spec else ""
    return f"| `{wire_code(kind.code)}` | {status_of(kind)} | {cause}{spec} | {remedy} |"


def cli_page() -> str:
    """Every command: how it is called, what it does, its options."""
    rooms: dict[str, list[str]] = {}
    for path, command in _commands(app):
        rooms.setdefault(path[0] if len(path) > 1 else "", []).append(_command(path, command))
    chapters = "\n\n".join(
        "\n\n".join([f"## narthex {room}\n\n{_prose(app[room].help)}" if room else "## narthex", *commands])
        for room, commands in rooms.items()
    )
    return f"""{_WRITTEN}
# Command line

Every act of an operator, without a browser. Commands read the settings that the server reads, and work on its
database, whether or not it runs.
A refusal prints one sentence, and what to do about it, on standard error, and ends with status 1; a command that is
not understood ends with status 2.
`--json` prints what the HTTP API would answer, where it has such an answer.
What cannot be taken back asks first; without a terminal it is refused unless `--yes` is said.
A new key or secret stands alone on standard output: `narthex key create shop --scope all > key`.
Where an instant is asked for, a span such as `90d`, `12h` or `30min` counts from now.
`--config FILE` and `--help` go with each command and are left out below.

{chapters}
"""


def _commands(above: App, *path: str) -> Iterator[tuple[tuple[str, ...], App]]:
    for name in above:
        if name.startswith("-"):
            continue
        below = [*_commands(above[name], *path, name)]
        yield from below or [((*path, name), above[name])]


def _command(path: tuple[str, ...], command: App) -> str:
    arguments = [each for each in command.assemble_argument_collection(default_parameter=None) if each.show]
    placed = [each for each in arguments if each.field_info.kind is not Parameter.KEYWORD_ONLY]
    options = [each for each in arguments if each not in placed and each.names != ("--config",)]
    words = " ".join(_placed(each) for each in placed)
    rows = "\n".join(f"| {_spelt(each)} | {_cell(each.parameter.help)} |" for each in [*placed, *options])
    table = f"\n\n| | |\n|---|---|\n{rows}" if rows else ""
    return f"### narthex {' '.join(path)}{f' {words}' if words else ''}\n\n{_prose(command.help)}{table}"


def _placed(argument: Any) -> str:
    name = argument.names[0]
    if argument.field_info.kind is Parameter.VAR_POSITIONAL:
        return f"[{name}…]"
    return name if argument.required else f"[{name}]"


def _spelt(argument: Any) -> str:
    spelt = " ".join(f"`{name}`" for name in argument.names)
    choices = argument.get_choices()
    return f"{spelt} {', '.join(choices)}" if choices else spelt


def _prose(text: str | None) -> str:
    """Without what is said of single parameters: their table says it."""
    return re.split(r"\n+Parameters\n-+\n", cleandoc(text or ""))[0]


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())


def pages() -> dict[str, str]:
    """By file name: what the page must say."""
    return {"settings.md": settings_page(), "errors.md": errors_page(), "cli.md": cli_page()}


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
