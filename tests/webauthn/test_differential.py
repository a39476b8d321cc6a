"""Our verdicts beside those of two other implementations: a new disagreement is a finding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.authenticator import ALGORITHMS, SoftwareAuthenticator
from tests.webauthn.cases import ASSERTIONS, REGISTRATIONS, Case
from tests.webauthn.ceremony import (
    ORIGIN,
    authentication_response,
    creation_options,
    registered,
    registration_response,
    request_options,
    verify_creation,
    verify_request,
)
from tests.webauthn.oracles import (
    accepts,
    fido2_registers,
    fido2_signs_in,
    py_webauthn_registers,
    py_webauthn_signs_in,
)

# What the oracles have no verification for; fido2 reads RS384, RS512, PS384 and PS512 keys and cannot use them.
UNKNOWN_TO_PY_WEBAUTHN = frozenset({-35, -9, -51, -52, -19, -53})
UNUSABLE_BY_FIDO2 = frozenset({-258, -259, -38, -39})


@pytest.fixture(autouse=True)
def _their_warnings_are_theirs() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("attestation", ["none", "packed-self", "packed-x5c"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_accept_an_honest_registration(algorithm: int, attestation: str) -> None:
    authenticator = SoftwareAuthenticator(seed=3, algorithm=algorithm, attestation=attestation)
    message = authenticator.register(creation_options(), origin=ORIGIN)
    assert verify_creation(registration_response(message)).alg == algorithm
    assert accepts(py_webauthn_registers, message) == (algorithm not in UNKNOWN_TO_PY_WEBAUTHN)
    assert accepts(fido2_registers, message)


@pytest.mark.parametrize("attestation", ["fido-u2f", "apple", "android-safetynet"])
def test_all_accept_an_honest_statement(attestation: str) -> None:
    now = datetime.now(UTC)
    message = SoftwareAuthenticator(seed=3, attestation=attestation).register(creation_options(), origin=ORIGIN)
    assert verify_creation(registration_response(message), now=now).attestation.format == attestation
    assert accepts(py_webauthn_registers, message)
    assert accepts(fido2_registers, message)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_accept_an_honest_assertion(algorithm: int) -> None:
    party = registered(algorithm, counts=True)
    message = party.authenticator.sign_in(request_options(), origin=ORIGIN)
    assert verify_request(authentication_response(message), party.stored).sign_count == 1
    assert accepts(py_webauthn_signs_in, message, party.stored) == (algorithm not in UNKNOWN_TO_PY_WEBAUTHN)
    assert accepts(fido2_signs_in, message, party.stored) == (algorithm not in UNUSABLE_BY_FIDO2)


def comparable(cases: tuple[Case, ...]) -> list[Case]:
    """Those where the message differs, not what the relying party wishes."""
    return [case for case in cases if case.lax is not None and not case.expect]


def split(knobs: Any) -> tuple[str, dict[str, Any]]:
    knobs = dict(knobs)
    return knobs.pop("origin", ORIGIN), knobs


@pytest.mark.parametrize("case", comparable(REGISTRATIONS), ids=str)
def test_only_known_laxities_let_a_faulty_registration_pass(case: Case) -> None:
    origin, knobs = split(case.knobs)
    authenticator = SoftwareAuthenticator(seed=1, algorithm=case.algorithm)
    message = authenticator.register(creation_options(), origin=origin, **knobs)
    verdicts = {"webauthn": accepts(py_webauthn_registers, message), "fido2": accepts(fido2_registers, message)}
    assert {name for name, accepted in verdicts.items() if accepted} == case.lax


@pytest.mark.parametrize("case", comparable(ASSERTIONS), ids=str)
def test_only_known_laxities_let_a_faulty_assertion_pass(case: Case) -> None:
    origin, knobs = split(case.knobs)
    party = registered(case.algorithm).with_stored(**case.stored)
    message = party.authenticator.sign_in(request_options(), origin=origin, **knobs)
    verdicts = {
        "webauthn": accepts(py_webauthn_signs_in, message, party.stored),
        "fido2": accepts(fido2_signs_in, message, party.stored),
    }
    assert {name for name, accepted in verdicts.items() if accepted} == case.lax
