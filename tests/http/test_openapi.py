"""The OpenAPI document is valid, and the server does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.checks as common
import schemathesis.specs.openapi.checks as openapi
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema_rs import validator_for
from schemathesis.specs.openapi.definitions import OPENAPI_31

from narthex.http.app import ROUTES
from narthex.http.openapi import Documented, openapi_document
from tests.support.application import PUBLIC_URL, Application, HouseInProcess
from tests.support.authenticator import Json

SELF_TESTS = {"/health/throw/api", "/health/throw/exception"}
"""They fail on purpose."""


@pytest.fixture(scope="module")
def document() -> Json:
    return openapi_document(Documented(specs=ROUTES, version="0", public_url=PUBLIC_URL))


def test_the_document_is_valid_openapi_3_1(document: Json) -> None:
    assert [] == [error.message for error in validator_for(OPENAPI_31).iter_errors(document)]


def test_the_document_shows_every_route_but_the_operators(document: Json) -> None:
    shown = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(spec.method, spec.path) for spec in ROUTES if spec.access.value != "ManagementKey"} == shown


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


REQUIRED = {
    "RegisterTokenBody": ["userId", "username"],
    "RegisterBeginBody": ["token", "origin", "rpid"],
    "RegisterCompleteBody": ["session", "response", "origin"],
    "SignInBeginBody": ["origin", "rpid"],
    "SignInCompleteBody": ["session", "response", "origin"],
    "VerifyBody": ["token"],
    "GenerateTokenBody": ["userId"],
    "AddAuthenticatorsBody": ["aaGuids"],
    "RemoveAuthenticatorsBody": ["aaGuids"],
}
"""Without null either: no endpoint does anything without these members."""


def test_every_body_says_what_it_needs(document: Json) -> None:
    bodies = {spec.body.__name__ for spec in ROUTES if spec.body is not None and spec.in_document}
    assert REQUIRED == {name: schema_of(document, name)["required"] for name in bodies}


@pytest.mark.parametrize("path", [spec.path for spec in ROUTES if spec.body is not None and spec.in_document])
def test_what_a_body_needs_is_refused_when_it_is_missing(document: Json, served: Served, path: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = schema_of(document, content["schema"]["$ref"].rpartition("/")[2])
    whole = dict.fromkeys(schema["required"], "a") | {"response": {}}
    public = "ApiKey" in document["paths"][path]["post"]["security"][0]
    ask = served.application.public if public else served.application.secret
    for name in schema["required"]:
        for body in ({**whole, name: None}, {other: value for other, value in whole.items() if other != name}):
            assert 400 == served.run(ask(path, body)).status_code, body


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
        self._house = HouseInProcess(database_url)
        self.application: Application = self.run(self._enter())

    async def _enter(self) -> Application:
        return await (await self._house.__aenter__()).create_application(eventLoggingIsEnabled=True)

    def run(self, task: Any) -> Any:
        return self.loop.run_until_complete(task)

    def ask(self, case: Any) -> Any:
        request = case.as_transport_kwargs(base_url=PUBLIC_URL)
        request.pop("cookies", None)
        if "data" in request:
            request["content"] = request.pop("data")
        return self.run(self._house.client.request(**request))

    def get(self, path: str) -> Any:
        return self._house.get(path)

    def close(self) -> None:
        self.run(self._house.__aexit__())
        self.loop.close()


@pytest.fixture(scope="module")
def served(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("served") / "narthex.db"
    path.write_bytes(_sqlite_template.read_bytes())
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


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", [spec.path for spec in OPERATIONS if spec.body is not None])
def test_whatever_the_document_allows_or_forbids_gets_an_answer_that_it_describes(
    document: Json, served: Served, path: str, mode: Any
) -> None:
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]
    keys = {"ApiKey": served.application.public_key, "ApiSecret": served.application.secret_key}

    @settings(
        max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def explore(case: Any) -> None:
        case.headers = {**(case.headers or {}), **keys}
        case.validate_response(served.ask(case), checks=CHECKS)

    explore()


@pytest.mark.parametrize("spec", [spec for spec in OPERATIONS if spec.body is None], ids=lambda spec: spec.path)
def test_what_takes_no_body_answers_as_described(document: Json, served: Served, spec: Any) -> None:
    operation = schemathesis.openapi.from_dict(document)[spec.path][spec.method]
    case = operation.Case()
    case.validate_response(served.ask(case), checks=CHECKS)
