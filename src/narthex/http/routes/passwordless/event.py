"""The event log in the compatible API (its section 7.14), with filters, exports and a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Final

import msgspec

from narthex.base.values import uuid_text
from narthex.http.authenticate import Access
from narthex.http.body import Rule, between
from narthex.http.environment import Header, Stream
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.shapes import INSTANT, Answer, Request, instant_bare, instant_of, told, uuid_of
from narthex.http.routing import route
from narthex.ports.records import Event, EventFilter, EventType, Scope
from narthex.usecases import event_log
from narthex.usecases.assurance import AssuranceRecord, record_of, unpacked
from narthex.usecases.call import Call

_DEFAULT_PAGE: Final = 100
_MOST_PAGE: Final = 1_000
_LAST_PAGE: Final = 2**31 - 1
_MOST_PATTERNS: Final = 100
_STILL_HERE: Final = b": nothing happened\n\n"
_COME_BACK: Final = b"retry: 3000\n\n"
_FORMULA_BEGINS: Final = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
"""With these a spreadsheet takes a cell for a formula (OWASP, CSV Injection); the last ones are the wide forms of the
first, which are read as those where people write in them."""
_COLUMNS: Final = (
    "id",
    "applicationId",
    "performedAt",
    "eventType",
    "severity",
    "message",
    "performedBy",
    "subject",
    "apiKeyId",
    "traceId",
    "assurance",
)


def _patterns(value: Iterable[str | None] | None) -> list[str]:
    """Each may itself hold several, with commas between them."""
    return [pattern.strip() for each in value or () for pattern in (each or "").split(",") if pattern.strip()]


def _broken_patterns(value: list[str | None] | None) -> str | None:
    patterns = _patterns(value)
    if len(patterns) > _MOST_PATTERNS:
        return f"{{}} cannot name more than {_MOST_PATTERNS} types."
    if not all(event_log.types_named(pattern) for pattern in patterns):
        return "{} must hold names or numbers of event types; a name may end in `*`."
    return None


def _broken_event_id(value: str | None) -> str | None:
    return "The {} field is not the id of an event." if value and _event_id(value) is None else None


def _event_id(text: str | None) -> bytes | None:
    event_id = uuid_of(text)
    return None if event_id is None else event_id.bytes


_PATTERNS = Rule(_broken_patterns, {"items": {"type": "string"}})
_EVENT_ID = Rule(_broken_event_id, {"format": "uuid"})
_FORMAT = Rule(
    lambda value: None if value in (None, "json", "csv") else "{} must be `json` or `csv`.", {"enum": ["json", "csv"]}
)


class _FilterQuery(Request):
    """Which events."""

    event_types: Annotated[
        list[str | None] | None,
        told("Names or numbers of event types; `ApiUser*` for all that begin so. Repeat it, or use commas."),
    ] = None
    subject: Annotated[str | None, told("Whom or what it was done to.", "user-1")] = None
    performed_by: Annotated[str | None, told("Who did it.", "user-1")] = None
    api_key_id: Annotated[str | None, told("The last four characters of the key that was used.", "a1b2")] = None
    trace_id: Annotated[str | None, told("As answers carry it, or its 32 digits alone.")] = None

    rules: ClassVar = {"event_types": (_PATTERNS,)}


class _SpanQuery(_FilterQuery):
    """Which events, and when."""

    from_: Annotated[str | None, told("From this instant on; without a zone it is UTC.", "2026-01-02T00:00:00Z")] = None
    until: Annotated[str | None, told("Before this instant.", "2026-01-03T00:00:00Z")] = None

    rules: ClassVar = {**_FilterQuery.rules, "from_": (INSTANT,), "until": (INSTANT,)}


class EventsQuery(_SpanQuery):
    """A page of the event log."""

    page_number: Annotated[int | None, told("From 1 on; needed unless there is a cursor.", 1)] = None
    number_of_results: Annotated[int | None, told("How many events the page has at most; 100 if left out.", 100)] = None
    cursor: Annotated[str | None, told("`nextCursor` of another page, with the same filters: goes on there.")] = None

    rules: ClassVar = {
        **_SpanQuery.rules,
        "page_number": (between(1, _LAST_PAGE),),
        "number_of_results": (between(1, _MOST_PAGE),),
    }


class EventsExportQuery(_SpanQuery):
    """The events to export."""

    format: Annotated[str | None, told("`json` for JSON Lines, which it is if left out, or `csv`.", "csv")] = None

    rules: ClassVar = {**_SpanQuery.rules, "format": (_FORMAT,)}


class EventsStreamQuery(_FilterQuery):
    """The events to follow."""

    after: Annotated[
        str | None, told("The id of the last event that was read: goes on after it. Without one, from now on.")
    ] = None

    rules: ClassVar = {**_FilterQuery.rules, "after": (_EVENT_ID,)}


class EventAnswer(Answer):
    """Something that happened."""

    id: Annotated[str, told("A UUID that begins with the instant: ids sort by time.")]
    performed_at: Annotated[str, told("UTC without a zone.", "2026-01-02T03:04:05.123456")]
    event_type: Annotated[str, told("Its name.", "ApiUserSignInCompleted")]
    severity: Annotated[str, told("`Alert`, `Warning`, `Error`, `Informational` or `Unknown`.", "Informational")]
    message: Annotated[str, told("For people; may change.")]
    reason: Annotated[str | None, told("What refused a ceremony, as a stable code.", "origin-not-allowed")]
    performed_by: Annotated[str, told("Who did it.", "user-1")]
    subject: Annotated[str, told("Whom or what it was done to.", "demo")]
    tenant_id: Annotated[str, told("The application.", "demo")]
    api_key_id: Annotated[str, told("The last four characters of the key that was used.", "a1b2")]
    trace_id: Annotated[str, told("That of the request, as its answer carried it.")]
    assurance: Annotated[AssuranceRecord | None, told("What was proved, where somebody authenticated.")]


class EventsAnswer(Answer):
    """A page of the event log, newest first."""

    tenant_id: Annotated[str, told("The application.", "demo")]
    events: list[EventAnswer]
    total_event_count: Annotated[int, told("How many events pass the filters; with a cursor, did when it was begun.")]
    next_cursor: Annotated[str | None, told("Where the next page begins; null on the last one.")]


@route(
    "GET",
    "/events",
    access=Access.SECRET_KEY,
    scope=Scope.EVENTS_READ,
    query=EventsQuery,
    answer=EventsAnswer,
)
async def events(call: Call, query: EventsQuery) -> EventsAnswer:
    """Read the event log, newest first.

    Page numbers count from the newest event, so what happens between two requests moves the pages; a cursor goes on
    where its page ended.
    """
    if query.page_number is None and query.cursor is None:
        raise ValidationFailed({"pageNumber": ["The PageNumber field is required."]})
    page = await event_log.read_page(
        call,
        _within(query, query.from_, query.until),
        most=query.number_of_results or _DEFAULT_PAGE,
        page_number=query.page_number or 1,
        cursor=query.cursor,
    )
    app_id = call.application.app_id
    return EventsAnswer(app_id, [_shown(app_id, line) for line in page.events], page.total, page.next_cursor)


@route(
    "GET",
    "/events/export",
    access=Access.SECRET_KEY,
    scope=Scope.EVENTS_READ,
    query=EventsExportQuery,
    answer=Stream,
    media_types=("application/x-ndjson", "text/csv"),
)
async def events_export(call: Call, query: EventsExportQuery) -> Stream:
    """Export the event log as a file, newest first: JSON Lines, or CSV.

    In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    event_log.require_event_log(call)
    which = _within(query, query.from_, query.until)
    if query.format == "csv":
        return Stream(_as_csv(call, which), b"text/csv; charset=utf-8; header=present", _attached(call, "csv"))
    return Stream(_as_json_lines(call, which), b"application/x-ndjson", _attached(call, "jsonl"))


