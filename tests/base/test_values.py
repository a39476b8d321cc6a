"""base64url has one spelling; secrets hide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Malformed
from narthex.base.values import Secret, from_base64url, to_base64url


@given(raw=st.binary(max_size=100))
def test_what_is_printed_parses_to_the_same(raw: bytes) -> None:
    assert raw == from_base64url(to_base64url(raw))


@given(text=st.text(max_size=20) | st.text(alphabet="AZaz09-_=+/", max_size=20), padded=st.booleans())
def test_any_text_is_canonical_or_malformed(text: str, padded: bool) -> None:
    try:
        raw = from_base64url(text, padding_tolerated=padded)
    except Malformed:
        return
    assert to_base64url(raw) == (text.rstrip("=") if padded else text)


@pytest.mark.parametrize("text", ["AA", "AAA", "AAAA", "", "-_-_"])
def test_canonical_text_is_accepted(text: str) -> None:
    from_base64url(text)


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AAAAA", "AA==", "A+", "A/", "AA\n", " AA", "é", "AA=A"])
def test_every_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        from_base64url(text)


@pytest.mark.parametrize(("text", "raw"), [("AA==", b"\0"), ("AAA=", b"\0\0"), ("AA", b"\0")])
def test_correct_padding_is_tolerated_where_asked(text: str, raw: bytes) -> None:
    assert raw == from_base64url(text, padding_tolerated=True)


@pytest.mark.parametrize("text", ["AA=", "AAA==", "AAAA====", "====", "=AAA", "A==="])
def test_wrong_padding_is_not(text: str) -> None:
    with pytest.raises(Malformed):
        from_base64url(text, padding_tolerated=True)


def test_a_secret_hides_in_every_text_that_is_not_meant_to_show_it() -> None:
    secret = Secret("demo:secret:0123")
    assert "0123" not in f"{secret!r} {[secret]} { ({'key': secret}) }"
    assert "demo:secret:0123" == str(secret)
