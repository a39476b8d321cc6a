"""The customer's site: a page that loads the official client, at http://localhost and another port than the server's.

The page is as small as a page can be. The client is served from `node_modules` as the package ships it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

HERE = Path(__file__).parent
CLIENT = HERE / "node_modules/@passwordlessdev/passwordless-client/dist/esm/passwordless.mjs"
FILES = {
    "/": (HERE / "page.html", "text/html; charset=utf-8"),
    "/passwordless.mjs": (CLIENT, "text/javascript; charset=utf-8"),
}


class CustomerSite(BaseHTTPRequestHandler):
    """Serves two files."""

    def do_GET(self) -> None:
        path, media_type = FILES.get(self.path, (None, ""))
        if path is None:
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the tests' output is for the tests."""


@contextmanager
def customer_site() -> Iterator[str]:
    """Serve the site on a free port; gives its origin."""
    if not CLIENT.exists():
        raise RuntimeError("the official client is not installed: run `make test`, or `npm ci` in tests/browser")
    with ThreadingHTTPServer(("127.0.0.1", 0), CustomerSite) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
