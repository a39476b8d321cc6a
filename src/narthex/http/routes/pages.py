"""Pages for people: what the errors mean, and how the API is used. Rendered once, when the server starts.

The content security policy of every answer allows nothing inline, so the pages carry neither script nor style.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from inspect import cleandoc
from typing import Any
from urllib.parse import urlencode

import msgspec

from narthex.base.errors import FAMILIES, Refusal
from narthex.http.authenticate import Access
from narthex.http.environment import AnonymousCall, Page
from narthex.http.openapi import Documented, is_described, item_of, openapi_document, query_schema
from narthex.http.problems import sentence, status_of, wire_code
from narthex.http.routing import RouteSpec, route, spec_of

_ROOMS = tuple(f"narthex.{room}." for room in ("base", "ports", "tokens", "webauthn", "usecases", "http"))
HTML_TYPE = b"text/html; charset=utf-8"
DOCUMENT_TYPE = b"application/json; charset=utf-8"
_CODE = re.compile(r"`([^`]+)`")
_GREETING = (
    "This is Narthex, a passkey server. Its API is described at {public_url}/docs and its errors at {errors_url}.\n"
)

PAGES = {
    "/": ("index", "One sentence that says what this is and where to read on."),
    "/errors": ("errors", "Every error: cause, remedy, example. The `type` of a problem document points here."),
    "/docs": ("docs", "The API reference, to read."),
    "/swagger/index.html": ("swagger", "The API reference, where users of the compatible API look for it."),
    "/openapi.json": ("openapi", "The API reference, for machines (OpenAPI 3.1)."),
    "/swagger/v4/swagger.json": ("swagger_document", "The same document under the compatible API's path."),
    "/assets/pages.css": ("style", "How these pages look."),
}
"""By path: the name of the endpoint, and what the API reference says of it."""


def _endpoint_of(path: str, name: str, summary: str) -> RouteSpec:
    async def show(call: AnonymousCall) -> Page:
        return call.pages[path]

    show.__name__, show.__doc__ = name, summary
    return spec_of(route("GET", path, access=Access.ANONYMOUS, answer=Page)(show))


ROUTES = [_endpoint_of(path, name, summary) for path, (name, summary) in PAGES.items()]


def rendered(documented: Documented, *, errors_url: str) -> Mapping[str, Page]:
    """All pages by path, ready to be written."""
    greeting = _GREETING.format(public_url=documented.public_url, errors_url=errors_url)
    document = openapi_document(documented)
    style_sheet = files("narthex.http").joinpath("assets/pages.css").read_bytes()
    reference = Page(_html("API reference", _reference(documented, document)), HTML_TYPE)
    for_machines = Page(msgspec.json.encode(document), DOCUMENT_TYPE)
    return {
        "/": Page(greeting.encode(), b"text/plain; charset=utf-8"),
        "/errors": Page(_html("Errors", _errors(errors_url)), HTML_TYPE),
        "/docs": reference,
        "/swagger/index.html": reference,
        "/openapi.json": for_machines,
        "/swagger/v4/swagger.json": for_machines,
        "/assets/pages.css": Page(style_sheet, b"text/css; charset=utf-8"),
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
    cause = " ".join(cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    remedy = sentence(kind.advice or "")
    spec = f"<p class='spec'>{escape(kind.spec)}</p>" if kind.spec else ""
    status = f"<span class='status'>{status_of(kind)}</span>"
    return (
        f"<section id='{escape(code)}'><h2><code>{escape(code)}</code> {status}</h2>"
        f"<p>{_prose(cause)}</p><p><b>What to do.</b> {_prose(remedy)}</p>{spec}"
        f"<pre>{escape(_example_problem(kind, cause, errors_url))}</pre></section>"
    )


def _example_problem(kind: type[Refusal], cause: str, errors_url: str) -> str:
    reason = kind.__module__.startswith("narthex.webauthn.")
    code = "signin_complete_error" if reason else wire_code(kind.code)
    document = {"type": f"{errors_url}#{code}", "title": cause, "status": status_of(kind)}
    document |= {"detail": sentence(kind.advice)} if kind.advice else {}
    document |= {"reason": wire_code(kind.code)} if reason else {}
    document |= {"errorCode": code, "traceId": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _reference(documented: Documented, document: dict[str, Any]) -> str:
    shown = [spec for spec in documented.specs if spec.in_document and spec.access is not Access.ANONYMOUS]
    probes = [spec for spec in documented.specs if spec.in_document and spec.access is Access.ANONYMOUS]
    contents = "".join(f"<li><a href='#{spec.name}'><code>{escape(spec.path)}</code></a></li>" for spec in shown)
    rows = "".join(
        f"<tr><td><code>{spec.method} {escape(spec.path)}</code></td><td>{_prose(_summary(spec))}</td></tr>"
        for spec in probes
    )
    return (
        f"<p>Base URL: <code>{escape(documented.public_url)}</code>. Compatible with the Passwordless.dev API; not "
        "affiliated with Bitwarden. Member names are matched in any case, numbers are taken where texts are wanted, "
        "unknown members are ignored. For machines: <a href='/openapi.json'>OpenAPI 3.1</a>. "
        f"When something is refused: <a href='/errors'>errors</a>.</p><nav><ul>{contents}</ul></nav>"
        + "".join(_endpoint(spec, document, documented.public_url) for spec in shown)
        + f"<section><h2>Without a key</h2><table>{rows}</table></section>"
    )


def _endpoint(spec: RouteSpec, document: Mapping[str, Any], public_url: str) -> str:
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    key = "public" if spec.access is Access.PUBLIC_KEY else "secret"
    parts = [
        f"<section id='{spec.name}'><h2><code>{spec.method} {escape(spec.path)}</code></h2>",
        f"<p>{_prose(_summary(spec))}</p>",
        f"<p>Header <code>{spec.access.value}</code>, the application's {key} key with the scope "
        f"<code>{spec.scope}</code>.</p>",
    ]
    if spec.query is not None:
        schema = query_schema(document, spec)
        members = msgspec.json.decode(_example(schema)).items()
        query = urlencode({name: value if isinstance(value, str) else _json(value) for name, value in members})
        command = f"curl '{public_url}{spec.path}?{query}' \\\n  -H '{spec.access.value}: yourapp:{key}:…'"
        parts.append(f"<h3>Query</h3>{_members(schema)}<pre>{escape(command)}</pre>")
    if spec.body is not None:
        schema = schemas[spec.body.__name__]
        command = (
            f"curl {public_url}{spec.path} \\\n  -H '{spec.access.value}: yourapp:{key}:…' \\\n"
            f"  -H 'Content-Type: application/json' \\\n  -d '{_example(schema)}'"
        )
        parts.append(
            f"<h3>Request</h3><p>At most {spec.most_body_bytes:,} bytes.</p>"
            f"{_members(schema)}{_nested(schema, schemas)}<pre>{escape(command)}</pre>"
        )
    if spec.query is None and spec.body is None:
        method = "" if spec.method == "GET" else f"-X {spec.method} "
        command = f"curl {method}{public_url}{spec.path} \\\n  -H '{spec.access.value}: yourapp:{key}:…'"
        parts.append(f"<h3>Request</h3><pre>{escape(command)}</pre>")
    if is_described(spec.answer):
        # Every member of an answer is always there.
        schema = {**schemas[item_of(spec.answer).__name__], "required": []}
        is_list = spec.answer is not item_of(spec.answer)
        example = f"[{_example(schema)}]" if is_list else _example(schema)
        parts.append(
            f"<h3>Answer {spec.status}</h3>{'<p>A list of</p>' if is_list else ''}{_members(schema)}"
            f"{_nested(schema, schemas)}<pre>{escape(msgspec.json.format(example, indent=2))}</pre>"
        )
    return "".join(parts) + "</section>"


def _members(schema: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td>"
        f"<td>{escape(_type(member))}{', required' if name in schema['required'] else ''}</td>"
        f"<td>{_prose(member.get('description', ''))}</td></tr>"
        for name, member in schema["properties"].items()
    )
    return f"<div class='wide'><table><tr><th>Member</th><th>Type</th><th></th></tr>{rows}</table></div>"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _nested(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The members of those members that are objects of a shape of their own."""
    parts = []
    for name, member in schema["properties"].items():
        for kind in member.get("anyOf", (member,)):
            if "$ref" in kind:
                inner = schemas[kind["$ref"].rpartition("/")[2]]
                parts.append(f"<h4><code>{escape(name)}</code></h4>{_members({**inner, 'required': []})}")
    return "".join(parts)


def _example(schema: Mapping[str, Any]) -> str:
    members = schema["properties"].items()
    shown = {name: member["examples"][0] for name, member in members if member.get("examples")}
    return _json(shown)


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(text for each in schema["anyOf"] if (text := _type(each)) != "null")
    if "$ref" in schema:
        return "object"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _prose(text: str) -> str:
    """Escaped, with what stands in backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _summary(spec: RouteSpec) -> str:
    return " ".join(spec.description.split())


def _html(title: str, content: str) -> bytes:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title} · Narthex</title><link rel='stylesheet' href='/assets/pages.css'></head>"
        "<body><header><p><a href='/docs'>API reference</a> · <a href='/errors'>Errors</a></p>"
        f"<h1>{title}</h1></header>"
        f"<main>{content}</main></body></html>"
    ).encode()
