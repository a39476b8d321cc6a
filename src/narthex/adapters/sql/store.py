"""The two stores. They hold no SQL: each noun's file has its statements, its records and the plans of its changes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import Final, TypeVar

from narthex.adapters.sql import (
    alias,
    api_key,
    application,
    attestation,
    authenticator,
    configuration,
    credential,
    daily_report,
    delivery,
    dispatched_mail,
    event,
    fact,
    job_run,
    metadata,
    related_rp_id,
    request_count,
    seen_origin,
    settings_revision,
    spent_nonce,
    token_key,
    user,
    webhook,
)
from narthex.adapters.sql.encoding import from_us, settings_from_json, to_us
from narthex.adapters.sql.engine import Engine, ParentMissing, Row, Step, StepRefused
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.span import MILLISECOND, PORTION, Span, first_id
from narthex.adapters.sql.statement import Arguments, RootStatement, Statement, TenantStatement
from narthex.ports.changes import ApplicationGone, Change
from narthex.ports.records import (
    Alias,
    Application,
    AttestationEvidence,
    Credential,
    DailyReport,
    Delivery,
    DeliveryState,
    Event,
    EventFilter,
    JobRun,
    KeptMetadata,
    SettingsRevision,
    UserSummary,
)
from narthex.ports.store import MOST_CREDENTIALS

T = TypeVar("T")
CHANGES: Final[Plans] = {
    **spent_nonce.CHANGES,
    **credential.CHANGES,
    **alias.CHANGES,
    **configuration.CHANGES,
    **event.CHANGES,
    **api_key.CHANGES,
    **token_key.CHANGES,
    **authenticator.CHANGES,
    **seen_origin.CHANGES,
    **related_rp_id.CHANGES,
    **application.CHANGES,
    **webhook.CHANGES,
    **delivery.CHANGES,
    **dispatched_mail.CHANGES,
    **daily_report.CHANGES,
    **settings_revision.CHANGES,
    **user.CHANGES,
}
"""What each change of the port comes to."""

_USERS_PORTION: Final = 5_000
_CREDENTIALS_PORTION: Final = 10_000
# Their credentials are read themselves, not only the index.
_ACTIVE_USERS_PORTION: Final = 500
# A statement for each power of two up to this is kept prepared, so that an import needs few of them.
_KEPT_AT_ONCE: Final = 128
_ERASED_AT_ONCE: Final = 250
# A purge yields between portions: one long delete would keep sign-ins waiting.
_PURGE_PORTION: Final = 1000
_APPLICATIONS_PORTION: Final = 200


class SqlTenantStore:
    """The rows of one application (`narthex.ports.store.TenantStore`)."""

    __slots__ = ("_app_id", "_engine")

    def __init__(self, engine: Engine, app_id: str) -> None:
        self._engine = engine
        self._app_id = app_id

    async def find_application(self) -> Application | None:
        return application.from_rows(self._app_id, await self._fetch(application.FIND))

    async def find_credential(self, credential_id: bytes) -> Credential | None:
        rows = await self._fetch(credential.FIND, credential_id=credential_id)
        return credential.from_row(rows[0]) if rows else None

    async def list_credentials(self, user_id: str) -> Sequence[Credential]:
        rows = await self._fetch(credential.LIST, user_id=user_id, most=MOST_CREDENTIALS)
        return [credential.from_row(row) for row in rows]

    async def find_evidence(self, credential_id: bytes) -> AttestationEvidence | None:
        rows = await self._fetch(attestation.FIND, credential_id=credential_id)
        return AttestationEvidence(*rows[0]) if rows else None

    async def scan_credentials(self, *, after: tuple[str, bytes] | None, most: int) -> Sequence[Credential]:
        after_user, after_credential = after or ("", b"")
        rows = await self._fetch(credential.SCAN, after_user=after_user, after_credential=after_credential, most=most)
        return [credential.from_row(row) for row in rows]

    async def has_users(self, at_least: int) -> bool:
        return await self._count_users(at_least) >= at_least

    async def count_users(self) -> int:
        return await self._count_users(None)

    async def _count_users(self, at_most: int | None) -> int:
        counted, after = 0, ""
        while at_most is None or counted < at_most:
            most = _USERS_PORTION if at_most is None else min(at_most - counted, _USERS_PORTION)
            found, last = (await self._fetch(credential.COUNT_USERS, after=after, most=most))[0]
            counted += found
            if found < most:
                break
            after = last
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        return counted

    async def count_credentials(self) -> int:
        passed, after = 0, b""
        while rows := await self._fetch(credential.PASS_BY, after=after, count=_CREDENTIALS_PORTION):
            passed += _CREDENTIALS_PORTION + 1
            after = rows[0][0]
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        remaining: int = (await self._fetch(credential.COUNT, after=after))[0][0]
        return passed + remaining

    async def count_active_users(self, *, since: datetime) -> int:
        counted: int = 0
        after = ""
        while True:
            values = {"after": after, "most": _ACTIVE_USERS_PORTION, "since": to_us(since)}
            found, last, active = (await self._fetch(credential.COUNT_ACTIVE_USERS, **values))[0]
            counted += active
            if found < _ACTIVE_USERS_PORTION:
                return counted
            after = last
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.

    async def list_users(self, *, after: str | None, most: int, prefix: str = "") -> Sequence[UserSummary]:
        users = await self._engine.fetch(*user.list_users(self._app_id, after=after, most=most, prefix=prefix))
        return await self._summaries(users)

    async def find_user(self, user_id: str) -> UserSummary | None:
        count, last_used_at = (await self._fetch(user.FIND, user_id=user_id))[0]
        (found,) = await self._summaries([(user_id, count, last_used_at)])
        return found if found.credential_count or found.aliases else None

    async def _summaries(self, users: Sequence[Row]) -> Sequence[UserSummary]:
        if not users:
            return []
        return user.summaries(users, await self._fetch(user.LIST_ALIASES, first=users[0][0], last=users[-1][0]))

    async def list_aliases(self, user_id: str) -> Sequence[Alias]:
        return [alias.from_row(row) for row in await self._fetch(alias.LIST, user_id=user_id)]

    async def scan_aliases(self, *, after: bytes, most: int) -> Sequence[tuple[str, Alias]]:
        rows = await self._fetch(alias.SCAN, after=after, most=most)
        return [(row[-1], alias.from_row(row)) for row in rows]

    async def keep_credentials(self, credentials: Sequence[Credential]) -> int:
        kept = 0
        for portion in _portions(credentials):
            kept += await self._add(credential.add_many(self._app_id, portion))
        return kept

    async def keep_aliases(self, aliases: Sequence[tuple[str, Alias]]) -> int:
        kept = 0
        for portion in _portions(aliases):
            kept += await self._add(alias.add_many(self._app_id, portion))
        return kept

    async def _add(self, step: Step) -> int:
        try:
            return await self._engine.execute(*step)
        except ParentMissing as e:
            raise _gone() from e

    async def list_revisions(self, *, before: int | None, most: int) -> Sequence[SettingsRevision]:
        bound = settings_revision.LAST if before is None else before
        rows = await self._fetch(settings_revision.LIST, before=bound, most=most)
        return [settings_revision.from_row(row) for row in rows]

    async def find_alias_user(self, alias_mac: bytes) -> str | None:
        rows = await self._fetch(alias.FIND_USER, mac=alias_mac)
        return rows[0][0] if rows else None

    async def find_alias_owners(self, alias_macs: Sequence[bytes]) -> Sequence[str]:
        if not alias_macs:
            return []
        macs = {f"mac_{n}": mac for n, mac in enumerate(alias_macs)}
        rows = await self._fetch(alias.find_owners(len(macs)), **macs)
        return sorted(row[0] for row in rows)

    async def list_events(
        self, *, which: EventFilter, before: bytes | None, most: int, skip: int = 0
    ) -> Sequence[Event]:
        found: list[Row] = []
        remaining: Span | None = event.span_of(which).before(before)
        while remaining is not None and len(found) < most:
            span, remaining = remaining, None
            if skip or event.is_selective(which):
                span, remaining = await self._cut(event.CUT_NEWEST, span, newest_first=True)
            if skip and (passed := await self._count_events(which, span)) <= skip:
                skip -= passed
                continue
            found += await self._fetch_events(event.list_newest, which, span, most=most - len(found), skip=skip)
            skip = 0
        return [event.from_row(row) for row in found]

    async def list_events_after(self, *, which: EventFilter, after: bytes, most: int) -> Sequence[Event]:
        found: list[Row] = []
        remaining: Span | None = event.span_of(which).after(after)
        while remaining is not None and len(found) < most:
            span, remaining = remaining, None
            if event.is_selective(which):
                span, remaining = await self._cut(event.CUT_OLDEST, span, newest_first=False)
            found += await self._fetch_events(event.list_oldest, which, span, most=most - len(found))
        return [event.from_row(row) for row in found]

    async def count_events(self, *, which: EventFilter) -> int:
        counted = 0
        remaining: Span | None = event.span_of(which)
        while remaining is not None:
            span, remaining = await self._cut(event.CUT_NEWEST, remaining, newest_first=True)
            counted += await self._count_events(which, span)
        return counted

    async def _count_events(self, which: EventFilter, span: Span) -> int:
        counted: int = (await self._fetch_events(event.count, which, span))[0][0]
        return counted

    async def _fetch_events(
        self, statement: Callable[[int], TenantStatement], which: EventFilter, span: Span, **values: object
    ) -> Sequence[Row]:
        chosen = statement(len(which.event_types or ()))
        return await self._fetch(chosen, low=span.low, high=span.high, **event.values_of(which), **values)

    async def _cut(
        self, statement: TenantStatement, span: Span, *, newest_first: bool, **values: object
    ) -> tuple[Span, Span | None]:
        """A portion of a long stretch of ids, and what remains of it, if anything does."""
        await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        skip = PORTION - 1 if newest_first else PORTION
        rows = await self._fetch(statement, low=span.low, high=span.high, skip=skip, **values)
        return span.cut(rows[0][0], newest_first=newest_first) if rows else (span, None)

    async def list_deliveries(
        self, webhook_id: bytes, *, before: bytes | None, most: int, state: DeliveryState | None = None
    ) -> Sequence[Delivery]:
        span = Span().before(before)
        if state is None:
            values = {"target": webhook_id, "low": span.low, "high": span.high, "most": most}
            return [delivery.from_row(row) for row in await self._fetch(delivery.LIST, **values)]
        return [delivery.from_row(row) for row in await self._deliveries_in_state(webhook_id, span, most, state)]

    async def _deliveries_in_state(
        self, webhook_id: bytes, whole: Span, most: int, state: DeliveryState
    ) -> Sequence[Row]:
        found: list[Row] = []
        remaining: Span | None = whole
        while remaining is not None and len(found) < most:
            span, remaining = await self._cut(delivery.CUT, remaining, newest_first=True, target=webhook_id)
            found += await self._fetch(
                delivery.LIST_IN_STATE,
                target=webhook_id,
                low=span.low,
                high=span.high,
                state=state.value,
                most=most - len(found),
            )
        return found

    async def count_mails(self, *, since: datetime) -> int:
        counted: int = (await self._fetch(dispatched_mail.COUNT, since=to_us(since)))[0][0]
        return counted

    async def list_reports(self, *, since: date | None, until: date | None) -> Sequence[DailyReport]:
        first, last = since or date.min, until or date.max
        rows = await self._fetch(daily_report.LIST, since=daily_report.to_days(first), until=daily_report.to_days(last))
        return [daily_report.from_row(row) for row in rows]

    async def is_spent(self, nonce: bytes) -> bool:
        return bool(await self._fetch(spent_nonce.FIND, nonce=nonce))

    async def commit(self, *changes: Change) -> None:
        steps: list[Step] = []
        plans: list[Plan] = []
        in_turn: set[str] = set()
        for change in changes:
            plan = CHANGES[type(change)]
            taken = plan.steps(self._app_id, change)
            steps += taken
            plans += [plan] * len(taken)
            if plan.turn is not None and (name := plan.turn(self._app_id, change)) is not None:
                in_turn.add(name)
        if not steps:
            return
        try:
            await self._engine.commit(steps, in_turn=sorted(in_turn))
        except StepRefused as e:
            plan = plans[e.index]
            raise plan.refused(plan.message) from None
        except ParentMissing as e:
            raise _gone() from e

    async def _fetch(self, statement: TenantStatement, **values: object) -> Sequence[Row]:
        return await self._engine.fetch(statement, statement.bind(self._app_id, **values))


def _gone() -> ApplicationGone:
    return ApplicationGone("the application is gone")


def _portions(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into as few portions as there can be, of sizes that are powers of two."""
    start = 0
    while start < len(things):
        size = min(_KEPT_AT_ONCE, 1 << (len(things) - start).bit_length() - 1)
        yield things[start : start + size]
        start += size


