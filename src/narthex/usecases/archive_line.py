"""The lines of an archive: one application, kind by kind, as JSON (docs/reference/archive.md).

The first line says what it is, the last how many lines of each kind came before and their SHA-256. Whoever reads an
archive through a `Checker` knows at its end that it is whole and as it was written; before that, nothing of it counts.
The digest guards against accidents and careless hands, not against somebody who computes it anew: an archive is as
trustworthy as the place where it was kept.

Members are those of the records. A member that a later version adds has a default, so that older archives can be read;
what older servers could not read raises `VERSION`.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from narthex.base.errors import quoted
from narthex.ports.archive import ArchiveUnreadable
from narthex.ports.records import (
    ApiKey,
    ApplicationSettings,
    AttestationEvidence,
    AuthenticationConfiguration,
    Credential,
    DailyReport,
    Event,
    ListedAuthenticator,
    SeenOrigin,
)
from narthex.usecases import archive_check
from narthex.usecases.reference_row import RecordUnreadable

FORMAT: Final = "narthex-archive"
VERSION: Final = 1
MOST_OWN_LINES: Final = 50_000
"""Of an application without its users, its events and its reports: all of them are held in memory at once."""
_LONGEST_REASON: Final = 200


class _Line(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """One line."""


class Header(_Line, frozen=True, tag="header"):
    """What the archive is."""

    format: str
    version: int
    application: str
    made_at: datetime
    master_key: str
    """The fingerprint of the master key, in hexadecimal digits: under the same one, MACs of keys are good."""
    server: str
    with_events: bool


class SettingsLine(_Line, frozen=True, tag="settings"):
    """The application's own record."""

    created_at: datetime
    settings: ApplicationSettings
    delete_at: datetime | None = None
    frozen_at: datetime | None = None


class ApiKeyLine(_Line, frozen=True, tag="api-key"):
    api_key: ApiKey


class ConfigurationLine(_Line, frozen=True, tag="configuration"):
    configuration: AuthenticationConfiguration


class AuthenticatorLine(_Line, frozen=True, tag="authenticator"):
    authenticator: ListedAuthenticator


class OriginLine(_Line, frozen=True, tag="origin"):
    origin: SeenOrigin


class RpIdLine(_Line, frozen=True, tag="rp-id"):
    rp_id: str


class WebhookLine(_Line, frozen=True, tag="webhook"):
    """Without its secret, which never leaves the server that drew it."""

    webhook_id: bytes
    url: str
    event_types: tuple[str, ...]
    description: str
    enabled: bool
    created_at: datetime


class ReportLine(_Line, frozen=True, tag="report"):
    report: DailyReport


class CredentialLine(_Line, frozen=True, tag="credential"):
    credential: Credential
    evidence: AttestationEvidence | None = None


class AliasLine(_Line, frozen=True, tag="alias"):
    """With the hash by which the compatible API names it, laid open: another master key seals it anew."""

    user_id: str
    reference_hash: bytes
    plaintext: str | None = None


class EventLine(_Line, frozen=True, tag="event"):
    event: Event


class End(_Line, frozen=True, tag="end"):
    """What came before."""

    counts: dict[str, int]
    sha256: str


Line: TypeAlias = (
    Header
    | SettingsLine
    | ApiKeyLine
    | ConfigurationLine
    | AuthenticatorLine
    | OriginLine
    | RpIdLine
    | WebhookLine
    | ReportLine
    | CredentialLine
    | AliasLine
    | EventLine
    | End
)
KINDS: Final = (
    Header,
    SettingsLine,
    ApiKeyLine,
    ConfigurationLine,
    AuthenticatorLine,
    OriginLine,
    RpIdLine,
    WebhookLine,
    ReportLine,
    CredentialLine,
    AliasLine,
    EventLine,
    End,
)
"""In the order in which they stand."""
_ORDER: Final = {kind: place for place, kind in enumerate(KINDS)}
_ONCE: Final = (Header, SettingsLine)
_MANY: Final = (ReportLine, CredentialLine, AliasLine, EventLine, End)
_DECODER: Final = msgspec.json.Decoder(Line)
# Sets are written in one order, so that the same application gives the same lines.
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def to_line(line: Line) -> bytes:
    """JSON, and the end of the line."""
    return _ENCODER.encode(line) + b"\n"


