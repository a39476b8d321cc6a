"""Pages for people: what the errors mean, and how the API is used. Rendered once, when the server starts.

The content security policy of every answer allows nothing inline, so the pages carry neither script nor style.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from inspect import cleandoc
from typing import Any

import msgspec

from narthex.base.errors import FAMILIES, Refusal
from narthex.http.authenticate import Access
from narthex.http.environment import Environment, Page
from narthex.http.openapi import Documented, openapi_document
from narthex.http.problems import sentence, status_of, wire_code
from narthex.http.routing import RouteSpec, route

_ROOMS = tuple(f"narthex.{room}." for room in ("base", "ports", "tokens", "webauthn", "usecases", "http"))
HTML_TYPE = b"text/html; charset=utf-8"
DOCUMENT_TYPE = b"application/json; charset=utf-8"
_GREETING = (
    "This is Narthex, a passkey server. Its API is described at {public_url}/docs and its errors at {errors_url}.\n"
)


@route("GET", "/", access=Access.ANONYMOUS, answer=Page)
async def index(env: Environment) -> Page:
    """One sentence that says what this is and where to read on."""
    return env.pages["index"]


@route("GET", "/errors", access=Access.ANONYMOUS, answer=Page)
async def errors(env: Environment) -> Page:
    """Every error: cause, remedy, example. The `type` of a problem document points here."""
    return env.pages["errors"]


@route("GET", "/docs", access=Access.ANONYMOUS, answer=Page)
async def docs(env: Environment) -> Page:
    """The API reference, to read."""
    return env.pages["reference"]


@route("GET", "/swagger/index.html", access=Access.ANONYMOUS, answer=Page)
async def swagger(env: Environment) -> Page:
    """The API reference, where users of the compatible API look for it."""
    return env.pages["reference"]


@route("GET", "/openapi.json", access=Access.ANONYMOUS, answer=Page)
async def openapi(env: Environment) -> Page:
    """The API reference, for machines (OpenAPI 3.1)."""
    return env.pages["openapi"]


@route("GET", "/swagger/v4/swagger.json", access=Access.ANONYMOUS, answer=Page)
async def swagger_document(env: Environment) -> Page:
    """The same document under the compatible API's path."""
    return env.pages["openapi"]


@route("GET", "/assets/pages.css", access=Access.ANONYMOUS, answer=Page)
async def style(env: Environment) -> Page:
    """How these pages look."""
    return env.pages["style"]


def rendered(documented: Documented, *, errors_url: str) -> Mapping[str, Page]:
    """All pages, ready to be written."""
    greeting = _GREETING.format(public_url=documented.public_url, errors_url=errors_url)
    document = openapi_document(documented)
    style_sheet = files("narthex.http").joinpath("assets/pages.css").read_bytes()
    return {
        "index": Page(greeting.encode(), b"text/plain; charset=utf-8"),
        "errors": Page(_html("Errors", _errors(errors_url)), HTML_TYPE),
        "reference": Page(_html("API reference", _reference(documented, document)), HTML_TYPE),
        "openapi": Page(msgspec.json.encode(document), DOCUMENT_TYPE),
        "style": Page(style_sheet, b"text/css; charset=utf-8"),
    }


def refusals() -> list[type[Refusal]]:
    """Every refusal that a request can meet, in the order of its code."""
    # All of them are defined by now: the routes import the use cases, and those the rooms below.
    by_code: dict[str, type[Refusal]] = {}
    for kind in _descendants(Refusal):
        if kind not in FAMILIES and kind.__module__.startswith(_ROOMS):
            by_code.setdefault(kind.code, kind)
    return [by_code[code] for code in sorted(by_code)]


