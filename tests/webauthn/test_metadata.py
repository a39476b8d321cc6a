"""FIDO metadata: who may sign it, what is read of it, and what a model is worth on a day."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.errors import Malformed, Refusal, Rejected
from narthex.webauthn import jws as jws_module
from narthex.webauthn import metadata_blob, metadata_payload, revocation
from narthex.webauthn.metadata import (
    BAD_STATUSES,
    NO_METADATA,
    FidoLevel,
    Metadata,
    MetadataEntry,
    Standing,
    StatusReport,
    in_hardware,
    standing,
)
from narthex.webauthn.metadata_blob import (
    MAX_BLOB_BYTES,
    MetadataSignatureInvalid,
    MetadataUntrusted,
    revocation_urls,
    verify_metadata,
)
from narthex.webauthn.metadata_payload import MAX_ENTRIES, MetadataMalformed
from narthex.webauthn.revocation import MAX_CRL_BYTES, MAX_REVOCATION_URLS, MetadataSignerRevoked
from narthex.webauthn.trust import TrustVerdict, key_identifier, verify_trust_path
from tests.support.authenticator import CertificateFaults, attestation_path, make_key_pair, maker
from tests.support.metadata import AAGUID, ICON, Authority, MetadataMaker, authority, distribution_points

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIDO = MetadataMaker()
OTHER_AAGUID = bytes(range(2, 18))


def verify(blob: bytes, *, now: datetime = NOW, signer: str | None = FIDO.signer, **more: Any) -> Metadata:
    return verify_metadata(blob, roots=more.pop("roots", (FIDO.root,)), now=now, signer=signer, **more)


def read_entry(**knobs: Any) -> MetadataEntry:
    (entry,) = verify(FIDO.blob(FIDO.entry(**knobs))).entries
    return entry


# --- the signature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", [-7, -35, -257, -37])
def test_a_blob_of_a_trusted_signer_is_read(alg: int) -> None:
    fido = MetadataMaker(alg=alg)
    metadata = verify(fido.blob(number=277, next_update="2026-02-01"))
    assert (277, date(2026, 2, 1), 1) == (metadata.number, metadata.next_update, len(metadata.entries))


def test_white_space_that_an_editor_left_is_no_harm() -> None:
    assert 1 == verify(b"\n" + FIDO.blob() + b"\r\n").number


@pytest.mark.parametrize(
    "blob",
    [b"", b"x", b"..", FIDO.blob() + b".", FIDO.blob() + b"{}", FIDO.blob() + FIDO.blob(), FIDO.blob(path=())],
    ids=range(7),
)
def test_what_is_no_signed_text_is_refused(blob: bytes) -> None:
    with pytest.raises(MetadataMalformed):
        verify(blob)


def test_a_blob_beyond_all_measure_is_refused_unread() -> None:
    with pytest.raises(MetadataMalformed):
        verify(b"\n" * (MAX_BLOB_BYTES + 1))


def test_an_altered_payload_is_refused() -> None:
    header, _, signature = FIDO.blob().split(b".")
    _, payload, _ = FIDO.blob(number=2).split(b".")
    with pytest.raises(MetadataSignatureInvalid):
        verify(b".".join((header, payload, signature)))


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA"])
def test_an_algorithm_that_is_not_pinned_is_refused(alg: str) -> None:
    with pytest.raises(MetadataSignatureInvalid):
        verify(FIDO.blob(header={"alg": alg}))


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(MetadataSignatureInvalid):
        verify(FIDO.blob(key=make_key_pair(-7).private))


# --- the path -------------------------------------------------------------------------------------------------------


def leaf_of(issuer: Authority, *, dns_names: tuple[str, ...] = (FIDO.signer,), **more: Any) -> Authority:
    return issuer.issue("Metadata Test Signer", key=FIDO.leaf.key, ca=False, dns_names=dns_names, **more)


@pytest.mark.parametrize(
    "path",
    [(*FIDO.path, FIDO.root), FIDO.path, (leaf_of(FIDO.authority).der,)],
    ids=["root included", "root omitted", "issued by the root"],
)
def test_a_path_to_the_root_is_trusted(path: tuple[bytes, ...]) -> None:
    assert 1 == verify(FIDO.blob(path=path)).number


def test_the_signing_certificate_itself_may_be_trusted() -> None:
    assert 1 == verify(FIDO.blob(), roots=(FIDO.leaf.der,)).number


@pytest.mark.parametrize(
    "roots", [(), (authority("Another Root").der,), (maker().der,)], ids=["none", "other", "maker"]
)
def test_a_path_to_no_root_of_ours_is_refused(roots: tuple[bytes, ...]) -> None:
    with pytest.raises(MetadataUntrusted):
        verify(FIDO.blob(), roots=roots)


def test_a_new_root_tied_to_the_old_one_is_reached_from_either() -> None:
    """So came FIDO's BLOBs since August 2026: leaf, intermediate, new root as issued by the old root."""
    old = authority("The Old Root")
    tie = old.issue("Metadata Test Root", key=FIDO.authority.key, subject=FIDO.authority.certificate.subject)
    blob = FIDO.blob(path=(*FIDO.path, tie.der))
    assert {1} == {verify(blob, roots=(root,)).number for root in (FIDO.root, old.der, tie.der)}


