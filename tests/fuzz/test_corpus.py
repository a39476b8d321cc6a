"""The kept corpus through every parser: what fuzzing once found stays found, also where atheris does not run."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus import KEPT, honest_inputs, read_corpus
from tests.fuzz.targets import TARGETS, run

# Nothing honest is accepted by these without a secret, or without a revoked signer.
REFUSE_ALL = {"sealed", "revocation_list", "body"}


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_the_corpus_holds_is_accepted_or_refused(name: str) -> None:
    assert {run(name, raw) for raw in read_corpus(name)} <= {True, False}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_accepts_what_is_honest(name: str) -> None:
    """Else fuzzing would not get past its first check."""
    accepted = [run(name, raw) for raw in honest_inputs(name)]
    assert accepted
    assert name in REFUSE_ALL or all(accepted)


def test_every_target_has_a_corpus_and_no_other() -> None:
    assert sorted(TARGETS) == sorted(path.stem for path in KEPT.iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_any_target_refuses_nothing_at_all_in_words(name: str) -> None:
    """An empty input, and one of a single byte."""
    assert {run(name, raw) for raw in (b"", b"\x00", b"\xff")} <= {True, False}
