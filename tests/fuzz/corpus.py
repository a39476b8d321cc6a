"""The kept corpus: for each target the inputs that together take the most branches, smallest first.

One file for each target, ``corpus/<name>.hex``, one input on a line: a difference can be read, and tools that look for
words or keys do not take random bytes for either. Fuzzing works on a copy under ``build/fuzz``, which grows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path

import cbor2
import msgspec

from narthex.tokens.payloads import RegisterToken, RegistrationSession, SignInSession, VerifyToken
from tests.fuzz.ceremonies import steady_key, steady_root
from tests.fuzz.targets import (
    MADE_AS,
    NOW,
    SHAPES,
    TARGETS,
    body_shapes,
    honest_blob,
    honest_message,
    honest_statement,
    publisher,
)
from tests.support.authenticator import ALGORITHMS, b64u, unb64u
from tests.support.statements_android_key import key_description
from tests.support.statements_tpm import attest, public_area

KEPT = Path(__file__).parent / "corpus"
MOST_KEPT = 30
LONGEST_KEPT = 4096


def read_corpus(name: str) -> list[bytes]:
    path = KEPT / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    KEPT.mkdir(exist_ok=True)
    lines = sorted({raw.hex() for raw in inputs}, key=lambda line: (len(line), line))
    (KEPT / f"{name}.hex").write_text("".join(line + "\n" for line in lines))


def pour_corpus(name: str, folder: Path) -> None:
    """Write the kept inputs and the honest ones as the files that the fuzzer reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for raw in (*read_corpus(name), *honest_inputs(name)):
        (folder / sha1(raw, usedforsecurity=False).hexdigest()).write_bytes(raw)


def keep_corpus(name: str, found: Path) -> None:
    """Keep what fuzzing found and minimised: honest inputs first, then the smallest."""
    inputs = sorted((path.read_bytes() for path in found.iterdir()), key=lambda raw: (len(raw), raw))
    honest = honest_inputs(name)
    wanted = [raw for raw in inputs if raw not in honest and 2 * len(raw) <= LONGEST_KEPT]
    write_corpus(name, [*honest, *_spread(wanted, max(MOST_KEPT - len(honest), 0))])


def _spread(inputs: list[bytes], most: int) -> list[bytes]:
    """As many as that, evenly over all sizes."""
    step = max(len(inputs) / most, 1) if most else 1
    return [inputs[int(at * step)] for at in range(min(most, len(inputs)))]


def honest_inputs(name: str) -> list[bytes]:
    """What the target accepts."""
    if name.startswith("statement_"):
        return [honest_statement(name.removeprefix("statement_").replace("_", "-"))]
    make = _HONEST.get(name)
    return list(make()) if make else []


def _objects() -> list[bytes]:
    return [unb64u(honest_message(made_as)["response"]["attestationObject"]) for made_as in MADE_AS.values()]


def _paths() -> list[list[bytes]]:
    statements = [cbor2.loads(raw)["attStmt"] for raw in _objects()]
    return [item["x5c"] for item in statements if isinstance(item, dict) and "x5c" in item]


def _jws() -> bytes:
    response: bytes = cbor2.loads(honest_statement("android-safetynet"))["response"]
    return response


def _payloads() -> list[bytes]:
    """Of metadata."""
    entries = [publisher().entry(), publisher().entry(aaguid=None, key_identifiers=[bytes(20)])]
    return [json.dumps({"no": 1, "nextUpdate": "2049-12-01", "entries": entries}).encode()]


def _tpm_parts(member: str) -> list[bytes]:
    own: bytes = cbor2.loads(honest_statement("tpm"))[member]
    keys = [steady_key(alg).private.public_key() for alg in (-257, -35)]
    others = [public_area(key) for key in keys] if member == "pubArea" else [attest(extra_data=b"x", name=b"y")]
    return [own, *others]


def _bodies() -> list[bytes]:
    """One for each shape, that is, for each first byte."""
    registration = json.dumps({"session": "session_x", "response": honest_message("none"), "rpId": None}).encode()
    members = b'{"userId":42,"token":"x","aliases":["a",null],"rpid":"example.org","timeToLive":"30","x":{"y":[1.5]}}'
    return [bytes([at]) + each for at in range(len(body_shapes())) for each in (registration, members)][::3]


def _sealed_payloads() -> list[bytes]:
    """One for each kind of token, behind the byte that picks it."""
    one_of_each = [
        RegisterToken(b"id", NOW, "ann", "ann@x", "Ann", "none", "any", True, "preferred", ("a",), True, ("hybrid",)),
        RegistrationSession(b"id", b"challenge", NOW, "example.org", "ann", True, b"id", NOW, None, True),
        SignInSession(b"id", b"challenge", NOW, "example.org", None, True, "sign-in", decoy=b"seed"),
        VerifyToken(b"id", NOW, "passkey_signin", "ann", NOW, "sign-in", "example.org", "https://example.org"),
    ]
    shapes = list(SHAPES.values())
    return [bytes([shapes.index(type(each))]) + msgspec.msgpack.encode(each) for each in one_of_each]


_HONEST = {
    "cbor": lambda: [cbor2.dumps({"a": [1, -1, b"x", True, None, 1.5], 1: {"b": "text"}}), *_objects()[:1]],
    "cose": lambda: [cbor2.dumps(steady_key(alg).cose()) for alg in ALGORITHMS if alg not in (-49, -50)],
    "client_data": lambda: [
        unb64u(honest_message("none")["response"]["clientDataJSON"]),
        b'{"type":"webauthn.get","challenge":"AAAA","origin":"x:y","crossOrigin":true,"topOrigin":"z",'
        b'"tokenBinding":{"status":"present","id":"x"}}',
    ],
    "authenticator_data": lambda: [
        cbor2.loads(_objects()[0])["authData"],
        bytes(32) + b"\x81" + bytes(4) + cbor2.dumps({"credProtect": 2}),
    ],
    "attestation_object": lambda: _objects()[:2] + _objects()[-1:],
    "tpm_attest": lambda: _tpm_parts("certInfo"),
    "tpm_public_area": lambda: _tpm_parts("pubArea"),
    "key_description": lambda: [key_description(bytes(32)), key_description(b"x", level=0, software={}, tee={})],
    "der": lambda: [key_description(bytes(32))],
    "der_integer": lambda: [b"\0", b"\x80", b"\0\xff"],
    "certificate": lambda: [steady_root(), *(path[0] for path in _paths())],
    "trust_path": lambda: [cbor2.dumps(path) for path in _paths()],
    "jws": lambda: [_jws(), honest_blob()],
    "metadata_blob": lambda: [honest_blob()],
    "metadata_payload": _payloads,
    "revocation_list": lambda: list(publisher().crls(publisher().leaf)),
    "origin": lambda: [b"https://example.org:8443", b"HTTP://[::1]:80", b"https://127.0.0.1", b"ios:bundle-id:org.x"],
    "expected_origin": lambda: [b"https://Example.org:443/path?x#y", b"android:apk-key-hash:x"],
    "rp_id": lambda: [b"example.org", b"localhost", b"xn--bcher-kva.example"],
    "base64url": lambda: [b"", b"bmFydGhleA", b"-_-_"],
    "padded_base64url": lambda: [b"bmFydGhleA==", b"-_-_"],
    "sealed": lambda: [b"\x03verify_" + b64u(b"\x01\0\0\0\x07" + bytes(40)).encode()],
    "sealed_payload": _sealed_payloads,
    "body": _bodies,
}

assert _HONEST.keys() <= TARGETS.keys()