def test_certificates_behind_the_root_do_not_matter() -> None:
    path = (*FIDO.path, FIDO.root, authority("Another Root").der, b"not a certificate")
    assert 1 == verify(FIDO.blob(path=path)).number


@pytest.mark.parametrize(
    "path",
    [
        (FIDO.leaf.der,),
        (FIDO.leaf.der, authority("Another Root").der),
        (FIDO.leaf.der, b"not a certificate", FIDO.root),
        (leaf_of(FIDO.leaf).der, FIDO.leaf.der, FIDO.intermediate.der),
    ],
    ids=["intermediate missing", "another intermediate", "unreadable intermediate", "issued by a signer"],
)
def test_a_broken_path_is_refused(path: tuple[bytes, ...]) -> None:
    with pytest.raises(MetadataUntrusted):
        verify(FIDO.blob(path=path))


def test_a_leaf_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(MetadataMalformed):
        verify(FIDO.blob(path=(b"not a certificate",)))


@pytest.mark.parametrize("dns_names", [(FIDO.signer,), ("example.com", FIDO.signer.upper())])
def test_the_signing_certificate_bears_the_name(dns_names: tuple[str, ...]) -> None:
    path = (leaf_of(FIDO.intermediate, dns_names=dns_names).der, FIDO.intermediate.der)
    assert 1 == verify(FIDO.blob(path=path)).number


@pytest.mark.parametrize(
    "dns_names",
    [(), ("example.org",), ("*.example.org",), (f"{FIDO.signer}.example.com",)],
    ids=["no name", "parent", "wildcard", "longer"],
)
def test_anybody_else_under_the_root_is_refused(dns_names: tuple[str, ...]) -> None:
    path = (leaf_of(FIDO.intermediate, dns_names=dns_names).der, FIDO.intermediate.der)
    with pytest.raises(MetadataUntrusted):
        verify(FIDO.blob(path=path))
    assert 1 == verify(FIDO.blob(path=path), signer=None).number


def key_usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(*(on.get(name, False) for name in names))


@pytest.mark.parametrize(("usage", "trusted"), [("digital_signature", True), ("key_encipherment", False)])
def test_the_signing_certificate_may_be_used_for_signatures(usage: str, trusted: bool) -> None:
    leaf = leaf_of(FIDO.intermediate, extensions=((key_usage(**{usage: True}), True),))
    blob = FIDO.blob(path=(leaf.der, FIDO.intermediate.der))
    if trusted:
        assert 1 == verify(blob).number
    else:
        with pytest.raises(MetadataUntrusted):
            verify(blob)


# --- time -----------------------------------------------------------------------------------------------------------


def blob_until(next_update: str, *, expired_at: datetime) -> bytes:
    leaf = leaf_of(FIDO.intermediate, not_after=expired_at)
    return FIDO.blob(path=(leaf.der, FIDO.intermediate.der), next_update=next_update)


def test_an_expired_path_is_refused() -> None:
    with pytest.raises(MetadataUntrusted):
        verify(blob_until("2026-02-01", expired_at=NOW - timedelta(days=1)))


def test_an_old_file_stays_readable_when_its_signer_expires_and_is_told_as_stale() -> None:
    blob = blob_until("2025-02-01", expired_at=datetime(2025, 3, 1, tzinfo=UTC))
    assert verify(blob).is_stale(NOW)


