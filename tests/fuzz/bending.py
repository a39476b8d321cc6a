"""Ways to bend one thing: bytes, a CBOR item, a DER structure, a JSON text, a base64url text.

Each takes ``lots`` first, and the same lots bend alike.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.support.statements_android_key import length

# --- bytes ----------------------------------------------------------------------------------------------------------


def bend_bytes(lots: Random, raw: bytes) -> bytes:
    """One to three edits."""
    for _ in range(lots.choice((1, 1, 1, 2, 3))):
        raw = lots.choice(BYTES)(lots, raw)
    return raw


def _flip(lots: Random, raw: bytes) -> bytes:
    if not raw:
        return raw
    at = lots.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << lots.randrange(8)]) + raw[at + 1 :]


def _set(lots: Random, raw: bytes) -> bytes:
    at = lots.randrange(len(raw) + 1)
    return raw[:at] + bytes([lots.choice((0, 1, 0x7F, 0x80, 0xFF, lots.randrange(256)))]) + raw[at + 1 :]


def _insert(lots: Random, raw: bytes) -> bytes:
    at = lots.choice((0, len(raw), lots.randrange(len(raw) + 1)))
    return raw[:at] + lots.randbytes(lots.randint(1, 4)) + raw[at:]


def _remove(lots: Random, raw: bytes) -> bytes:
    at = lots.randrange(len(raw) + 1)
    return raw[:at] + raw[at + lots.choice((1, 1, 2, 16)) :]


def _cut(lots: Random, raw: bytes) -> bytes:
    return raw[: lots.randrange(len(raw) + 1)]


def _repeat(lots: Random, raw: bytes) -> bytes:
    start = lots.randrange(len(raw) + 1)
    end = min(start + lots.randint(1, 40), len(raw))
    return raw[:end] + raw[start:end] + raw[end:]


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _set, _insert, _remove, _cut, _repeat)


# --- CBOR -----------------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 2**64 - 1, b"", b"\0", "", "x", [], {}, [b"x"], {"a": 1}, 1.5)


class _Twice(list[tuple[Any, Any]]):
    """The pairs of a map, as they are to be written."""


def cbor(item: Any, head: Callable[[int, int], bytes] | None = None) -> bytes:
    """Write an item in the order it has; `head` writes the head of the outermost, from major type and argument."""
    write = head or cbor_head
    match item:
        case bool() | None:
            return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[item]])
        case int():
            return write(0, item) if item >= 0 else write(1, -1 - item)
        case bytes():
            return write(2, len(item)) + item
        case str():
            return write(3, len(item.encode())) + item.encode()
        case float():
            return b"\xfb" + struct.pack(">d", item)
        case Raw():
            return item.raw
        case _Twice():
            return write(5, len(item)) + b"".join(cbor(each) for pair in item for each in pair)
        case list():
            return write(4, len(item)) + b"".join(map(cbor, item))
        case _:
            return write(5, len(item)) + b"".join(cbor(each) for pair in item.items() for each in pair)


class Raw:
    """An item that is written already."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def cbor_head(major: int, argument: int, *, size: int = 0) -> bytes:
    """A head as short as can be, or whose argument has at least ``size`` bytes."""
    if argument < 24 and not size:
        return bytes([major << 5 | argument])
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if width >= size and argument < 1 << 8 * width:
            return bytes([major << 5 | info]) + argument.to_bytes(width, "big")
    raise ValueError("argument is too large")


def bend_cbor(lots: Random, item: Any) -> bytes:
    """Write an item with one oddity somewhere within."""
    paths = list(_paths(item))
    return cbor(_bent_at(lots, item, lots.choice(paths)))


