"""The format `compound`: several statements about one credential, all of which hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import FORMATS, AttestationType, Evidence
from narthex.webauthn.attestation.compound import MAX_PARTS
from narthex.webauthn.attestation_object import PARTS, parse_attestation_object
from narthex.webauthn.messages import RegistrationResponse
from narthex.webauthn.registration import VerifiedRegistration
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import maker
from tests.webauthn.cases import Case, check_registration_refused
from tests.webauthn.ceremony import NOW, register, respond, verify_creation
from tests.webauthn.test_mutations import replaced, spoilt

ROOT = (maker().der,)
ANCHORED = {"anchors": ROOT, "trust_required": True}
EXPIRED = {"not_after": datetime(2021, 1, 1, tzinfo=UTC)}
Part = dict[str, Any]


def compound(*parts: str, **making: Any) -> dict[str, Any]:
    return {"attestation": "compound", "making": {"parts": parts or ("packed", "tpm"), **making}}


def edited(edit: Callable[[list[Part]], Any]) -> dict[str, Any]:
    return compound(edit_parts=edit)


def second(part: Any) -> dict[str, Any]:
    """The second part is another."""
    return edited(lambda parts: [parts[0], part])


MALFORMED = no.AttestationStatementMalformed

CASES = (
    # the array
    Case("no array", no.AttestationObjectMalformed, edited(lambda parts: {})),
    Case("a map with the parts", no.AttestationObjectMalformed, edited(lambda parts: {PARTS: ["x", "y"]})),
    Case("an array of another format", no.AttestationObjectMalformed, compound() | {"fmt": "packed"}),
    Case("no parts", MALFORMED, edited(lambda parts: [])),
    Case("one part", MALFORMED, compound("packed")),
    Case("too many parts", MALFORMED, compound(*["packed"] * (MAX_PARTS + 1))),
    # a part
    Case("a part is no map", MALFORMED, second("packed")),
    Case("a part without its format", MALFORMED, second({"attStmt": {}})),
    Case("a part without its statement", MALFORMED, second({"fmt": "none"})),
    Case(
        "a part with authenticator data of its own", MALFORMED, second({"fmt": "none", "attStmt": {}, "authData": b""})
    ),
    Case("a part whose format is a number", MALFORMED, second({"fmt": 1, "attStmt": {}})),
    Case("a part whose statement is an array", MALFORMED, second({"fmt": "none", "attStmt": []})),
    Case("a compound part", MALFORMED, second({"fmt": "compound", "attStmt": []})),
    Case(
        "a compound part with parts",
        no.CborMalformed,
        second({"fmt": "compound", "attStmt": [{"fmt": "none", "attStmt": {}}] * 2}),
    ),
    Case("a compound part as a map", MALFORMED, second({"fmt": "compound", "attStmt": {PARTS: []}})),
    Case("a part of an unknown format", no.AttestationFormatUnsupported, second({"fmt": "Packed", "attStmt": {}})),
    Case("an array in an array", no.CborMalformed, second({"fmt": "none", "attStmt": {"x": [[[]]]}})),
    # what the formats refuse
    Case("a part that says something", MALFORMED, second({"fmt": "none", "attStmt": {"x": 1}})),
    Case("a part of another algorithm", no.AttestationAlgorithmMismatch, compound(tpm={"alg": -257})),
    Case("a part of another key", no.AttestationKeyMismatch, compound("packed", "tpm", tpm={"area": {"curve": 4}})),
    Case(
        "a part for another registration",
        no.AttestationNonceMismatch,
        compound("packed", "tpm", tpm={"info": {"extra_data": bytes(32)}}),
    ),
    Case(
        "the first part wrong and the second right",
        no.AttestationNonceMismatch,
        compound("android-key", "packed", android_key={"challenge": bytes(32)}),
    ),
    # the paths
    Case("a part that expired", no.TrustPathInvalid, compound("packed", "tpm", tpm=EXPIRED)),
    Case(
        "a part that expired beside one that did not", no.TrustPathInvalid, compound("android-key", "tpm", tpm=EXPIRED)
    ),
    Case(
        "all parts of another root",
        no.AttestationUntrusted,
        compound("tpm", "packed", tpm={"root": "Another Root"}),
        expect=ANCHORED,
    ),
    Case(
        "one part of another root",
        no.AttestationUntrusted,
        compound("android-key", "tpm", tpm={"root": "Another Root"}),
        expect=ANCHORED,
    ),
    Case("parts without certificates", no.AttestationUntrusted, compound("packed", "none"), expect=ANCHORED),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("none", "none"), AttestationType.NONE),
        (("none", "packed"), AttestationType.SELF),
        (("packed", "tpm"), AttestationType.ATTCA),
        (("android-key", "packed"), AttestationType.BASIC),
        (("tpm", "android-key", "packed", "none"), AttestationType.ATTCA),
        (("packed",) * MAX_PARTS, AttestationType.SELF),
    ],
    ids=str,
)
def test_it_is_worth_what_its_best_part_is(parts: tuple[str, ...], expected: AttestationType) -> None:
    attestation = register(**compound(*parts)).attestation
    assert (attestation.format, attestation.type, attestation.trust_path) == ("compound", expected, ())
    assert tuple(part.format for part in attestation.parts) == parts


def test_parts_without_a_path_do_not_spoil_it() -> None:
    verified = register(**compound("none", "packed", "android-key", "tpm"), expect=ANCHORED)
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


def test_one_part_that_leads_elsewhere_spoils_it() -> None:
    verified = register(**compound("android-key", "tpm", tpm={"root": "Another Root"}), expect={"anchors": ROOT})
    assert verified.trust == Trust(TrustVerdict.UNANCHORED)


def test_one_part_whose_anchors_are_unknown_leaves_it_uncertain() -> None:
    def find_anchors(aaguid: bytes, attestation: Any) -> tuple[bytes, ...]:
        return ROOT if attestation.format == "tpm" else ()

    verified = register(**compound("android-key", "tpm"), expect={"find_anchors": find_anchors})
    assert verified.trust == Trust(TrustVerdict.UNCERTAIN)


# U2F does not sign the authenticator data, and the authenticator is seeded: its statement fits the same credential.
U2F = {
    "fmt": "fido-u2f",
    "attStmt": parse_attestation_object(respond(attestation="fido-u2f").attestation_object).statement,
}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (lambda parts: [U2F, U2F], TrustVerdict.NO_PATH),
        (lambda parts: [parts[0], U2F], TrustVerdict.NO_PATH),
        (lambda parts: [U2F, parts[1]], TrustVerdict.ANCHORED),
    ],
    ids=["alone", "beside a self-signed part", "beside a certified part"],
)
def test_a_part_of_u2f_is_verified_and_vouches_for_no_model(parts: Any, expected: TrustVerdict) -> None:
    asked: list[str] = []

    def find_anchors(aaguid: bytes, attestation: Any) -> tuple[bytes, ...]:
        asked.append(attestation.format)
        return ROOT

    verified = register(**edited(parts), expect={"find_anchors": find_anchors})
    assert verified.trust.verdict is expected
    assert "fido-u2f" not in asked


def test_a_part_of_u2f_for_another_credential_is_refused() -> None:
    with pytest.raises(no.AttestationSignatureInvalid):
        register(**second(U2F), credential_id=b"another")


def test_anchors_are_asked_for_part_by_part() -> None:
    asked: list[str] = []

    def find_anchors(aaguid: bytes, attestation: Any) -> tuple[bytes, ...]:
        asked.append(attestation.format)
        return ()

    register(**compound("packed", "tpm"), expect={"find_anchors": find_anchors})
    assert asked == ["packed", "tpm"]


# --- any bytes ------------------------------------------------------------------------------------------------------

HONEST = parse_attestation_object(respond(**compound()).attestation_object)
LEAVES = st.one_of(st.binary(max_size=8), st.text(max_size=4), st.integers(-(2**63), 2**63), st.none())
STATEMENTS = st.dictionaries(st.sampled_from(["alg", "sig", "x5c", "ver"]), st.one_of(LEAVES, st.lists(LEAVES)))
PARTS_OF_ANYTHING = st.one_of(
    LEAVES,
    st.fixed_dictionaries({"fmt": st.sampled_from(sorted(FORMATS)), "attStmt": st.one_of(STATEMENTS, LEAVES)}),
)


@given(st.lists(PARTS_OF_ANYTHING, max_size=10))
def test_any_parts_are_an_attestation_or_refused(parts: list[Any]) -> None:
    evidence = Evidence(HONEST.authenticator_data, bytes(32), NOW)
    try:
        attestation = FORMATS["compound"]({PARTS: parts}, evidence)
    except Refusal:
        return
    assert {part.format for part in attestation.parts} == {"none"}


@given(st.recursive(LEAVES, lambda children: st.lists(children) | st.dictionaries(st.text(max_size=3), children)))
def test_any_statement_is_read_or_refused(statement: Any) -> None:
    members = {"fmt": "compound", "attStmt": statement, "authData": HONEST.authenticator_data.raw}
    try:
        parsed = parse_attestation_object(cbor2.dumps(members))
    except Refusal:
        return
    assert parsed.statement == {PARTS: statement}


def without_paths(verified: VerifiedRegistration) -> list[Any]:
    """Everything but the certificates above the leaves, which nobody reads once an anchor was found."""
    members = {name: getattr(verified, name) for name in verified.__struct_fields__ if name != "attestation"}
    parts = [(part.format, part.type, part.trust_path[:1]) for part in verified.attestation.parts]
    return [members, verified.attestation.type, parts]


@cache
def honest_response() -> RegistrationResponse:
    """Its paths are whole, so that each is judged although one of them would do."""
    return respond(**compound("tpm", "android-key", tpm={"with_root": True}, android_key={"with_root": True}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_spoilt_registration_is_refused(data: st.DataObject) -> None:
    honest = honest_response()
    changed = data.draw(spoilt(honest.attestation_object))
    anchors = {"anchors": (maker().der,), "trust_required": True}
    try:
        verified = verify_creation(replaced(honest, "attestation_object", changed), **anchors)
    except Refusal:
        return
    assert without_paths(verified) == without_paths(verify_creation(honest, **anchors))