def test_an_old_file_whose_signer_expired_before_the_date_it_promises_is_refused() -> None:
    with pytest.raises(MetadataUntrusted):
        verify(blob_until("2025-02-01", expired_at=datetime(2025, 1, 31, tzinfo=UTC)))


def test_a_signer_that_is_not_valid_yet_is_refused() -> None:
    leaf = leaf_of(FIDO.intermediate, not_before=NOW + timedelta(days=1))
    with pytest.raises(MetadataUntrusted):
        verify(FIDO.blob(path=(leaf.der, FIDO.intermediate.der)))


@pytest.mark.parametrize(("next_update", "stale"), [("2025-12-31", True), ("2026-01-01", False), ("2026-02-01", False)])
def test_metadata_is_stale_from_the_day_after_the_promised_update(next_update: str, stale: bool) -> None:
    assert stale == verify(FIDO.blob(next_update=next_update)).is_stale(NOW)


def test_without_metadata_no_model_is_known_and_nothing_is_fresh() -> None:
    assert (0, True, None, None) == (
        NO_METADATA.number,
        NO_METADATA.is_stale(datetime(1970, 1, 1, tzinfo=UTC)),
        NO_METADATA.find(AAGUID),
        NO_METADATA.find_by_key_identifier(bytes(20)),
    )


# --- revocation -----------------------------------------------------------------------------------------------------


def test_lists_of_both_issuers_cover_the_path() -> None:
    assert verify(FIDO.blob(), crls=FIDO.crls()).revocation_checked


@pytest.mark.parametrize("revoked", [FIDO.leaf, FIDO.intermediate], ids=["leaf", "intermediate"])
def test_a_revoked_certificate_refuses(revoked: Authority) -> None:
    with pytest.raises(MetadataSignerRevoked):
        verify(FIDO.blob(), crls=FIDO.crls(revoked))


def test_another_revoked_certificate_does_not_matter() -> None:
    assert verify(FIDO.blob(), crls=FIDO.crls(FIDO.intermediate.issue("other", ca=False))).revocation_checked


def test_a_list_that_is_late_accuses_and_does_not_absolve() -> None:
    late = {"until": NOW - timedelta(seconds=1)}
    lists = (FIDO.authority.crl(), FIDO.intermediate.crl(**late))
    assert not verify(FIDO.blob(), crls=lists).revocation_checked
    with pytest.raises(MetadataSignerRevoked):
        verify(FIDO.blob(), crls=(FIDO.intermediate.crl(FIDO.leaf, **late),))


def test_a_revoked_leaf_refuses_also_where_its_issuer_is_not_covered() -> None:
    with pytest.raises(MetadataSignerRevoked):
        verify(FIDO.blob(), crls=(FIDO.intermediate.crl(FIDO.leaf),))


ANOTHER = authority("Another Root")
MAY_NOT = authority("May not", extensions=((key_usage(key_cert_sign=True), True),))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def scope(url: str | None = None, **only: Any) -> x509.IssuingDistributionPoint:
    names: dict[str, Any] = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    full_name = None if url is None else [x509.UniformResourceIdentifier(url)]
    return x509.IssuingDistributionPoint(
        full_name=full_name, relative_name=None, only_some_reasons=None, **names | only
    )


UNSOUND: dict[str, bytes] = {
    "no list": b"not a list",
    "empty": b"",
    "too large": bytes(MAX_CRL_BYTES + 1),
    "of another issuer": ANOTHER.crl(FIDO.leaf),
    "in the issuer's name by another key": ANOTHER.crl(FIDO.leaf, issuer=FIDO.intermediate.certificate.subject),
    "by the issuer's key in another name": FIDO.intermediate.crl(FIDO.leaf, issuer=ANOTHER.certificate.subject),
    "cut": FIDO.intermediate.crl(FIDO.leaf)[:-1],
    "unknown critical extension": FIDO.intermediate.crl(FIDO.leaf, extensions=[(UNKNOWN, True)]),
    "of changes only": FIDO.intermediate.crl(FIDO.leaf, extensions=[(x509.DeltaCRLIndicator(1), True)]),
    "for authorities": FIDO.intermediate.crl(FIDO.leaf, extensions=[(scope(only_contains_ca_certs=True), True)]),
    "indirect": FIDO.intermediate.crl(FIDO.leaf, extensions=[(scope(indirect_crl=True), True)]),
    "for another part": FIDO.intermediate.crl(FIDO.leaf, extensions=[(scope("http://example.org/2"), True)]),
}