def _descendants(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _errors(errors_url: str) -> str:
    entries = "".join(_error(kind, errors_url) for kind in refusals())
    return (
        "<p>A refusal is a problem document (<a href='https://www.rfc-editor.org/rfc/rfc9457'>RFC 9457</a>). Compare "
        "<code>errorCode</code>, which never changes its meaning; read <code>title</code> and <code>detail</code>; "
        "quote <code>traceId</code> to the operator, whose log has it too. When a ceremony is refused, "
        "<code>reason</code> holds the code of the check that refused it.</p>" + _KEY_HELP + entries
    )


_KEY_HELP = "".join(
    f"<section id='{header}'><h2><code>{header}</code></h2><p>{cause}</p><p><b>What to do.</b> {remedy}</p></section>"
    for header, cause, remedy in (
        (
            "ApiKey",
            "The endpoint is called by pages and needs the public key of an application.",
            "Send the header <code>ApiKey: yourapp:public:…</code>. <code>detail</code> says what was wrong with it.",
        ),
        (
            "ApiSecret",
            "The endpoint is called by backends and needs the secret key of an application.",
            "Send the header <code>ApiSecret: yourapp:secret:…</code> from your backend, never from a page.",
        ),
        (
            "ManagementKey",
            "The endpoint is the operator's.",
            "Send the header <code>ManagementKey</code> with the value of the server's setting "
            "<code>NARTHEX_MANAGEMENT_KEY</code>. A server without that setting refuses everybody.",
        ),
    )
)


def _error(kind: type[Refusal], errors_url: str) -> str:
    code = wire_code(kind.code)
    status = status_of(kind)
    cause = escape(" ".join(cleandoc(kind.__doc__ or "").split("\n\n")[0].split()))
    remedy = escape(sentence(kind.advice)) if kind.advice else "Correct the request, and begin the ceremony again."
    spec = f"<p class='spec'>{escape(kind.spec)}</p>" if kind.spec else ""
    example = {"type": f"{errors_url}#{code}", "title": "…", "status": status, "errorCode": code, "traceId": "00-…-01"}
    return (
        f"<section id='{escape(code)}'><h2><code>{escape(code)}</code> <span class='status'>{status}</span></h2>"
        f"<p>{cause}</p><p><b>What to do.</b> {remedy}</p>{spec}<pre>{_pretty(example)}</pre></section>"
    )


def _reference(documented: Documented, document: dict[str, Any]) -> str:
    shown = [spec for spec in documented.specs if spec.in_document and spec.access is not Access.ANONYMOUS]
    probes = [spec for spec in documented.specs if spec.in_document and spec.access is Access.ANONYMOUS]
    rows = "".join(
        f"<tr><td><code>{spec.method} {escape(spec.path)}</code></td><td>{escape(_summary(spec))}</td></tr>"
        for spec in probes
    )
    return (
        f"<p>Base URL: <code>{escape(documented.public_url)}</code>. Compatible with the Passwordless.dev API; not "
        "affiliated with Bitwarden. Member names are matched in any case, numbers are taken where texts are wanted, "
        "unknown members are ignored. For machines: <a href='/openapi.json'>OpenAPI 3.1</a>. "
        "When something is refused: <a href='/errors'>errors</a>.</p>"
        + "".join(_endpoint(spec, document["components"]["schemas"]) for spec in shown)
        + f"<section><h2>Without a key</h2><table>{rows}</table></section>"
    )


def _endpoint(spec: RouteSpec, schemas: Mapping[str, Any]) -> str:
    body = _members(schemas, spec.body.__name__) if spec.body is not None else ""
    answer = _members(schemas, spec.answer.__name__) if spec.answer is not None else "<p>204, without a body.</p>"
    return (
        f"<section id='{spec.name}'><h2><code>{spec.method} {escape(spec.path)}</code></h2>"
        f"<p>{escape(_summary(spec))}</p>"
        f"<p>Header <code>{spec.access.value}</code>, scope <code>{spec.scope}</code>.</p>"
        f"<h3>Request</h3>{body}<h3>Answer {spec.status}</h3>{answer}</section>"
    )


def _members(schemas: Mapping[str, Any], name: str) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(member)}</code></td><td>{escape(_type(schema))}</td><td>{_default(schema)}</td></tr>"
        for member, schema in schemas[name].get("properties", {}).items()
    )
    return f"<table><tr><th>Member</th><th>Type</th><th>Default</th></tr>{rows}</table>"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None else f"<code>{escape(msgspec.json.encode(default).decode())}</code>"


def _summary(spec: RouteSpec) -> str:
    return " ".join(spec.description.split())


def _pretty(document: dict[str, Any]) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _html(title: str, content: str) -> bytes:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title} · Narthex</title><link rel='stylesheet' href='/assets/pages.css'></head>"
        "<body><header><p><a href='/docs'>API reference</a> · <a href='/errors'>Errors</a></p>"
        f"<h1>{title}</h1></header>"
        f"<main>{content}</main></body></html>"
    ).encode()
