"""Domains that exist in one browser only: every host is this machine, behind TLS that nobody vouches for.

    with domains(server.base_url) as internet, launch_browser(*internet.arguments) as browser:
        browser.new_page().goto("https://new.example")

Browsers take passkeys, and `/.well-known/webauthn`, from https alone. Each host serves the customer's page; every
other path goes on to the server, with the `Host` it was asked by, as a web server in front of it would do.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.browser.customer import FILES, CustomerSite
from tests.support.metadata import authority

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}


@dataclass(frozen=True, slots=True)
class Domains:
    """All of `example`, at one port of this machine."""

    port: int
    asked: list[tuple[str, str]]
    """Host and path of every request that went on to the server."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of Chromium: where the domains are, and that their certificate will do."""
        return (f"--host-resolver-rules=MAP *.example 127.0.0.1:{self.port}", "--ignore-certificate-errors")


@contextmanager
def domains(server_url: str) -> Iterator[Domains]:
    """Serve all domains on a free port."""
    asked: list[tuple[str, str]] = []

    class Domain(CustomerSite):
        def do_GET(self) -> None:
            if self.path in FILES:
                super().do_GET()
            else:
                self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        do_OPTIONS = do_POST  # noqa: N815 - the base class's way of naming

        def _pass_on(self) -> None:
            asked.append((self.headers["Host"], self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            answer = httpx.request(self.command, server_url + self.path, content=body, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Domain) as listening:
        listening.socket = _certified().wrap_socket(listening.socket, server_side=True)
        thread = Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield Domains(listening.server_port, asked)
        finally:
            listening.shutdown()
            thread.join()


def _certified() -> ssl.SSLContext:
    named = authority("every domain")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as directory:
        file = Path(directory) / "pem"
        key = named.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(key + named.certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(file)
    return context
