"""What comes into this server from another one: an application's own record at once, then its many in portions.

An import may die at any point and is begun again. What it came to stands in the database, as the run of a job named
for the application: which source, and how many rows of each kind are done. The same source goes on from there, so
that a user who was deleted here meanwhile does not come back; another source, also a newer copy, is read from its
beginning, and what is here already stays as it is.

INVARIANT: an application that exists is touched only if an import made it, or if the operator says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from narthex.base.errors import Conflict, Refusal, quoted
from narthex.base.values import Secret
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddConfiguration,
    AddTokenKey,
    AddWebhook,
    AnswerForRpId,
    ApiKeyHintTaken,
    Change,
    ConfigurationExists,
    KeepRevision,
    ListAuthenticators,
    NoteOrigin,
    ScheduleDeletion,
    SetFrozen,
)
from narthex.ports.key_ledger import KeyLedger
from narthex.ports.records import (
    ApiKey,
    Application,
    ApplicationSettings,
    AuthenticationConfiguration,
    EventType,
    KeyKind,
    ListedAuthenticator,
    SeenOrigin,
    SettingsRevision,
    Webhook,
)
from narthex.usecases.api_key import SCOPES_OF_KIND, draw_key, keep_key
from narthex.usecases.application import check_app_id, checked_settings
from narthex.usecases.arrival import Arrival, Progress, Terms, find_progress, microseconds
from narthex.usecases.call import OperatorCall
from narthex.usecases.event import operator_log
from narthex.usecases.token_key import DROPPED_AFTER, new_token_key
from narthex.usecases.transfer_report import Advance, ApplicationReport


class ApplicationNotImported(Conflict):
    """An application of this id exists, and no import made it."""

    code = "application-not-imported"
    advice = "say --into-existing to add to it what it has not: its settings stay, and so does whatever is there"


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
    progress = await find_progress(call, app_id, existing)
    if existing is not None and progress is None and not terms.into_existing:
        raise ApplicationNotImported(f"there is an application {quoted(app_id)}, and no import made it")
    made_at = parts.created_at if existing is None else existing.created_at
    if progress is None or progress.source != source:
        progress = Progress(source, microseconds(made_at))
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
