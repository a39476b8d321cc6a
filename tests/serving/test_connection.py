"""The bounds of a connection, spoken to byte by byte: most against `narthex serve`, those of time against a copy of
its configuration with less patience.
"""

from __future__ import annotations

import asyncio
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from narthex import serving
from narthex.connection import Connection
from tests.playground.demo import running_demo
from tests.support.server import MANAGEMENT_KEY, RunningServer, running_server

HEALTH = b"GET /health/http HTTP/1.1\r\nHost: localhost\r\n"
MIB = 1024 * 1024


class Wire:
    """A client that sends bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._file.read(int(headers["content-length"]))

    def refusal(self) -> tuple[int, str]:
        """The next answer, which must be a problem document and the last: status and code."""
        status, headers, body = self.answer()
        assert ("application/problem+json", "close") == (headers["content-type"], headers["connection"])
        assert b"" == self.rest()
        document = json.loads(body)
        assert status == document["status"]
        return status, document["errorCode"]

    def rest(self) -> bytes:
        """What comes until the other side closes."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def is_silent_for(self, span_s: float) -> bool:
        return select.select([self._socket], [], [], span_s)[0] == []

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    client = Wire(port)
    try:
        yield client
    finally:
        client.close()


def port_of(server: RunningServer) -> int:
    port = httpx.URL(server.base_url).port
    assert port is not None
    return port


def memory_kib(server: RunningServer) -> int:
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[Wire]:
    with wire(port_of(server)) as client:
        yield client


# --- size -----------------------------------------------------------------------------------------------------------


def test_endless_headers_are_refused_and_leave_the_memory_flat(server: RunningServer, client: Wire) -> None:
    before_kib = memory_kib(server)
    client.send(HEALTH + b"X-Long: ")
    for _ in range(20):
        client.send(b"x" * MIB)
    assert memory_kib(server) - before_kib < 10 * 1024
    assert (431, "header_too_large") == client.refusal()


@pytest.mark.parametrize("form", [b"GET /%b HTTP/1.1\r\n\r\n", HEALTH + b"X: %b\r\n\r\n", HEALTH + b"%b: x\r\n\r\n"])
def test_a_head_a_little_too_long_is_refused_though_it_comes_at_once(client: Wire, form: bytes) -> None:
    client.send(form % (b"x" * 33 * 1024))
    assert (431, "header_too_large") == client.refusal()


def test_a_head_below_the_cap_is_answered_however_small_its_pieces(client: Wire) -> None:
    head = HEALTH + b"".join(b"X-%d: %b\r\n" % (i, b"x" * 100) for i in range(250)) + b"\r\n"
    assert 25 * 1024 < len(head) < Connection.most_head_bytes
    for start in range(0, len(head), 50):
        client.send(head[start : start + 50])
    assert (200, b"Healthy") == client.answer()[::2]


def test_a_large_body_does_not_count_as_head(client: Wire) -> None:
    body = b'{"x": "%b"}' % (b"x" * 60 * 1024)
    client.send(posted(b"/admin/apps/large/create", body))
    assert 200 == client.answer()[0]


@pytest.mark.parametrize(
    "endless",
    [b"5;ext=" + b"x" * MIB, b"0\r\nX-Trailer: " + b"x" * MIB],
    ids=["chunk-extension", "trailer"],
)
def test_the_framing_of_a_body_is_bounded_too(client: Wire, endless: bytes) -> None:
    client.send(request(b"/admin/apps/framed/create", b"Transfer-Encoding: chunked") + endless)
    assert (431, "header_too_large") == client.refusal()


def test_empty_lines_ahead_of_a_request_are_bounded(client: Wire) -> None:
    client.send(b"\r\n" * 200_000)
    assert (431, "header_too_large") == client.refusal()


# --- what must go on working ----------------------------------------------------------------------------------------


def test_one_connection_serves_a_thousand_requests(client: Wire) -> None:
    for _ in range(1000):
        client.send(HEALTH + b"\r\n")
        assert (200, b"Healthy") == client.answer()[::2]


def test_pipelined_requests_are_answered_in_their_order(client: Wire) -> None:
    client.send(b"".join((HEALTH if i % 2 else b"GET /nothing HTTP/1.1\r\n") + b"\r\n" for i in range(40)))
    assert [404, 200] * 20 == [client.answer()[0] for _ in range(40)]


def test_a_client_that_asks_far_ahead_is_cut_off(server: RunningServer, client: Wire) -> None:
    before_kib = memory_kib(server)
    for _ in range(100):
        try:
            client.send(b"GET /nothing HTTP/1.1\r\n\r\n" * 1000)
        except (BrokenPipeError, ConnectionResetError):
            break
    client.rest()
    assert memory_kib(server) - before_kib < 8 * 1024


