"""What comes into this server from another one: an application's own record at once, then its many in portions.

An import may die at any point and is begun again. What it came to stands in the database, as the run of a job named
for the application: which source, and how many rows of each kind are done. The same source goes on from there, so
that a user who was deleted here meanwhile does not come back; another source, also a newer copy, is read from its
beginning, and what is here already stays as it is.

INVARIANT: an application that exists is touched only if an import made it, or if the operator says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from narthex.base.errors import Conflict, Refusal, quoted
from narthex.base.values import Secret, to_base64url
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddConfiguration,
    AddCredential,
    AddEvent,
    AddTokenKey,
    AddWebhook,
    AnswerForRpId,
    ApiKeyHintTaken,
    Change,
    ConfigurationExists,
    CredentialExists,
    KeepReport,
    KeepRevision,
    ListAuthenticators,
    NoteOrigin,
    ScheduleDeletion,
    SetFrozen,
)
from narthex.ports.key_ledger import KeyLedger
from narthex.ports.records import (
    Alias,
    ApiKey,
    Application,
    ApplicationSettings,
    AttestationEvidence,
    AuthenticationConfiguration,
    Credential,
    DailyReport,
    Event,
    EventFilter,
    EventType,
    JobRun,
    KeyKind,
    ListedAuthenticator,
    SeenOrigin,
    SettingsRevision,
    Webhook,
)
from narthex.ports.store import TenantStore
from narthex.usecases.api_key import SCOPES_OF_KIND, draw_key, keep_key
from narthex.usecases.application import check_app_id, checked_settings
from narthex.usecases.call import OperatorCall
from narthex.usecases.event import operator_log
from narthex.usecases.token_key import DROPPED_AFTER, new_token_key

PORTION: Final = 2_000
"""Rows that are written together, and between which an import may die and go on."""
_MOST_EXAMPLES: Final = 20
_MOST_REASONS: Final = 100
_TOGETHER: Final = 50
_COME_TO = re.compile(r"from (\S+) into the application of (\d+): (.*)\Z")
_DONE = re.compile(r"(\d+) ([a-z ]+)")


class ApplicationNotImported(Conflict):
    """An application of this id exists, and no import made it."""

    code = "application-not-imported"
    advice = "say --into-existing to add to it what it has not: its settings stay, and so does whatever is there"


Advance = Callable[[str, str, int], None]
"""Told now and then: of which application how many more of what were done."""


class Tally(msgspec.Struct):
    """How many of one kind came."""

    found: int = 0
    imported: int = 0
    there_already: int = 0
    refused: int = 0


class RefusedRows(msgspec.Struct):
    """Rows that were refused for the same reason."""

    noun: str
    reason: str
    count: int = 0
    examples: list[str] = msgspec.field(default_factory=list)
    """Which ones, at most twenty."""


class ApplicationReport(msgspec.Struct):
    """What became of one application."""

    app_id: str
    state: str = "read"
    """`made`, `completed` (an import went on), `merged` (into one that existed), `checked`, `refused` or `stopped`."""
    tallies: dict[str, Tally] = msgspec.field(default_factory=dict)
    refusals: list[RefusedRows] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)

    def tally(self, noun: str) -> Tally:
        return self.tallies.setdefault(noun, Tally())

    def refuse(self, noun: str, which: str, reason: str) -> None:
        """Count a row that is found and refused."""
        tally = self.tally(noun)
        tally.found += 1
        tally.refused += 1
        self._note(noun, which, reason)

    def turn_away(self, noun: str, which: str, reason: str) -> None:
        """A row that was good turned out to clash with what is here."""
        self.tally(noun).refused += 1
        self._note(noun, which, reason)

    def _note(self, noun: str, which: str, reason: str) -> None:
        kept = self._of(noun, reason)
        if kept is None and len(self.refusals) >= _MOST_REASONS:
            # A reason may quote what the row says, and rows may all say something else.
            reason = "for one more reason"
            kept = self._of(noun, reason)
        if kept is None:
            kept = RefusedRows(noun, reason)
            self.refusals.append(kept)
        kept.count += 1
        if len(kept.examples) < _MOST_EXAMPLES:
            kept.examples.append(which)

    def _of(self, noun: str, reason: str) -> RefusedRows | None:
        return next((kept for kept in self.refusals if (kept.noun, kept.reason) == (noun, reason)), None)


class Terms(msgspec.Struct, frozen=True):
    """How to import."""

    into_existing: bool = False
    dry_run: bool = False


class Parts(msgspec.Struct):
    """All of an application but its users."""

    created_at: datetime
    settings: ApplicationSettings
    delete_at: datetime | None = None
    frozen_at: datetime | None = None
    api_keys: list[ApiKey] = msgspec.field(default_factory=list)
    configurations: list[AuthenticationConfiguration] = msgspec.field(default_factory=list)
    authenticators: list[ListedAuthenticator] = msgspec.field(default_factory=list)
    origins: list[SeenOrigin] = msgspec.field(default_factory=list)
    rp_ids: list[str] = msgspec.field(default_factory=list)
    webhooks: list[Webhook] = msgspec.field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {
            "api keys": len(self.api_keys),
            "configurations": len(self.configurations),
            "authenticators": len(self.authenticators),
            "origins": len(self.origins),
            "rp ids": len(self.rp_ids),
            "webhooks": len(self.webhooks),
        }


class _Progress(msgspec.Struct):
    """What an import came to."""

    source: str
    made: int
    """When the application was made, in microseconds: one that was made anew under the same id is another."""
    done: dict[str, int] = msgspec.field(default_factory=dict)

    def words(self) -> str:
        done = ", ".join(f"{count} {noun}" for noun, count in sorted(self.done.items())) or "nothing yet"
        return f"from {self.source} into the application of {self.made}: {done}"


def _read_progress(words: str) -> _Progress | None:
    """
    >>> _read_progress("from 3f2a into the application of 17: 20 aliases, 4 credentials").done
    {'aliases': 20, 'credentials': 4}
    """
    found = _COME_TO.match(words)
    if found is None:
        return None
    done = {noun: int(count) for count, noun in _DONE.findall(found[3])}
    return _Progress(found[1], int(found[2]), done)


def _microseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000 + instant.microsecond


def job_name(app_id: str) -> str:
    """Under which name the run of an import is kept."""
    return f"import {app_id}"


async def begin(
    call: OperatorCall,
    app_id: str,
    parts: Parts,
    *,
    source: str,
    report: ApplicationReport,
    terms: Terms,
    draw: Callable[[Parts, Application | None], None] = lambda *_: None,
    advance: Advance = lambda *_: None,
) -> Arrival:
    """Make the application, or find it as an import left it, or be let into one that exists.

    Args:
        source: tells this file from others, in one word.
        draw: puts secrets in place of those that cannot come along. Asked only if they are to be kept.

    Raises:
        InvalidApplicationId, ApplicationNotImported, RpIdAnswered, or what `checked_settings` raises.
    """
    check_app_id(app_id)
    parts.settings = checked_settings(parts.settings)
    existing = await call.root.tenant(app_id).find_application()
    progress = await _find_progress(call, app_id, existing)
    if existing is not None and progress is None and not terms.into_existing:
        raise ApplicationNotImported(f"there is an application {quoted(app_id)}, and no import made it")
    made_at = parts.created_at if existing is None else existing.created_at
    if progress is None or progress.source != source:
        progress = _Progress(source, _microseconds(made_at))
    arrival = Arrival(call, app_id, progress, report=report, terms=terms, advance=advance, exists=existing is not None)
    if existing is None or terms.into_existing:
        draw(parts, existing)
    for noun, count in parts.counts().items():
        report.tally(noun).found += count
    if existing is None:
        await _make(arrival, parts)
    elif terms.into_existing:
        await _merge(arrival, parts, existing)
    else:
        report.state = "completed"
        for noun, count in parts.counts().items():
            report.tally(noun).there_already += count
        report.notes.append("it was imported before: its settings, keys and lists stay as they are here")
    if terms.dry_run:
        report.state = "checked"
    return arrival


class Arrival:
    """Keeps the many of one application, portion by portion, from where an earlier run of the same source came to."""

    def __init__(
        self,
        call: OperatorCall,
        app_id: str,
        progress: _Progress,
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
            name=job_name(self.app_id),
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


def drawn_again(
    call: OperatorCall, app_id: str, keys: Iterable[ApiKey], ledger: KeyLedger, *, taken: Iterable[str], dry_run: bool
) -> list[ApiKey]:
    """New keys for old ones that were not locked, good for the same; written down before anything is committed.

    Args:
        taken: last characters of other keys of the application.
    """
    hints, drawn = set(taken), list[ApiKey]()
    for key in keys:
        if key.locked:
            continue
        name = f"{key.kind} key instead of ***{key.hint}"
        text = ledger.find(app_id, name) or _free_key(call, app_id, key.kind, hints)
        hints.add(text[-4:])
        if not dry_run:
            ledger.keep(app_id, name, text)
        # A legacy key's successor says in its scopes what the old one might do.
        scopes = frozenset(str(scope) for scope in SCOPES_OF_KIND[key.kind] if key.may(scope))
        fresh = keep_key(key.kind, text, call.keyring, call.random, call.now)
        drawn.append(
            msgspec.structs.replace(
                fresh, scopes=scopes, name=key.name, networks=key.networks, expires_at=key.expires_at
            )
        )
    return drawn


def _free_key(call: OperatorCall, app_id: str, kind: KeyKind, taken: set[str]) -> Secret:
    while True:
        text = draw_key(app_id, kind, call.random)
        if text[-4:] not in taken:
            return Secret(text)


async def _find_progress(call: OperatorCall, app_id: str, existing: Application | None) -> _Progress | None:
    if existing is None:
        return None
    runs = await call.root.list_job_runs()
    words = next((run.result for run in runs if run.name == job_name(app_id)), "")
    progress = _read_progress(words)
    return progress if progress is not None and progress.made == _microseconds(existing.created_at) else None


async def _make(arrival: Arrival, parts: Parts) -> None:
    """Everything of the application's own in one act: it is there with all its keys, or not at all."""
    call, report = arrival.call, arrival.report
    report.state = "made"
    rp_ids = await _free_rp_ids(arrival, parts)
    for noun, count in parts.counts().items():
        tally = report.tally(noun)
        tally.imported += count if noun != "rp ids" else len(rp_ids)
    if arrival.terms.dry_run:
        return
    # First, so that an application without its users is known as one that an import made.
    await arrival.save()
    token_key = new_token_key(arrival.app_id, keyring=call.keyring, random=call.random, now=call.now)
    application = Application(arrival.app_id, parts.created_at, parts.settings)
    changes: list[Change] = [
        AddApplication(created_at=parts.created_at, settings=parts.settings),
        AddTokenKey(key=token_key, drop_before=call.now - DROPPED_AFTER),
        KeepRevision(SettingsRevision(0, call.now, "import", parts.settings)),
        *(AddApiKey(key=key) for key in parts.api_keys),
        *(AddConfiguration(each) for each in parts.configurations),
        *map(_listing, parts.authenticators),
        *(change for seen in parts.origins for change in _noting(seen)),
        *(AnswerForRpId(rp_id) for rp_id in rp_ids),
        *(AddWebhook(webhook) for webhook in parts.webhooks),
        *([] if parts.frozen_at is None else [SetFrozen(parts.frozen_at)]),
        *([] if parts.delete_at is None else [ScheduleDeletion(parts.delete_at)]),
        *operator_log(call, application, EventType.ApiManagementAppImported, "application made by an import"),
    ]
    await arrival.store.commit(*changes)
    call.directory.forget(arrival.app_id)


