"""A web server of this machine that records what it is asked and answers as it is told, well or badly.

    with Listener() as listener:
        listener.answers = [Answer(500), Answer(204)]  # in turn; the last one stays
        …
        [request, again] = listener.wait_for(2)
        assert request.headers["webhook-id"] == again.headers["webhook-id"]

Its answers may also be `redirect(…)`, `garbage`, `endless`, `dripping`, `silent` or any function that gets the handler.
With `authority=TestAuthority()` it speaks TLS, and `authority.trusted()` is the context that believes it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as HTTP has it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def __call__(self, handler: Handler) -> None:
        handler.pause(self.delay_s)
        handler.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(self.body)


class Handler(BaseHTTPRequestHandler):
    """One connection. An answer that is a function gets it, and writes what it likes to `wfile`."""

    protocol_version = "HTTP/1.1"
    listener: Listener

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()
        self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.listener.take(Request(self.command, self.path, headers, self.rfile.read(size)))
        self.close_connection = True
        answer(self)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the listener lives."""
        self.listener.ended.wait(seconds)

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None: ...


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, headers={"Location": location})


def garbage(handler: Handler) -> None:
    """No HTTP at all."""
    handler.wfile.write(b"\x00\xff SSH-2.0-OpenSSH_9.9\r\n\r\n" * 10)


def endless(handler: Handler) -> None:
    """A body that never ends, as fast as it goes."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.listener.ended.is_set():
        handler.listener.written_bytes += handler.wfile.write(bytes(65_536))


def endless_headers(handler: Handler) -> None:
    """Headers that never end."""
    handler.send_response_only(200)
    handler.flush_headers()
    while not handler.listener.ended.is_set():
        handler.wfile.write(b"X-Padding: " + b"x" * 1_000 + b"\r\n")


def dripping(handler: Handler) -> None:
    """A body that never ends, a byte at a time: no single wait is long."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.listener.ended.is_set():
        handler.wfile.write(b"x")
        handler.pause(0.05)


def silent(handler: Handler) -> None:
    """Takes the request and says nothing."""
    handler.pause(60)


class Listener:
    """A server on a free port of this machine.

    Args:
        host: an IP address of this machine.
        authority: speak TLS, with a certificate of this authority.
        names: that the certificate is for.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        port: int = 0,
        authority: TestAuthority | None = None,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
    ) -> None:
        self.answers: list[Callable[[Handler], None]] = [Answer()]
        self.requests: list[Request] = []
        self.server_names: list[str | None] = []
        """What clients asked for in TLS (SNI)."""
        self.connections = 0
        self.written_bytes = 0
        """By `endless`."""
        self.ended = threading.Event()
        self._changed = threading.Condition()
        self._server = _make_server(self, host, port)
        if authority is not None:
            context = authority.serving(names)
            context.sni_callback = lambda _, name, __: self.server_names.append(name)
            # The handshake is for the handler's thread: a client that never speaks must not hold up the others.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'http' if authority is None else 'https'}://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, request: Request) -> Callable[[Handler], None]:
        """Record a request and say how to answer it."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def wait_for(self, count: int, *, timeout_s: float = 10.0) -> list[Request]:
        """The requests, once there are so many. Blocks: in async tests by `anyio.to_thread.run_sync`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout_s), self.requests
            return list(self.requests)


def _make_server(listener: Listener, host: str, port: int) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Joined when the listener ends, so that no test leaves a thread or a socket behind.
        daemon_threads = False
        block_on_close = True

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            listener.connections += 1
            connection.settimeout(10)
            return connection, address

        def handle_error(self, *_: object) -> None:
            """Clients break off; that is their business."""

    return Server((host, port), type("ListenerHandler", (Handler,), {"listener": listener}))


class TestAuthority:
    """Issues certificates that only tests believe."""

    __test__ = False

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the tests")])
        self.certificate = self._build(self._name, self._key.public_key(), x509.BasicConstraints(True, None))

    def trusted(self) -> ssl.SSLContext:
        """A client's context that believes this authority and no other."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def serving(self, names: Sequence[str]) -> ssl.SSLContext:
        """A server's context with a certificate for these names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(x509.Name([]), key.public_key(), _alternative_names(names))
        pem = serialization.Encoding.PEM
        kept = certificate.public_bytes(pem) + key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "chain.pem"
            path.write_bytes(kept)
            context.load_cert_chain(path)
        return context

    def _build(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.fromtimestamp(time.time(), UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)
