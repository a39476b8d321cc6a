"""The OpenAPI 3.1 document, from the same specifications that the routes are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec

from narthex.http.authenticate import Access
from narthex.http.body import Body
from narthex.http.environment import Page, Stream
from narthex.http.routing import RouteSpec

_PATH_MEMBER = re.compile(r"\{(\w+)\}")
_SCHEMES = {
    access.value: {"type": "apiKey", "in": "header", "name": access.value, "description": text}
    for access, text in (
        (Access.PUBLIC_KEY, "The public key of an application: it may stand in a page."),
        (Access.SECRET_KEY, "The secret key of an application: it stays on your backend."),
    )
}

_PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457). `errorCode` is stable; texts are for people and may change.",
    "required": ["type", "title", "status", "errorCode", "traceId"],
    "properties": {
        "type": {"type": "string", "description": "The page that explains this error."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do about it."},
        "errorCode": {"type": "string"},
        "reason": {"type": "string", "description": "Which check refused a ceremony."},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        "traceId": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Documented:
    """What the document describes."""

    specs: Sequence[RouteSpec]
    version: str
    public_url: str


def openapi_document(documented: Documented) -> dict[str, Any]:
    """Describe every endpoint that is not the operator's alone."""
    specs = [spec for spec in documented.specs if spec.in_document]
    shapes = {shape for spec in specs for shape in (spec.query, spec.body, item_of(spec.answer)) if _is_struct(shape)}
    ordered = sorted(shapes, key=lambda shape: str(shape))
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    for shape in {shape for spec in specs for shape in (spec.query, spec.body) if shape is not None}:
        _add_rules(components[shape.__name__], shape)
    queries = {spec: components[spec.query.__name__] for spec in specs if spec.query is not None}
    paths: dict[str, dict[str, Any]] = {}
    for spec in specs:
        paths.setdefault(spec.path, {})[spec.method.lower()] = _operation(spec, queries.get(spec))
    for schema in queries.values():
        # What a query takes stands with its operation; a component of its own would be read by nobody.
        components = {name: kept for name, kept in components.items() if kept is not schema}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Narthex",
            "version": documented.version,
            "description": "Passkeys for many applications. Compatible with the Passwordless.dev API; not affiliated "
            "with Bitwarden.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": documented.public_url}],
        "paths": paths,
        "components": {"schemas": {**components, "Problem": _PROBLEM}, "securitySchemes": _SCHEMES},
    }


def _add_rules(schema: dict[str, Any], shape: type[Body]) -> None:
    """Say of a body's members what its rules say."""
    written = {member.name: member.encode_name for member in msgspec.structs.fields(shape)}
    for name, rules in shape.rules.items():
        member = schema["properties"][written[name]]
        kinds = [kind for kind in member.pop("anyOf", ()) if kind != {"type": "null"}]
        for rule in rules:
            kinds[0] |= rule.keywords
        if any(rule.needed for rule in rules):
            schema["required"].append(written[name])
            del member["default"]
            member |= kinds[0]
        else:
            member["anyOf"] = [*kinds, {"type": "null"}]


def _operation(spec: RouteSpec, query: Mapping[str, Any] | None) -> dict[str, Any]:
    summary, _, rest = spec.description.strip().partition("\n")
    operation: dict[str, Any] = {
        "operationId": spec.name,
        "summary": summary,
        "responses": {str(spec.status): _success(spec), **_problems(spec)},
    }
    if rest.strip():
        operation["description"] = rest.strip()
    if spec.access.value in _SCHEMES:
        operation["security"] = [{spec.access.value: []}]
        operation["x-required-scope"] = str(spec.scope)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_MEMBER.findall(spec.path)
    ]
    if query is not None:
        parameters += [
            {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
            for name, schema in query["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if spec.body is not None:
        operation["requestBody"] = {
            "description": f"At most {spec.most_body_bytes} bytes.",
            "required": True,
            "content": {"application/json": {"schema": _ref(spec.body)}},
        }
    return operation


def _success(spec: RouteSpec) -> dict[str, Any]:
    if spec.answer is None:
        return {"description": "Done; the body is empty."}
    if not is_described(spec.answer):
        content: dict[str, Any] = {media_type: {"schema": {}} for media_type in spec.media_types}
        return {"description": "The document or page."} | ({"content": content} if content else {})
    schema: dict[str, Any] = _ref(item_of(spec.answer))
    if spec.answer is not item_of(spec.answer):
        schema = {"type": "array", "items": schema}
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _problems(spec: RouteSpec) -> dict[str, Any]:
    statuses: list[int] = []
    if spec.body is not None:
        statuses += [400, 413, 415]
    elif spec.query is not None:
        statuses.append(400)
    if spec.access.value in _SCHEMES:
        statuses += [401, 403, 409]
    if spec.may_miss:
        statuses.append(404)
    statuses += [429, 503]
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": _MEANING[status], "content": content} for status in sorted(statuses)}


_MEANING = {
    400: "The request cannot be read, breaks a rule, or was refused.",
    401: "The key header is missing or wrong.",
    403: "The key lacks the scope, or the thing is switched off or expired.",
    404: "What was asked for is not there.",
    409: "The thing exists already.",
    413: "The body is too large.",
    415: "The body is not declared to be JSON.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "The database does not answer just now; `Retry-After` says when to come back.",
}


def _ref(shape: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def query_schema(document: Mapping[str, Any], spec: RouteSpec) -> dict[str, Any]:
    """What the document says of an operation's query, in the form of an object."""
    operation = document["paths"][spec.path][spec.method.lower()]
    parameters = [each for each in operation["parameters"] if each["in"] == "query"]
    return {
        "properties": {each["name"]: each["schema"] for each in parameters},
        "required": [each["name"] for each in parameters if each["required"]],
    }


def item_of(answer: Any) -> Any:
    """What a list is of; anything else is itself."""
    return get_args(answer)[0] if get_origin(answer) is list else answer


def is_described(answer: Any) -> bool:
    """Whether an answer has members that the document can list."""
    return _is_struct(item_of(answer))


def _is_struct(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, Body | msgspec.Struct) and shape not in (Page, Stream)
