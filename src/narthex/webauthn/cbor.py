"""CBOR as authenticators may write it, and nothing more.

CTAP2 has a canonical form (CTAP 2.1 #ctap2-canonical-cbor-encoding-form). ``cbor2`` decodes; but it also accepts
tags, trailing bytes and any key type, and it cannot say where an item ends. So a small walker goes over the heads
first: it finds the end and refuses what the canonical form forbids, before anything is built.

Refused: indefinite lengths, tags, truncated items, nesting deeper than four (unless the caller expects more), more
than a thousand items, keys that are neither integer nor text, duplicate keys, ``undefined`` and unassigned simple
values, text that is not UTF-8, bytes after the item.
Tolerated, because real authenticators do it and the meaning is the same: unsorted keys and heads that are not the
shortest (docs/divergences.md).
"""

from __future__ import annotations

import cbor2

from narthex.webauthn.errors import CborMalformed

MAX_SIZE_BYTES = 65_536
MAX_DEPTH = 4
# Whatever is walked here is walked before any signature is checked, while everybody else waits: 64 KiB of items of
# one byte took 30 to 100 ms. A statement with its certificates has some twenty.
MAX_ITEMS = 1_000

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_ARGUMENT_SIZE_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}
_KEY_TYPES = frozenset({_UNSIGNED, _NEGATIVE, _TEXT})
_FALSE, _TRUE, _NULL = 20, 21, 22
_FLOATS = frozenset({25, 26, 27})
_PLAIN = {
    **{major << 5 | info: 1 for major in (_UNSIGNED, _NEGATIVE) for info in range(24)},
    **{major << 5 | info: 1 + info for major in (_BYTES, _TEXT) for info in range(24)},
}
"""First byte of an item → its size, where that byte tells all: most items are such. The others are walked."""


def decode(raw: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """Decode exactly one item.

    Raises:
        CborMalformed: there is less, more, or something else.

    >>> decode(bytes.fromhex("a1616101"))
    {'a': 1}
    """
    item, rest = decode_first(raw, max_depth=max_depth)
    if rest:
        raise CborMalformed(f"{len(rest)} bytes follow the CBOR item")
    return item


def decode_first(raw: bytes, *, max_depth: int = MAX_DEPTH) -> tuple[object, bytes]:
    """Decode the first item and give back the bytes after it.

    Raises:
        CborMalformed: the bytes do not begin with an item in CTAP2 form.
    """
    end = length_of_first(raw, max_depth=max_depth)
    try:
        item = cbor2.loads(raw[:end], max_depth=max_depth + 1, allow_indefinite=False, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError) as e:
        raise CborMalformed("CBOR item has a duplicate key, or text that is not UTF-8") from e
    return item, raw[end:]


def length_of_first(raw: bytes, *, max_depth: int = MAX_DEPTH) -> int:
    """Find where the first item ends, in bytes from the start."""
    if len(raw) > MAX_SIZE_BYTES:
        raise CborMalformed(f"CBOR is larger than {MAX_SIZE_BYTES} bytes")
    return _Walk(raw).end_of_item(0, max_depth)


class _Walk:
    """One walk over the heads. It counts the items it meets, those inside others and keys included."""

    __slots__ = ("_items_left", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._items_left = MAX_ITEMS

    def end_of_item(self, start: int, depth_left: int) -> int:
        self._items_left -= 1
        if self._items_left < 0:
            raise CborMalformed(f"CBOR has more than {MAX_ITEMS} items")
        plain_end = start + _PLAIN.get(self._raw[start], 0) if start < len(self._raw) else start
        if start < plain_end <= len(self._raw):
            return plain_end
        major, argument, at = _read_head(self._raw, start)
        if major in (_UNSIGNED, _NEGATIVE, _SIMPLE):
            return at
        if major in (_BYTES, _TEXT):
            if argument > len(self._raw) - at:
                raise CborMalformed("CBOR string is cut off")
            return at + argument
        if not depth_left:
            raise CborMalformed("CBOR is nested too deeply")
        # A count is not trusted: each turn meets at least one item or refuses, so the loop ends with what is left.
        for _ in range(argument):
            if major == _MAP:
                at = self._end_of_key(at)
            at = self.end_of_item(at, depth_left - 1)
        return at

    def _end_of_key(self, start: int) -> int:
        if start < len(self._raw) and self._raw[start] >> 5 not in _KEY_TYPES:
            raise CborMalformed("CBOR map has a key that is neither integer nor text")
        return self.end_of_item(start, 0)


def _read_head(raw: bytes, start: int) -> tuple[int, int, int]:
    """Read major type and argument; the third value is the offset after the head."""
    if start >= len(raw):
        raise CborMalformed("CBOR is cut off")
    major, info = raw[start] >> 5, raw[start] & 0x1F
    if major == _TAG:
        raise CborMalformed("CBOR has a tag")
    if major == _SIMPLE and info not in (_FALSE, _TRUE, _NULL) and info not in _FLOATS:
        raise CborMalformed("CBOR has a simple value other than false, true and null")
    if info < 24:
        return major, info, start + 1
    size = _ARGUMENT_SIZE_BYTES.get(info)
    if size is None:
        raise CborMalformed("CBOR has an indefinite length, or a reserved head")
    at = start + 1 + size
    if at > len(raw):
        raise CborMalformed("CBOR is cut off")
    return major, int.from_bytes(raw[start + 1 : at], "big"), at