def test_what_is_not_http_is_refused(client: Wire) -> None:
    client.send(b"\x16\x03\x01 this is the beginning of TLS\r\n\r\n")
    assert (400, "malformed_request") == client.refusal()


def test_trailers_do_not_become_headers(client: Wire) -> None:
    trailed = b"2\r\n{}\r\n0\r\nManagementKey: %b\r\n\r\n" % MANAGEMENT_KEY.encode()
    client.send(
        b"POST /admin/apps/trailed/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + trailed
    )
    assert 401 == client.answer()[0]


# --- upgrades -------------------------------------------------------------------------------------------------------

UPGRADES = [b"Connection: Upgrade\r\nUpgrade: " + name for name in (b"websocket", b"h2c", b"TLS/1.2")]


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_an_upgrade_is_passed_over_without_a_word(server: RunningServer, client: Wire, upgrade: bytes) -> None:
    log = server.log
    client.send(HEALTH + upgrade + b"\r\n\r\n")
    assert (200, b"Healthy") == client.answer()[::2]
    client.send(HEALTH + b"\r\n")
    assert 200 == client.answer()[0]
    assert log == server.log


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_the_body_of_a_request_for_an_upgrade_is_its_body(client: Wire, upgrade: bytes) -> None:
    """Read as the next request, it would be a way past a proxy."""
    body = b"GET /smuggled HTTP/1.1\r\n\r\n"
    head = request(b"/admin/apps/upgraded/create", b"Content-Length: %d\r\n" % len(body) + upgrade)
    client.send(head)
    time.sleep(0.05)
    client.send(body + HEALTH + b"\r\n")
    status, _, problem = client.answer()
    assert (400, "malformed_body") == (status, json.loads(problem)["errorCode"])
    assert (200, b"Healthy") == client.answer()[::2]


def test_a_tunnel_is_refused(client: Wire) -> None:
    client.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert (400, "malformed_request") == client.refusal()


# --- time -----------------------------------------------------------------------------------------------------------


class Impatient(Connection):
    """Waits for a fraction of a second only."""

    head_timeout_s = 0.4
    body_timeout_s = 0.8
    linger_s = 0.2


class PatientWithBodies(Impatient):
    """Waits for a body as long as no test would."""

    body_timeout_s = 60


