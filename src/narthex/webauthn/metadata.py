"""What the FIDO Alliance says about authenticator models: the Metadata BLOB, verified and read.

FIDO Metadata Service v3.1 (section 3.1, Metadata Format; section 3.2, BLOB object processing rules) and Metadata
Statement v3.1. A BLOB is a signed text (``jws``) whose certificates must lead to a root that the caller trusts. Read
strictly where trust comes from (signature, path, serial number, date), and leniently below: an entry that cannot be
read is left out and counted, because one maker's slip must not take all other models away, and a model without an
entry has no anchors, which is the safe side. What speaks against the model is kept all the same, wherever it can be
read. Unknown members and unknown statuses are let through.

Where we are stricter, or looser, than the text:

* Beyond the spec: the signing certificate must bear a name. The root is that of a public web CA, under which anybody
  may have a certificate; without the name, any of them could sign metadata.
* A path counts as far as it reaches a root. Since August 2026 FIDO sends along a certificate that ties the new root
  to the old one, for readers who know the old one only; who knows the new one is there before.
* The path is judged at the end of the day of ``nextUpdate``, or now if that is earlier. An operator without internet
  keeps an old file, whose signing certificate expires at some time; refusing it then would turn "the metadata is
  old", which is a warning and a fact that policy can use (``is_stale``), into "no passkey is attested", from one day
  to the next. What is given up: who gets hold of a signing key after its certificate expired can sign metadata that
  is old; it is never fresh.
* Revocation must be checked, and lists come from outside. A list that is sound and names a certificate of the path
  refuses the BLOB, however old the list; one that is missing, expired or unsound absolves nothing, and the caller is
  told (``revocation_checked``) rather than stopped, since whoever can block a download could stop all updates.
* That the serial number never falls is for whoever keeps the last BLOB to check (section 3.2, the rule on ``no``).
"""

from __future__ import annotations

from binascii import Error, a2b_base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import IntEnum
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from narthex.base.errors import Malformed, Rejected
from narthex.webauthn.errors import CertificateMalformed, TrustPathInvalid, quoted
from narthex.webauthn.jws import JwsMalformed, SignedText, parse_path, verify_jws
from narthex.webauthn.trust import Certificate, TrustVerdict, parse_certificate, verify_trust_path

MAX_BLOB_BYTES = 32 * 1024 * 1024
"""Three times what FIDO published in 2026."""
MAX_ENTRIES = 20_000
MAX_CRL_BYTES = 5 * 1024 * 1024
MAX_REVOCATION_URLS = 8

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""FIDO has signed with ES256 and RS256; the text names none."""

_SECTION = "FIDO Metadata Service v3.1 section 3.2"


class MetadataMalformed(Malformed):
    """The bytes are not a metadata BLOB."""

    code, spec = "metadata-malformed", "FIDO Metadata Service v3.1 sections 3.1.6 and 3.1.7"
    advice = "fetch the file again from where FIDO publishes it, and keep it byte for byte"


class MetadataSignatureInvalid(Rejected):
    """The metadata BLOB was not signed, as it stands, by the key of its own certificate."""

    code, spec = "metadata-signature-invalid", _SECTION
    advice = "fetch the file again: it was altered or cut on its way"


class MetadataUntrusted(Rejected):
    """The certificates of the metadata BLOB do not lead from the expected signer to a trusted root."""

    code, spec = "metadata-untrusted", _SECTION
    advice = (
        "check that the file comes from FIDO, that the server's clock is right and, where a root or a signer's name "
        "is configured, that it is still theirs"
    )


class MetadataSignerRevoked(Rejected):
    """A certificate of the metadata BLOB was revoked by its issuer."""

    code, spec = "metadata-signer-revoked", _SECTION
    advice = "do not use this file; fetch the present one from where FIDO publishes it"


# --- what an entry says ---------------------------------------------------------------------------------------------


class StatusReport(msgspec.Struct, frozen=True):
    """One thing that was said about a model, and since when it holds (section 3.1.3)."""

    status: str
    """A name of AuthenticatorStatus, or one that is not known here."""
    effective_at: date | None = None
    """None: as long as the report is there."""
    sunset_at: date | None = None
    """The day on which the status ends; None when no end is foreseen."""
    authenticator_version: int | None = None
    """The firmware that it is about. Nothing here depends on it: an attestation does not tell its firmware."""
    certificate_number: str | None = None


class MetadataEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model (sections 3.1.1 and 4 of the Metadata Statement)."""

    aaguid: bytes | None = None
    """16 bytes, for FIDO2."""
    key_identifiers: frozenset[bytes] = frozenset()
    """20 bytes each, for U2F: ``trust.key_identifier`` of a certificate of the path."""
    protocol: Literal["fido2", "u2f", "uaf"]
    name: str = ""
    """The friendly name in English where there is one, else the description. Text of the maker's: escape it."""
    icon: str | None = None
    """A ``data:image/…`` URL of the maker's. Most of the memory that metadata takes."""
    statuses: tuple[StatusReport, ...] = ()
    attestation_types: tuple[str, ...] = ()
    key_protection: tuple[str, ...] = ()
    matcher_protection: tuple[str, ...] = ()
    algorithms: tuple[int, ...] = ()
    """COSE identifiers: all that a key of the model may have. Names without a COSE identifier are left out."""
    attachment_hint: tuple[str, ...] = ()
    anchors: tuple[bytes, ...] = ()
    """DER. A root, an intermediate, or an attestation certificate itself."""
    anchor_digests: frozenset[bytes] = frozenset()
    """SHA-256 of each anchor: what a stored credential remembers of the anchor that it reached."""


