"""What a use case is given: one call, by one caller, at one instant.

A `Call` belongs to one application, and so does the store that hangs on it. Acts above applications take an
`OperatorCall`, a different type that alone holds the root store: the wrong one cannot be passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from narthex.ports.environment import Keyring, Random
from narthex.ports.records import Application, Event, EventType, Severity
from narthex.ports.store import RootStore, TenantStore
from narthex.usecases.metadata import MetadataCatalog
from narthex.usecases.tenant import Directory, Tenant
from narthex.webauthn.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Caller:
    """What the edge knows of whoever asks. Nothing here is a permission; scopes were checked before."""

    api_key_hint: str = ""
    device: str = ""
    country: str = ""
    trace_id: str = ""
    address: str = ""
    """Where the request came from, as far as trusted proxies tell."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to one application."""

    tenant: Tenant
    store: TenantStore
    directory: Directory
    keyring: Keyring
    random: Random
    now: datetime
    caller: Caller
    metadata: Metadata

    @property
    def application(self) -> Application:
        return self.tenant.application


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """A request above applications, by the operator."""

    root: RootStore
    directory: Directory
    keyring: Keyring
    random: Random
    now: datetime
    caller: Caller
    catalog: MetadataCatalog


_SEVERITY_ALERTS = frozenset(
    {
        EventType.ApiAuthInvalidSecretKeyUsed,
        EventType.ApiAuthInvalidPublicKeyUsed,
        EventType.ApiAuthDisabledSecretKeyUsed,
        EventType.ApiAuthDisabledPublicKeyUsed,
    }
)
_SEVERITY_WARNINGS = frozenset(
    {
        EventType.ApiAuthPasskeyRegistrationRefused,
        EventType.ApiUserSignInRefused,
        EventType.ApiUserSignInFlagged,
        EventType.ApiAuthenticatorPolicyObjected,
        EventType.ApiManagementSettingsChanged,
    }
)


def event(
    event_type: EventType,
    message: str,
    *,
    performed_by: str,
    subject: str,
    now: datetime,
    random: Random,
    caller: Caller,
    assurance: bytes = b"",
) -> Event:
    """Make a line for the event log."""
    return Event(
        event_id=time_ordered_id(now, random),
        performed_at=now,
        event_type=event_type,
        severity=_severity(event_type),
        message=message,
        performed_by=performed_by,
        subject=subject,
        api_key_hint=caller.api_key_hint,
        trace_id=caller.trace_id,
        assurance=assurance,
    )


def _severity(event_type: EventType) -> Severity:
    if event_type in _SEVERITY_ALERTS:
        return Severity.Alert
    return Severity.Warning if event_type in _SEVERITY_WARNINGS else Severity.Informational


def time_ordered_id(now: datetime, random: Random) -> bytes:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then chance, so that ids sort by time."""
    milliseconds = int(now.timestamp() * 1000)
    chance = bytearray(random(10))
    chance[0] = 0x70 | chance[0] & 0x0F
    chance[2] = 0x80 | chance[2] & 0x3F
    return milliseconds.to_bytes(6, "big") + bytes(chance)
