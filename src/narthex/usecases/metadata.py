"""The FIDO metadata: fetched by one server, kept in the database, judged by in every process.

What was fetched is kept as it was signed, and verified again by each process that reads it. A process looks every
now and then whether another BLOB is kept, and until it has read one it judges by none: then no model has a chain
that leads anywhere, and nothing is attested.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from narthex.base.errors import Refusal
from narthex.ports.metadata import MetadataSource
from narthex.ports.records import KeptMetadata
from narthex.ports.store import RootStore
from narthex.webauthn.metadata import NO_METADATA, Metadata
from narthex.webauthn.metadata_blob import verify_metadata

_A_MOMENT = timedelta(seconds=1)
_LONGEST_PROBLEM = 500
_RETRIED_AFTER = timedelta(minutes=1)
_RETRIED_AT_LEAST_EVERY = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class MetadataSigner:
    """Whose signature under the metadata counts."""

    roots: tuple[bytes, ...]
    """DER certificates."""
    name: str | None
    """The host name that the signing certificate must bear; None for any under the roots."""


@dataclass(slots=True)
class MetadataCatalog:
    """The metadata that this process judges by."""

    signer: MetadataSigner
    current: Metadata = NO_METADATA
    readable: bool = True
    """Whether what was last seen to be kept verifies; what does not is judged by not."""
    _seen: tuple[int, datetime | None] = (0, None)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refresh(self, root: RootStore, *, now: datetime) -> bool:
        """Judge by what is kept now; says whether that is new.

        Raises:
            the refusals of `verify_metadata`: what is kept does not verify, as when the signer was changed. What was
            judged by before then stays. It is told once, not at every look.
        """
        async with self._reading:
            kept = await root.find_metadata()
            if self._seen == (kept.number, kept.kept_at):
                return False
            blob = await root.read_metadata()
            self._seen, self.readable = (kept.number, kept.kept_at), False
            self.current = NO_METADATA if blob is None else await self.verify(blob, now=now)
            self.readable = True
            return True

    async def verify(self, blob: bytes, *, now: datetime, crls: tuple[bytes, ...] = ()) -> Metadata:
        """Read a BLOB, on a thread: ten megabytes are a tenth of a second."""
        roots, name = self.signer.roots, self.signer.name
        return await asyncio.to_thread(verify_metadata, blob, roots=roots, signer=name, now=now, crls=crls)


@dataclass(frozen=True, slots=True)
class Update:
    """What came of a try to get newer metadata."""

    metadata: Metadata
    kept: bool
    """False if what is kept already is as new."""
    problems: tuple[str, ...] = ()
    """What went wrong and did not stop it, such as a revocation list that could not be fetched."""


async def update_metadata(
    root: RootStore, catalog: MetadataCatalog, source: MetadataSource, *, now: datetime, replace: bool = False
) -> Update:
    """Fetch, verify and keep. What is kept stays when anything fails.

    Raises:
        MetadataUnavailable: it cannot be fetched.
        the refusals of `verify_metadata`: it does not verify.
    """
    await root.claim_metadata_try(at=now, last_tried_before=now + _A_MOMENT)  # So that it is known when we tried.
    try:
        fetched = await source.fetch()
        metadata = await catalog.verify(fetched.blob, now=now, crls=fetched.crls)
    except Refusal as refusal:
        await root.note_metadata_failure(_told(refusal))
        raise
    # A lower number is no going back where what is kept was signed by somebody whom we do not believe.
    worthless = not await _is_readable(root, catalog, now=now)
    kept = await root.keep_metadata(number=metadata.number, blob=fetched.blob, at=now, replace=replace or worthless)
    await catalog.refresh(root, now=now)
    return Update(metadata, kept, fetched.problems)


def _told(refusal: Refusal) -> str:
    """The reason in a form that every database keeps: it may quote an address or a file name of any kind."""
    return "".join(character if character.isprintable() else "?" for character in refusal.message)[:_LONGEST_PROBLEM]


async def _is_readable(root: RootStore, catalog: MetadataCatalog, *, now: datetime) -> bool:
    with contextlib.suppress(Refusal):
        await catalog.refresh(root, now=now)
    return catalog.readable


async def update_when_due(
    root: RootStore, catalog: MetadataCatalog, source: MetadataSource, *, now: datetime, every: timedelta
) -> Update | None:
    """Update if it is time to, and no other server is at it; None if not.

    Args:
        every: how long to wait after a success.

    Raises:
        what `update_metadata` raises.
    """
    kept = await root.find_metadata()
    if not is_due(kept, now=now, every=every):
        return None
    # A second before the try that we saw: whoever claims it first moves it past that.
    before = now if kept.tried_at is None else kept.tried_at + _A_MOMENT
    if not await root.claim_metadata_try(at=now, last_tried_before=before):
        return None
    return await update_metadata(root, catalog, source, now=now)


def is_due(kept: KeptMetadata, *, now: datetime, every: timedelta) -> bool:
    """After failures: in a minute, then twice as long each time, up to six hours."""
    if kept.tried_at is None:
        return True
    wait = every
    if kept.failures:
        wait = min(_RETRIED_AFTER * 2 ** min(kept.failures - 1, 16), _RETRIED_AT_LEAST_EVERY)
    return now >= kept.tried_at + wait