class FidoLevel(IntEnum):
    """FIDO certification, in rising order; the names are those of the statuses."""

    L1 = 10
    L1plus = 15
    L2 = 20
    L2plus = 25
    L3 = 30
    L3plus = 35


class Standing(msgspec.Struct, frozen=True):
    """What a model is worth on a day."""

    bad: frozenset[str]
    """Of BAD_STATUSES, those that hold."""
    fido: FidoLevel | None
    fips: int | None
    """The overall level of FIPS 140 certification, 1 … 4."""


BAD_STATUSES = frozenset(
    {
        "REVOKED",
        "USER_VERIFICATION_BYPASS",
        "ATTESTATION_KEY_COMPROMISE",
        "USER_KEY_REMOTE_COMPROMISE",
        "USER_KEY_PHYSICAL_COMPROMISE",
    }
)
_FIDO_STATUSES: dict[str, FidoLevel | None] = {
    "NOT_FIDO_CERTIFIED": None,
    "FIDO_CERTIFIED": FidoLevel.L1,  # the functional certification that L1 took the place of
    **{f"FIDO_CERTIFIED_{level.name}": level for level in FidoLevel},
}
_FIPS_STATUSES: dict[str, int | None] = {f"FIPS140_CERTIFIED_L{level}": level for level in (1, 2, 3, 4)}


def standing(entry: MetadataEntry, *, now: datetime) -> Standing:
    """What the reports that hold on the day of ``now`` make of a model (section 3.1.4).

    Bad news stays: a later report does not wash it off. Even an UPDATE_AVAILABLE that mends a flaw leaves open
    whether this very authenticator took the update, and neither firmware nor batch shows in an assertion.

    Of certifications the latest counts, since a model may be certified again at a lower level. A report without a
    date holds "as long as it is there", hence as if it were of today; of two of one day the higher counts. A later
    NOT_FIDO_CERTIFIED ends a certification; UPDATE_AVAILABLE, RETIRED, SELF_ASSERTION_SUBMITTED and statuses that are
    not known here do not judge.
    """
    today = now.date()
    begun = [report for report in entry.statuses if report.effective_at is None or report.effective_at <= today]
    current = [report for report in begun if report.sunset_at is None or today < report.sunset_at]
    fido = _latest(current, _FIDO_STATUSES, today)
    return Standing(
        bad=BAD_STATUSES.intersection(report.status for report in begun),
        fido=None if fido is None else FidoLevel(fido),
        fips=_latest(current, _FIPS_STATUSES, today),
    )


def _latest(reports: Sequence[StatusReport], levels: Mapping[str, int | None], today: date) -> int | None:
    dated = [(r.effective_at or today, levels[r.status] or 0) for r in reports if r.status in levels]
    return max(dated, default=(today, 0))[1] or None


def in_hardware(entry: MetadataEntry) -> bool:
    """Whether the maker says that private keys never leave hardware (Metadata Statement, keyProtection)."""
    named = set(entry.key_protection)
    isolated = not named.isdisjoint({"secure_element", "tee"})
    return "hardware" in named and isolated and named.isdisjoint({"software", "remote_handle"})


