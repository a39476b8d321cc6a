"""The ASGI application of the edge: one path spelling, CORS, routes, and an answer for everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from narthex.http import client
from narthex.http.environment import AnonymousCall, Environment, Header
from narthex.http.openapi import Documented
from narthex.http.problems import PathNotFound
from narthex.http.routes import conformance, health, pages, webhook, well_known
from narthex.http.routes import magic_link as magic_link_page
from narthex.http.routes.management import authenticator_policy, job, relying_party, settings
from narthex.http.routes.passwordless import (
    alias,
    api_key,
    application,
    authenticator,
    configuration,
    credential,
    event,
    feature,
    lifecycle,
    magic_link,
    metadata,
    registration,
    report,
    sign_in,
    user,
)
from narthex.http.routing import RouteSpec, mount, respond, routes_of, send_problem

ROUTES: Sequence[RouteSpec] = (
    *routes_of(sign_in, registration),
    *routes_of(alias, credential, user, configuration, authenticator, event, report, magic_link, feature),
    *routes_of(webhook, magic_link_page),
    *routes_of(application, lifecycle, api_key),
    *routes_of(metadata, settings, authenticator_policy, relying_party, job),
    *routes_of(health, well_known),
    *pages.ROUTES,
)
"""Every endpoint of the server. The ceremony's stand first: routes are tried in order."""

CONFORMANCE_ROUTES: Sequence[RouteSpec] = routes_of(conformance)
"""What the FIDO conformance tool calls: no part of the product, and there only where the operator asked for it."""

_SLASHES = re.compile(r"/{2,}")


def create_app(env: Environment) -> ASGIApp:
    """Join the edge."""
    documented = Documented(specs=ROUTES, version=env.version, public_url=env.public_url)
    rendered = pages.rendered(documented, errors_url=env.errors_url)
    return Edge(env, AnonymousCall(root=env.root, version=env.version, pages=rendered, mail=env.facilities.mail))


class Edge:
    """Spells the path one way, answers preflights, and hands over to the routes."""

    def __init__(self, env: Environment, anonymous: AnonymousCall) -> None:
        routes = mount(ROUTES, env, anonymous)
        if env.conformance_application is not None:
            routes += conformance.mount(CONFORMANCE_ROUTES, env, anonymous, app_id=env.conformance_application)
        self._env = env
        self._router = Router(routes, redirect_slashes=False, default=self._not_found)
        self._fixed = {route.path: route.app for route in routes if not route.param_convertors}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "OPTIONS" and _is_preflight(scope):
            await respond(send, self._env, 204, b"", None, _preflight_headers(scope))
            return
        scope["path"] = spelled_once(scope["path"])
        # Nearly every request names a path without members, spelled as we spell it: no route need be tried.
        endpoint = self._fixed.get(scope["path"])
        if endpoint is None:
            await self._router(scope, receive, send)
        else:
            scope["path_params"] = {}
            await endpoint(scope, receive, send)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = client.trace_id(dict(scope["headers"]), self._env.random(24))
        refusal = PathNotFound(f"there is nothing at `{scope['path'][:100]}`")
        await send_problem(send, self._env, refusal, trace_id=trace)


def spelled_once(path: str) -> str:
    """The one spelling of a path.

    SDKs that join strings send ``//register/begin``, and those behind the reference's proxy ``/api/…``.

    >>> spelled_once("//register/begin/"), spelled_once("/api/signin/begin"), spelled_once("/")
    ('/register/begin', '/signin/begin', '/')
    """
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path[:5].lower() == "/api/":
        path = path[4:]
    return path.rstrip("/") or "/"


def _is_preflight(scope: Scope) -> bool:
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


def _preflight_headers(scope: Scope) -> list[Header]:
    headers = dict(scope["headers"])
    answer = [(b"access-control-allow-methods", headers[b"access-control-request-method"])]
    wanted = headers.get(b"access-control-request-headers")
    if wanted is not None:
        answer.append((b"access-control-allow-headers", wanted))
    return answer
