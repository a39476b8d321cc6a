"""The reference pages say what the code does."""

from __future__ import annotations

import pytest

from scripts.reference import PAGES, pages


@pytest.mark.parametrize("name", pages())
def test_a_reference_page_is_what_its_table_writes(name: str) -> None:
    """`make docs` writes the pages anew when a setting or a refusal changes."""
    expected = pages()[name]

    assert expected == (PAGES / name).read_text(encoding="utf-8")
