"""What a verification costs, beside the signature checks in it that cannot be left out.

Ours begins with the client's JSON text, as it comes from the wire, and ends with the verified facts: the body is read,
shaped and translated by the functions of the edge, and then verified. Bare is the signature alone, with a key that is
kept ready and bytes that are joined already: for a registration those of the attestation and of its certificate. All
run in one process, in turns, on CPU time.

    python -m bench.verification    # prints microseconds for ours and for bare, and their ratio, a line of JSON each
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from statistics import median
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from narthex.http.body import read_body
from narthex.http.routes.passwordless import registration, sign_in
from narthex.webauthn import trust
from narthex.webauthn.attestation import packed
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.authentication import StoredCredential, verify_assertion
from narthex.webauthn.cose import parse_public_key
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.registration import verify_registration
from narthex.webauthn.trust import TrustVerdict, parse_certificate
from tests.support.authenticator import Json, Lots, SoftwareAuthenticator, b64u, maker, unb64u

ROUNDS, COUNT = 41, 50
_ORIGIN, _RP_ID, _USER_HANDLE = "https://bench.example", "bench.example", b"user"
_SESSION = "session_" + "x" * 300  # as long as a sealed one
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ES256 = ec.ECDSA(SHA256())

Task = Callable[[], object]


class Compared(msgspec.Struct, frozen=True):
    """Medians over the rounds."""

    name: str
    ours_us: float
    bare_us: float
    ratio: float


def main() -> None:
    """Print what was measured, a line of JSON for each kind."""
    for name, pairs in KINDS.items():
        ours, bare = zip(*pairs(), strict=True)
        print(msgspec.json.encode(compare(name, ours, bare)).decode())


def compare(name: str, ours: tuple[Task, ...], bare: tuple[Task, ...]) -> Compared:
    """Run both sides in turns; the first round is not counted."""
    rounds = [(_cpu_us(ours), _cpu_us(bare)) for _ in range(ROUNDS + 1)][1:]
    return Compared(
        name,
        ours_us=median(mine for mine, _ in rounds),
        bare_us=median(least for _, least in rounds),
        ratio=median(mine / least for mine, least in rounds),
    )


def _cpu_us(tasks: tuple[Task, ...]) -> float:
    gc.collect()
    started = time.thread_time()
    for task in tasks:
        task()
    return (time.thread_time() - started) / len(tasks) * 1e6


def _assertions() -> Iterator[tuple[Task, Task]]:
    """One passkey, whose key is in the cache as on a server that has seen it lately, and another answer each time."""
    authenticator = SoftwareAuthenticator(seed=1, counts=True)
    registered = _registered(authenticator, attestation="none")
    credential = StoredCredential(
        credential_id=registered.raw_id,
        public_key=_attested_key(registered),
        sign_count=0,
        user_handle=_USER_HANDLE,
        backup_eligible=True,
    )
    key = authenticator.credentials[0].key.private.public_key()
    for challenge in _challenges():
        message = authenticator.sign_in({"challenge": b64u(challenge), "rpId": _RP_ID}, origin=_ORIGIN)
        yield _assertion_of(_body(message), challenge, credential), _signature_of(message, key)


def _assertion_of(raw: bytes, challenge: bytes, credential: StoredCredential) -> Task:
    def verify() -> object:
        body = read_body(raw, sign_in.SignInCompleteBody)
        assert body.response is not None
        response: AuthenticationResponse = sign_in._response(body.response)
        return verify_assertion(
            response,
            credential=credential,
            challenge=challenge,
            rp_id=_RP_ID,
            origins=(_ORIGIN,),
            user_verification_required=True,
        )

    return verify


def _signature_of(message: Json, key: ec.EllipticCurvePublicKey) -> Task:
    response = message["response"]
    signed = unb64u(response["authenticatorData"]) + sha256(unb64u(response["clientDataJSON"])).digest()
    signature = unb64u(response["signature"])
    return lambda: key.verify(signature, signed, _ES256)


def _registrations(*caches: Callable[..., object]) -> Iterator[tuple[Task, Task]]:
    """Another passkey each time, of one model: a leaf that a root vouches for."""
    for at, challenge in enumerate(_challenges()):
        authenticator = SoftwareAuthenticator(seed=at)
        message = authenticator.register(_options(challenge), origin=_ORIGIN, attestation="packed-x5c")
        yield _registration_of(_body(message), challenge, caches), _signatures_of(message)


def _first_registrations() -> Iterator[tuple[Task, Task]]:
    """The same, each time as if the model had never been met."""
    return _registrations(parse_certificate, trust._check_signed, packed._check_certificate)


def _registration_of(raw: bytes, challenge: bytes, caches: tuple[Any, ...]) -> Task:
    root = maker().der

    def verify() -> object:
        # A new key is one that no server has seen: each must be read, in every round.
        for cache in (parse_public_key, *caches):
            cache.cache_clear()
        verified = verify_registration(
            _translated(raw),
            challenge=challenge,
            rp_id=_RP_ID,
            origins=(_ORIGIN,),
            algorithms=(-7,),
            user_verification_required=True,
            now=_NOW,
            find_anchors=lambda aaguid, attestation: (root,),
        )
        assert verified.trust.verdict is TrustVerdict.ANCHORED
        return verified

    return verify


def _signatures_of(message: Json) -> Task:
    response = message["response"]
    attestation_object = parse_attestation_object(unb64u(response["attestationObject"]))
    statement = attestation_object.statement
    leaf, root = parse_certificate(statement["x5c"][0]), parse_certificate(maker().der)  # type: ignore[index]  # a statement is untyped CBOR
    signed = attestation_object.authenticator_data.raw + sha256(unb64u(response["clientDataJSON"])).digest()
    signature, certified = leaf.parsed.signature, leaf.parsed.tbs_certificate_bytes

    def verify() -> None:
        leaf.public_key.verify(statement["sig"], signed, _ES256)  # type: ignore[attr-defined]  # an EC key, as made here
        root.public_key.verify(signature, certified, _ES256)  # type: ignore[attr-defined]  # an EC key, as made here

    return verify


def _registered(authenticator: SoftwareAuthenticator, *, attestation: str) -> RegistrationResponse:
    message = authenticator.register(_options(bytes(32)), origin=_ORIGIN, attestation=attestation)
    return _translated(_body(message))


def _translated(raw: bytes) -> RegistrationResponse:
    body = read_body(raw, registration.RegisterCompleteBody)
    assert body.response is not None
    return registration._response(body.response)


def _attested_key(response: RegistrationResponse) -> bytes:
    attested = parse_attestation_object(response.attestation_object).authenticator_data.attested
    assert attested is not None
    return attested.public_key


def _body(message: Json) -> bytes:
    return msgspec.json.encode({"session": _SESSION, "response": message, "origin": _ORIGIN, "rpid": _RP_ID})


def _options(challenge: bytes) -> Json:
    user = {"id": b64u(_USER_HANDLE), "name": "user", "displayName": "user"}
    algorithms = [{"type": "public-key", "alg": -7}]
    rp = {"id": _RP_ID, "name": ""}
    return {"rp": rp, "user": user, "challenge": b64u(challenge), "pubKeyCredParams": algorithms}


def _challenges() -> list[bytes]:
    lots = Lots("challenges")
    return [lots.draw(32) for _ in range(COUNT)]


KINDS: dict[str, Callable[[], Iterator[tuple[Task, Task]]]] = {
    "assertion": _assertions,
    "registration": _registrations,
    "first registration": _first_registrations,
}
"""What is measured → pairs of ours and bare."""


if __name__ == "__main__":
    main()
