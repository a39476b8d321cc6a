"""What an application asks of authenticators: every rule in every mode, and what must hold of any policy."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.webauthn.authenticator import ATTESTATION_KEY_COMPROMISE, AuthenticatorFacts
from narthex.webauthn.authenticator_policy import (
    RULES,
    AlgorithmNotAccepted,
    AttestationRequired,
    AuthenticatorCompromised,
    AuthenticatorNotAllowed,
    AuthenticatorPolicy,
    CertificationRequired,
    DeviceBoundRequired,
    Finding,
    MetadataStale,
    Mode,
    Occasion,
    PasskeyLimitReached,
    PolicyInvalid,
    Verdict,
    checked,
    judge,
    mode_of,
    needs_attestation,
    offered_algorithms,
)
from narthex.webauthn.cose import ALGORITHMS
from narthex.webauthn.metadata import FidoLevel, Standing

MODEL, OTHER = bytes(range(16)), bytes(16)
GOOD, UNKNOWN = Standing(bad=frozenset(), fido=FidoLevel.L2, fips=2), Standing(bad=frozenset(), fido=None, fips=None)
REVOKED = Standing(bad=frozenset({"REVOKED"}), fido=FidoLevel.L2, fips=2)

ALL_OFF = {rule.replace("-", "_"): Mode.OFF for rule in RULES}
MEASURES: dict[str, Any] = {
    "minimum_certification": "L2",
    "minimum_fips": 2,
    "allowed_algorithms": (-7,),
    "most_passkeys": 3,
}


def policy_of(**modes: Any) -> AuthenticatorPolicy:
    """Every rule off but those that are named."""
    return checked(AuthenticatorPolicy(**ALL_OFF | MEASURES | modes))


def facts_of(**changes: Any) -> AuthenticatorFacts:
    """An authenticator to which no rule objects."""
    told = {
        "aaguid": MODEL,
        "attestation_format": "packed",
        "attested": True,
        "hardware": False,
        "alg": -7,
        "backup_eligible": False,
        "standing": GOOD,
    }
    return AuthenticatorFacts(**told | changes)


def verdict(policy: AuthenticatorPolicy, *, occasion: Occasion = Occasion.REGISTRATION, **case: Any) -> Verdict:
    """Judge the authenticator to which no rule objects, but for what is changed."""
    told = {"allowed": frozenset({MODEL}), "denied": frozenset({OTHER}), "metadata_fresh": True, "passkeys": 2}
    circumstances = {name: case.pop(name, value) for name, value in told.items()}
    return judge(policy, facts_of(**case), occasion=occasion, **circumstances)


OBJECTIONABLE: dict[str, list[tuple[dict[str, Any], type[Exception]]]] = {
    "deny-list": [
        ({"denied": frozenset({MODEL})}, AuthenticatorNotAllowed),
        ({"denied": frozenset({MODEL}), "attested": False}, AuthenticatorNotAllowed),
    ],
    "bad-status": [
        ({"standing": REVOKED}, AuthenticatorCompromised),
        ({"standing": REVOKED, "attested": False}, AuthenticatorCompromised),
    ],
    "attestation": [({"attested": False}, AttestationRequired)],
    "allow-list": [
        ({"attested": False}, AttestationRequired),
        ({"allowed": frozenset({OTHER})}, AuthenticatorNotAllowed),
        ({"allowed": frozenset({OTHER}), "attested": False}, AttestationRequired),
        ({"names_model": False}, AttestationRequired),
    ],
    "certification": [
        ({"attested": False}, AttestationRequired),
        ({"standing": UNKNOWN}, CertificationRequired),
        ({"standing": Standing(bad=frozenset(), fido=FidoLevel.L1plus, fips=2)}, CertificationRequired),
    ],
    "fips": [
        ({"attested": False}, AttestationRequired),
        ({"standing": UNKNOWN}, CertificationRequired),
        ({"standing": Standing(bad=frozenset(), fido=FidoLevel.L2, fips=1)}, CertificationRequired),
    ],
    "device-bound": [
        ({"backup_eligible": True}, DeviceBoundRequired),
        ({"backup_eligible": True, "attested": False}, DeviceBoundRequired),
    ],
    "algorithms": [({"alg": -257}, AlgorithmNotAccepted)],
    "fresh-metadata": [({"metadata_fresh": False}, MetadataStale)],
    "passkeys-per-user": [({"passkeys": 3}, PasskeyLimitReached), ({"passkeys": 4}, PasskeyLimitReached)],
}
"""Rule → what it objects to, and with what refusal."""

AT_REGISTRATION_ONLY = {"passkeys-per-user"}
REFUSES = {
    (Mode.OFF, Occasion.REGISTRATION): None,
    (Mode.OFF, Occasion.SIGN_IN): None,
    (Mode.MONITOR, Occasion.REGISTRATION): False,
    (Mode.MONITOR, Occasion.SIGN_IN): False,
    (Mode.ENFORCE_NEW, Occasion.REGISTRATION): True,
    (Mode.ENFORCE_NEW, Occasion.SIGN_IN): False,
    (Mode.ENFORCE, Occasion.REGISTRATION): True,
    (Mode.ENFORCE, Occasion.SIGN_IN): True,
}
"""Does an objection refuse? None: there is none."""

EXAMPLES = [(rule, case, kind) for rule, cases in OBJECTIONABLE.items() for case, kind in cases]


def test_every_rule_has_an_example_and_a_mode() -> None:
    assert list(RULES) == list(OBJECTIONABLE)
    assert {Mode.OFF} == {mode_of(policy_of(), rule) for rule in RULES}


@pytest.mark.parametrize(("mode", "occasion"), REFUSES)
@pytest.mark.parametrize(
    ("rule", "case", "kind"), EXAMPLES, ids=[f"{rule}-{i}" for i, (rule, *_) in enumerate(EXAMPLES)]
)
def test_a_rule_objects_as_its_mode_says(
    rule: str, case: dict[str, Any], kind: type[Exception], mode: Mode, occasion: Occasion
) -> None:
    refuses = REFUSES[mode, occasion]
    if occasion is Occasion.SIGN_IN and rule in AT_REGISTRATION_ONLY:
        refuses = None
    got = verdict(policy_of(**{rule.replace("-", "_"): mode}), occasion=occasion, **case)
    assert got.findings == (() if refuses is None else (Finding(rule, refuses),))
    assert got.monitored == ((rule,) if refuses is False else ())
    assert type(got.refusal) is (kind if refuses else type(None))


@pytest.mark.parametrize("occasion", Occasion)
def test_an_authenticator_to_which_no_rule_objects_passes_them_all(occasion: Occasion) -> None:
    policy = policy_of(**dict.fromkeys(ALL_OFF, Mode.ENFORCE))
    assert Verdict() == verdict(policy, occasion=occasion)


def test_an_empty_allow_list_asks_nothing() -> None:
    assert Verdict() == verdict(policy_of(allow_list=Mode.ENFORCE), allowed=frozenset(), attested=False)


def test_attestation_by_keys_that_are_out_is_a_mere_claim() -> None:
    out = Standing(bad=frozenset({ATTESTATION_KEY_COMPROMISE}), fido=FidoLevel.L2, fips=2)
    got = verdict(policy_of(bad_status=Mode.MONITOR, allow_list=Mode.ENFORCE), standing=out, attested=False)
    assert (Finding("bad-status", False), Finding("allow-list", True)) == got.findings
    assert isinstance(got.refusal, AttestationRequired)


def test_all_objections_are_told_and_the_first_that_is_enforced_refuses() -> None:
    policy = policy_of(deny_list=Mode.MONITOR, device_bound=Mode.ENFORCE, algorithms=Mode.ENFORCE)
    got = verdict(policy, denied=frozenset({MODEL}), backup_eligible=True, alg=-257)
    expected = (Finding("deny-list", False), Finding("device-bound", True), Finding("algorithms", True))
    assert expected == got.findings
    assert isinstance(got.refusal, DeviceBoundRequired)
    assert ("deny-list",) == got.monitored


def test_a_refusal_tells_the_model_and_what_was_asked() -> None:
    got = verdict(policy_of(certification=Mode.ENFORCE), standing=UNKNOWN).refusal
    assert got is not None
    model = "`00010203-0405-0607-0809-0a0b0c0d0e0f`"
    expected = f"authenticator model {model} has no FIDO level, and the application asks for FIDO L2"
    assert (expected, {"required": "FIDO L2"}) == (str(got), got.details)


# --- what must hold of any policy -------------------------------------------------------------------------------------


STRICTNESS = (Mode.OFF, Mode.MONITOR, Mode.ENFORCE_NEW, Mode.ENFORCE)
RULE = st.sampled_from(sorted(RULES))
POLICIES = st.fixed_dictionaries({member: st.sampled_from(Mode) for member in ALL_OFF}).map(lambda m: policy_of(**m))
FACTS = st.fixed_dictionaries(
    {
        "attested": st.booleans(),
        "backup_eligible": st.booleans(),
        "alg": st.sampled_from([-7, -257]),
        "standing": st.sampled_from([GOOD, UNKNOWN, REVOKED]),
        "allowed": st.sampled_from([frozenset(), frozenset({MODEL}), frozenset({OTHER})]),
        "denied": st.sampled_from([frozenset(), frozenset({MODEL})]),
        "metadata_fresh": st.booleans(),
        "passkeys": st.integers(0, 4),
    }
)
OCCASIONS = st.sampled_from(Occasion)


@given(POLICIES, FACTS, OCCASIONS, RULE)
def test_a_rule_that_is_off_never_objects(
    policy: AuthenticatorPolicy, case: dict[str, Any], occasion: Occasion, rule: str
) -> None:
    got = verdict(with_mode(policy, rule, Mode.OFF), occasion=occasion, **case)
    assert rule not in {finding.rule for finding in got.findings}


@given(POLICIES, FACTS, OCCASIONS, RULE, st.sampled_from(Mode))
def test_enforcing_more_never_allows_more(
    policy: AuthenticatorPolicy, case: dict[str, Any], occasion: Occasion, rule: str, mode: Mode
) -> None:
    stricter = max(mode, mode_of(policy, rule), key=STRICTNESS.index)
    before = verdict(policy, occasion=occasion, **case)
    after = verdict(with_mode(policy, rule, stricter), occasion=occasion, **case)
    assert refusing(before) <= refusing(after)
    assert objecting(before) <= objecting(after)
    assert (after.refusal is None) <= (before.refusal is None)


@given(POLICIES, FACTS, OCCASIONS)
def test_there_is_a_refusal_exactly_where_a_rule_refuses(
    policy: AuthenticatorPolicy, case: dict[str, Any], occasion: Occasion
) -> None:
    got = verdict(policy, occasion=occasion, **case)
    assert bool(refusing(got)) == (got.refusal is not None)
    assert objecting(got) == {*got.monitored} | refusing(got)


@given(POLICIES, FACTS)
def test_a_sign_in_is_never_judged_harder_than_a_registration(
    policy: AuthenticatorPolicy, case: dict[str, Any]
) -> None:
    sign_in = verdict(policy, occasion=Occasion.SIGN_IN, **case)
    assert refusing(sign_in) <= refusing(verdict(policy, **case))


@given(POLICIES, FACTS, OCCASIONS)
def test_attestation_never_adds_an_objection_of_the_rules_that_it_satisfies(
    policy: AuthenticatorPolicy, case: dict[str, Any], occasion: Occasion
) -> None:
    claimed = verdict(policy, occasion=occasion, **case | {"attested": False})
    assert objecting(verdict(policy, occasion=occasion, **case | {"attested": True})) <= objecting(claimed)


@given(FACTS, OCCASIONS)
def test_a_fact_that_is_only_claimed_never_satisfies(case: dict[str, Any], occasion: Occasion) -> None:
    """Of an unattested authenticator every rule that attestation can satisfy objects, whatever else is said of it."""
    case |= {"attested": False, "allowed": case["allowed"] or frozenset({MODEL})}
    got = verdict(policy_of(**dict.fromkeys(ALL_OFF, Mode.MONITOR)), occasion=occasion, **case)
    assert {name for name, rule in RULES.items() if rule.needs_attestation} <= objecting(got)


@given(FACTS, OCCASIONS)
def test_a_bad_word_counts_on_the_mere_claim(case: dict[str, Any], occasion: Occasion) -> None:
    policy = policy_of(deny_list=Mode.ENFORCE, bad_status=Mode.ENFORCE, device_bound=Mode.ENFORCE)
    claimed, attested = (verdict(policy, occasion=occasion, **case | {"attested": a}) for a in (False, True))
    assert claimed.findings == attested.findings


@given(POLICIES, FACTS)
def test_fewer_measures_are_met_the_more_is_asked(policy: AuthenticatorPolicy, case: dict[str, Any]) -> None:
    more = msgspec.structs.replace(policy, minimum_certification="L3", minimum_fips=3, most_passkeys=1)
    assert objecting(verdict(policy, **case)) <= objecting(verdict(more, **case))


def with_mode(policy: AuthenticatorPolicy, rule: str, mode: Mode) -> AuthenticatorPolicy:
    return msgspec.structs.replace(policy, **{rule.replace("-", "_"): mode})


def refusing(verdict: Verdict) -> set[str]:
    return {finding.rule for finding in verdict.findings if finding.refused}


def objecting(verdict: Verdict) -> set[str]:
    return {finding.rule for finding in verdict.findings}


# --- what to ask for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "mode", "used"), list(product(RULES, Mode, (False, True))))
def test_attestation_is_asked_for_where_a_rule_that_is_on_cannot_be_satisfied_without(
    rule: str, mode: Mode, used: bool
) -> None:
    expected = mode is not Mode.OFF and rule in {"attestation", "certification", "fips", *(["allow-list"] * used)}
    assert expected == needs_attestation(policy_of(**{rule.replace("-", "_"): mode}), allow_list_used=used)


def test_by_default_nobody_is_asked_for_attestation_unless_there_is_an_allow_list() -> None:
    assert [False, True] == [needs_attestation(AuthenticatorPolicy(), allow_list_used=used) for used in (False, True)]


@given(POLICIES, FACTS)
def test_where_attestation_is_not_asked_for_none_is_missed(policy: AuthenticatorPolicy, case: dict[str, Any]) -> None:
    if not needs_attestation(policy, allow_list_used=bool(case["allowed"])):
        assert objecting(verdict(policy, **case | {"attested": False})) == objecting(
            verdict(policy, **case | {"attested": True})
        )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.OFF, (-8, -7, -257)),
        (Mode.MONITOR, (-8, -7, -257)),
        (Mode.ENFORCE_NEW, (-8, -257)),
        (Mode.ENFORCE, (-8, -257)),
    ],
)
def test_the_offer_is_narrowed_where_the_rule_refuses_new_passkeys(mode: Mode, expected: tuple[int, ...]) -> None:
    policy = policy_of(algorithms=mode, allowed_algorithms=(-257, -8))
    assert expected == offered_algorithms(policy, (-8, -7, -257))


def test_the_offer_is_never_empty() -> None:
    """A browser would read an empty offer as its own choice."""
    policy = policy_of(algorithms=Mode.ENFORCE, allowed_algorithms=(-53,))
    assert (-53,) == offered_algorithms(policy, (-8, -7, -257))


# --- what comes in ----------------------------------------------------------------------------------------------------


def test_the_defaults_can_be_followed() -> None:
    assert AuthenticatorPolicy() == checked(AuthenticatorPolicy())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("minimum_certification", level.name) for level in FidoLevel),
        ("minimum_fips", 1),
        ("minimum_fips", 4),
        ("most_passkeys", 1),
        ("most_passkeys", 100),
        ("allowed_algorithms", tuple(ALGORITHMS)),
    ],
)
def test_what_can_be_followed_is_given_back(member: str, value: Any) -> None:
    assert value == getattr(policy_of(**{member: value}), member)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("minimum_certification", "L4"),
        ("minimum_certification", "l1"),
        ("minimum_certification", ""),
        ("minimum_fips", 0),
        ("minimum_fips", 5),
        ("most_passkeys", 0),
        ("most_passkeys", 101),
        ("allowed_algorithms", (-7, 7)),
        ("allowed_algorithms", (-65535,)),
        ("allowed_algorithms", (-7, -7)),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_name(member: str, value: Any) -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        policy_of(**{member: value})
    assert {"member": member} == refusal.value.details


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.OFF])
def test_a_rule_that_would_accept_no_algorithm_is_refused(mode: Mode) -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        policy_of(algorithms=mode, allowed_algorithms=())
    assert {"member": "allowed_algorithms"} == refusal.value.details


def test_a_policy_is_read_as_it_was_kept_and_an_older_one_with_our_defaults() -> None:
    policy = policy_of(fips=Mode.ENFORCE, algorithms=Mode.MONITOR)
    assert policy == msgspec.json.decode(msgspec.json.encode(policy), type=AuthenticatorPolicy)
    assert AuthenticatorPolicy() == msgspec.json.decode(b"{}", type=AuthenticatorPolicy)
