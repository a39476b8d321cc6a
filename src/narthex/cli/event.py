"""The event log at the command line: read, followed and exported."""

from __future__ import annotations

import asyncio
import json
import select
import sys
from collections.abc import Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec
from cyclopts import App, Parameter, validators

from narthex.cli.operator import (
    AsJson,
    Config,
    Cursor,
    Name,
    operate,
    operate_within,
    parse_instant,
    print_json,
    print_table,
    printable,
)

if TYPE_CHECKING:
    from narthex.ports.records import Event, EventFilter
    from narthex.usecases.call import Call, OperatorCall

events = App(name="events", help="The event log of an application.")

_LOOK_FOR_READERS_EVERY_S = 0.5


@dataclass(frozen=True)
class Filters:
    """Which events; what is not named asks for nothing."""

    event_type: Annotated[
        list[str] | None,
        Parameter(help="A type's name or number, or `ApiUser*` for all that begin so; repeat for more.", negative=""),
    ] = None
    subject: Annotated[
        str | None, Parameter(help="Whom or what it was done to, such as a user's id.", allow_leading_hyphen=True)
    ] = None
    performed_by: Annotated[str | None, Parameter(help="Who did it.", allow_leading_hyphen=True)] = None
    api_key_id: Annotated[str | None, Parameter(help="The last four characters of the key that was used.")] = None
    trace_id: Annotated[str | None, Parameter(help="The trace, as answers carry it.")] = None

    def which(self) -> EventFilter:
        """The same as the log is asked."""
        from narthex.ports.records import EventFilter, EventType
        from narthex.usecases.event_log import types_named

        types = frozenset[EventType]()
        for pattern in self.event_type or ():
            named = types_named(pattern)
            if not named:
                raise SystemExit(
                    f"No type of event is called `{printable(pattern)}`: docs/compatibility.md lists them."
                )
            types |= named
        return EventFilter(
            event_types=types or None,
            subject=self.subject or "",
            performed_by=self.performed_by or "",
            api_key_hint=self.api_key_id or "",
            trace_id=self.trace_id or "",
        )


Chosen = Annotated[Filters, Parameter(name="*")]
Since = Annotated[
    str | None, Parameter(name="--from", help="From then on: `2027-01-31`, or a span such as `2h` for how long ago.")
]
Until = Annotated[str | None, Parameter(name="--until", help="Before then, written alike.")]


@events.command(name="list")
def list_(
    name: Name,
    /,
    *,
    filters: Chosen = Filters(),
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, Parameter(help="How many at most.", validator=validators.Number(gte=1, lte=1_000))] = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Print events, newest first."""
    from narthex.usecases import event_log

    which = filters.which()

    async def act(call: Call) -> event_log.EventPage:
        return await event_log.read_page(call, _within(which, since, until, now=call.now), most=limit, cursor=cursor)

    page = operate_within(config, name, act)
    if as_json:
        listed = [_plain(name, line) for line in page.events]
        print_json({"events": listed, "totalEventCount": page.total, "nextCursor": page.next_cursor})
        return
    print_table(
        ("AT", "SEVERITY", "EVENT", "BY", "ON", "MESSAGE"),
        (
            (
                f"{line.performed_at:%Y-%m-%d %H:%M:%S}",
                line.severity.name,
                line.event_type.name,
                line.performed_by,
                line.subject,
                line.message,
            )
            for line in page.events
        ),
    )
    if page.next_cursor is not None:
        print(f"{len(page.events)} of {page.total}. For more add `--cursor {page.next_cursor}`.")


@events.command
def tail(
    name: Name,
    /,
    *,
    filters: Chosen = Filters(),
    last: Annotated[
        int, Parameter(help="How many that were there before are printed first.", validator=validators.Number(gte=0))
    ] = 10,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Print events as they come, one a line, until Ctrl-C. With --json each line is a JSON object."""
    from narthex.usecases import event_log
    from narthex.usecases.application import within_application

    which = filters.which()
    # Nobody asks by a key here, so there is none to look at; an operator sees to the log itself.
    pace = event_log.Pace(check_the_key_after=timedelta.max)

    async def follow(operator: OperatorCall) -> None:
        call = await within_application(operator, name)
        event_log.require_event_log(call)
        newest = await call.store.list_events(which=which, before=None, most=last) if last else ()
        for line in reversed(newest):
            _print_line(name, line, as_json=as_json)
        after = newest[0].event_id if newest else None
        async with aclosing(event_log.follow(call, which, after=after, pace=pace)) as following:
            async for portion in following:
                for line in portion:
                    _print_line(name, line, as_json=as_json)
                if not portion:
                    event_log.require_event_log(await within_application(operator, name))

    operate(config, lambda operator: _while_somebody_reads(follow(operator)))


