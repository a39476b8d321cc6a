"""Authenticator data and the attestation object as bytes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.authenticator_data import AT, ED, MAX_UNATTESTED_SIZE_BYTES, UP, UV, parse_authenticator_data
from narthex.webauthn.errors import AuthenticatorDataMalformed
from tests.support.authenticator import Lots, make_key_pair

PUBLIC_KEY = cbor2.dumps(make_key_pair(-7, Lots("key")).cose(), canonical=True)
RP_ID_HASH = sha256(b"example.org").digest()


def encode(flags: int, *, sign_count: int = 0, credential_id: bytes = b"id", extensions: Any = None) -> bytes:
    raw = RP_ID_HASH + bytes([flags]) + sign_count.to_bytes(4, "big")
    if flags & AT:
        raw += bytes(16) + len(credential_id).to_bytes(2, "big") + credential_id + PUBLIC_KEY
    return raw + (cbor2.dumps(extensions) if flags & ED else b"")


@given(
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=1, max_size=1023),
    st.dictionaries(st.text(), st.one_of(st.booleans(), st.integers(0, 9), st.binary()), max_size=3),
)
def test_what_is_laid_out_is_read(
    flags: int, sign_count: int, credential_id: bytes, extensions: dict[str, Any]
) -> None:
    raw = encode(flags, sign_count=sign_count, credential_id=credential_id, extensions=extensions)
    data = parse_authenticator_data(raw)
    assert data.raw == raw
    assert data.rp_id_hash == RP_ID_HASH
    assert data.flags == flags
    assert data.sign_count == sign_count
    assert (data.user_present, data.user_verified) == (bool(flags & UP), bool(flags & UV))
    assert (data.attested is not None) == bool(flags & AT)
    if data.attested:
        assert data.attested.credential_id == credential_id
        assert data.attested.public_key == PUBLIC_KEY
    assert data.extensions == (extensions if flags & ED else {})


@pytest.mark.parametrize("flags", [0, AT, ED, AT | ED])
def test_every_cut_is_refused(flags: int) -> None:
    raw = encode(flags, extensions={"a": b"bytes"})
    for size in range(len(raw)):
        with pytest.raises(Refusal):
            parse_authenticator_data(raw[:size])
    with pytest.raises(AuthenticatorDataMalformed):
        parse_authenticator_data(raw + b"\0")


def test_without_a_credential_it_is_small() -> None:
    """An assertion's is read before its signature is checked. A registration's may carry more."""
    name_and_heads = 37 + len(cbor2.dumps({"a": bytes(256)})) - 256
    most = bytes(MAX_UNATTESTED_SIZE_BYTES - name_and_heads)
    assert len(parse_authenticator_data(encode(ED, extensions={"a": most})).raw) == MAX_UNATTESTED_SIZE_BYTES
    with pytest.raises(AuthenticatorDataMalformed, match="larger than 4096 bytes"):
        parse_authenticator_data(encode(ED, extensions={"a": most + b"."}))
    parse_authenticator_data(encode(AT | ED, extensions={"a": most + b"."}))


@given(st.binary(max_size=200))
def test_any_bytes_are_authenticator_data_or_refused(raw: bytes) -> None:
    try:
        data = parse_authenticator_data(raw)
    except Refusal:
        return
    assert data.raw == raw


@given(st.integers(0, 255), st.data())
def test_mutated_authenticator_data_is_read_or_refused(flags: int, data: st.DataObject) -> None:
    raw = bytearray(encode(flags, extensions={"a": b"bytes"}))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_authenticator_data(bytes(raw))
    except Refusal:
        return


@given(st.one_of(st.binary(max_size=100), st.dictionaries(st.text(), st.binary(), max_size=4).map(cbor2.dumps)))
def test_any_bytes_are_an_attestation_object_or_refused(raw: bytes) -> None:
    try:
        parse_attestation_object(raw)
    except Refusal:
        return
