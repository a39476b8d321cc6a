"""Aliases: other names of a user.

The compatible API names an alias by its reference hash, ``base64(SHA-256(app id ‖ alias))``, which anybody who
copies the table could search. The table therefore keeps a MAC of that hash under the server's pepper, and the
hash itself only wrapped; hashes imported from the reference still match.

Aliases are compared exactly: no case folding, no trimming, no normalization. A new alias must therefore look like no
other one: two that differ, and that people cannot tell apart, would lead one user into the account of another.
`check_aliases` refuses what would make such pairs. It cannot refuse all of them: a word that is spelt as a whole in
letters of another alphabet is a word of that alphabet. What is asked for at a sign-in is not checked, only looked up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from narthex.base.errors import Malformed, quoted
from narthex.ports.changes import AliasTaken
from narthex.ports.records import Alias
from narthex.usecases.call import Call

MOST_ALIASES = 10
LONGEST_ALIAS = 250

_SPACES: Final = " \u3000"
"""The two that people type inside a name: the common one, and the wide one of Japanese."""
_UNSEEN_CATEGORIES: Final = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Controls, formats (zero width, direction of writing), unassigned, private, surrogates, separators of lines."""
_UNSEEN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Fillers, blanks and variation selectors: marks, letters and signs by category, and nothing to look at."""
_ALPHABETS_ALIKE: Final = frozenset(
    ("LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "FULLWIDTH", "MATHEMATICAL")
)
"""How the names of letters begin, for alphabets that share shapes with the Latin one or with one another."""
_APOSTROPHES: Final = "'\u2019"


class AliasesInvalid(Malformed):
    """The aliases of a user are too many, blank, or too long."""

    code = "aliases-invalid"
    advice = f"use {MOST_ALIASES} aliases at most, each of 1 to {LONGEST_ALIAS} characters"


class AliasWhitespace(Malformed):
    """An alias begins or ends with white space, or has some inside that looks like a single space and is none."""

    code = "alias-whitespace"
    advice = "trim the alias, and use single common spaces inside: aliases are compared exactly"


class AliasInvisible(Malformed):
    """An alias has a character that nobody sees: another alias without it would look the same."""

    code = "alias-invisible-characters"
    advice = "take out control characters, zero-width characters and those that turn the direction of writing"


class AliasNotNormalized(Malformed):
    """An alias is not in Unicode's normalization form C: the same text may be spelt in another way."""

    code, spec = "alias-not-normalized", "UAX #15"
    advice = "normalize aliases to NFC before you send them, here and at each sign-in"


class AliasConfusable(Malformed):
    """A word of an alias mixes letters of alphabets that look alike, such as Latin and Cyrillic."""

    code, spec = "alias-confusable", "UTS #39, section 5"
    advice = "spell each word of the alias in one alphabet"


def wrong_shape(aliases: Sequence[str | None]) -> str | None:
    """What the compatible API says against a set of aliases, to be read after their name; None for nothing."""
    if len(set(aliases)) > MOST_ALIASES:
        return f"cannot hold more than {MOST_ALIASES} aliases"
    if any(not (alias or "").strip() for alias in aliases):
        return "cannot hold a blank alias"
    if any(len(alias or "") > LONGEST_ALIAS for alias in aliases):
        return f"cannot hold an alias longer than {LONGEST_ALIAS} characters"
    return None


def check_aliases(aliases: Sequence[str]) -> tuple[str, ...]:
    """Pass aliases that a user may be given; each once.

    Raises:
        AliasesInvalid, AliasWhitespace, AliasInvisible, AliasNotNormalized, AliasConfusable.
    """
    if (wrong := wrong_shape(aliases)) is not None:
        raise AliasesInvalid(f"the aliases {wrong}")
    for alias in aliases:
        _check_spaces(alias)
        _check_seen(alias)
        if not unicodedata.is_normalized("NFC", alias):
            raise AliasNotNormalized(f"alias {quoted(alias)} is not in normalization form C")
        _check_words(alias)
    return tuple(dict.fromkeys(aliases))


def _check_spaces(alias: str) -> None:
    if alias != alias.strip():
        raise AliasWhitespace(f"alias {quoted(alias)} begins or ends with white space")
    strange = any(unicodedata.category(each) == "Zs" and each not in _SPACES for each in alias)
    if strange or any(f"{one}{other}" in alias for one in _SPACES for other in _SPACES):
        raise AliasWhitespace(f"alias {quoted(alias)} has spaces inside that are not single common ones")


def _check_seen(alias: str) -> None:
    for each in alias:
        if each in _UNSEEN or unicodedata.category(each) in _UNSEEN_CATEGORIES:
            named = f"U+{ord(each):04X} {unicodedata.name(each, '')}".strip()
            raise AliasInvisible(f"alias {quoted(alias)} has the invisible character {named}")


def _check_words(alias: str) -> None:
    """Words go on through digits, marks and apostrophes: `о'brien` and `а1ice` with a Cyrillic letter are one each."""
    alphabets: set[str] = set()
    for each in alias:
        kind = unicodedata.category(each)[0]
        if kind not in "LMN" and each not in _APOSTROPHES:
            alphabets.clear()
            continue
        alphabet = unicodedata.name(each, "").partition(" ")[0] if kind == "L" else ""
        if alphabet in _ALPHABETS_ALIKE:
            alphabets.add(alphabet)
        if len(alphabets) > 1:
            mixed = " and ".join(sorted(name.title() for name in alphabets))
            raise AliasConfusable(f"alias {quoted(alias)} mixes {mixed} letters in one word")


def reference_hash(app_id: str, alias: str) -> bytes:
    """The 32 bytes by which the compatible API names an alias: exact, no case folding, no trimming."""
    return sha256((app_id + alias).encode()).digest()


def listed_hash(call: Call, alias: Alias) -> bytes:
    """The reference hash of an alias that is kept."""
    return call.keyring.unwrap("alias-hash", _hash_context(call.application.app_id, alias.mac), alias.sealed_hash)


def alias_mac(call: Call, alias: str) -> bytes:
    """What the store knows the alias by."""
    return call.keyring.mac("alias", reference_hash(call.application.app_id, alias))


def alias_records(call: Call, aliases: Sequence[str], *, hashing: bool) -> tuple[Alias, ...]:
    """Make the records of a user's aliases, each once."""
    return tuple(_alias_record(call, alias, hashing=hashing) for alias in dict.fromkeys(aliases))


def _alias_record(call: Call, alias: str, *, hashing: bool) -> Alias:
    name = reference_hash(call.application.app_id, alias)
    mac = call.keyring.mac("alias", name)
    return Alias(
        mac=mac,
        sealed_hash=call.keyring.wrap("alias-hash", _hash_context(call.application.app_id, mac), name),
        plaintext=None if hashing else alias,
    )


def _hash_context(app_id: str, mac: bytes) -> bytes:
    return app_id.encode() + mac


async def refuse_taken(call: Call, user_id: str, aliases: Sequence[str]) -> None:
    """Pass when no other user bears one of the aliases.

    Raises:
        AliasTaken: somebody does.
    """
    if not aliases:
        return
    owners = await call.store.find_alias_owners([alias_mac(call, alias) for alias in aliases])
    if any(owner != user_id for owner in owners):
        raise AliasTaken("an alias is already in use by another user of this application")
