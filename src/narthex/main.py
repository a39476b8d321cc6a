"""The one place where parts are chosen and joined."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from narthex import __version__
from narthex.adapters import keyring as keyrings
from narthex.adapters.egress import GuardedEgress
from narthex.adapters.fido_root import FIDO_SIGNER, fido_roots, read_roots
from narthex.adapters.limits import open_limiter
from narthex.adapters.mail import open_mail
from narthex.adapters.metadata_source import FileSource, UrlSource
from narthex.adapters.sql import migrate, open_store
from narthex.adapters.system import SystemClock, system_random
from narthex.base.errors import Refusal, Rejected, Unavailable
from narthex.http import client
from narthex.http.app import create_app
from narthex.http.environment import Environment
from narthex.ports.changes import NoteKeyUse
from narthex.ports.metadata import MetadataSource
from narthex.ports.store import RootStore
from narthex.settings import SettingRefused, Settings, read_settings
from narthex.usecases.call import Caller, Facilities, OperatorCall
from narthex.usecases.delivery import send_due_deliveries
from narthex.usecases.job import run_due_jobs
from narthex.usecases.metadata import MetadataCatalog, MetadataSigner, update_when_due
from narthex.usecases.tenant import Directory

KEY_FACT = "master-key-fingerprint"
_DELIVERIES_ARE_LOOKED_FOR_EVERY = timedelta(seconds=1)
_JOBS_ARE_LOOKED_AT_EVERY = timedelta(seconds=10)
_KEY_USES_ARE_KEPT_EVERY = timedelta(minutes=1)
_METADATA_IS_LOOKED_AT_EVERY = timedelta(minutes=1)
_FILES_ARE_READ_EVERY = timedelta(minutes=10)
_ADDRESSES_ARE_FETCHED_EVERY = timedelta(hours=24)

_log = structlog.get_logger("narthex")


class SchemaOutdated(Rejected):
    """The database was made by another version."""

    code = "schema-outdated"
    advice = "run `narthex migrate`"


class MasterKeyDiffers(Rejected):
    """The database was set up with another master key."""

    code = "master-key-differs"
    advice = "set NARTHEX_MASTER_KEY, or NARTHEX_MASTER_KEY_FILE, to the key that this database was set up with"


class MasterKeyMissing(Rejected):
    """The database was set up with a master key that is not where it was."""

    code = "master-key-missing"
    advice = "bring the file back, or set NARTHEX_MASTER_KEY or NARTHEX_MASTER_KEY_FILE"


class DataDirUnusable(Rejected):
    """The directory for the server's own files cannot be made or written."""

    code = "data-dir-unusable"
    advice = "set NARTHEX_DATA_DIR, or `narthex dev --data-dir`, to a directory that can be written"


