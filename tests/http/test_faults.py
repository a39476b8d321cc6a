"""What happens when something falls over: a real server in a process of its own, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from narthex.ports.store import StoreUnavailable
from tests.support.application import (
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    create_application,
    refused,
)
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.postgres import Cluster
from tests.support.server import MANAGEMENT_KEY, STOP_TIMEOUT_S, RunningServer, running_server

pytestmark = pytest.mark.anyio

MASTER_KEY = "a master key that outlives the process"
PATIENCE_S = 30
ORIGIN, RP_ID = "http://localhost:3000", "localhost"


def ceremonies_at(application: Application, **options: Any) -> Ceremonies:
    return Ceremonies(application, origin=ORIGIN, rp_id=RP_ID, **options)


async def application_at(client: httpx.AsyncClient, app_id: str = "demo") -> Application:
    return await create_application(client, app_id, management_key=MANAGEMENT_KEY, eventLoggingIsEnabled=True)


def client_of(server: RunningServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.base_url, timeout=20)


@contextmanager
def doomed_server(**settings: Any) -> Iterator[RunningServer]:
    """A server that the test kills."""
    try:
        with running_server(**settings) as server:
            yield server
    except AssertionError as e:
        if f"ended with {-signal.SIGKILL}:" not in str(e):
            raise


# --- kill -9 --------------------------------------------------------------------------------------------------------


class Load:
    """Users who register and sign in as fast as they can; keeps what was acknowledged to them."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._numbers = itertools.count()
        self.counters: dict[bytes, int] = {}
        """By acknowledged credential: the last acknowledged counter."""

    async def user(self) -> None:
        """Goes on until the server is gone."""
        try:
            while True:
                await self._live(f"user {next(self._numbers)}")
        except httpx.TransportError:
            return

    async def _live(self, user_id: str) -> None:
        ceremonies = ceremonies_at(self._application, authenticator=SoftwareAuthenticator(counts=True))
        await ceremonies.register(user_id, aliases=[f"alias of {user_id}"])
        (credential,) = ceremonies.authenticator.credentials
        self.counters[credential.credential_id] = 0
        for _ in range(3):
            signed = await ceremonies.sign_in(userId=user_id)
            self.counters[credential.credential_id] = credential.sign_count
            await ceremonies.verify(signed)


async def test_after_a_kill_every_acknowledged_ceremony_is_there(tmp_path: Path) -> None:
    path = tmp_path / "narthex.db"
    settings = {"database_url": f"sqlite:///{path}", "master_key": MASTER_KEY}
    with doomed_server(**settings) as server:
        async with client_of(server) as client:
            application = await application_at(client)
            load = Load(application)
            users = [asyncio.create_task(load.user()) for _ in range(16)]
            await until(lambda: len(load.counters) >= 50)
            server.process.kill()
            server.process.wait()
            await asyncio.gather(*users)
    with closing(sqlite3.connect(path)) as connection:
        assert [("ok",)] == connection.execute("pragma integrity_check").fetchall()
        assert [] == connection.execute("pragma foreign_key_check").fetchall()
        kept = dict(connection.execute("select credential_id, sign_count from credential").fetchall())
    lost = {each: count for each, count in load.counters.items() if kept.get(each, -1) < count}
    assert {} == lost
    with running_server(**settings) as server:
        async with client_of(server) as client:
            again = Application(client, "demo", application.public_key, application.secret_key)
            await ceremonies_at(again).register("another")


async def test_what_was_spent_before_a_kill_stays_spent(tmp_path: Path) -> None:
    settings = {"database_url": f"sqlite:///{tmp_path / 'narthex.db'}", "master_key": MASTER_KEY}
    with doomed_server(**settings) as server:
        async with client_of(server) as client:
            ceremonies = ceremonies_at(await application_at(client))
            token = await ceremonies.register()
            await ceremonies.verify(token)
            body = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
            accepted(await ceremonies.application.public("/signin/complete", body))
        server.process.kill()
    with running_server(**settings) as server:
        async with client_of(server) as client:
            before = ceremonies.application
            application = Application(client, "demo", before.public_key, before.secret_key)
            refused(await application.secret("/signin/verify", {"token": token}), 400, "token_already_used")
            refused(await application.public("/signin/complete", body), 400, "token_already_used")


# --- PostgreSQL goes away -------------------------------------------------------------------------------------------


async def test_while_postgresql_is_away_requests_are_told_to_come_back_and_then_succeed(
    postgres_cluster: Cluster, postgresql_url: str
) -> None:
    with running_server(postgresql_url) as server:
        async with client_of(server) as client:
            ceremonies = ceremonies_at(await application_at(client))
            token = await ceremonies.register()
            begun = await ceremonies.begin_sign_in()
            body = ceremonies.sign_in_body(begun)
            postgres_cluster.stop(immediate=True)
            try:
                for _ in range(3):
                    for response in (
                        await ceremonies.ask_verify(token),
                        await ceremonies.application.public("/signin/complete", body),
                        await ceremonies.ask_leave(),
                    ):
                        problem = refused(response, 503, "storage_unavailable")
                        assert int(response.headers["retry-after"]) >= 1
                        assert str(postgres_cluster.directory) not in str(problem)
                assert 503 == (await client.get("/health/storage")).status_code
                assert 200 == (await client.get("/health/http")).status_code
            finally:
                postgres_cluster.start()
            await until_healthy(client)
            # What was refused with 503 was not spent: the very same requests succeed now.
            await ceremonies.verify(token)
            accepted(await ceremonies.application.public("/signin/complete", body))
            await ceremonies.register("bob")


