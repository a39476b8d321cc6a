"""clientDataJSON as a text; what is refused inside a ceremony is in ``cases``."""

from __future__ import annotations

import json
from hashlib import sha256
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.webauthn.client_data import MAX_DEPTH, parse_client_data
from narthex.webauthn.errors import ClientDataMalformed
from tests.support.authenticator import b64u

MEMBERS: dict[str, Any] = {"type": "webauthn.get", "challenge": b64u(bytes(16)), "origin": "https://example.org"}


def encode(**members: Any) -> bytes:
    return json.dumps(MEMBERS | members).encode()


def test_client_data_keeps_its_bytes_and_their_hash() -> None:
    raw = encode(crossOrigin=True, topOrigin="https://example.com", x=1)
    client_data = parse_client_data(raw)
    assert client_data.raw == raw
    assert client_data.hash == sha256(raw).digest()
    assert client_data.type == "webauthn.get"
    assert client_data.challenge == bytes(16)
    assert client_data.origin == "https://example.org"
    assert client_data.cross_origin is True
    assert client_data.top_origin == "https://example.com"


def test_white_space_is_json() -> None:
    assert parse_client_data(b" \n" + encode() + b"\t").type == "webauthn.get"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_only_utf_8_without_a_mark_is_read(encoding: str) -> None:
    with pytest.raises(ClientDataMalformed):
        parse_client_data(encode().decode().encode(encoding))


def nest(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_bounded_by_depth_and_not_by_brackets() -> None:
    parse_client_data(encode(x=nest(MAX_DEPTH - 1)))
    parse_client_data(encode(x=[[]] * 100, y='"{[\\' * 100))
    for levels in (MAX_DEPTH, 7000):
        with pytest.raises(ClientDataMalformed):
            parse_client_data(encode()[:-1] + b',"x":' + b"[" * levels + b"]" * levels + b"}")


@pytest.mark.parametrize("raw", [b"", b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"\0", b"[" * 16_000, b'{"a"' * 4000])
def test_what_is_no_client_data_is_refused(raw: bytes) -> None:
    with pytest.raises(ClientDataMalformed):
        parse_client_data(raw)


def test_a_number_too_long_for_python_is_refused() -> None:
    with pytest.raises(ClientDataMalformed):
        parse_client_data(encode()[:-1] + b',"x":' + b"9" * 5000 + b"}")


@pytest.mark.parametrize("escape", [b"\\ud83d\\udd11", b"\\u0000", b"\\u00fc"])
def test_an_escape_that_is_a_character_is_read(escape: bytes) -> None:
    parse_client_data(encode()[:-1] + b',"x":"' + escape + b'"}')


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(st.text(), children, max_size=3)),
    max_leaves=8,
)


@given(st.binary(min_size=1), st.text(), st.booleans(), st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_printed_is_parsed(challenge: bytes, origin: str, cross_origin: bool, more: dict[str, Any]) -> None:
    more = {name: value for name, value in more.items() if name not in ("topOrigin", "tokenBinding")}
    members = more | {"type": "x", "challenge": b64u(challenge), "origin": origin, "crossOrigin": cross_origin}
    client_data = parse_client_data(json.dumps(members, ensure_ascii=False).encode())
    assert (client_data.challenge, client_data.origin) == (challenge, origin)
    assert client_data.cross_origin is cross_origin


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_text_as_browsers_print_it_and_a_spaced_one_say_the_same(more: dict[str, Any]) -> None:
    """The first is read by the fast decoder and the second by the strict one."""
    members = more | MEMBERS | {"crossOrigin": False}
    compact = parse_client_data(msgspec.json.encode(members))
    spaced = parse_client_data(json.dumps(members).encode())
    for name in ("type", "challenge", "origin", "cross_origin", "top_origin"):
        assert getattr(compact, name) == getattr(spaced, name)


@pytest.mark.parametrize("more", [b'"type":"webauthn.get"', b'"x":{"y":1,"y":1}', b'"x":NaN', b'"x":"\\ud800"'])
def test_a_compact_text_is_read_as_strictly(more: bytes) -> None:
    with pytest.raises(ClientDataMalformed):
        parse_client_data(msgspec.json.encode(MEMBERS)[:-1] + b"," + more + b"}")


@given(st.one_of(st.binary(), st.text().map(str.encode), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_client_data_or_refused(raw: bytes) -> None:
    try:
        parse_client_data(raw)
    except ClientDataMalformed:
        return


@given(st.data())
def test_mutated_client_data_is_client_data_or_refused(data: st.DataObject) -> None:
    raw = bytearray(encode(crossOrigin=True, topOrigin="https://example.com", tokenBinding={"status": "supported"}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_client_data(bytes(raw))
    except ClientDataMalformed:
        return


@pytest.mark.parametrize("bomb", [b"{" * 17 + b'"\\' * 8_000, b"{" * 17 + b'"\\"' * 5_400, b"{" * 17 + b'\\"' * 8_000])
def test_a_text_that_never_ends_is_refused_in_linear_time(bomb: bytes) -> None:
    """Each quote of an unfinished string must not begin a search to the end: 16 KiB took a second once."""
    began = process_time()
    with pytest.raises(ClientDataMalformed):
        parse_client_data(bomb)

    # What is linear takes two milliseconds; the bound leaves room for a slow machine and none for a square.
    assert process_time() - began < 0.2
