"""The playground's ASGI application: it stands before the API's, and keeps `/playground` to itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from narthex.playground.asset import PAGE, Asset, assets
from narthex.playground.backend import Backend, BroughtToken, WantedPasskey
from narthex.playground.guard import objection_to_act, objection_to_host, own_hosts
from narthex.playground.key_file import DemoKeys

PATH = "/playground"
_ASSETS = f"{PATH}/assets/"
_MOST_BODY_BYTES = 16 * 1024

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Demo:
    """The application that the playground plays with."""

    port: int
    app_id: str
    keys: DemoKeys
    key_file: Path
    command: str
    """How the person calls Narthex's command line for the same data."""


class Playground:
    """Serves the page and its backend; everything else is the API's."""

    def __init__(self, api: ASGIApp, demo: Demo, *, public_url: str) -> None:
        self._api = api
        self._hosts = own_hosts(demo.port)
        self._backend = Backend(api, demo.keys)
        self._config = msgspec.json.encode(
            {
                "apiUrl": public_url,
                "appId": demo.app_id,
                "apiKey": demo.keys.api_key,
                "keyFile": str(demo.key_file),
                "command": demo.command,
            }
        )
        self._acts: dict[str, Callable[[bytes], Awaitable[object]]] = {
            f"{PATH}/register-token": self._register_token,
            f"{PATH}/verify": self._verify,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/" and scope["method"] in ("GET", "HEAD"):
            await RedirectResponse(PATH, headers={"cache-control": "no-store"})(scope, receive, send)
        elif path == PATH or path.startswith(f"{PATH}/"):
            response = await self._answer(Request(scope, receive))
            response.headers.update(_HEADERS)
            await response(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        objection = objection_to_host(request.headers, self._hosts)
        if objection is not None:
            return _refused(403, objection)
        path = request.scope["path"].rstrip("/")
        act = self._acts.get(path)
        if request.method != ("GET" if act is None else "POST") and (act is not None or request.method != "HEAD"):
            return _refused(405, "The playground does not take this method here.")
        if act is not None:
            return await self._act(act, request)
        if path == f"{PATH}/config":
            return _json(self._config)
        name = PAGE if path == PATH else path.removeprefix(_ASSETS)
        found = assets().get(name)
        return _file(found, request) if found else _refused(404, "There is nothing here.")

    async def _act(self, act: Callable[[bytes], Awaitable[object]], request: Request) -> Response:
        objection = objection_to_act(request.headers)
        if objection is not None:
            return _refused(403, objection)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BODY_BYTES:
                return _refused(413, f"The playground takes at most {_MOST_BODY_BYTES} bytes.")
        try:
            return _json(msgspec.json.encode(await act(bytes(body))))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            return _refused(400, f"The playground's backend cannot read this: {e}.")

    async def _register_token(self, body: bytes) -> object:
        return await self._backend.register_token(msgspec.json.decode(body, type=WantedPasskey))

    async def _verify(self, body: bytes) -> object:
        return await self._backend.verify(msgspec.json.decode(body, type=BroughtToken))


def _file(asset: Asset, request: Request) -> Response:
    headers = {"etag": asset.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers={"cache-control": "no-store"})


def _refused(status: int, sentence: str) -> Response:
    """The playground's own refusals: one sentence, in the form of the API's."""
    problem = msgspec.json.encode({"title": sentence, "status": status})
    headers = {"cache-control": "no-store"}
    return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)
