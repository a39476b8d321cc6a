"""Bring applications from the reference server, out of its database.

Users go on with their passkeys and pages with their public keys. Of a secret key the reference keeps a slow hash only,
so it comes along as that, and its first use tells us the key (`narthex.http.authenticate`). Token keys, tokens, the
event log, the daily reports and the record of mails stay behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

from narthex.base.errors import Conflict, Malformed, quoted
from narthex.base.values import to_base64url
from narthex.ports.key_ledger import KeyLedger
from narthex.ports.records import Alias, ApiKey, Application, AttestationEvidence, Credential
from narthex.ports.reference import ReferenceSource, Row
from narthex.ports.store import StoreUnavailable
from narthex.usecases.application import ApplicationNotFound
from narthex.usecases.arrival import PORTION, Arrival, Terms
from narthex.usecases.call import OperatorCall
from narthex.usecases.reference_row import (
    RecordUnreadable,
    account_of,
    alias_of,
    alias_record,
    api_key_of,
    authenticator_of,
    configuration_of,
    credential_of,
    settings_of,
)
from narthex.usecases.transfer import Parts, begin, drawn_again
from narthex.usecases.transfer_report import Advance, ApplicationReport

KeyTreatment = Literal["keep", "new"]
T = TypeVar("T")


def chosen_applications(source: ReferenceSource, wanted: Sequence[str]) -> list[str]:
    """The applications to import: all, or those that are named.

    Raises:
        ApplicationNotFound: the source has no such one.
    """
    there = source.applications()
    for app_id in wanted:
        if app_id not in there:
            raise ApplicationNotFound(
                f"the database has no application {quoted(app_id)}",
                advice=f"it has: {', '.join(there)}" if there else "it has none",
            )
    return list(dict.fromkeys(wanted)) or list(there)


async def import_reference(
    call: OperatorCall,
    source: ReferenceSource,
    app_id: str,
    *,
    keys: KeyTreatment,
    ledger: KeyLedger,
    terms: Terms,
    advance: Advance = lambda *_: None,
) -> ApplicationReport:
    """Bring one application here. What stands against the whole of it is in the report, as are single rows.

    Raises:
        StoreUnavailable.
    """
    report = ApplicationReport(app_id)
    try:
        parts = _parts(call, source, app_id, report)

        def draw(parts: Parts, existing: Application | None) -> None:
            if keys == "new":
                parts.api_keys = _drawn(call, app_id, parts.api_keys, existing, ledger, report, terms)

        arrival = await begin(
            call, app_id, parts, source=source.name, report=report, terms=terms, draw=draw, advance=advance
        )
        await _users(arrival, source)
    except StoreUnavailable:
        raise
    except (Malformed, Conflict) as e:
        report.stop(e)
    return report


def _drawn(
    call: OperatorCall,
    app_id: str,
    old: Sequence[ApiKey],
    existing: Application | None,
    ledger: KeyLedger,
    report: ApplicationReport,
    terms: Terms,
) -> list[ApiKey]:
    locked = sum(key.locked for key in old)
    if locked:
        report.notes.append(f"keys that were locked are not drawn anew: {locked}")
    taken = [key.hint for key in existing.api_keys] if existing is not None else []
    return drawn_again(call, app_id, old, ledger, taken=taken, dry_run=terms.dry_run)


def _parts(call: OperatorCall, source: ReferenceSource, app_id: str, report: ApplicationReport) -> Parts:
    """An application without its users. Of its settings nothing is guessed: they can be read, or it is refused."""
    row = _only(source, "AccountInfo", app_id)
    if row is None:
        raise RecordUnreadable("the database says nothing of the application itself")
    account = account_of(row)
    parts = Parts(
        created_at=account.created_at,
        settings=settings_of(_only(source, "AppFeatures", app_id), account),
        delete_at=account.delete_at,
    )

    def key_of(row: Row) -> ApiKey:
        return api_key_of(row, app_id=app_id, keyring=call.keyring, random=call.random)

    for row in _rows(source, "ApiKeys", app_id):
        _read(report, "api keys", f"***{str(row[0])[:4]}", key_of, row, parts.api_keys)
    for row in _rows(source, "AuthenticationConfigurations", app_id):
        _read(report, "configurations", quoted(row[0]), configuration_of, row, parts.configurations)
    for row in _rows(source, "Authenticators", app_id):
        _read(report, "authenticators", quoted(row[0]), authenticator_of, row, parts.authenticators)
    return parts


def _only(source: ReferenceSource, table: str, app_id: str) -> Row | None:
    return next(iter(_rows(source, table, app_id)), None)


def _rows(source: ReferenceSource, table: str, app_id: str) -> Iterator[Row]:
    for portion in source.rows(table, app_id, most=PORTION):
        yield from portion


def _read(
    report: ApplicationReport, noun: str, which: str, convert: Callable[[Row], T], row: Row, into: list[T]
) -> None:
    try:
        into.append(convert(row))
    except RecordUnreadable as e:
        report.refuse(noun, which, e.message)


async def _users(arrival: Arrival, source: ReferenceSource) -> None:
    app_id, report = arrival.app_id, arrival.report
    last = b""
    for rows in source.rows("Credentials", app_id, most=PORTION):
        credentials: list[tuple[Credential, AttestationEvidence | None]] = []
        for row in rows:
            try:
                credential = credential_of(row)
                if credential.credential_id == last:
                    raise RecordUnreadable("it is a duplicate: another row has its id")
                last = credential.credential_id
                credentials.append((credential, None))
            except RecordUnreadable as e:
                which = to_base64url(row[0]) if isinstance(row[0], bytes) else quoted(row[0])
                report.refuse("credentials", which, e.message)
        await arrival.credentials(credentials)
    for rows in source.rows("Aliases", app_id, most=PORTION):
        aliases: list[tuple[str, Alias]] = []
        for row in rows:
            try:
                user_id, name, text = alias_of(row, app_id=app_id)
                aliases.append((user_id, alias_record(arrival.call.keyring, app_id, name, text)))
            except RecordUnreadable as e:
                report.refuse("aliases", quoted(row[0]), e.message)
        await arrival.aliases(aliases)
    await arrival.finish()
