"""The bounds of a connection: what a client may send, and how long it may take, before there is a request to judge.

Whatever the edge limits, it limits for requests; a head that never ends is none yet. uvicorn bounds neither its
bytes nor its time, and llhttp joins the pieces of a header at the cost of their square, so both are bounded here,
ahead of keys, routes and rate limits:

- a head, a trailer, or the framing of a chunk is no longer than `most_head_bytes`: 431;
- a head is complete within `head_timeout_s`, and the body within `body_timeout_s`: 408, or silence where not a byte
  of a request came;
- an answer that the client does not take is dropped, and so is a client that asks far ahead of the answers.

Time is kept by one timer for each connection, which finds out when it fires whether anything is overdue. A timer for
each request would cost ten times as much as all the rest of this file: 9 µs for `asyncio.timeout`.

Trailers are read and dropped: uvicorn adds them to the headers, where they would pass for what a trusted proxy said
(RFC 9110 section 6.5.1). So is the wish for another protocol (section 7.8): we speak HTTP/1.1 alone, as far as it goes.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from narthex.base.errors import Refusal
from narthex.http.problems import (
    PROBLEM_TYPE,
    BodyTooSlow,
    HeaderTooLarge,
    HeaderTooSlow,
    RequestMalformed,
    problem,
)
from narthex.http.routing import UNTIL_STOPPED

_EVER = float("inf")


class Connection(HttpToolsProtocol):
    """One connection of a client, as uvicorn's parser reads it, within bounds."""

    most_head_bytes = 32 * 1024
    head_timeout_s = 10.0
    body_timeout_s = 30.0
    """From the first byte of the head."""
    linger_s = 2.0
    """How long a client may go on sending after a refusal, so that it reads why: closing at once would reset it."""
    most_ahead = 64
    """Requests that may wait for the answer to the one before (pipelining, RFC 9112 section 9.3.2)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread_bytes = 0
        """Fed to the parser since it last had something to show for it. At most one read goes uncounted."""
        self._is_in_head = False
        self._begun_at = 0.0
        self._unsent_bytes = 0
        self._is_refused = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._begun_at = self.loop.time()
        self._watch = self.loop.call_later(self.head_timeout_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        # A server that stops waits for a body as long as for a head, and so ends within its grace period.
        self.body_timeout_s = self.head_timeout_s
        # An event stream has no end to wait for: its client comes back, to another server or to the next start.
        if self._is_answering() and self.cycle.scope.get(UNTIL_STOPPED):
            self.transport.close()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        self._unread_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_without_upgrade(data, upgrade)
            if self._unread_bytes > self.most_head_bytes:
                raise self._head_too_large()
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError as e:
            # What a callback of ours raised comes wrapped.
            cause = e.__context__
            self._refuse(cause if isinstance(cause, Refusal) else RequestMalformed("this is not an HTTP request"))

    def _feed_without_upgrade(self, data: bytes, upgrade: httptools.HttpParserUpgrade) -> None:
        while True:
            data = self._head_without_upgrade() + data[upgrade.args[0] :]
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as another:
                upgrade = another

    def _head_without_upgrade(self) -> bytes:
        # llhttp holds that no body follows such a head, and would read the body as the next request. So the request is
        # read again, as if it had not asked. Clients that ask by default: Apache HttpClient 5 (TLS), Java 11 (h2c).
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise RequestMalformed("this server is no proxy")
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.scope["headers"] if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", b""])

    def _should_upgrade(self) -> bool:
        # uvicorn asks only where the parser found an upgrade, and then leaves the request to `data_received`.
        return True

    # --- what the parser says: `super()` would add half as much again to what these cost ------------------------------

    def on_message_begin(self) -> None:
        HttpToolsProtocol.on_message_begin(self)
        self._is_in_head = True
        self._begun_at = self.loop.time()

    def on_headers_complete(self) -> None:
        if self._unread_bytes > self.most_head_bytes:
            self._measure_head()
        self._is_in_head = False
        self._unread_bytes = 0
        HttpToolsProtocol.on_headers_complete(self)
        # The scope keeps its list; trailers go to this one, which nobody reads.
        self.headers = []
        if len(self.pipeline) > self.most_ahead:
            raise RequestMalformed("too many requests were sent ahead of the answers")

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        HttpToolsProtocol.on_body(self, body)

    def _measure_head(self) -> None:
        # The read that ended the head may have brought a body along: only now is it known which bytes were the head's.
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.most_head_bytes:
            raise self._head_too_large()

    def _head_too_large(self) -> Refusal:
        return HeaderTooLarge(f"the request line and the headers are longer than {self.most_head_bytes} bytes")

    # --- time --------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Refuse what is overdue; else look again when it may be."""
        unsent_bytes, before = self.transport.get_write_buffer_size(), self._unsent_bytes
        self._unsent_bytes = unsent_bytes
        if unsent_bytes and unsent_bytes == before:
            self.transport.abort()
            return
        left_s = self._begun_at + self._patience_s() - self.loop.time()
        if unsent_bytes or left_s > 0:
            after_s = self.head_timeout_s if unsent_bytes else min(left_s, self.head_timeout_s)
            self._watch = self.loop.call_later(after_s, self._look)
        elif self._is_answering():
            self._refuse(BodyTooSlow(f"the body did not arrive within {self.body_timeout_s:g} s"))
        elif self._is_in_head:
            self._refuse(HeaderTooSlow(f"the headers did not arrive within {self.head_timeout_s:g} s"))
        else:
            self.transport.close()

    def _patience_s(self) -> float:
        if self._is_answering():
            # What is ours to do takes as long as it takes.
            return self.body_timeout_s if self._is_receiving() else _EVER
        # Between requests uvicorn has a timer of its own, until the first byte comes: of a request, or of nothing.
        return self.head_timeout_s if self._is_in_head or self.timeout_keep_alive_task is None else _EVER

    def _is_answering(self) -> bool:
        # There is no cycle before the first request, whatever uvicorn's annotation says.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _is_receiving(self) -> bool:
        """Whether the one request under way waits for its body, so that we may answer in its place."""
        return not self.pipeline and self.cycle.more_body and not self.cycle.response_started

    # --- refusals ----------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and close. While another answer is under way we only close: the client would take ours for it."""
        self._is_refused = True
        if self._is_answering():
            if not self._is_receiving():
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_written(refusal, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_later(self.linger_s, self.transport.abort)


def _written(refusal: Refusal, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    # There is no environment yet that knows our address and draws a trace id; the page is on this very server.
    status, content, _ = problem(refusal, errors_url="/errors", trace_id="")
    headers = [
        *default_headers,
        (b"content-type", PROBLEM_TYPE),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join([*lines, b"", content])