@pytest.mark.parametrize("crl", UNSOUND.values(), ids=UNSOUND)
def test_a_list_that_says_nothing_about_the_certificate_neither_accuses_nor_absolves(crl: bytes) -> None:
    assert not verify(FIDO.blob(), crls=(FIDO.authority.crl(), crl)).revocation_checked


@pytest.mark.parametrize(
    "extensions",
    [
        [(UNKNOWN, False)],
        [(x509.CRLNumber(7), False)],
        [(scope(only_contains_user_certs=True), True)],
    ],
    ids=["unknown extension", "number", "for leaves"],
)
def test_a_list_with_harmless_extensions_covers(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    lists = (FIDO.authority.crl(), FIDO.intermediate.crl(extensions=extensions))
    assert verify(FIDO.blob(), crls=lists).revocation_checked


def test_a_list_for_the_part_that_the_certificate_names_covers() -> None:
    fido = MetadataMaker(crl_urls=("http://example.org/1",))
    lists = (fido.authority.crl(), fido.intermediate.crl(extensions=[(scope("http://example.org/1"), True)]))
    assert verify(fido.blob(), crls=lists).revocation_checked


def test_a_list_over_a_broken_hash_says_nothing() -> None:
    lists = (FIDO.authority.crl(), FIDO.intermediate.crl(FIDO.leaf, digest=hashes.SHA224()))
    assert not verify(FIDO.blob(), crls=lists).revocation_checked


def test_an_issuer_that_may_not_sign_lists_is_not_heard() -> None:
    leaf = leaf_of(MAY_NOT)
    blob = FIDO.blob(path=(leaf.der, MAY_NOT.der))
    assert not verify(blob, roots=(MAY_NOT.der,), crls=(MAY_NOT.crl(leaf),)).revocation_checked


def test_the_addresses_of_the_lists_are_those_of_all_certificates_once() -> None:
    fido = MetadataMaker(crl_urls=("http://example.org/1", "ldap://example.org/2", "https://example.org/3"))
    assert ("http://example.org/1", "https://example.org/3") == revocation_urls(fido.blob())


def test_no_more_lists_are_named_than_anybody_needs() -> None:
    fido = MetadataMaker(crl_urls=tuple(f"http://example.org/{at}" for at in range(20)))
    assert len(revocation_urls(fido.blob())) == MAX_REVOCATION_URLS


def test_a_certificate_that_names_no_address_has_none() -> None:
    relative = x509.CRLDistributionPoints(
        [x509.DistributionPoint(None, FIDO.authority.certificate.subject.rdns[0], None, None)]
    )
    leaf = leaf_of(FIDO.intermediate, extensions=((relative, False),))
    assert revocation_urls(FIDO.blob(path=(leaf.der, FIDO.intermediate.der))) == ()
    assert distribution_points("http://example.org/1") != relative


@pytest.mark.parametrize("blob", [b"", b"x.y.z", FIDO.blob(path=(b"not a certificate",))], ids=range(3))
def test_what_has_no_certificates_has_no_addresses(blob: bytes) -> None:
    with pytest.raises(MetadataMalformed):
        revocation_urls(blob)


# --- the payload ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"no": None},
        {"no": "1"},
        {"no": 0},
        {"no": -1},
        {"no": 1.5},
        {"no": 2**64},
        {"nextUpdate": None},
        {"nextUpdate": "soon"},
        {"nextUpdate": "2026-02-30"},
        {"nextUpdate": 20260201},
        {"entries": None},
        {"entries": {}},
        {"entries": [1] * (MAX_ENTRIES + 1)},
    ],
    ids=lambda members: str(members)[:40],
)
def test_a_payload_without_its_frame_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(MetadataMalformed):
        verify(FIDO.blob(**members))


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b"\xff", b'{"no":1', b"[" * 100_000, b'{"no":1}x'], ids=range(7)
)
def test_a_payload_that_is_no_such_object_is_refused(payload: bytes) -> None:
    with pytest.raises(MetadataMalformed):
        verify(FIDO.blob(payload=payload))


