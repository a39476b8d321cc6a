"""What the FIDO Alliance says about models of authenticators, and what that is worth.

FIDO Metadata Service v3.1 section 3.1 and Metadata Statement v3.1. `metadata_blob` verifies what was signed and
`metadata_payload` reads it; here is what came of it. A model without an entry has no anchors, which is the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum
from typing import Literal

import msgspec


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


_AAGUID_BYTES = 16
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
            of_fido2 = len(name) == _AAGUID_BYTES
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


def _warned(entry: MetadataEntry, bad: frozenset[str]) -> MetadataEntry:
    return msgspec.structs.replace(entry, statuses=(*entry.statuses, *map(StatusReport, sorted(bad))))


NO_METADATA = Metadata(number=0, next_update=date.min, entries=())
"""What there is before any BLOB was read: no model is known, and it is stale at any time, for nothing is known of
the present state of any model."""
