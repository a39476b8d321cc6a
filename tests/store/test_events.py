"""Reading the event log: filters, pages, and that a long search lets others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from narthex.adapters.sql.store import SqlRootStore, SqlTenantStore
from narthex.ports.changes import AddEvent
from narthex.ports.records import Event, EventFilter, EventType
from tests.store.conftest import Test
from tests.store.records import NOW, SECOND, make_event, timed_id

OnStore = Callable[[Test], None]

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACE_ID = f"00-{TRACE}-b7ad6b7169203331-01"
MICROSECOND = timedelta(microseconds=1)
ALL = EventFilter()


def event_at(seconds: float, name: str = "", **but: Any) -> Event:
    at = NOW + seconds * SECOND
    return make_event(event_id=timed_id(name or f"{seconds}", at), performed_at=at, **but)


KEPT = [
    event_at(0, subject="app", performed_by="System"),
    event_at(1, event_type=EventType.ApiUserSetAliases, trace_id=TRACE_ID),
    event_at(2, event_type=EventType.ApiUserDeleted, performed_by="anna", assurance=b"\x01\x00"),
    event_at(3, subject="anna", api_key_hint="wxyz"),
    event_at(4, event_type=EventType.ApiUserDeleted, api_key_hint="wxyz", trace_id=TRACE_ID.replace("c-", "d-")),
    event_at(5, subject="anna", performed_by="anna"),
]

# Each with the places of the events that pass.
FILTERS: dict[str, tuple[EventFilter, list[int]]] = {
    "all": (ALL, [0, 1, 2, 3, 4, 5]),
    "no types": (EventFilter(event_types=frozenset()), [0, 1, 2, 3, 4, 5]),
    "a type": (EventFilter(event_types=frozenset({EventType.ApiUserDeleted})), [2, 4]),
    "types": (EventFilter(event_types=frozenset({EventType.ApiUserDeleted, EventType.ApiUserSetAliases})), [1, 2, 4]),
    "all types": (EventFilter(event_types=frozenset(EventType)), [0, 1, 2, 3, 4, 5]),
    "a type that is not there": (EventFilter(event_types=frozenset({EventType.ApiWebhookChanged})), []),
    "subject": (EventFilter(subject="anna"), [3, 5]),
    "performed by": (EventFilter(performed_by="anna"), [2, 5]),
    "key": (EventFilter(api_key_hint="wxyz"), [3, 4]),
    "trace": (EventFilter(trace_id=TRACE), [1]),
    "whole trace id": (EventFilter(trace_id=TRACE_ID), [1]),
    "part of a trace": (EventFilter(trace_id=TRACE[:31]), []),
    "since": (EventFilter(since=NOW + 2 * SECOND), [2, 3, 4, 5]),
    "since, a microsecond later": (EventFilter(since=NOW + 2 * SECOND + MICROSECOND), [3, 4, 5]),
    "until": (EventFilter(until=NOW + 2 * SECOND), [0, 1]),
    "until, a microsecond later": (EventFilter(until=NOW + 2 * SECOND + MICROSECOND), [0, 1, 2]),
    "since and until": (EventFilter(since=NOW + SECOND, until=NOW + 4 * SECOND), [1, 2, 3]),
    "nothing between": (EventFilter(since=NOW + 4 * SECOND, until=NOW + SECOND), []),
    "everything at once": (
        EventFilter(
            event_types=frozenset({EventType.ApiUserSignInCompleted}), subject="anna", performed_by="anna",
            api_key_hint="abcd", trace_id="0123", since=NOW + SECOND, until=NOW + 6 * SECOND,
        ),
        [5],
    ),
    "what no text may be": (EventFilter(subject="' or true --", performed_by="%"), []),
}  # fmt: skip


async def keep(tenant: SqlTenantStore, events: Sequence[Event]) -> None:
    await asyncio.gather(*(tenant.commit(AddEvent(event)) for event in events))


@pytest.fixture(params=[1, 2, 3, 2_000])
def portion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many events are looked at together: what is found must not depend on it."""
    size: int = request.param
    monkeypatch.setattr("narthex.adapters.sql.store.PORTION", size)
    return size


