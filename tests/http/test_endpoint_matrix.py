"""Who may call what: every route by every kind of caller, made from the route table and shown as a text.

`endpoint_matrix.txt` beside this file is the expectation: a change of rights is a readable diff of it. After a change
that is meant, write it anew with `NARTHEX_WRITE_SNAPSHOTS=1 .venv/bin/pytest tests/http/test_endpoint_matrix.py -n 0`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from narthex.base.values import instant_z
from narthex.http.app import ROUTES
from narthex.http.authenticate import Access
from narthex.http.body import Body
from narthex.http.environment import AnonymousCall
from narthex.http.routing import Endpoint, RouteSpec, Unguarded, route, spec_of
from narthex.ports.changes import ScheduleDeletion
from narthex.ports.records import LEGACY_GRANTS, EventType, KeyKind, Scope
from narthex.usecases.api_key import SCOPES_OF_KIND
from tests.http.examples import EXAMPLES, Customer, Route, WholeHouse, ask, route_of
from tests.support.application import (
    MANAGEMENT_KEY,
    Application,
    Ceremonies,
    HouseInProcess,
    problem_of,
)

pytestmark = pytest.mark.anyio

SNAPSHOT = Path(__file__).with_name("endpoint_matrix.txt")
UNKNOWN = "0" * 32
ELSEWHERE = "198.51.100.0/24"
"""The network that no test calls from."""

CLOSES_ITS_APPLICATION = {
    ("POST", "/admin/apps/{app_id}/freeze"),
    ("POST", "/admin/apps/{app_id}/unfreeze"),
    ("POST", "/admin/apps/{app_id}/mark-delete"),
    ("POST", "/admin/apps/{app_id}/cancel-delete"),
    ("DELETE", "/admin/apps/{app_id}"),
}
"""Routes after which the keys of their application may open nothing: each question is about an application anew."""

TAKES_A_KEY = {route_of(spec) for spec in ROUTES if "{key_id}" in spec.path}
"""So are these, for a key that is locked or deleted can be neither again."""


class Stage:
    """Two tenants with the same users, and keys of every kind."""

    def __init__(self, house: WholeHouse, ours: Customer, theirs: Customer) -> None:
        self.house = house
        self.ours = ours
        self.theirs = theirs
        self.closed: dict[str, Application] = {}
        self._keys: dict[tuple[Any, ...], str] = {}
        self._made = 0

    async def callers(self, spec: RouteSpec) -> dict[str, dict[str, str]]:
        """The headers of every kind of caller."""
        if spec.access is Access.ANONYMOUS:
            return {"anonymous": {}, "unknown application": {"ApiKey": f"nobody:public:{UNKNOWN}"}}
        if spec.access is Access.MANAGEMENT_KEY:
            return self._operators()
        ours, theirs = self.ours.application, self.theirs.application
        public = spec.access is Access.PUBLIC_KEY
        kind, other_kind = (KeyKind.PUBLIC, KeyKind.SECRET) if public else (KeyKind.SECRET, KeyKind.PUBLIC)
        header, other_header = ("ApiKey", "ApiSecret") if public else ("ApiSecret", "ApiKey")
        right, wrong_kind, others = (
            (ours.public_key, ours.secret_key, theirs.public_key)
            if public
            else (ours.secret_key, ours.public_key, theirs.secret_key)
        )
        locked = ours.other_public_key if public else ours.other_secret_key
        assert spec.scope is not None
        closed = {
            f"key of {what} application": {header: getattr(each, f"{kind}_key")} for what, each in self.closed.items()
        }
        legacy = {"legacy key": {header: await self.key(kind, [0, 1])}} if kind is KeyKind.SECRET else {}
        return {
            "anonymous": {},
            "empty header": {header: ""},
            "blank header": {header: "  "},
            "other header": {other_header: wrong_kind},
            "wrong kind of key": {header: wrong_kind},
            "malformed key": {header: "not a key"},
            "verify token": {header: "verify_abc"},
            "register token": {header: "register_abc"},
            "unknown application": {header: f"nobody:{kind}:{UNKNOWN}"},
            "no application": {header: f":{kind}:{UNKNOWN}"},
            "wrong key": {header: f"ours:{kind}:{UNKNOWN}"},
            "key cut short": {header: right[:-1]},
            "key in capitals": {header: right.upper()},
            "locked key": {header: locked},
            "expired key": {header: await self.key(kind, [*SCOPES_OF_KIND[kind]], ends=True)},
            **closed,
            "key of another network": {header: await self.key(kind, [*SCOPES_OF_KIND[kind]], networks=[ELSEWHERE])},
            "key lacks the scope": {header: await self.key(kind, [*SCOPES_OF_KIND[kind] - {spec.scope}])},
            "key with the scope alone": {header: await self.key(kind, [spec.scope])},
            **legacy,
            "management key": {"ManagementKey": MANAGEMENT_KEY},
            "another tenant's key": {header: others},
            "both headers": {header: right, other_header: f"ours:{other_kind}:{UNKNOWN}"},
            "right key": {header: right},
        }

    def _operators(self) -> dict[str, dict[str, str]]:
        ours = self.ours.application
        return {
            "anonymous": {},
            "empty header": {"ManagementKey": ""},
            "public key": {"ApiKey": ours.public_key},
            "secret key": {"ApiSecret": ours.secret_key},
            "secret key as management key": {"ManagementKey": ours.secret_key},
            "wrong key": {"ManagementKey": "wrong"},
            "key cut short": {"ManagementKey": MANAGEMENT_KEY[:-1]},
            "management key as secret key": {"ApiSecret": MANAGEMENT_KEY},
            "right key": {"ManagementKey": MANAGEMENT_KEY},
        }

    async def key(
        self, kind: KeyKind, scopes: list[Any], *, networks: list[str] | None = None, ends: bool = False
    ) -> str:
        """A key of ours that is good for that; the same one whenever it is asked for."""
        which = (kind, *sorted(map(str, scopes)), *(networks or ()), ends)
        if which not in self._keys:
            ends_at = instant_z(self.house.clock.now() + timedelta(seconds=1)) if ends else None
            terms = {"scopes": scopes, "networks": networks, "expiresAt": ends_at}
            made = await self.house.manage(f"/admin/apps/ours/{kind}-keys", terms)
            assert 200 == made.status_code, made.text
            self._keys[which] = made.json()["apiKey"]
            if ends:
                self.house.clock.move(seconds=1)
        return self._keys[which]

    async def ask(self, spec: RouteSpec, headers: dict[str, str]) -> httpx.Response:
        customer = self.ours
        if route_of(spec) in CLOSES_ITS_APPLICATION | TAKES_A_KEY:
            self._made += 1
            customer = Customer(self.house, await self.house.create_application(f"new{self._made}"))
        example = await EXAMPLES[route_of(spec)](customer)
        return await ask(self.house.client, spec, example, headers)


@pytest.fixture
async def stage(sqlite_url: str) -> AsyncIterator[Stage]:
    async with WholeHouse(sqlite_url) as house:
        stage = Stage(house, await house.customer("ours"), await house.customer("theirs"))
        stage.closed["a frozen"] = await house.create_application("frozen")
        assert 204 == (await house.manage("/admin/apps/frozen/freeze", {})).status_code
        stage.closed["a leaving"] = await house.create_application("leaving")
        in_a_month = house.clock.now() + timedelta(days=30)
        await house.root.tenant("leaving").commit(ScheduleDeletion(in_a_month))
        for key in (stage.ours.application.other_public_key, stage.ours.application.other_secret_key):
            await house.lock_key("ours", key)
        yield stage


def title_of(spec: RouteSpec) -> str:
    needs = " ".join(filter(None, (spec.access.value or "nobody in particular", spec.scope and f"({spec.scope})")))
    return f"{spec.method} {spec.path} · {needs}"


def line_of(caller: str, response: httpx.Response) -> str:
    if response.status_code < 400:
        return f"  {caller:<29} {response.status_code}"
    problem = problem_of(response)
    detail = "" if response.status_code == 400 else problem.get("detail", "")
    return f"  {caller:<29} {response.status_code} {problem['errorCode']:<14} {detail}".rstrip()


async def test_every_route_answers_every_caller_as_the_matrix_says(stage: Stage) -> None:
    blocks = []
    for spec in ROUTES:
        lines = [title_of(spec)]
        for caller, headers in (await stage.callers(spec)).items():
            lines.append(line_of(caller, await stage.ask(spec, headers)))
        blocks.append("\n".join(lines) + "\n")
    shown = "\n".join(blocks)
    if os.environ.get("NARTHEX_WRITE_SNAPSHOTS"):
        SNAPSHOT.write_text(shown)
    expected = SNAPSHOT.read_text()
    difference = difflib.unified_diff(
        expected.splitlines(), shown.splitlines(), "expected", "actual", lineterm="", n=30
    )
    assert expected == shown, "\n" + "\n".join(difference)


def test_every_route_has_an_example() -> None:
    routes = {route_of(spec) for spec in ROUTES}
    assert set() == routes - EXAMPLES.keys(), "a route needs a good request in tests/http/examples.py"
    assert set() == EXAMPLES.keys() - routes, "an example is of a route that is gone"


def shown_statuses() -> dict[Route, dict[str, int]]:
    """The matrix as it is kept: by route, what each caller got."""
    statuses: dict[Route, dict[str, int]] = {}
    for block in SNAPSHOT.read_text().strip().split("\n\n"):
        title, *lines = block.split("\n")
        method, path = title.split(" ")[:2]
        statuses[method, path] = {line[2:31].strip(): int(line[32:35]) for line in lines}
    return statuses


PRIVATE = [spec for spec in ROUTES if spec.scope is not None]
FAVOURED = {"key with the scope alone", "legacy key", "another tenant's key", "both headers", "right key"}


@pytest.mark.parametrize("spec", PRIVATE, ids=lambda spec: f"{spec.method} {spec.path}")
def test_the_matrix_lets_nobody_in_but_those_who_may(spec: RouteSpec) -> None:
    """Whoever writes the snapshot anew need not read all of it: these rows cannot change unseen."""
    statuses = shown_statuses()[route_of(spec)]
    for caller in ("key with the scope alone", "both headers", "right key"):
        assert statuses[caller] in (200, 201, 202, 204), caller
    for caller in statuses.keys() - FAVOURED:
        expected = 403 if caller in ("key lacks the scope", "key of another network") else 401
        assert expected == statuses[caller], caller


@pytest.mark.parametrize(
    "spec",
    [spec for spec in ROUTES if spec.access is Access.MANAGEMENT_KEY],
    ids=lambda spec: f"{spec.method} {spec.path}",
)
def test_the_matrix_lets_only_the_operator_manage(spec: RouteSpec) -> None:
    statuses = shown_statuses()[route_of(spec)]
    assert statuses.pop("right key") in (200, 204)
    assert {401} == set(statuses.values())


@pytest.mark.parametrize(
    "spec",
    [spec for spec in PRIVATE if spec.access is Access.SECRET_KEY],
    ids=lambda spec: f"{spec.method} {spec.path}",
)
def test_a_legacy_key_may_what_the_reference_lets_any_key_do(spec: RouteSpec) -> None:
    own = {Scope.TOKEN_REGISTER, Scope.TOKEN_VERIFY, Scope.TOKEN_GENERATE}
    status = shown_statuses()[route_of(spec)]["legacy key"]
    assert (status != 403) is (spec.scope in LEGACY_GRANTS | own)
    assert status in (200, 201, 204, 403)


# --- the sentences of a 401 -----------------------------------------------------------------------------------------

TITLES = {"ApiKey": "A valid 'ApiKey' header is required.", "ApiSecret": "A valid 'ApiSecret' header is required."}
PATHS = {"ApiKey": "/signin/begin", "ApiSecret": "/signin/verify"}
OTHER = {"ApiKey": "ApiSecret", "ApiSecret": "ApiKey"}
SENTENCES: list[tuple[str, dict[str, str], str]] = [
    ("ApiSecret", {"ApiSecret": "verify_x"}, "A verify token was supplied instead of your 'ApiSecret'."),
    ("ApiKey", {"ApiKey": "verify_x"}, "A verify token was supplied instead of your 'ApiKey'."),
    ("ApiSecret", {"ApiSecret": "register_x"}, "A register token was supplied instead of your 'ApiSecret'."),
    ("ApiKey", {"ApiKey": "register_x"}, "A register token was supplied instead of your 'ApiKey'."),
    (
        "ApiSecret",
        {"ApiSecret": f"demo:public:{UNKNOWN}"},
        "Your ApiSecret header contained a public ApiKey instead of your 'ApiSecret'.",
    ),
    (
        "ApiKey",
        {"ApiKey": f"demo:secret:{UNKNOWN}"},
        "Your ApiKey header contained a ApiSecret instead of your 'ApiKey'.",
    ),
    (
        "ApiSecret",
        {"ApiSecret": "something else"},
        "We don't recognize the value you supplied for your 'ApiSecret'. It started with: 'something '.",
    ),
    (
        "ApiKey",
        {"ApiKey": "short"},
        "We don't recognize the value you supplied for your 'ApiKey'. It started with: 'short'.",
    ),
    ("ApiSecret", {"ApiSecret": f"demo:secret:{UNKNOWN}"}, "The value of your 'ApiSecret' is not valid."),
    ("ApiKey", {"ApiKey": "a public secret"}, "The value of your 'ApiKey' is not valid."),
    (
        "ApiSecret",
        {"ApiKey": "anything"},
        "A 'ApiKey' header was supplied when a 'ApiSecret' header should have been supplied.",
    ),
    (
        "ApiKey",
        {"ApiSecret": "anything", "ApiKey": ""},
        "A 'ApiSecret' header was supplied when a 'ApiKey' header should have been supplied.",
    ),
    ("ApiSecret", {}, "A valid 'ApiSecret' header is required."),
    ("ApiKey", {"ApiKey": "", "ManagementKey": "x"}, "A valid 'ApiKey' header is required."),
]


@pytest.mark.parametrize(("header", "sent", "sentence"), SENTENCES)
async def test_a_401_says_what_is_wrong_in_the_words_of_the_reference(
    house: HouseInProcess, application: Application, header: str, sent: dict[str, str], sentence: str
) -> None:
    response = await house.client.post(PATHS[header], json={}, headers=sent)
    problem = problem_of(response)
    assert {
        "type": f"{house.errors_url}#{header}",
        "title": TITLES[header],
        "status": 401,
        "detail": sentence,
        "errorCode": "key_required",
        "traceId": problem["traceId"],
    } == problem
    assert header == response.headers["www-authenticate"]


async def test_a_401_of_the_management_api_has_no_detail(house: HouseInProcess) -> None:
    response = await house.client.post("/admin/apps/demo/create", json={})
    problem = problem_of(response)
    assert (401, "ManagementKey", None) == (
        response.status_code,
        response.headers["www-authenticate"],
        problem.get("detail"),
    )
    assert "A valid 'ManagementKey' header is required." == problem["title"]


async def test_a_server_without_a_management_key_refuses_every_operator(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url, management_key=None) as house:
        for given in ({}, {"ManagementKey": ""}, {"ManagementKey": "None"}):
            assert 401 == (await house.client.post("/admin/apps/demo/create", json={}, headers=given)).status_code


async def test_a_403_names_the_scope_that_is_missing(house: HouseInProcess, application: Application) -> None:
    key = await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({"token_verify"}))
    response = await house.client.post("/register/token", json={}, headers={"ApiSecret": key})
    problem = problem_of(response)
    assert (403, f"{house.errors_url}#forbidden") == (response.status_code, problem["type"])
    assert "You are forbidden from accessing this resource." == problem["title"]
    assert problem["detail"].endswith("Required scopes: token_register")


async def test_the_key_is_asked_for_before_the_body_is_read(house: HouseInProcess, application: Application) -> None:
    headers = {"ApiSecret": f"demo:secret:{UNKNOWN}", "Content-Type": "text/plain"}
    assert 401 == (await house.client.post("/signin/verify", content=b"{", headers=headers)).status_code
    headers["ApiSecret"] = application.secret_key
    assert 415 == (await house.client.post("/signin/verify", content=b"{", headers=headers)).status_code


@pytest.mark.parametrize(
    ("header", "key_of", "locks", "event_type"),
    [
        ("ApiKey", lambda a: f"demo:public:{UNKNOWN[:-4]}beef", False, EventType.ApiAuthInvalidPublicKeyUsed),
        ("ApiSecret", lambda a: f"demo:secret:{UNKNOWN[:-4]}beef", False, EventType.ApiAuthInvalidSecretKeyUsed),
        ("ApiKey", lambda a: a.other_public_key, True, EventType.ApiAuthDisabledPublicKeyUsed),
        ("ApiSecret", lambda a: a.other_secret_key, True, EventType.ApiAuthDisabledSecretKeyUsed),
    ],
)
async def test_a_bad_key_is_written_to_the_event_log_by_its_last_four_characters(
    house: HouseInProcess, application: Application, header: str, key_of: Any, locks: bool, event_type: EventType
) -> None:
    key = key_of(application)
    if locks:
        await house.lock_key("demo", key)
    assert 401 == (await house.client.post(PATHS[header], json={}, headers={header: key})).status_code
    assert (event_type, 1, "Unknown User", "demo", key[-4:]) in await house.events()


async def test_a_key_that_is_locked_elsewhere_is_refused_within_a_second(
    house: HouseInProcess, application: Application
) -> None:
    assert 200 == (await Ceremonies(application).ask_sign_in()).status_code
    await house.lock_key("demo", application.public_key)
    assert 401 == (await Ceremonies(application).ask_sign_in()).status_code


# --- a route says who may call it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [Access.PUBLIC_KEY, Access.SECRET_KEY])
def test_a_route_for_keys_without_a_scope_does_not_start(access: Access) -> None:
    with pytest.raises(Unguarded):
        route("POST", "/nowhere", access=access, body=Body)


@pytest.mark.parametrize("access", [Access.ANONYMOUS, Access.MANAGEMENT_KEY])
def test_a_scope_that_nobody_would_check_does_not_start(access: Access) -> None:
    with pytest.raises(Unguarded):
        route("POST", "/nowhere", access=access, scope=Scope.LOGIN)


@pytest.mark.parametrize(
    ("access", "scope"), [(Access.PUBLIC_KEY, Scope.USERS_WRITE), (Access.SECRET_KEY, Scope.LOGIN)]
)
def test_a_scope_of_the_other_kind_of_key_guards_nothing(access: Access, scope: Scope) -> None:
    with pytest.raises(Unguarded):
        route("POST", "/nowhere", access=access, scope=scope)


async def answer_of(house: HouseInProcess, spec: RouteSpec, headers: dict[str, str]) -> int:
    """The status with which an endpoint of this one route answers."""

    anonymous = AnonymousCall(root=house.root, version="0", pages={})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Endpoint({spec.method: spec}, house.env, anonymous)({**scope, "path_params": {}}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://narthex.test") as client:
        return (await client.request(spec.method, spec.path, headers=headers)).status_code


def greeting(**guard: Any) -> RouteSpec:
    async def greet(call: Any) -> None:
        """Say nothing, to whoever may hear it."""

    return spec_of(route("GET", "/greeting", **guard)(greet))


@pytest.mark.parametrize("access", [Access.PUBLIC_KEY, Access.SECRET_KEY])
async def test_a_key_route_that_lost_its_scope_answers_nobody(
    house: HouseInProcess, application: Application, access: Access
) -> None:
    """Least of all the operator, whose routes have no scope either."""
    scope = Scope.LOGIN if access is Access.PUBLIC_KEY else Scope.USERS_READ
    spec = replace(greeting(access=access, scope=scope), scope=None)
    keys = {"ApiKey": application.public_key, "ApiSecret": application.secret_key, "ManagementKey": MANAGEMENT_KEY}
    assert 500 == await answer_of(house, spec, keys)


def test_a_route_that_says_no_access_does_not_start() -> None:
    with pytest.raises(TypeError):
        route("POST", "/nowhere")  # type: ignore[call-arg]
