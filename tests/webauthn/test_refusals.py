"""Every refusal of the room: documented, distinct, raised by some case and by no honest ceremony."""

from __future__ import annotations

import re

import pytest

from narthex.base.errors import Malformed, Refusal, Rejected
from narthex.webauthn import errors
from narthex.webauthn.origin import parse_rp_id
from tests.webauthn import test_android_safetynet, test_apple, test_fido_u2f
from tests.webauthn.cases import ASSERTIONS, REGISTRATIONS, Case, check_message, check_registration_refused
from tests.webauthn.ceremony import registered

OF_FORMATS = (*test_apple.CASES, *test_fido_u2f.CASES, *test_android_safetynet.CASES)

REFUSALS = tuple(
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, Refusal) and value.__module__ == errors.__name__
)


@pytest.mark.parametrize("case", REGISTRATIONS, ids=str)
def test_a_faulty_registration_is_refused(case: Case) -> None:
    check_registration_refused(case)


@pytest.mark.parametrize("case", ASSERTIONS, ids=str)
def test_a_faulty_assertion_is_refused(case: Case) -> None:
    party = registered(case.algorithm).with_stored(**case.stored)
    with pytest.raises(case.refusal) as caught:
        party.sign_in(expect=dict(case.expect), **case.knobs)
    assert type(caught.value) is case.refusal
    check_message(caught.value.message)


def test_every_refusal_is_raised_by_some_case() -> None:
    raised = {case.refusal for case in (*REGISTRATIONS, *ASSERTIONS, *OF_FORMATS)}
    with pytest.raises(errors.RpIdMalformed) as caught:
        parse_rp_id("https://example.org")
    raised.add(type(caught.value))
    assert set(REFUSALS) - raised == set()


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_a_refusal_is_documented(refusal: type[Refusal]) -> None:
    """One sentence, a code made of its name, a paragraph of a specification, one of two families."""
    assert re.sub(r"(?<=[a-z])(?=[A-Z])", "-", refusal.__name__).lower() == refusal.code
    assert refusal.spec
    assert re.fullmatch(r"[A-Z](?:(?!\. ).)*\.", refusal.__doc__ or "")
    assert refusal.__bases__ in ((Malformed,), (Rejected,))