class SqlRootStore:
    """The database above applications (`narthex.ports.store.RootStore`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tenant(self, app_id: str) -> SqlTenantStore:
        return SqlTenantStore(self._engine, app_id)

    async def list_applications(self) -> Sequence[str]:
        rows = await self._engine.fetch(application.LIST, ())
        return sorted(row[0] for row in rows)

    async def list_scheduled_deletions(self) -> Sequence[tuple[str, datetime]]:
        rows = await self._engine.fetch(application.LIST_SCHEDULED, ())
        return [(app_id, from_us(delete_at)) for app_id, delete_at in rows]

    async def erase_application(self, app_id: str) -> bool:
        fate = await self._engine.fetch(application.FIND_FATE, application.FIND_FATE.bind(app_id))
        if not fate:
            return True
        still = {"created_at": fate[0][0], "delete_at": fate[0][1]}
        for erasure in application.ERASURES:
            await self._erase_rows(app_id, erasure, still)
        if await self._engine.execute(application.ERASE, application.ERASE.bind(app_id, **still)):
            return True
        return not await self._engine.fetch(application.FIND_FATE, application.FIND_FATE.bind(app_id))

    async def _erase_rows(self, app_id: str, erasure: application.Erasure, still: dict[str, object]) -> None:
        after = b""
        while rows := await self._engine.fetch(
            erasure.cut, erasure.cut.bind(app_id, after=after, most=_ERASED_AT_ONCE)
        ):
            last: bytes = rows[0][0]
            values = {"after": after, "last": last, **still}
            await self._engine.execute(erasure.delete, erasure.delete.bind(app_id, **values))
            after = last

    async def purge_nonces(self, *, expired_before: datetime) -> int:
        bound = spent_nonce.PURGE.bind(expired_before=to_us(expired_before), most=_PURGE_PORTION)
        return await self._purge(spent_nonce.PURGE, bound)

    async def purge_events(self, *, now: datetime) -> int:
        purged, after = 0, ""
        while applications := await self._oldest_events(after):
            for app_id, settings, oldest in applications:
                oldest_kept = event.oldest_kept_id(now, settings_from_json(settings).event_retention_days)
                if oldest is not None and oldest < oldest_kept:
                    bound = event.PURGE.bind(app_id, oldest_kept=oldest_kept, most=_PURGE_PORTION)
                    purged += await self._purge(event.PURGE, bound)
            after = applications[-1][0]
            # SQLite answers reads without a pause; between portions others have their turn.
            await asyncio.sleep(0)
        return purged

    async def purge_mails(self, *, sent_before: datetime) -> int:
        return await self._purge_each(dispatched_mail.LIST_AGED, dispatched_mail.PURGE, sent_before=to_us(sent_before))

    async def purge_deliveries(self, *, settled_before: datetime) -> int:
        return await self._purge_each(
            delivery.LIST_AGED,
            delivery.PURGE,
            made_before=first_id(settled_before + MILLISECOND),
            settled_before=to_us(settled_before),
        )

    async def _purge_each(self, find: RootStatement, purge: TenantStatement, **bounds: object) -> int:
        """Purge one application after the other, of those for which `find` says that there is something."""
        purged, after = 0, ""
        while applications := await self._engine.fetch(
            find, find.bind(after=after, most=_APPLICATIONS_PORTION, **bounds)
        ):
            for app_id, has_aged in applications:
                if has_aged:
                    purged += await self._purge(purge, purge.bind(app_id, most=_PURGE_PORTION, **bounds))
            after = applications[-1][0]
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        return purged

    async def claim_deliveries(
        self, *, now: datetime, busy_until: datetime, most: int
    ) -> Sequence[tuple[str, Delivery]]:
        bound = delivery.CLAIM.bind(now=to_us(now), busy_until=to_us(busy_until), most=most)
        rows = await self._engine.execute_returning(delivery.CLAIM, bound)
        claimed = [(row[0], delivery.from_row(row[1:])) for row in rows]
        return sorted(claimed, key=lambda one: (one[1].delivery_id, one[0]))

    async def list_job_runs(self) -> Sequence[JobRun]:
        return [job_run.from_row(row) for row in await self._engine.fetch(job_run.LIST, ())]

    async def keep_job_run(self, run: JobRun) -> None:
        await self._engine.execute(*job_run.keep(run))

    async def count_requests(self, names: Sequence[tuple[str, int, int]]) -> Sequence[int]:
        counts: dict[tuple[str, int], int] = {}
        added = request_count.added(names)
        for start in range(0, len(added), request_count.COUNTED_AT_ONCE):
            step = request_count.count(added[start : start + request_count.COUNTED_AT_ONCE])
            for name, window_start_s, count in await self._engine.execute_returning(*step):
                counts[name, window_start_s] = count
        return [counts[name, window_start_s] for name, window_start_s, _ in names]

    async def purge_request_counts(self, *, expired_before_s: int) -> int:
        bound = request_count.PURGE.bind(expired_before_s=expired_before_s, most=_PURGE_PORTION)
        return await self._purge(request_count.PURGE, bound)

    def hold(self, name: str) -> AbstractAsyncContextManager[bool]:
        return self._engine.hold(name)

    async def _oldest_events(self, after: str) -> Sequence[Row]:
        bound = event.LIST_OLDEST.bind(after=after, most=_APPLICATIONS_PORTION)
        return await self._engine.fetch(event.LIST_OLDEST, bound)

    async def _purge(self, statement: Statement, arguments: Arguments) -> int:
        purged = 0
        while portion := await self._engine.execute(statement, arguments):
            purged += portion
        return purged

    async def find_related_application(self, rp_id: str) -> str | None:
        bound = related_rp_id.FIND_APPLICATION.bind(rp_id=rp_id)
        rows = await self._engine.fetch(related_rp_id.FIND_APPLICATION, bound)
        return rows[0][0] if rows else None

    async def find_metadata(self) -> KeptMetadata:
        rows = await self._engine.fetch(*metadata.find())
        return metadata.from_row(rows[0]) if rows else KeptMetadata()

    async def read_metadata(self) -> bytes | None:
        while (kept := await self._kept_blob()) is not None:
            parts = await self._read_parts(*kept)
            if len(parts) == kept[1]:
                return b"".join(parts)
            # Another BLOB took its place while we read; if not, parts of this one are lost.
            if await self._kept_blob() == kept:
                break
        return None

    async def _kept_blob(self) -> tuple[bytes, int] | None:
        """The digest of the BLOB that counts, and the number of its parts."""
        rows = await self._engine.fetch(*metadata.find())
        return (rows[0][-2], rows[0][-1]) if rows and rows[0][-2] is not None else None

    async def _read_parts(self, digest: bytes, count: int) -> list[bytes]:
        parts: list[bytes] = []
        for part in range(count):
            parts += [value for (value,) in await self._engine.fetch(*metadata.find_part(digest, part))]
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
        return parts

    async def claim_metadata_try(self, *, at: datetime, last_tried_before: datetime) -> bool:
        return await self._engine.execute(*metadata.claim(at, last_tried_before)) == 1

    async def keep_metadata(self, *, number: int, blob: bytes, at: datetime, replace: bool = False) -> bool:
        digest = (await asyncio.to_thread(hashlib.sha256, blob)).digest()
        counts_in = metadata.count_in(digest, blob, number=number, at=at, replace=replace)
        while replace or await self._kept_number() < number:
            for step in metadata.keep_parts(digest, blob):
                await self._engine.execute(*step)
            try:
                await self._engine.commit([counts_in], in_turn=[metadata.TURN])
            except StepRefused:
                continue  # another server kept one meanwhile, and perhaps swept our parts
            await self._sweep_metadata()
            return True
        await self._engine.execute(*metadata.forgive())
        await self._sweep_metadata()
        return False

    async def _kept_number(self) -> int:
        """That of the BLOB that counts; less than any while there is none."""
        rows = await self._engine.fetch(*metadata.find())
        return rows[0][0] if rows and rows[0][-2] is not None else -1

    async def _sweep_metadata(self) -> None:
        stray = await self._engine.fetch(metadata.FIND_STRAY, ())
        for start in range(0, len(stray), metadata.SWEEP_PARTS):
            steps = [metadata.sweep(row) for row in stray[start : start + metadata.SWEEP_PARTS]]
            await self._engine.commit(steps, in_turn=[metadata.TURN])

    async def note_metadata_failure(self, problem: str) -> None:
        await self._engine.execute(*metadata.fail(problem))

    async def find_fact(self, name: str) -> bytes | None:
        rows = await self._engine.fetch(fact.FIND, fact.FIND.bind(name=name))
        return rows[0][0] if rows else None

    async def keep_fact(self, name: str, value: bytes) -> bytes:
        await self._engine.execute(fact.KEEP, fact.KEEP.bind(name=name, value=value))
        kept = await self.find_fact(name)
        return value if kept is None else kept

    async def ping(self) -> None:
        await self._engine.fetch(fact.PING, fact.PING.bind(name=""))

    async def close(self) -> None:
        await self._engine.close()
