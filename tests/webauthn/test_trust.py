"""Trust paths: who may issue, how long a path may be, where it may end."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha1
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn.errors import CertificateMalformed, TrustPathInvalid
from narthex.webauthn.trust import (
    MAX_PATH_CERTIFICATES,
    Trust,
    TrustVerdict,
    key_identifier,
    parse_certificate,
    verify_trust_path,
)
from tests.support.authenticator import ALGORITHMS, make_certificate, make_key_pair, name_of, rsa_key
from tests.webauthn.ceremony import NOW

ANCHORED, UNANCHORED, UNCERTAIN = TrustVerdict.ANCHORED, TrustVerdict.UNANCHORED, TrustVerdict.UNCERTAIN


class Issuer:
    """A certificate with its key, able to issue others."""

    def __init__(
        self, name: str, *, by: Issuer | None = None, key: Any = None, ca: bool | None = True, **more: Any
    ) -> None:
        self.key = key or ec.derive_private_key(sum(name.encode()) + 1, ec.SECP256R1())
        self.subject = more.pop("subject", name_of(common_name=name))
        issuer = by or self
        self.certificate = make_certificate(
            self.key, subject=self.subject, issuer=issuer.subject, issuer_key=issuer.key, ca=ca, **more
        )
        self.der = self.certificate.public_bytes(Encoding.DER)


ROOT = Issuer("root")
MIDDLE = Issuer("middle", by=ROOT)
LEAF = Issuer("leaf", by=MIDDLE, ca=False)
OTHER_ROOT = Issuer("other root")


def verdict(*path: Issuer, anchors: tuple[Issuer, ...] = (), now: datetime = NOW) -> TrustVerdict:
    ders = tuple(anchor.der for anchor in anchors)
    return verify_trust_path([c.der for c in path], anchors=ders, now=now).verdict


def test_no_certificates_are_no_path() -> None:
    assert verify_trust_path([], anchors=(ROOT.der,), now=NOW) == Trust(TrustVerdict.NO_PATH)


def test_a_sound_path_without_anchors_is_uncertain() -> None:
    assert verdict(LEAF, MIDDLE, ROOT) is UNCERTAIN


@pytest.mark.parametrize("path", [(LEAF, MIDDLE), (LEAF, MIDDLE, ROOT)], ids=["root omitted", "root included"])
@pytest.mark.parametrize("anchor", [ROOT, MIDDLE, LEAF], ids=["root", "intermediate", "leaf itself"])
def test_a_path_may_end_at_any_of_its_certificates(path: tuple[Issuer, ...], anchor: Issuer) -> None:
    assert verdict(*path, anchors=(OTHER_ROOT, anchor)) is ANCHORED


def test_a_path_with_its_intermediate_left_out_reaches_that_intermediate_only() -> None:
    assert verdict(LEAF, anchors=(MIDDLE,)) is ANCHORED
    assert verdict(LEAF, anchors=(ROOT,)) is UNANCHORED


def test_an_anchor_of_the_same_name_and_another_key_is_another_anchor() -> None:
    impostor = Issuer("impostor", subject=ROOT.subject)
    assert verdict(LEAF, MIDDLE, anchors=(impostor,)) is UNANCHORED


def test_a_reissued_root_of_the_same_key_is_the_same_anchor() -> None:
    again = Issuer("root", key=ROOT.key, serial=12345)
    assert again.der != ROOT.der
    assert verdict(LEAF, MIDDLE, again, anchors=(ROOT,)) is ANCHORED


def test_an_anchor_that_may_not_issue_vouches_for_itself_alone() -> None:
    no_ca = Issuer("no ca", ca=False)
    leaf = Issuer("leaf", by=no_ca, ca=False)
    assert verdict(leaf, anchors=(no_ca,)) is UNANCHORED
    assert verdict(no_ca, anchors=(no_ca,)) is ANCHORED


def test_an_expired_anchor_anchors_nothing() -> None:
    expired = Issuer("expired", not_after=datetime(2021, 1, 1, tzinfo=UTC))
    assert verdict(Issuer("leaf", by=expired, ca=False), anchors=(expired,)) is UNANCHORED


def key_usage(*, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, cert_sign, cert_sign, False, False)


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
BAD_ISSUERS = {
    "no ca": {"ca": False},
    "no basic constraints": {"ca": None},
    "may not sign certificates": {"extensions": ((key_usage(cert_sign=False), True),)},
    "expired": {"not_after": datetime(2021, 1, 1, tzinfo=UTC)},
    "not valid yet": {"not_before": datetime(2030, 1, 1, tzinfo=UTC)},
    "unknown critical extension": {"extensions": ((UNKNOWN, True),)},
    "name constraints": {"extensions": ((x509.NameConstraints([x509.DNSName("example.org")], None), True),)},
}


@pytest.mark.parametrize("fault", BAD_ISSUERS.values(), ids=BAD_ISSUERS)
@pytest.mark.parametrize("anchors", [(), (ROOT,), (LEAF,)], ids=["no anchor", "anchored", "leaf anchored"])
def test_an_issuer_that_may_not_issue_breaks_the_path(fault: dict[str, Any], anchors: tuple[Issuer, ...]) -> None:
    middle = Issuer("middle", by=ROOT, **fault)
    with pytest.raises(TrustPathInvalid):
        verdict(Issuer("leaf", by=middle, ca=False), middle, anchors=anchors)


@pytest.mark.parametrize(
    "fault", [{"extensions": ((UNKNOWN, False),)}, {"extensions": ((key_usage(cert_sign=True), True),)}]
)
def test_an_issuer_with_harmless_extensions_may_issue(fault: dict[str, Any]) -> None:
    middle = Issuer("middle", by=ROOT, **fault)
    assert verdict(Issuer("leaf", by=middle, ca=False), middle, anchors=(ROOT,)) is ANCHORED


@pytest.mark.parametrize(
    "path",
    [
        (LEAF, ROOT),
        (MIDDLE, LEAF),
        (LEAF, OTHER_ROOT),
        (LEAF, MIDDLE, OTHER_ROOT),
        (LEAF, LEAF),
        (LEAF, MIDDLE, MIDDLE),
    ],
    ids=["gap", "reversed", "another issuer", "another root", "leaf twice", "intermediate twice"],
)
def test_each_certificate_must_be_issued_by_the_next(path: tuple[Issuer, ...]) -> None:
    with pytest.raises(TrustPathInvalid):
        verdict(*path)


def test_a_signature_by_another_key_of_the_same_name_breaks_the_path() -> None:
    impostor = Issuer("impostor", subject=MIDDLE.subject, by=ROOT)
    with pytest.raises(TrustPathInvalid):
        verdict(LEAF, impostor)


def test_a_path_length_constraint_counts_the_issuers_below() -> None:
    for allowed, expected in ((0, UNANCHORED), (1, ANCHORED)):
        root = Issuer("root", path_length=allowed)
        middle = Issuer("middle", by=root)
        leaf = Issuer("leaf", by=middle, ca=False)
        assert verdict(leaf, middle, anchors=(root,)) is expected
        assert verdict(middle, anchors=(root,)) is ANCHORED


def test_a_path_longer_than_an_issuer_allows_is_broken() -> None:
    root = Issuer("root", path_length=0)
    middle = Issuer("middle", by=root)
    with pytest.raises(TrustPathInvalid):
        verdict(Issuer("leaf", by=middle, ca=False), middle, root)


def test_the_number_of_certificates_is_bounded() -> None:
    with pytest.raises(TrustPathInvalid):
        verdict(*[ROOT] * (MAX_PATH_CERTIFICATES + 1))


@pytest.mark.parametrize("digest", [hashes.SHA384(), hashes.SHA512()])
def test_sound_hashes_are_accepted(digest: hashes.HashAlgorithm) -> None:
    assert verdict(Issuer("leaf", by=ROOT, ca=False, digest=digest), anchors=(ROOT,)) is ANCHORED


SHA256_WITH_RSA, SHA1_WITH_RSA = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")


def signed_with_sha_1(issuer: Issuer) -> bytes:
    """A leaf signed over SHA-1, which no library will make any more: the identifiers have one length."""
    leaf = Issuer("leaf", by=issuer, ca=False).certificate
    signed = leaf.tbs_certificate_bytes.replace(SHA256_WITH_RSA, SHA1_WITH_RSA)
    signature = issuer.key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    der = leaf.public_bytes(Encoding.DER).replace(SHA256_WITH_RSA, SHA1_WITH_RSA)
    return der.replace(leaf.signature, signature)


def test_a_sha_1_signature_vouches_for_nothing() -> None:
    root = Issuer("rsa root", key=rsa_key())
    assert verdict(Issuer("leaf", by=root, ca=False), anchors=(root,)) is ANCHORED
    leaf = signed_with_sha_1(root)
    assert verify_trust_path([leaf], anchors=(root.der,), now=NOW).verdict is UNANCHORED
    with pytest.raises(TrustPathInvalid, match="broken"):
        verify_trust_path([leaf, root.der], anchors=(), now=NOW)


def test_a_short_rsa_key_may_not_issue() -> None:
    root = Issuer("short", key=rsa_key(1024))
    assert verdict(Issuer("leaf", by=root, ca=False), anchors=(root,)) is UNANCHORED
    with pytest.raises(TrustPathInvalid):
        verdict(Issuer("leaf", by=root, ca=False), root)


def test_an_edwards_key_may_issue() -> None:
    root = Issuer("ed", key=ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert verdict(Issuer("leaf", by=root, ca=False), anchors=(root,)) is ANCHORED


@pytest.mark.parametrize(
    ("instant", "is_valid"),
    [
        (datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2020, 1, 1, tzinfo=UTC), True),
        (datetime(2049, 12, 31, tzinfo=UTC), True),
        (datetime(2049, 12, 31, 0, 0, 1, tzinfo=UTC), False),
    ],
)
def test_dates_include_their_bounds(instant: datetime, is_valid: bool) -> None:
    if is_valid:
        assert verdict(LEAF, now=instant) is UNCERTAIN
        return
    with pytest.raises(TrustPathInvalid):
        verdict(LEAF, now=instant)


def test_what_is_remembered_of_a_path_is_its_signatures_and_not_its_dates() -> None:
    assert verdict(LEAF, MIDDLE, ROOT) is UNCERTAIN
    with pytest.raises(TrustPathInvalid):
        verdict(LEAF, MIDDLE, ROOT, now=datetime(2100, 1, 1, tzinfo=UTC))


def test_a_signature_that_leaves_bits_unused_is_malformed() -> None:
    signature = LEAF.certificate.signature
    whole = LEAF.der.removesuffix(b"\0" + signature)
    for unused in range(1, 8):
        with pytest.raises(CertificateMalformed):
            parse_certificate(whole + bytes([unused]) + signature[:-1] + b"\0")


@pytest.mark.parametrize("key", [LEAF.key, rsa_key()], ids=["ec", "rsa"])
def test_a_key_identifier_is_sha_1_of_the_bits_of_the_key(key: Any) -> None:
    certificate = Issuer("leaf", by=ROOT, ca=False, key=key)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bits = spki[-65:] if key is LEAF.key else key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert spki.endswith(b"\0" + bits)
    assert key_identifier(certificate.der) == sha1(bits).digest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_key_has_an_identifier_of_twenty_bytes(algorithm: int) -> None:
    certificate = Issuer("leaf", by=ROOT, ca=False, key=make_key_pair(algorithm).private)
    assert len(key_identifier(certificate.der)) == 20


@given(st.binary(max_size=100))
def test_any_bytes_are_a_certificate_or_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        parse_certificate(raw)


@given(st.data())
def test_a_mutated_certificate_never_anchors(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(LEAF.der) - 1))
    raw = bytearray(LEAF.der)
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        trust = verify_trust_path([bytes(raw), MIDDLE.der], anchors=(ROOT.der,), now=NOW)
    except Refusal:
        return
    pytest.fail(f"byte {at} may be changed: {trust}")
