"""CBOR: exactly one item, in the form that authenticators may write."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.webauthn import cbor
from narthex.webauthn.errors import CborMalformed

GOOD = {
    "00": 0,
    "1bffffffffffffffff": 2**64 - 1,
    "3bffffffffffffffff": -(2**64),
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "62c3bc": "ü",
    "80": [],
    "8301f5f6": [1, True, None],
    "a26161f4616280": {"a": False, "b": []},
    "a2010220f97e01": None,
    "fa47c35000": 100000.0,
    "f93c00": 1.0,
    "1801": 1,
    "a2616201616102": {"b": 1, "a": 2},
    "8181818100": [[[[0]]]],
    "81818180": [[[[]]]],
}

BAD = {
    "empty": "",
    "cut head": "18",
    "cut argument": "1900",
    "cut bytes": "42ff",
    "cut text": "6261",
    "cut array": "8201",
    "cut map": "a101",
    "map without key": "a1",
    "huge bytes": "5bffffffffffffffff",
    "huge array": "9bffffffffffffffff00",
    "huge map": "bbffffffffffffffff0000",
    "huge array of nothing": "9b00000000ffffffff",
    "bytes after": "0000",
    "tag": "c001",
    "self-described": "d9d9f700",
    "bignum": "c24101",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite array": "9fff",
    "indefinite map": "bfff",
    "break": "ff",
    "reserved head 28": "1c",
    "reserved head 30": "1e",
    "undefined": "f7",
    "simple 16": "f0",
    "simple 255": "f8ff",
    "simple 20 in two bytes": "f814",
    "text not utf-8": "62c328",
    "text with a surrogate": "63eda080",
    "duplicate integer key": "a201000100",
    "duplicate integer key in another size": "a20100180100",
    "duplicate text key": "a2616100616100",
    "bytes key": "a1410100",
    "boolean key": "a1f500",
    "float key": "a1f93c0000",
    "array key": "a18000",
    "map key": "a1a000",
    "five levels": "818181818100",
    "five levels of maps": "a101a101a101a101a10100",
}


@pytest.mark.parametrize("text", GOOD)
def test_an_item_is_decoded(text: str) -> None:
    raw = bytes.fromhex(text)
    if GOOD[text] is not None:
        assert cbor.decode(raw) == GOOD[text]
    assert cbor.length_of_first(raw + b"rest") == len(raw)
    assert cbor.decode_first(raw + b"rest")[1] == b"rest"


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_authenticators_may_not_write_is_refused(text: str) -> None:
    with pytest.raises(CborMalformed):
        cbor.decode(bytes.fromhex(text))


def test_the_size_is_bounded() -> None:
    with pytest.raises(CborMalformed):
        cbor.decode(cbor2.dumps(bytes(cbor.MAX_SIZE_BYTES)))


@pytest.mark.parametrize(
    ("fits", "one_more"),
    [
        ([0] * 999, [0] * 1_000),
        (dict.fromkeys(range(499), 0), dict.fromkeys(range(500), 0)),
        ([[0] * 498, {"a": [""] * 497}], [[0] * 498, {"a": [""] * 498}]),
    ],
    ids=["array", "map", "nested"],
)
def test_the_number_of_items_is_bounded(fits: Any, one_more: Any) -> None:
    """Heads are walked before a signature is checked: 64 KiB of them would keep everybody waiting."""
    assert cbor.decode(cbor2.dumps(fits)) == fits
    with pytest.raises(CborMalformed, match="more than 1000 items"):
        cbor.decode(cbor2.dumps(one_more))


def test_a_caller_may_expect_more_levels() -> None:
    raw = bytes.fromhex(BAD["five levels"])
    assert cbor.decode(raw, max_depth=5) == [[[[[0]]]]]
    with pytest.raises(CborMalformed, match="nested too deeply"):
        cbor.decode(b"\x81" + raw, max_depth=5)


SCALARS = st.one_of(st.integers(-(2**64), 2**64 - 1), st.binary(), st.text(), st.booleans(), st.none(), st.floats())
KEYS = st.one_of(st.integers(-(2**64), 2**64 - 1), st.text())


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(children, max_size=4), st.dictionaries(KEYS, children, max_size=4))


ITEMS = st.one_of(SCALARS, nested(st.one_of(SCALARS, nested(SCALARS))))


@given(ITEMS, st.binary(max_size=8))
def test_what_is_printed_is_parsed(item: Any, rest: bytes) -> None:
    raw = cbor2.dumps(item, canonical=True)
    parsed, left = cbor.decode_first(raw + rest)
    assert repr(parsed) == repr(cbor2.loads(raw))
    assert left == rest


@given(st.binary(max_size=64))
def test_any_bytes_are_an_item_or_refused(raw: bytes) -> None:
    try:
        item = cbor.decode(raw)
    except CborMalformed:
        return
    assert repr(item) == repr(cbor2.loads(raw))
