"""What somebody tried who wanted in: keys from the wrong network, receivers that never end, mails to strangers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from narthex.adapters.egress import GuardedEgress
from narthex.adapters.mail import FileMail
from narthex.http import authenticate, bad_keys
from narthex.http.authenticate import Access
from narthex.http.bad_keys import MOST_TRIALS_A_MINUTE
from narthex.ports.changes import AddDelivery
from narthex.ports.egress import AddressUnreachable
from narthex.ports.mail import Message
from narthex.ports.records import ApiKey, Delivery, DeliveryKind, EventFilter, Scope
from narthex.usecases import delivery
from narthex.usecases.api_key import opens_by_reference_hash
from narthex.usecases.call import time_ordered_id
from narthex.usecases.delivery import send_due_deliveries
from narthex.usecases.event_log import follow
from tests.http.test_events import FAST
from tests.http.test_keys import IMPORTED, import_key
from tests.http.test_webhooks import create, make_house, operator_call, queue_test
from tests.support.application import START, Application, Ceremonies, HouseInProcess, refused
from tests.support.authenticator import Json
from tests.support.listener import Handler, Listener, silent

pytestmark = pytest.mark.anyio

LOOPBACK = [ip_network("127.0.0.0/8")]
PROXIES = (ip_network("10.0.0.0/8"),)


# --- keys and networks ------------------------------------------------------------------------------------------------


async def narrow(house: HouseInProcess, application: Application, *networks: str, scope: str = "users:read") -> None:
    """Let the secret key be used from these networks only."""
    terms = {"scopes": [scope], "networks": networks}
    answer = await house.manage(f"/admin/apps/demo/api-keys/{application.secret_key[-4:]}", terms)
    assert 204 == answer.status_code, answer.text


async def ask_through_proxy(sqlite_url: str, network: str, lines: Sequence[str]) -> int:
    """Use a key of one network through 10.0.0.1, which sends these lines of `X-Forwarded-For`."""
    async with HouseInProcess(sqlite_url, trusted_proxies=PROXIES, peer="10.0.0.1") as house:
        application = await house.create_application()
        await narrow(house, application, network)
        headers = [("ApiSecret", application.secret_key), *(("X-Forwarded-For", line) for line in lines)]
        return (await house.client.get("/users/count", headers=headers)).status_code


@pytest.mark.parametrize(
    "lines",
    [
        ["203.0.113.9", "10.0.0.7"],
        ["203.0.113.9, 10.0.0.8", "10.0.0.7"],
        ["203.0.113.9:4711"],
        ["[2001:db8::9]:4711"],
        ["[2001:db8::9]"],
        ["203.0.113.9,"],
        ["203.0.113.9", ""],
        ["unknown"],
        ["_hidden, 10.0.0.7"],
    ],
)
async def test_a_client_whom_a_proxy_spells_oddly_does_not_pass_for_the_proxy(
    sqlite_url: str, lines: list[str]
) -> None:
    """A key for the inner network, and a proxy that stands in it: whoever hides behind it is not there."""
    assert 403 == await ask_through_proxy(sqlite_url, "10.0.0.0/8", lines)


@pytest.mark.parametrize(
    "lines", [["192.0.2.7:4711"], ["192.0.2.7", "10.0.0.7"], ["192.0.2.7,"], ["203.0.113.9", "192.0.2.7, 10.0.0.7"]]
)
async def test_a_client_of_the_network_passes_however_the_proxy_spells_it(sqlite_url: str, lines: list[str]) -> None:
    assert 200 == await ask_through_proxy(sqlite_url, "192.0.2.0/24", lines)


async def test_a_client_without_a_forwarding_line_is_the_peer(sqlite_url: str) -> None:
    assert 200 == await ask_through_proxy(sqlite_url, "10.0.0.0/8", [])


@pytest.mark.parametrize(
    ("meanwhile", "status"),
    [
        ("delete from api_key where hint = 'eeff'", 401),
        ("update api_key set locked = true where hint = 'eeff'", 401),
        ("update api_key set name = 'kept' where hint = 'eeff'", 200),
    ],
)
async def test_an_imported_key_that_is_revoked_at_its_first_use_opens_nothing(
    any_house: HouseInProcess, monkeypatch: pytest.MonkeyPatch, meanwhile: str, status: int
) -> None:
    """The slow hash takes a while, and whoever revokes the key meanwhile is not to be overtaken by it."""
    await any_house.create_application()
    await import_key(any_house, IMPORTED)
    loop = asyncio.get_running_loop()

    def reckon(key: ApiKey, text: str) -> bool:
        asyncio.run_coroutine_threadsafe(any_house.write(meanwhile), loop).result()
        return opens_by_reference_hash(key, text)

    monkeypatch.setattr(authenticate, "opens_by_reference_hash", reckon)
    assert status == (await any_house.get("/users/count", ApiSecret=IMPORTED)).status_code


async def test_a_stranger_does_not_use_up_the_trials_of_the_backend_with_the_right_key(sqlite_url: str) -> None:
    """How long a refusal takes tells how an imported key ends, and wrong keys that end so kept the right one out."""
    async with HouseInProcess(sqlite_url, trusted_proxies=PROXIES, peer="10.0.0.1") as house:
        await house.create_application()
        await import_key(house, IMPORTED)
        for number in range(MOST_TRIALS_A_MINUTE + 1):
            wrong = {"ApiSecret": f"demo:secret:{number:028x}eeff", "X-Forwarded-For": "203.0.113.9"}
            assert 401 == (await house.get("/users/count", **wrong)).status_code
        right = {"ApiSecret": IMPORTED, "X-Forwarded-For": "192.0.2.7"}
        assert 200 == (await house.get("/users/count", **right)).status_code


async def test_all_strangers_together_have_so_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_keys, "MOST_TRIALS_OF_APPLICATION", 3)
    lines, now = bad_keys.BadKeyLines(), START
    assert [True, True, True, False] == [lines.claim_trial("demo", f"192.0.2.{n}", now=now) for n in range(4)]
    assert lines.claim_trial("other", "192.0.2.9", now=now)
    assert lines.claim_trial("demo", "192.0.2.9", now=now + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("networks", "goes_on"),
    [([], True), (["192.0.2.0/24"], True), (["198.51.100.0/24"], False), (["2001:db8::/32"], False)],
)
async def test_a_stream_ends_when_its_key_is_taken_from_its_network(
    house: HouseInProcess, application: Application, networks: list[str], goes_on: bool
) -> None:
    """Who followed the log when the key was narrowed went on following it, from wherever that was."""
    headers = {b"apisecret": application.secret_key.encode()}
    call = await authenticate.authenticate_key(
        house.env, Access.SECRET_KEY, Scope.EVENTS_READ, headers, peer="::ffff:192.0.2.1", trace_id="t"
    )
    async with aclosing(follow(call, EventFilter(), after=None, pace=FAST)) as stream:
        await anext(stream)
        await narrow(house, application, *networks, scope="events:read")
        try:
            async with asyncio.timeout(1):
                _ = [portion async for portion in stream]
        except TimeoutError:
            ended = False
        else:
            ended = True
    assert goes_on is not ended


# --- the way out ------------------------------------------------------------------------------------------------------


def without_end(*, beginning: bytes, again: bytes) -> Any:
    """An answer of which each part is fine, and there is always another one."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(beginning)
        while not handler.listener.ended.is_set():
            handler.listener.written_bytes += handler.wfile.write(again * 1_000)

    return answer


