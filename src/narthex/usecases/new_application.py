"""The hold on new applications: whoever makes one to send mails to strangers must wait, and is found meanwhile."""

from __future__ import annotations

from narthex.usecases.call import Call


def may_be_written_to(call: Call, recipient: str) -> bool:
    """Whether the application is old enough to write to anybody, or this is one of its administrators."""
    application = call.application
    if call.now >= application.created_at + call.facilities.new_application_hold:
        return True
    return _folded(recipient) in map(_folded, application.settings.admin_emails)


def _folded(address: str) -> str:
    """In lower case, ASCII alone: Python also makes `k` of the Kelvin sign, and so of a stranger somebody else."""
    return address.lower() if address.isascii() else address
