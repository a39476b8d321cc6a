"""Addresses, templates, and what is filled into them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.mail import MailAddressInvalid, MailFieldInvalid, check_header, check_sender_name, parse_address
from narthex.ports.mail import Message
from narthex.ports.records import MailTemplate
from narthex.usecases.mail_template import (
    MAX_BODY_BYTES,
    MOST_TEMPLATES,
    PLACEHOLDERS,
    MailTemplateInvalid,
    check_templates,
    choose_template,
    compose,
)
from narthex.usecases.mail_wording import BUILT_IN

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINK = "https://passkeys.example.com/magic/verify_abc?a=1&b=2"
LANGUAGES = ["en", "de", "fr", "es"]
LINE_BREAKS = ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


def magic_link(**more: Any) -> Message:
    values = {"recipient": "jo@example.com", "host": "example.com", "time": NOW, "until": NOW, "link": LINK}
    return compose("magic-link", **(values | more))


def new_passkey(**more: Any) -> Message:
    values = {"recipient": "jo@example.com", "host": "example.com", "time": NOW, "device": "Firefox, Linux"}
    return compose("new-passkey", **(values | more))


def template(**more: Any) -> MailTemplate:
    return MailTemplate(**({"kind": "magic-link", "subject": "Sign in", "text": "Open $LINK"} | more))


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jo@example.com", "jo@example.com"),
        ("Jo.Doe+tag@Example.COM", "Jo.Doe+tag@example.com"),
        ("a..b.@docomo.example", "a..b.@docomo.example"),
        ("o'neil!#$%&*/?=^_`{|}~@example.com", "o'neil!#$%&*/?=^_`{|}~@example.com"),
        ("root@localhost", "root@localhost"),
        ("jo@straße.example", "jo@xn--strae-oqa.example"),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_read_with_its_domain_in_ascii(text: str, address: str) -> None:
    assert address == parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jo",
        "@example.com",
        "jo@",
        "jo@one.example@two.example",
        "jo @example.com",
        "jo@example.com ",
        '"jo"@example.com',
        "jo,mallory@example.com",
        "Jo <jo@example.com>",
        "<jo@example.com>",
        "jo(comment)@example.com",
        "jo:mallory@example.com",
        "jo;mallory@example.com",
        "jo\\@example.com",
        "=?utf-8?q?mallory=40evil.example=3e=00?=@example.com",
        "jo＠evil.example@example.com",
        "jo＜@example.com",
        "jo\u202e@example.com",
        "jo\u00a0x@example.com",
        "jo@192.0.2.1",
        "jo@[192.0.2.1]",
        "jo@example.com.",
        "jo@-example.com",
        "jo@exam_ple.com",
        "jo@exa mple.com",
        "jo@.example.com",
        "jo@xn--\u00fc.example",
        f"{'x' * 243}@example.com",
        f"jo@{'x' * 64}.com",
        *(f"jo{c}x@example.com" for c in LINE_BREAKS),
        *(f"jo@example.com{c}" for c in LINE_BREAKS),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(MailAddressInvalid):
        parse_address(text)


def test_an_address_may_have_254_bytes() -> None:
    assert 254 == len(parse_address(f"{'x' * 242}@example.com"))


@given(st.text(max_size=40) | st.from_regex(r"\A[^@]{1,20}@[^@]{1,20}\Z"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except MailAddressInvalid:
        return
    assert address == parse_address(address)
    assert re.fullmatch(r"[^@\s<>,;:\"()\[\]\\]+@[a-z0-9.-]+", address)
    assert address.isprintable()


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", LINE_BREAKS)
def test_a_header_with_a_line_break_or_control_character_is_refused(character: str) -> None:
    with pytest.raises(MailFieldInvalid):
        check_header("the subject", f"Hello{character}Bcc: mallory@evil.example")


def test_a_header_that_a_reader_would_decode_is_refused() -> None:
    with pytest.raises(MailFieldInvalid):
        check_header("the subject", "=?utf-8?q?Hello=0D=0ABcc:_mallory=40evil.example?=")


def test_a_header_may_have_any_writing_of_the_world() -> None:
    name = "Müller & Söhne, «Бюро» 株式会社 👩‍💻"
    assert name == check_sender_name(name)


def test_a_long_sender_name_is_refused() -> None:
    with pytest.raises(MailFieldInvalid):
        check_sender_name("x" * 201)


# --- checking templates -------------------------------------------------------------------------------------------


def test_good_templates_are_given_back_with_line_feeds() -> None:
    good = template(text="Open\r\n$LINK\r\nor pay $$5", html="<p>${LINK}</p>\r\n", locale="pt-BR", subject="At $HOST")
    assert ("Open\n$LINK\nor pay $$5", "<p>${LINK}</p>\n") == (
        check_templates([good])[0].text,
        check_templates([good])[0].html,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        template(kind="invitation"),
        template(kind=""),
        template(subject=""),
        template(subject="  "),
        template(text=""),
        template(text="no link"),
        template(text="not a link: $$LINK"),
        template(html="<p>no link</p>"),
        template(subject="$LINK"),
        template(subject="x" * 201),
        template(subject="=?utf-8?q?=0A?="),
        template(text="$LINK $NAME"),
        template(text="$LINK $link"),
        template(text="$LINK $LINKS"),
        template(text="$LINK costs $5"),
        template(text="$LINK ${LINK"),
        template(text="$LINK ${LINK.__class__}"),
        template(text="$LINK $"),
        template(text="$LINK $DEVICE"),
        template(kind="new-passkey", text="$LINK"),
        template(kind="recovery", text="x", html="$UNTIL"),
        template(html="$LINK ${1}"),
        template(text="$LINK" + "x" * MAX_BODY_BYTES),
        template(html="$LINK" + "ü" * (MAX_BODY_BYTES // 2)),
        template(locale="de_DE"),
        template(locale="d"),
        template(locale="de-"),
        template(locale="de\n"),
        template(locale="x" * 9),
        template(locale="de" + "-x" * 20),
        *(template(subject=f"a{c}b") for c in LINE_BREAKS),
        *(template(text=f"$LINK a{c}b") for c in LINE_BREAKS if c not in "\r\n"),
        *(template(html=f"$LINK a{c}b") for c in LINE_BREAKS if c not in "\r\n"),
    ],
)
def test_a_wrong_template_is_refused(wrong: MailTemplate) -> None:
    with pytest.raises(MailTemplateInvalid):
        check_templates([wrong])


def test_a_refusal_tells_which_placeholders_there_are() -> None:
    with pytest.raises(MailTemplateInvalid) as caught:
        check_templates([template(kind="recovery", text="Dear $NAME")])
    assert "it may have `$DEVICE`, `$HOST`, `$SENDER`, `$TIME`" == caught.value.advice


def test_two_templates_for_one_thing_are_refused() -> None:
    with pytest.raises(MailTemplateInvalid):
        check_templates([template(locale="de-AT"), template(locale="de-at")])


def test_too_many_templates_are_refused() -> None:
    many = [template(locale=f"en-x{n}") for n in range(MOST_TEMPLATES + 1)]
    assert MOST_TEMPLATES == len(check_templates(many[1:]))
    with pytest.raises(MailTemplateInvalid):
        check_templates(many)


@given(st.text(alphabet="$L{INK}T_5 \r\n\u2028", max_size=12))
def test_what_is_checked_can_be_filled_in(text: str) -> None:
    try:
        checked = check_templates([template(text=f"$LINK {text}")])
    except MailTemplateInvalid:
        return
    assert LINK in magic_link(templates=checked).text


# --- choosing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "chosen"),
    [
        ("pt-BR", "own pt-BR"),
        ("PT-br", "own pt-BR"),
        ("pt-PT", "own pt"),
        ("zh-Hant-TW", "own zh-Hant"),
        ("ja", "own"),
        ("", "own"),
        ("not a tag\r\n", "own"),
        ("x" * 100_000, "own"),
    ],
)
def test_the_nearest_language_of_the_application_is_chosen(locale: str, chosen: str) -> None:
    own = [template(locale=tag, subject=f"own {tag}".strip()) for tag in ("", "pt", "pt-BR", "zh-Hant")]
    assert chosen == choose_template("magic-link", templates=own, locale=locale).subject


@pytest.mark.parametrize(
    ("locale", "chosen"),
    [("de", "own"), ("de-AT", "own"), ("fr-CA", "fr"), ("ja", "en"), ("", "en"), ("d", "en")],
)
def test_ours_follow_where_the_application_has_none(locale: str, chosen: str) -> None:
    own = [template(locale="de", subject="own"), template(kind="recovery", text="x", subject="other kind")]
    found = choose_template("magic-link", templates=own, locale=locale)
    assert chosen == ("own" if found.subject == "own" else found.locale)


# --- the built-in ones --------------------------------------------------------------------------------------------


def test_every_kind_is_built_in_in_every_language_and_passes_the_check() -> None:
    assert {(kind, language) for kind in PLACEHOLDERS for language in LANGUAGES} == {
        (one.kind, one.locale) for one in BUILT_IN
    }
    assert BUILT_IN == check_templates(BUILT_IN)


class Page(HTMLParser):
    """What a page holds: elements with attributes, and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("built_in", BUILT_IN, ids=lambda one: f"{one.kind}-{one.locale}")
