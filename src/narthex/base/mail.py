"""What may stand in a mail: addresses, and texts in its head and its body.

A line break in a subject, a name or an address would end the header and begin another (RFC 5322, section 2.2), so what
holds one is refused; nothing is taken out in silence.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import idna

from narthex.base.errors import Malformed, quoted

MAX_SUBJECT_CHARACTERS: Final = 200
MAX_NAME_CHARACTERS: Final = 200
MAX_LINK_CHARACTERS: Final = 4096
MAX_ADDRESS_BYTES: Final = 254  # RFC 5321, section 4.5.3.1.3, without its two brackets
# RFC 5322, section 3.2.3 (atext), the dot, and what RFC 6531 adds. Without quotes, brackets, commas, colons and
# comments: those make one text two different addresses to two readers. Dots may stand anywhere, as some do.
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
# An encoded word (RFC 2047) in what we are given would be decoded by the reader, into anything at all.
_ENCODED_WORD: Final = "=?"
# Controls, surrogates, and the two separators that break lines.
_BREAKING: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


class MailAddressInvalid(Malformed):
    """A text is no mail address, or not one that means the same to everybody who reads it."""

    code, spec = "mail-address-invalid", "RFC 5321 section 4.1.2; RFC 6531 section 3.3"
    advice = "give one address such as `user@example.com`, without a name, quotes or brackets"


class MailFieldInvalid(Malformed):
    """Something that is to stand in a mail has a line break or a control character, or is too long."""

    code, spec = "mail-field-invalid", "RFC 5322 section 2.2"
    advice = "take out line breaks, control characters and `=?`, and make it shorter"


def parse_address(text: str) -> str:
    """Read a mail address, and spell its domain in lower case and ASCII, as the wire has it.

    Exactly one `@`, neither first nor last, as the compatible API asks. Beyond it: no spaces, quotes, brackets or
    encoded words, and a domain that is one.

    Raises:
        MailAddressInvalid.

    >>> parse_address("Jo.Doe+tag@Bücher.Example")
    'Jo.Doe+tag@xn--bcher-kva.example'
    """
    local_part, _, domain = text.partition("@")
    if text.count("@") != 1 or not local_part or not domain:
        raise MailAddressInvalid(f"{quoted(text)} does not have exactly one `@` between two parts")
    if not _is_local_part(local_part):
        raise MailAddressInvalid(f"{quoted(text)} has characters before the `@` that an address cannot have")
    address = f"{local_part}@{_parse_domain(domain)}"
    if len(address.encode()) > MAX_ADDRESS_BYTES:
        raise MailAddressInvalid(f"{quoted(text)} is longer than {MAX_ADDRESS_BYTES} bytes")
    return address


def _is_local_part(text: str) -> bool:
    # Mail servers may compare addresses in this form, where one character can become an `@` or a bracket.
    folded = unicodedata.normalize("NFKC", text)
    return text.isprintable() and _ENCODED_WORD not in text and all(map(_LOCAL_PART.match, (text, folded)))


def _parse_domain(text: str) -> str:
    try:
        # Not Python's own codec, which knows IDNA of 2003: that one turns `straße.example` into somebody else's domain.
        domain = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except UnicodeError as e:
        raise MailAddressInvalid(f"{quoted(text)} is not a domain") from e
    labels = domain.split(".")
    if len(domain) > 253 or not all(map(_LABEL.match, labels)) or labels[-1].isdigit():
        raise MailAddressInvalid(f"{quoted(text)} is not a domain")
    return domain


def check_header(what: str, text: str, *, most: int = MAX_SUBJECT_CHARACTERS) -> str:
    """Check that a text may stand in a header, and give it back.

    Args:
        what: how a message calls it.
        most: characters.

    Raises:
        MailFieldInvalid.
    """
    if len(text) > most:
        raise MailFieldInvalid(f"{what} is longer than {most} characters")
    if breaks_lines(text) or _ENCODED_WORD in text:
        raise MailFieldInvalid(f"{what} {quoted(text)} has a line break, a control character or an encoded word")
    return text


def check_body(what: str, text: str) -> str:
    """Check that a text may be the body of a mail, and give it back: line feeds and tabs, and no other controls.

    Raises:
        MailFieldInvalid.
    """
    if breaks_lines(text.replace("\n", "").replace("\t", "")):
        raise MailFieldInvalid(f"{what} has a control character other than a line feed or a tab")
    return text


def check_sender_name(name: str) -> str:
    """Check the name that an application's mails are from, and give it back; it may be empty.

    Raises:
        MailFieldInvalid.
    """
    return check_header("the sender's name", name, most=MAX_NAME_CHARACTERS)


def breaks_lines(text: str) -> bool:
    """Whether a text has a character that ends a line, or another control."""
    return any(unicodedata.category(character) in _BREAKING for character in text)
