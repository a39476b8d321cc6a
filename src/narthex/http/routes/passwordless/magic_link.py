"""Sending magic links (the compatible API's section 7.11)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from narthex.base.mail import MailAddressInvalid, parse_address
from narthex.http.authenticate import Access
from narthex.http.body import Rule, at_most_characters, between, required
from narthex.http.problems import sentence
from narthex.http.routes.passwordless.shapes import Request, UserId, told
from narthex.http.routing import route
from narthex.ports.records import Scope
from narthex.usecases.call import Call
from narthex.usecases.magic_link import (
    DEFAULT_LIVES_S,
    UrlTemplateInvalid,
    UrlTemplateWithoutToken,
    check_url_template,
    send_magic_link,
)
from narthex.usecases.sign_in_token import LONGEST_LIVES_S

_LONGEST_LOCALE = 35
# The compatible API's tests compare how these two begin.
_NO_TOKEN = (
    "You have provided a UrlTemplate without a $TOKEN template. "
    "Please include it like so: https://www.example.com?token=$TOKEN"
)
_NO_URL = "You have provided a UrlTemplate that cannot be converted to a URL."


def broken_address(value: str | None) -> str | None:
    """The sentence that says that a text is no mail address; nothing of one that is absent."""
    try:
        if value:
            parse_address(value)
    except MailAddressInvalid:
        return "The {} field is not a valid e-mail address."
    return None


def _broken_template(value: str | None) -> str | None:
    try:
        check_url_template(value or "")
    except UrlTemplateWithoutToken:
        return _NO_TOKEN
    except UrlTemplateInvalid as e:
        return f"{_NO_URL}\n{sentence(e.message)}"
    return None


MAIL_ADDRESS = Rule(broken_address, {"format": "email"})
"""The text is a mail address."""
_URL_TEMPLATE = Rule(_broken_template, {"format": "uri"})


class SendMagicLinkBody(Request):
    """Whom to mail a link that signs in, whom it signs in, and where it leads."""

    email_address: Annotated[str | None, told("One address, without a name.", "ann@example.com")] = None
    url_template: Annotated[
        str | None,
        told(
            "Your page, with `$TOKEN` where the sign-in token goes: in the path, the query or the fragment.",
            "https://example.com/magic?token=$TOKEN",
        ),
    ] = None
    user_id: UserId = None
    time_to_live: Annotated[int | None, told("How long the link works: 1 to 604800 seconds; 3600 without it.")] = None
    locale: Annotated[
        str | None, told("The language of the mail, as a tag such as `de` or `pt-BR`. English without it.")
    ] = None

    rules: ClassVar = {
        "email_address": (required, MAIL_ADDRESS),
        "url_template": (required, _URL_TEMPLATE),
        "user_id": (required,),
        "time_to_live": (between(1, LONGEST_LIVES_S),),
        "locale": (at_most_characters(_LONGEST_LOCALE),),
    }


@route("POST", "/magic-links/send", access=Access.SECRET_KEY, scope=Scope.MAGIC_LINKS_SEND, body=SendMagicLinkBody)
async def magic_links_send(call: Call, body: SendMagicLinkBody) -> None:
    """Mail a link that signs a user in, for whoever cannot use a passkey just now. It is worth less than a passkey."""
    await send_magic_link(
        call,
        email=body.email_address or "",
        user_id=body.user_id or "",
        url_template=body.url_template or "",
        time_to_live_s=DEFAULT_LIVES_S if body.time_to_live is None else body.time_to_live,
        locale=body.locale or "",
    )