@pytest.mark.usefixtures("portion")
def test_a_filter_lets_pass_what_it_asks_for(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await keep(tenant, KEPT)
        for name, (which, places) in FILTERS.items():
            passed = [KEPT[place] for place in places]
            assert await tenant.list_events(which=which, before=None, most=10) == passed[::-1], name
            assert await tenant.list_events_after(which=which, after=b"", most=10) == passed, name
            assert await tenant.count_events(which=which) == len(passed), name

    on_store(act)


@pytest.mark.usefixtures("portion")
@pytest.mark.parametrize(
    "which", [ALL, EventFilter(performed_by="user"), EventFilter(since=NOW, until=NOW + 5 * SECOND)]
)
def test_pages_follow_one_another_without_gap_or_repetition(on_store: OnStore, which: EventFilter) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await keep(tenant, KEPT)
        passed = await tenant.list_events(which=which, before=None, most=10)
        for most in (1, 2, 4, 6):
            newest: list[Event] = []
            while page := await tenant.list_events(
                which=which, before=newest[-1].event_id if newest else None, most=most
            ):
                assert len(page) <= most
                newest += page
            assert newest == passed
            oldest: list[Event] = []
            while page := await tenant.list_events_after(
                which=which, after=oldest[-1].event_id if oldest else b"", most=most
            ):
                assert len(page) <= most
                oldest += page
            assert oldest == newest[::-1]
            for skip in range(len(passed) + 2):
                assert (
                    await tenant.list_events(which=which, before=None, most=most, skip=skip)
                    == passed[skip : skip + most]
                )
                assert (
                    await tenant.list_events(which=which, before=passed[0].event_id, most=most, skip=skip)
                    == passed[1 + skip : 1 + skip + most]
                )
        assert await tenant.list_events(which=which, before=None, most=0) == []

    on_store(act)


def test_an_instant_bounds_to_the_microsecond_whatever_an_id_rounds(on_store: OnStore) -> None:
    """An id has milliseconds only, and one that was made by way of a float may be one too few."""
    early = make_event(event_id=timed_id("early", NOW - timedelta(milliseconds=1)), performed_at=NOW)
    late = make_event(event_id=timed_id("late", NOW), performed_at=NOW + MICROSECOND)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await keep(tenant, [early, late])
        for since, until, expected in (
            (NOW, None, [late, early]),
            (NOW + MICROSECOND, None, [late]),
            (None, NOW + MICROSECOND, [early]),
            (NOW, NOW + MICROSECOND, [early]),
            (None, NOW, []),
        ):
            which = EventFilter(since=since, until=until)
            assert await tenant.list_events(which=which, before=None, most=10) == expected
            assert await tenant.count_events(which=which) == len(expected)

    on_store(act)


def test_bounds_at_the_ends_of_time_are_no_error(on_store: OnStore) -> None:
    which = EventFilter(since=NOW.replace(year=1), until=NOW.replace(year=9999))

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await keep(tenant, KEPT)
        assert await tenant.count_events(which=which) == len(KEPT)

    on_store(act)


def test_a_search_that_finds_little_lets_others_have_their_turn(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite a read holds the event loop: none may go through the whole log at once."""
    monkeypatch.setattr("narthex.adapters.sql.store.PORTION", 10)
    others = [event_at(n / 1000, f"{n}") for n in range(500)]
    needle = event_at(-1, subject="needle")
    which = EventFilter(subject="needle")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await keep(tenant, [needle, *others])

        async def turns_during(search: Awaitable[object], expected: object) -> int:
            turns = 0

            async def serve_others() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            serving = asyncio.create_task(serve_others())
            assert await search == expected
            serving.cancel()
            return turns

        assert await turns_during(tenant.list_events(which=which, before=None, most=2), [needle]) >= 45
        assert await turns_during(tenant.list_events_after(which=which, after=b"", most=2), [needle]) >= 45
        assert await turns_during(tenant.count_events(which=which), 1) >= 45
        assert await turns_during(tenant.count_events(which=ALL), 501) >= 45
        assert await turns_during(tenant.list_events(which=ALL, before=None, most=1, skip=500), [needle]) >= 45

    on_store(act)
