"""The floor: what one sign-in costs when nothing is done but what cannot be left out.

A bare script in one process and one thread: parse the JSON, insert the nonce, verify the ES256 signature, update the
counter, COMMIT with `synchronous = full`, and make an HMAC. No network, no routing, no checks, no event, and a key that
is kept ready. Nobody can build a server on it; it says what the machine is worth, so that ratios travel where
absolute figures do not.

    python -m bench.floor 2000 /dev/shm    # that many sign-ins, the database there; prints what one costs
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from hashlib import sha256

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.authenticator import SoftwareAuthenticator, b64u, unb64u

_TABLES = """
    create table credential (id blob primary key, sign_count integer not null) without rowid;
    create table nonce (nonce blob primary key) without rowid;
"""
_ORIGIN, _RP_ID = "https://bench.example", "bench.example"


def main() -> None:
    """Print microseconds for a sign-in: by the clock, and of CPU."""
    count, directory = sys.argv[1:]
    print(*measure(int(count), directory))


def measure(count: int, directory: str) -> tuple[float, float]:
    """Sign in `count` times with prepared assertions; microseconds for one, by the clock and of CPU."""
    bodies, key = _assertions(count)
    secret = os.urandom(32)
    with tempfile.TemporaryDirectory(dir=directory) as own:
        database = sqlite3.connect(f"{own}/floor.db", isolation_level=None)
        for pragma in ("journal_mode = wal", "synchronous = full"):
            database.execute(f"pragma {pragma}")
        database.executescript(_TABLES)
        database.execute("insert into credential values (?, 0)", (b"credential",))
        started, cpu_started = time.perf_counter(), time.process_time()
        for body in bodies:
            _sign_in(body, database, key, secret)
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
        database.close()
    return elapsed_s / count * 1e6, cpu_s / count * 1e6


def _sign_in(body: bytes, database: sqlite3.Connection, key: ec.EllipticCurvePublicKey, secret: bytes) -> str:
    response = msgspec.json.decode(body)["response"]["response"]
    client_data = _decoded(response["clientDataJSON"])
    data = _decoded(response["authenticatorData"])
    nonce = _decoded(msgspec.json.decode(client_data)["challenge"])
    database.execute("begin immediate")
    database.execute("insert into nonce values (?)", (nonce,))
    key.verify(_decoded(response["signature"]), data + sha256(client_data).digest(), ec.ECDSA(SHA256()))
    count = int.from_bytes(data[33:37], "big")
    database.execute("update credential set sign_count = ? where id = ?", (count, b"credential"))
    database.execute("commit")
    return hmac.digest(secret, nonce, "sha256").hex()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


def _assertions(count: int) -> tuple[list[bytes], ec.EllipticCurvePublicKey]:
    authenticator = SoftwareAuthenticator(counts=True)
    user = {"id": b64u(b"user"), "name": "user", "displayName": "user"}
    algorithms = [{"type": "public-key", "alg": -7}]
    options = {"rp": {"id": _RP_ID, "name": ""}, "user": user, "challenge": "AA", "pubKeyCredParams": algorithms}
    authenticator.register(options, origin=_ORIGIN)
    bodies = []
    for _ in range(count):
        challenge = b64u(os.urandom(32))
        response = authenticator.sign_in({"challenge": challenge, "rpId": _RP_ID}, origin=_ORIGIN)
        bodies.append(msgspec.json.encode({"session": challenge, "response": response}))
    key = authenticator.credentials[0].key.private.public_key()
    assert len({unb64u(msgspec.json.decode(body)["session"]) for body in bodies}) == count
    return bodies, key


if __name__ == "__main__":
    main()