# --- what a BLOB says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metadata:
    """The models of one BLOB, to be looked up."""

    number: int
    """The serial number; 0 for NO_METADATA alone."""
    next_update: date
    """By when FIDO promises a newer one."""
    entries: tuple[MetadataEntry, ...]
    skipped: int = 0
    """Entries that could not be read, or name a model that another one names already."""
    skipped_certificates: int = 0
    """Anchors of the entries that could not be read."""
    warnings: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    """AAGUID or key identifier → bad statuses that entries tell of it which were left out."""
    revocation_checked: bool = False
    """Whether a sound list of its issuer covers each certificate of the signer's path."""
    _by_aaguid: dict[bytes, MetadataEntry] = field(init=False, repr=False, compare=False)
    _by_key_identifier: dict[bytes, MetadataEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        models = {entry.aaguid: entry for entry in reversed(self.entries) if entry.aaguid is not None}
        keys = {key: entry for entry in reversed(self.entries) for key in entry.key_identifiers}
        for name, bad in self.warnings.items():
            of_fido2 = len(name) == len(_NO_AAGUID)
            known = models if of_fido2 else keys
            nothing_known = MetadataEntry(aaguid=name if of_fido2 else None, protocol="fido2" if of_fido2 else "u2f")
            known[name] = _warned(known.get(name, nothing_known), bad)
        object.__setattr__(self, "_by_aaguid", models)
        object.__setattr__(self, "_by_key_identifier", keys)

    def find(self, aaguid: bytes) -> MetadataEntry | None:
        """The FIDO2 model of an AAGUID."""
        return self._by_aaguid.get(aaguid)

    def find_by_key_identifier(self, raw: bytes) -> MetadataEntry | None:
        """The U2F model one of whose attestation certificates has this key."""
        return self._by_key_identifier.get(raw)

    def is_stale(self, now: datetime) -> bool:
        """Whether newer metadata was due before today (UTC)."""
        return self.next_update < now.date()


NO_METADATA = Metadata(number=0, next_update=date.min, entries=())
"""What there is before any BLOB was read: no model is known, and it is stale at any time, for nothing is known of
the present state of any model."""


def verify_metadata(
    blob: bytes, *, roots: Collection[bytes], now: datetime, crls: Collection[bytes] = (), signer: str | None = None
) -> Metadata:
    """Check who signed a BLOB, and read it.

    Section 3.2. Not done here: to fetch it, and to compare its number with that of the last one.

    Args:
        blob: a compact JWS; white space around it, as editors leave it, is ignored.
        roots: DER certificates that may vouch for the signer; none means that nobody can.
        now: instant of the call, UTC.
        crls: revocation lists in DER, each of at most MAX_CRL_BYTES, from wherever: they are verified.
        signer: the host name that the signing certificate must bear; None for any under the roots, which is only
            right for a root that issues for nothing else.
    Raises:
        MetadataMalformed, MetadataSignatureInvalid, MetadataUntrusted, MetadataSignerRevoked.
    """
    if len(blob) > MAX_BLOB_BYTES:
        raise MetadataMalformed(f"metadata is larger than {MAX_BLOB_BYTES} bytes")
    signed = _verify_signature(blob.strip())
    payload = _parse_payload(signed.payload)
    at = min(now, datetime.combine(payload.next_update, time.max, UTC))
    path = _verify_path(signed.path, roots=roots, at=at)
    _check_signer(path[0], signer)
    revocation_checked = _check_revocation(path, crls, now)
    return _read_entries(payload, revocation_checked)


def revocation_urls(blob: bytes) -> tuple[str, ...]:
    """Where the issuers of the BLOB's certificates publish what they revoked (RFC 5280 section 4.2.1.13).

    Nothing is verified yet: these are addresses that whoever made the bytes wrote. At most MAX_REVOCATION_URLS.

    Raises:
        MetadataMalformed.
    """
    try:
        path = [parse_certificate(der) for der in parse_path(blob.strip())]
    except (JwsMalformed, CertificateMalformed) as e:
        raise MetadataMalformed(f"metadata has no readable certificates: {e.message}") from e
    found = dict.fromkeys(url for certificate in path for url in _distribution_points(certificate))
    return tuple(found)[:MAX_REVOCATION_URLS]


# --- the signer -----------------------------------------------------------------------------------------------------


def _verify_signature(blob: bytes) -> SignedText:
    try:
        return verify_jws(blob, algorithms=ALGORITHMS)
    except (JwsMalformed, CertificateMalformed) as e:
        raise MetadataMalformed(f"metadata is not a signed text: {e.message}") from e
    except Rejected as e:
        raise MetadataSignatureInvalid(f"metadata is not signed as it should be: {e.message}") from e


def _verify_path(path: Sequence[bytes], *, roots: Collection[bytes], at: datetime) -> list[Certificate]:
    """The path from the leaf to the certificate that is a root itself, or that a root issued, and that root."""
    try:
        for size in range(1, len(path) + 1):
            trust = verify_trust_path(path[:size], anchors=roots, now=at)
            if trust.verdict is TrustVerdict.ANCHORED and trust.anchor is not None:
                return [parse_certificate(der) for der in dict.fromkeys((*path[:size], trust.anchor))]
    except (CertificateMalformed, TrustPathInvalid) as e:
        raise MetadataUntrusted(f"certificates of the metadata form no path: {e.message}") from e
    raise MetadataUntrusted("certificates of the metadata lead to no root that is trusted for it")


def _check_signer(leaf: Certificate, signer: str | None) -> None:
    usage = leaf.find_value(x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise MetadataUntrusted("certificate of the metadata may not be used for signatures")
    if signer is None:
        return
    names = leaf.find_value(x509.SubjectAlternativeName)
    named = [] if names is None else [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if signer.lower() not in named:
        raise MetadataUntrusted(f"metadata is signed by {quoted(', '.join(named))}, and not by {quoted(signer)}")


# --- revocation: RFC 5280 section 6.3 -------------------------------------------------------------------------------


_CRL_ERRORS = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    UserWarning,  # where warnings are errors, as in the tests
)


def _check_revocation(path: Sequence[Certificate], crls: Collection[bytes], now: datetime) -> bool:
    """Whether all certificates below the root are known not to be revoked.

    Raises:
        MetadataSignerRevoked: one of them is.
    """
    lists = [crl for crl in map(_parse_crl, crls) if crl is not None]
    # A list, so that each of them is looked at, whatever came of the one before it.
    covered = [_is_covered(certificate, issuer, lists, now) for certificate, issuer in pairwise(path)]
    return all(covered)


def _is_covered(
    certificate: Certificate, issuer: Certificate, lists: Sequence[x509.CertificateRevocationList], now: datetime
) -> bool:
    covered = False
    for crl in lists:
        if not _is_by(crl, issuer) or not _is_about(crl, certificate):
            continue
        if crl.get_revoked_certificate_by_serial_number(certificate.parsed.serial_number) is not None:
            raise MetadataSignerRevoked(f"certificate of {quoted(certificate.subject.rfc4514_string())} was revoked")
        covered = covered or _is_current(crl, now)
    return covered


def _parse_crl(der: bytes) -> x509.CertificateRevocationList | None:
    if len(der) > MAX_CRL_BYTES:
        return None
    try:
        crl = x509.load_der_x509_crl(der)
        # Parsed when first asked for: ask here, where the errors are caught.
        _ = crl.extensions, crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.signature_hash_algorithm
        return crl
    except _CRL_ERRORS:
        return None


def _is_by(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    usage = issuer.find_value(x509.KeyUsage)
    may_sign = usage is None or usage.crl_sign
    key = issuer.public_key
    if (
        crl.issuer != issuer.subject
        or not may_sign
        or not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    ):
        return False
    return isinstance(crl.signature_hash_algorithm, SHA256 | SHA384 | SHA512) and crl.is_signature_valid(key)


def _is_about(crl: x509.CertificateRevocationList, certificate: Certificate) -> bool:
    """Whether the list's scope includes the certificate. Lists of changes, and those for others, are left aside."""
    for extension in crl.extensions:
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            if not _is_in_scope(extension.value, certificate):
                return False
        elif extension.critical:
            return False
    return True


def _is_in_scope(scope: x509.IssuingDistributionPoint, certificate: Certificate) -> bool:
    if scope.indirect_crl or scope.only_contains_attribute_certs or scope.only_some_reasons or scope.relative_name:
        return False
    if scope.only_contains_user_certs if certificate.ca else scope.only_contains_ca_certs:
        return False
    published = {name.value for name in scope.full_name or ()}
    return not published or not published.isdisjoint(_distribution_points(certificate))


def _is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    return crl.next_update_utc is not None and crl.last_update_utc <= now <= crl.next_update_utc


def _distribution_points(certificate: Certificate) -> Iterator[str]:
    points = certificate.find_value(x509.CRLDistributionPoints)
    for point in points or ():
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith(("http://", "https://")):
                yield name.value


# --- the payload ----------------------------------------------------------------------------------------------------

Names = list[str] | None


class _Payload(msgspec.Struct, rename="camel"):
    no: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    next_update: date
    entries: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_ENTRIES)]


class _Report(msgspec.Struct, rename="camel"):
    status: str
    effective_date: str | None = None
    sunset_date: str | None = None
    authenticator_version: int | None = None
    certificate_number: str | None = None


class _Statement(msgspec.Struct, rename="camel"):
    description: str = ""
    friendly_names: dict[str, str] | None = None
    protocol_family: Literal["fido2", "u2f", "uaf"] | None = None
    authentication_algorithms: Names = None
    attestation_types: Names = None
    key_protection: Names = None
    matcher_protection: Names = None
    attachment_hint: Names = None
    attestation_root_certificates: Names = None
    icon: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    aaid: str | None = None
    aaguid: str | None = None
    attestation_certificate_key_identifiers: Names = None
    metadata_statement: _Statement | None = None
    status_reports: list[_Report] | None = None


class _BareEntry(msgspec.Struct, rename="camel"):
    """What is read of an entry that cannot be read."""

    aaid: object = None
    aaguid: str | None = None
    attestation_certificate_key_identifiers: Names = None
    status_reports: list[msgspec.Raw] | None = None


class _BareReport(msgspec.Struct):
    status: str


_PAYLOAD = msgspec.json.Decoder(_Payload)
_ENTRY = msgspec.json.Decoder(_Entry)
_BARE_ENTRY = msgspec.json.Decoder(_BareEntry)
_BARE_REPORT = msgspec.json.Decoder(_BareReport)
_NO_AAGUID = bytes(16)

# FIDO Registry of Predefined Values, Authentication Algorithms. The raw and the DER form of a signature are the same
# algorithm, and so are the polymorphic COSE identifiers and those that fix the curve (RFC 9864).
_COSE: dict[str, tuple[int, ...]] = {
    "secp256r1_ecdsa_sha256_raw": (-7, -9),
    "secp256r1_ecdsa_sha256_der": (-7, -9),
    "secp384r1_ecdsa_sha384_raw": (-35, -51),
    "secp512r1_ecdsa_sha256_raw": (-36, -52),  # as the registry had it until it was put right
    "secp521r1_ecdsa_sha512_raw": (-36, -52),
    "secp256k1_ecdsa_sha256_raw": (-47,),
    "secp256k1_ecdsa_sha256_der": (-47,),
    "ed25519_eddsa_sha512_raw": (-8, -19),
    "ed448_eddsa_sha512_raw": (-53,),
    "rsassa_pss_sha256_raw": (-37,),
    "rsassa_pss_sha256_der": (-37,),
    "rsassa_pss_sha384_raw": (-38,),
    "rsassa_pss_sha512_raw": (-39,),
    "rsassa_pkcsv15_sha1_raw": (-65535,),
    "rsassa_pkcsv15_sha256_raw": (-257,),
    "rsassa_pkcsv15_sha384_raw": (-258,),
    "rsassa_pkcsv15_sha512_raw": (-259,),
    "rsa_emsa_pkcs1_sha256_raw": (-257,),
    "rsa_emsa_pkcs1_sha256_der": (-257,),
}


def _parse_payload(raw: bytes) -> _Payload:
    try:
        return _PAYLOAD.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise MetadataMalformed(f"metadata has a payload that cannot be read: {quoted(e)}") from e


def _read_entries(payload: _Payload, revocation_checked: bool) -> Metadata:
    reader = _Reader()
    for raw in payload.entries:
        reader.read(raw)
    return Metadata(
        number=payload.no,
        next_update=payload.next_update,
        entries=tuple(reader.entries),
        warnings=dict(reader.warnings),
        skipped=reader.skipped,
        skipped_certificates=reader.skipped_certificates,
        revocation_checked=revocation_checked,
    )


@dataclass(slots=True)
class _Reader:
    """Reads entries one by one, and keeps what they share once."""

    entries: list[MetadataEntry] = field(default_factory=list)
    skipped: int = 0
    skipped_certificates: int = 0
    warnings: dict[bytes, frozenset[str]] = field(default_factory=dict)
    _models: set[bytes] = field(default_factory=set)
    _certificates: dict[str, tuple[bytes, bytes] | None] = field(default_factory=dict)
    """Certificate as text → DER and SHA-256; None where it cannot be read. The models of a maker share roots."""
    _texts: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def read(self, raw: msgspec.Raw) -> None:
        try:
            read = _ENTRY.decode(raw)
            identifiers = _identifiers(read)
            statuses = tuple(map(_status_report, read.status_reports or ()))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.skipped += 1
            self._warn(raw)
            return
        # An AAGUID of zeros names no model: it is what an authenticator sends that does not tell.
        if _NO_AAGUID in identifiers:
            return
        if not self._models.isdisjoint(identifiers):
            self.skipped += 1
            self._warn(raw)
            return
        self._models.update(identifiers)
        self.entries.append(self._entry(read, identifiers, statuses))

    def _warn(self, raw: msgspec.Raw) -> None:
        """Keep what speaks against the models of an entry that is left out; from when it holds does not matter."""
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            read = _BARE_ENTRY.decode(raw)
            bad = BAD_STATUSES.intersection(map(_bare_status, read.status_reports or ()))
            for name in _identifiers(read) - {_NO_AAGUID} if bad else ():
                self.warnings[name] = self.warnings.get(name, frozenset()) | bad

    def _entry(self, read: _Entry, identifiers: frozenset[bytes], statuses: tuple[StatusReport, ...]) -> MetadataEntry:
        statement = read.metadata_statement or _Statement()
        certificates = self._read_certificates(statement.attestation_root_certificates or ())
        of_fido2 = read.aaguid is not None
        return MetadataEntry(
            aaguid=next(iter(identifiers)) if of_fido2 else None,
            key_identifiers=frozenset() if of_fido2 else identifiers,
            protocol=statement.protocol_family or ("fido2" if of_fido2 else "u2f" if identifiers else "uaf"),
            name=_name(statement),
            icon=_icon(statement.icon),
            statuses=statuses,
            attestation_types=self._shared(statement.attestation_types),
            key_protection=self._shared(statement.key_protection),
            matcher_protection=self._shared(statement.matcher_protection),
            algorithms=tuple(
                dict.fromkeys(c for name in statement.authentication_algorithms or () for c in _COSE.get(name, ()))
            ),
            attachment_hint=self._shared(statement.attachment_hint),
            anchors=tuple(der for der, _ in certificates),
            anchor_digests=frozenset(digest for _, digest in certificates),
        )

    def _read_certificates(self, texts: Collection[str]) -> list[tuple[bytes, bytes]]:
        for text in texts:
            if text not in self._certificates:
                self._certificates[text] = _read_certificate(text)
        read = [self._certificates[text] for text in dict.fromkeys(texts)]
        self.skipped_certificates += read.count(None)
        return [certificate for certificate in read if certificate is not None]

    def _shared(self, names: Names) -> tuple[str, ...]:
        texts = tuple(names or ())
        return self._texts.setdefault(texts, texts)


def _bare_status(report: msgspec.Raw) -> str:
    try:
        return _BARE_REPORT.decode(report).status
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _warned(entry: MetadataEntry, bad: frozenset[str]) -> MetadataEntry:
    return msgspec.structs.replace(entry, statuses=(*entry.statuses, *map(StatusReport, sorted(bad))))


def _identifiers(entry: _Entry | _BareEntry) -> frozenset[bytes]:
    """By what the model is found: its AAGUID, or the keys of its certificates; nothing for UAF.

    Raises:
        ValueError: an identifier cannot be read, or the entry has none.
    """
    if entry.aaguid is not None:
        return frozenset({_hex(entry.aaguid.replace("-", ""), 16)})
    keys = entry.attestation_certificate_key_identifiers
    if not keys and entry.aaid is None:
        raise ValueError("entry names no model")
    return frozenset(_hex(key, 20) for key in keys or ())


def _hex(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size:
        raise ValueError("identifier has a wrong length")
    return raw


def _status_report(report: _Report) -> StatusReport:
    return StatusReport(
        report.status,
        _date(report.effective_date),
        _date(report.sunset_date),
        report.authenticator_version,
        report.certificate_number,
    )


def _date(text: str | None) -> date | None:
    """Read a day, also where somebody wrote an instant."""
    return date.fromisoformat(text[:10]) if text else None


def _name(statement: _Statement) -> str:
    names = statement.friendly_names or {}
    return names.get("en-US") or names.get("en") or statement.description


def _icon(icon: str | None) -> str | None:
    return icon if icon is not None and icon.startswith("data:image/") else None


def _read_certificate(text: str) -> tuple[bytes, bytes] | None:
    """DER and SHA-256; None where it cannot be read. Line breaks in the text are ignored: it was signed as it is."""
    try:
        der = a2b_base64("".join(text.split()), strict_mode=True)
        parse_certificate(der)
    except (Error, ValueError, CertificateMalformed):
        return None
    return der, sha256(der).digest()