def test_unknown_members_are_let_through_at_every_level() -> None:
    entry = FIDO.entry(
        statuses=[{"status": "REVOKED", "new": [1]}], statement={"new": {"a": None}}, new="x", rogueListURL="y"
    )
    metadata = verify(FIDO.blob(entry, new={}))
    assert (1, 0) == (len(metadata.entries), metadata.skipped)


BAD_ENTRIES: dict[str, Any] = {
    "no object": 7,
    "no model": {"metadataStatement": {}},
    "aaguid is no text": {"aaguid": 7},
    "aaguid is no hex": {"aaguid": "zz" * 16},
    "aaguid is short": {"aaguid": "00" * 15},
    "aaguid has blanks": {"aaguid": "01 " * 10 + "01"},
    "key identifier is short": {"attestationCertificateKeyIdentifiers": ["00" * 19]},
    "no key identifiers": {"attestationCertificateKeyIdentifiers": []},
    "status is no text": FIDO.entry(aaguid=OTHER_AAGUID, statuses=[{"status": 7}]),
    "status is missing": FIDO.entry(aaguid=OTHER_AAGUID, statuses=[{}]),
    "date is no date": FIDO.entry(aaguid=OTHER_AAGUID, statuses=[("REVOKED", "yesterday")]),
    "unknown protocol": FIDO.entry(aaguid=OTHER_AAGUID, statement={"protocolFamily": "fido3"}),
    "certificates are no list": FIDO.entry(aaguid=OTHER_AAGUID, statement={"attestationRootCertificates": "x"}),
    "a name is no text": FIDO.entry(aaguid=OTHER_AAGUID, statement={"keyProtection": [7]}),
    "same model again": FIDO.entry(name="again"),
}


