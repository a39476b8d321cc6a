"""Who may enter the playground, and what never leaves it."""

from __future__ import annotations

import httpx
import pytest

from tests.playground.demo import ACT, RunningDemo

WANTED = {"username": "ada"}
PATHS = ["", "/", "/config", "/assets/main.js", "/nothing"]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
def test_names_of_this_machine_are_answered(demo: RunningDemo, name: str) -> None:
    assert 200 == httpx.get(demo.link, headers={"Host": f"{name}:{demo.port}"}).status_code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "localhost", "localhost:1", "localhost:{port}.evil.example", ""]
)
def test_another_host_is_refused_before_anything_else(demo: RunningDemo, path: str, host: str) -> None:
    """DNS rebinding: a page elsewhere lets its own name lead here."""
    answer = httpx.get(demo.link + path, headers={"Host": host.format(port=demo.port)})
    assert 403 == answer.status_code
    assert "answers to the names of this machine only" in answer.json()["title"]


@pytest.mark.parametrize("act", ["register-token", "verify"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:{port}"},
        ACT,
        {**ACT, "Origin": "http://evil.example"},
        {**ACT, "Origin": "null"},
        {**ACT, "Origin": "http://127.0.0.1:{port}"},
        {**ACT, "Origin": "https://localhost:{port}"},
        {"X-Playground": "yes", "Origin": "http://localhost:{port}"},
    ],
    ids=str,
)
def test_an_act_for_another_page_is_refused(demo: RunningDemo, act: str, headers: dict[str, str]) -> None:
    sent = {name: value.format(port=demo.port) for name, value in headers.items()}
    answer = httpx.post(f"{demo.link}/{act}", json=WANTED, headers=sent)
    assert 403 == answer.status_code
    assert "acts for its own page only" in answer.json()["title"]


def test_a_preflight_gets_no_leave(demo: RunningDemo) -> None:
    """The API answers any page's preflight; the playground must not, or its custom header would prove nothing."""
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-playground",
    }
    for path in ("/register-token", "/verify", "/config", ""):
        answer = httpx.options(demo.link + path, headers=asked)
        assert 405 == answer.status_code
        assert [] == [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_is_shared_with_other_origins(demo: RunningDemo, path: str) -> None:
    headers = httpx.get(demo.link + path, headers={"Origin": "http://evil.example"}).headers
    assert "access-control-allow-origin" not in headers
    assert "same-origin" == headers["cross-origin-resource-policy"]
    assert "default-src 'self'; " in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_the_secret_is_in_no_answer(demo: RunningDemo) -> None:
    secret = demo.keys["apiSecret"].rpartition(":")[2]
    page = httpx.get(demo.link).text
    assets = {part.split('"')[0] for part in page.split("/playground/assets/")[1:]}
    answers = [page, *(httpx.get(f"{demo.link}/assets/{name}").text for name in assets)]
    answers.append(httpx.get(f"{demo.link}/config").text)
    for act, body in [("register-token", WANTED), ("verify", {"token": "verify_x"}), ("verify", {"token": secret[:9]})]:
        answers.append(str(demo.act(act, body)))
    assert 3 <= len(assets)
    assert [] == [answer for answer in answers if secret in answer or demo.keys["apiSecret"][:18] in answer]


def test_an_exchange_is_told_as_it_went_but_for_the_secret(demo: RunningDemo) -> None:
    told = demo.act("register-token", {"username": "Ærøskøbing 🗝"})
    assert {
        "method": "POST",
        "path": "/register/token",
        "headers": {"ApiSecret": "demo:secret:••••••••", "Content-Type": "application/json"},
        "body": {
            "userId": told["request"]["body"]["userId"],
            "username": "Ærøskøbing 🗝",
            "aliases": ["Ærøskøbing 🗝"],
            "userVerification": "preferred",
            "authenticatorType": "any",
            "discoverable": True,
        },
    } == told["request"]
    assert 200 == told["response"]["status"]
    assert told["response"]["body"]["token"].startswith("register_")


def test_a_refusal_of_the_api_is_told_too(demo: RunningDemo) -> None:
    told = demo.act("verify", {"token": "verify_nonsense"})
    assert 400 == told["response"]["status"]
    assert "application/problem+json" == told["response"]["headers"]["content-type"]
    assert "invalid_token_format" == told["response"]["body"]["errorCode"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"username": ""}', 400),
        (b'{"username": 7}', 400),
        (b'{"username": "\\ud800"}', 400),
        (b'{"username": "a", "userVerification": "always"}', 400),
        (b"\xff", 400),
        (b'{"username": "\xff"}', 400),
        (b'{"x":' + b"[" * 8_000, 400),
        (b" " * 20_000, 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(demo: RunningDemo, body: bytes, status: int) -> None:
    answer = httpx.post(f"{demo.link}/register-token", content=body, headers={**ACT, "Origin": demo.origin})
    assert (status, status) == (answer.status_code, answer.json()["status"])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("DELETE", "/config"), ("GET", "/verify"), ("PUT", "/verify")]
)
def test_another_method_is_refused(demo: RunningDemo, method: str, path: str) -> None:
    assert 405 == httpx.request(method, demo.link + path).status_code


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/nothing.js", "/page.html"]
)
def test_there_is_nothing_beside_the_assets(demo: RunningDemo, path: str) -> None:
    assert 404 == httpx.get(demo.link + path).status_code


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("main.js", "text/javascript"), ("playground.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_an_asset_has_its_type_and_is_sent_once(demo: RunningDemo, name: str, media_type: str) -> None:
    first = httpx.get(f"{demo.link}/assets/{name}")
    again = httpx.get(f"{demo.link}/assets/{name}", headers={"If-None-Match": first.headers["etag"]})
    assert media_type == first.headers["content-type"].partition(";")[0]
    assert ("no-cache", 304, b"") == (first.headers["cache-control"], again.status_code, again.content)


def test_what_changes_is_not_stored(demo: RunningDemo) -> None:
    assert "no-store" == httpx.get(f"{demo.link}/config").headers["cache-control"]
