"""`narthex doctor`: what an operator would look at first, looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from narthex import main as house
from narthex.adapters.sql import migrate, open_store
from narthex.adapters.system import SystemClock
from narthex.base.errors import Refusal
from narthex.settings import Settings, is_local
from narthex.usecases.metadata import MetadataCatalog

_RELEASED_AT = datetime(2026, 11, 21, tzinfo=UTC)
_SHORTEST_MANAGEMENT_KEY = 24


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    words: str
    fatal: bool = True
    """Whether the server cannot work while this is not well."""


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; change nothing."""
    findings = [finding async for finding in _database(settings)]
    return [
        *findings,
        _master_key_file(settings),
        _management_key(settings),
        _clock(),
        _public_url(settings),
        *_conformance(settings),
    ]


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        revision = await migrate.current(settings.database_url)
    except Refusal as refusal:
        yield Finding("database", False, refusal.message)
        return
    if revision is None:
        yield Finding("database", True, "is empty or not there yet: the first start makes it")
        yield Finding("migrations", False, "none yet: the first start, or `narthex migrate`, applies them", fatal=False)
        return
    yield Finding("database", True, "answers")
    current = revision == migrate.head()
    yield Finding("migrations", current, f"at {revision}" if current else f"at {revision}: run `narthex migrate`")
    if current:
        yield await _keys(settings)
        yield await _metadata(settings)


async def _keys(settings: Settings) -> Finding:
    store = await open_store(settings.database_url, pool_size=1)
    try:
        kept = await store.find_fact(house.KEY_FACT)
        if not house.has_master_key(settings) and kept is None:
            return Finding("master key", False, "there is none yet: the first start makes one", fatal=False)
        if not house.has_master_key(settings):
            words = f"`{settings.own_master_key_file}` is gone, and this database was set up with it: bring it back"
            return Finding("master key", False, words)
        fingerprint = house.read_keyring(settings).fingerprint
        if kept is None:
            return Finding("master key", True, "can be read; the first start binds this database to it")
        if kept != fingerprint:
            return Finding("master key", False, "it is not the one that this database was set up with")
        return Finding("master key", True, "it is the one that this database was set up with")
    except Refusal as refusal:
        return Finding("master key", False, refusal.message)
    finally:
        await store.close()


async def _metadata(settings: Settings) -> Finding:
    if settings.metadata is None:
        return Finding("FIDO metadata", True, "off: only anchors of an application's own can prove a model")
    store = await open_store(settings.database_url, pool_size=1)
    try:
        kept, now = await store.find_metadata(), SystemClock().now()
        catalog = MetadataCatalog(house.metadata_signer(settings))
        await catalog.refresh(store, now=now)
    except Refusal as refusal:
        return Finding("FIDO metadata", False, f"is not used: {refusal.message}", fatal=False)
    finally:
        await store.close()
    current = catalog.current
    if not current.number:
        words = (
            f"none yet: {kept.problem}"
            if kept.problem
            else "none yet: the server gets it, or `narthex metadata update`"
        )
        return Finding("FIDO metadata", False, words, fatal=False)
    if current.is_stale(now):
        words = f"number {current.number} is out of date since {current.next_update}: {kept.problem or 'get newer'}"
        return Finding("FIDO metadata", False, words, fatal=False)
    return Finding("FIDO metadata", True, f"number {current.number}, {len(current.entries)} models")


def _master_key_file(settings: Settings) -> Finding:
    path = settings.master_key_file or settings.own_master_key_file
    if settings.master_key or not path.exists():
        return Finding("master key file", True, "not in use")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        return Finding("master key file", False, f"`{path}` is readable by others: chmod 600 it", fatal=False)
    return Finding("master key file", True, f"`{path}` is readable by its owner only; keep a copy of it elsewhere")


def _management_key(settings: Settings) -> Finding:
    if settings.management_key is None:
        return Finding("management key", True, "not set: the management API refuses everybody")
    if len(settings.management_key) < _SHORTEST_MANAGEMENT_KEY:
        words = "is short enough to be guessed: make one with `openssl rand -hex 32`"
        return Finding("management key", False, words, fatal=False)
    return Finding("management key", True, "set")


def _conformance(settings: Settings) -> list[Finding]:
    if settings.conformance_application is None:
        return []
    words = f"anybody can make passkeys for `{settings.conformance_application}`: unset it when the tests are over"
    return [Finding("conformance application", False, words, fatal=False)]


def _clock() -> Finding:
    now = SystemClock().now()
    if now < _RELEASED_AT:
        return Finding("clock", False, f"it says {now:%Y-%m-%d %H:%M} UTC, which is before this version was made")
    return Finding("clock", True, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _public_url(settings: Settings) -> Finding:
    local = is_local(settings.public_url)
    if settings.public_url.startswith("http://") and not local:
        words = f"`{settings.public_url}` is not https: browsers offer passkeys only over https or on localhost"
        return Finding("public URL", False, words)
    if local:
        return Finding("public URL", False, f"`{settings.public_url}` works on this machine only", fatal=False)
    return Finding("public URL", True, settings.public_url)
