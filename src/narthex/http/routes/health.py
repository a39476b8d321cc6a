"""Health, for probes and for the SDKs' own test suites, which wait for it (the compatible API's section 11)."""

from __future__ import annotations

import platform
from time import perf_counter
from typing import Any

import msgspec

from narthex.base.errors import Refusal, Rejected
from narthex.http.authenticate import Access
from narthex.http.environment import Environment, Page
from narthex.http.routing import JSON_TYPE, route


class SelfTest(Rejected):
    """Somebody asked for a refusal, to see what one looks like."""

    code = "test-error"
    advice = "nothing: this error is made on request"


@route("GET", "/health/http", access=Access.ANONYMOUS, answer=Page)
async def health_http(env: Environment) -> Page:
    """The process answers. Nothing else is asked."""
    return Page(b"Healthy", b"text/plain; charset=utf-8")


@route("GET", "/health/storage", access=Access.ANONYMOUS, answer=Page)
async def health_storage(env: Environment) -> Page:
    """The database answers too, or 503."""
    began = perf_counter()
    try:
        await env.root.ping()
    except Refusal:
        return _report("Unhealthy", began, {"db": {}}, status=503)
    return _report("Healthy", began, {"db": {}})


@route("GET", "/health/version", access=Access.ANONYMOUS, answer=Page)
async def health_version(env: Environment) -> Page:
    """Which build this is."""
    data = {"version": env.version, "python-version": platform.python_version()}
    return _report("Healthy", perf_counter(), {"version": data})


@route("GET", "/health/throw/api", access=Access.ANONYMOUS, answer=Page)
async def health_throw_api(env: Environment) -> Page:
    """A refusal on purpose."""
    raise SelfTest("this is the refusal that you asked for")


@route("GET", "/health/throw/exception", access=Access.ANONYMOUS, answer=Page)
async def health_throw_exception(env: Environment) -> Page:
    """An unforeseen error on purpose."""
    raise RuntimeError("somebody asked for an unforeseen error")


def _report(health: str, began: float, results: dict[str, dict[str, Any]], *, status: int = 200) -> Page:
    elapsed_ms = round((perf_counter() - began) * 1000, 3)
    document = {
        "status": health,
        "elapsedMilliseconds": elapsed_ms,
        "results": {
            name: {"status": health, "elapsedMilliseconds": elapsed_ms, "data": data} for name, data in results.items()
        },
    }
    return Page(msgspec.json.format(msgspec.json.encode(document), indent=2), JSON_TYPE, status)