def _paths(item: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(item, dict):
        for name in item:
            yield from _paths(item[name], (*path, name))
    elif isinstance(item, list):
        for at in range(len(item)):
            yield from _paths(item[at], (*path, at))


def _bent_at(lots: Random, item: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return _odd(lots, item)
    changed = dict(item) if isinstance(item, dict) else list(item)
    changed[path[0]] = _bent_at(lots, item[path[0]], path[1:])
    return changed


def _odd(lots: Random, item: Any) -> Any:
    oddities = list(ANY_ITEM)
    if isinstance(item, dict) and item:
        oddities += MAPS * 2
    if isinstance(item, list) and item:
        oddities += ARRAYS * 2
    if isinstance(item, bytes):
        oddities += [lambda lots, item: bend_bytes(lots, item)] * 4
    return lots.choice(oddities)(lots, item)


def _long_head(lots: Random, item: Any) -> Any:
    size = lots.choice((1, 2, 4, 8))
    return Raw(cbor(item, lambda major, argument: cbor_head(major, argument, size=size)))


def _indefinite(lots: Random, item: Any) -> Any:
    if isinstance(item, (bytes, str)):
        return Raw(b"\x5f" + cbor(item) + b"\xff" if isinstance(item, bytes) else b"\x7f" + cbor(item) + b"\xff")
    return Raw(cbor(item, lambda major, _: bytes([major << 5 | 31])) + b"\xff")


def _miscounted(lots: Random, item: Any) -> Any:
    by = lots.choice((-1, 1, 2, 2**16, 2**40))
    return Raw(cbor(item, lambda major, argument: cbor_head(major, max(argument + by, 0))))


def _tagged(lots: Random, item: Any) -> Any:
    return Raw(lots.choice((b"\xc0", b"\xc2", b"\xd9\xd9\xf7", b"\xd8\x18")) + cbor(item))


def _another(lots: Random, item: Any) -> Any:
    return lots.choice(VALUES)


def _undefined(lots: Random, item: Any) -> Any:
    return Raw(lots.choice((b"\xf7", b"\xf8\xff", b"\xe0", b"\xf9\x7e\x00", b"\xff")))


def _as_float(lots: Random, item: Any) -> Any:
    return float(item) if type(item) is int and abs(item) < 2**53 else item


def _nested(lots: Random, item: Any) -> Any:
    for _ in range(lots.choice((1, 3, 5))):
        item = [item]
    return item


ANY_ITEM = (_long_head, _indefinite, _miscounted, _tagged, _another, _undefined, _as_float, _nested)


def _shuffled(lots: Random, item: dict[Any, Any]) -> Any:
    pairs = list(item.items())
    lots.shuffle(pairs)
    return dict(pairs)


def _pair_twice(lots: Random, item: dict[Any, Any]) -> Any:
    name = lots.choice(list(item))
    return _Twice([*item.items(), (name, lots.choice((item[name], *VALUES)))])


def _without(lots: Random, item: dict[Any, Any]) -> Any:
    name = lots.choice(list(item))
    return {other: item[other] for other in item if other != name}


def _with(lots: Random, item: dict[Any, Any]) -> Any:
    name = lots.choice(("x", "alg", "ver", "ecdaaKeyId", "epAtt", 0, 1, 4, -4, b"x", True, 1.0))
    return _Twice([*item.items(), (name, lots.choice(VALUES))])


def _renamed(lots: Random, item: dict[Any, Any]) -> Any:
    name = lots.choice(list(item))
    others = (float(name), str(name), -name) if isinstance(name, int) else (name.upper(), name + name)
    other = lots.choice(others)
    return _Twice([(other if each == name else each, value) for each, value in item.items()])


MAPS = [_shuffled, _pair_twice, _without, _with, _renamed]


def _element_twice(lots: Random, item: list[Any]) -> Any:
    return [*item, lots.choice(item)]


def _element_lost(lots: Random, item: list[Any]) -> Any:
    at = lots.randrange(len(item))
    return item[:at] + item[at + 1 :]


def _turned(lots: Random, item: list[Any]) -> Any:
    return item[::-1]


ARRAYS = [_element_twice, _element_lost, _turned]


# --- DER ------------------------------------------------------------------------------------------------------------

Tlv = tuple[int, Any]
"""Tag, and bytes or a list of the same."""


def bend_der(lots: Random, raw: bytes) -> bytes:
    """Change, repeat or remove one element somewhere within; all lengths above it follow."""
    try:
        tree = _read_der(raw)
    except (IndexError, ValueError):
        return bend_bytes(lots, raw)
    nodes = list(_nodes(tree))
    if not nodes:
        return bend_bytes(lots, raw)
    siblings, at = lots.choice(nodes)
    lots.choice((_der_content, _der_content, _der_tag, _der_twice, _der_lost, _der_turned))(lots, siblings, at)
    return _write_der(tree)


def _read_der(raw: bytes) -> list[list[Any]]:
    elements: list[list[Any]] = []
    at = 0
    while at < len(raw):
        tag, size, start = raw[at], raw[at + 1], at + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(raw[at + 2 : start], "big")
        content = raw[start : start + size]
        if len(content) != size or tag & 0x1F == 0x1F:
            raise ValueError("not the DER that we bend")
        elements.append([tag, _read_inner(content) if tag & 0x20 else content])
        at = start + size
    return elements


def _read_inner(content: bytes) -> Any:
    """A structure of ours may hold tags of several bytes; those are left as bytes."""
    try:
        return _read_der(content)
    except (IndexError, ValueError):
        return content


def _nodes(elements: list[list[Any]]) -> Iterator[tuple[list[list[Any]], int]]:
    for at, (_, content) in enumerate(elements):
        yield elements, at
        if isinstance(content, list):
            yield from _nodes(content)


def _write_der(elements: list[list[Any]]) -> bytes:
    written = b""
    for tag, content in elements:
        raw = _write_der(content) if isinstance(content, list) else content
        written += bytes([tag]) + length(len(raw)) + raw
    return written


def _der_content(lots: Random, siblings: list[list[Any]], at: int) -> None:
    content = siblings[at][1]
    if isinstance(content, list):
        content = _write_der(content)
    siblings[at][1] = lots.choice((bend_bytes, bend_bytes, bend_der))(lots, content)


def _der_tag(lots: Random, siblings: list[list[Any]], at: int) -> None:
    siblings[at][0] = lots.choice((0x01, 0x02, 0x04, 0x05, 0x0C, 0x13, 0x17, 0x30, 0x31, 0xA0, lots.randrange(256)))


def _der_twice(lots: Random, siblings: list[list[Any]], at: int) -> None:
    siblings.insert(at, [*siblings[at]])


def _der_lost(lots: Random, siblings: list[list[Any]], at: int) -> None:
    del siblings[at]


def _der_turned(lots: Random, siblings: list[list[Any]], at: int) -> None:
    siblings.reverse()


# --- JSON -----------------------------------------------------------------------------------------------------------


def bend_json(lots: Random, raw: bytes, values: dict[str, tuple[Any, ...]]) -> bytes:
    """Change one thing in a JSON object; ``values`` are what a member may become, beside what any may."""
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError):  # an earlier change has spoilt it
        return bend_bytes(lots, raw)
    if not isinstance(members, dict) or not members:
        return bend_bytes(lots, raw)
    return lots.choice((_json_value, _json_value, _json_value, _json_text, _json_without))(lots, members, values)


def _dumps(members: Any, **options: Any) -> bytes:
    return json.dumps(members, **{"separators": (",", ":"), "ensure_ascii": False} | options).encode()


JSON_VALUES = (None, True, False, 0, 1, -1, 1.5, "", "x", [], {}, [None], {"a": {"a": 1}}, "\x00", "\u212a")


def _json_value(lots: Random, members: dict[str, Any], values: dict[str, tuple[Any, ...]]) -> bytes:
    name = lots.choice([*members, *values])
    value = lots.choice((*values.get(name, ()) * 3, *JSON_VALUES))
    return _dumps(members | {name: value})


def _json_without(lots: Random, members: dict[str, Any], values: dict[str, tuple[Any, ...]]) -> bytes:
    name = lots.choice(list(members))
    return _dumps({other: members[other] for other in members if other != name})


def _json_text(lots: Random, members: dict[str, Any], values: dict[str, tuple[Any, ...]]) -> bytes:
    """The same members, told in another way."""
    raw = _dumps(members)
    name = lots.choice(list(members))
    again = _dumps({name: lots.choice((members[name], *JSON_VALUES))})[1:]
    escaped = "".join(f"\\u{ord(character):04x}" for character in name).encode()
    return lots.choice(
        (
            _dumps(members, indent=lots.choice((0, 2))),
            _dumps(dict(reversed(members.items()))),
            b"\xef\xbb\xbf" + raw,
            raw + lots.choice((b" ", b"\n", b"\0", b"x", b",", b"{}")),
            raw[:-1] + b"," + again,
            b"{" + again[:-1] + b"," + raw[1:],
            raw.replace(b'"' + name.encode() + b'"', b'"' + escaped + b'"', 1),
            raw[:-1]
            + b',"x":'
            + lots.choice((b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b"01", b"1" * 5000))
            + b"}",
            raw[:-1] + b',"x":' + b"[" * (depth := lots.choice((10, 17, 40, 2000))) + b"]" * depth + b"}",
            raw[:-1] + b',"x":"' + b"y" * lots.choice((1_000, 20_000)) + b'"}',
            raw.decode().encode(lots.choice(("utf-16", "utf-16-le", "utf-32"))),
            b"[" + raw + b"]",
        )
    )


# --- base64url ------------------------------------------------------------------------------------------------------


def bend_base64url(lots: Random, text: str) -> str:
    at = lots.randrange(len(text) + 1)
    return lots.choice(
        (
            text + "=" * (-len(text) % 4),
            text + "=" * lots.randint(1, 4),
            text.replace("-", "+").replace("_", "/"),
            text[:at] + lots.choice(" \n\t!=+/-_.\x00é") + text[at:],
            text[:-1] + chr(ord(text[-1]) + 1) if text else "A",
            text[:at] + text[at + 1 :],
            text[:at],
            text.swapcase(),
            "",
        )
    )
