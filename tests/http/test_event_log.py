"""The event log is bounded: strangers cannot fill it, and what is old leaves it."""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_network

import pytest

from narthex.http.bad_keys import MOST_LINES_A_MINUTE, BadKeyLines
from narthex.main import _keep_house
from narthex.ports.records import EventType
from tests.support.application import START, Application, HouseInProcess

pytestmark = pytest.mark.anyio

WRONG = "demo:secret:0123456789abcdef0123456789abcdef"
INVALID_SECRET, INVALID_PUBLIC = EventType.ApiAuthInvalidSecretKeyUsed, EventType.ApiAuthInvalidPublicKeyUsed
LOCKED_SECRET = EventType.ApiAuthDisabledSecretKeyUsed


async def send_bad_key(house: HouseInProcess, key: str = WRONG, header: str = "ApiSecret", **headers: str) -> None:
    answer = await house.client.post("/signin/verify", json={}, headers={header: key, **headers})
    assert 401 == answer.status_code


async def bad_keys_logged(house: HouseInProcess) -> list[EventType]:
    return [EventType(line[0]) for line in await house.events() if line[1] == 1]


async def test_a_bad_key_is_one_line_a_minute(house: HouseInProcess, application: Application) -> None:
    for _ in range(3):
        await asyncio.gather(*(send_bad_key(house) for _ in range(10)))
    assert [INVALID_SECRET] == await bad_keys_logged(house)
    messages = await house.rows("select message from event where severity = 1")
    assert [("a wrong ApiSecret was used, perhaps more than once in this minute",)] == messages
    house.clock.move(minutes=1)
    await send_bad_key(house)
    assert [INVALID_SECRET] * 2 == await bad_keys_logged(house)


async def test_each_kind_of_bad_key_has_its_line(house: HouseInProcess, application: Application) -> None:
    await house.lock_key("demo", application.other_secret_key)
    other = await house.create_application("other", eventLoggingIsEnabled=True)
    for _ in range(2):
        await send_bad_key(house)
        await send_bad_key(house, application.other_secret_key)
        await send_bad_key(house, WRONG.replace("demo", other.app_id))
        answer = await house.client.post("/signin/begin", json={}, headers={"ApiKey": WRONG})
        assert 401 == answer.status_code
    assert sorted([INVALID_SECRET, LOCKED_SECRET, INVALID_PUBLIC]) == sorted(await bad_keys_logged(house))
    assert [INVALID_SECRET] == [line[0] for line in await house.events("other") if line[1] == 1]


async def test_each_neighbourhood_of_addresses_has_its_line(sqlite_url: str) -> None:
    proxies = (ip_network("192.0.2.0/24"),)
    async with HouseInProcess(sqlite_url, trusted_proxies=proxies) as house:
        await house.create_application(eventLoggingIsEnabled=True)
        for address in ("198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            await send_bad_key(house, **{"X-Forwarded-For": address})
        assert [INVALID_SECRET] * 4 == await bad_keys_logged(house)


def test_many_neighbourhoods_have_a_hundred_lines_together() -> None:
    lines = BadKeyLines()
    claimed = [lines.claim("app", INVALID_SECRET, f"{n}", now=START) for n in range(MOST_LINES_A_MINUTE + 50)]
    assert [True] * MOST_LINES_A_MINUTE + [False] * 50 == claimed
    assert lines.claim("other", INVALID_SECRET, "0", now=START)


async def test_a_good_key_is_never_kept_out(house: HouseInProcess, application: Application) -> None:
    for _ in range(5):
        await send_bad_key(house)
    answer = await application.secret("/signin/verify", {"token": "verify_x"})
    assert 400 == answer.status_code


async def test_a_running_server_forgets_old_events(any_house: HouseInProcess) -> None:
    for app_id, days in (("demo", 30), ("other", 90)):
        await any_house.create_application(app_id, eventLoggingIsEnabled=True, eventLoggingRetentionPeriod=days)
    any_house.clock.move(days=31)
    chores = asyncio.create_task(_keep_house(any_house.env))
    try:
        for _ in range(1_000):
            if not await any_house.events("demo"):
                break
            await asyncio.sleep(0.02)
        assert [] == await any_house.events("demo")
        assert 1 == len(await any_house.events("other"))
    finally:
        chores.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chores