def make_data_dir(settings: Settings) -> None:
    """Make the directory for the server's own files.

    Raises:
        DataDirUnusable.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataDirUnusable(f"nothing can be kept in `{settings.data_dir}`: {e.strerror}") from e


def has_master_key(settings: Settings) -> bool:
    """Whether a master key is given, or was made by an earlier start."""
    return bool(settings.master_key or settings.master_key_file) or settings.own_master_key_file.exists()


def read_keyring(settings: Settings) -> keyrings.MasterKeyring:
    """The keyring under the operator's master key, or under one that the first start makes.

    Raises:
        MasterKeyUnusable.
    """
    if settings.master_key:
        return keyrings.MasterKeyring(settings.master_key.encode())
    if settings.master_key_file:
        return keyrings.MasterKeyring(keyrings.read_master_key(settings.master_key_file))
    return keyrings.MasterKeyring(keyrings.read_or_make_master_key(settings.own_master_key_file))


async def prepare(settings: Settings) -> None:
    """Make the database ready: an empty one is set up, an older one is refused, and so is another key's.

    Raises:
        DataDirUnusable, SchemaOutdated, MasterKeyMissing, MasterKeyDiffers, StoreUnavailable, MasterKeyUnusable,
        MetadataRootUnusable, SettingRefused.
    """
    make_data_dir(settings)
    # Read again by each worker; asked now, so that a start is refused with a sentence.
    metadata_signer(settings)
    open_mail(settings.mail, settings.mail_from)
    revision = await migrate.current(settings.database_url)
    if revision is None:
        await migrate.upgrade(settings.database_url)
    elif revision != migrate.head():
        raise SchemaOutdated(f"the database is at revision `{revision}` and this version needs `{migrate.head()}`")
    await _bind_key(settings)
    if settings.conformance_application is not None:
        store = await open_store(settings.database_url, pool_size=1)
        try:
            await _require_application(settings.conformance_application, store)
        finally:
            await store.close()


async def bring_up_to_date(settings: Settings) -> tuple[str | None, str]:
    """Migrate the database, and bind it to the master key if there is one here; says from where to where.

    Raises:
        DataDirUnusable, MasterKeyMissing, MasterKeyDiffers, StoreUnavailable, MasterKeyUnusable.
    """
    make_data_dir(settings)
    before = await migrate.current(settings.database_url)
    await migrate.upgrade(settings.database_url)
    # Whoever migrates need not hold the key; a key that was made here only for that would shut the servers out.
    if has_master_key(settings):
        await _bind_key(settings)
    return before, migrate.head()


async def _bind_key(settings: Settings) -> None:
    """Bind a new database to the master key, or hold the key against the one that it is bound to."""
    store = await open_store(settings.database_url, pool_size=1)
    try:
        if not has_master_key(settings) and await store.find_fact(KEY_FACT) is not None:
            # Making one now would only hide that the true one is gone.
            raise MasterKeyMissing(f"`{settings.own_master_key_file}` is gone, and this database was set up with it")
        await _match_key(store, read_keyring(settings))
    finally:
        await store.close()


async def _match_key(store: RootStore, keyring: keyrings.MasterKeyring) -> None:
    kept = await store.keep_fact(KEY_FACT, keyring.fingerprint)
    if not hmac.compare_digest(kept, keyring.fingerprint):
        raise MasterKeyDiffers("the master key is not the one that this database was set up with")


def metadata_signer(settings: Settings) -> MetadataSigner:
    """Whose signature under the metadata counts: FIDO's, or whoever the operator names instead.

    Raises:
        MetadataRootUnusable.
    """
    if settings.metadata_root is None:
        return MetadataSigner(roots=fido_roots(), name=FIDO_SIGNER)
    return MetadataSigner(roots=read_roots(settings.metadata_root), name=None)


def metadata_source(settings: Settings) -> MetadataSource | None:
    """Where the metadata comes from; None if the operator wants none."""
    match settings.metadata:
        case None:
            return None
        case str() as url:
            # Revocation lists are published over http as well: what they say is signed.
            return UrlSource(url, egress=GuardedEgress(settings.egress_networks, require_tls=False))
        case path:
            return FileSource(path)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Environment]:
    """A running house: the parts joined, and let go of in order."""
    keyring = read_keyring(settings)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as closing:
        store = await open_store(settings.database_url)
        closing.push_async_callback(store.close)
        await _match_key(store, keyring)
        limiter = open_limiter(settings.rate_limits, store, clock)
        if limiter is not None:
            closing.push_async_callback(limiter.close)
        if settings.conformance_application is not None:
            await _require_application(settings.conformance_application, store)
            _log.warning(
                "ANYONE can make and use passkeys of this application: NARTHEX_CONFORMANCE_APPLICATION is for tests",
                application=settings.conformance_application,
            )
        catalog = MetadataCatalog(metadata_signer(settings))
        if settings.metadata is not None:
            await _read_metadata(catalog, store, now=clock.now())
        yield Environment(
            root=store,
            directory=Directory(store, keyring),
            keyring=keyring,
            clock=clock,
            random=system_random,
            management_key=settings.management_key,
            trusted_proxies=settings.trusted_proxies,
            version=__version__,
            catalog=catalog,
            facilities=Facilities(
                public_url=settings.public_url,
                mail=open_mail(settings.mail, settings.mail_from),
                egress=GuardedEgress(settings.egress_networks),
                limiter=limiter,
                new_application_hold=settings.new_application_hold,
            ),
            conformance_application=settings.conformance_application,
        )


@contextlib.asynccontextmanager
async def operating(settings: Settings) -> AsyncIterator[OperatorCall]:
    """An operator at the command line."""
    # Nobody is served here, and the application that the conformance tool needs may be made by this very command.
    settings = msgspec.structs.replace(settings, conformance_application=None)
    await prepare(settings)
    async with opened(settings) as env:
        yield _own_call(env)


def _own_call(env: Environment) -> OperatorCall:
    """A call that nobody made: the operator's at the command line, or the server's own."""
    return env.operator_call(Caller())


async def _require_application(app_id: str, store: RootStore) -> None:
    """Let a setting that is mistyped not pass for one that is at work.

    Raises:
        SettingRefused: there is no such application.
    """
    if await store.tenant(app_id).find_application() is None:
        raise SettingRefused(
            f"NARTHEX_CONFORMANCE_APPLICATION names `{app_id}`, and there is no such application",
            advice=f"make it with `narthex app create {app_id} --attestation --enterprise`, or drop the setting",
        )


async def _read_metadata(catalog: MetadataCatalog, store: RootStore, *, now: datetime) -> None:
    """Judge by what is kept from the first request on. What does not verify any more is told, and judged by not."""
    try:
        await catalog.refresh(store, now=now)
    except Refusal as refusal:
        _log.error("the FIDO metadata is not used", reason=refusal.message, advice=refusal.advice)


class Server:
    """The ASGI application: opens the house when the server starts, and closes it when it stops.

    Args:
        joined: makes the application from the parts; the default is the edge alone.
    """

    def __init__(self, settings: Settings, joined: Callable[[Environment], ASGIApp] = create_app) -> None:
        self._settings = settings
        self._joined = joined
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with opened(self._settings) as env:
                self._app = self._joined(env)
                chores = asyncio.create_task(_keep_house(env, *_metadata_chores(self._settings, env)))
                await send({"type": "lifespan.startup.complete"})
                await receive()
                chores.cancel()
                # What it was doing ends before the store closes; what it leaves, another server or the next start does.
                await asyncio.wait((chores,))
                with contextlib.suppress(Unavailable):  # The database may be gone first: a minute's word is lost.
                    await keep_key_uses(env)
        except Refusal as refusal:
            _log.error("start refused", reason=refusal.message, advice=refusal.advice)
            await send({"type": "lifespan.startup.failed", "message": refusal.message})
        else:
            await send({"type": "lifespan.shutdown.complete"})


async def _keep_house(env: Environment, *more: Awaitable[None]) -> None:
    """What must happen now and then while the server runs: each chore by itself, so that none waits for another."""
    await asyncio.gather(
        asyncio.to_thread(client.device, {}),  # Its tables load now, so that no user waits for them.
        _do_every(_JOBS_ARE_LOOKED_AT_EVERY, _do_jobs, env),
        _do_every(_DELIVERIES_ARE_LOOKED_FOR_EVERY, _deliver, env),
        _do_every(_KEY_USES_ARE_KEPT_EVERY, keep_key_uses, env),
        *more,
    )


async def _do_every(span: timedelta, chore: Callable[[Environment], Awaitable[object]], env: Environment) -> None:
    while True:
        try:
            await chore(env)
        except Exception as e:
            # The edge of the background: what fails is told, and tried again at its next turn.
            _log.warning("a chore failed", chore=chore.__name__, reason=str(e) or type(e).__name__)
        await asyncio.sleep(span.total_seconds())


def _metadata_chores(settings: Settings, env: Environment) -> list[Awaitable[None]]:
    source = metadata_source(settings)
    if source is None:
        return []
    every = _ADDRESSES_ARE_FETCHED_EVERY if isinstance(settings.metadata, str) else _FILES_ARE_READ_EVERY

    async def bring_metadata_up_to_date(env: Environment) -> None:
        now = env.clock.now()
        update = await update_when_due(env.root, env.catalog, source, now=now, every=every)
        is_new = await env.catalog.refresh(env.root, now=now) or (update is not None and update.kept)
        current = env.catalog.current
        if is_new:
            _log.info("FIDO metadata read", number=current.number, models=len(current.entries))
        for problem in update.problems if update is not None else ():
            _log.warning("the FIDO metadata was not checked to the end", reason=problem)
        if (is_new or update is not None) and current.is_stale(now):
            _log.warning("the FIDO metadata is stale", due=str(current.next_update))

    return [_do_every(_METADATA_IS_LOOKED_AT_EVERY, bring_metadata_up_to_date, env)]


async def keep_key_uses(env: Environment) -> None:
    """Let the store know which keys were used."""
    for app_id, key_id, used_at in env.key_uses.take():
        await env.root.tenant(app_id).commit(NoteKeyUse(key_id, used_at))


async def _deliver(env: Environment) -> None:
    await send_due_deliveries(_own_call(env))


async def _do_jobs(env: Environment) -> None:
    for run in await run_due_jobs(_own_call(env)):
        if run.problem:
            _log.warning("a job failed", job=run.name, reason=run.problem)
        else:
            _log.debug("a job is done", job=run.name, result=run.result)


def from_environment() -> ASGIApp:
    """The application of one worker process."""
    settings = read_settings(os.environ)
    configure_logs(settings.log_level)
    return Server(settings)


def configure_logs(level: str) -> None:
    """One JSON line an entry on standard error; a person's terminal gets colours instead."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    console = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            # Plain: the default shows the local variables of every frame, and those hold keys and tokens.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if console
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