@pytest.mark.parametrize(
    ("beginning", "again"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\nX-Padding: x\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 10_000 + b"\r\nx\r\n"),
    ],
)
async def test_a_receiver_that_never_comes_to_the_point_is_given_up(beginning: bytes, again: bytes) -> None:
    """Reading provisional answers as fast as they came took the processor from everybody for 15 seconds a delivery."""
    with Listener() as listener:
        listener.answers = [without_end(beginning=beginning, again=again)]
        begun_at = time.monotonic()
        with pytest.raises(AddressUnreachable, match="does not answer in HTTP"):
            await GuardedEgress(LOOPBACK).post(listener.url, headers={}, body=b"{}", timeout_s=15)
        assert time.monotonic() - begun_at < 5


async def test_names_that_nobody_answers_for_keep_no_name_from_being_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One application's webhooks, at names of a server that is silent on purpose, held up those of all others."""
    ask_system, enough = socket.getaddrinfo, threading.Event()

    def ask(name: Any, *rest: Any, **more: Any) -> Any:
        if name == "localhost":
            return ask_system("127.0.0.1", *rest, **more)
        enough.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")

    egress = GuardedEgress(LOOPBACK)

    async def leave_question(number: int) -> None:
        with pytest.raises(AddressUnreachable):
            await egress.post(f"http://name{number}.example/", headers={}, body=b"", timeout_s=0.1)

    with Listener() as listener:
        monkeypatch.setattr(socket, "getaddrinfo", ask)
        try:
            await asyncio.gather(*map(leave_question, range(32)))
            url = listener.url.replace("127.0.0.1", "localhost")
            reply = await egress.post(url, headers={}, body=b"{}", timeout_s=5)
        finally:
            enough.set()
    assert 200 == reply.status


