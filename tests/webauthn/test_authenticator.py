"""What is known of an authenticator: claims stay claims, and what vouches says what for."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from narthex.webauthn.authenticator import ATTESTATION_KEY_COMPROMISE, NO_STANDING, AuthenticatorFacts, facts_of
from narthex.webauthn.metadata import FidoLevel, MetadataEntry, Standing, StatusReport, in_hardware

AAGUID = bytes(range(16))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry_of(**changes: Any) -> MetadataEntry:
    told = {"aaguid": AAGUID, "protocol": "fido2", "name": "Test Key", "key_protection": ("hardware", "tee")}
    return MetadataEntry(**told | changes)


def facts(**changes: Any) -> AuthenticatorFacts:
    told = {
        "aaguid": AAGUID,
        "attestation_format": "packed",
        "attested": True,
        "alg": -7,
        "backup_eligible": False,
        "entry": entry_of(),
        "now": NOW,
    }
    return facts_of(**told | changes)


def entry_with_status(status: str) -> MetadataEntry:
    return entry_of(statuses=(StatusReport(status),))


# --- hardware: who vouches decides ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("described", "vouched", "expected"),
    [
        (True, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
    ],
    ids=["metadata", "metadata denies", "operator", "operator does not"],
)
def test_who_vouches_says_whether_keys_stay_in_hardware(described: bool, vouched: bool | None, expected: bool) -> None:
    entry = entry_of() if described else entry_of(key_protection=("software",))
    assert described == in_hardware(entry)
    assert expected == facts(entry=entry, vouched_hardware=vouched).hardware


@pytest.mark.parametrize("vouched", [None, False, True])
def test_a_claim_is_never_hardware(vouched: bool | None) -> None:
    assert not facts(attested=False, vouched_hardware=vouched).hardware


def test_an_attested_model_without_metadata_is_hardware_by_its_operators_word_alone() -> None:
    assert [False, False, True] == [facts(entry=None, vouched_hardware=v).hardware for v in (None, False, True)]


# --- attestation keys that got out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vouched", [None, True])
def test_attestation_is_worth_nothing_once_the_models_attestation_keys_are_out(vouched: bool | None) -> None:
    got = facts(entry=entry_with_status(ATTESTATION_KEY_COMPROMISE), vouched_hardware=vouched)
    assert (False, False) == (got.attested, got.hardware)
    assert {ATTESTATION_KEY_COMPROMISE} == got.standing.bad


@pytest.mark.parametrize("status", ["REVOKED", "USER_VERIFICATION_BYPASS", "USER_KEY_REMOTE_COMPROMISE"])
def test_any_other_bad_status_leaves_the_attestation_what_it_is(status: str) -> None:
    got = facts(entry=entry_with_status(status))
    assert (True, True, {status}) == (got.attested, got.hardware, got.standing.bad)


# --- good news only when attested -------------------------------------------------------------------------------------


def known(*, attested: bool, **changes: Any) -> AuthenticatorFacts:
    told = {
        "aaguid": AAGUID,
        "attestation_format": "packed",
        "attested": attested,
        "hardware": False,
        "alg": -7,
        "backup_eligible": False,
        "entry": entry_of(key_protection=("software",)),
        "standing": Standing(bad=frozenset({"REVOKED"}), fido=FidoLevel.L2, fips=3),
    }
    return AuthenticatorFacts(**told | changes)


def test_an_attested_model_has_the_merits_of_its_entry() -> None:
    got = known(attested=True)
    assert (FidoLevel.L2, 3, ("software",), True) == (got.certified, got.fips, got.key_protection, got.software)


def test_a_claimed_model_has_none_of_its_merits_and_all_of_its_faults() -> None:
    got = known(attested=False)
    assert (None, None, (), False) == (got.certified, got.fips, got.key_protection, got.software)
    assert {"REVOKED"} == got.standing.bad


def test_hardware_is_not_software_though_an_entry_says_so() -> None:
    assert not known(attested=True, hardware=True).software


def test_a_model_without_metadata_has_no_standing() -> None:
    got = facts(entry=None)
    assert (NO_STANDING, None, None, ()) == (got.standing, got.certified, got.fips, got.key_protection)


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"aaguid": bytes(15)},
        {"attested": False, "hardware": True},
        {"standing": Standing(bad=frozenset({ATTESTATION_KEY_COMPROMISE}), fido=None, fips=None)},
    ],
    ids=["short aaguid", "hardware unattested", "attested by keys that are out"],
)
def test_facts_that_contradict_each_other_are_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"aaguid|claim|compromised"):
        known(**{"attested": True} | wrong)


def test_whatever_is_put_in_the_facts_agree() -> None:
    entries = (None, entry_of(), entry_of(key_protection=("software",)), entry_with_status(ATTESTATION_KEY_COMPROMISE))
    for attested, entry, vouched in product((False, True), entries, (None, False, True)):
        got = facts(attested=attested, entry=entry, vouched_hardware=vouched)
        assert got.hardware <= got.attested <= attested
