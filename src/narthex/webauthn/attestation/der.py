"""DER, as far as certificate extensions of our formats need it (X.690 sections 8 and 10).

The certificate library reads certificates and leaves the extensions it does not know as bytes. This reader is strict:
lengths are definite and as short as they can be, so are tags and integers, and nothing may follow.
"""

from __future__ import annotations

from typing import NamedTuple

from narthex.webauthn.errors import CertificateMalformed

_CONTEXT_CONSTRUCTED = 0xA0
_CONSTRUCTED = 0x20
_MAX_TAG_BYTES = 4


class Tag(NamedTuple):
    """What an element is."""

    form: int
    """Class and constructed bit: the upper three bits of the first byte."""
    number: int


INTEGER, OCTET_STRING, NULL, ENUMERATED = Tag(0, 2), Tag(0, 4), Tag(0, 5), Tag(0, 10)
SEQUENCE, SET = Tag(_CONSTRUCTED, 16), Tag(_CONSTRUCTED, 17)


class Element(NamedTuple):
    """A tag and what it holds."""

    tag: Tag
    content: bytes

    def is_explicit(self) -> bool:
        """Is it a field of the kind ``[number] EXPLICIT``?"""
        return self.tag.form == _CONTEXT_CONSTRUCTED


def read_one(raw: bytes, tag: Tag) -> bytes:
    """Read exactly one element of a tag; gives its content.

    Raises:
        CertificateMalformed: there is less, more, or something else.

    >>> read_one(bytes.fromhex("0402cafe"), OCTET_STRING).hex()
    'cafe'
    """
    elements = read_all(raw)
    if len(elements) != 1 or elements[0].tag != tag:
        raise CertificateMalformed("certificate has an extension with an element of an unexpected type")
    return elements[0].content


def read_all(raw: bytes) -> list[Element]:
    """Read the elements that stand one after another.

    Raises:
        CertificateMalformed: it is not DER.
    """
    elements = []
    at = 0
    while at < len(raw):
        tag, at = _read_tag(raw, at)
        size, at = _read_length(raw, at)
        if size > len(raw) - at:
            raise CertificateMalformed("certificate has an extension that is cut off")
        elements.append(Element(tag, raw[at : at + size]))
        at += size
    return elements


def to_integer(content: bytes) -> int:
    """The value of an INTEGER or ENUMERATED.

    Raises:
        CertificateMalformed: it is empty, or longer than it needs to be.
    """
    value = int.from_bytes(content, "big", signed=True)
    if len(content) != (value if value >= 0 else ~value).bit_length() // 8 + 1:
        raise CertificateMalformed("certificate has an extension with a number that is not in DER")
    return value


def _read_tag(raw: bytes, at: int) -> tuple[Tag, int]:
    form, number, at = raw[at] & 0xE0, raw[at] & 0x1F, at + 1
    if number == 0x1F:
        number, at = _read_long_number(raw, at)
    return Tag(form, number), at


def _read_long_number(raw: bytes, at: int) -> tuple[int, int]:
    """A tag number from 31 on, in groups of seven bits of which the last has no high bit."""
    number = 0
    for end in range(at, min(at + _MAX_TAG_BYTES, len(raw))):
        number = number << 7 | raw[end] & 0x7F
        if number == 0:
            break
        if raw[end] < 0x80:
            if number < 0x1F:
                break
            return number, end + 1
    raise CertificateMalformed("certificate has an extension with a tag that is not in DER")


def _read_length(raw: bytes, at: int) -> tuple[int, int]:
    first = raw[at] if at < len(raw) else 0x80
    if first < 0x80:
        return first, at + 1
    end = at + 1 + (first & 0x7F)
    size = int.from_bytes(raw[at + 1 : end], "big")
    # The shortest form: no leading zero, and none of the long form for what fits into the first byte.
    if first == 0x80 or end > len(raw) or size < 0x80 or raw[at + 1] == 0:
        raise CertificateMalformed("certificate has an extension with a length that is not in DER")
    return size, end
