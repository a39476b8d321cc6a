"""Reading the event log: the compatible page, filters, cursors, exports and the stream."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from narthex.base.errors import RateLimited
from narthex.base.values import uuid_text
from narthex.http.app import create_app
from narthex.http.authenticate import Access, authenticate_key
from narthex.ports.changes import AddEvent, ExpireKey, RemoveApiKey
from narthex.ports.records import Event, EventFilter, EventType, KeyKind, Scope
from narthex.usecases.call import Call
from narthex.usecases.event_log import MOST_FOLLOWERS, EventLoggingOff, Pace, follow
from tests.store.records import make_event, timed_id
from tests.support.application import START, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACE_ID = f"00-{TRACE}-b7ad6b7169203331-01"
FAST = Pace(
    look_again_after_s=0.01, say_something_after=timedelta(seconds=0.2), check_the_key_after=timedelta(seconds=0.05)
)
ANY = EventFilter()


def event_at(seconds: float, name: str = "", **but: Any) -> Event:
    at = START + seconds * SECOND
    return make_event(event_id=timed_id(name or f"{seconds}", at), performed_at=at, **but)


async def keep(house: HouseInProcess, *events: Event, app_id: str = "demo") -> None:
    for start in range(0, len(events), 200):
        await house.root.tenant(app_id).commit(*(AddEvent(event=each) for each in events[start : start + 200]))


async def ask(application: Application, path: str = "", **query: Any) -> httpx.Response:
    headers = {"ApiSecret": application.secret_key}
    return await application.client.get(f"/events{path}", params=query or None, headers=headers)


async def messages(application: Application, **query: Any) -> list[str]:
    """What the events of the first page say, newest first."""
    answer = accepted(await ask(application, **{"pageNumber": 1} | query))
    return [each["message"] for each in answer["events"]]


async def exported(application: Application, **query: Any) -> list[Json]:
    answer = await ask(application, "/export", **query)
    assert 200 == answer.status_code, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def exported_table(application: Application, **query: Any) -> list[dict[str, str]]:
    answer = await ask(application, "/export", format="csv", **query)
    assert 200 == answer.status_code, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))


async def call_of(house: HouseInProcess, application: Application) -> Call:
    """The call of a backend that reads the log now."""
    headers = {b"apisecret": application.secret_key.encode()}
    return await authenticate_key(
        house.env, Access.SECRET_KEY, Scope.EVENTS_READ, headers, peer="192.0.2.1", trace_id="trace"
    )


# --- the page of the compatible API


async def test_a_page_has_the_compatible_shape(house: HouseInProcess, application: Application) -> None:
    await keep(house, event_at(1, performed_by="ann", trace_id=TRACE_ID))
    page = accepted(await ask(application, pageNumber=1, numberOfResults=1))
    assert ["tenantId", "events", "totalEventCount", "nextCursor"] == list(page)
    assert ("demo", 2) == (page["tenantId"], page["totalEventCount"])
    assert [
        {
            "id": uuid_text(timed_id("1", START + SECOND)),
            "performedAt": "2026-03-04T05:06:08.891011",
            "eventType": "ApiUserSignInCompleted",
            "severity": "Informational",
            "message": "a user signed in",
            "reason": None,
            "performedBy": "ann",
            "subject": "app",
            "tenantId": "demo",
            "apiKeyId": "abcd",
            "traceId": TRACE_ID,
            "assurance": None,
        }
    ] == page["events"]


async def test_the_newest_event_stands_first(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    await keep(any_house, *(event_at(n, message=f"{n}") for n in (2, 1, 3)))
    assert ["3", "2", "1", "application created"] == await messages(application)


async def test_pages_are_numbered_from_one(house: HouseInProcess, application: Application) -> None:
    await keep(house, *(event_at(n, message=f"{n}") for n in range(1, 6)))
    assert ["5", "4"] == await messages(application, numberOfResults=2)
    assert ["3", "2"] == await messages(application, pageNumber=2, numberOfResults=2)
    assert ["1", "application created"] == await messages(application, pageNumber=3, numberOfResults=2)
    assert [] == await messages(application, pageNumber=4, numberOfResults=2)
    assert [] == await messages(application, pageNumber=2**31 - 1, numberOfResults=1000)


async def test_a_page_has_a_hundred_events_unless_asked_otherwise(
    house: HouseInProcess, application: Application
) -> None:
    await keep(house, *(event_at(n) for n in range(1, 121)))
    assert 100 == len(await messages(application))
    # The .NET SDK sends an empty value for none.
    assert 100 == len(await messages(application, numberOfResults=""))
    assert 121 == len(await messages(application, numberOfResults=1000))


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ({}, "pageNumber"),
        ({"pageNumber": ""}, "pageNumber"),
        ({"pageNumber": 0}, "pageNumber"),
        ({"pageNumber": -1}, "pageNumber"),
        ({"pageNumber": 2**31}, "pageNumber"),
        ({"pageNumber": 1, "numberOfResults": 0}, "numberOfResults"),
        ({"pageNumber": 1, "numberOfResults": 1001}, "numberOfResults"),
        ({"pageNumber": 1, "eventTypes": "ApiUser"}, "eventTypes"),
        ({"pageNumber": 1, "eventTypes": "ApiUserDeleted,No*"}, "eventTypes"),
        ({"pageNumber": 1, "eventTypes": "01000"}, "eventTypes"),
        ({"pageNumber": 1, "eventTypes": ",".join(["1000"] * 101)}, "eventTypes"),
        ({"pageNumber": 1, "from": "yesterday"}, "from"),
        ({"pageNumber": 1, "until": "2026-13-01"}, "until"),
    ],
)
async def test_what_is_no_page_is_refused(application: Application, query: Json, member: str) -> None:
    problem = refused(await ask(application, **query), 400, "validation_failed")
    assert [member] == list(problem["errors"])


async def test_numbers_must_be_numbers(application: Application) -> None:
    refused(await ask(application, pageNumber="one"), 400, "malformed_query")


@pytest.mark.parametrize("path", ["?pageNumber=1", "/export", "/export?format=csv", "/stream"])
async def test_without_an_event_log_there_is_nothing_to_read(house: HouseInProcess, path: str) -> None:
    application = await house.create_application()
    problem = refused(await ask(application, path), 403, "event_logging_off")
    assert "Event logging is off for this application." == problem["title"]


@pytest.mark.parametrize("path", ["?pageNumber=1", "/export", "/stream"])
async def test_a_key_without_the_scope_reads_nothing(
    house: HouseInProcess, application: Application, path: str
) -> None:
    key = await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({Scope.TOKEN_VERIFY, Scope.USERS_READ}))
    refused(await house.get(f"/events{path}", ApiSecret=key), 403, "forbidden")


async def test_what_was_proved_stands_beside_the_sign_in(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    verified = await ceremonies.verify(await ceremonies.sign_in(userId="ann"))
    page = accepted(await ask(application, pageNumber=1, eventTypes="ApiUserSignInCompleted"))
    assert [verified["assurance"]] == [each["assurance"] for each in page["events"]]
    assert [verified["assurance"]] == [
        each["assurance"] for each in await exported(application, eventTypes="ApiUserSignInCompleted")
    ]
    (row,) = await exported_table(application, eventTypes="ApiUserSignInCompleted")
    assert verified["assurance"] == json.loads(row["assurance"])


# --- filters

KEPT = (
    event_at(1, message="1", event_type=EventType.ApiUserDeleted, subject="ann", performed_by="System"),
    event_at(2, message="2", event_type=EventType.ApiUserSetAliases, subject="ann", performed_by="ann"),
    event_at(3, message="3", event_type=EventType.AdminApiKeyCreated, api_key_hint="wxyz", trace_id=TRACE_ID),
    event_at(4, message="4", event_type=EventType.ApiUserDeleted, subject="bob", performed_by="ann"),
)
FILTERS: tuple[tuple[Json, list[str]], ...] = (
    ({}, ["4", "3", "2", "1", "application created"]),
    ({"eventTypes": "ApiUserDeleted"}, ["4", "1"]),
    ({"eventTypes": "1105"}, ["4", "1"]),
    ({"eventTypes": "ApiUser*"}, ["4", "2", "1"]),
    ({"eventTypes": "*"}, ["4", "3", "2", "1", "application created"]),
    ({"eventTypes": "AdminApiKeyCreated, 1100"}, ["3", "2"]),
    ({"eventTypes": ["AdminApiKey*", "ApiUserSetAliases"]}, ["3", "2"]),
    ({"eventTypes": "ApiWebhookChanged"}, []),
    ({"subject": "ann"}, ["2", "1"]),
    ({"SUBJECT": "ann"}, ["2", "1"]),
    ({"subject": "Ann"}, []),
    ({"performedBy": "ann"}, ["4", "2"]),
    ({"subject": "ann", "performedBy": "ann"}, ["2"]),
    ({"apiKeyId": "wxyz"}, ["3"]),
    ({"traceId": TRACE}, ["3"]),
    ({"traceId": TRACE_ID}, ["3"]),
    ({"from": "2026-03-04T05:06:09.891011Z"}, ["4", "3", "2"]),
    ({"from": "2026-03-04T05:06:09.891011"}, ["4", "3", "2"]),
    ({"from": "2026-03-04T07:06:09.891011+02:00"}, ["4", "3", "2"]),
    ({"until": "2026-03-04T05:06:09.891011Z"}, ["1", "application created"]),
    ({"from": "2026-03-04T05:06:09Z", "until": "2026-03-04T05:06:11Z", "eventTypes": "ApiUser*"}, ["2"]),
    ({"from": "0001-01-01T00:00:00", "until": "9999-12-31T23:59:59.999999", "subject": "ann"}, ["2", "1"]),
    ({"until": "0001-01-01T00:00:00"}, []),
    ({"from": "9999-12-31T23:59:59.999999"}, []),
)  # fmt: skip


@pytest.mark.parametrize(("query", "passed"), FILTERS, ids=lambda value: "" if isinstance(value, list) else f"{value}")
async def test_a_filter_passes_what_it_asks_for(
    house: HouseInProcess, application: Application, query: Json, passed: list[str]
) -> None:
    await keep(house, *KEPT)
    page = accepted(await ask(application, pageNumber=1, **query))
    assert passed == [each["message"] for each in page["events"]]
    assert len(passed) == page["totalEventCount"]
    assert passed == [each["message"] for each in await exported(application, **query)]
    assert passed == [row["message"] for row in await exported_table(application, **query)]


async def test_other_applications_see_none_of_it(any_house: HouseInProcess) -> None:
    demo = await any_house.create_application(eventLoggingIsEnabled=True)
    other = await any_house.create_application("other", eventLoggingIsEnabled=True)
    await keep(any_house, *KEPT)
    assert 5 == len(await messages(demo))
    assert ["application created"] == await messages(other)
    assert ["other"] == [each["applicationId"] for each in await exported(other)]
    assert [] == await messages(other, subject="ann")
    assert 1 == accepted(await ask(other, pageNumber=1))["totalEventCount"]


# --- cursors


async def pages(application: Application, **query: Any) -> AsyncIterator[list[str]]:
    answer = accepted(await ask(application, **{"pageNumber": 1} | query))
    yield [each["message"] for each in answer["events"]]
    while answer["nextCursor"] is not None:
        answer = accepted(await ask(application, cursor=answer["nextCursor"], **query))
        yield [each["message"] for each in answer["events"]]


async def test_a_cursor_goes_on_where_its_page_ended_while_events_arrive(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    await keep(any_house, *(event_at(n, message=f"{n}") for n in range(1, 8)))
    seen, late = [], 100
    async for page in pages(application, numberOfResults=3):
        seen.append(page)
        late += 1
        await keep(any_house, event_at(late, message=f"{late}"))
    assert [["7", "6", "5"], ["4", "3", "2"], ["1", "application created"]] == seen


async def test_pages_of_a_cursor_tell_how_many_there_were(house: HouseInProcess, application: Application) -> None:
    await keep(house, *(event_at(n) for n in range(1, 5)))
    first = accepted(await ask(application, pageNumber=1, numberOfResults=2))
    await keep(house, event_at(9))
    second = accepted(await ask(application, cursor=first["nextCursor"], numberOfResults=2))
    assert (5, 5) == (first["totalEventCount"], second["totalEventCount"])


async def test_a_page_that_ends_the_log_has_no_cursor(house: HouseInProcess, application: Application) -> None:
    await keep(house, event_at(1))
    assert accepted(await ask(application, pageNumber=1, numberOfResults=2))["nextCursor"] is None
    assert accepted(await ask(application, pageNumber=1, numberOfResults=1))["nextCursor"] is not None


async def test_a_cursor_is_good_for_its_list_alone(house: HouseInProcess, application: Application) -> None:
    await keep(house, *(event_at(n, subject="ann") for n in range(1, 5)))
    other = await house.create_application("other", eventLoggingIsEnabled=True)
    cursor = accepted(await ask(application, pageNumber=1, numberOfResults=2, subject="ann"))["nextCursor"]
    accepted(await ask(application, cursor=cursor, subject="ann"))
    accepted(await ask(application, cursor=cursor, subject="ann", numberOfResults=1))
    for asker, query in (
        (application, {}),
        (application, {"subject": "bob"}),
        (application, {"subject": "ann", "eventTypes": "*"}),
        (other, {"subject": "ann"}),
    ):
        refused(await ask(asker, cursor=cursor, **query), 400, "invalid_cursor")
    for forged in (cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BA"), "AAAA", "%", "x" * 3_000):
        refused(await ask(application, cursor=forged, subject="ann"), 400, "invalid_cursor")


# --- exports


async def test_an_export_is_a_file_of_json_lines(house: HouseInProcess, application: Application) -> None:
    answer = await ask(application, "/export")
    assert "application/x-ndjson" == answer.headers["content-type"]
    name = 'attachment; filename="events-demo-20260304T050607Z.jsonl"'
    assert (name, "no-store") == (answer.headers["content-disposition"], answer.headers["cache-control"])
    created = json.loads(answer.text)
    assert ("demo", "ApiManagementAppCreated", "2026-03-04T05:06:07.891011Z") == (
        created["applicationId"],
        created["eventType"],
        created["performedAt"],
    )


async def test_a_table_is_a_file_with_a_header(house: HouseInProcess, application: Application) -> None:
    answer = await ask(application, "/export", format="csv", subject="nobody")
    assert "text/csv; charset=utf-8; header=present" == answer.headers["content-type"]
    assert 'attachment; filename="events-demo-20260304T050607Z.csv"' == answer.headers["content-disposition"]
    header = (
        '"id","applicationId","performedAt","eventType","severity","message","performedBy","subject","apiKeyId",'
        '"traceId","assurance"\r\n'
    )
    assert header == answer.text


async def test_an_export_of_many_portions_is_the_whole_list(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    await keep(any_house, *(event_at(n / 10, message=f"{n}") for n in range(1, 1_301)))
    whole = [message async for page in pages(application, numberOfResults=1000) for message in page]
    assert 1_301 == len(whole)
    assert whole == [each["message"] for each in await exported(application)]
    assert whole == [row["message"] for row in await exported_table(application)]


async def test_others_have_their_turn_while_a_long_log_is_exported(
    house: HouseInProcess, application: Application
) -> None:
    await keep(house, *(event_at(n / 10) for n in range(1, 5_001)))
    exporting, turns = asyncio.create_task(exported(application)), 0
    while not exporting.done():
        await asyncio.sleep(0)
        turns += 1
    assert 5_001 == len(await exporting)
    assert turns > 10


async def test_other_formats_are_refused(application: Application) -> None:
    problem = refused(await ask(application, "/export", format="xlsx"), 400, "validation_failed")
    assert {"format": ["Format must be `json` or `csv`."]} == problem["errors"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
async def test_a_cell_is_no_formula(house: HouseInProcess, application: Application, begin: str) -> None:
    formula = f'{begin}HYPERLINK("https://evil.example","x")'
    await keep(house, event_at(1, message=formula, performed_by=formula, subject=formula, trace_id=formula))
    row = (await exported_table(application))[0]
    assert {f"'{formula}"} == {row[name] for name in ("message", "performedBy", "subject", "traceId")}
    # A program that reads JSON is not a spreadsheet.
    assert formula == (await exported(application))[0]["message"]


async def test_a_cell_may_hold_anything(house: HouseInProcess, application: Application) -> None:
    odd = 'a "quoted", line\r\nand another; ünï\u2028códe\n=1+1'
    await keep(house, event_at(1, message=odd))
    assert odd == (await exported_table(application))[0]["message"]
    assert odd == accepted(await ask(application, pageNumber=1))["events"][0]["message"]
    answer = await ask(application, "/export")
    assert odd == json.loads(answer.content.split(b"\n")[0])["message"]


# --- the stream


class Listener:
    """A client that reads a stream as it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.received = ""
        self.ended = False
        self._more = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.received += message.get("body", b"").decode()
            self.ended = not message.get("more_body", False)
        self._more.set()

    async def receive(self) -> Any:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    @property
    def events(self) -> list[dict[str, str]]:
        blocks = [block for block in self.received.split("\n\n")[:-1] if "data: " in block]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]  # type: ignore[misc]

    async def begun(self) -> None:
        """The first words were said, or the whole answer."""
        async with asyncio.timeout(20):
            while not (self.received or self.ended):
                await self._next()

    async def _next(self) -> None:
        self._more.clear()
        await self._more.wait()

    async def until(self, count: int) -> list[dict[str, str]]:
        """So many events, as they came."""
        async with asyncio.timeout(20):
            while len(self.events) < count:
                await self._next()
        return self.events


