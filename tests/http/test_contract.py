"""Sentences of the compatible API's description that no other test holds, one test each.

What belongs to one endpoint stands with its other tests. Here is what runs across several: the order of checks, answers
without a body, and spellings that official clients send.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.application import Ceremonies, refused

pytestmark = pytest.mark.anyio


async def test_hints_may_be_given_by_number(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(hints=[2, "1", 0]))
    assert ["hybrid", "client-device", "security-key"] == begun.data["hints"]


@pytest.mark.parametrize("hints", [[3], [-1], [0.5], [True]])
async def test_a_number_that_is_no_hints_is_refused(ceremonies: Ceremonies, hints: list[Any]) -> None:
    problem = refused(await ceremonies.ask_leave(hints=hints), 400, "validation_failed")
    assert ["hints"] == list(problem["errors"])