async def test_the_way_out_still_reads_an_honest_answer() -> None:
    """The bound is around the body: an answer with many headers and a long body is read as far as it ever was."""
    with Listener() as listener:
        listener.answers = [
            without_end(beginning=b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n", again=b"x"),
        ]
        reply = await GuardedEgress(LOOPBACK).post(listener.url, headers={}, body=b"{}", timeout_s=5)
    assert (200, 4_096) == (reply.status, len(reply.body))


async def test_an_application_with_many_silent_receivers_does_not_take_all_the_room(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty webhooks had more lanes than there was room; what stood behind them waited for hours of their timeouts."""
    monkeypatch.setattr(delivery, "_MOST_CLAIMED", 8)
    monkeypatch.setattr(delivery, "_MOST_WAITING_IN_LANE", 8)
    monkeypatch.setattr(delivery, "_MOST_WAITING_OF_APPLICATION", 16)
    monkeypatch.setattr(delivery, "_MOST_WAITING", 40)
    with Listener() as listener, Listener() as other:
        listener.answers = [silent]
        async with make_house(sqlite_url) as house:
            flooding, waiting = await house.create_application("flooding"), await house.create_application("waiting")
            for number in range(6):
                webhook = await create(flooding, f"{listener.url}/{number}")
                await house.root.tenant("flooding").commit(*(queued(house, webhook) for _ in range(30)))
            webhook = await create(waiting, other.url)
            house.clock.move(seconds=1)
            await queue_test(waiting, webhook)
            shift = asyncio.create_task(send_due_deliveries(operator_call(house)))
            await asyncio.to_thread(other.wait_for, 1)
            shift.cancel()
            await asyncio.wait([shift])


def queued(house: HouseInProcess, webhook: Json) -> AddDelivery:
    """One more for a webhook."""
    now = house.clock.now()
    return AddDelivery(
        Delivery(
            delivery_id=time_ordered_id(now, house.env.random),
            kind=DeliveryKind.WEBHOOK,
            target=UUID(webhook["id"]).bytes,
            content=b"{}",
            subject="webhook.test",
            created_at=now,
            next_try_at=now,
        )
    )


# --- mails ------------------------------------------------------------------------------------------------------------


async def told_in(house: HouseInProcess) -> list[str]:
    """Who is to be told something by mail."""
    rows = await house.rows("select content from delivery where kind = 'mail'")
    return sorted(msgspec.msgpack.decode(row[0], type=Message).recipient for row in rows)


@pytest.mark.parametrize(
    ("age_h", "recipients"),
    [(0, ["karl@shop.example"]), (23, ["karl@shop.example"]), (24, ["karl@shop.example", "stranger@victims.example"])],
)
async def test_a_new_application_sends_notices_to_its_administrators_only(
    sqlite_url: str, tmp_path: Path, age_h: int, recipients: list[str]
) -> None:
    """Whoever has keys since a minute could write to the world in our name, once a passkey, past the hold on links."""
    async with HouseInProcess(sqlite_url, mail=FileMail(tmp_path / "mails", "passkeys@narthex.test")) as house:
        application = await house.create_application(adminEmail="Karl@shop.example")
        house.clock.move(hours=age_h)
        for number, address in enumerate(("stranger@victims.example", "karl@shop.example")):
            await Ceremonies(application).register(f"user-{number}", noticeEmail=address)
        assert recipients == await told_in(house)


async def test_a_kelvin_sign_makes_nobody_an_administrator(sqlite_url: str, tmp_path: Path) -> None:
    async with HouseInProcess(sqlite_url, mail=FileMail(tmp_path / "mails", "passkeys@narthex.test")) as house:
        application = await house.create_application(adminEmail="karl@shop.example")
        await Ceremonies(application).register("ann", noticeEmail="\N{KELVIN SIGN}arl@shop.example")
        assert [] == await told_in(house)


# --- management -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["9" * 5_000, "9" * 10, "2", "\N{SUPERSCRIPT TWO}"])
async def test_a_number_that_is_no_scope_is_refused(
    house: HouseInProcess, application: Application, scope: str
) -> None:
    answer = await house.manage("/admin/apps/demo/secret-keys", {"scopes": [scope]})
    refused(answer, 400, "api_key_scope_unknown")


# --- exports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"])
async def test_a_user_id_of_an_export_is_no_formula(
    house: HouseInProcess, application: Application, begin: str
) -> None:
    """Whoever chooses a user id writes into the spreadsheet of whoever looks at the log."""
    user_id = f"{begin}HYPERLINK(1)"
    answer = await application.secret("/alias", {"userId": user_id, "aliases": ["ann"], "hashing": False})
    assert 204 == answer.status_code, answer.text
    exported = await house.get("/events/export?format=csv", ApiSecret=application.secret_key)
    assert f'"\'{user_id}"' in exported.text
