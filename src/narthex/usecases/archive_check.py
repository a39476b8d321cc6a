"""What an archive may say. A record that no act of this server could have made is refused before anything is written.

Whoever hosts others imports archives that they made. A number that no calendar holds would make the job fail that goes
through all applications, and a key with a network that is none would answer each call with an unforeseen error.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Final

from narthex.base.errors import Refusal, quoted
from narthex.ports.records import (
    ApiKey,
    ApplicationSettings,
    AuthenticationConfiguration,
    DailyReport,
    Event,
    KeyKind,
    SeenOrigin,
)
from narthex.usecases.api_key import LONGEST_NAME, MOST_NETWORKS, SCOPES_OF_KIND
from narthex.usecases.configuration import LONGEST_TIME_TO_LIVE, is_purpose
from narthex.usecases.creation_options import HINTS, USER_VERIFICATIONS
from narthex.usecases.reference_row import RecordUnreadable, is_slow_hash
from narthex.usecases.retention import LONGEST_RETENTION_DAYS
from narthex.usecases.webhook import LONGEST_DESCRIPTION, MOST_EVENT_TYPES
from narthex.webauthn.origin import canonical_origin, parse_rp_id

ID_SIZE: Final = 16
_MAC_SIZE: Final = 32
_MOST: Final = 2**31 - 1
_KEY_ID = re.compile(r"[0-9a-f]{32}\Z")


def check_instants(*instants: datetime | None) -> None:
    """
    Raises:
        RecordUnreadable: one names no zone, or lies outside the calendar.
    """
    for instant in instants:
        if instant is None or instant.tzinfo is UTC:
            continue
        if instant.tzinfo is None:
            raise RecordUnreadable("an instant names no zone")
        try:
            instant.astimezone(UTC)
        except OverflowError:
            raise RecordUnreadable("an instant lies outside the calendar") from None


def check_settings(settings: ApplicationSettings) -> None:
    """The numbers alone: `narthex.usecases.application.checked_settings` sees to the rest.

    Raises:
        RecordUnreadable.
    """
    _check_number(settings.event_retention_days, "days that events are kept", most=LONGEST_RETENTION_DAYS)
    _check_number(settings.magic_link_monthly_quota, "magic links in a month")
    _check_number(settings.max_users or 0, "users at most")


def check_key(key: ApiKey) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    is_public = key.kind is KeyKind.PUBLIC
    if not _KEY_ID.match(key.key_id) or len(key.hint) != 4 or len(key.mac) != _MAC_SIZE:
        raise RecordUnreadable("it is no key: its id, its end or its MAC is none")
    if is_public != (key.value is not None) or (is_public and key.reference_hash is not None):
        raise RecordUnreadable("a public key is kept as it is, and a secret one is not")
    if key.value is not None and not key.value.endswith(key.hint):
        raise RecordUnreadable("it does not end as it says")
    if key.reference_hash is not None and not is_slow_hash(key.reference_hash):
        raise RecordUnreadable("what is kept of it is no slow hash")
    if not key.scopes <= SCOPES_OF_KIND[key.kind]:
        raise RecordUnreadable(f"it has a scope that no {key.kind.value} key has")
    if len(key.name) > LONGEST_NAME or not key.name.isprintable():
        raise RecordUnreadable("its name is too long, or cannot be printed")
    if len(key.networks) > MOST_NETWORKS:
        raise RecordUnreadable("it names too many networks")
    try:
        _ = [ip_network(text) for text in key.networks]
    except ValueError:
        raise RecordUnreadable("it names a network that is none") from None
    check_instants(key.created_at, key.last_locked_at, key.expires_at, key.last_used_at)


def check_configuration(kept: AuthenticationConfiguration) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    if not is_purpose(kept.purpose):
        raise RecordUnreadable("its purpose is none")
    if kept.user_verification not in USER_VERIFICATIONS:
        raise RecordUnreadable(f"it asks for user verification {quoted(kept.user_verification)}")
    _check_number(kept.time_to_live_s, "seconds that a token lives", least=1, most=LONGEST_TIME_TO_LIVE.total_seconds())
    if not set(kept.hints) <= set(HINTS):
        raise RecordUnreadable("it has a hint that is none")
    check_instants(kept.created_at, kept.edited_at, kept.last_used_at)


def check_model(aaguid: bytes) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    if len(aaguid) != ID_SIZE:
        raise RecordUnreadable("an AAGUID is not 16 bytes")


def check_origin(seen: SeenOrigin) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    check_rp_id(seen.rp_id)
    try:
        is_canonical = canonical_origin(seen.origin) == seen.origin
    except Refusal as e:
        raise RecordUnreadable(e.message) from e
    if not is_canonical:
        raise RecordUnreadable(f"{quoted(seen.origin)} is no origin, or is spelt in another way")
    check_instants(seen.first_seen_at, seen.last_seen_at)


def check_rp_id(rp_id: str) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    try:
        parse_rp_id(rp_id)
    except Refusal as e:
        raise RecordUnreadable(e.message) from e


def check_webhook(webhook_id: bytes, url: str, event_types: tuple[str, ...], description: str) -> None:
    """Where it may go is asked when it is switched on, and at each delivery.

    Raises:
        RecordUnreadable.
    """
    if len(webhook_id) != ID_SIZE:
        raise RecordUnreadable("the id of a webhook is not 16 bytes")
    if not url.startswith(("https://", "http://")) or not url.isprintable():
        raise RecordUnreadable(f"a webhook goes to {quoted(url)}")
    if len(event_types) > MOST_EVENT_TYPES or len(description) > LONGEST_DESCRIPTION:
        raise RecordUnreadable("a webhook names too many types of event, or its description is too long")


def check_report(report: DailyReport) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    for count in (report.users, report.credentials, report.daily_active_users, report.weekly_active_users):
        _check_number(count, "users or credentials")


def check_event(event: Event, *, after: Event | None) -> None:
    """
    Args:
        after: the event of the line before, if that was one.

    Raises:
        RecordUnreadable.
    """
    if len(event.event_id) != ID_SIZE:
        raise RecordUnreadable("the id of an event is not 16 bytes")
    if after is not None and event.event_id <= after.event_id:
        raise RecordUnreadable("events do not stand in the order of their ids, each once")
    check_instants(event.performed_at)


def _check_number(number: int, what: str, *, least: int = 0, most: float = _MOST) -> None:
    if not least <= number <= most:
        raise RecordUnreadable(f"{number} {what}: that is no number from {least} to {most:.0f}")
