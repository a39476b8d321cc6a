"""Reading a body the way the official SDKs need it read.

The compatible API (its section 2.1) matches member names in any case, takes a number wherever a text is
wanted (``"userId": 42``) and a text wherever a number is (``"timeToLive": "30"``), and ignores members that it
does not know. All of that lives here and nowhere deeper: past this door a body is a typed struct.

Bounded: the size, the nesting, and what a text may hold. A NUL character is refused, because not every
database can keep it.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, UnsetType

from narthex.http.problems import BodyMalformed, QueryMalformed, ValidationFailed

MOST_NESTING = 32
MOST_QUERY_MEMBERS = 100
# A string that never ends runs to the end of the bytes, so that none of its quotes begins another search.
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NO_VALUES = (type(None), UnsetType)
_INT64 = range(-(2**63), 2**63)

_PATH = re.compile(r" - at `\$\.?([^`]+)`\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a member must be like."""

    broken: Callable[[Any], str | None]
    """Given a value, the sentence that says what is wrong with it, or None. ``{}`` stands for the member's name.
    Another sentence may follow on a line of its own."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """The same in JSON Schema, as far as it can say it: what keeps to these may still be refused."""
    needed: bool = False
    """Whether the member must be there, and not null."""


class Body(msgspec.Struct, rename="camel"):
    """A request body. Every member has a default, so that what is missing is named by the rules."""

    rules: ClassVar[Mapping[str, tuple[Rule, ...]]] = {}

    @classmethod
    def spelled(cls, name: str) -> str:
        """A member's name as sentences about it spell it."""
        return camel(name)


B = TypeVar("B", bound=Body)


def read_body(raw: bytes, shape: type[B]) -> B:
    """Decode and check a body.

    Raises:
        BodyMalformed: it is not JSON, not an object, nested too deeply, or a member has the wrong type.
        ValidationFailed: members break the rules of the shape.
    """
    body = _typed(_decoded(raw), shape)
    errors = _broken_rules(body)
    if errors:
        raise ValidationFailed(errors)
    return body


def read_query(raw: bytes, shape: type[B]) -> B:
    """Decode and check a query: names in any case, an empty value counts as none, a list is a name that is repeated.

    Raises:
        QueryMalformed: it is not UTF-8, has too many members, or one of a wrong type.
        ValidationFailed: members break the rules of the shape.
    """
    members, given = _members(shape), dict[str, Any]()
    for name, value in _pairs(raw):
        member = members.get(folded(name))
        if member is None or not value:
            continue
        if typing.get_origin(member[1]) is list:
            given.setdefault(member[0], []).append(value)
        else:
            given.setdefault(member[0], value)
    try:
        query = _typed(given, shape)
    except BodyMalformed as e:
        raise QueryMalformed(e.message) from e
    errors = _broken_rules(query)
    if errors:
        raise ValidationFailed(errors)
    return query


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode("ascii"), errors="strict", keep_blank_values=True, max_num_fields=MOST_QUERY_MEMBERS
        )
    except ValueError as e:
        raise QueryMalformed("the query cannot be read") from e


def _decoded(raw: bytes) -> dict[str, Any]:
    _refuse_deep(raw)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise BodyMalformed("the body is not valid JSON in UTF-8") from e
    if not isinstance(value, dict):
        raise BodyMalformed("the body is not a JSON object")
    return value


def _refuse_deep(raw: bytes) -> None:
    """Take the innermost pairs of brackets away, level by level; what is left after all levels is too deep."""
    if raw.count(b"{") + raw.count(b"[") <= MOST_NESTING:
        return
    brackets = _JSON_STRING.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(MOST_NESTING):
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            break
        brackets = outer
    if brackets:
        raise BodyMalformed(f"the body is nested more than {MOST_NESTING} levels deep, or its brackets do not match")


def _typed(value: dict[str, Any], shape: type[B]) -> B:
    try:
        return msgspec.convert(_fitted_struct(value, shape), shape, strict=False)
    except (msgspec.ValidationError, OverflowError) as e:
        # Only the place is told: the decoder's words are about our types.
        place = _PATH.search(str(e))
        raise BodyMalformed(f"{f'`{place[1]}`' if place else 'a member'} has the wrong type") from e


def _fitted_struct(value: dict[str, Any], shape: type[msgspec.Struct]) -> dict[str, Any]:
    members = _members(shape)
    fitted: dict[str, Any] = {}
    for name, inner in value.items():
        member = members.get(folded(name))
        if member is not None:
            fitted[member[0]] = _fitted(inner, member[1])
    return fitted


def folded(name: str) -> str:
    """In lower case, ASCII alone: Python also makes `k` of the Kelvin sign, and one name would have two spellings."""
    return name.lower() if name.isascii() else name


def _fitted(value: Any, wanted: Any) -> Any:
    if value is None:
        return None
    if wanted is str:
        return _text(value)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _fitted_struct(value, wanted) if isinstance(value, dict) else value
    if typing.get_origin(wanted) is list and isinstance(value, list):
        inner = _less_none(typing.get_args(wanted)[0])
        return [_fitted(each, inner) for each in value]
    return value


def _text(value: Any) -> str:
    match value:
        case str():
            text = value
        case bool() | dict() | list():
            text = msgspec.json.encode(value).decode()
        case int() if value in _INT64:
            text = str(value)
        case _:
            text = _decimal(float(value))
    if "\x00" in text:
        raise BodyMalformed("a text has a NUL character")
    return text


def _decimal(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value).upper()


@cache
def _members(shape: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """By lower-case name: the name as the struct spells it, and the type that is wanted, less None."""
    return {
        field.encode_name.lower(): (field.encode_name, _less_none(field.type))
        for field in msgspec.structs.fields(shape)
    }


def _less_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [each for each in typing.get_args(annotation) if each not in _NO_VALUES]
        return members[0] if len(members) == 1 else annotation
    return annotation


def _broken_rules(body: Body) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    for name, rules in body.rules.items():
        value = getattr(body, name)
        if value is UNSET:
            continue
        sentences = [text.format(body.spelled(name)) for rule in rules if (text := rule.broken(value))]
        if sentences:
            errors[camel(name)] = sentences[0].split("\n")
    return errors


def _absence(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "The {} field is required."
    return None


required = Rule(_absence, needed=True)
"""The member is there, and not blank."""

needed = Rule(lambda _: None, needed=True)
"""The member is there. That it is not is refused deeper, by a code of its own."""


def at_most_characters(most: int) -> Rule:
    """The text is no longer than that."""

    def broken(value: str | None) -> str | None:
        return f"{{}} cannot be longer than {most} characters." if value is not None and len(value) > most else None

    return Rule(broken, {"maxLength": most})


def at_most_bytes(most: int) -> Rule:
    """The text is no longer than that in UTF-8."""

    def broken(value: str | None) -> str | None:
        too_long = value is not None and len(value.encode()) > most
        return f"{{}} cannot be longer than {most} bytes in UTF-8." if too_long else None

    # JSON Schema counts characters, of which none has less than a byte.
    return Rule(broken, {"maxLength": most})


def between(least: int, most: int) -> Rule:
    """The number lies within these bounds, both included."""

    def broken(value: int | None) -> str | None:
        outside = value is not None and not least <= value <= most
        return f"The field {{}} must be between {least} and {most}." if outside else None

    return Rule(broken, {"minimum": least, "maximum": most})


def camel(name: str) -> str:
    """``user_id`` as JSON spells it: ``userId``."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
