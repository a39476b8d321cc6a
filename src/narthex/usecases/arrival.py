"""The many of an application that is imported: kept portion by portion, from where an earlier run came to.

What an import came to stands in the database, as the run of a job named for the application: which source, and how
many rows of each kind are done.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from narthex.base.values import to_base64url
from narthex.ports.changes import AddCredential, AddEvent, Change, CredentialExists, KeepReport
from narthex.ports.records import (
    Alias,
    Application,
    AttestationEvidence,
    Credential,
    DailyReport,
    Event,
    EventFilter,
    EventType,
    JobRun,
)
from narthex.ports.store import TenantStore
from narthex.usecases.call import OperatorCall
from narthex.usecases.event import operator_log
from narthex.usecases.transfer_report import Advance, ApplicationReport

PORTION: Final = 2_000
"""Rows that are written together, and between which an import may die and go on."""
_TOGETHER: Final = 50
_COME_TO = re.compile(r"from (\S+) into the application of (\d+): (.*)\Z")
_DONE = re.compile(r"(\d+) ([a-z ]+)")


class Terms(msgspec.Struct, frozen=True):
    """How to import."""

    into_existing: bool = False
    dry_run: bool = False


class Progress(msgspec.Struct):
    """What an import came to."""

    source: str
    made: int
    """When the application was made, in microseconds: one that was made anew under the same id is another."""
    done: dict[str, int] = msgspec.field(default_factory=dict)

    def words(self) -> str:
        done = ", ".join(f"{count} {noun}" for noun, count in sorted(self.done.items())) or "nothing yet"
        return f"from {self.source} into the application of {self.made}: {done}"


def _read_progress(words: str) -> Progress | None:
    """
    >>> _read_progress("from 3f2a into the application of 17: 20 aliases, 4 credentials").done
    {'aliases': 20, 'credentials': 4}
    """
    found = _COME_TO.match(words)
    if found is None:
        return None
    done = {noun: int(count) for count, noun in _DONE.findall(found[3])}
    return Progress(found[1], int(found[2]), done)


def microseconds(instant: datetime) -> int:
    """An instant as a run tells applications of one id apart."""
    return int(instant.timestamp()) * 1_000_000 + instant.microsecond


def _job_name(app_id: str) -> str:
    """Under which name the run of an import is kept."""
    return f"import {app_id}"


async def find_progress(call: OperatorCall, app_id: str, existing: Application | None) -> Progress | None:
    """What an earlier import of this very application came to; None for one that no import made."""
    if existing is None:
        return None
    runs = await call.root.list_job_runs()
    words = next((run.result for run in runs if run.name == _job_name(app_id)), "")
    progress = _read_progress(words)
    return progress if progress is not None and progress.made == microseconds(existing.created_at) else None


class Arrival:
    """Keeps the many of one application, portion by portion, from where an earlier run of the same source came to."""

    def __init__(
        self,
        call: OperatorCall,
        app_id: str,
        progress: Progress,
        *,
        report: ApplicationReport,
        terms: Terms,
        advance: Advance,
        exists: bool,
    ) -> None:
        self.call = call
        self.app_id = app_id
        self.report = report
        self.terms = terms
        self._progress = progress
        self._advance = advance
        self._exists = exists
        self._seen: dict[str, int] = {}

    @property
    def store(self) -> TenantStore:
        return self.call.root.tenant(self.app_id)

    async def credentials(self, portion: Sequence[tuple[Credential, AttestationEvidence | None]]) -> None:
        """Keep credentials; those that are here already stay as they are."""
        fresh = portion[self._begin("credentials", len(portion)) :]
        plain = [credential for credential, evidence in fresh if evidence is None]
        came = 0
        if self.terms.dry_run:
            pairs = await self._beside([each for each, _ in fresh]) if self._exists else []
            came = len(fresh) - sum(there is not None for _, there in pairs)
        else:
            came = await self.store.keep_credentials(plain) if plain else 0
            for credential, evidence in fresh:
                if evidence is not None:
                    came += await self._add(credential, evidence)
        if self._exists and came < len(fresh):
            for credential, kept in await self._beside([each for each, _ in fresh]):
                if kept is not None and kept.user_id != credential.user_id:
                    which = to_base64url(credential.credential_id)
                    self.report.turn_away("credentials", which, "another user has a credential of this id here")
        await self._end("credentials", len(portion), came)

    async def aliases(self, portion: Sequence[tuple[str, Alias]]) -> None:
        """Keep aliases with their users' ids; those that somebody bears already stay with whoever does."""
        fresh = portion[self._begin("aliases", len(portion)) :]
        came = 0
        if not self.terms.dry_run:
            came = await self.store.keep_aliases(fresh) if fresh else 0
        if self._exists and came < len(fresh):
            borne = 0
            for user_id, alias in fresh:
                bearer = await self.store.find_alias_user(alias.mac)
                borne += bearer is not None
                if bearer is not None and bearer != user_id:
                    self.report.turn_away("aliases", alias.mac.hex()[:16], "another user bears this alias here")
            if self.terms.dry_run:
                came = len(fresh) - borne
        elif self.terms.dry_run:
            came = len(fresh)
        await self._end("aliases", len(portion), came)

    async def reports(self, portion: Sequence[DailyReport]) -> None:
        """Keep daily reports; those of days that have one stay."""
        await self._commit_all("reports", [KeepReport(each) for each in portion])

    async def events(self, portion: Sequence[Event]) -> None:
        """Keep events, in the order of their ids."""
        start = self._begin("events", len(portion))
        fresh = portion[start:]
        if self._exists and fresh:
            there = await self._event_ids(fresh[0].event_id, fresh[-1].event_id)
            fresh = [each for each in fresh if each.event_id not in there]
        if fresh and not self.terms.dry_run:
            await self.store.commit(*(AddEvent(each) for each in fresh))
        await self._end("events", len(portion), len(fresh))

    async def finish(self) -> None:
        """Everything came. Say so in the log of the application, and where the next run looks."""
        if self.terms.dry_run:
            return
        application = await self.store.find_application()
        if application is not None:
            lines = operator_log(
                self.call, application, EventType.ApiManagementAppImported, f"imported: {self._came()}"
            )
            if lines:
                await self.store.commit(*lines)
        await self.save(finished=True)
        self.call.directory.forget(self.app_id)

    async def save(self, *, finished: bool = False) -> None:
        """Remember what the import came to."""
        run = JobRun(
            name=_job_name(self.app_id),
            started_at=self.call.now,
            finished_at=self.call.now if finished else None,
            result=self._progress.words(),
        )
        await self.call.root.keep_job_run(run)

    def _came(self) -> str:
        came = {noun: tally.imported for noun, tally in self.report.tallies.items() if tally.imported}
        return ", ".join(f"{count} {noun}" for noun, count in came.items()) or "nothing new"

    def _begin(self, noun: str, count: int) -> int:
        """How many of a portion were done by an earlier run."""
        self.report.tally(noun).found += count
        before = self._seen.get(noun, 0)
        self._seen[noun] = before + count
        return min(count, max(0, self._progress.done.get(noun, 0) - before))

    async def _end(self, noun: str, count: int, came: int) -> None:
        tally = self.report.tally(noun)
        tally.imported += came
        # What was turned away was found as well, and is not counted as there.
        tally.there_already = tally.found - tally.imported - tally.refused
        self._advance(self.app_id, noun, count)
        if not self.terms.dry_run and self._seen[noun] > self._progress.done.get(noun, 0):
            self._progress.done[noun] = self._seen[noun]
            await self.save()

    async def _commit_all(self, noun: str, changes: Sequence[Change]) -> None:
        fresh = changes[self._begin(noun, len(changes)) :]
        if fresh and not self.terms.dry_run:
            await self.store.commit(*fresh)
        await self._end(noun, len(changes), len(fresh))

    async def _add(self, credential: Credential, evidence: AttestationEvidence) -> int:
        try:
            await self.store.commit(AddCredential(credential, evidence))
        except CredentialExists:
            return 0
        return 1

    async def _beside(self, credentials: Sequence[Credential]) -> list[tuple[Credential, Credential | None]]:
        """Each credential, and the one that is here under its id."""
        found: list[tuple[Credential, Credential | None]] = []
        for start in range(0, len(credentials), _TOGETHER):
            some = credentials[start : start + _TOGETHER]
            kept = await asyncio.gather(*(self.store.find_credential(each.credential_id) for each in some))
            found += zip(some, kept, strict=True)
        return found

    async def _event_ids(self, first: bytes, last: bytes) -> set[bytes]:
        """The ids of events that are here already, between two of them, both included."""
        found: set[bytes] = set()
        after = _just_before(first)
        while lines := await self.store.list_events_after(which=EventFilter(), after=after, most=PORTION):
            found.update(line.event_id for line in lines if line.event_id <= last)
            after = lines[-1].event_id
            if after >= last:
                break
        return found


def _just_before(event_id: bytes) -> bytes:
    return (int.from_bytes(event_id, "big") - 1).to_bytes(len(event_id), "big") if any(event_id) else event_id