def kind_of(line: Line) -> str:
    """What a line calls itself."""
    return str(type(line).__struct_config__.tag)


class Checker:
    """Reads line after line, and knows at the end whether that was all and as it was written."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.header: Header | None = None
        self.last: Line | None = None
        self._digest = sha256()

    @property
    def digest(self) -> str:
        """Of all lines so far but the end."""
        return self._digest.hexdigest()

    def read(self, raw: bytes) -> Line:
        """The next line.

        Raises:
            ArchiveUnreadable: it is none, or it does not belong here.
        """
        if isinstance(self.last, End):
            raise ArchiveUnreadable("the archive goes on after its end")
        number = sum(self.counts.values()) + 1
        line = _parse(raw, number=number)
        self._check_place(line)
        if not isinstance(line, _MANY) and number > MOST_OWN_LINES:
            raise ArchiveUnreadable("the archive says more of the application itself than there can be")
        try:
            self._check_values(line)
        except RecordUnreadable as e:
            raise ArchiveUnreadable(f"line {number} of the archive cannot be kept: {e.message}") from e
        if isinstance(line, End):
            if line.sha256 != self.digest or line.counts != self.counts:
                raise ArchiveUnreadable("the archive was altered: its lines are not those that were written")
        else:
            self._take(line, raw)
        self.last = line
        return line

    def append(self, line: Line) -> bytes:
        """The next line of an archive that is being written."""
        raw = to_line(line)
        self._take(line, raw)
        self.last = line
        return raw

    def end(self) -> bytes:
        """The last line of an archive that is being written."""
        return to_line(End(self.counts, self.digest))

    def finish(self) -> None:
        """
        Raises:
            ArchiveUnreadable: lines are missing.
        """
        if not isinstance(self.last, End):
            raise ArchiveUnreadable("the archive is not whole: it stops before its end")

    def _take(self, line: Line, raw: bytes) -> None:
        if isinstance(line, Header):
            self.header = line
        kind = kind_of(line)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._digest.update(raw)

    def _check_values(self, line: Line) -> None:
        match line:
            case CredentialLine(credential=credential):
                archive_check.check_instants(credential.created_at, credential.last_used_at)
            case EventLine(event=event):
                before = self.last.event if isinstance(self.last, EventLine) else None
                archive_check.check_event(event, after=before)
            case SettingsLine():
                archive_check.check_instants(line.created_at, line.delete_at, line.frozen_at)
                archive_check.check_settings(line.settings)
            case ApiKeyLine(api_key=key):
                archive_check.check_key(key)
            case ConfigurationLine(configuration=configuration):
                archive_check.check_configuration(configuration)
            case AuthenticatorLine(authenticator=listed):
                archive_check.check_model(listed.aaguid)
                archive_check.check_instants(listed.created_at)
            case OriginLine(origin=seen):
                archive_check.check_origin(seen)
            case RpIdLine(rp_id=rp_id):
                archive_check.check_rp_id(rp_id)
            case WebhookLine():
                archive_check.check_webhook(line.webhook_id, line.url, line.event_types, line.description)
                archive_check.check_instants(line.created_at)
            case ReportLine(report=report):
                archive_check.check_report(report)
            case _:
                pass

    def _check_place(self, line: Line) -> None:
        place = _ORDER[type(line)]
        if self.last is None:
            if not isinstance(line, Header):
                raise ArchiveUnreadable("the file is no archive of Narthex: it begins with something else")
            _check_header(line)
            return
        before = _ORDER[type(self.last)]
        if place < before or (place == before and isinstance(line, _ONCE)) or (before == 0 and place != 1):
            raise ArchiveUnreadable(f"the archive has a line of kind {quoted(kind_of(line))} where none belongs")


def _check_header(header: Header) -> None:
    if header.format != FORMAT:
        raise ArchiveUnreadable(f"the file is of format {quoted(header.format)}")
    if header.version != VERSION:
        raise ArchiveUnreadable(
            f"the archive is of version {header.version}, and this server reads version {VERSION}",
            advice="import it with a newer Narthex",
        )


def _parse(raw: bytes, *, number: int) -> Line:
    try:
        line: Line = _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        if number == 1:
            raise ArchiveUnreadable("the file is no archive of Narthex: its first line is not the header of one") from e
        raise ArchiveUnreadable(f"line {number} of the archive cannot be read: {str(e)[:_LONGEST_REASON]}") from e
    return line
