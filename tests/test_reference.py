"""The reference pages say what the code does."""

from __future__ import annotations

import pytest

from narthex.base.errors import Refusal
from narthex.http.routes.pages import refusals
from scripts.reference import PAGES, pages


@pytest.mark.parametrize("name", pages())
def test_a_reference_page_is_what_its_table_writes(name: str) -> None:
    """`make docs` writes the pages anew when a setting or a refusal changes."""
    expected = pages()[name]

    assert expected == (PAGES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
def test_every_refusal_says_its_cause_and_what_to_do(kind: type[Refusal]) -> None:
    """The error page has nothing else to say, and neither has the person who reads it."""
    assert kind.__doc__
    assert kind.advice