def test_a_built_in_mail_fetches_nothing_and_says_its_language(built_in: MailTemplate) -> None:
    page = Page(built_in.html)
    assert {"img", "script", "link", "iframe", "form", "object"}.isdisjoint(tag for tag, _ in page.elements)
    assert all(attrs["href"] == "$LINK" for tag, attrs in page.elements if tag == "a")
    assert not re.search(r"url\(|@import|https?:", built_in.html)
    assert [built_in.locale] == [attrs["lang"] for tag, attrs in page.elements if tag == "html"]
    assert "prefers-color-scheme: dark" in built_in.html


@pytest.mark.parametrize("built_in", BUILT_IN, ids=lambda one: f"{one.kind}-{one.locale}")
def test_text_and_html_say_the_same(built_in: MailTemplate) -> None:
    names = {"$HOST", "$TIME", "$SENDER", *({"$LINK", "$UNTIL"} if built_in.kind == "magic-link" else {"$DEVICE"})}
    assert names == set(re.findall(r"\$[A-Z]+", built_in.text)) == set(re.findall(r"\$[A-Z]+", built_in.html))
    words = re.sub(r"[ \n]+", " ", Page(built_in.html).words)
    paragraphs = [part for part in built_in.text.split("\n\n") if not re.search(r"^-- |: \$|^\$", part)]
    assert len(paragraphs) >= 4
    assert [] == [part for part in paragraphs if part not in words]


