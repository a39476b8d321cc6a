"""What the operator's commands share: the settings, the database, and how things are said."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from narthex.http.body import camel
from narthex.settings import CONFIG, Settings, read_settings, unknown_variables

if TYPE_CHECKING:
    from narthex.usecases.call import OperatorCall

T = TypeVar("T")

Config = Annotated[Path | None, Parameter(name="--config", help="A TOML file with settings.")]
Name = Annotated[str, Parameter(help="The application's id.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON object, for scripts.", negative="")]
Yes = Annotated[bool, Parameter(name="--yes", help="Do not ask.", negative="")]


def operate(config: Path | None, act: Callable[[OperatorCall], Awaitable[T]]) -> tuple[Settings, T]:
    """Do something as the operator of the database that the settings name."""
    import structlog

    from narthex import main as house

    settings = settings_of(config)
    # Standard output is for what was asked for, and scripts read it: what is told besides goes where errors go.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))

    async def acted() -> T:
        async with house.operating(settings) as call:
            return await act(call)

    return settings, asyncio.run(acted())


def settings_of(config: Path | None) -> Settings:
    """The settings of the environment and of the file."""
    if config is not None:
        # Worker processes read their settings anew and must find the same file.
        os.environ[CONFIG] = str(config)
    for name in unknown_variables(os.environ):
        print(f"{name} is set and is no setting: see `narthex settings`.", file=sys.stderr)
    return read_settings(os.environ)


def is_agreed(question: str, *, yes: bool) -> bool:
    """Whether the operator wants it: said beforehand, or asked now. Nobody there to ask means no."""
    if yes:
        return True
    if not sys.stdin.isatty():
        print(f"{question} Say --yes to do it.", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def print_members(members: Mapping[str, Any]) -> None:
    """One member a line."""
    for name, value in members.items():
        print(f"{name.replace('_', ' ')}: {said(value)}")


def print_json(members: Mapping[str, Any]) -> None:
    """One JSON object, its members named as the HTTP API names them."""
    print(json.dumps(_camelled(members), default=str))


def _camelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {camel(name): _camelled(inner) for name, inner in value.items()}
    return [_camelled(each) for each in value] if isinstance(value, list | tuple) else value


def counted(number: int, noun: str) -> str:
    """A number of things, as a person says it.

    >>> counted(1, "user"), counted(2, "user")
    ('1 user', '2 users')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what stands in them; nothing is cut."""
    lines = [tuple(head), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def said(value: object) -> str:
    """A value as a person says it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case None | "" | () | []:
            return "-"
        case dict():
            return ", ".join(f"{name} {said(inner)}" for name, inner in value.items())
        case tuple() | list():
            return ", ".join(said(inner) for inner in value)
    return printable(value)


def printable(value: object) -> str:
    """A value as a terminal may be given it. Makers name models and tenants name users, and a name with an escape
    sequence in it would move the cursor, or hide what stands before it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))
