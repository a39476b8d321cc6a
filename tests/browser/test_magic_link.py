"""A magic link as a person meets it: the mail, the page with one button, and the customer's page behind it.

Chromium holds a page's `form-action` against every redirect behind its form, so the customer's page here leads on to
another host once more, as pages do.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Backend
from tests.support.server import RunningServer, running_server

pytestmark = pytest.mark.xdist_group("browser")

_numbers = itertools.count(1)
PHONE = {"width": 320, "height": 640}


class Shop(BaseHTTPRequestHandler):
    """The customer's site: `/in` leads on to `/welcome` at another host, which shows what it was brought."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/in":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/welcome?{query}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = f"<!doctype html><title>Shop</title><p id=brought>{query}</p>".encode()
        content += f"<p id=from>{self.headers.get('Referer', 'nowhere')}</p>".encode()
        self.send_response(200 if path == "/welcome" else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the tests' output is for the tests."""


@contextmanager
def shop_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with shop_server() as origin:
        yield origin


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="module")
def server(mails: Path) -> Iterator[RunningServer]:
    with running_server(mail=mails, mail_from="passkeys@example.com", new_application_hold=0) as running:
        yield running


@pytest.fixture
def backend(server: RunningServer) -> Backend:
    keys = server.create_app(f"links{next(_numbers)}", magicLinkEmailMonthlyQuota=100)
    return Backend(server.base_url, keys)


SendLink = Callable[..., str]


@pytest.fixture
def send_link(backend: Backend, mails: Path, shop: str) -> SendLink:
    """Mail a link to the shop; gives the link, as it stands in the mail."""

    def send_link(**members: Any) -> str:
        body = {"emailAddress": "ann@example.com", "userId": "user-1", "urlTemplate": f"{shop}/in?token=$TOKEN"}
        headers = {"ApiSecret": backend.keys.secret}
        answer = httpx.post(f"{backend.base_url}/magic-links/send", headers=headers, json=body | members)
        assert answer.status_code == 204, answer.text
        mail = email.message_from_bytes(max(mails.iterdir()).read_bytes(), policy=email.policy.SMTP)
        assert isinstance(mail, EmailMessage)
        found = mail.get_body(("plain",))
        assert found is not None
        (link,) = re.findall(r"https?://\S+", found.get_content())
        return str(link)

    return send_link


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window. Whatever its console complains of fails the test."""
    page, errors = browser.new_page(), list[str]()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    # A page with a status of 4xx is an error to the console, and some of the tests want such pages.
    assert [text for text in errors if "Failed to load resource" not in text] == []


def brought(page: Page) -> str:
    """The token that the customer's page was brought."""
    expect(page.locator("#brought")).to_be_visible()
    return page.locator("#brought").inner_text().removeprefix("token=")


def test_from_the_mail_by_one_click_to_the_customers_page_and_who_it_is(
    page: Page, backend: Backend, send_link: SendLink
) -> None:
    response = page.goto(send_link())
    assert response is not None
    assert response.status == 200
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to localhost")
    page.get_by_role("button", name="Sign in").click()
    token = brought(page)
    assert page.url.startswith("http://127.0.0.1:")
    assert page.locator("#from").inner_text() == "nowhere"
    verified = backend.verify(token)
    assert (verified["userId"], verified["type"], verified["origin"]) == ("user-1", "magic_link", "")
    assert verified["assurance"]["method"] == "email_link"
    assert verified["assurance"]["device"].startswith("HeadlessChrome")


def test_the_page_needs_no_script_and_no_mouse(browser: Browser, backend: Backend, send_link: SendLink) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(send_link())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert backend.verify(brought(page))["userId"] == "user-1"
    page.close()


def test_whoever_goes_back_and_clicks_again_is_told_that_the_link_was_used(page: Page, send_link: SendLink) -> None:
    page.goto(send_link())
    page.get_by_role("button", name="Sign in").click()
    brought(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("This link was used already")


def test_an_impatient_double_click_spends_the_link_once(page: Page, backend: Backend, send_link: SendLink) -> None:
    page.goto(send_link())
    page.get_by_role("button", name="Sign in").dblclick()
    assert backend.verify(brought(page))["userId"] == "user-1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en", "de", "fr", "es"])
def test_the_page_fits_the_smallest_phone(browser: Browser, send_link: SendLink, locale: str, scheme: Any) -> None:
    page = browser.new_page(viewport=PHONE, color_scheme=scheme)
    page.goto(send_link(locale=locale))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.documentElement.lang") == locale
    box = page.get_by_role("button").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert box["y"] + box["height"] <= PHONE["height"]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, send_link: SendLink, scheme: Any) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(send_link())
    for selector, ground in (("h1", "main"), ("p", "main"), (".soft", "main"), ("button", "button")):
        assert _contrast(page, selector, ground) >= 4.5
    page.close()


def _contrast(page: Page, selector: str, ground: str) -> float:
    first = _luminance(page, selector, "color")
    second = _luminance(page, ground, "backgroundColor")
    lighter, darker = max(first, second), min(first, second)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(page: Page, selector: str, member: str) -> float:
    script = "([selector, member]) => getComputedStyle(document.querySelector(selector))[member]"
    colour = str(page.evaluate(script, [selector, member]))
    red, green, blue = (_linear(int(part) / 255) for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
