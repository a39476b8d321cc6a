"""Who the application is: its record and its sealing keys, remembered for at most a second.

Every request needs its application's keys and settings, and they change rarely. A process remembers what it
read for `STALENESS`; a change made elsewhere is therefore seen within that time by every process, and a change
made here at once, because `Directory.forget` follows it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from narthex.ports.environment import Keyring
from narthex.ports.records import Application, AuthenticationConfiguration, TokenKey
from narthex.ports.store import RootStore
from narthex.tokens.sealed import SealingKey

STALENESS = timedelta(seconds=1)
_MOST_REMEMBERED = 10_000

PRESETS: dict[str, AuthenticationConfiguration] = {
    purpose: AuthenticationConfiguration(purpose=purpose) for purpose in ("sign-in", "step-up")
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application, and its token keys ready for use (newest first)."""

    application: Application
    sealing_keys: tuple[SealingKey, ...]
    read_at: datetime
    allowed_models: frozenset[bytes] = frozenset()
    """AAGUIDs that the application allows; empty where it names none."""
    denied_models: frozenset[bytes] = frozenset()

    def configuration(self, purpose: str) -> AuthenticationConfiguration | None:
        """The settings of a purpose: the application's own, else the built-in preset, else None."""
        for configuration in self.application.configurations:
            if configuration.purpose == purpose:
                return configuration
        return PRESETS.get(purpose)


class Directory:
    """Finds tenants by application id."""

    def __init__(self, root: RootStore, keyring: Keyring) -> None:
        self._root = root
        self._keyring = keyring
        self._remembered: OrderedDict[str, Tenant] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Tenant | None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changes = 0

    async def find(self, app_id: str, *, now: datetime) -> Tenant | None:
        """The tenant as it was at most `STALENESS` ago."""
        tenant = self._remembered.get(app_id)
        if tenant is not None and tenant.read_at <= now < tenant.read_at + STALENESS:
            return tenant
        return await self.refresh(app_id, now=now)

    async def refresh(self, app_id: str, *, now: datetime) -> Tenant | None:
        """Read the tenant anew. Requests that ask at the same moment share one reading."""
        reading = self._reading.get(app_id)
        if reading is None:
            reading = asyncio.ensure_future(self._read(app_id, now))
            self._reading[app_id] = reading
            reading.add_done_callback(lambda done: self._read_ended(app_id, done))
        # A caller that hangs up must not take the others' answer with it.
        return await asyncio.shield(reading)

    def forget(self, app_id: str) -> None:
        """Read anew at the next question: something was changed."""
        self._changes += 1
        self._remembered.pop(app_id, None)
        self._reading.pop(app_id, None)

    def lock(self, app_id: str) -> asyncio.Lock:
        """Lets one task of this process at a time change the application's own record."""
        return self._locks.setdefault(app_id, asyncio.Lock())

    async def _read(self, app_id: str, now: datetime) -> Tenant | None:
        changes = self._changes
        application = await self._root.tenant(app_id).find_application()
        if application is None:
            self._remembered.pop(app_id, None)
            return None
        tenant = Tenant(
            application=application,
            sealing_keys=tuple(unwrap_key(key, app_id, self._keyring) for key in application.token_keys),
            read_at=now,
            allowed_models=_models(application, allowed=True),
            denied_models=_models(application, allowed=False),
        )
        # A reading that began before a change may have seen the state before it: good for those who asked
        # then, not to be remembered.
        if changes == self._changes:
            self._remember(tenant)
        return tenant

    def _remember(self, tenant: Tenant) -> None:
        self._remembered[tenant.application.app_id] = tenant
        self._remembered.move_to_end(tenant.application.app_id)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def _read_ended(self, app_id: str, reading: asyncio.Task[Tenant | None]) -> None:
        if self._reading.get(app_id) is reading:
            del self._reading[app_id]
        if not reading.cancelled():
            reading.exception()  # Whoever waited has it; if nobody does, it is not worth a warning.


def _models(application: Application, *, allowed: bool) -> frozenset[bytes]:
    return frozenset(listed.aaguid for listed in application.authenticators if listed.is_allowed is allowed)


def unwrap_key(key: TokenKey, app_id: str, keyring: Keyring) -> SealingKey:
    """Make a stored token key ready for use."""
    material = keyring.unwrap("token-key", wrapping_context(app_id, key.key_id), key.wrapped)
    return SealingKey.derive(key_id=key.key_id, app_id=app_id, material=material)


def wrapping_context(app_id: str, key_id: int) -> bytes:
    """Binds a wrapped key to its row, so that rows cannot be exchanged in the table."""
    return key_id.to_bytes(4, "big") + app_id.encode()
