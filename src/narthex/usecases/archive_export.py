"""An application as an archive: all that is kept of it, in lines that another server can read.

An export reads portion after portion while the server goes on: each portion is as the database was at its moment. A
credential that is made behind the place where the export reads is not in it, and one that is used meanwhile may have
its old counter. Whoever moves for good freezes the application first.

Token keys stay: tokens live minutes. Secrets of webhooks stay too, and are drawn anew where the archive comes to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from narthex.base.errors import Rejected, quoted
from narthex.ports.records import Application, AttestationEvidence, Credential, EventFilter
from narthex.ports.store import TenantStore
from narthex.usecases.application import get_application
from narthex.usecases.archive_line import (
    FORMAT,
    VERSION,
    AliasLine,
    ApiKeyLine,
    AuthenticatorLine,
    Checker,
    ConfigurationLine,
    CredentialLine,
    EventLine,
    Header,
    Line,
    OriginLine,
    ReportLine,
    RpIdLine,
    SettingsLine,
    WebhookLine,
)
from narthex.usecases.arrival import PORTION
from narthex.usecases.call import OperatorCall
from narthex.usecases.transfer_report import Advance

_TOGETHER: Final = 50
_NOUNS: Final[dict[type, str]] = {CredentialLine: "credentials", AliasLine: "aliases", EventLine: "events"}


class ArchiveOfAnother(Rejected):
    """What was exported so far is another application's, or was begun in another way."""

    code = "archive-of-another"
    advice = "export to another file, or leave --resume away to begin anew"


async def export_application(
    call: OperatorCall, app_id: str, checker: Checker, *, server: str, with_events: bool, advance: Advance
) -> AsyncIterator[bytes]:
    """An application in portions of whole lines; the last portion ends the archive.

    Args:
        checker: has read what an earlier run wrote, or nothing. The export goes on behind that.
        server: this version.

    Raises:
        ApplicationNotFound, ArchiveOfAnother, StoreUnavailable.
    """
    application = await get_application(call, app_id)
    store = call.root.tenant(app_id)
    fingerprint = call.keyring.fingerprint.hex()
    header = Header(FORMAT, VERSION, app_id, call.now, fingerprint, server, with_events)
    if checker.header is None:
        reports = await store.list_reports(since=None, until=None)
        # One portion, so that an export that goes on knows that all of it is there.
        own = [header, *_own_lines(application), *map(ReportLine, reports)]
        yield b"".join(checker.append(line) for line in own)
    elif not _goes_on(checker.header, header):
        raise ArchiveOfAnother(f"the file holds the beginning of another export than that of {quoted(app_id)}")
    parts = [_credential_lines(store, checker), _alias_lines(call, app_id, store, checker)]
    if with_events:
        parts.append(_event_lines(store, checker))
    for part in parts:
        async for lines in part:
            yield b"".join(checker.append(line) for line in lines)
            advance(app_id, _NOUNS[type(lines[0])], len(lines))
            await asyncio.sleep(0)  # SQLite answers without a pause; others have their turn now.
    yield checker.end()


def _goes_on(begun: Header, header: Header) -> bool:
    return (begun.application, begun.master_key, begun.version, begun.with_events) == (
        header.application,
        header.master_key,
        header.version,
        header.with_events,
    )


def _own_lines(application: Application) -> Iterator[Line]:
    yield SettingsLine(
        application.created_at, application.settings, delete_at=application.delete_at, frozen_at=application.frozen_at
    )
    yield from map(ApiKeyLine, application.api_keys)
    yield from map(ConfigurationLine, application.configurations)
    yield from map(AuthenticatorLine, application.authenticators)
    yield from map(OriginLine, application.seen_origins)
    yield from map(RpIdLine, application.related_rp_ids)
    for webhook in application.webhooks:
        yield WebhookLine(
            webhook.webhook_id,
            webhook.url,
            webhook.event_types,
            webhook.description,
            webhook.enabled,
            webhook.created_at,
        )


async def _credential_lines(store: TenantStore, checker: Checker) -> AsyncIterator[list[Line]]:
    last = checker.last
    if isinstance(last, AliasLine | EventLine):
        return
    after = (last.credential.user_id, last.credential.credential_id) if isinstance(last, CredentialLine) else None
    while portion := await store.scan_credentials(after=after, most=PORTION):
        evidence = await _evidence(store, portion)
        yield [CredentialLine(each, evidence.get(each.credential_id)) for each in portion]
        after = (portion[-1].user_id, portion[-1].credential_id)


async def _evidence(store: TenantStore, portion: Sequence[Credential]) -> dict[bytes, AttestationEvidence]:
    # Where nothing was attested, nothing was kept.
    attested = [each.credential_id for each in portion if each.attestation_format != "none"]
    found: dict[bytes, AttestationEvidence] = {}
    for start in range(0, len(attested), _TOGETHER):
        some = attested[start : start + _TOGETHER]
        kept = await asyncio.gather(*(store.find_evidence(credential_id) for credential_id in some))
        found |= {name: evidence for name, evidence in zip(some, kept, strict=True) if evidence is not None}
    return found


async def _alias_lines(
    call: OperatorCall, app_id: str, store: TenantStore, checker: Checker
) -> AsyncIterator[list[Line]]:
    last = checker.last
    if isinstance(last, EventLine):
        return
    after = call.keyring.mac("alias", last.reference_hash) if isinstance(last, AliasLine) else b""
    while portion := await store.scan_aliases(after=after, most=PORTION):
        yield [
            AliasLine(
                user_id,
                call.keyring.unwrap("alias-hash", app_id.encode() + alias.mac, alias.sealed_hash),
                alias.plaintext,
            )
            for user_id, alias in portion
        ]
        after = portion[-1][1].mac


async def _event_lines(store: TenantStore, checker: Checker) -> AsyncIterator[list[Line]]:
    after = checker.last.event.event_id if isinstance(checker.last, EventLine) else b""
    while portion := await store.list_events_after(which=EventFilter(), after=after, most=PORTION):
        yield [EventLine(each) for each in portion]
        after = portion[-1].event_id
