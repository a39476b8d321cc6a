"""Any bytes, and honest ones bent, are a value or a refusal to every parser; what is printed reads back the same."""

from __future__ import annotations

from random import Random

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.values import from_base64url, to_base64url
from narthex.webauthn.cose import parse_public_key
from narthex.webauthn.origin import parse_origin, parse_rp_id
from tests.fuzz.bending import bend_bytes, cbor
from tests.fuzz.ceremonies import steady_key
from tests.fuzz.corpus import honest_inputs
from tests.fuzz.targets import TARGETS, run
from tests.support.authenticator import ALGORITHMS

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_refusal(name: str, raw: bytes) -> None:
    assert run(name, raw) in (True, False)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_honest_bytes_bent_are_a_value_or_a_refusal(name: str, seed: int) -> None:
    lots = Random(seed)
    assert run(name, bend_bytes(lots, lots.choice(honest_inputs(name)))) in (True, False)


@given(st.binary(max_size=80))
def test_base64url_reads_back_what_it_prints(raw: bytes) -> None:
    text = to_base64url(raw)
    assert raw == from_base64url(text)
    assert raw == from_base64url(text + "=" * (-len(text) % 4), padding_tolerated=True)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_reads_back_as_it_was_written(alg: int) -> None:
    """By two writers."""
    members = steady_key(alg).cose()
    assert [alg, alg] == [parse_public_key(raw).alg for raw in (cbor2.dumps(members), cbor(members))]


LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(DOMAINS, st.integers(1, 65535).filter(lambda port: port != 443))
def test_domains_and_origins_read_back_as_they_were_written(domain: str, port: int) -> None:
    assert domain == parse_rp_id(domain)
    assert f"https://{domain}:{port}" == parse_origin(f"https://{domain}:{port}")