# --- filling in ---------------------------------------------------------------------------------------------------


def test_a_magic_link_says_host_link_and_instants() -> None:
    message = magic_link(until=NOW + timedelta(hours=1), sender_name="Example Shop")
    assert ("jo@example.com", "Example Shop", "Sign in to example.com") == (
        message.recipient,
        message.sender_name,
        message.subject,
    )
    assert LINK in message.text
    assert {"2026-01-02 03:04 UTC", "2026-01-02 04:04 UTC"} == set(re.findall(r"2026\S+ \S+ UTC", message.text))
    links = {attrs["href"] for tag, attrs in Page(message.html).elements if tag == "a"}
    assert {LINK} == links
    assert "$" not in message.subject + message.text + message.html


def test_instants_are_shown_in_utc() -> None:
    assert "2026-01-02 01:04 UTC" in new_passkey(time=NOW.replace(tzinfo=timezone(timedelta(hours=2)))).text


def test_mails_are_from_the_host_when_no_name_is_set() -> None:
    assert "example.com" == magic_link().sender_name


def test_values_are_escaped_in_html_and_only_there() -> None:
    device = "<script>alert(1)</script> & \"x\" 'y' $HOST ${LINK} $$"
    message = new_passkey(device=device)
    assert device in message.text
    assert "<script>" not in message.html
    assert device in Page(message.html).words
    assert "script" not in [tag for tag, _ in Page(message.html).elements]


@pytest.mark.parametrize(("locale", "word"), [("", "unknown"), ("de-CH", "unbekannt"), ("fr", "inconnu")])
def test_an_unknown_device_is_said_to_be_unknown(locale: str, word: str) -> None:
    assert f": {word}\n" in new_passkey(device="", locale=locale).text


@pytest.mark.parametrize("character", [*LINE_BREAKS, "\t"])
@pytest.mark.parametrize("name", ["host", "device", "sender_name"])
def test_a_value_with_a_line_break_is_refused(name: str, character: str) -> None:
    with pytest.raises(MailFieldInvalid):
        new_passkey(**{name: f"a{character}\n\nYour account is locked"})


def test_a_value_that_a_reader_would_decode_is_refused_in_a_subject() -> None:
    with pytest.raises(MailFieldInvalid):
        new_passkey(host="=?utf-8?q?=0D=0A?=")


def test_a_long_value_is_refused() -> None:
    with pytest.raises(MailFieldInvalid):
        new_passkey(device="x" * 256)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//example.com",
        "example.com",
        "",
        "https://",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://example.com/" + "x" * 4096,
    ],
)
def test_a_link_is_of_the_web_and_is_not_shown_when_refused(link: str) -> None:
    with pytest.raises(MailFieldInvalid) as caught:
        magic_link(link=link)
    assert not link or link not in caught.value.message


def test_a_recipient_who_is_none_is_refused() -> None:
    with pytest.raises(MailAddressInvalid):
        magic_link(recipient="jo@example.com\r\nBcc: mallory@evil.example")


def test_a_mail_without_html_has_none() -> None:
    assert "" == magic_link(templates=[template()]).html


def test_a_value_too_many_or_too_few_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        magic_link(device="Firefox")
    with pytest.raises(TypeError):
        compose("recovery", recipient="jo@example.com", host="example.com", time=NOW)
