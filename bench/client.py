"""A small HTTP/1.1 client for load: keep-alive, requests as ready bytes, nothing parsed but what tells where they end.

A general client would cost more than the server that it measures. This one needs some 15 µs a request, so that a
generator on a core of its own stays ahead of a server on another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

_LENGTH = b"content-length: "


class Answers(msgspec.Struct):
    """What came back, in the order of the requests, and when."""

    bodies: list[bytes]
    latencies_s: list[float]
    elapsed_s: float


def request(path: str, body: Any, *, headers: dict[str, str] | None = None) -> bytes:
    """A POST as it goes over the wire."""
    content = msgspec.json.encode(body)
    lines = [f"POST {path} HTTP/1.1", "host: bench.example", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"content-length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


async def fire(address: tuple[str, int], requests: Sequence[bytes], *, connections: int) -> Answers:
    """Send all requests over so many connections, each of which waits for an answer before it sends again."""
    loop = asyncio.get_running_loop()
    answers = Answers([b""] * len(requests), [0.0] * len(requests), 0.0)
    queue = iter(enumerate(requests))
    opened = [
        (await loop.create_connection(lambda: _Connection(queue, answers), *address))[1] for _ in range(connections)
    ]
    started = time.perf_counter()
    for connection in opened:
        connection.send_next()
    await asyncio.gather(*(connection.done for connection in opened))
    answers.elapsed_s = time.perf_counter() - started
    return answers


class _Connection(asyncio.Protocol):
    def __init__(self, queue: Iterator[tuple[int, bytes]], answers: Answers) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue = queue
        self._answers = answers
        self._received = b""
        self._transport: Any = None
        self._index = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send_next(self) -> None:
        following = next(self._queue, None)
        if following is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._index, raw = following
        self._sent_at = time.perf_counter()
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        at = head.index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[at : at + 7].split(b"\r", 1)[0]):
            return
        self._answers.latencies_s[self._index] = time.perf_counter() - self._sent_at
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(AssertionError(self._received.decode(errors="replace")))
            return
        self._answers.bodies[self._index] = body
        self._received = b""
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server hung up"))
