"""What a use case is given: one call, by one caller, at one instant.

A `Call` belongs to one application, and so does the store that hangs on it. Acts above applications take an
`OperatorCall`, a different type that alone holds the root store: the wrong one cannot be passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from narthex.ports.egress import Egress
from narthex.ports.environment import Keyring, Random
from narthex.ports.limits import Limiter
from narthex.ports.mail import Mail
from narthex.ports.records import Application
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
    address_group: str = ""
    """The neighbourhood that shares limits: the address, or its /64 where it is IPv6."""


@dataclass(frozen=True, slots=True)
class Facilities:
    """What the server has to work with, the same for every call."""

    public_url: str
    """Without a slash at the end. The one source of our own address: no header of a request decides it."""
    mail: Mail | None = None
    """None where the operator set up none."""
    egress: Egress | None = None
    limiter: Limiter | None = None
    new_application_hold: timedelta = timedelta(hours=24)
    """How long a new application may send magic links to its own administrators only."""


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
    facilities: Facilities

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
    facilities: Facilities

    def within(self, tenant: Tenant) -> Call:
        """The same operator, within an application."""
        return Call(
            tenant=tenant,
            store=self.root.tenant(tenant.application.app_id),
            directory=self.directory,
            keyring=self.keyring,
            random=self.random,
            now=self.now,
            caller=self.caller,
            metadata=self.catalog.current,
            facilities=self.facilities,
        )


def time_ordered_id(now: datetime, random: Random) -> bytes:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then chance, so that ids sort by time."""
    milliseconds = int(now.timestamp() * 1000)
    chance = bytearray(random(10))
    chance[0] = 0x70 | chance[0] & 0x0F
    chance[2] = 0x80 | chance[2] & 0x3F
    return milliseconds.to_bytes(6, "big") + bytes(chance)
