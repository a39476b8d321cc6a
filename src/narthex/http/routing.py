"""`@route`: an endpoint is one function, and all that is known of it stands above it.

From the specification follow the authentication, the scope, the decoding, the limits, the OpenAPI document and
the endpoint matrix of the tests. A route that does not say who may call it does not start.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec
import structlog
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from narthex.base.errors import Refusal, Unavailable
from narthex.http import client
from narthex.http.authenticate import Access, authenticate_key, authenticate_operator, enter_application
from narthex.http.body import Body, read_body, read_query
from narthex.http.environment import AnonymousCall, Environment, Header, Page, Stream
from narthex.http.limits import ADDRESS
from narthex.http.problems import (
    PROBLEM_TYPE,
    BodyMalformed,
    BodyTooLarge,
    BodyTypeUnsupported,
    MethodNotAllowed,
    Unexpected,
    problem,
)
from narthex.ports.records import KeyKind
from narthex.ports.records import Scope as KeyScope
from narthex.usecases.api_key import SCOPES_OF_KIND
from narthex.usecases.call import Call, OperatorCall
from narthex.usecases.limit import CALLS_OF_PAGES, count_for_application, too_many

JSON_TYPE = b"application/json; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream"
UNTIL_STOPPED = "narthex.until-stopped"
"""In the scope of a request whose answer ends only when somebody ends it: a server that stops need not wait for it."""
MOST_BODY_BYTES = 64 * 1024

Handler = Callable[..., Awaitable[Any]]

_log = structlog.get_logger("narthex.http")


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """All that is known of an endpoint."""

    method: str
    path: str
    access: Access
    scope: KeyScope | None
    query: type[Body] | None
    body: type[Body] | None
    answer: Any
    """The type of the answer: a struct, a list of one, or None for 204."""
    status: int
    handler: Handler
    most_body_bytes: int
    may_miss: bool
    """Whether what is asked for may not be there, which is a 404."""
    in_document: bool
    """Whether the OpenAPI document shows it: what only the operator may call is left out, and pages for people."""
    media_types: tuple[str, ...]
    """Of an answer in parts: what it may be."""

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def description(self) -> str:
        return self.handler.__doc__ or ""


class Unguarded(TypeError):
    """A route does not say who may call it: the server does not start."""


def route(
    method: str,
    path: str,
    *,
    access: Access,
    scope: KeyScope | None = None,
    query: type[Body] | None = None,
    body: type[Body] | None = None,
    answer: Any = None,
    status: int | None = None,
    most_body_bytes: int = MOST_BODY_BYTES,
    may_miss: bool = False,
    for_people: bool = False,
    media_types: tuple[str, ...] = (),
) -> Callable[[Handler], Handler]:
    """Make an endpoint of a function ``(call, query, body, **path members) -> answer``.

    Args:
        access: whose header proves the caller.
        scope: what the key must be good for; needed with key access, and only there.
        answer: the type of the answer; None answers 204.
        for_people: a page that a person looks at and no program calls; its refusals are pages too.
        media_types: what an answer in parts may be.

    Raises:
        Unguarded: key access without a scope, or with one of the other kind of key.
    """
    needs_scope = access in (Access.PUBLIC_KEY, Access.SECRET_KEY)
    if needs_scope is not (scope is not None):
        raise Unguarded(f"{method} {path}: a scope goes with key access, and only with it")
    if scope is not None and (scope in SCOPES_OF_KIND[KeyKind.PUBLIC]) is not (access is Access.PUBLIC_KEY):
        raise Unguarded(f"{method} {path}: `{scope}` is a scope of the other kind of key")

    def mark(handler: Handler) -> Handler:
        spec = RouteSpec(
            method=method,
            path=path,
            access=access,
            scope=scope,
            query=query,
            body=body,
            answer=answer,
            status=status or (200 if answer is not None else 204),
            handler=handler,
            most_body_bytes=most_body_bytes,
            may_miss=may_miss,
            in_document=access is not Access.MANAGEMENT_KEY and not for_people,
            media_types=media_types,
        )
        handler.spec = spec  # type: ignore[attr-defined]  # read back by `spec_of` and `routes_of` alone
        return handler

    return mark


def spec_of(endpoint: Handler) -> RouteSpec:
    """What stands above an endpoint."""
    spec: RouteSpec = endpoint.spec  # type: ignore[attr-defined]
    return spec


def routes_of(*modules: ModuleType) -> list[RouteSpec]:
    """The endpoints that modules define, in the order in which they stand."""
    return [
        spec_of(member)
        for module in modules
        for member in vars(module).values()
        if isinstance(getattr(member, "spec", None), RouteSpec) and member.__module__ == module.__name__
    ]


def mount(specs: Iterable[RouteSpec], env: Environment, anonymous: AnonymousCall) -> list[Route]:
    """Starlette routes, one for each path, matching it in any case as the compatible API does."""
    by_path: dict[str, list[RouteSpec]] = {}
    for spec in specs:
        by_path.setdefault(spec.path, []).append(spec)
    mounted = []
    for path, group in by_path.items():
        endpoint = Route(path, Endpoint({spec.method: spec for spec in group}, env, anonymous))
        endpoint.path_regex = re.compile(endpoint.path_regex.pattern, re.IGNORECASE)
        mounted.append(endpoint)
    return mounted


class Endpoint:
    """The ASGI application of one path."""

    def __init__(self, by_method: Mapping[str, RouteSpec], env: Environment, anonymous: AnonymousCall) -> None:
        self._by_method = by_method
        # For the log: as it is routed, because what stands in the place of a member may be a secret.
        self._path = next(iter(by_method.values())).path
        self._env = env
        self._anonymous = anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        env = self._env
        headers = client.joined(scope["headers"])
        trace = client.trace_id(headers, env.random(24))
        try:
            spec = self._spec(scope["method"])
            await self._limit(spec, scope, headers)
            call = await self._call(spec, scope, headers, trace)
            arguments: list[Any] = [call]
            if spec.query is not None:
                arguments.append(read_query(_query(spec, scope, headers), spec.query))
            if spec.body is not None:
                arguments.append(read_body(await _read(spec, headers, receive), spec.body))
            answer = await spec.handler(*arguments, **scope["path_params"])
        except Refusal as refusal:
            if isinstance(refusal, Unavailable):
                _log.warning("unavailable", reason=refusal.message, trace_id=trace, path=self._path)
            await send_problem(send, env, refusal, trace_id=trace, extra=self._allow(refusal))
        except Exception:
            # The edge is where the unforeseen ends: it is logged whole, and answered without a word of it.
            _log.exception("unexpected", trace_id=trace, path=self._path)
            unexpected = Unexpected("an error occurred while processing your request")
            await send_problem(send, env, unexpected, trace_id=trace)
        else:
            if isinstance(answer, Stream):
                await _respond_in_parts(scope, send, receive, env, answer, trace_id=trace)
            else:
                await respond(send, env, *_encoded(answer, spec))

    def _spec(self, method: str) -> RouteSpec:
        spec = self._by_method.get("GET" if method == "HEAD" else method)
        if spec is None:
            raise MethodNotAllowed(f"this path does not take {method[:20]}", advice=f"use {self._methods()}")
        return spec

    def _methods(self) -> str:
        return ", ".join(sorted(self._by_method))

    def _allow(self, refusal: Refusal) -> list[Header]:
        return [(b"allow", self._methods().encode())] if isinstance(refusal, MethodNotAllowed) else []

    async def _limit(self, spec: RouteSpec, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        limiter = self._env.facilities.limiter
        if limiter is None:
            return
        address = client.client_address(_peer(scope), headers, self._env.trusted_proxies)
        wait_s = await limiter.hit((ADDRESS[spec.access], client.rate_limit_group(address)))
        if wait_s is not None:
            raise too_many("from this address", wait_s)

    async def _call(
        self, spec: RouteSpec, scope: Scope, headers: Mapping[bytes, bytes], trace: str
    ) -> Call | OperatorCall | AnonymousCall:
        env = self._env
        match spec.access:
            case Access.ANONYMOUS:
                enter = partial(enter_application, env, headers, peer=_peer(scope), trace_id=trace)
                site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
                return dataclasses.replace(
                    self._anonymous, host=client.host(scope["headers"]), fetch_site=site, enter=enter
                )
            case Access.MANAGEMENT_KEY:
                return authenticate_operator(env, headers, trace_id=trace)
            case Access.PUBLIC_KEY | Access.SECRET_KEY if spec.scope is not None:
                call = await authenticate_key(env, spec.access, spec.scope, headers, peer=_peer(scope), trace_id=trace)
                if spec.access is Access.PUBLIC_KEY:
                    await count_for_application(call, CALLS_OF_PAGES)
                return call
            case _:
                # `route` lets none through: whoever relaxes it gets an endpoint that answers nobody.
                raise Unguarded(f"{spec.method} {spec.path} does not say who may call it")


async def _read(spec: RouteSpec, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise BodyTypeUnsupported("the body must be declared as `application/json`")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared[:20]) > spec.most_body_bytes:
        raise BodyTooLarge(f"the body is larger than {spec.most_body_bytes} bytes")
    raw = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Gone, or given up by the connection, which bounds the time: half a body must not pass for a whole one.
            raise BodyMalformed("the body ended before its length")
        raw += message.get("body", b"")
        if len(raw) > spec.most_body_bytes:
            raise BodyTooLarge(f"the body is larger than {spec.most_body_bytes} bytes")
        if not message.get("more_body", False):
            return bytes(raw)


def _encoded(answer: Any, spec: RouteSpec) -> tuple[int, bytes, bytes | None, Iterable[Header]]:
    if isinstance(answer, Page):
        return answer.status, answer.content, answer.media_type, answer.headers
    if spec.answer is None:
        return spec.status, b"", None, ()
    return spec.status, msgspec.json.encode(answer), JSON_TYPE, ()


async def respond(
    send: Send, env: Environment, status: int, content: bytes, media_type: bytes | None, extra: Iterable[Header] = ()
) -> None:
    """Write an answer with the headers that every answer carries."""
    headers = [*env.answer_headers, *extra]
    if status != 204:
        # What has no content has no length either (RFC 9110, section 8.6).
        headers.append((b"content-length", str(len(content)).encode()))
    if media_type is not None:
        headers.append((b"content-type", media_type))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _respond_in_parts(
    scope: Scope, send: Send, receive: Receive, env: Environment, answer: Stream, *, trace_id: str
) -> None:
    """Write an answer whose length nobody knows yet. One that breaks off lacks its end, and is not taken for whole."""
    headers = [*env.answer_headers, (b"content-type", answer.media_type), *answer.headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if answer.media_type == EVENT_STREAM_TYPE:
        scope[UNTIL_STOPPED] = True
    try:
        if scope["method"] != "HEAD":
            async for part in _until_hung_up(answer.content, receive):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except Refusal as refusal:
        _log.warning("an answer broke off", reason=refusal.message, trace_id=trace_id)
    except _HungUp:
        pass
    finally:
        # A generator runs its `finally` now, and not when somebody collects it.
        await answer.content.aclose()


class _HungUp(Exception):
    """Nobody listens any more."""


async def _until_hung_up(content: AsyncGenerator[bytes, None], receive: Receive) -> AsyncIterator[bytes]:
    """The parts of an answer, as long as the client is there; a part that it does not wait for is given up."""
    hung_up = asyncio.ensure_future(_disconnected(receive))
    coming: asyncio.Task[bytes] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(content))
            await asyncio.wait((coming, hung_up), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise _HungUp
            try:
                part = coming.result()
            except StopAsyncIteration:
                return
            yield part
    finally:
        hung_up.cancel()
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait((coming,))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _query(spec: RouteSpec, scope: Scope, headers: Mapping[bytes, bytes]) -> bytes:
    """The query; of an event stream, with where it goes on as browsers say it (HTML #the-last-event-id-header)."""
    query: bytes = scope["query_string"]
    last = headers.get(b"last-event-id")
    if spec.answer is not Stream or last is None or b"after=" in query.lower():
        return query
    return b"&".join(filter(None, (query, b"after=" + quote_from_bytes(last).encode())))


async def send_problem(
    send: Send, env: Environment, refusal: Refusal, *, trace_id: str, extra: Iterable[Header] = ()
) -> None:
    """Write a refusal."""
    status, content, headers = problem(refusal, errors_url=env.errors_url, trace_id=trace_id)
    await respond(send, env, status, content, PROBLEM_TYPE, [*headers, *extra])


def _peer(scope: Scope) -> str:
    peer = scope.get("client")
    return peer[0] if peer else ""
