"""Origins and relying party ids: one spelling each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn.errors import OriginMalformed, RpIdMalformed
from narthex.webauthn.origin import canonical_origin, is_rp_id_of, is_web_origin, parse_origin, parse_rp_id

SPELLINGS = [
    ("https://example.org", "https://example.org"),
    ("HTTPS://EXAMPLE.ORG", "https://example.org"),
    ("https://example.org:443", "https://example.org"),
    ("http://localhost:80", "http://localhost"),
    ("https://example.org:80", "https://example.org:80"),
    ("http://localhost:3000", "http://localhost:3000"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://a_b.example.org", "https://a_b.example.org"),
    ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
    ("https://[2001:DB8:0:0::1]", "https://[2001:db8::1]"),
    ("https://[::1]:443", "https://[::1]"),
    ("android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc", "android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc"),
    ("ios:bundle-id:org.example.App", "ios:bundle-id:org.example.App"),
    ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
]

NO_ORIGINS = [
    "",
    "null",
    "example.org",
    "//example.org",
    "https:",
    "https:example.org",
    "https:/example.org",
    "https://",
    "https://:443",
    "https:///path",
    " https://example.org",
    "https://example.org ",
    "https://example.org\n",
    "https://exa mple.org",
    "https://example.org\\@evil.example",
    "https://user@example.org",
    "https://user:pass@example.org",
    "https://example.org@evil.example",
    "https://example.org.",
    "https://example..org",
    "https://.example.org",
    "https://-example.org",
    "https://example-.org",
    "https://bücher.example",
    "https://example\u3002org",
    "https://ex\u00adample.org",
    "https://EXAMPLE\u212a.org",
    "http\u017f://example.org",
    "https://%65xample.org",
    "https://*.example.org",
    "https://" + "a" * 64 + ".org",
    "https://" + "a." * 130 + "org",
    "https://example.org:",
    "https://example.org:0",
    "https://example.org:00443",
    "https://example.org:65536",
    "https://example.org:999999",
    "https://example.org:+443",
    "https://example.org:\u0664\u0664\u0663",
    "https://example.org:443:443",
    "https://192.0.2",
    "https://192.0.2.256",
    "https://192.0.2.01",
    "https://0x7f.0.0.1",
    "https://0x7f000001",
    "https://2130706433",
    "https://example.123",
    "https://[::1",
    "https://[::g]",
    "https://[fe80::1%25eth0]",
    "https://[::1]evil",
    "https://2001:db8::1",
    "Android:apk-key-hash:x",
    "android:apk key",
    "android:",
    "data",
    "https://example.org" + "a" * 3000,
]


@pytest.mark.parametrize(("text", "canonical"), SPELLINGS)
def test_an_origin_has_one_spelling(text: str, canonical: str) -> None:
    assert parse_origin(text) == canonical_origin(text) == canonical
    assert parse_origin(canonical) == canonical


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_what_is_no_origin_is_refused(text: str) -> None:
    for parse in (parse_origin, canonical_origin):
        with pytest.raises(OriginMalformed):
            parse(text)


@pytest.mark.parametrize("rest", ["/", "/products/passwordless/", "?a=b", "#c", "/@evil.example", "/é"])
def test_only_an_expected_origin_may_be_a_page(rest: str) -> None:
    text = "https://bitwarden.com" + rest
    assert canonical_origin(text) == "https://bitwarden.com"
    with pytest.raises(OriginMalformed):
        parse_origin(text)


@pytest.mark.parametrize("rest", ["/a b", "/a\nb", "/\0"])
def test_a_page_with_a_space_or_a_control_character_is_refused(rest: str) -> None:
    with pytest.raises(OriginMalformed):
        canonical_origin("https://example.org" + rest)


@pytest.mark.parametrize("text", ["example.org", "localhost", "a.b-c.example", "xn--bcher-kva.example", "1.example"])
def test_a_domain_is_a_relying_party_id(text: str) -> None:
    assert parse_rp_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Example.org",
        "https://example.org",
        "example.org:443",
        "example.org/",
        "example.org.",
        ".example.org",
        "example..org",
        "-a.example",
        "a_b.example",
        "bücher.example",
        "192.0.2.1",
        "1",
        "0x7f.0x1",
        "[::1]",
        "::1",
        "example.org\n",
        "a" * 64 + ".org",
        "a." * 127 + "org",
    ],
)
def test_what_is_no_domain_is_no_relying_party_id(text: str) -> None:
    with pytest.raises(RpIdMalformed):
        parse_rp_id(text)


@pytest.mark.parametrize(
    ("rp_id", "origin", "expected"),
    [
        ("example.org", "https://example.org", True),
        ("example.org", "https://a.b.example.org:8443", True),
        ("example.org", "https://notexample.org", False),
        ("a.example.org", "https://example.org", False),
        ("example.org", "https://example.org.evil.example", False),
        ("localhost", "http://localhost:3000", True),
        ("example.org", "android:apk-key-hash:example.org", False),
    ],
)
def test_a_relying_party_id_covers_its_host_and_what_is_below(rp_id: str, origin: str, expected: bool) -> None:
    assert is_rp_id_of(rp_id, origin) is expected


def test_only_pages_have_web_origins() -> None:
    assert is_web_origin("https://example.org")
    assert not is_web_origin("android:apk-key-hash:x")
    assert not is_web_origin("chrome-extension://abc")


@given(st.one_of(st.text(), st.from_regex(r"https?://[^/]{0,20}(:[0-9]{0,6})?[/?#]?.{0,5}", fullmatch=True)))
def test_any_text_is_an_origin_in_one_spelling_or_refused(text: str) -> None:
    try:
        canonical = parse_origin(text)
    except Refusal:
        return
    assert parse_origin(canonical) == canonical_origin(text) == canonical
    assert canonical.isascii()
    assert canonical.isprintable()


@given(st.text())
def test_any_text_is_a_relying_party_id_or_refused(text: str) -> None:
    try:
        parsed = parse_rp_id(text)
    except Refusal:
        return
    assert parsed == text
    assert parse_origin(f"https://{text}") == f"https://{text}"
