"""JSON that every reader reads alike.

What was signed is JSON in three places: the client data, the header of a signed text, and SafetyNet's answer. RFC 8259
leaves it to the reader what a member means that comes twice, and Python also reads `NaN` and `Infinity`, which are no
JSON. Two readers of one text must not see two values, so both are refused.
"""

from __future__ import annotations

import json
from typing import NoReturn

from narthex.base.errors import Malformed, quoted


def strict_decoder(malformed: type[Malformed], subject: str) -> json.JSONDecoder:
    """Make a decoder that refuses a member twice, at any level, and what is no JSON.

    Args:
        malformed: the refusal; what is no JSON for other reasons is still a ValueError.
        subject: what is read, as its messages begin.
    """

    def unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise malformed(f"{subject} has a member twice")
        return members

    def no_constant(name: str) -> NoReturn:
        raise malformed(f"{subject} has {quoted(name)}, which is not JSON")

    return json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=no_constant)
