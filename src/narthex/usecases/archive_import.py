"""Bring an application here, out of an archive: read to its end and checked first, then once more and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from narthex.base.errors import Conflict, Malformed, quoted
from narthex.base.values import uuid_text
from narthex.ports.archive import ArchiveUnreadable
from narthex.ports.key_ledger import KeyLedger
from narthex.ports.records import Alias, ApiKey, Application, AttestationEvidence, Credential, Event, KeyKind, Webhook
from narthex.ports.store import StoreUnavailable
from narthex.usecases.alias import reference_hash
from narthex.usecases.api_key import key_mac
from narthex.usecases.archive_line import (
    AliasLine,
    ApiKeyLine,
    AuthenticatorLine,
    Checker,
    ConfigurationLine,
    CredentialLine,
    End,
    EventLine,
    Header,
    Line,
    OriginLine,
    ReportLine,
    RpIdLine,
    SettingsLine,
    WebhookLine,
)
from narthex.usecases.arrival import PORTION, Arrival, Terms
from narthex.usecases.call import OperatorCall
from narthex.usecases.reference_row import (
    DIGEST_SIZE,
    RecordUnreadable,
    alias_record,
    check_user_id,
    checked_credential,
)
from narthex.usecases.transfer import Parts, begin, drawn_again
from narthex.usecases.transfer_report import Advance, ApplicationReport
from narthex.usecases.webhook_secret import draw_secret, wrap_secret

KeyTreatment = Literal["keep", "new", "keep-or-new"]
_PORTION_BYTES: Final = 32 << 20
"""Long lines pack well: a small file could bring more of them than there is memory."""
_MAC_SIZE: Final = 32


def verify_archive(lines: Iterable[bytes]) -> Checker:
    """Read an archive to its end.

    Raises:
        ArchiveUnreadable: it is no whole one, or it was altered.
    """
    checker = Checker()
    for raw in lines:
        checker.read(raw)
    checker.finish()
    return checker


async def import_archive(
    call: OperatorCall,
    lines: Iterable[bytes],
    verified: Checker,
    *,
    app_id: str | None,
    keys: KeyTreatment,
    ledger: KeyLedger,
    terms: Terms,
    advance: Advance = lambda *_: None,
) -> ApplicationReport:
    """Bring the application of an archive here.

    Args:
        lines: of the archive, once more from its beginning.
        verified: what `verify_archive` found.
        app_id: under which other id; None for its own.

    Raises:
        ArchiveUnreadable: it is not the archive any more that was verified.
        StoreUnavailable.
    """
    header = verified.header
    assert header is not None
    to = app_id or header.application
    report = ApplicationReport(to)
    bearing = _Bearing(call, header, to, report, ledger, terms, keys)
    checker = Checker()
    try:
        reader = _Reader(checker, lines)
        parts = bearing.parts(reader.own_lines())
        # Under another id the same archive is another import.
        source = verified.digest[:16]
        arrival = await begin(
            call, to, parts, source=source, report=report, terms=terms, draw=bearing.draw, advance=advance
        )
        await _arrive(arrival, bearing, reader)
    except (StoreUnavailable, ArchiveUnreadable):
        raise
    except (Malformed, Conflict) as e:
        report.stop(e)
        return report
    checker.finish()
    if checker.digest != verified.digest:
        raise ArchiveUnreadable("the archive was changed while it was imported")
    await arrival.finish()
    return report


class _Reader:
    """Lines of an archive: the application's own, then the rest."""

    def __init__(self, checker: Checker, lines: Iterable[bytes]) -> None:
        self._checker = checker
        self._raw = lines
        self._lines = self._read()
        self._next: Line | None = None
        self._size = 0

    def _read(self) -> Iterator[Line]:
        for raw in self._raw:
            self._size = len(raw)
            yield self._checker.read(raw)

    def own_lines(self) -> Iterator[Line]:
        for line in self._lines:
            if isinstance(line, ReportLine | CredentialLine | AliasLine | EventLine | End):
                self._next = line
                return
            yield line
        self._checker.finish()

    def portions(self) -> Iterator[list[Line]]:
        """Lines of one kind together, and no more of them than memory holds with ease."""
        gathered: list[Line] = [] if self._next is None else [self._next]
        size = self._size
        for line in self._lines:
            is_full = len(gathered) == PORTION or size + self._size > _PORTION_BYTES
            if gathered and (is_full or type(line) is not type(gathered[0])):
                yield gathered
                gathered, size = [], 0
            gathered.append(line)
            size += self._size
        if gathered:
            yield gathered


async def _arrive(arrival: Arrival, bearing: _Bearing, reader: _Reader) -> None:
    for portion in reader.portions():
        match portion[0]:
            case ReportLine():
                await arrival.reports([line.report for line in portion if isinstance(line, ReportLine)])
            case CredentialLine():
                await arrival.credentials(bearing.credentials(portion))
            case AliasLine():
                await arrival.aliases(bearing.aliases(portion))
            case EventLine():
                await arrival.events(bearing.events(portion))
            case _:
                pass  # The end.


def _webhook(line: WebhookLine) -> Webhook:
    return Webhook(
        line.webhook_id, line.url, line.event_types, b"", line.created_at, description=line.description, enabled=False
    )


