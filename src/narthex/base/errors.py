"""Every refusal of the house, by family.

A refusal is a class. Its family says what kind of "no" it is, and only ``http/problems`` knows which
status a family becomes. ``code`` names the refusal for machines and never changes meaning; the message is
for the person who reads the log: lower case, no full stop, the user's input in backticks. Advice, what to
do about it, is a field of its own.

A room that refuses for reasons of its own keeps those classes beside its code; only refusals that several
rooms share live here.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final


class Refusal(Exception):
    """A "no" that we foresaw and can explain.

    Args:
        message: what is wrong, for a person.
        advice: what to do about it; None takes the class's own.
        **details: facts for machines, shown as extra members of the problem document.
    """

    code: ClassVar[str] = "refused"
    spec: ClassVar[str | None] = None
    advice: str | None = None

    def __init__(self, message: str, *, advice: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if advice is not None:
            self.advice = advice


class Malformed(Refusal):
    """The input is not what it claims to be: it cannot be read at all."""

    code = "malformed"


class Rejected(Refusal):
    """The input was read and understood, and a rule says no."""

    code = "rejected"


class Unauthenticated(Refusal):
    """The caller did not prove who it is."""

    code = "unauthenticated"


class Forbidden(Refusal):
    """The caller is known and may not do this."""

    code = "forbidden"


class NotFound(Refusal):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    code = "not-found"


class Conflict(Refusal):
    """The thing exists already, or changed under the caller."""

    code = "conflict"


class RateLimited(Refusal):
    """Too many, too fast. ``retry_after_s`` says when to come back."""

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after_s: int, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_s = retry_after_s


class Unavailable(Refusal):
    """We cannot answer just now; the same request may succeed later."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 1, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_s = retry_after_s


SHOWN_CHARACTERS: Final = 80


def quoted(text: object) -> str:
    """Show a stranger's input in a message: in backticks, printable, and no longer than a line.

    >>> quoted("https://example.org")
    '`https://example.org`'
    """
    raw = str(text)
    shown = "".join(c if c.isprintable() and c != "`" else "�" for c in raw[:SHOWN_CHARACTERS])
    return f"`{shown}…`" if len(raw) > SHOWN_CHARACTERS else f"`{shown}`"


FAMILIES: tuple[type[Refusal], ...] = (
    Malformed,
    Rejected,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    RateLimited,
    Unavailable,
)
