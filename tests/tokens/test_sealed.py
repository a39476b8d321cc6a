"""Sealed tokens: only we can read or make one, and only for what it was made for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.base.values import from_base64url, to_base64url
from narthex.tokens.payloads import ExpiredToken, VerifyToken, in_words, refuse_expired
from narthex.tokens.sealed import (
    InvalidToken,
    InvalidTokenFormat,
    MissingToken,
    SealingKey,
    TokenKind,
    UnknownKey,
    open_sealed,
    seal,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_011, tzinfo=UTC)
MATERIAL = bytes(range(32))
NONCE = bytes(12)
KINDS = list(TokenKind)


def make_key(*, key_id: int = 7, app_id: str = "demo", material: bytes = MATERIAL) -> SealingKey:
    return SealingKey.derive(key_id=key_id, app_id=app_id, material=material)


def make_payload(**but: Any) -> VerifyToken:
    values: dict[str, Any] = {
        "token_id": bytes(16),
        "expires_at": NOW,
        "type": "passkey_signin",
        "user_id": "ann",
        "timestamp": NOW,
        "purpose": "sign-in",
    }
    return VerifyToken(**values | but)


def sealed(kind: TokenKind = TokenKind.VERIFY, key: SealingKey | None = None) -> str:
    return seal(make_payload(), kind, key=key or make_key(), nonce=NONCE)


def opened(text: str | None, kind: TokenKind = TokenKind.VERIFY, *keys: SealingKey) -> VerifyToken:
    return open_sealed(text, kind, VerifyToken, keys=keys or (make_key(),))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
INSTANTS = st.datetimes(timezones=st.just(UTC))


@given(
    kind=st.sampled_from(KINDS),
    nonce=st.binary(min_size=12, max_size=12),
    user_id=TEXTS,
    expires_at=INSTANTS,
    nickname=st.none() | TEXTS,
    credential_id=st.none() | st.binary(max_size=60),
)
def test_what_was_sealed_opens_as_it_was(nonce: bytes, kind: TokenKind, **members: Any) -> None:
    payload = make_payload(**members)
    assert payload == opened(seal(payload, kind, key=make_key(), nonce=nonce), kind)


def test_a_token_is_url_safe_and_begins_with_its_prefix() -> None:
    prefixes = [sealed(kind).partition("_")[0] + "_" for kind in KINDS]
    assert ["register_", "session_", "session_", "verify_", "link_"] == prefixes
    assert all(sealed(kind).replace("_", "").replace("-", "").isalnum() for kind in KINDS)


def test_a_token_tells_whoever_holds_it_nothing() -> None:
    raw = from_base64url(
        seal(make_payload(user_id="a long user id"), TokenKind.VERIFY, key=make_key(), nonce=NONCE)[7:]
    )
    assert b"ann" not in raw
    assert b"passkey" not in raw


@pytest.mark.parametrize("made_for", KINDS)
@pytest.mark.parametrize("used_as", KINDS)
def test_a_token_opens_as_the_kind_it_was_made_for_only(made_for: TokenKind, used_as: TokenKind) -> None:
    """The prefix is not what tells kinds apart: the two kinds of session share one."""
    text = used_as.prefix + sealed(made_for).removeprefix(made_for.prefix)
    if made_for is used_as:
        opened(text, used_as)
    else:
        with pytest.raises(InvalidToken):
            opened(text, used_as)


def test_a_token_opens_for_its_application_only() -> None:
    """Even if both had the same material and the same key id."""
    with pytest.raises(InvalidToken):
        opened(sealed(), TokenKind.VERIFY, make_key(app_id="other"))


def test_a_token_opens_with_its_own_key_only() -> None:
    with pytest.raises(InvalidToken):
        opened(sealed(), TokenKind.VERIFY, make_key(material=bytes(32)))


def test_a_key_that_we_do_not_hold_is_told_apart() -> None:
    with pytest.raises(UnknownKey):
        opened(sealed(), TokenKind.VERIFY, make_key(key_id=8))
    with pytest.raises(UnknownKey):
        open_sealed(sealed(), TokenKind.VERIFY, VerifyToken, keys=())


def test_the_key_is_found_among_many() -> None:
    many = [make_key(key_id=n, material=bytes([n]) * 32) for n in range(5)]
    opened(sealed(key=many[3]), TokenKind.VERIFY, *many)


@pytest.mark.parametrize("app_ids", [("ab", "abc"), ("a", "b")])
def test_applications_share_no_keys_though_the_material_be_the_same(app_ids: tuple[str, str]) -> None:
    one, other = (
        seal(make_payload(), TokenKind.VERIFY, key=make_key(app_id=app_id), nonce=NONCE) for app_id in app_ids
    )
    assert one != other


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_token_altered_anywhere_is_refused(at: int, flip: int) -> None:
    raw = bytearray(from_base64url(sealed().removeprefix("verify_")))
    raw[at % len(raw)] ^= flip
    with pytest.raises((InvalidToken, InvalidTokenFormat)):
        opened("verify_" + to_base64url(bytes(raw)))


@given(length=st.integers(0, 10_000))
def test_a_token_cut_short_is_refused(length: int) -> None:
    """CVE-2026-27840."""
    raw = from_base64url(sealed().removeprefix("verify_"))
    with pytest.raises((InvalidToken, InvalidTokenFormat)):
        opened("verify_" + to_base64url(raw[: length % len(raw)]))


@given(more=st.binary(min_size=1, max_size=40))
def test_a_token_made_longer_is_refused(more: bytes) -> None:
    raw = from_base64url(sealed().removeprefix("verify_"))
    with pytest.raises((InvalidToken, InvalidTokenFormat)):
        opened("verify_" + to_base64url(raw + more))


@settings(max_examples=300)
@given(
    text=st.none()
    | st.text(max_size=80)
    | st.text(max_size=80).map("verify_".__add__)
    | st.binary(max_size=120).map(to_base64url).map("verify_".__add__)
    | st.binary(max_size=120).map(lambda raw: "verify_" + to_base64url(b"\x01\0\0\0\x07" + raw))
)
def test_any_text_is_a_token_or_refused(text: str | None) -> None:
    with pytest.raises(Refusal):
        opened(text)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (None, MissingToken),
        ("", MissingToken),
        ("register_AAAA", InvalidToken),
        ("verify", InvalidToken),
        ("verify_", InvalidTokenFormat),
        ("verify_A", InvalidTokenFormat),
        ("verify_" + "A" * 70_000, InvalidTokenFormat),
        ("verify_" + to_base64url(b"\x02" + bytes(60)), InvalidTokenFormat),
        ("verify_" + to_base64url(b"\x01" + bytes(60)), UnknownKey),
    ],
)
def test_each_way_to_be_no_token_has_its_refusal(text: str | None, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal) as refused:
        opened(text)
    assert refusal is type(refused.value)


def test_the_prefix_counts_in_any_case_and_the_rest_does_not() -> None:
    text = sealed()
    opened(text.replace("verify_", "VeRiFy_"))
    with pytest.raises((InvalidToken, InvalidTokenFormat)):
        opened("verify_" + text.removeprefix("verify_").swapcase())


def test_a_token_made_before_a_field_was_added_is_read_after() -> None:
    class Newer(VerifyToken, frozen=True, array_like=True):
        more: str = "default"

    assert "default" == open_sealed(sealed(), TokenKind.VERIFY, Newer, keys=[make_key()]).more


def test_a_token_whose_payload_has_another_shape_is_refused() -> None:
    """One made by a version that said other things in other places."""

    class Other(msgspec.Struct, array_like=True):
        only: int

    with pytest.raises(InvalidToken):
        open_sealed(
            seal(Other(5), TokenKind.VERIFY, key=make_key(), nonce=NONCE),
            TokenKind.VERIFY,
            VerifyToken,
            keys=[make_key()],
        )


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91", b"\x91\xa1\xff", b"\x91\xd9\x02\xc3\x28"])
def test_a_payload_that_cannot_be_read_is_refused(payload: bytes) -> None:
    """Though it was sealed with our own key. The last two are texts that are no UTF-8."""

    class Text(msgspec.Struct, array_like=True):
        only: str

    token = seal(msgspec.Raw(payload), TokenKind.VERIFY, key=make_key(), nonce=NONCE)
    with pytest.raises(InvalidToken):
        open_sealed(token, TokenKind.VERIFY, Text, keys=[make_key()])


@given(st.binary(max_size=600))
def test_padding_comes_off_as_it_went_on(plaintext: bytes) -> None:
    """Whatever the payload ends with, zeros and the mark itself included."""

    class Raw(msgspec.Struct, array_like=True):
        raw: bytes

    sealed = seal(Raw(plaintext), TokenKind.SIGN_IN_SESSION, key=make_key(), nonce=NONCE)

    assert plaintext == open_sealed(sealed, TokenKind.SIGN_IN_SESSION, Raw, keys=[make_key()]).raw


def test_a_key_does_not_show_itself() -> None:
    assert "SealingKey(key_id=7, app_id='demo')" == repr(make_key())


# --- expiry ---------------------------------------------------------------------------------------------------------


def test_the_exact_instant_still_counts() -> None:
    refuse_expired(NOW, now=NOW)
    with pytest.raises(ExpiredToken):
        refuse_expired(NOW, now=NOW + timedelta(microseconds=1))


@given(expires_at=INSTANTS, now=INSTANTS)
def test_any_two_instants_compare(expires_at: datetime, now: datetime) -> None:
    if expires_at < now:
        with pytest.raises(ExpiredToken):
            refuse_expired(expires_at, now=now)
    else:
        refuse_expired(expires_at, now=now)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "1 second"), (1, "1 second"), (59.9, "59 seconds"), (60, "1 minute"), (7_199, "1 hour"), (86_400, "1 day")],
)
def test_a_span_is_said_in_its_largest_unit(seconds: float, words: str) -> None:
    assert words == in_words(seconds)