@route(
    "GET",
    "/events/stream",
    access=Access.SECRET_KEY,
    scope=Scope.EVENTS_READ,
    query=EventsStreamQuery,
    answer=Stream,
    media_types=("text/event-stream",),
)
async def events_stream(call: Call, query: EventsStreamQuery) -> Stream:
    """Follow the event log as it grows, by server-sent events.

    `id` is that of the event, `event` its type, and `data` what an export says of it. Nothing is sent twice. An event
    of another server that comes some seconds late has no `id` line: going on after the last `id` repeats nothing.
    The stream ends when its key is locked. A client that comes back with `Last-Event-ID` need not send `after`.
    """
    content = _as_server_sent(call, _within(query), after=_event_id(query.after))
    await anext(content)  # A refusal is an answer of its own.
    return Stream(content, b"text/event-stream", ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")))


def _within(query: _FilterQuery, since: str | None = None, until: str | None = None) -> EventFilter:
    first, last = event_log.between(instant_of(since), instant_of(until))
    return EventFilter(
        event_types=_types(query.event_types),
        subject=query.subject or "",
        performed_by=query.performed_by or "",
        api_key_hint=query.api_key_id or "",
        trace_id=query.trace_id or "",
        since=first,
        until=last,
    )


def _types(value: list[str | None] | None) -> frozenset[EventType] | None:
    return frozenset().union(*(event_log.types_named(pattern) for pattern in _patterns(value))) or None


def _shown(app_id: str, line: Event) -> EventAnswer:
    assurance = unpacked(line.assurance)
    return EventAnswer(
        id=uuid_text(line.event_id),
        performed_at=instant_bare(line.performed_at),
        event_type=line.event_type.name,
        severity=line.severity.name,
        message=line.message,
        reason=line.reason or None,
        performed_by=line.performed_by,
        subject=line.subject,
        tenant_id=app_id,
        api_key_id=line.api_key_hint,
        trace_id=line.trace_id,
        assurance=None if assurance is None else record_of(assurance),
    )


def _attached(call: Call, extension: str) -> tuple[Header, ...]:
    # An application's id is letters and digits.
    name = f"events-{call.application.app_id}-{call.now:%Y%m%dT%H%M%SZ}.{extension}"
    return ((b"content-disposition", f'attachment; filename="{name}"'.encode()), (b"cache-control", b"no-store"))


async def _as_json_lines(call: Call, which: EventFilter) -> AsyncGenerator[bytes, None]:
    app_id = call.application.app_id
    async for portion in event_log.scan(call, which):
        yield msgspec.json.Encoder().encode_lines([event_log.exported(app_id, line) for line in portion])


async def _as_csv(call: Call, which: EventFilter) -> AsyncGenerator[bytes, None]:
    app_id = call.application.app_id
    yield _row(_COLUMNS)
    async for portion in event_log.scan(call, which):
        yield b"".join(_row(_cells(event_log.exported(app_id, line))) for line in portion)


def _cells(exported: dict[str, Any]) -> list[str]:
    proved = exported["assurance"]
    flat = {**exported, "assurance": "" if proved is None else msgspec.json.encode(proved).decode()}
    return [_harmless(flat[column]) for column in _COLUMNS]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_BEGINS) else cell


def _row(cells: Iterable[str]) -> bytes:
    """A record of RFC 4180, every field in quotes."""
    return (",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\r\n").encode()


async def _as_server_sent(call: Call, which: EventFilter, *, after: bytes | None) -> AsyncGenerator[bytes, None]:
    """The parts of the stream; the first is empty, and says that there is room for one more."""
    app_id, newest = call.application.app_id, after or b""
    async with aclosing(event_log.follow(call, which, after=after)) as following:
        await anext(following)
        yield b""
        yield _COME_BACK
        async for portion in following:
            parts = []
            for line in portion:
                parts.append(_server_sent(app_id, line, is_late=line.event_id < newest))
                newest = max(newest, line.event_id)
            yield b"".join(parts) or _STILL_HERE


def _server_sent(app_id: str, line: Event, *, is_late: bool) -> bytes:
    """An event of a stream (HTML, #server-sent-events): without an id, the last one stays what a client remembers."""
    name = b"" if is_late else f"id: {uuid_text(line.event_id)}\n".encode()
    data = msgspec.json.encode(event_log.exported(app_id, line))
    return name + f"event: {line.event_type.name}\ndata: ".encode() + data + b"\n\n"
