"""Member names count in any case, and each has one spelling besides its cases."""

from __future__ import annotations

from typing import ClassVar

import pytest

from narthex.http.body import Body, read_body
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.shapes import public_key_type

KELVIN = "\u212a"
"""The Kelvin sign, which Python's `lower` makes a `k`."""


class Wanted(Body):
    token: str | None = None
    rules: ClassVar = {}


@pytest.mark.parametrize("name", ["token", "Token", "TOKEN", "tOkEn"])
def test_a_name_counts_in_any_case(name: str) -> None:
    assert read_body(f'{{"{name}": "a"}}'.encode(), Wanted).token == "a"


def test_a_letter_that_only_folds_to_ours_is_another_name() -> None:
    """Whoever filters bodies before us compares ASCII, and would see no token in this one."""
    assert read_body(f'{{"to{KELVIN}en": "a"}}'.encode(), Wanted).token is None
    assert read_body(f'{{"token": "a", "TO{KELVIN}EN": "b"}}'.encode(), Wanted).token == "a"
    with pytest.raises(ValidationFailed):
        public_key_type(f"public-{KELVIN}ey", "type")