@asynccontextmanager
async def listening(
    house: HouseInProcess, application: Application, query: str = "", *, method: str = "GET", last_read: str = ""
) -> AsyncIterator[Listener]:
    listener = Listener()
    scope = {
        "type": "http",
        "method": method,
        "path": "/events/stream",
        "query_string": query.encode(),
        "headers": [
            (b"apisecret", application.secret_key.encode()),
            *([(b"last-event-id", last_read.encode())] if last_read else []),
        ],
        "client": ("192.0.2.1", 50_000),
    }
    serving = asyncio.ensure_future(create_app(house.env)(scope, listener.receive, listener.send))
    try:
        await listener.begun()
        yield listener
    finally:
        listener.hung_up.set()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_stream_delivers_what_happens(house: HouseInProcess, application: Application) -> None:
    house.clock.move(seconds=1)
    async with listening(house, application) as listener:
        assert (200, "text/event-stream", "no-store") == (
            listener.status,
            listener.headers["content-type"],
            listener.headers["cache-control"],
        )
        await Ceremonies(application).give_leave("ann")
        (event,) = await listener.until(1)
    (whole,) = await exported(application, eventTypes="ApiAuthUserRegistered")
    assert {"id": whole["id"], "event": "ApiAuthUserRegistered"} == {name: event[name] for name in ("id", "event")}
    assert whole == json.loads(event["data"])


