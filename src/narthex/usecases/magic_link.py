"""Magic links: a mail whose link signs its reader in, for a user whom the backend names.

`send_magic_link` refuses what may not go, counts the mail before it goes, and uncounts it when it could not be handed
over. Where the mail leads is the application's choice:

* By default (`magic_link_confirmation`), to a page of this server. Looking at it (`read_link`) uses nothing up, for
  scanners open every link of a mail; a click (`open_link`) spends the ticket and makes the sign-in token.
* Straight to the backend's address with a sign-in token in it, as the compatible API has it (its section 7.11). Then
  whoever opens the link first has the token.

That a link was opened shows that somebody reads the mailbox, and no more: no magic link is phishing-resistant. Nothing
here checks that the address is the user's; the backend says so.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from narthex.base.errors import Forbidden, Malformed, RateLimited, Rejected, Unavailable, quoted
from narthex.base.mail import parse_address
from narthex.ports.changes import ClaimMail, MailQuotaReached, NonceSpent, ReleaseMail, SpendNonce
from narthex.ports.mail import Message
from narthex.ports.records import Application, DispatchedMail, EventType
from narthex.tokens.payloads import LinkTicket, refuse_expired
from narthex.tokens.sealed import TokenKind
from narthex.usecases.call import Call, OperatorCall, time_ordered_id
from narthex.usecases.event import log
from narthex.usecases.limit import (
    MAGIC_LINKS_OF_APPLICATION,
    MAGIC_LINKS_OF_USER,
    count_for_application,
    count_for_user,
)
from narthex.usecases.mail_template import MAGIC_LINK, compose
from narthex.usecases.new_application import may_be_written_to
from narthex.usecases.sign_in_token import MAGIC_LINK_TYPE, seal_sign_in_token
from narthex.usecases.token_key import open_token, seal_token
from narthex.webauthn.assurance import Assurance, Method, unproven
from narthex.webauthn.errors import OriginMalformed
from narthex.webauthn.origin import canonical_origin

DEFAULT_LIVES_S: Final = 3600
MAX_TEMPLATE_CHARACTERS: Final = 2000
MOST_PLACES: Final = 4
"""How often `$TOKEN` may stand in a template: each is some seven hundred characters of the link."""
OPENED_TOKEN_LIVES: Final = timedelta(seconds=120)
"""As after a passkey: once the link is clicked, the token is on its way to the backend."""
QUOTA_WINDOW: Final = timedelta(days=30)
QUOTA_STEPS: Final = ((timedelta(days=1), 20), (timedelta(days=3), 50), (QUOTA_WINDOW, 75))
"""Applications younger than this may send so many hundredths of their quota."""

_TOKEN = re.compile(r"\$TOKEN", re.IGNORECASE | re.ASCII)
# RFC 3986, section 2. A backslash is none of them: browsers read it as a slash, and others do not.
_OF_URLS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z")
_WEB = re.compile(r"https?://([^/?#]*)", re.IGNORECASE | re.ASCII)


class MagicLinksOff(Forbidden):
    """The application sends no magic links."""

    code = "magic-links-off"
    advice = "ask the operator to enable magic links for this application"


class UrlTemplateInvalid(Malformed):
    """A link cannot be made of the address that magic links are to lead to."""

    code = "url-template-invalid"
    advice = "send an address such as `https://www.example.com?token=$TOKEN`"


class UrlTemplateWithoutToken(UrlTemplateInvalid):
    """The address that magic links are to lead to has no place for the token."""

    code = "url-template-without-token"


class MagicLinkOriginNotAllowed(Rejected):
    """Magic links of this application lead to the origins on its list, and this is none of them."""

    code = "magic-link-origin-not-allowed"
    advice = "use an address at one of these origins, or ask the operator to add this one"


class RecipientNotAdmin(Forbidden):
    """The application is new, and sends magic links to its own administrators only."""

    code = "magic-link-email-admin-address-only"
    advice = "send to an administrator's address, or wait until the application is older"


class MagicLinkQuotaReached(RateLimited):
    """The application has sent as many magic links as it may in 30 days."""

    code = "magic-link-email-quota-exceeded"
    advice = (
        "wait until older links no longer count, or ask the operator for a larger quota: an application younger than "
        "30 days may use only a part of it"
    )


class MailNotSetUp(Unavailable):
    """The server has no way to send mails."""

    code = "mail-not-set-up"
    advice = "the operator sets `NARTHEX_MAIL` and `NARTHEX_MAIL_FROM`"


def check_url_template(template: str) -> None:
    """Pass an address that a token can be put into, and that leads nowhere but to a page of the web.

    `$TOKEN` may stand in the path, the query or the fragment; a fragment never reaches a server or its log.

    Raises:
        UrlTemplateWithoutToken, UrlTemplateInvalid.

    >>> check_url_template("https://example.com/in#token=$TOKEN")
    """
    places = len(_TOKEN.findall(template))
    if not places:
        raise UrlTemplateWithoutToken("the address has no `$TOKEN`")
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise UrlTemplateInvalid(f"the address is longer than {MAX_TEMPLATE_CHARACTERS} characters")
    if "\\" in template:
        raise UrlTemplateInvalid("the address has a backslash")
    if not _OF_URLS.match(template):
        raise UrlTemplateInvalid("the address has a space, a line break, or another character that no URL has")
    web = _WEB.match(template)
    if web is None:
        raise UrlTemplateInvalid("the address does not begin with `https://` or `http://`")
    if "@" in web[1]:
        raise UrlTemplateInvalid("the address has a user name or a password")
    if "$" in web[1]:
        raise UrlTemplateInvalid("the address has `$TOKEN` in its host")
    try:
        canonical_origin(web[0])
    except OriginMalformed as e:
        raise UrlTemplateInvalid("the address has a host or a port that cannot be read") from e
    if places > MOST_PLACES:
        raise UrlTemplateInvalid(f"the address has `$TOKEN` more than {MOST_PLACES} times")


def host_of(template: str) -> str:
    """The host that a checked template leads to, without its port.

    >>> host_of("https://Example.com:8443/in?t=$TOKEN")
    'example.com'
    """
    return urlsplit(canonical_origin(template)).hostname or ""


def filled(template: str, token: str) -> str:
    """The template with the token in every place for it.

    Beyond the compatible API, which accepts `$token` and then leaves it as it stands: what is accepted is filled in.

    >>> filled("https://example.com/$TOKEN?again=$TOKEN", "verify_1")
    'https://example.com/verify_1?again=verify_1'
    """
    return _TOKEN.sub(lambda _: token, template)


async def send_magic_link(
    call: Call, *, email: str, user_id: str, url_template: str, time_to_live_s: int, locale: str
) -> None:
    """Mail a link that signs the user in. The user need not exist.

    Args:
        time_to_live_s: 1 … 604 800.
        locale: the language tag that the reader wants; empty for none.

    Raises:
        MailAddressInvalid, UrlTemplateInvalid, MagicLinksOff, MagicLinkOriginNotAllowed, RateLimited,
        RecipientNotAdmin, MagicLinkQuotaReached, MailNotSetUp, MailFieldInvalid, MailUnavailable.
    """
    recipient = parse_address(email)
    check_url_template(url_template)
    _require_allowed(call, url_template)
    await count_for_application(call, MAGIC_LINKS_OF_APPLICATION)
    await count_for_user(call, MAGIC_LINKS_OF_USER, user_id)
    _refuse_strangers(call, recipient)
    mail_id = time_ordered_id(call.now, call.random)
    # Written before it is counted: what cannot be a mail is nobody's quota.
    message = await _message(
        call, recipient=recipient, user_id=user_id, url_template=url_template, lives_s=time_to_live_s, locale=locale
    )
    await _claim(call, DispatchedMail(mail_id, call.now, user_id, recipient, url_template))
    await _hand_over(call, message, mail_id)
    changes = log(
        call,
        EventType.ApiUserMagicLinkCreated,
        "magic link sent",
        performed_by=user_id,
        subject=call.application.app_id,
    )
    if changes:
        await call.store.commit(*changes)


async def read_link(call: Call, ticket: str) -> LinkTicket:
    """What a link would do, without doing it, whether or not it still does it.

    Raises:
        InvalidToken, InvalidTokenFormat.
    """
    return await open_token(call, ticket, TokenKind.LINK, LinkTicket)


async def require_unused(call: Call, link: LinkTicket) -> None:
    """Pass while a link can still be used.

    Raises:
        ExpiredToken, NonceSpent.
    """
    refuse_expired(link.expires_at, now=call.now)
    if await call.store.is_spent(link.ticket_id):
        raise NonceSpent("the link was used before")


def is_served(call: Call, link: LinkTicket) -> bool:
    """Whether the application still lets links lead there: what was decided after the mail went counts."""
    if call.application.is_closed or not call.application.settings.magic_links:
        return False
    return _may_lead_to(call, link.url_template)


async def open_link(call: Call, link: LinkTicket) -> str:
    """Use a link up; gives the address with a sign-in token to go to.

    Args:
        link: unused so far, and served.

    Raises:
        NonceSpent: somebody was faster.
        ApplicationGone.
    """
    assurance = _by_link(call, device=call.caller.device, address=call.caller.address)
    # Sealed before it is earned: once the ticket is spent, nothing that can fail may stand in its way.
    token = await _seal(call, assurance, link, lives=OPENED_TOKEN_LIVES)
    await call.store.commit(
        SpendNonce(nonce=link.ticket_id, expires_at=link.expires_at),
        *log(
            call,
            EventType.ApiUserMagicLinkOpened,
            "magic link opened",
            performed_by=link.user_id,
            subject=call.application.app_id,
        ),
    )
    return filled(link.url_template, token)


async def count_sent(call: OperatorCall, application: Application) -> int:
    """How many magic links an application has sent, of those that still count against its quota."""
    return await call.root.tenant(application.app_id).count_mails(since=call.now - QUOTA_WINDOW)


def monthly_quota(application: Application, age: timedelta) -> int:
    """How many magic links an application of an age may send in 30 days.

    The compatible API's section 9.8: young applications get a part, rounded down.
    """
    monthly = application.settings.magic_link_monthly_quota
    percent = next((percent for until, percent in QUOTA_STEPS if age < until), 100)
    return monthly * percent // 100


def _require_allowed(call: Call, url_template: str) -> None:
    if not call.application.settings.magic_links:
        raise MagicLinksOff("magic links are disabled for this application")
    if not _may_lead_to(call, url_template):
        origin = canonical_origin(url_template)
        raise MagicLinkOriginNotAllowed(f"magic links of this application may not lead to {quoted(origin)}")


def _may_lead_to(call: Call, url_template: str) -> bool:
    allowed = call.application.settings.magic_link_origins
    return not allowed or canonical_origin(url_template) in allowed


def _refuse_strangers(call: Call, recipient: str) -> None:
    if not may_be_written_to(call, recipient):
        raise RecipientNotAdmin("a new application sends magic links to its administrators only")


async def _message(
    call: Call, *, recipient: str, user_id: str, url_template: str, lives_s: int, locale: str
) -> Message:
    settings, lives = call.application.settings, timedelta(seconds=lives_s)
    link = LinkTicket(
        ticket_id=time_ordered_id(call.now, call.random),
        expires_at=call.now + lives,
        user_id=user_id,
        url_template=url_template,
        locale=locale,
    )
    if settings.magic_link_confirmation:
        ticket = await seal_token(call, TokenKind.LINK, link)
        address = f"{call.facilities.public_url}/magic-link/{call.application.app_id}/{ticket}"
    else:
        address = filled(url_template, await _seal(call, _by_link(call), link, lives=lives))
    return compose(
        MAGIC_LINK,
        templates=settings.mail_templates,
        locale=locale,
        sender_name=settings.mail_sender_name,
        recipient=recipient,
        host=host_of(url_template),
        time=call.now,
        until=link.expires_at,
        link=address,
    )


async def _claim(call: Call, mail: DispatchedMail) -> None:
    quota = monthly_quota(call.application, call.now - call.application.created_at)
    try:
        await call.store.commit(ClaimMail(mail=mail, since=call.now - QUOTA_WINDOW, most=quota))
    except MailQuotaReached as e:
        a_day_s = int(timedelta(days=1).total_seconds())
        raise MagicLinkQuotaReached(
            f"the quota of {quota} magic links in 30 days is used up", retry_after_s=a_day_s
        ) from e


async def _hand_over(call: Call, message: Message, mail_id: bytes) -> None:
    """Send a mail that was counted; one that does not go, for whatever reason, is uncounted."""
    is_sent = False
    try:
        if call.facilities.mail is None:
            raise MailNotSetUp("no mail server is set up")
        await call.facilities.mail.send(message)
        is_sent = True
    finally:
        if not is_sent:
            await call.store.commit(ReleaseMail(mail_id=mail_id))


async def _seal(call: Call, assurance: Assurance, link: LinkTicket, *, lives: timedelta) -> str:
    return await seal_sign_in_token(
        call,
        assurance,
        kind=MAGIC_LINK_TYPE,
        user_id=link.user_id,
        purpose=None,
        lives=lives,
        host=host_of(link.url_template),
        locale=link.locale,
    )


def _by_link(call: Call, *, device: str = "", address: str = "") -> Assurance:
    """Somebody reads the mailbox, and nothing else is shown."""
    return unproven(
        Method.EMAIL_LINK,
        assurance_id=time_ordered_id(call.now, call.random),
        auth_time=call.now,
        ip=address,
        device=device,
        mds_number=call.metadata.number,
        mds_stale=call.metadata.is_stale(call.now),
    )
