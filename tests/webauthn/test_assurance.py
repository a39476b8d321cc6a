"""What a sign-in is worth: the whole table, against the rules told plainly, and what must hold whatever it says.

`assurance_table.txt` beside this file shows the levels: a change of what a passkey is worth is a readable diff of it.
After a change that is meant, write it anew with
`NARTHEX_WRITE_SNAPSHOTS=1 .venv/bin/pytest tests/webauthn/test_assurance.py -n 0`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.webauthn.assurance import CEILINGS, ROWS, Assurance, Level, Method, assure, level_of, unproven
from narthex.webauthn.authenticator import ATTESTATION_KEY_COMPROMISE, AuthenticatorFacts
from narthex.webauthn.metadata import FidoLevel, Standing
from tests.webauthn.test_authenticator import AAGUID, entry_of

SNAPSHOT = Path(__file__).with_name("assurance_table.txt")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

BYPASS, PHYSICAL = "USER_VERIFICATION_BYPASS", "USER_KEY_PHYSICAL_COMPROMISE"
REMOTE, REVOKED = "USER_KEY_REMOTE_COMPROMISE", "REVOKED"
STATUSES = (ATTESTATION_KEY_COMPROMISE, BYPASS, PHYSICAL, REMOTE, REVOKED)

CLAIMED, ATTESTED, SOFTWARE, HARDWARE, FIPS = "claimed", "attested", "software", "hardware", "fips"
EVIDENCE = (CLAIMED, ATTESTED, SOFTWARE, HARDWARE, FIPS)

KEY_PROTECTION = {SOFTWARE: ("software",), HARDWARE: ("hardware", "secure_element"), FIPS: ("hardware", "tee")}


def facts_of_evidence(evidence: str, bad: frozenset[str] = frozenset(), *, exportable: bool = False) -> Any:
    attested = evidence != CLAIMED and ATTESTATION_KEY_COMPROMISE not in bad
    return AuthenticatorFacts(
        aaguid=AAGUID,
        attestation_format="packed",
        attested=attested,
        hardware=attested and evidence in (HARDWARE, FIPS),
        alg=-7,
        backup_eligible=exportable,
        # What is only claimed claims the best there is.
        entry=entry_of(key_protection=KEY_PROTECTION.get(evidence, ("hardware",) if evidence == CLAIMED else ("tee",))),
        standing=Standing(bad=bad, fido=FidoLevel.L2, fips=1 if evidence in (CLAIMED, FIPS) else None),
    )


def level(
    *,
    up: bool = True,
    uv: bool = True,
    exportable: bool = False,
    evidence: str = HARDWARE,
    bad: frozenset[str] = frozenset(),
    strict: bool = False,
) -> Level:
    facts = facts_of_evidence(evidence, bad, exportable=exportable)
    return level_of(Method.PASSKEY, up=up, uv=uv, exportable=exportable, facts=facts, fips_required=strict)


def every_case() -> Iterator[dict[str, Any]]:
    subsets = chain.from_iterable(combinations(STATUSES, size) for size in range(len(STATUSES) + 1))
    flags = (False, True)
    for bad, up, uv, exportable, strict, evidence in product(subsets, flags, flags, flags, flags, EVIDENCE):
        yield {
            "up": up,
            "uv": uv,
            "exportable": exportable,
            "evidence": evidence,
            "bad": frozenset(bad),
            "strict": strict,
        }


CASES = list(every_case())
CEREMONIES = (Method.PASSKEY, Method.REGISTRATION)
NO_CEREMONIES = [method for method in Method if method not in CEREMONIES]


def told_plainly(
    *, up: bool, uv: bool, exportable: bool, evidence: str, bad: frozenset[str], strict: bool
) -> tuple[int, str | None, str]:
    """The rules once more, as a person would tell them: AAL, acr, amr."""
    if bad & {REVOKED, REMOTE}:
        return 0, None, ""
    if bad & {BYPASS, PHYSICAL}:
        uv = False
    if ATTESTATION_KEY_COMPROMISE in bad:
        evidence = CLAIMED
    swk = "swk " if evidence == SOFTWARE else ""
    if not uv:
        return (1, "phr", f"{swk}pop user") if up else (0, None, "")
    if not up:
        return 2, "phr", f"{swk}pop mfa"
    if exportable or evidence not in (HARDWARE, FIPS):
        return 2, "phr", f"{swk}pop user mfa"
    return 2 if strict and evidence != FIPS else 3, "phrh", "hwk pop user mfa"


def test_every_case_is_what_the_rules_say_plainly() -> None:
    wrong = []
    for case in CASES:
        got = level(**case)
        if told_plainly(**case) != (got.aal, got.acr, " ".join(got.amr)):
            wrong.append((case, got))
    assert [] == wrong
    assert 2**5 * 2**4 * 5 == len(CASES)


def test_the_table_is_as_it_was_written_down() -> None:
    if os.environ.get("NARTHEX_WRITE_SNAPSHOTS"):
        SNAPSHOT.write_text(shown())
    assert SNAPSHOT.read_text() == shown()


def shown() -> str:
    lines = ["up uv be evidence   plain                              strict (FIPS required)"]
    for up, uv, exportable, evidence in product((1, 0), (1, 0), (0, 1), EVIDENCE):
        flags = {"up": bool(up), "uv": bool(uv), "exportable": bool(exportable), "evidence": evidence}
        plain, strict = level_shown(level(**flags)), level_shown(level(**flags, strict=True))
        lines.append(f" {up}  {uv}  {exportable} {evidence:<10} {plain:<34} {strict}")
    lines += ["", "status of a model with be=0, in hardware            up=1 uv=1                          up=1 uv=0"]
    for status in STATUSES:
        bad = frozenset({status})
        lines.append(f"{status:<51} {level_shown(level(bad=bad)):<34} {level_shown(level(bad=bad, uv=False))}".rstrip())
    lines += ["", "other methods"]
    lines += [
        f"{method.value:<19} {level_shown(level_of(method, up=True, uv=True))}"
        for method in Method
        if method is not Method.PASSKEY
    ]
    return "\n".join(lines) + "\n"


def level_shown(level: Level) -> str:
    return f"aal{level.aal} {level.acr or '-':<4} {' '.join(level.amr) or '-'}"


# --- what must hold, whatever the table says --------------------------------------------------------------------------


MORE_PROOF = {
    "presence": lambda case: case | {"up": True},
    "verification": lambda case: case | {"uv": True},
    "a key that stays": lambda case: case | {"exportable": False},
    "attestation": lambda case: case | {"evidence": ATTESTED} if case["evidence"] == CLAIMED else case,
    "hardware": lambda case: case | {"evidence": HARDWARE} if case["evidence"] != FIPS else case,
    "fips": lambda case: case | {"evidence": FIPS},
    "a better standing": lambda case: case | {"bad": frozenset(sorted(case["bad"])[1:])},
    "less asked": lambda case: case | {"strict": False},
}


@pytest.mark.parametrize("proof", MORE_PROOF)
def test_more_proof_never_lowers_a_level(proof: str) -> None:
    assert [] == [case for case in CASES if strength(case) > strength(MORE_PROOF[proof](case))]


def strength(case: dict[str, Any]) -> tuple[int, int, bool]:
    got = level(**case)
    return got.aal, ["phrh", "phr", None][::-1].index(got.acr), got.hw


SHORT: list[dict[str, Any]] = [
    {"up": False},
    {"uv": False},
    {"exportable": True},
    *({"evidence": evidence} for evidence in (CLAIMED, ATTESTED, SOFTWARE)),
    *({"bad": frozenset({status})} for status in STATUSES),
]


@pytest.mark.parametrize("short", SHORT, ids=str)
def test_what_is_short_of_one_proof_is_never_aal3_and_never_phrh(short: dict[str, Any]) -> None:
    levels = [level(**case | short) for case in CASES]
    assert {0, 1, 2} >= {each.aal for each in levels}
    assert {"phr", None} >= {each.acr for each in levels}


def test_phrh_and_hwk_are_said_of_hardware_alone_and_phr_wherever_there_is_an_acr() -> None:
    for case in CASES:
        got = level(**case)
        assert (got.hw, got.hw) == (got.acr == "phrh", "hwk" in got.amr)
        assert got.phr == (got.acr is not None) == (got.aal > 0)


def test_a_passkey_of_which_nothing_is_known_reaches_aal2() -> None:
    assert 2 == level_of(Method.PASSKEY, up=True, uv=True, exportable=False).aal


@pytest.mark.parametrize("method", [method for method in Method if method is not Method.PASSKEY])
def test_no_other_method_proves_anything(method: Method) -> None:
    got = level_of(method, up=True, uv=True, exportable=False, facts=facts_of_evidence(FIPS))
    assert (0, None, False, False) == (got.aal, got.acr, got.phr, got.hw)


def test_a_code_is_otp_and_a_link_is_nothing() -> None:
    assert (("otp",), ()) == (level_of(Method.RECOVERY_CODE).amr, level_of(Method.EMAIL_LINK).amr)


def test_every_bad_status_has_its_effect_in_one_place() -> None:
    assert {*STATUSES} == {*CEILINGS, ATTESTATION_KEY_COMPROMISE}


def test_rows_go_from_the_highest_to_none_and_each_can_be_reached() -> None:
    """A row after one that asks for less would never be read."""
    assert sorted(ROWS, key=lambda row: -row.level.aal) == list(ROWS)
    assert frozenset() == ROWS[-1].proofs
    for at, row in enumerate(ROWS):
        assert not [earlier for earlier in ROWS[:at] if earlier.proofs <= row.proofs]


# --- the record -------------------------------------------------------------------------------------------------------


def sign_in(method: Method = Method.PASSKEY, **changes: Any) -> Assurance:
    told = {
        "assurance_id": bytes(range(16)),
        "facts": facts_of_evidence(FIPS),
        "up": True,
        "uv": True,
        "be": False,
        "bs": False,
        "credential_id": b"credential",
        "credential_created_at": NOW,
        "rp_id": "example.org",
        "origin": "https://example.org",
        "transports": ("usb", "nfc"),
        "attachment": "cross-platform",
        "auth_time": NOW,
        "ip": "192.0.2.1",
        "device": "Firefox on Linux",
        "mds_number": 7,
        "mds_stale": False,
        "findings": ("sign-count",),
    }
    return assure(method, **told | changes)


def test_a_sign_in_with_an_attested_key_is_recorded_with_its_evidence() -> None:
    got = sign_in()
    assert (3, "phrh", ("hwk", "pop", "user", "mfa"), True, True) == (got.aal, got.acr, got.amr, got.phr, got.hw)
    assert (True, AAGUID, ("hardware", "tee")) == (got.attested, got.aaguid, got.key_protection)
    assert ("Test Key", "FIDO_CERTIFIED_L2", 1, ()) == (got.model, got.certified, got.fips, got.statuses)


def test_a_model_that_is_only_claimed_is_shown_and_lends_none_of_its_merits() -> None:
    got = sign_in(facts=facts_of_evidence(CLAIMED))
    assert (2, False, AAGUID, "Test Key") == (got.aal, got.attested, got.aaguid, got.model)
    assert ((), None, None) == (got.key_protection, got.certified, got.fips)


def test_a_bad_status_is_recorded_and_counts_though_the_model_is_only_claimed() -> None:
    got = sign_in(facts=facts_of_evidence(CLAIMED, frozenset({REVOKED, BYPASS})))
    assert (0, None, (REVOKED, BYPASS)) == (got.aal, got.acr, got.statuses)


def test_a_key_that_was_exportable_once_stays_so() -> None:
    """A change of BE may be let pass, and must not be a way up."""
    registered, now = facts_of_evidence(HARDWARE, exportable=True), facts_of_evidence(HARDWARE)
    assert [2, 2, 3] == [
        sign_in(facts=registered, be=False).aal,
        sign_in(facts=now, be=True).aal,
        sign_in(facts=now, be=False).aal,
    ]


def test_a_registration_records_what_it_saw_and_is_worth_nothing() -> None:
    got = sign_in(Method.REGISTRATION)
    assert (0, None, (), False, False) == (got.aal, got.acr, got.amr, got.phr, got.hw)
    assert (True, True, False, True, "Test Key") == (got.up, got.uv, got.be, got.attested, got.model)


@pytest.mark.parametrize("method", NO_CEREMONIES)
def test_another_way_in_observes_no_authenticator(method: Method) -> None:
    got = unproven(method, assurance_id=bytes(16), auth_time=NOW, ip="192.0.2.1", device="curl")
    assert (0, None, False, False) == (got.aal, got.acr, got.phr, got.hw)
    assert (False, False, None, None) == (got.up, got.uv, got.be, got.bs)
    assert (False, None, None, None) == (got.attested, got.aaguid, got.credential_id, got.certified)


def test_a_record_is_not_made_by_the_wrong_door() -> None:
    with pytest.raises(ValueError, match="is a ceremony"):
        unproven(Method.PASSKEY, assurance_id=bytes(16), auth_time=NOW)
    with pytest.raises(ValueError, match="is no ceremony"):
        sign_in(Method.MANUAL)


RECORDS = st.builds(
    sign_in,
    st.sampled_from(CEREMONIES),
    facts=st.builds(facts_of_evidence, st.sampled_from(EVIDENCE), st.frozensets(st.sampled_from(STATUSES))),
    up=st.booleans(),
    uv=st.booleans(),
    be=st.booleans(),
    bs=st.booleans(),
    transports=st.lists(st.text()).map(tuple),
    attachment=st.none() | st.text(),
    auth_time=st.datetimes(timezones=st.just(UTC)),
    device=st.text(),
    mds_number=st.integers(0, 2**31),
    findings=st.lists(st.text()).map(tuple),
) | st.builds(
    unproven,
    st.sampled_from(NO_CEREMONIES),
    assurance_id=st.binary(min_size=16, max_size=16),
    auth_time=st.datetimes(timezones=st.just(UTC)),
)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: Assurance) -> None:
    assert record == msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Assurance)
    assert record == msgspec.json.decode(msgspec.json.encode(record), type=Assurance)


def test_a_record_of_before_its_last_fields_is_read_with_their_defaults() -> None:
    """An older server wrote fewer; what it wrote keeps its place."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(sign_in()))
    required = [field.name for field in msgspec.structs.fields(Assurance) if field.required]
    got = msgspec.msgpack.decode(msgspec.msgpack.encode(fields[: len(required)]), type=Assurance)
    assert msgspec.structs.replace(sign_in(), ip="", device="", mds_number=0, findings=()) == got


def test_a_record_of_after_our_last_field_is_read_as_far_as_we_know() -> None:
    """A newer server wrote more, and an older one beside it reads on."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(sign_in()))
    assert sign_in() == msgspec.msgpack.decode(msgspec.msgpack.encode([*fields, "new"]), type=Assurance)


def test_fields_keep_their_places() -> None:
    """They travel by place: append to this list, and change nothing before the end."""
    expected = """
        assurance_id method aal acr amr phr hw up uv be bs attested aaguid model key_protection certified fips statuses
        credential_id credential_created_at rp_id origin transports attachment auth_time ip device mds_number mds_stale
        findings
    """
    assert expected.split() == [field.name for field in msgspec.structs.fields(Assurance)]