async def test_a_stream_goes_on_after_an_event(house: HouseInProcess, application: Application) -> None:
    await keep(house, *KEPT)
    last_read = uuid_text(KEPT[1].event_id)
    async with listening(house, application, f"after={last_read}") as listener:
        events = await listener.until(2)
        assert ["3", "4"] == [json.loads(event["data"])["message"] for event in events]
        await keep(house, event_at(5, message="5"))
        events = await listener.until(3)
    assert ["3", "4", "5"] == [json.loads(event["data"])["message"] for event in events]


async def test_a_stream_is_of_one_application_and_one_filter(house: HouseInProcess, application: Application) -> None:
    await house.create_application("other", eventLoggingIsEnabled=True)
    house.clock.move(seconds=1)
    async with listening(house, application, "eventTypes=ApiUserD*&subject=bob") as listener:
        await keep(house, *KEPT, app_id="other")
        await keep(house, *KEPT)
        events = await listener.until(1)
        await asyncio.sleep(1.2)
        assert [KEPT[3].message] == [json.loads(event["data"])["message"] for event in listener.events]
        assert "demo" == json.loads(events[0]["data"])["applicationId"]


async def test_a_browser_that_comes_back_goes_on_where_it_was(house: HouseInProcess, application: Application) -> None:
    """HTML, 9.2.4: an `EventSource` sends the last id that it read."""
    await keep(house, *KEPT)
    async with listening(house, application, last_read=uuid_text(KEPT[2].event_id)) as listener:
        assert ["4"] == [json.loads(event["data"])["message"] for event in await listener.until(1)]