@pytest.mark.parametrize("bad", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_an_entry_that_cannot_be_read_is_left_out_and_counted(bad: Any) -> None:
    metadata = verify(FIDO.blob(FIDO.entry(name="good"), bad))
    assert (["good"], 1) == ([entry.name for entry in metadata.entries], metadata.skipped)


@pytest.mark.parametrize(
    "bad",
    [
        FIDO.entry(statuses=[("REVOKED", "yesterday")]),
        FIDO.entry(statuses=["REVOKED", {"status": 7}]),
        FIDO.entry(statuses=["REVOKED"], statement={"protocolFamily": "fido3"}),
        FIDO.entry(statuses=["REVOKED"], metadataStatement=7),
    ],
    ids=["date is no date", "another report is unreadable", "unknown protocol", "no statement"],
)
@pytest.mark.parametrize("beside", [(), (FIDO.entry(name="good"),)], ids=["alone", "beside another of the model"])
def test_what_speaks_against_a_model_is_kept_of_an_entry_that_is_left_out(bad: Any, beside: tuple[Any, ...]) -> None:
    metadata = verify(FIDO.blob(*beside, bad))
    found = metadata.find(AAGUID)
    assert found is not None
    assert {"REVOKED"} == standing(found, now=NOW).bad
    assert len(beside) == len(found.anchors) == len(metadata.entries)


def test_bad_news_in_a_second_entry_of_a_model_counts() -> None:
    metadata = verify(FIDO.blob(FIDO.entry(), FIDO.entry(statuses=["REVOKED"])))
    found = metadata.find(AAGUID)
    assert found is not None
    assert {"REVOKED"} == standing(found, now=NOW).bad


def test_bad_news_of_a_u2f_model_is_kept_too() -> None:
    bad = FIDO.entry(aaguid=None, key_identifiers=[bytes(20)], statuses=[("USER_KEY_REMOTE_COMPROMISE", "yesterday")])
    found = verify(FIDO.blob(FIDO.entry(), bad)).find_by_key_identifier(bytes(20))
    assert found is not None
    assert {"USER_KEY_REMOTE_COMPROMISE"} == standing(found, now=NOW).bad


def test_an_aaguid_of_zeros_is_no_model() -> None:
    metadata = verify(FIDO.blob(FIDO.entry(aaguid=bytes(16))))
    assert ((), 0, None) == (metadata.entries, metadata.skipped, metadata.find(bytes(16)))
    metadata = verify(FIDO.blob(FIDO.entry(aaguid=bytes(16), statuses=["REVOKED", ("REVOKED", "yesterday")])))
    assert ((), 1, None) == (metadata.entries, metadata.skipped, metadata.find(bytes(16)))


def test_an_entry_without_a_statement_still_tells_its_status() -> None:
    aaguid = FIDO.entry()["aaguid"]
    metadata = verify(FIDO.blob({"aaguid": aaguid, "statusReports": [{"status": "REVOKED"}]}))
    assert metadata.find(AAGUID) == MetadataEntry(aaguid=AAGUID, protocol="fido2", statuses=(StatusReport("REVOKED"),))


# --- the models -----------------------------------------------------------------------------------------------------


def test_a_fido2_model_is_found_by_its_aaguid() -> None:
    metadata = verify(FIDO.blob(FIDO.entry(name="one"), FIDO.entry(aaguid=OTHER_AAGUID, name="other")))
    found = metadata.find(OTHER_AAGUID)
    assert found is not None
    assert ("other", "fido2", OTHER_AAGUID) == (found.name, found.protocol, found.aaguid)
    assert metadata.find(bytes(16)) is None


def test_a_u2f_model_is_found_by_the_key_of_its_certificate() -> None:
    identifier = key_identifier(maker().der)
    metadata = verify(FIDO.blob(FIDO.entry(aaguid=None, key_identifiers=[bytes(20), identifier], name="u2f")))
    found = metadata.find_by_key_identifier(identifier)
    assert found is not None
    assert ("u2f", "u2f", None) == (found.name, found.protocol, found.aaguid)
    assert metadata.find_by_key_identifier(b"\1" * 20) is None


def test_a_uaf_model_is_read_and_never_found() -> None:
    metadata = verify(FIDO.blob({"aaid": "1234#5678", "metadataStatement": {"description": "uaf"}}))
    assert ["uaf"] == [entry.protocol for entry in metadata.entries]


def test_the_honest_entry_trusts_the_software_authenticator() -> None:
    path = attestation_path(make_key_pair(-7).private, AAGUID, CertificateFaults())
    entry = read_entry()
    trust = verify_trust_path(path, anchors=entry.anchors, now=NOW)
    assert (TrustVerdict.ANCHORED, True) == (trust.verdict, in_hardware(entry))
    assert {hashlib.sha256(trust.anchor or b"").digest()} == entry.anchor_digests


def test_a_certificate_that_cannot_be_read_is_left_out_and_counted() -> None:
    good = read_entry().anchors[0]
    texts = FIDO.entry()["metadataStatement"]["attestationRootCertificates"]
    broken = [texts[0][:76] + "\n" + texts[0][76:], "no base64!", "AAAA", "ä", *texts]
    metadata = verify(FIDO.blob(FIDO.entry(statement={"attestationRootCertificates": broken})))
    assert ({good}, 3) == (set(metadata.entries[0].anchors), metadata.skipped_certificates)


def test_models_share_the_certificates_they_have_in_common() -> None:
    one, other = verify(FIDO.blob(FIDO.entry(), FIDO.entry(aaguid=OTHER_AAGUID))).entries
    assert one.anchors[0] is other.anchors[0]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ({}, "Test Model"),
        ({"friendlyNames": {"de-DE": "Schlüssel", "en-US": "Model"}}, "Model"),
        ({"friendlyNames": {"en": "Model"}}, "Model"),
        ({"friendlyNames": {"de-DE": "Schlüssel"}}, "Test Model"),
        ({"friendlyNames": {}}, "Test Model"),
        ({"friendlyNames": None}, "Test Model"),
    ],
)
def test_a_model_bears_its_friendly_name_or_its_description(statement: dict[str, Any], name: str) -> None:
    assert name == read_entry(statement=statement).name


