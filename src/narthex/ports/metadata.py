"""What the house asks of wherever FIDO metadata comes from."""

from __future__ import annotations

from typing import Protocol

import msgspec

from narthex.base.errors import Unavailable


class MetadataUnavailable(Unavailable):
    """The metadata could not be fetched; what is kept stays in force."""

    code = "metadata-unavailable"
    spec = "FIDO Metadata Service v3.1 section 3.2"
    advice = "fetch again when the cause is mended; until then the metadata that is kept stays in force"


class FetchedMetadata(msgspec.Struct, frozen=True):
    """A BLOB as it was fetched, unverified, and what its issuers say they revoked."""

    blob: bytes
    crls: tuple[bytes, ...] = ()
    """DER; unverified too."""
    problems: tuple[str, ...] = ()
    """What could not be fetched and is not needed: one sentence each, without a full stop."""


class MetadataSource(Protocol):
    """Fetches metadata. Whether it is genuine is for `verify_metadata` to say."""

    async def fetch(self) -> FetchedMetadata:
        """Fetch the present BLOB. Raises `MetadataUnavailable`."""
        ...
