"""What a stranger sent is shown in refusals, and does no harm there."""

from __future__ import annotations

from narthex.base.errors import quoted


def test_input_shown_in_a_message_is_cut_and_cannot_break_out_of_its_quotes() -> None:
    assert quoted("a`b\nc\ud800" + "x" * 200) == "`a\ufffdb\ufffdc\ufffd" + "x" * 74 + "…`"