@pytest.mark.parametrize(
    ("icon", "kept"),
    [
        (ICON, True),
        ("data:image/svg+xml;base64,PHN2Zy8+", True),
        ("https://example.org/icon.png", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("", False),
        (None, False),
    ],
)
def test_an_icon_is_a_picture_that_comes_along(icon: str | None, kept: bool) -> None:
    assert (icon if kept else None) == read_entry(icon=icon).icon


@pytest.mark.parametrize(
    ("names", "identifiers"),
    [
        (["secp256r1_ecdsa_sha256_raw", "secp256r1_ecdsa_sha256_der"], (-7, -9)),
        (["ed25519_eddsa_sha512_raw", "rsassa_pkcsv15_sha256_raw"], (-8, -19, -257)),
        (["sm2_sm3_raw", "from_the_future"], ()),
    ],
)
def test_algorithms_are_told_by_their_cose_identifiers(names: list[str], identifiers: tuple[int, ...]) -> None:
    assert identifiers == read_entry(algorithms=names).algorithms


@pytest.mark.parametrize(
    ("key_protection", "hardware"),
    [
        (["hardware", "secure_element"], True),
        (["hardware", "tee"], True),
        (["hardware", "tee", "secure_element", "from_the_future"], True),
        (["hardware"], False),
        (["secure_element"], False),
        (["software"], False),
        (["hardware", "secure_element", "software"], False),
        (["hardware", "secure_element", "remote_handle"], False),
        ([], False),
    ],
    ids=str,
)
def test_hardware_is_an_isolated_part_and_nothing_beside_it(key_protection: list[str], hardware: bool) -> None:
    assert hardware == in_hardware(read_entry(key_protection=key_protection))


# --- the standing ---------------------------------------------------------------------------------------------------


def stands(*statuses: Any) -> Standing:
    return standing(read_entry(statuses=statuses), now=NOW)


@pytest.mark.parametrize("status", sorted(BAD_STATUSES))
def test_bad_news_is_told(status: str) -> None:
    assert Standing(bad=frozenset({status}), fido=None, fips=None) == stands(status)


@pytest.mark.parametrize("later", ["FIDO_CERTIFIED_L3", "UPDATE_AVAILABLE", "SELF_ASSERTION_SUBMITTED", "FUTURE"])
def test_a_later_report_does_not_wash_bad_news_off(later: str) -> None:
    assert {"REVOKED"} == stands(("REVOKED", "2024-01-01"), (later, "2025-01-01")).bad


def test_bad_news_holds_past_its_sunset() -> None:
    report = {"status": "USER_VERIFICATION_BYPASS", "effectiveDate": "2024-01-01", "sunsetDate": "2025-01-01"}
    assert {"USER_VERIFICATION_BYPASS"} == stands(report).bad


@pytest.mark.parametrize(
    "status", ["NOT_FIDO_CERTIFIED", "SELF_ASSERTION_SUBMITTED", "UPDATE_AVAILABLE", "RETIRED", "FUTURE", ""]
)
def test_other_statuses_are_kept_and_do_not_judge(status: str) -> None:
    assert Standing(bad=frozenset(), fido=None, fips=None) == stands(status)
    assert (status,) == tuple(report.status for report in read_entry(statuses=[status]).statuses)


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("FIDO_CERTIFIED", FidoLevel.L1),
        ("FIDO_CERTIFIED_L1", FidoLevel.L1),
        ("FIDO_CERTIFIED_L1plus", FidoLevel.L1plus),
        ("FIDO_CERTIFIED_L2", FidoLevel.L2),
        ("FIDO_CERTIFIED_L2plus", FidoLevel.L2plus),
        ("FIDO_CERTIFIED_L3", FidoLevel.L3),
        ("FIDO_CERTIFIED_L3plus", FidoLevel.L3plus),
        ("FIDO_CERTIFIED_L4", None),
        ("fido_certified_l1", None),
    ],
)
def test_a_certification_has_a_level(status: str, level: FidoLevel | None) -> None:
    assert level == stands(status).fido


def test_levels_rise() -> None:
    assert ["L1", "L1plus", "L2", "L2plus", "L3", "L3plus"] == [level.name for level in sorted(FidoLevel)]


