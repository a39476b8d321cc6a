"""The FIDO metadata, for consoles that choose models from it (the compatible API's section 8), and its state."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from uuid import UUID

from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.body import Rule
from narthex.http.routes.passwordless.shapes import Answer, Request, told
from narthex.http.routing import route
from narthex.usecases.call import OperatorCall
from narthex.webauthn.metadata import MetadataEntry

_WORD = re.compile(r"[a-zA-Z0-9_]*\Z")


def _broken_words(value: list[str | None] | None) -> str | None:
    if any(each is None or not _WORD.match(each) for each in value or ()):
        return "{} can hold letters, digits and underscores only."
    return None


_WORDS = Rule(_broken_words, {"items": {"type": "string", "pattern": "^[a-zA-Z0-9_]*$"}})


class MetadataEntriesQuery(Request):
    """Which models: one of the values of a filter is enough, and both filters must be met."""

    attestation_types: list[str | None] | None = None
    certification_statuses: list[str | None] | None = None

    rules: ClassVar = {"attestation_types": (_WORDS,), "certification_statuses": (_WORDS,)}


class MetadataEntryAnswer(Answer):
    """A model."""

    aa_guid: str
    name: str
    certification_statuses: list[str]
    attestation_types: list[str]
    icon: str | None


class MetadataStateAnswer(Answer):
    """What the server has of the metadata, and how the last try to get it went."""

    number: Annotated[int, told("Serial number of the metadata that this process judges by; 0 without any.")]
    next_update: Annotated[str | None, told("When newer metadata is due: a date.")]
    stale: bool
    models: int
    unreadable: Annotated[int, told("Entries that could not be read, and were left out.")]
    kept_number: int
    kept_at: str | None
    tried_at: str | None
    failures: Annotated[int, told("How many tries in a row have failed.")]
    problem: Annotated[str, told("What the last failure said.")]


@route("GET", "/mds/attestation-types", access=Access.MANAGEMENT_KEY, answer=list[str])
async def mds_attestation_types(call: OperatorCall) -> list[str]:
    """The kinds of attestation that FIDO2 models have, sorted."""
    return sorted({kind for entry in _models(call) for kind in entry.attestation_types})


@route("GET", "/mds/certification-statuses", access=Access.MANAGEMENT_KEY, answer=list[str])
async def mds_certification_statuses(call: OperatorCall) -> list[str]:
    """The statuses that FIDO2 models have, sorted."""
    return sorted({report.status for entry in _models(call) for report in entry.statuses})


@route(
    "GET",
    "/mds/entries",
    access=Access.MANAGEMENT_KEY,
    query=MetadataEntriesQuery,
    answer=list[MetadataEntryAnswer],
)
async def mds_entries(call: OperatorCall, query: MetadataEntriesQuery) -> list[MetadataEntryAnswer]:
    """The FIDO2 models, by name."""
    kinds, statuses = set(query.attestation_types or ()), set(query.certification_statuses or ())
    found = [
        entry
        for entry in _models(call)
        if (not kinds or not kinds.isdisjoint(entry.attestation_types))
        and (not statuses or not statuses.isdisjoint(report.status for report in entry.statuses))
    ]
    return [_entry(entry) for entry in sorted(found, key=lambda entry: (entry.name.casefold(), entry.aaguid or b""))]


@route("GET", "/mds/state", access=Access.MANAGEMENT_KEY, answer=MetadataStateAnswer)
async def mds_state(call: OperatorCall) -> MetadataStateAnswer:
    """Whether there is metadata, how old it is, and what went wrong."""
    current, kept = call.catalog.current, await call.root.find_metadata()
    return MetadataStateAnswer(
        number=current.number,
        next_update=current.next_update.isoformat() if current.number else None,
        stale=current.is_stale(call.now),
        models=len(current.entries),
        unreadable=current.skipped,
        kept_number=kept.number,
        kept_at=None if kept.kept_at is None else instant_z(kept.kept_at),
        tried_at=None if kept.tried_at is None else instant_z(kept.tried_at),
        failures=kept.failures,
        problem=kept.problem,
    )


def _models(call: OperatorCall) -> list[MetadataEntry]:
    return [entry for entry in call.catalog.current.entries if entry.protocol == "fido2" and entry.aaguid is not None]


def _entry(entry: MetadataEntry) -> MetadataEntryAnswer:
    return MetadataEntryAnswer(
        aa_guid=str(UUID(bytes=entry.aaguid)),
        name=entry.name,
        certification_statuses=list(dict.fromkeys(report.status for report in entry.statuses)),
        attestation_types=list(entry.attestation_types),
        icon=entry.icon,
    )