class _Bearing:
    """What an archive's lines are here: under another id, and under another master key, some of it is not the same."""

    def __init__(
        self,
        call: OperatorCall,
        header: Header,
        app_id: str,
        report: ApplicationReport,
        ledger: KeyLedger,
        terms: Terms,
        keys: KeyTreatment,
    ) -> None:
        self._call = call
        self._app_id = app_id
        self._report = report
        self._ledger = ledger
        self._terms = terms
        self._keys = keys
        self._old_id = header.application
        self._is_renamed = app_id != header.application
        self._is_own_key = header.master_key == call.keyring.fingerprint.hex()
        self._lost: list[ApiKey] = []

    def parts(self, lines: Iterator[Line]) -> Parts:
        """
        Raises:
            ArchiveUnreadable.
        """
        parts: Parts | None = None
        for line in lines:
            if isinstance(line, SettingsLine):
                parts = Parts(line.created_at, line.settings, line.delete_at, line.frozen_at)
            elif parts is not None:
                self._add(parts, line)
        if parts is None:
            raise ArchiveUnreadable("the archive says nothing of the application itself")
        return parts

    def _add(self, parts: Parts, line: Line) -> None:
        match line:
            case ApiKeyLine(api_key=key):
                kept = self._kept_key(key) if self._keys != "new" else None
                if kept is None:
                    self._lost.append(key)
                else:
                    parts.api_keys.append(kept)
            case ConfigurationLine(configuration=configuration):
                parts.configurations.append(configuration)
            case AuthenticatorLine(authenticator=authenticator):
                parts.authenticators.append(authenticator)
            case OriginLine(origin=origin):
                parts.origins.append(origin)
            case RpIdLine(rp_id=rp_id):
                parts.rp_ids.append(rp_id)
            case WebhookLine():
                parts.webhooks.append(_webhook(line))
            case _:
                pass

    def _kept_key(self, key: ApiKey) -> ApiKey | None:
        """The key, where it can open something here; None where nobody here could know it."""
        if self._is_renamed:
            return None  # A key's text begins with the application's id.
        if self._is_own_key:
            return key
        if key.kind is KeyKind.PUBLIC and key.value is not None:
            return msgspec.structs.replace(key, mac=key_mac(self._call.keyring, key.value))
        if key.reference_hash is not None:
            return msgspec.structs.replace(key, mac=self._call.random(_MAC_SIZE))
        return None

    def draw(self, parts: Parts, existing: Application | None) -> None:
        """Draw what cannot come along: keys, if so asked, and the secrets of webhooks."""
        taken = [key.hint for key in (*parts.api_keys, *(existing.api_keys if existing is not None else ()))]
        if self._keys == "keep":
            for key in self._lost:
                self._report.refuse("api keys", f"***{key.hint}", self._why_lost())
        else:
            drawn = drawn_again(
                self._call, self._app_id, self._lost, self._ledger, taken=taken, dry_run=self._terms.dry_run
            )
            parts.api_keys += drawn
            left_out = len(self._lost) - len(drawn)
            if left_out:
                self._report.notes.append(f"keys that were locked are not drawn anew: {left_out}")
        there = {webhook.webhook_id for webhook in existing.webhooks} if existing is not None else set()
        parts.webhooks = [each if each.webhook_id in there else self._with_secret(each) for each in parts.webhooks]

    def _why_lost(self) -> str:
        if self._is_renamed:
            return "a key begins with the id of its application, and this one has another now"
        return "only the server with the old master key can know it; `--keys keep-or-new` draws another"

    def _with_secret(self, webhook: Webhook) -> Webhook:
        """Switched off: until the receiver has the new secret, it would refuse whatever comes."""
        name = f"secret of webhook {uuid_text(webhook.webhook_id)}"
        secret = self._ledger.find(self._app_id, name) or draw_secret(self._call.random)
        if not self._terms.dry_run:
            self._ledger.keep(self._app_id, name, secret)
        self._report.notes.append(f"webhook {quoted(webhook.url)} is off until its receiver has the new secret")
        return msgspec.structs.replace(
            webhook, wrapped_secret=wrap_secret(self._call.keyring, self._app_id, webhook.webhook_id, secret)
        )

    def credentials(self, portion: Iterable[Line]) -> list[tuple[Credential, AttestationEvidence | None]]:
        kept = []
        for line in portion:
            assert isinstance(line, CredentialLine)
            try:
                kept.append((checked_credential(line.credential), line.evidence))
            except RecordUnreadable as e:
                self._report.refuse("credentials", line.credential.credential_id.hex(), e.message)
        return kept

    def aliases(self, portion: Iterable[Line]) -> list[tuple[str, Alias]]:
        kept = []
        for line in portion:
            assert isinstance(line, AliasLine)
            name = line.reference_hash
            try:
                self._check_alias(line)
            except RecordUnreadable as e:
                self._report.refuse("aliases", name.hex()[:16], e.message)
                continue
            if self._is_renamed:
                if line.plaintext is None:
                    reason = "only its hash is kept, and the old id of the application is part of that"
                    self._report.refuse("aliases", name.hex()[:16], reason)
                    continue
                name = reference_hash(self._app_id, line.plaintext)
            kept.append((line.user_id, alias_record(self._call.keyring, self._app_id, name, line.plaintext)))
        return kept

    def _check_alias(self, line: AliasLine) -> None:
        check_user_id(line.user_id)
        if len(line.reference_hash) != DIGEST_SIZE:
            raise RecordUnreadable("its hash is not 32 bytes")
        if line.plaintext is not None and reference_hash(self._old_id, line.plaintext) != line.reference_hash:
            raise RecordUnreadable("its hash is not that of its text")

    def events(self, portion: Iterable[Line]) -> list[Event]:
        return [line.event for line in portion if isinstance(line, EventLine)]