async def _merge(arrival: Arrival, parts: Parts, existing: Application) -> None:
    """Add what the application has not."""
    report = arrival.report
    report.state = "merged"
    report.notes.append("it existed: its settings, and whether it is frozen or to be deleted, stay as they are here")
    if not arrival.terms.dry_run:
        await arrival.save()
    for key in parts.api_keys:
        if any(_is_same(key, kept) for kept in existing.api_keys):
            report.tally("api keys").there_already += 1
        else:
            await _add(arrival, "api keys", f"***{key.hint}", AddApiKey(key=key), ApiKeyHintTaken)
    for configuration in parts.configurations:
        change = AddConfiguration(configuration)
        await _add(arrival, "configurations", configuration.purpose, change, ConfigurationExists)
    models = {each.aaguid for each in existing.authenticators}
    await _add_missing(
        arrival, "authenticators", ((each.aaguid in models, [_listing(each)]) for each in parts.authenticators)
    )
    places = {(each.origin, each.rp_id) for each in existing.seen_origins}
    await _add_missing(
        arrival, "origins", (((each.origin, each.rp_id) in places, _noting(each)) for each in parts.origins)
    )
    webhooks = {each.webhook_id for each in existing.webhooks}
    await _add_missing(
        arrival, "webhooks", ((each.webhook_id in webhooks, [AddWebhook(each)]) for each in parts.webhooks)
    )
    for rp_id in await _free_rp_ids(arrival, parts):
        await _add(arrival, "rp ids", rp_id, AnswerForRpId(rp_id), None)
    arrival.call.directory.forget(arrival.app_id)


