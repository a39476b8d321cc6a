"""What a customer's backend does with Narthex: two calls, and what it must check afterwards.

Real backends take the user from their own session. This one takes anybody's word for a name, because it guards
nothing: whoever plays may be anyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from starlette.types import ASGIApp

from narthex.base.values import to_base64url
from narthex.playground.exchange import Answer, post
from narthex.playground.key_file import DemoKeys

MASK = "•" * 8
_SHOWN_HEADERS = ("content-type", "retry-after", "www-authenticate")

Json = dict[str, Any]


class WantedPasskey(msgspec.Struct, rename="camel"):
    """What the page asks a register token for."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=250)]
    user_verification: Literal["preferred", "required", "discouraged"] = "preferred"
    authenticator_type: Literal["any", "platform", "cross-platform"] = "any"
    discoverable: bool = True


class BroughtToken(msgspec.Struct, rename="camel"):
    """A sign-in token, and what the backend expects of it: members that are null are not checked."""

    token: str
    type: str | None = None
    purpose: str | None = None
    user_id: str | None = None
    username: str | None = None


class Backend:
    """Holds the secret key, and calls the private API with it."""

    def __init__(self, api: ASGIApp, keys: DemoKeys) -> None:
        self._api = api
        self._secret = keys.api_secret
        app_id, kind, _ = keys.api_secret.split(":", 2)
        self._masked = f"{app_id}:{kind}:{MASK}"

    async def register_token(self, wanted: WantedPasskey) -> Json:
        """Give the user leave to enrol one passkey. The name doubles as an alias, to sign in by."""
        body = {
            "userId": user_id_of(wanted.username),
            "username": wanted.username,
            "aliases": [wanted.username],
            "userVerification": wanted.user_verification,
            "authenticatorType": wanted.authenticator_type,
            "discoverable": wanted.discoverable,
        }
        return await self._exchange("/register/token", body)

    async def verify(self, brought: BroughtToken) -> Json:
        """Learn who signed in, and compare it with what was expected."""
        exchange = await self._exchange("/signin/verify", {"token": brought.token})
        if exchange["response"]["status"] != 200:
            return exchange
        return exchange | {"checks": _checks(brought, exchange["response"]["body"])}

    async def _exchange(self, path: str, body: Json) -> Json:
        headers = {"ApiSecret": self._secret, "Content-Type": "application/json"}
        answer = await post(self._api, path, headers=headers, body=msgspec.json.encode(body))
        shown = headers | {"ApiSecret": self._masked}
        return {
            "request": {"method": "POST", "path": path, "headers": shown, "body": body},
            "response": _shown(answer),
        }


def user_id_of(username: str) -> str:
    """The id of a user: opaque, for it is written into passkeys (L3 #sctn-user-handle-privacy), and always the same.

    >>> user_id_of("ada")
    'u__e5DDUC9V97qwYbNl5ADPQ'
    """
    return "u_" + to_base64url(sha256(username.encode()).digest()[:16])


def _checks(brought: BroughtToken, verified: Mapping[str, Any]) -> list[Json]:
    named = user_id_of(brought.username) if brought.username else None
    expected = {"type": brought.type, "purpose": brought.purpose, "userId": brought.user_id or named}
    return [
        {"member": member, "expected": value, "found": verified[member], "holds": verified[member] == value}
        for member, value in expected.items()
        if value is not None
    ]


def _shown(answer: Answer) -> Json:
    headers = {name: answer.headers[name] for name in _SHOWN_HEADERS if name in answer.headers}
    return {"status": answer.status, "headers": headers, "body": msgspec.json.decode(answer.body)}
