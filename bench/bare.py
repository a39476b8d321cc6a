"""The bare server: an ASGI function under uvicorn that does a sign-in's work and nothing else.

It stands beside the house in the comparison of CPU for a whole ceremony, because it pays for HTTP too. `begin` draws
a challenge and signs it into a session; `complete` opens the session, reads the credential, verifies, and writes the
nonce and the counter with group commit. No routes, keys, tenants, validation, events or refusals: whatever goes wrong
is a 500.

    BARE_DATABASE=path uvicorn bench.bare:app
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_RP_ID_HASH = sha256(b"bench.example").digest()
_HEADERS = [(b"content-type", b"application/json")]


class GroupCommit:
    """Writes wait for one another and share a COMMIT, which runs on the event loop."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("pragma synchronous = full")
        self._waiting: list[tuple[bytes, bytes, int, asyncio.Future[None]]] = []

    async def write(self, nonce: bytes, credential_id: bytes, count: int) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((nonce, credential_id, count, done))
        await done

    def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        execute = self.database.execute
        execute("begin immediate")
        for nonce, credential_id, count, _ in batch:
            execute("insert into nonce values (?)", (nonce,))
            execute("update credential set sign_count = ? where id = ?", (count, credential_id))
        execute("commit")
        for *_, done in batch:
            done.set_result(None)


_store = GroupCommit(os.environ["BARE_DATABASE"])
_secret = os.urandom(32)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Two paths, chosen by their last letter."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = msgspec.json.decode(body or b"{}")
    answer = await _complete(asked) if scope["path"].endswith("complete") else _begin()
    content = msgspec.json.encode(answer)
    headers = [*_HEADERS, (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _begin() -> dict[str, Any]:
    challenge = os.urandom(32)
    session = _encoded(challenge + _mac(challenge))
    return {"data": {"challenge": _encoded(challenge), "rpId": "bench.example"}, "session": session}


async def _complete(asked: dict[str, Any]) -> dict[str, str]:
    session = _decoded(asked["session"])
    challenge = session[:32]
    assert hmac.compare_digest(_mac(challenge), session[32:])
    credential_id = _decoded(asked["response"]["id"])
    response = asked["response"]["response"]
    raw = _decoded(response["clientDataJSON"])
    client_data = msgspec.json.decode(raw)
    assert client_data["type"] == "webauthn.get"
    assert client_data["origin"] == "https://bench.example"
    assert _decoded(client_data["challenge"]) == challenge
    data = _decoded(response["authenticatorData"])
    assert data[:32] == _RP_ID_HASH
    found = _store.database.execute("select point, sign_count from credential where id = ?", (credential_id,))
    point, kept_count = found.fetchone()
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    key.verify(_decoded(response["signature"]), data + sha256(raw).digest(), ec.ECDSA(SHA256()))
    count = int.from_bytes(data[33:37], "big")
    assert count > kept_count
    await _store.write(challenge, credential_id, count)
    return {"token": _encoded(challenge[:16] + _mac(challenge[:16]))}


def _mac(message: bytes) -> bytes:
    return hmac.digest(_secret, message, "sha256")


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")
