"""Authentication, from the side of what is accepted and what is learnt; ``cases`` holds what is refused."""

from __future__ import annotations

import pytest

from narthex.webauthn.errors import SignatureInvalid, SignCountDecreased
from tests.support.authenticator import ALGORITHMS, SoftwareAuthenticator
from tests.webauthn.ceremony import ORIGIN, TOP_ORIGIN, creation_options, registered, request_options


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_in(algorithm: int) -> None:
    assert registered(algorithm).sign_in().user_verified


def test_an_honest_assertion_tells_what_to_write_back() -> None:
    verified = registered().sign_in(sign_count=9, uv=False, bs=False, extensions={"a": 1})
    assert verified.sign_count == 9
    assert verified.user_present
    assert not verified.user_verified
    assert verified.backup_eligible
    assert not verified.backup_state
    assert verified.extensions == {"a": 1}


@pytest.mark.parametrize(("stored", "received"), [(0, 0), (0, 1), (5, 6), (5, 2**32 - 1)])
def test_a_counter_that_rises_or_never_counts_is_accepted(stored: int, received: int) -> None:
    assert registered().with_stored(sign_count=stored).sign_in(sign_count=received).sign_count == received


def test_a_decreased_counter_is_told_only_once_the_signature_holds() -> None:
    """A forged counter must not lock an account, nor tell a stranger what is stored."""
    party = registered().with_stored(sign_count=5)
    with pytest.raises(SignatureInvalid):
        party.sign_in(sign_count=4, tampered=True)
    with pytest.raises(SignCountDecreased) as caught:
        party.sign_in(sign_count=4)
    assert caught.value.details == {"received": 4, "stored": 5}


@pytest.mark.parametrize("eligible", [False, True])
def test_a_backup_eligibility_never_recorded_is_learnt(eligible: bool) -> None:
    party = registered().with_stored(backup_eligible=None)
    assert party.sign_in(be=eligible, bs=False).backup_eligible is eligible


def test_the_backup_state_may_change() -> None:
    party = registered()
    assert party.sign_in(bs=True).backup_state
    assert not party.sign_in(bs=False).backup_state


def test_an_absent_user_handle_is_accepted_by_default() -> None:
    registered().sign_in(without_user_handle=True)


def test_a_user_handle_answers_who_it_is() -> None:
    registered().sign_in(expect={"user_handle_required": True})


def test_a_credential_that_was_asked_for_is_accepted() -> None:
    party = registered()
    party.sign_in(expect={"allowed_credentials": (b"another", party.stored.credential_id)})


def test_a_cross_origin_frame_is_accepted_under_an_expected_page() -> None:
    registered().sign_in(cross_origin=True, top_origin=TOP_ORIGIN, expect={"top_origins": (TOP_ORIGIN,)})


def test_the_software_authenticator_is_the_same_for_the_same_seed() -> None:
    def run() -> list[object]:
        authenticator = SoftwareAuthenticator(seed=5, attestation="packed-self", counts=True)
        return [
            authenticator.register(creation_options(), origin=ORIGIN),
            authenticator.sign_in(request_options(), origin=ORIGIN),
        ]

    assert run() == run()


def test_the_software_authenticator_uses_what_was_asked_for() -> None:
    authenticator = SoftwareAuthenticator()
    first, second = (authenticator.register({"publicKey": creation_options()}, origin=ORIGIN) for _ in range(2))
    asked = request_options(allowCredentials=[{"type": "public-key", "id": first["id"]}])
    assert authenticator.sign_in({"publicKey": asked}, origin=ORIGIN)["id"] == first["id"]
    assert authenticator.sign_in(request_options(), origin=ORIGIN)["id"] == second["id"]
    with pytest.raises(LookupError):
        authenticator.sign_in(request_options(rpId="example.net"), origin=ORIGIN)
