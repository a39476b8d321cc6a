"""Conditional create, as far as a browser without an owner goes.

Chromium makes a passkey without asking only in the password manager of a signed-in profile: it names the capability,
takes the request, and hands it to no authenticator that DevTools adds (tried in version 156 with every transport, with
`enableUI` and without). What can be proved is what happens in nearly all visits: nothing, and nothing is lost by it.
An authenticator that does answer, with UP=0, is in tests/http/test_conditional_create.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Backend, Visitor

pytestmark = pytest.mark.xdist_group("browser")

_ASK = """async ({apiUrl, apiKey, token}) => {
  const page = {origin: location.origin, rpid: location.hostname};
  const headers = {ApiKey: apiKey, "Content-Type": "application/json"};
  const call = async (path, body) =>
    (await fetch(apiUrl + path, {method: "POST", headers, body: JSON.stringify({...body, ...page})})).json();
  const {data, session, mediation} = await call("/register/begin", {token});
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(data);
  const signal = mediation === "conditional" ? AbortSignal.timeout(500) : undefined;
  try {
    const made = await navigator.credentials.create({publicKey, mediation, signal});
    return {mediation, ...(await call("/register/complete", {session, response: made.toJSON()}))};
  } catch (error) {
    return {mediation, error: error.name};
  }
}"""
"""What a page does that takes `mediation` as it is told, with the browser's own parser of the options."""


def ask(visitor: Visitor, backend: Backend, token: str) -> dict[str, Any]:
    config = {"apiUrl": backend.base_url, "apiKey": backend.keys.public, "token": token}
    answer: dict[str, Any] = visitor.page.evaluate(_ASK, config)
    return answer


def test_what_begin_says_is_what_create_takes(visitor: Visitor, backend: Backend) -> None:
    """Options and answer in the browser's own JSON, with nothing in between."""
    answer = ask(visitor, backend, backend.register_token())
    assert "optional" == answer["mediation"]
    assert "passkey_register" == backend.verify(answer["token"])["type"]


def test_a_browser_that_makes_none_costs_nothing(visitor: Visitor, backend: Backend) -> None:
    """It says nothing, shows nothing, and the leave is still good for a button that asks."""
    token = backend.register_token(conditionalCreate=True)
    answer = ask(visitor, backend, token)
    assert ("conditional", False) == (answer["mediation"], "token" in answer)
    assert answer["error"] in ("TimeoutError", "AbortError", "NotAllowedError")
    assert [] == visitor.authenticator.credentials()

    verified = backend.verify(visitor.call("register", token)["token"])
    assert verified["assurance"]["userPresent"]


def test_the_official_client_asks_all_the_same(visitor: Visitor, backend: Backend) -> None:
    """It does not know `mediation`, and is not disturbed by it."""
    made = visitor.call("register", backend.register_token(conditionalCreate=True), "Laptop")
    assert "Laptop" == backend.verify(made["token"])["nickname"]
    assert "user-1" == backend.verify(visitor.call("signinWithId", "user-1")["token"])["userId"]


def test_extensions_that_were_asked_for_are_answered(visitor: Visitor, backend: Backend) -> None:
    """Chromium takes each of the inputs; what an authenticator cannot do is said, not refused."""
    extensions = {
        "prf": {},
        "largeBlob": {"support": "preferred"},
        "credentialProtectionPolicy": "userVerificationOptional",
        "minPinLength": True,
    }
    answer = ask(visitor, backend, backend.register_token(extensions=extensions))
    assert "passkey_register" == backend.verify(answer["token"])["type"]
    visitor.call("register", backend.register_token("user-2", extensions=extensions))
