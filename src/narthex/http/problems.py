"""Refusals as problem documents (RFC 9457).

The only place that knows which status a family of refusals becomes, and how a refusal is written. Whatever is
not a refusal becomes a 500 without text, joined to the log by its trace id.

The media type carries no charset parameter: three official SDKs compare the header as a whole.
"""

from __future__ import annotations

from typing import Any

import msgspec

from narthex.base.errors import (
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    RateLimited,
    Refusal,
    Rejected,
    Unauthenticated,
    Unavailable,
)

PROBLEM_TYPE = b"application/problem+json"
VALIDATION_TYPE_URI = "https://tools.ietf.org/html/rfc9110#section-15.5.1"
VALIDATION_TITLE = "One or more validation errors occurred."

STATUS: dict[type[Refusal], int] = {
    Malformed: 400,
    Rejected: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    RateLimited: 429,
    Unavailable: 503,
}


class BodyMalformed(Malformed):
    """The body is not the JSON that this endpoint takes."""

    code = "malformed-body"
    advice = "send one JSON object in UTF-8, with the members that the API reference lists"


class QueryMalformed(Malformed):
    """The query is not the one that this endpoint takes."""

    code = "malformed-query"
    advice = "send the members that the API reference lists, percent-encoded in UTF-8, each with a value of its type"


class BodyTooLarge(Malformed):
    """The body is larger than anything this endpoint takes."""

    code = "body-too-large"
    status = 413
    advice = "send less; the API reference states the limit"


class BodyTooSlow(Malformed):
    """The body did not arrive in time."""

    code = "body-too-slow"
    status = 408
    advice = "send the body in one go; it may take half a minute"


class BodyTypeUnsupported(Malformed):
    """The body is not declared to be JSON."""

    code = "unsupported-media-type"
    status = 415
    advice = "send the header `Content-Type: application/json`"


class HeaderTooLarge(Malformed):
    """The request line and the headers are longer than any request needs."""

    code = "header-too-large"
    status = 431
    advice = "send less than 32 KiB of headers; cookies of other sites on this domain are the usual cause"


class HeaderTooSlow(Malformed):
    """The headers did not arrive in time."""

    code = "header-too-slow"
    status = 408
    advice = "send the headers in one go; they may take ten seconds"


class MethodNotAllowed(Malformed):
    """The path exists and does not take this method."""

    code = "method-not-allowed"
    status = 405
    advice = "use a method that the header `Allow` names"


class PathNotFound(NotFound):
    """There is nothing at this path."""

    code = "path-not-found"
    advice = "look the path up in the API reference, and check that the base URL has no extra part"


class RequestMalformed(Malformed):
    """What was sent is not HTTP/1.1 as it is written."""

    code = "malformed-request"
    advice = "use an HTTP client, and look for a proxy that alters requests on their way"


class ValidationFailed(Malformed):
    """Members of the body break the rules of the endpoint; `errors` lists them by name."""

    code = "validation-failed"
    advice = "mend the members that `errors` names"

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("one or more validation errors occurred")
        self.errors = errors


class Unexpected(Refusal):
    """We did not foresee this: it is our defect, and the trace id finds it in the log."""

    code = "internal-error"
    advice = "report the trace id to the operator; the log of the server has the cause"


class KeyRequired(Unauthenticated):
    """The key header is missing, wrong, locked, or of another application."""

    code = "key-required"
    advice = "send a key of this application in the header that the title names"

    def __init__(self, header: str, explanation: str | None) -> None:
        super().__init__(f"A valid '{header}' header is required.")
        self.header = header
        self.explanation = explanation


class ScopeMissing(Forbidden):
    """The key is good and lacks the scope that this endpoint needs."""

    code = "forbidden"
    advice = "use a key that has the scope which `detail` names"

    def __init__(self, scopes: str) -> None:
        super().__init__("You are forbidden from accessing this resource.")
        self.scopes = scopes


def status_of(refusal: Refusal | type[Refusal]) -> int:
    """The status of a refusal: its own where HTTP has a word for it, else its family's."""
    own: int | None = getattr(refusal, "status", None)
    if own is not None:
        return own
    kind = refusal if isinstance(refusal, type) else type(refusal)
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), 500)


def wire_code(code: str) -> str:
    """The `errorCode` of a refusal: the compatible API writes its codes with underscores."""
    return code.replace("-", "_")


def problem(refusal: Refusal, *, errors_url: str, trace_id: str) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Write a refusal.

    Args:
        errors_url: where the error pages are; a code is a fragment of it.

    Returns:
        the status, the body, and the headers that this refusal adds.
    """
    status = status_of(refusal)
    document: dict[str, Any] = {
        "type": f"{errors_url}#{wire_code(refusal.code)}",
        "title": sentence(refusal.message),
        "status": status,
    }
    headers: list[tuple[bytes, bytes]] = []
    match refusal:
        case ValidationFailed():
            document |= {"type": VALIDATION_TYPE_URI, "title": VALIDATION_TITLE, "errors": refusal.errors}
        case KeyRequired():
            document["type"] = f"{errors_url}#{refusal.header}"
            document |= {"detail": refusal.explanation} if refusal.explanation else {}
            headers.append((b"www-authenticate", refusal.header.encode()))
        case ScopeMissing():
            document["detail"] = f"This key lacks a scope. Required scopes: {refusal.scopes}"
        case _ if refusal.advice:
            document["detail"] = sentence(refusal.advice)
    if isinstance(refusal, Unavailable):
        # Its message names hosts, files and the database's own words: those are for the log.
        document["title"] = "The service cannot answer just now."
    if isinstance(refusal, RateLimited | Unavailable):
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    document |= refusal.details
    document |= {"errorCode": wire_code(refusal.code), "traceId": trace_id}
    if "reason" in document:
        document["reason"] = wire_code(document["reason"])
    return status, msgspec.json.encode(document), headers


def sentence(message: str) -> str:
    """Dress a message for a person: a capital first, a full stop last.

    >>> sentence("origin is required")
    'Origin is required.'
    """
    dressed = message[:1].upper() + message[1:]
    return dressed if dressed.endswith((".", "!", "?")) else dressed + "."