async def repeat(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body; `/slow` after a while, `/large` with more than a socket holds, `/deaf` before it came."""
    body, more = b"", scope["path"] != "/deaf"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(1.5)
    if scope["path"] == "/large":
        body = b"x" * 32 * MIB
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Living:
    """Only lives and dies; all else is repeated."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await repeat(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})


@contextmanager
def impatient_server(kind: type[Connection] = Impatient) -> Iterator[int]:
    config = serving._config(Living())
    assert (Connection, "none") == (config.http, config.ws)
    config.http = kind
    server = uvicorn.Server(config)
    listening = serving._listening("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    with impatient_server() as port:
        yield port


@pytest.fixture
def hasty(impatient: int) -> Iterator[Wire]:
    with wire(impatient) as client:
        yield client


def seconds(act: Callable[[], Any]) -> tuple[Any, float]:
    start = time.monotonic()
    return act(), time.monotonic() - start


def test_a_head_that_does_not_end_is_refused_in_time(hasty: Wire) -> None:
    hasty.send(b"GET / HTTP/1.1\r\n")
    refusal, took_s = seconds(hasty.refusal)
    assert (408, "header_too_slow") == refusal
    assert 0.3 < took_s < 3


def test_a_dribbling_head_is_refused_in_time(hasty: Wire) -> None:
    hasty.send(b"GET / HTTP/1.1\r\nX: ")
    start = time.monotonic()
    while hasty.is_silent_for(0.05):
        assert time.monotonic() - start < 2
        hasty.send(b"x")
    assert (408, "header_too_slow") == hasty.refusal()


def test_a_connection_without_a_request_is_closed_silently(hasty: Wire) -> None:
    rest, took_s = seconds(hasty.rest)
    assert b"" == rest
    assert 0.3 < took_s < 3


def test_empty_lines_do_not_keep_a_connection(hasty: Wire) -> None:
    hasty.send(b"GET / HTTP/1.1\r\n\r\n")
    assert 200 == hasty.answer()[0]
    hasty.send(b"\r\n")
    rest, took_s = seconds(hasty.rest)
    assert b"" == rest
    assert 0.3 < took_s < 3


def test_a_body_that_does_not_arrive_is_refused_in_time(hasty: Wire) -> None:
    hasty.send(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
    refusal, took_s = seconds(hasty.refusal)
    assert (408, "body_too_slow") == refusal
    assert 0.7 < took_s < 3


def test_a_body_that_takes_its_time_within_the_limit_is_taken(hasty: Wire) -> None:
    hasty.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    for byte in b"12345":
        time.sleep(0.1)
        hasty.send(bytes([byte]))
    assert (200, b"12345") == hasty.answer()[::2]


def test_a_body_that_nobody_waits_for_does_not_keep_a_connection(hasty: Wire) -> None:
    hasty.send(b"POST /deaf HTTP/1.1\r\nContent-Length: 10\r\n\r\n1")
    assert 200 == hasty.answer()[0]
    hasty.send(b"2")
    rest, took_s = seconds(hasty.rest)
    assert b"" == rest
    assert 0.3 < took_s < 3


def test_an_answer_may_take_longer_than_a_request(hasty: Wire) -> None:
    hasty.send(b"GET /slow HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nX: half")
    assert 200 == hasty.answer()[0]
    assert (408, "header_too_slow") == hasty.refusal()


def test_an_overlong_head_behind_a_request_under_way_is_not_taken_for_its_answer(hasty: Wire) -> None:
    hasty.send(b"GET /slow HTTP/1.1\r\n\r\n")
    time.sleep(0.1)
    hasty.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
    assert b"" == hasty.rest()


def test_an_answer_that_nobody_takes_is_dropped(hasty: Wire) -> None:
    hasty.send(b"GET /large HTTP/1.1\r\n\r\n")
    time.sleep(1.5)
    assert len(hasty.rest()) < 32 * MIB


def test_an_answer_that_is_taken_slowly_arrives_whole(hasty: Wire) -> None:
    hasty.send(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
    taken = 0
    while part := hasty._socket.recv(MIB):
        taken += len(part)
        time.sleep(0.02)
    assert taken > 32 * MIB


# --- others ---------------------------------------------------------------------------------------------------------


def test_half_open_connections_keep_others_out_for_ten_seconds_at_most() -> None:
    """With the limits as shipped, and fewer descriptors than half-open connections."""
    with running_server() as server, ExitStack() as clients:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (128, 128))
        for _ in range(140):
            clients.enter_context(wire(port_of(server))).send(HEALTH)
        start = time.monotonic()
        while time.monotonic() < start + 30:
            try:
                if httpx.get(f"{server.base_url}/health/http", timeout=1).text == "Healthy":
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        assert time.monotonic() - start < Connection.head_timeout_s + Connection.linger_s + 2


def test_a_body_that_is_cut_off_has_no_effect(server: RunningServer, client: Wire) -> None:
    client.send(posted(b"/admin/apps/half/create", b"{}", length=3))
    client.close()
    time.sleep(0.2)
    server.create_app("half")


# --- stopping -------------------------------------------------------------------------------------------------------


def hold(clients: ExitStack, port: int) -> None:
    """An unused, an idle, and some half-open connections."""
    clients.enter_context(wire(port))
    idle = clients.enter_context(wire(port))
    idle.send(HEALTH + b"\r\n")
    assert 200 == idle.answer()[0]
    clients.enter_context(wire(port)).send(b"GET /health")
    clients.enter_context(wire(port)).send(HEALTH)


@pytest.mark.parametrize("workers", [1, 2])
def test_half_open_connections_do_not_delay_the_end(postgresql_url: str, workers: int) -> None:
    with running_server(postgresql_url, workers=workers) as server, ExitStack() as clients:
        for _ in range(4):
            hold(clients, port_of(server))
        server.process.terminate()
        status, took_s = seconds(lambda: server.process.wait(timeout=30))
    assert 0 == status
    assert took_s < 5


def test_half_open_connections_do_not_delay_the_end_of_the_demo(tmp_path: Any) -> None:
    with ExitStack() as clients:
        with running_demo(tmp_path / "data") as demo:
            hold(clients, demo.port)
            start = time.monotonic()
        assert time.monotonic() - start < 5


def test_a_body_that_does_not_arrive_delays_the_end_as_long_as_a_head_may_take() -> None:
    with ExitStack() as clients:
        with impatient_server(PatientWithBodies) as port:
            client = clients.enter_context(wire(port))
            client.send(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
            time.sleep(0.1)
            start = time.monotonic()
        assert time.monotonic() - start < 3
        assert (408, "body_too_slow") == client.refusal()


def request(path: bytes, header: bytes) -> bytes:
    """The head of a request of the operator."""
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nManagementKey: %b\r\nContent-Type: application/json\r\n%b\r\n\r\n"
        % (path, MANAGEMENT_KEY.encode(), header)
    )


def posted(path: bytes, body: bytes, *, length: int | None = None) -> bytes:
    return request(path, b"Content-Length: %d" % (len(body) if length is None else length)) + body
