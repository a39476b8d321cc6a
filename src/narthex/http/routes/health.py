"""Health, for probes and for the SDKs' own test suites, which wait for it (the compatible API's section 11)."""

from __future__ import annotations

import platform
from time import perf_counter
from typing import Any

import msgspec

from narthex.base.errors import Rejected, Unavailable
from narthex.http.authenticate import Access
from narthex.http.environment import AnonymousCall, Page
from narthex.http.routing import JSON_TYPE, route


class SelfTest(Rejected):
    """Somebody asked for a refusal, to see what one looks like."""

    code = "test-error"
    advice = "nothing: this error is made on request"


@route("GET", "/health/http", access=Access.ANONYMOUS, answer=Page)
async def health_http(call: AnonymousCall) -> Page:
    """The process answers. Nothing else is asked."""
    return Page(b"Healthy", b"text/plain; charset=utf-8")


@route("GET", "/health/storage", access=Access.ANONYMOUS, answer=Page)
async def health_storage(call: AnonymousCall) -> Page:
    """The database answers too, or 503."""
    began = perf_counter()
    try:
        await call.root.ping()
    except Unavailable as e:
        report = _report("Unhealthy", began, {"db": {}})
        headers = ((b"retry-after", str(e.retry_after_s).encode()),)
        return msgspec.structs.replace(report, status=503, headers=headers)
    return _report("Healthy", began, {"db": {}})


@route("GET", "/health/mail", access=Access.ANONYMOUS, answer=Page)
async def health_mail(call: AnonymousCall) -> Page:
    """The way out for mail. There is none to ask yet, so the results are empty."""
    return _report("Healthy", perf_counter(), {})


@route("GET", "/health/version", access=Access.ANONYMOUS, answer=Page)
async def health_version(call: AnonymousCall) -> Page:
    """Which build this is."""
    data = {"version": call.version, "python-version": platform.python_version()}
    return _report("Healthy", perf_counter(), {"version": data})


@route("GET", "/health/throw/api", access=Access.ANONYMOUS, answer=Page)
async def health_throw_api(call: AnonymousCall) -> Page:
    """A refusal on purpose."""
    raise SelfTest("this is the refusal that you asked for")


@route("GET", "/health/throw/exception", access=Access.ANONYMOUS, answer=Page)
async def health_throw_exception(call: AnonymousCall) -> Page:
    """An unforeseen error on purpose."""
    raise RuntimeError("somebody asked for an unforeseen error")


def _report(health: str, began: float, results: dict[str, dict[str, Any]]) -> Page:
    elapsed_ms = round((perf_counter() - began) * 1000, 3)
    document = {
        "status": health,
        "elapsedMilliseconds": elapsed_ms,
        "results": {
            name: {"status": health, "elapsedMilliseconds": elapsed_ms, "data": data} for name, data in results.items()
        },
    }
    return Page(msgspec.json.format(msgspec.json.encode(document), indent=2), JSON_TYPE)
