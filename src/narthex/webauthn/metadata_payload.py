"""The payload of a metadata BLOB: read strictly as a whole, and leniently entry by entry.

FIDO Metadata Service v3.1 section 3.1. An entry that cannot be read is left out and counted, because one maker's slip
must not take all other models away. What speaks against the model is kept all the same, wherever it can be read.
Unknown members and unknown statuses are let through.
"""

from __future__ import annotations

from binascii import Error, a2b_base64
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

from narthex.base.errors import Malformed, quoted
from narthex.webauthn.errors import CertificateMalformed
from narthex.webauthn.metadata import BAD_STATUSES, Metadata, MetadataEntry, StatusReport
from narthex.webauthn.trust import parse_certificate

MAX_ENTRIES = 20_000


class MetadataMalformed(Malformed):
    """The bytes are not a metadata BLOB."""

    code, spec = "metadata-malformed", "FIDO Metadata Service v3.1 sections 3.1.6 and 3.1.7"
    advice = "fetch the file again from where FIDO publishes it, and keep it byte for byte"


Names = list[str] | None


class Payload(msgspec.Struct, rename="camel"):
    """What was signed: the serial number, when newer metadata is due, and the entries, not read yet (section 3.1.6)."""

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


_PAYLOAD = msgspec.json.Decoder(Payload)
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


def parse_payload(raw: bytes) -> Payload:
    """Read the payload as a whole.

    Raises:
        MetadataMalformed.
    """
    try:
        return _PAYLOAD.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise MetadataMalformed(f"metadata has a payload that cannot be read: {quoted(e)}") from e


def read_entries(payload: Payload, revocation_checked: bool) -> Metadata:
    """Read the entries one by one; those that cannot be read are counted."""
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
