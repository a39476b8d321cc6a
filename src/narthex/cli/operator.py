"""What the operator's commands share: the settings, the database, and how things are said."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from narthex.http.body import camel
from narthex.settings import CONFIG, Settings, read_settings, unknown_variables

if TYPE_CHECKING:
    from narthex.usecases.call import Call, OperatorCall

T = TypeVar("T")

Config = Annotated[Path | None, Parameter(name="--config", help="A TOML file with settings.")]
Name = Annotated[str, Parameter(name="APP", help="The application's id.")]
UserId = Annotated[
    str, Parameter(name="USER", help="The user's id, as your own backend named it.", allow_leading_hyphen=True)
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON, for scripts.", negative="")]
Cursor = Annotated[
    str | None,
    Parameter(name="--cursor", help="Where the list before ended; it said so.", allow_leading_hyphen=True),
]
Yes = Annotated[bool, Parameter(name="--yes", help="Do not ask.", negative="")]

_SPAN = re.compile(r"([0-9]{1,6})(min|[hdw])\Z")
_SPANS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_NARROWEST_COLUMN = 20


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


def operate_within(config: Path | None, name: str, act: Callable[[Call], Awaitable[T]]) -> T:
    """Do something as the operator within an application."""
    from narthex.usecases.application import within_application

    async def acted(call: OperatorCall) -> T:
        return await act(await within_application(call, name))

    return operate(config, acted)[1]


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
    # Where errors go: what is printed may be on its way into a file.
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def require_agreement(question: str, *, yes: bool) -> None:
    """End here unless the operator wants it."""
    if not is_agreed(question, yes=yes):
        raise SystemExit(1)


@contextmanager
def working(words: str) -> Iterator[None]:
    """Show that something is going on, where somebody looks; on standard error, as nobody asked for it."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


def parse_instant(text: str, *, now: datetime, ahead: bool) -> datetime:
    """An instant as ISO 8601 says it, in UTC where no zone is named; or a span such as `90d`, from now.

    Args:
        ahead: whether a span leads into the future, or back.
    """
    span = _SPAN.match(text)
    try:
        if span is not None:
            distance = int(span[1]) * _SPANS[span[2]]
            return now + distance if ahead else now - distance
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SystemExit(
            f"`{printable(text)}` is no instant: write `2027-01-31`, `2027-01-31T12:00`, or a span such as `90d`, "
            "`12h`, `30min`."
        ) from None


def print_members(members: Mapping[str, Any]) -> None:
    """One member a line."""
    for name, value in members.items():
        print(f"{name.replace('_', ' ')}: {said(value)}")


def print_json(members: Mapping[str, Any]) -> None:
    """One JSON object, its members named as the HTTP API names them."""
    print(json.dumps(_camelled(members), default=str))


def print_answer(answer: object) -> None:
    """What the HTTP API would answer. In ASCII, as a terminal may be given it."""
    print(json.dumps(msgspec.to_builtins(answer)))


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
    """Columns as wide as what stands in them; nothing is cut.

    Where a terminal is too narrow, the last column goes on below itself, or each row becomes a paragraph.
    """
    lines = [tuple(head), *(tuple(said(cell) for cell in row) for row in rows)]
    widths = [max(width(line[at]) for line in lines) for at in range(len(head))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    before_last = sum(widths[:-1]) + 2 * (len(head) - 1)
    if before_last + widths[-1] > room and room - before_last < _NARROWEST_COLUMN:
        _print_paragraphs(lines)
        return
    for *cells, last in lines:
        first, *rest = _folded(last, room - before_last)
        padded = (cell + " " * (wide - width(cell)) for cell, wide in zip(cells, widths, strict=False))
        print("  ".join((*padded, first)).rstrip())
        for part in rest:
            print(f"{' ' * before_last}{part}")


def _print_paragraphs(lines: Sequence[Sequence[str]]) -> None:
    head, *rows = lines
    for at, row in enumerate(rows):
        if at:
            print()
        for name, cell in zip(head, row, strict=True):
            print(f"{name.lower()}: {cell}")


def _folded(text: str, room: int) -> list[str]:
    """A text in lines of so many columns, broken at spaces where there are some."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= room:
            lines[-1] = longer
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while width(lines[-1]) > room:
            cut = next(at for at in range(len(lines[-1]), 0, -1) if width(lines[-1][:at]) <= room or at == 1)
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    return lines


def width(text: str) -> int:
    """How many columns of a terminal a text takes (UAX #11): two for a wide character, none for a mark.

    >>> width("abc"), width("\u65e5\u672c"), width("e\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def minute(instant: datetime | None) -> str:
    """An instant as a table shows it, in UTC."""
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


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
