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