async def test_a_restart_of_postgresql_under_load_costs_no_acknowledged_ceremony(
    postgres_cluster: Cluster, postgresql_url: str
) -> None:
    with running_server(postgresql_url) as server:
        async with client_of(server) as client:
            application = await application_at(client)
            done: list[str] = []
            stopping = asyncio.Event()

            async def user(number: int) -> None:
                while not stopping.is_set():
                    user_id = f"user {number} {len(done)}"
                    ceremonies = ceremonies_at(application)
                    leave = await ceremonies.ask_leave(userId=user_id)
                    if leave.status_code != 200:
                        refused(leave, 503, "storage_unavailable")
                        await asyncio.sleep(0.1)
                        continue
                    started = await ceremonies.ask_registration(leave.json()["token"])
                    if started.status_code != 200:
                        refused(started, 503, "storage_unavailable")
                        continue
                    options = started.json()
                    response = ceremonies.authenticator.register(options["data"], origin=ORIGIN)
                    body = {"session": options["session"], "response": response, "origin": ORIGIN, "rpid": RP_ID}
                    completed = await application.public("/register/complete", body)
                    if completed.status_code == 200:
                        done.append(user_id)
                    else:
                        refused(completed, 503, "storage_unavailable")

            users = [asyncio.create_task(user(number)) for number in range(24)]
            await until(lambda: len(done) >= 10)
            before = len(done)
            await asyncio.to_thread(postgres_cluster.stop)
            await asyncio.sleep(0.3)
            postgres_cluster.start()
            await until(lambda: len(done) >= before + 10)
            stopping.set()
            await asyncio.gather(*users)
    database = urlsplit(postgresql_url).path.lstrip("/")
    kept = postgres_cluster.execute("select distinct user_id from credential", database=database).splitlines()
    assert set() == set(done) - set(kept)


async def until_healthy(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (await client.get("/health/storage")).status_code != 200:
        assert time.monotonic() < deadline, "the server did not find its database again"
        await asyncio.sleep(0.1)


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, "the load does not get on"
        await asyncio.sleep(0.02)


# --- SIGTERM --------------------------------------------------------------------------------------------------------


def test_a_request_under_way_is_finished_when_the_server_is_told_to_stop(database_url: str) -> None:
    with running_server(database_url) as server:
        secret_key = server.create_app("demo").secret
        body = b'{"userId": "ann"}'
        host, port = "127.0.0.1", urlsplit(server.base_url).port
        with socket.create_connection((host, port), timeout=10) as under_way:
            head = (
                f"POST /signin/generate-token HTTP/1.1\r\nHost: {host}\r\nApiSecret: {secret_key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            under_way.sendall(head.encode() + body[:5])
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.4)
            assert server.process.poll() is None
            under_way.sendall(body[5:])
            answer = read_all(under_way)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"token":"verify_' in answer
        assert server.process.wait(timeout=STOP_TIMEOUT_S) == 0


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while received := connection.recv(65_536):
        answer += received
    return answer


def test_a_server_that_was_told_to_stop_takes_no_new_requests() -> None:
    with running_server() as server:
        server.process.terminate()
        assert server.process.wait(timeout=STOP_TIMEOUT_S) == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.base_url}/health/http")


# --- real sockets ---------------------------------------------------------------------------------------------------


def test_an_oversized_body_is_refused_on_the_wire_and_the_server_goes_on() -> None:
    with running_server() as server:
        host, port = "127.0.0.1", urlsplit(server.base_url).port
        head = f"POST /admin/apps/demo/create HTTP/1.1\r\nHost: x\r\nManagementKey: {MANAGEMENT_KEY}\r\n"
        head += "Content-Type: application/json\r\n"
        for framing in ("Content-Length: 10000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
            with socket.create_connection((host, port), timeout=10) as connection:
                connection.sendall((head + framing).encode())
                if "chunked" in framing:
                    connection.sendall((b"2000\r\n" + b" " * 0x2000 + b"\r\n") * 9)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
        assert "Healthy" == httpx.get(f"{server.base_url}/health/http").text


def test_no_answer_names_the_software_behind_it() -> None:
    with running_server() as server:
        assert "server" not in httpx.get(f"{server.base_url}/health/http").headers


# --- a database that stumbles once ----------------------------------------------------------------------------------


class Stumbling:
    """A real engine whose next commit fails as it does when the connection is cut."""

    def __init__(self, house: HouseInProcess) -> None:
        self._engine = house.root._engine
        self._commit = self._engine.commit
        self._engine.commit = self._stumble  # type: ignore[method-assign]

    async def _stumble(self, *_: Any, **__: Any) -> None:
        self._engine.commit = self._commit  # type: ignore[method-assign]
        raise StoreUnavailable("the connection was cut")


async def test_what_was_refused_because_the_database_stumbled_can_be_sent_again(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    """A 503 asks the client to come back, so it must not have spent what the client comes back with."""
    application = ceremonies.application
    registration = ceremonies.registration_body(await ceremonies.begin_registration(await ceremonies.give_leave()))
    Stumbling(house)
    refused(await application.public("/register/complete", registration), 503, "storage_unavailable")
    token = accepted(await application.public("/register/complete", registration))["token"]
    sign_in = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
    Stumbling(house)
    refused(await application.public("/signin/complete", sign_in), 503, "storage_unavailable")
    accepted(await application.public("/signin/complete", sign_in))
    Stumbling(house)
    refused(await ceremonies.ask_verify(token), 503, "storage_unavailable")
    await ceremonies.verify(token)
