"""The OpenAPI document is valid, and the server does what it says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.checks as common
import schemathesis.specs.openapi.checks as openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from schemathesis.specs.openapi.definitions import OPENAPI_31

from narthex.http.app import ROUTES
from narthex.http.environment import Page
from narthex.http.openapi import Documented, openapi_document, query_schema
from narthex.http.routing import RouteSpec
from tests.http.examples import EXAMPLES, Customer, WholeHouse, ask, route_of
from tests.support.application import PUBLIC_URL
from tests.support.authenticator import Json

SELF_TESTS = {"/health/throw/api", "/health/throw/exception"}
"""They fail on purpose."""

NOT_THERE_AT_FIRST = {"/.well-known/webauthn"}
"""Nothing answers for the host of this house."""


@pytest.fixture(scope="module")
def document() -> Json:
    return openapi_document(Documented(specs=ROUTES, version="0", public_url=PUBLIC_URL))


def test_the_document_is_valid_openapi_3_1(document: Json) -> None:
    assert [] == [error.message for error in validator_for(OPENAPI_31).iter_errors(document)]


def test_the_document_shows_every_route_but_the_operators_and_pages_for_people(document: Json) -> None:
    shown = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    programs = {(spec.method, spec.path) for spec in ROUTES if spec.access.value != "ManagementKey"}
    people = {("GET", "/magic-link/{app_id}/{ticket}"), ("POST", "/magic-link/{app_id}/{ticket}")}
    assert programs - people == shown


def test_security_schemes_are_named_for_their_headers(document: Json) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {"ApiKey": "ApiKey", "ApiSecret": "ApiSecret"} == {name: each["name"] for name, each in schemes.items()}


def test_every_route_says_what_it_is_for(document: Json) -> None:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert [] == [each["operationId"] for each in operations if not each["summary"].endswith(".")]
    ids = [each["operationId"] for each in operations]
    assert sorted(set(ids)) == sorted(ids)


def schema_of(document: Json, name: str) -> Json:
    schema: Json = document["components"]["schemas"][name]
    return schema


REQUIRED: dict[str, list[str]] = {
    "RegisterTokenBody": ["userId", "username"],
    "RegisterBeginBody": ["token", "origin", "rpid"],
    "RegisterCompleteBody": ["session", "response", "origin"],
    "SignInBeginBody": ["origin", "rpid"],
    "SignInCompleteBody": ["session", "response", "origin"],
    "VerifyBody": ["token"],
    "GenerateTokenBody": ["userId"],
    "AliasBody": ["userId", "aliases"],
    "CredentialListBody": ["userId"],
    "DeleteCredentialBody": ["credentialId"],
    "RenameCredentialBody": ["credentialId"],
    "DeleteUserBody": ["userId"],
    "AuthConfigBody": ["purpose", "timeToLive", "performedBy"],
    "DeleteAuthConfigBody": ["purpose", "performedBy"],
    "AddAuthenticatorsBody": ["aaGuids"],
    "RemoveAuthenticatorsBody": ["aaGuids"],
    "SendMagicLinkBody": ["emailAddress", "urlTemplate", "userId"],
    "FeaturesBody": [],
    "WebhookBody": ["url"],
    "ReviseWebhookBody": [],
    "RotateWebhookBody": [],
}
"""Without null either: no endpoint does anything without these members."""


def test_every_body_says_what_it_needs(document: Json) -> None:
    bodies = {spec.body.__name__ for spec in ROUTES if spec.body is not None and spec.in_document}
    assert REQUIRED == {name: schema_of(document, name)["required"] for name in bodies}


def test_every_query_says_what_it_needs(document: Json) -> None:
    needed = {
        spec.path: query_schema(document, spec)["required"]
        for spec in ROUTES
        if spec.query is not None and spec.in_document
    }
    assert {
        "/alias/list": ["userId"],
        "/credentials/list": ["userId"],
        "/credentials/accepted": ["userId", "rpid"],
        "/users/get": ["userId"],
        "/authenticators/list": ["isAllowed"],
    } == {path: names for path, names in needed.items() if names}


def test_every_member_of_a_path_is_described(document: Json) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            described = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]
            assert re.findall(r"\{(\w+)\}", path) == described


@pytest.mark.parametrize("path", [spec.path for spec in ROUTES if spec.body is not None and spec.in_document])
def test_what_a_body_needs_is_refused_when_it_is_missing(document: Json, served: Served, path: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = schema_of(document, content["schema"]["$ref"].rpartition("/")[2])
    whole = dict.fromkeys(schema["required"], "a") | {"response": {}}
    public = "ApiKey" in document["paths"][path]["post"]["security"][0]
    call = served.application.public if public else served.application.secret
    for name in schema["required"]:
        for body in ({**whole, name: None}, {other: value for other, value in whole.items() if other != name}):
            assert 400 == served.run(call(path, body)).status_code, body


@pytest.mark.parametrize(
    ("body", "member", "allowed", "forbidden"),
    [
        ("RegisterTokenBody", "userId", ["a", "é" * 32], ["a" * 65, None]),
        ("RegisterTokenBody", "displayName", ["a", None], [["a"]]),
        ("RegisterTokenBody", "aliases", [None, [], ["a"]], ["a", [None], [""], ["a" * 251]]),
        ("RegisterTokenBody", "hints", [None, ["hybrid"]], [[None], ["hybrid"] * 4]),
        ("RegisterTokenBody", "expiresAt", [None, "2026-01-02T03:04:05Z"], ["tomorrow"]),
        ("RegisterCompleteBody", "nickname", [None, "a" * 64], ["a" * 65]),
        ("GenerateTokenBody", "timeToLive", [None, 1, 604_800], [0, 604_801]),
    ],
)
def test_the_document_says_what_the_rules_say(
    document: Json, body: str, member: str, allowed: list[Any], forbidden: list[Any]
) -> None:
    validator = validator_for(schema_of(document, body)["properties"][member], validate_formats=True)
    assert [True] * len(allowed) == [validator.is_valid(value) for value in allowed]
    assert [False] * len(forbidden) == [validator.is_valid(value) for value in forbidden]


def test_the_document_and_the_page_say_how_large_a_body_may_be(document: Json, served: Served) -> None:
    page = served.run(served.get("/docs")).text
    taking = [spec for spec in ROUTES if spec.body is not None and spec.in_document]
    assert len(taking) == page.count("At most 65,536 bytes.")
    for spec in taking:
        assert "At most 65536 bytes." == document["paths"][spec.path]["post"]["requestBody"]["description"]


class Served:
    """A house in an event loop of its own, for a client that is not asynchronous."""

    def __init__(self, database_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._house = WholeHouse(database_url)
        self.customer: Customer = self.run(self._enter())
        self.application = self.customer.application

    async def _enter(self) -> Customer:
        return await (await self._house.__aenter__()).customer("demo")

    def run(self, task: Any) -> Any:
        return self.loop.run_until_complete(task)

    def ask(self, case: Any) -> Any:
        request = case.as_transport_kwargs(base_url=PUBLIC_URL)
        request.pop("cookies", None)
        if "data" in request:
            request["content"] = request.pop("data")
        return self.run(self._house.client.request(**request))

    def answer_to_the_owner(self, spec: RouteSpec) -> Any:
        """What the owner gets for an honest request."""
        keys = {"ApiKey": self.application.public_key, "ApiSecret": self.application.secret_key}
        example = self.run(EXAMPLES[route_of(spec)](self.customer))
        return self.run(ask(self._house.client, spec, example, keys))

    def get(self, path: str) -> Any:
        return self._house.get(path)

    def close(self) -> None:
        self.run(self._house.__aexit__())
        self.loop.close()


@pytest.fixture(scope="module")
def served(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """What is sent to this house may change what it allows."""
    yield from _serve(_sqlite_template, tmp_path_factory)


@pytest.fixture(scope="module")
def orderly(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """This house gets honest requests only."""
    yield from _serve(_sqlite_template, tmp_path_factory)


def _serve(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("served") / "narthex.db"
    path.write_bytes(template.read_bytes())
    served = Served(f"sqlite:///{path}")
    yield served
    served.close()


CHECKS = [
    common.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
OPERATIONS = [spec for spec in ROUTES if spec.in_document and spec.path not in SELF_TESTS]
TAKING = [spec for spec in OPERATIONS if spec.body is not None or spec.query is not None or "{" in spec.path]


def name_of(spec: RouteSpec) -> str:
    return f"{spec.method} {spec.path}"


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
@pytest.mark.parametrize("spec", TAKING, ids=name_of)
def test_whatever_the_document_allows_or_forbids_gets_an_answer_that_it_describes(
    document: Json, served: Served, spec: RouteSpec, mode: Any
) -> None:
    operation = schemathesis.openapi.from_dict(document)[spec.path][spec.method]
    keys = {"ApiKey": served.application.public_key, "ApiSecret": served.application.secret_key}
    webhook_id = served.run(served.customer.webhook())

    @settings(
        max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def explore(case: Any, known: bool) -> None:
        case.headers = {**(case.headers or {}), **keys}
        if known and "webhook_id" in (case.path_parameters or {}):
            case.path_parameters["webhook_id"] = webhook_id
        case.validate_response(served.ask(case), checks=CHECKS)

    explore()


@pytest.mark.parametrize("spec", [spec for spec in OPERATIONS if spec not in TAKING], ids=name_of)
def test_what_takes_nothing_answers_as_described(document: Json, served: Served, spec: RouteSpec) -> None:
    operation = schemathesis.openapi.from_dict(document)[spec.path][spec.method]
    case = operation.Case()
    case.validate_response(served.ask(case), checks=CHECKS)


@pytest.mark.parametrize("spec", OPERATIONS, ids=name_of)
def test_an_honest_request_gets_the_answer_that_is_described(document: Json, orderly: Served, spec: RouteSpec) -> None:
    """And not a member more: what is not described, nobody may build upon."""
    described = document["paths"][spec.path][spec.method.lower()]["responses"]
    response = orderly.answer_to_the_owner(spec)
    if spec.path in NOT_THERE_AT_FIRST:
        assert 404 == response.status_code
        return
    assert spec.status == response.status_code, response.text
    content = described[str(spec.status)].get("content")
    if content is None:
        assert "json" not in response.headers.get("content-type", "") or spec.answer is Page
        assert spec.answer is not None or b"" == response.content
        return
    if spec.media_types:
        assert response.headers["content-type"].partition(";")[0] in content
        return
    assert "application/json; charset=utf-8" == response.headers["content-type"]
    root = {"components": {"schemas": closed(document)}, **content["application/json"]["schema"]}
    assert [] == [error.message for error in validator_for(root).iter_errors(response.json())]


def closed(document: Json) -> Json:
    """The schemas of the document, with no room for members that they do not list."""
    schemas: Json = document["components"]["schemas"]
    return {
        name: {**schema, "additionalProperties": False} if "properties" in schema else schema
        for name, schema in schemas.items()
    }
