"""DER: one way to write each value, and nothing after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.webauthn.attestation.der import INTEGER, OCTET_STRING, Tag, read_all, read_one, to_integer
from narthex.webauthn.errors import CertificateMalformed
from tests.support.statements_android_key import explicit, integer, item

BAD = {
    "no length": "04",
    "cut off": "040100"[:4],
    "length of indefinite form": "048000",
    "length in long form that fits the short one": "04817f" + "00" * 127,
    "length with a leading zero": "04820080" + "00" * 128,
    "length cut off": "048201",
    "length of all lengths": "04ff" + "01" * 127,
    "tag cut off": "bf",
    "tag cut off after its first byte": "bf84",
    "tag with a leading zero": "bf80040100",
    "tag in long form that fits the short one": "bf1e0100",
    "tag of more than four bytes": "bf81818181010100",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_not_der_is_refused(text: str) -> None:
    with pytest.raises(CertificateMalformed):
        read_all(bytes.fromhex(text))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_a_length_is_as_long_as_it_needs_to_be(size: int) -> None:
    assert read_one(item(0x04, bytes(size)), OCTET_STRING) == bytes(size)


@pytest.mark.parametrize("number", [0, 30, 31, 127, 128, 600, 702, 16_383, 16_384, 2_097_151])
def test_a_tag_has_any_number(number: int) -> None:
    [element] = read_all(explicit(number, b"x"))
    assert element.is_explicit()
    assert element.tag == Tag(0xA0, number)
    assert element.content == b"x"


@given(st.integers())
def test_an_integer_is_read_as_it_was_written(value: int) -> None:
    assert to_integer(read_one(integer(value), INTEGER)) == value


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"\x00\x7f", b"\xff\xff", b"\xff\x80"])
def test_a_number_longer_than_it_needs_to_be_is_refused(content: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        to_integer(content)


@pytest.mark.parametrize("raw", [b"", integer(1), item(0x04, b"") * 2], ids=["none", "another", "two"])
def test_one_is_neither_none_nor_another_nor_two(raw: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        read_one(raw, OCTET_STRING)


@given(st.binary(max_size=64))
def test_any_bytes_are_elements_or_refused(raw: bytes) -> None:
    try:
        elements = read_all(raw)
    except CertificateMalformed:
        return
    assert sum(len(element.content) + 2 for element in elements) <= len(raw)
