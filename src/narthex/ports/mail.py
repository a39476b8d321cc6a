"""What the house asks of a mail server."""

from __future__ import annotations

from typing import Protocol

import msgspec

from narthex.base.errors import Unavailable


class MailUnavailable(Unavailable):
    """The mail could not be handed over; nobody has it."""

    code = "mail-unavailable"
    advice = "try again in a moment; the operator can look with `narthex doctor`"


class MailRefused(MailUnavailable):
    """The mail server will never take this mail, so trying again is of no use."""

    code = "mail-refused"
    advice = "check the recipient's address; the words of the mail server say more"


class Message(msgspec.Struct, frozen=True):
    """A mail to one person, as text and, beside it, as HTML."""

    recipient: str
    """An address without a name."""
    sender_name: str
    """What stands beside the server's own address; may be empty."""
    subject: str
    text: str
    html: str = ""


class Mail(Protocol):
    """Hands mails over."""

    async def send(self, message: Message) -> None:
        """Hand a mail over; when this returns, somebody else answers for it. Raises `MailUnavailable`."""
        ...

    async def check(self) -> None:
        """Ask whether mails would be taken, without sending one. Raises `MailUnavailable`."""
        ...
