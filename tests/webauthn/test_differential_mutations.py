"""A sample of what ``make fuzz`` judges at length: ceremonies spoilt at random, our verdict beside two others'.

What disagreements there may be is the table in ``tests/fuzz/explained.py``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.ceremonies import FORMATS
from tests.fuzz.differential import judge_all, table, told
from tests.fuzz.explained import LAX, STRICT, Lax, Strict
from tests.fuzz.judges import ORACLES, we
from tests.fuzz.mutations import MUTATIONS, Ceremony, make_ceremony

SEED = "1"
SAMPLE = 2_000
DIVERGENCES = Path(__file__).parents[2] / "docs/divergences.md"


def sample(count: int) -> list[Ceremony]:
    return [make_ceremony(f"{SEED}:{number}") for number in range(count)]


def test_every_disagreement_over_a_spoilt_ceremony_is_explained() -> None:
    tally = judge_all(SEED, range(SAMPLE))
    assert [] == tally.unexplained
    # The mutations are worth something only if a good part of them is not refused at the first look.
    assert SAMPLE / 10 < tally.accepted < SAMPLE / 2
    assert f"{SAMPLE} ceremonies" in table(tally)


def test_a_ceremony_is_made_again_from_its_seed() -> None:
    """Those whose signature is salted, or which tell the time, differ in that alone."""
    again = [one for one in sample(60) if one.alg not in (-37, -38, -39) and one.format != "android-safetynet"]
    assert again == [make_ceremony(one.name) for one in again]
    assert f"again {again[0].name}" in told(again[0])


def test_all_formats_and_mutations_are_in_the_sample() -> None:
    ceremonies = sample(SAMPLE)
    assert FORMATS.keys() | {"assertion"} == {ceremony.format for ceremony in ceremonies}
    drawn = Counter(name for ceremony in ceremonies for name in ceremony.mutations)
    assert set() == {mutation.name for mutation in MUTATIONS} - drawn.keys()


@pytest.mark.parametrize("fmt", [*FORMATS, "assertion"])
def test_all_accept_an_unspoilt_ceremony_of_es256(fmt: str) -> None:
    ceremony = next(one for n in range(SAMPLE) if (one := make_ceremony(f"{SEED}:{n}")).format == fmt and is_plain(one))
    assert we(ceremony).accepted
    # py_webauthn has no verification for this certificate's algorithm.
    wanted = ORACLES if fmt != "packed-x5c-p384" else {"fido2"}
    assert set(wanted) == {name for name, judge in ORACLES.items() if judge(ceremony).accepted}


def is_plain(ceremony: Ceremony) -> bool:
    return not ceremony.mutations and ceremony.alg in (-7, -257)


@pytest.mark.parametrize("row", [*LAX, *STRICT], ids=str)
def test_every_explanation_points_at_what_is_written(row: Lax | Strict) -> None:
    assert row.where.startswith("L3 #") or row.where in DIVERGENCES.read_text()


NEVER = {
    "challenge-mismatch",
    "ceremony-type-mismatch",
    "rp-id-mismatch",
    "user-not-present",
    "attested-credential-data-missing",
    "jws-signature-invalid",
}


def test_no_explanation_covers_what_nobody_may_accept() -> None:
    assert set() == NEVER & {row.code for row in LAX}
    signatures = [row for row in LAX if row.code == "signature-invalid"]
    assert ["A PSS salt is as long as its hash"] == [row.where for row in signatures]
