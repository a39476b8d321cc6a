"""Who may call what: every route by every kind of caller, made from the route table and shown as a text.

`endpoint_matrix.txt` beside this file is the expectation: a change of rights is a readable diff of it. After a change
that is meant, write it anew with `NARTHEX_WRITE_SNAPSHOTS=1 .venv/bin/pytest tests/http/test_endpoint_matrix.py -n 0`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from narthex.http.app import ROUTES
from narthex.http.authenticate import Access
from narthex.http.body import Body
from narthex.http.environment import AnonymousCall
from narthex.http.routing import Endpoint, RouteSpec, Unguarded, route, spec_of
from narthex.ports.records import EventType, KeyKind, Scope
from narthex.usecases.api_key import SCOPES_OF_KIND
from tests.support.application import (
    MANAGEMENT_KEY,
    ORIGIN,
    RP_ID,
    Application,
    Ceremonies,
    HouseInProcess,
    problem_of,
)
from tests.support.authenticator import Json
from tests.support.metadata import MetadataMaker

pytestmark = pytest.mark.anyio

SNAPSHOT = Path(__file__).with_name("endpoint_matrix.txt")
UNKNOWN = "0" * 32
MODEL = bytes.fromhex("2fc0579f811347eab116bb5a8db9202a")

Route = tuple[str, str]
"""Method and path: one path may have several routes, and each answers for itself."""

NOT_IN_THE_MATRIX: set[Route] = set()
"""Routes that are not shown. It only shrinks."""

Prepare = Callable[[Ceremonies], Awaitable[Json]]


async def _register_token(ceremonies: Ceremonies) -> Json:
    return {"userId": "new", "username": "new"}


async def _register_begin(ceremonies: Ceremonies) -> Json:
    return {"token": await ceremonies.give_leave("new"), "origin": ORIGIN, "rpid": RP_ID}


async def _register_complete(ceremonies: Ceremonies) -> Json:
    return ceremonies.registration_body(await ceremonies.begin_registration(await ceremonies.give_leave("new")))


async def _signin_begin(ceremonies: Ceremonies) -> Json:
    return {"userId": "ann", "origin": ORIGIN, "rpid": RP_ID}


async def _signin_complete(ceremonies: Ceremonies) -> Json:
    return ceremonies.sign_in_body(await ceremonies.begin_sign_in())


async def _signin_verify(ceremonies: Ceremonies) -> Json:
    return {"token": await ceremonies.sign_in()}


async def _signin_generate_token(ceremonies: Ceremonies) -> Json:
    return {"userId": "ann"}


async def _models(ceremonies: Ceremonies) -> Json:
    return {"aaGuids": [str(UUID(bytes=MODEL))]}


async def _anchors(ceremonies: Ceremonies) -> Json:
    return {"anchors": []}


async def _rp_id(ceremonies: Ceremonies) -> Json:
    return {"rpId": RP_ID}


async def _nothing(ceremonies: Ceremonies) -> Json:
    return {}


GOOD_BODIES: dict[Route, Prepare] = {
    ("POST", "/register/token"): _register_token,
    ("POST", "/register/begin"): _register_begin,
    ("POST", "/register/complete"): _register_complete,
    ("POST", "/signin/begin"): _signin_begin,
    ("POST", "/signin/complete"): _signin_complete,
    ("POST", "/signin/verify"): _signin_verify,
    ("POST", "/signin/generate-token"): _signin_generate_token,
    ("POST", "/authenticators/add"): _models,
    ("POST", "/authenticators/remove"): _models,
    ("POST", "/admin/apps/{app_id}/create"): _nothing,
    ("POST", "/admin/apps/{app_id}/authenticator-policy"): _nothing,
    ("POST", "/admin/apps/{app_id}/authenticator-policy/report"): _nothing,
    ("POST", "/admin/apps/{app_id}/trust-anchors"): _anchors,
    ("POST", "/admin/apps/{app_id}/origins"): _nothing,
    ("POST", "/admin/apps/{app_id}/origins/lock"): _nothing,
    ("POST", "/admin/apps/{app_id}/rp-ids/migrate"): _nothing,
    ("POST", "/admin/apps/{app_id}/rp-ids/answer-for"): _rp_id,
    ("POST", "/admin/apps/{app_id}/rp-ids/leave"): _rp_id,
}
"""What the owner would send, so that a refusal in the matrix is about the caller and nothing else."""

GOOD_QUERIES: dict[Route, str] = {("GET", "/authenticators/list"): "?isAllowed=true"}
MAKES_AN_APPLICATION: Route = ("POST", "/admin/apps/{app_id}/create")


class Stage:
    """Two tenants with the same users, and keys of every kind."""

    def __init__(self, house: HouseInProcess, ours: Application, theirs: Application) -> None:
        self.house = house
        self.ours = ours
        self.theirs = theirs
        self.ceremonies = Ceremonies(ours)
        self.created = 0

    async def callers(self, spec: RouteSpec) -> dict[str, dict[str, str]]:
        """The headers of every kind of caller."""
        if spec.access is Access.ANONYMOUS:
            return {"anonymous": {}, "unknown application": {"ApiKey": f"nobody:public:{UNKNOWN}"}}
        if spec.access is Access.MANAGEMENT_KEY:
            return self._operators()
        public = spec.access is Access.PUBLIC_KEY
        kind, other_kind = (KeyKind.PUBLIC, KeyKind.SECRET) if public else (KeyKind.SECRET, KeyKind.PUBLIC)
        header, other_header = ("ApiKey", "ApiSecret") if public else ("ApiSecret", "ApiKey")
        right, wrong_kind, others = (
            (self.ours.public_key, self.ours.secret_key, self.theirs.public_key)
            if public
            else (self.ours.secret_key, self.ours.public_key, self.theirs.secret_key)
        )
        locked = self.ours.other_public_key if public else self.ours.other_secret_key
        assert spec.scope is not None
        lacking = await self.house.add_key("ours", kind, scopes=SCOPES_OF_KIND[kind] - {spec.scope})
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
            "key lacks the scope": {header: lacking},
            "management key": {"ManagementKey": MANAGEMENT_KEY},
            "another tenant's key": {header: others},
            "both headers": {header: right, other_header: f"ours:{other_kind}:{UNKNOWN}"},
            "right key": {header: right},
        }

    def _operators(self) -> dict[str, dict[str, str]]:
        return {
            "anonymous": {},
            "empty header": {"ManagementKey": ""},
            "public key": {"ApiKey": self.ours.public_key},
            "secret key": {"ApiSecret": self.ours.secret_key},
            "secret key as management key": {"ManagementKey": self.ours.secret_key},
            "wrong key": {"ManagementKey": "wrong"},
            "key cut short": {"ManagementKey": MANAGEMENT_KEY[:-1]},
            "management key as secret key": {"ApiSecret": MANAGEMENT_KEY},
            "right key": {"ManagementKey": MANAGEMENT_KEY},
        }

    async def ask(self, spec: RouteSpec, headers: dict[str, str]) -> httpx.Response:
        route = route_of(spec)
        self.created += route == MAKES_AN_APPLICATION
        app_id = f"new{self.created}" if route == MAKES_AN_APPLICATION else "ours"
        url = spec.path.format(app_id=app_id) + GOOD_QUERIES.get(route, "")
        body = await GOOD_BODIES[route](self.ceremonies) if spec.body is not None else None
        return await self.house.client.request(spec.method, url, headers=headers, json=body)


@pytest.fixture
async def stage(house: HouseInProcess) -> Stage:
    members = {"allowAttestation": True}
    stage = Stage(
        house, await house.create_application("ours", **members), await house.create_application("theirs", **members)
    )
    fido = MetadataMaker()
    await house.load_metadata(fido.blob(fido.entry(aaguid=MODEL)))
    for application in (stage.ours, stage.theirs):
        await Ceremonies(application).register("ann")
    await stage.ceremonies.register("ann")
    for key in (stage.ours.other_public_key, stage.ours.other_secret_key):
        await house.lock_key("ours", key)
    return stage


def route_of(spec: RouteSpec) -> Route:
    return spec.method, spec.path


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
        if route_of(spec) in NOT_IN_THE_MATRIX:
            continue
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


def test_every_route_is_in_the_matrix_or_excused() -> None:
    taking = {route_of(spec) for spec in ROUTES if spec.body is not None}
    assert set() == taking - GOOD_BODIES.keys() - NOT_IN_THE_MATRIX, "a route needs a good body in GOOD_BODIES"
    assert set() == GOOD_BODIES.keys() - taking, "a body is of a route that is gone"
    assert set() == NOT_IN_THE_MATRIX - {route_of(spec) for spec in ROUTES}, "an excused route is gone: drop it"


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
    spec = replace(greeting(access=access, scope=Scope.LOGIN), scope=None)
    keys = {"ApiKey": application.public_key, "ApiSecret": application.secret_key, "ManagementKey": MANAGEMENT_KEY}
    assert 500 == await answer_of(house, spec, keys)


def test_a_route_that_says_no_access_does_not_start() -> None:
    with pytest.raises(TypeError):
        route("POST", "/nowhere")  # type: ignore[call-arg]
