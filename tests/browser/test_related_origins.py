"""A move from one domain to another, as a browser sees it: related origins (L3 #sctn-related-origins), unabridged.

The official client runs at https://old.example and https://new.example, against the server behind
https://api.example. Chromium itself asks https://old.example/.well-known/webauthn before it lets the new page use a
passkey of the old one, and what it is told there is this server's answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Backend, Visitor, Visits
from tests.browser.domains import Domains, domains
from tests.support.browser import launch_browser
from tests.support.server import RunningServer

pytestmark = pytest.mark.xdist_group("browser")

OLD, NEW, EVIL = "old.example", "new.example", "evil.example"
WELL_KNOWN = "/.well-known/webauthn"
# A second, the longest that a server goes by what it knew of an application.
FOLLOWED_WITHIN_S = 1.1


@pytest.fixture(scope="module")
def internet(server: RunningServer) -> Iterator[Domains]:
    with domains(server.base_url) as listening:
        yield listening


@pytest.fixture(scope="module")
def browser(internet: Domains) -> Iterator[Browser]:
    with launch_browser(*internet.arguments) as launched:
        yield launched


class Operator:
    """Decides for one application with the server's own commands."""

    def __init__(self, server: RunningServer, app_id: str) -> None:
        self._server, self._app_id = server, app_id

    def does(self, command: str, *arguments: str) -> None:
        self._server.run_command("app", command, self._app_id, *arguments)
        time.sleep(FOLLOWED_WITHIN_S)


@pytest.fixture
def operator(server: RunningServer, backend: Backend) -> Iterator[Operator]:
    operator = Operator(server, backend.keys.app_id)
    operator.does("set", "--origin", f"https://{OLD}", "--origin", f"https://{NEW}")
    yield operator
    operator.does("answer-for", OLD, "--leave")


Goes = Callable[[str], Visitor]


@pytest.fixture
def go(visit: Visits, backend: Backend) -> Goes:
    """Open the page at a domain, with the client that speaks to https://api.example."""
    return lambda domain: visit(backend, origin=f"https://{domain}", apiUrl="https://api.example")


def carry(credentials: list[dict[str, Any]], to: Visitor) -> Visitor:
    """The same authenticator in another window."""
    for credential in credentials:
        to.authenticator.add_credential(credential)
    return to


def test_a_user_moves_to_another_domain(go: Goes, backend: Backend, operator: Operator, internet: Domains) -> None:
    old_page = go(OLD)
    made = backend.verify(old_page.call("register", backend.register_token("ann"))["token"])
    assert (OLD, f"https://{OLD}") == (made["rpId"], made["origin"])

    operator.does("answer-for", OLD)
    operator.does("move", "--from", OLD, "--to", NEW)
    new_page = carry(old_page.authenticator.credentials(), go(NEW))
    internet.asked.clear()
    used = backend.verify(new_page.call("signinWithId", "ann")["token"])
    assert ("ann", OLD, f"https://{NEW}") == (used["userId"], used["rpId"], used["origin"])
    assert (OLD, WELL_KNOWN) in internet.asked
    assert made["credentialId"] == used["credentialId"]

    # The backend saw the old id, and lets the user make a passkey for the new one. The old one would be excluded on
    # the same authenticator if it were of the same id: it is not.
    made_anew = backend.verify(new_page.call("register", backend.register_token("ann"))["token"])
    assert NEW == made_anew["rpId"]

    internet.asked.clear()
    for method, arguments in (("signinWithId", ["ann"]), ("signinWithDiscoverable", [])):
        used = backend.verify(new_page.call(method, *arguments)["token"])
        assert (NEW, made_anew["credentialId"]) == (used["rpId"], used["credentialId"])
    assert WELL_KNOWN not in {path for _, path in internet.asked}


def test_nobody_answers_for_the_old_domain(go: Goes, backend: Backend, operator: Operator, internet: Domains) -> None:
    """What an operator sees who moves and forgets the first thing to do: the browser itself refuses."""
    old_page = go(OLD)
    old_page.call("register", backend.register_token("ann"))
    operator.does("move", "--from", OLD, "--to", NEW)
    new_page = carry(old_page.authenticator.credentials(), go(NEW))
    error = new_page.call("signinWithId", "ann")["error"]
    assert "client" == error["from"]
    assert re.search("relying party ID", error["title"])
    assert (OLD, WELL_KNOWN) in internet.asked
    new_page.expect_errors("SecurityError:", "{from: client")


def test_a_page_that_is_not_listed_cannot_use_the_passkey(
    go: Goes, backend: Backend, operator: Operator, internet: Domains
) -> None:
    """Whatever it asks the browser for: the list says no, and the server says no before that."""
    old_page = go(OLD)
    old_page.call("register", backend.register_token("ann"))
    operator.does("answer-for", OLD)
    evil_page = carry(old_page.authenticator.credentials(), go(EVIL))
    assert "origin_not_allowed" == evil_page.call("signinWithId", "ann")["error"]["errorCode"]
    evil_page.expect_errors("Failed to load resource: the server responded with a status of 400")

    internet.asked.clear()
    ask = f"""navigator.credentials.get({{publicKey: {{rpId: "{OLD}", challenge: new Uint8Array(32)}}}})"""
    assert "SecurityError" == evil_page.page.evaluate(f"() => {ask}.then(() => 'used', (error) => error.name)")
    assert [(OLD, WELL_KNOWN)] == internet.asked
