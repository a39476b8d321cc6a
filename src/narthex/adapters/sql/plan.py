"""What a change comes to in a database. A noun's file ends in the plans of its changes, and `store` merges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from narthex.adapters.sql.engine import Step
from narthex.ports.changes import Change


class DrawnIdTaken(Exception):
    """An id that we drew by lot is taken. The caller did nothing to explain to it, so this is no `Refusal`."""


class Plan(NamedTuple):
    steps: Callable[[str, Any], list[Step]]
    """The writes it takes in an application, in order."""
    refused: type[Exception] = DrawnIdTaken
    """What to raise when one of them that must change a row changes none."""
    message: str = "an id that we drew is taken"
    turn: Callable[[str, Any], str | None] | None = None
    """Acts for which this names the same text wait for one another; None waits for nobody."""


Plans: TypeAlias = Mapping[type[Change], Plan]
