"""A server, a customer's site at another origin, and a browser with an authenticator: once for the file that asks.

Nothing here may run an asyncio loop while the browser lives: Playwright's own runs in the same thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.customer import customer_site
from tests.support.browser import VirtualAuthenticator, launch_browser, virtual_authenticator
from tests.support.server import AppKeys, RunningServer, running_server

_numbers = itertools.count(1)
_PATIENCE_MS = 3000
_STEP_MS = 20
# Playwright waits for a promise for ever: what the client returns is awaited with a limit.
_WITHIN = """const within = (promise) => Promise.race([promise, new Promise((_, reject) =>
  setTimeout(() => reject(new Error("the client has not returned in 15 s")), 15000))]);"""


class Backend:
    """The customer's backend: it alone holds the secret key, and speaks to the server without a browser."""

    def __init__(self, base_url: str, keys: AppKeys) -> None:
        self.base_url = base_url
        self.keys = keys

    def register_token(self, user_id: str = "user-1", **options: Any) -> str:
        token: str = self._post("/register/token", {"userId": user_id, "username": user_id, **options})["token"]
        return token

    def verify(self, token: str) -> dict[str, Any]:
        return self._post("/signin/verify", {"token": token})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(self.base_url + path, headers={"ApiSecret": self.keys.secret}, json=body)
        assert answer.status_code == 200, answer.text
        members: dict[str, Any] = answer.json()
        return members


class Visitor:
    """Somebody on the customer's page, with an authenticator at hand. Every error of the page must be expected."""

    def __init__(self, page: Page, origin: str, **config: Any) -> None:
        self.page = page
        self.origin = origin
        self._errors: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.goto(origin)
        self.authenticator: VirtualAuthenticator = virtual_authenticator(page)
        self.configure(**config)

    def configure(self, **config: Any) -> None:
        """Make the page's client anew."""
        self._config = {**getattr(self, "_config", {}), **config}
        self.page.evaluate("config => { window.client = new Client(config) }", self._config)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the official client, and wait for what it returns."""
        self.start(method, *arguments, into="called")
        return self.finish("called")

    def start(self, method: str, *arguments: Any, into: str = "pending") -> None:
        """Call a method and do not wait: `finish` does."""
        self.page.evaluate(
            "([method, args, into]) => { window[into] = client[method](...args) }", [method, arguments, into]
        )

    def finish(self, name: str = "pending") -> Any:
        """What the client returned at last."""
        return self.page.evaluate(f"(name) => {{ {_WITHIN} return within(window[name]) }}", name)

    def is_waiting(self) -> bool:
        """Whether what was started has not come to an end a moment later."""
        ended = "pending.then(() => false, () => false)"
        moment = "new Promise((resolve) => setTimeout(() => resolve(true), 200))"
        waiting: bool = self.page.evaluate(f"() => Promise.race([{ended}, {moment}])")
        return waiting

    def expect_errors(self, *beginnings: str) -> None:
        """These errors, and no others, have been shown on the console since the last time."""
        for _ in range(_PATIENCE_MS // _STEP_MS):
            if len(self._errors) >= len(beginnings):
                break
            self.page.wait_for_timeout(_STEP_MS)
        shown, self._errors = self._errors, []
        assert [text[: len(beginning)] for text, beginning in zip(shown, beginnings, strict=False)] == list(beginnings)
        assert shown[len(beginnings) :] == []

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(message.text)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin of the customer's site."""
    with customer_site() as origin:
        yield origin


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    """The same page at another origin."""
    with customer_site() as origin:
        yield origin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def backend(server: RunningServer) -> Backend:
    """The backend of an application of its own."""
    return Backend(server.base_url, server.create_app(f"browser{next(_numbers)}"))


Visits = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Visits]:
    """Open the customer's page in a new window, for a backend. A hidden tab could not ask for a passkey."""
    visitors: list[Visitor] = []

    def visit(backend: Backend, *, origin: str = site, **config: Any) -> Visitor:
        config = {"apiUrl": backend.base_url, "apiKey": backend.keys.public, **config}
        visitors.append(Visitor(browser.new_page(), origin, **config))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.expect_errors()
        visitor.page.close()


@pytest.fixture
def visitor(visit: Visits, backend: Backend) -> Visitor:
    """Somebody on the page, whom nobody knows yet."""
    return visit(backend)


@pytest.fixture
def member(visitor: Visitor, backend: Backend) -> Visitor:
    """Somebody on the page who has a passkey as `user-1`, alias `ann@example.com`."""
    answer = visitor.call("register", backend.register_token(aliases=["ann@example.com"]), "Laptop")
    assert backend.verify(answer["token"])["userId"] == "user-1"
    return visitor
