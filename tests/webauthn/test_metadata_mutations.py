"""Revocation lists come from wherever their address leads: any bytes may come, and what is no list is left aside."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.webauthn.metadata import Metadata
from narthex.webauthn.metadata_blob import verify_metadata
from tests.fuzz.bending import bend_bytes, bend_der
from tests.support.metadata import MetadataMaker

FIDO = MetadataMaker()
BLOB = FIDO.blob()
LISTS = FIDO.crls()
VERSION_2 = bytes.fromhex("020101300a")


def verify(crls: tuple[bytes, ...]) -> Metadata:
    return verify_metadata(BLOB, roots=[FIDO.root], crls=crls, now=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_list_of_an_unknown_version_counts_for_nothing() -> None:
    """The library has an exception of its own for it, which is no ValueError."""
    odd = tuple(crl.replace(VERSION_2, bytes.fromhex("020111300a"), 1) for crl in LISTS)
    assert odd != LISTS
    assert not verify(odd).revocation_checked
    assert verify((*odd, *LISTS)).revocation_checked


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_bent_list_stops_nothing(seed: int) -> None:
    lots = Random(seed)
    bend = lots.choice((bend_bytes, bend_der))
    assert verify((*(bend(lots, crl) for crl in LISTS), *LISTS)).revocation_checked
