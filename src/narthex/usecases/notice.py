"""Notices: mails that tell a user what just happened to the account, so that a stranger's act does not stay unseen.

There are two kinds: a passkey was made, and a link from a mail was used to sign in. A notice is a delivery that is
committed together with the act it tells of: there is none without the other, and a mail server that is away delays
neither the user nor the act. No limit holds a notice back, for whoever reached it would act unseen: each costs an act
that itself happens once.

Addresses are those that the backend gave, as aliases kept in clear or as `noticeEmail`; never one that a browser names.
A new application tells its administrators only, as with magic links: whoever has just made one could otherwise have
this server write to the world, once for each passkey that a program makes for it.
What browsers say of themselves is shown only where nobody can write a message to the reader with it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from narthex.base.mail import MailAddressInvalid, parse_address
from narthex.ports.changes import AddDelivery, Change
from narthex.ports.limits import Limit
from narthex.ports.mail import Message
from narthex.ports.records import Alias, Credential, Delivery, DeliveryKind, EventType
from narthex.tokens.payloads import RegistrationSession, VerifyToken
from narthex.usecases.assurance import unpacked
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.event import log
from narthex.usecases.mail_template import NEW_PASSKEY, RECOVERY, compose
from narthex.usecases.new_application import may_be_written_to

MOST_RECIPIENTS: Final = 20
"""A user has ten aliases, and may be given ten others in the act that is told of."""
NOTICES_OF_TOKEN: Final = Limit("notices-of-token", most=1, window_s=60)
"""Where a sign-in token may be verified more than once, only one notice of it a minute."""

# Some browsers name themselves as they like. Mail readers make links of what has dots, slashes or colons, and of the
# numbers of telephones; what is longer tells a story.
_DEVICE = re.compile(r"(?!.*[0-9]{4})[A-Za-z0-9 ,_()+-]{1,48}\Z")


async def new_passkey_notices(call: Call, ceremony: RegistrationSession, credential: Credential) -> list[Change]:
    """The changes that tell a user of a new passkey."""
    if call.facilities.mail is None:
        return []
    # Also where they are about to be replaced: whoever was the user until now shall hear of it.
    known = await _addresses_kept(call, ceremony.user_id)
    if call.application.settings.notices and ceremony.aliases is not None and not ceremony.alias_hashing:
        known += ceremony.aliases
    recipients = _addresses((ceremony.notice_email, *known))
    return _notices(
        call, NEW_PASSKEY, recipients, user_id=ceremony.user_id, host=credential.rp_id, device=credential.device
    )


async def recovery_notices(call: Call, token: VerifyToken) -> list[Change]:
    """The changes that tell a user of a sign-in by a link from a mail."""
    if call.facilities.mail is None or not await _is_first(call, token):
        return []
    assurance = unpacked(token.assurance)
    return _notices(
        call,
        RECOVERY,
        _addresses(await _addresses_kept(call, token.user_id)),
        user_id=token.user_id,
        host=token.host,
        device=assurance.device if assurance is not None else "",
        locale=token.locale,
    )


async def _is_first(call: Call, token: VerifyToken) -> bool:
    limiter = call.facilities.limiter
    if limiter is None or call.application.settings.single_use_verify_tokens:
        return True
    return await limiter.hit((NOTICES_OF_TOKEN, token.token_id.hex())) is None


async def _addresses_kept(call: Call, user_id: str) -> tuple[str, ...]:
    """The aliases that the application lets the user be told at."""
    if not call.application.settings.notices:
        return ()
    aliases: Sequence[Alias] = await call.store.list_aliases(user_id)
    return tuple(alias.plaintext for alias in aliases if alias.plaintext is not None)


def _addresses(texts: Iterable[str]) -> list[str]:
    """Those of the texts that are mail addresses, each once."""
    found: dict[str, str] = {}
    for text in texts:
        with contextlib.suppress(MailAddressInvalid):
            address = parse_address(text)
            found.setdefault(address.lower(), address)
    return list(found.values())[:MOST_RECIPIENTS]


def _notices(
    call: Call, kind: str, recipients: Sequence[str], *, user_id: str, host: str, device: str, locale: str = ""
) -> list[Change]:
    recipients = [recipient for recipient in recipients if may_be_written_to(call, recipient)]
    if not recipients:
        return []
    settings = call.application.settings
    messages = (
        compose(
            kind,
            templates=settings.mail_templates,
            locale=locale,
            sender_name=settings.mail_sender_name,
            recipient=recipient,
            host=host,
            time=call.now,
            device=device if _DEVICE.match(device) else "",
        )
        for recipient in recipients
    )
    return [
        *(AddDelivery(delivery=_delivery(call, kind, message)) for message in messages),
        *log(
            call,
            EventType.ApiUserNoticeSent,
            f"notice `{kind}` is on its way, to {len(recipients)} of the user's addresses",
            performed_by="System",
            subject=user_id,
        ),
    ]


def _delivery(call: Call, kind: str, message: Message) -> Delivery:
    return Delivery(
        delivery_id=time_ordered_id(call.now, call.random),
        kind=DeliveryKind.MAIL,
        target=b"",
        content=msgspec.msgpack.encode(message),
        subject=kind,
        created_at=call.now,
        next_try_at=call.now,
    )
