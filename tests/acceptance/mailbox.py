"""What somebody's mail program shows: mails that the server wrote into a directory, and the click on a link in one."""

from __future__ import annotations

import email.policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

PAGE = "https://shop.example.org/in"
URL_TEMPLATE = f"{PAGE}?token=$TOKEN"


class Mailbox:
    """The directory that `NARTHEX_MAIL` names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def to(self, address: str) -> list[EmailMessage]:
        """The mails to an address, the oldest first."""
        files = sorted(self._directory.glob("*.eml"))
        mails = [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]
        return [mail for mail in mails if address in [each.addr_spec for each in mail["To"].addresses]]

    def link_to(self, address: str) -> str:
        """The address that the button of the only mail leads to; the text shows the same one."""
        [mail] = self.to(address)
        text, html = (mail.get_body([kind]).get_content() for kind in ("plain", "html"))
        [link] = {link for link in _Page.read(html).links if not link.startswith("mailto:")}
        assert link in text.split()
        return link


class _Page(HTMLParser):
    """The links and forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[dict[str, str | None]] = []

    @classmethod
    def read(cls, html: str) -> _Page:
        page = cls()
        page.feed(html)
        return page

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attributes)["href"] or "")
        if tag == "form":
            self.forms.append(dict(attributes))


def look_at(link: str) -> httpx.Response:
    """Open a link as a mail scanner does: read the page, and press nothing."""
    return httpx.get(link)


def click(link: str) -> httpx.Response:
    """Open a link, and press the button of its page."""
    seen = look_at(link)
    assert 200 == seen.status_code, seen.text
    [form] = _Page.read(seen.text).forms
    assert "post" == form["method"]
    return httpx.post(urljoin(link, form.get("action") or link))


def token_of(answer: httpx.Response) -> str:
    """The token that the button leads to the customer's page with."""
    assert 303 == answer.status_code, answer.text
    leads_to = answer.headers["Location"]
    assert leads_to.startswith(f"{PAGE}?")
    [token] = parse_qs(urlsplit(leads_to).query)["token"]
    return token