@pytest.mark.parametrize(
    ("statuses", "level"),
    [
        ([("FIDO_CERTIFIED_L1", "2020-01-01"), ("FIDO_CERTIFIED_L2", "2024-01-01")], FidoLevel.L2),
        ([("FIDO_CERTIFIED_L2", "2024-01-01"), ("FIDO_CERTIFIED_L1", "2020-01-01")], FidoLevel.L2),
        ([("FIDO_CERTIFIED_L2", "2020-01-01"), ("FIDO_CERTIFIED_L1", "2024-01-01")], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2024-01-01"), ("FIDO_CERTIFIED_L2", "2024-01-01")], FidoLevel.L2),
        ([("FIDO_CERTIFIED_L2", "2020-01-01"), ("FIDO_CERTIFIED_L1", None)], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2020-01-01"), ("FIDO_CERTIFIED_L3", "2026-01-02")], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2026-01-01")], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2026-01-02")], None),
        ([("FIDO_CERTIFIED_L1", "2020-01-01"), ("NOT_FIDO_CERTIFIED", "2024-01-01")], None),
        ([("NOT_FIDO_CERTIFIED", "2020-01-01"), ("FIDO_CERTIFIED_L1", "2024-01-01")], FidoLevel.L1),
        ([("NOT_FIDO_CERTIFIED", "2024-01-01"), ("FIDO_CERTIFIED_L1", "2024-01-01")], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2020-01-01"), ("RETIRED", "2024-01-01")], FidoLevel.L1),
        ([("FIDO_CERTIFIED_L1", "2020-01-01T10:00:00Z")], FidoLevel.L1),
        ([{"status": "FIDO_CERTIFIED_L1", "sunsetDate": "2026-01-01"}], None),
        ([{"status": "FIDO_CERTIFIED_L1", "sunsetDate": "2026-01-02"}], FidoLevel.L1),
        ([{"status": "FIDO_CERTIFIED_L1", "effectiveDate": ""}], FidoLevel.L1),
        ([], None),
    ],
    ids=str,
)
def test_the_latest_certification_that_holds_counts(statuses: list[Any], level: FidoLevel | None) -> None:
    assert level == stands(*statuses).fido


def test_bad_news_of_tomorrow_does_not_count_today() -> None:
    entry = read_entry(statuses=[("REVOKED", "2026-01-02")])
    assert [set(), {"REVOKED"}] == [set(standing(entry, now=NOW + timedelta(days=day)).bad) for day in (0, 1)]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_fips_certification_has_a_level_of_its_own(level: int) -> None:
    statuses = ("FIDO_CERTIFIED_L2", f"FIPS140_CERTIFIED_L{level}")
    assert Standing(bad=frozenset(), fido=FidoLevel.L2, fips=level) == stands(*statuses)


def test_a_fips_certification_ends_at_its_sunset() -> None:
    assert stands({"status": "FIPS140_CERTIFIED_L2", "sunsetDate": "2025-09-21"}).fips is None


# --- any bytes, and the refusals ------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_any_bytes_are_metadata_or_a_refusal(raw: bytes) -> None:
    for read in (verify, revocation_urls):
        with pytest.raises(MetadataMalformed):
            read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("aaid", "aaguid", "metadataStatement", "statusReports"), JSON)
    | {"attestationCertificateKeyIdentifiers": JSON},
)


@given(st.lists(MEMBERS | JSON, max_size=3))
def test_any_signed_entries_are_read_or_counted(entries: list[Any]) -> None:
    payload = json.dumps({"no": 1, "nextUpdate": "2026-02-01", "entries": entries}).encode()
    try:
        metadata = verify(FIDO.blob(payload=payload))
    except MetadataMalformed:
        assert re.search(rb"NaN|Infinity|\\ud", payload)  # not JSON, or no Unicode
    else:
        assert len(entries) == len(metadata.entries) + metadata.skipped


@given(st.binary(max_size=200))
def test_any_bytes_as_a_revocation_list_are_no_harm(raw: bytes) -> None:
    assert not verify(FIDO.blob(), crls=(raw,)).revocation_checked


REFUSALS = tuple(
    value
    for module in (jws_module, metadata_blob, metadata_payload, revocation)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Refusal) and value.__module__ == module.__name__
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_a_refusal_is_documented(refusal: type[Refusal]) -> None:
    assert re.sub(r"(?<=[a-z])(?=[A-Z])", "-", refusal.__name__).lower() == refusal.code
    assert refusal.spec
    assert refusal.advice
    assert re.fullmatch(r"[A-Z](?:(?!\. ).)*\.", refusal.__doc__ or "")
    assert refusal.__bases__ in ((Malformed,), (Rejected,))
