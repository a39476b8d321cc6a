"""Whole ceremonies over HTTP, stage by stage.

The server draws the challenges, so an assertion cannot be signed before its ceremony begins. Hence stages: all
ceremonies begin, then all answers are signed while nothing is measured, then all of them complete. What a stage costs
the server is therefore the cost of that one endpoint, and the authenticator's work counts nowhere.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop

from bench.client import Answers, fire, request
from bench.process import Server
from tests.support.authenticator import Json, SoftwareAuthenticator, SoftwareCredential

ORIGIN, RP_ID = "https://bench.example", "bench.example"
PAGE = {"origin": ORIGIN, "rpid": RP_ID}


class Keys(msgspec.Struct, frozen=True):
    """The headers that prove an application's page, and its backend."""

    public: dict[str, str]
    secret: dict[str, str]


NO_KEYS = Keys({}, {})


class Passkey(msgspec.Struct, frozen=True):
    """A user with a credential."""

    user_id: str
    credential: SoftwareCredential


class Stage(msgspec.Struct, frozen=True):
    """What one stage cost."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the server, for each request."""
    generator_busy: float
    """The share of the time for which the generator itself was at work: near 1, it was the bottleneck."""


def run(server: Server, requests: Sequence[bytes], *, connections: int) -> tuple[Stage, list[Any]]:
    """Fire requests and weigh them; what was answered, in their order."""
    before_s, own_before_s = server.cpu_s(), time.process_time()
    answers: Answers = uvloop.run(fire(server.address, requests, connections=connections))
    cpu_s, own_s = server.cpu_s() - before_s, time.process_time() - own_before_s
    quantiles = statistics.quantiles(answers.latencies_s, n=100)
    stage = Stage(
        per_s=len(requests) / answers.elapsed_s,
        p50_ms=quantiles[49] * 1e3,
        p99_ms=quantiles[98] * 1e3,
        cpu_us=cpu_s / len(requests) * 1e6,
        generator_busy=own_s / answers.elapsed_s,
    )
    return stage, [msgspec.json.decode(body) for body in answers.bodies]


def register(
    server: Server, keys: Keys, users: Sequence[str], *, connections: int
) -> tuple[dict[str, Stage], list[Passkey]]:
    """Make a passkey for each user."""
    stages: dict[str, Stage] = {}
    token = [request("/register/token", {"userId": user, "username": user}, headers=keys.secret) for user in users]
    stages["register/token"], answers = run(server, token, connections=connections)
    begin = [request("/register/begin", {**answer, **PAGE}, headers=keys.public) for answer in answers]
    stages["register/begin"], answers = run(server, begin, connections=connections)
    authenticators = [SoftwareAuthenticator() for _ in users]
    responses = [
        authenticator.register(answer["data"], origin=ORIGIN)
        for authenticator, answer in zip(authenticators, answers, strict=True)
    ]
    complete = _completions("/register/complete", answers, responses, keys)
    stages["register/complete"], _ = run(server, complete, connections=connections)
    made = [authenticator.credentials[0] for authenticator in authenticators]
    return stages, [Passkey(user, credential) for user, credential in zip(users, made, strict=True)]


def sign_in(
    server: Server, keys: Keys, passkeys: Sequence[Passkey], *, connections: int, verify: bool = True
) -> dict[str, Stage]:
    """Sign each user in."""
    stages: dict[str, Stage] = {}
    begin = [request("/signin/begin", {"userId": each.user_id, **PAGE}, headers=keys.public) for each in passkeys]
    stages["signin/begin"], answers = run(server, begin, connections=connections)
    authenticator = SoftwareAuthenticator(counts=True)
    responses = [
        authenticator.sign_in(answer["data"], origin=ORIGIN, credential=each.credential)
        for each, answer in zip(passkeys, answers, strict=True)
    ]
    complete = _completions("/signin/complete", answers, responses, keys)
    stages["signin/complete"], answers = run(server, complete, connections=connections)
    if verify:
        tokens = [request("/signin/verify", {"token": answer["token"]}, headers=keys.secret) for answer in answers]
        stages["signin/verify"], _ = run(server, tokens, connections=connections)
    return stages


def _completions(path: str, begun: Sequence[Json], responses: Sequence[Json], keys: Keys) -> list[bytes]:
    return [
        request(path, {"session": answer["session"], "response": response, **PAGE}, headers=keys.public)
        for answer, response in zip(begun, responses, strict=True)
    ]