@events.command
def export(
    name: Name,
    /,
    *,
    filters: Chosen = Filters(),
    since: Since = None,
    until: Until = None,
    form: Annotated[
        Literal["json", "csv"], Parameter(name="--format", help="JSON Lines, or CSV for a spreadsheet.")
    ] = "json",
    output: Annotated[Path | None, Parameter(help="A file to write, instead of standard output.")] = None,
    config: Config = None,
) -> None:
    """Print the whole log, newest first, as JSON Lines or CSV."""
    from narthex.http.routes.passwordless.event import EventsExportQuery, events_export

    which = filters.which()

    async def act(call: Call) -> None:
        span = _within(which, since, until, now=call.now)
        query = EventsExportQuery(
            event_types=list(filters.event_type or ()),
            subject=filters.subject,
            performed_by=filters.performed_by,
            api_key_id=filters.api_key_id,
            trace_id=filters.trace_id,
            from_=None if span.since is None else span.since.isoformat(),
            until=None if span.until is None else span.until.isoformat(),
            format=form,
        )
        stream = await events_export(call, query)
        shown = sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
        total = await call.store.count_events(which=span) if shown else 0
        with _written(output) as write, _counting(total, shown=shown) as advance:
            async for part in stream.content:
                write(part.decode())
                advance(part.count(b"\n"))

    operate_within(config, name, act)
    if output is not None:
        print(f"The events are in {output}.", file=sys.stderr)


async def _while_somebody_reads(act: Coroutine[Any, Any, None]) -> None:
    """Do something until it ends, or until whoever reads what it prints has gone, as `head` goes."""
    tasks = asyncio.create_task(act), asyncio.create_task(_nobody_reads())
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _nobody_reads() -> None:
    """Wait until nobody reads. Where nothing happens nothing is written, and only asking tells."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        await asyncio.Event().wait()
    while True:
        if poll.poll(0):
            return
        await asyncio.sleep(_LOOK_FOR_READERS_EVERY_S)


class _Write(Protocol):
    def __call__(self, text: str, /) -> object: ...


class _Advance(Protocol):
    def __call__(self, number: int, /) -> object: ...


@contextmanager
def _written(output: Path | None) -> Iterator[_Write]:
    if output is None:
        yield sys.stdout.write
        return
    try:
        # Line ends are those of the format, and events name people: the file is for its owner.
        output.touch(mode=0o600)
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file.write
    except OSError as e:
        raise SystemExit(f"The file {output} cannot be written: {e.strerror}.") from None


@contextmanager
def _counting(total: int, *, shown: bool) -> Iterator[_Advance]:
    if not shown:
        yield lambda number, /: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda number, /: bar.advance(task, number)


def _within(which: EventFilter, since: str | None, until: str | None, *, now: datetime) -> EventFilter:
    from narthex.usecases.event_log import between

    first, last = between(
        None if since is None else parse_instant(since, now=now, ahead=False),
        None if until is None else parse_instant(until, now=now, ahead=False),
    )
    return msgspec.structs.replace(which, since=first, until=last)


def _plain(name: str, line: Event) -> Any:
    """A line as exports of the HTTP API say it."""
    from narthex.usecases.event_log import exported

    return msgspec.to_builtins(exported(name, line))


def _print_line(name: str, line: Event, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_plain(name, line)), flush=True)
        return
    about = f"by {line.performed_by or '-'} on {line.subject or '-'}: {line.message}"
    at = f"{line.performed_at:%Y-%m-%d %H:%M:%S}"
    print(f"{at} {line.severity.name:13} {line.event_type.name} {printable(about)}", flush=True)