async def _free_rp_ids(arrival: Arrival, parts: Parts) -> list[str]:
    """Those for whose hosts no other application answers."""
    free = []
    for rp_id in parts.rp_ids:
        owner = await arrival.call.root.find_related_application(rp_id)
        if owner in (None, arrival.app_id):
            free.append(rp_id)
        else:
            arrival.report.turn_away("rp ids", rp_id, "another application answers for this host")
    return free


async def _add(arrival: Arrival, noun: str, which: str, change: Change, clash: type[Refusal] | None) -> None:
    tally = arrival.report.tally(noun)
    if not arrival.terms.dry_run:
        try:
            await arrival.store.commit(change)
        except ConfigurationExists:
            tally.there_already += 1
            return
        except Refusal as e:
            if clash is None or not isinstance(e, clash):
                raise
            arrival.report.turn_away(noun, which, e.message)
            return
    tally.imported += 1


async def _add_missing(arrival: Arrival, noun: str, wanted: Iterable[tuple[bool, list[Change]]]) -> None:
    tally = arrival.report.tally(noun)
    for is_there, changes in wanted:
        if is_there:
            tally.there_already += 1
            continue
        if not arrival.terms.dry_run:
            await arrival.store.commit(*changes)
        tally.imported += 1


def _is_same(key: ApiKey, kept: ApiKey) -> bool:
    """A key that the reference kept by its hash has another MAC since its first use; but ends so, and began then."""
    return key.mac == kept.mac or (key.kind, key.hint, key.created_at) == (kept.kind, kept.hint, kept.created_at)


def _listing(listed: ListedAuthenticator) -> Change:
    return ListAuthenticators((listed.aaguid,), listed.is_allowed, listed.created_at)


def _noting(seen: SeenOrigin) -> list[Change]:
    # Noted twice, it was seen first at the one instant and last at the other.
    return [NoteOrigin(seen.origin, seen.rp_id, at) for at in (seen.first_seen_at, seen.last_seen_at)]
