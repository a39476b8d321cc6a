"""How mails read: addresses, templates, and what is filled into them.

A template is text with placeholders, `$HOST` or `${HOST}`; a dollar sign is written `$$`. Nothing else is done to
it: no conditions, no code. Templates are checked when they are set, values when they are filled in. A line break in
a subject, a name or an address would end the header and begin another (RFC 5322, section 2.2), so what holds one is
refused; nothing is taken out in silence.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from string import Template
from typing import Final, TypeVar

import msgspec

from narthex.base.errors import Malformed, quoted
from narthex.base.mail import (
    MAX_LINK_CHARACTERS,
    MailFieldInvalid,
    breaks_lines,
    check_body,
    check_header,
    check_sender_name,
    parse_address,
)
from narthex.ports.mail import Message
from narthex.ports.records import MailTemplate
from narthex.usecases.mail_wording import BUILT_IN, UNKNOWN

MOST_TEMPLATES: Final = 30
MAX_BODY_BYTES: Final = 32 * 1024
MAX_VALUE_CHARACTERS: Final = 255

MAGIC_LINK: Final = "magic-link"
NEW_PASSKEY: Final = "new-passkey"
RECOVERY: Final = "recovery"

PLACEHOLDERS: Final = {
    MAGIC_LINK: frozenset({"HOST", "SENDER", "TIME", "UNTIL", "LINK"}),
    NEW_PASSKEY: frozenset({"HOST", "SENDER", "TIME", "DEVICE"}),
    RECOVERY: frozenset({"HOST", "SENDER", "TIME", "DEVICE"}),
}
"""What may stand in each kind of mail."""
# A subject is shown on locked screens and kept in logs of mail servers: a link that signs in has no place there.
_NOT_IN_SUBJECTS: Final = frozenset({"LINK"})

_LOCALE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*\Z")
_MAX_LOCALE_CHARACTERS: Final = 35
_MAX_FILLED_CHARACTERS: Final = 4096
_WEB_ADDRESS = re.compile(r"https?://[!-~]+\Z")


Kept = TypeVar("Kept")


class MailTemplateInvalid(Malformed):
    """A template for mails cannot be filled in, or lacks what its mail is for."""

    code = "mail-template-invalid"
    advice = "use the placeholders of its kind, `$$` for a dollar sign, and `$LINK` in the text of a magic link"


def check_templates(templates: Iterable[MailTemplate]) -> tuple[MailTemplate, ...]:
    """Check the templates of an application, and give them back with line feeds for all line ends.

    Raises:
        MailTemplateInvalid: too many of them, two for one thing, or one that cannot be filled in.
    """
    checked = tuple(_check_template(template) for template in templates)
    if len(checked) > MOST_TEMPLATES:
        raise MailTemplateInvalid(f"an application has at most {MOST_TEMPLATES} templates")
    taken = {(template.kind, template.locale.lower()) for template in checked}
    if len(taken) < len(checked):
        raise MailTemplateInvalid("two templates are for the same kind and language")
    return checked


def _check_template(template: MailTemplate) -> MailTemplate:
    if template.kind not in PLACEHOLDERS:
        raise MailTemplateInvalid(f"{quoted(template.kind)} is no kind of mail", advice=_KINDS)
    if template.locale and not (_LOCALE.match(template.locale) and len(template.locale) <= _MAX_LOCALE_CHARACTERS):
        raise MailTemplateInvalid(
            f"{quoted(template.locale)} is no language tag", advice="give one such as `de` or `pt-BR`"
        )
    template = msgspec.structs.replace(template, text=_line_feeds(template.text), html=_line_feeds(template.html))
    _check_parts(template)
    _check_placeholders(template)
    return template


_KINDS: Final = "the kinds are " + ", ".join(f"`{kind}`" for kind in PLACEHOLDERS)


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n")


def _check_parts(template: MailTemplate) -> None:
    if not template.subject.strip() or not template.text.strip():
        raise MailTemplateInvalid(f"the template for {quoted(template.kind)} lacks a subject or a text")
    try:
        check_header("the subject", template.subject)
        check_body("the text", template.text)
        check_body("the html", template.html)
    except MailFieldInvalid as e:
        raise MailTemplateInvalid(e.message, advice=e.advice) from e
    for what, body in (("text", template.text), ("html", template.html)):
        if len(body.encode()) > MAX_BODY_BYTES:
            raise MailTemplateInvalid(f"the {what} is larger than {MAX_BODY_BYTES} bytes")


def _check_placeholders(template: MailTemplate) -> None:
    known = PLACEHOLDERS[template.kind]
    _check_names("subject", template.subject, known - _NOT_IN_SUBJECTS)
    in_text = _check_names("text", template.text, known)
    in_html = _check_names("html", template.html, known)
    if template.kind == MAGIC_LINK and "LINK" not in in_text:
        raise MailTemplateInvalid("the text of a magic link has no `$LINK`")
    # Most people see the HTML and never the text beside it.
    if template.kind == MAGIC_LINK and template.html and "LINK" not in in_html:
        raise MailTemplateInvalid("the html of a magic link has no `$LINK`")


def _check_names(what: str, text: str, known: frozenset[str]) -> frozenset[str]:
    template = Template(text)
    if not template.is_valid():
        raise MailTemplateInvalid(f"the {what} has a `$` that begins no placeholder")
    names = frozenset(template.get_identifiers())
    for name in sorted(names - known):
        shown = ", ".join(f"`${one}`" for one in sorted(known))
        raise MailTemplateInvalid(f"the {what} has the placeholder {quoted('$' + name)}", advice=f"it may have {shown}")
    return names


def compose(
    kind: str,
    *,
    templates: Iterable[MailTemplate] = (),
    locale: str = "",
    sender_name: str = "",
    recipient: str,
    **values: str | datetime,
) -> Message:
    """Write a mail of a kind.

    Args:
        templates: the application's own, checked; they go before the built-in ones.
        locale: the language tag that the reader wants; what is none counts as empty.
        sender_name: who the mail is from; empty for the host that it is about.
        recipient: as it was given; the mail bears its canonical spelling.
        values: one for every placeholder of the kind but `$SENDER`, in lower case: `host`, `time`, `until`, `link`,
            `device`. Instants are shown in UTC; an empty text is shown as unknown, in the template's language.

    Raises:
        MailAddressInvalid, MailFieldInvalid.
    """
    template = choose_template(kind, templates=templates, locale=locale)
    unknown = _for_locale(UNKNOWN, template.locale or locale) or UNKNOWN["en"]
    filled = {name.upper(): _check_value(name, value) or unknown for name, value in values.items()}
    sender_name = check_sender_name(sender_name or filled.get("HOST", ""))
    filled["SENDER"] = sender_name
    if filled.keys() != PLACEHOLDERS[kind]:
        raise TypeError(f"a mail of kind {kind} is filled with {sorted(PLACEHOLDERS[kind])}, not {sorted(filled)}")
    escaped = {name: html.escape(value) for name, value in filled.items()}
    return Message(
        recipient=parse_address(recipient),
        sender_name=sender_name,
        # What is filled in may make it longer than a template may be.
        subject=check_header("the subject", Template(template.subject).substitute(filled), most=_MAX_FILLED_CHARACTERS),
        text=Template(template.text).substitute(filled),
        html=Template(template.html).substitute(escaped),
    )


def _check_value(name: str, value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if breaks_lines(value):
        raise MailFieldInvalid(f"the {name} has a line break or a control character")
    if len(value) > (MAX_LINK_CHARACTERS if name == "link" else MAX_VALUE_CHARACTERS):
        raise MailFieldInvalid(f"the {name} is too long for a mail")
    # The link itself is a secret, so no message shows it.
    if name == "link" and not _WEB_ADDRESS.match(value):
        raise MailFieldInvalid("the link is not an address of the web", advice="it begins with `https://`")
    return value


def choose_template(kind: str, *, templates: Iterable[MailTemplate], locale: str) -> MailTemplate:
    """The template for a reader: the application's own before ours, and in each the nearest language.

    The tag is shortened from its end until one fits (RFC 4647, section 3.4), at last to nothing; ours is then English.
    """
    own = {template.locale.lower(): template for template in templates if template.kind == kind}
    ours = {template.locale: template for template in BUILT_IN if template.kind == kind}
    return _for_locale(own, locale) or _for_locale(ours, locale) or ours["en"]


def _for_locale(by_locale: Mapping[str, Kept], locale: str) -> Kept | None:
    tag = locale.lower() if len(locale) <= _MAX_LOCALE_CHARACTERS else ""
    while tag and tag not in by_locale:
        tag = tag.rpartition("-")[0]
    return by_locale.get(tag)
