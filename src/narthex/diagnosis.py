"""`narthex doctor`: what an operator would look at first, looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from narthex import main as house
from narthex.adapters.mail import open_mail
from narthex.adapters.sql import migrate, open_store
from narthex.adapters.system import SystemClock, system_random
from narthex.base.errors import Refusal
from narthex.ports.records import ApiKey, Application, KeyKind
from narthex.ports.store import RootStore
from narthex.settings import Settings, is_local
from narthex.usecases.api_key import legacy_keys
from narthex.usecases.call import Caller, Facilities, OperatorCall
from narthex.usecases.job import list_jobs
from narthex.usecases.metadata import MetadataCatalog
from narthex.usecases.tenant import Directory

_RELEASED_AT = datetime(2026, 11, 21, tzinfo=UTC)
_SHORTEST_MANAGEMENT_KEY = 24
_EXPIRES_SOON = timedelta(days=14)
_UNUSED_FOR = timedelta(days=30)
"""A new application has a second pair of keys, for the day on which the first is changed: that is no finding yet."""
_OVERDUE_AFTER = timedelta(hours=1)
_MOST_NAMED = 5


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
        await _mail(settings),
        _limits(settings),
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
        master_key = await _master_key(settings)
        yield master_key
        if master_key.ok:
            async for finding in _operations(settings):
                yield finding
        yield await _metadata(settings)


async def _master_key(settings: Settings) -> Finding:
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


async def _operations(settings: Settings) -> AsyncIterator[Finding]:
    store = await open_store(settings.database_url, pool_size=1)
    try:
        now = SystemClock().now()
        found = [await store.tenant(app_id).find_application() for app_id in await store.list_applications()]
        for finding in _api_keys([application for application in found if application is not None], now=now):
            yield finding
        yield await _jobs(settings, store, now=now)
    except Refusal as refusal:
        yield Finding("API keys and jobs", False, refusal.message)
    finally:
        await store.close()


def _api_keys(applications: Sequence[Application], *, now: datetime) -> list[Finding]:
    """What keys may do that nobody needs, and which end soon. Locked ones do no harm."""
    kept = [(app, key) for app in applications for key in app.api_keys if not (key.locked or app.is_closed)]
    legacy = [(app, key) for app, key in kept if key in legacy_keys(app)]
    ending = [(app, key) for app, key in kept if key.expires_at and now < key.expires_at <= now + _EXPIRES_SOON]
    unused = [
        (app, key)
        for app, key in kept
        if key.kind is KeyKind.SECRET and key.last_used_at is None and key.created_at <= now - _UNUSED_FOR
    ]
    remedies = (
        ("legacy keys", legacy, "may do whatever the compatible API lets any key do: `narthex key rotate`"),
        ("expiring keys", ending, f"end within {_EXPIRES_SOON.days} days: have successors in use by then"),
        ("unused keys", unused, "are old and were never used: `narthex key lock` those that you keep in reserve"),
    )
    findings = [
        Finding(subject, False, f"{_named(those)} {words}", fatal=False) for subject, those, words in remedies if those
    ]
    return findings or [Finding("API keys", True, f"{len(kept)} open, none of them in need of anything")]


def _named(keys: Sequence[tuple[Application, ApiKey]]) -> str:
    named = ", ".join(f"{application.app_id} ***{key.hint}" for application, key in keys[:_MOST_NAMED])
    return f"{named} and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else named


async def _jobs(settings: Settings, store: RootStore, *, now: datetime) -> Finding:
    states = await list_jobs(_call(settings, store, now=now))
    if not any(state.last for state in states):
        return Finding("jobs", True, "none was done yet: the server does them while it runs")
    failed = [state for state in states if state.last is not None and state.last.problem]
    if failed:
        words = "; ".join(f"`{state.job.name}` failed: {state.last.problem}" for state in failed if state.last)
        return Finding("jobs", False, f"{words}; mend it, and `narthex jobs run` tries again", fatal=False)
    overdue = [state.job.name for state in states if state.due_at < now - _OVERDUE_AFTER]
    if overdue:
        return Finding("jobs", False, f"overdue: {', '.join(overdue)}; does the server run?", fatal=False)
    return Finding("jobs", True, "all were done in time")


def _call(settings: Settings, store: RootStore, *, now: datetime) -> OperatorCall:
    """To look with: nothing here changes anything."""
    keyring = house.read_keyring(settings)
    return OperatorCall(
        root=store,
        directory=Directory(store, keyring),
        keyring=keyring,
        random=system_random,
        now=now,
        caller=Caller(),
        catalog=MetadataCatalog(house.metadata_signer(settings)),
        facilities=Facilities(public_url=settings.public_url),
    )


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


async def _mail(settings: Settings) -> Finding:
    try:
        mail = open_mail(settings.mail, settings.mail_from)
        if mail is None:
            return Finding("mail", True, "off: there are no magic links, and no notices")
        await mail.check()
    except Refusal as refusal:
        advice = f"; {refusal.advice}" if refusal.advice else ""
        return Finding("mail", False, f"{refusal.message}{advice}", fatal=False)
    return Finding("mail", True, f"would be taken, from `{settings.mail_from}`")


def _limits(settings: Settings) -> Finding:
    if settings.rate_limits == "off":
        return Finding("rate limits", False, "off: anybody may ask as often as they like", fatal=False)
    if settings.rate_limits == "on" and settings.workers > 1:
        words = (
            f"each of the {settings.workers} workers counts by itself, so that {settings.workers} times as much "
            "passes: set NARTHEX_RATE_LIMITS to `database`, or to a Redis server"
        )
        return Finding("rate limits", False, words, fatal=False)
    where = {"on": "counted in the one process", "database": "counted in the database"}
    return Finding("rate limits", True, where.get(settings.rate_limits, "counted in Redis"))


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