async def test_the_head_of_a_stream_is_all_there_is_of_it(house: HouseInProcess, application: Application) -> None:
    async with listening(house, application, method="HEAD") as listener:
        assert (200, True, "") == (listener.status, listener.ended, listener.received)


async def test_a_client_that_hangs_up_leaves_its_place_at_once(house: HouseInProcess, application: Application) -> None:
    async with listening(house, application) as listener:
        listener.hung_up.set()
        await asyncio.sleep(0.05)
        call = await call_of(house, application)
        streams = [follow(call, ANY, after=None, pace=FAST) for _ in range(MOST_FOLLOWERS)]
        for stream in streams:
            assert () == await anext(stream)
            await stream.aclose()


async def test_what_refused_a_ceremony_is_told_by_its_code(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    begun = await ceremonies.begin_sign_in(userId="ann")
    await ceremonies.complete_sign_in(begun, origin="https://other.example")
    (line,) = accepted(await ask(application, pageNumber=1, eventTypes="ApiUserSignInRefused"))["events"]
    assert "origin-not-allowed" == line["reason"]


@pytest.mark.parametrize("after", ["x", "0" * 32, f"{{{'0' * 34}}}", "00000000-0000-0000-0000-00000000000g"])
async def test_what_is_no_event_id_is_refused(application: Application, after: str) -> None:
    problem = refused(await ask(application, "/stream", after=after), 400, "validation_failed")
    assert ["after"] == list(problem["errors"])


async def test_so_many_streams_and_no_more(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other", eventLoggingIsEnabled=True)
    call = await call_of(house, application)
    streams = [follow(call, ANY, after=None, pace=FAST) for _ in range(MOST_FOLLOWERS)]
    for stream in streams:
        assert () == await anext(stream)
    answer = await ask(application, "/stream")
    refused(answer, 429, "rate_limited")
    assert "60" == answer.headers["retry-after"]
    async with listening(house, other) as listener:
        assert 200 == listener.status
    await streams.pop().aclose()
    async with listening(house, application) as listener:
        assert 200 == listener.status
        with pytest.raises(RateLimited):
            await anext(follow(call, ANY, after=None))
    # Whoever hung up has left the place to another.
    async with listening(house, application) as listener:
        assert 200 == listener.status
    for stream in streams:
        await stream.aclose()


async def test_a_stream_says_now_and_then_that_it_is_there(house: HouseInProcess, application: Application) -> None:
    house.clock.move(seconds=1)
    async with aclosing(follow(await call_of(house, application), ANY, after=None, pace=FAST)) as stream:
        async with asyncio.timeout(5):
            assert [(), [], []] == [await anext(stream) for _ in range(3)]


async def followed(house: HouseInProcess, application: Application, *, after: bytes | None = None) -> list[str]:
    """What a stream says until it ends."""
    async with (
        asyncio.timeout(10),
        aclosing(follow(await call_of(house, application), ANY, after=after, pace=FAST)) as stream,
    ):
        return [line.message async for portion in stream for line in portion]


async def test_a_stream_ends_when_its_key_is_locked(house: HouseInProcess, application: Application) -> None:
    following = asyncio.create_task(followed(house, application, after=b""))
    await asyncio.sleep(0.3)
    assert not following.done()
    await house.lock_key("demo", application.other_secret_key)
    await asyncio.sleep(1.2)  # Another key's lock is nothing to this stream.
    assert not following.done()
    await house.lock_key("demo", application.secret_key)
    assert ["application created"] == await following


async def end_by_freeze(house: HouseInProcess, application: Application) -> None:
    assert 204 == (await house.manage("/admin/apps/demo/freeze", {})).status_code


async def end_by_no_more_log(house: HouseInProcess, application: Application) -> None:
    await house.change_settings("demo", event_logging=False)


async def end_by_expiry(house: HouseInProcess, application: Application) -> None:
    key = await house.find_key("demo", application.secret_key)
    await house.root.tenant("demo").commit(ExpireKey(key.key_id, START))
    house.env.directory.forget("demo")


async def end_by_removal(house: HouseInProcess, application: Application) -> None:
    key = await house.find_key("demo", application.secret_key)
    await house.root.tenant("demo").commit(RemoveApiKey(key.key_id))
    house.env.directory.forget("demo")


async def end_by_deletion(house: HouseInProcess, application: Application) -> None:
    await house.root.erase_application("demo")
    house.env.directory.forget("demo")


@pytest.mark.parametrize(
    "end", [end_by_freeze, end_by_no_more_log, end_by_expiry, end_by_removal, end_by_deletion], ids=lambda f: f.__name__
)
async def test_a_stream_ends_with_the_right_to_it(house: HouseInProcess, application: Application, end: Any) -> None:
    following = asyncio.create_task(followed(house, application))
    await asyncio.sleep(0.2)
    assert not following.done()
    await end(house, application)
    await following


async def next_messages(stream: Any, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [line.message for line in await anext(stream)]
    return found


async def test_an_event_that_comes_late_is_sent_once(house: HouseInProcess, application: Application) -> None:
    """Another server's clock is ahead, a third one's behind; nothing is lost, and nothing comes twice."""
    house.clock.move(seconds=60)
    async with aclosing(follow(await call_of(house, application), ANY, after=b"", pace=FAST)) as stream:
        assert ["application created"] == await next_messages(stream, 1)
        await keep(house, event_at(120, message="ahead"))
        assert ["ahead"] == await next_messages(stream, 1)
        await keep(house, event_at(57, message="late"))
        assert ["late"] == await next_messages(stream, 1)
        await keep(house, event_at(55, message="later"), event_at(61, message="now"))
        assert ["later", "now"] == await next_messages(stream, 2)
        assert [[], []] == [await anext(stream) for _ in range(2)]


async def test_a_late_event_does_not_move_where_a_client_goes_on(
    house: HouseInProcess, application: Application
) -> None:
    house.clock.move(seconds=60)
    async with listening(house, application, f"after={uuid_text(bytes(16))}") as listener:
        await listener.until(1)
        await keep(house, event_at(60, message="newest"))
        await listener.until(2)
        await keep(house, event_at(58, message="late"))
        _, newest, late = await listener.until(3)
    assert ("newest", "late") == (json.loads(newest["data"])["message"], json.loads(late["data"])["message"])
    assert ("id" in newest, "id" in late) == (True, False)


async def test_a_stream_catches_up_with_a_long_log(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    events: Sequence[Event] = [event_at(n / 100, message=f"{n}") for n in range(1, 1_801)]
    await keep(any_house, *events)
    any_house.clock.move(seconds=19)
    async with aclosing(follow(await call_of(any_house, application), ANY, after=b"", pace=FAST)) as stream:
        caught_up = await next_messages(stream, 1_801)
        assert ["application created", *(each.message for each in events)] == caught_up
        await keep(any_house, event_at(19.5, message="next"))
        assert ["next"] == await next_messages(stream, 1)


async def test_no_log_is_followed_that_is_not_kept(house: HouseInProcess) -> None:
    application = await house.create_application()
    with pytest.raises(EventLoggingOff):
        await anext(follow(await call_of(house, application), ANY, after=None))
