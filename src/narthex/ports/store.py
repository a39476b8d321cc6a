"""What the house asks of a database.

A `TenantStore` belongs to one application: no method takes a tenant, so none can be asked for the wrong one.
The `RootStore` stands above applications; only an operator's call holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from narthex.base.errors import Unavailable
from narthex.ports.changes import Change
from narthex.ports.records import Application, AttestationEvidence, Credential, KeptMetadata

MOST_CREDENTIALS: Final = 100
"""How many of a user's credentials are listed. Browsers and authenticators are given them all, in every ceremony."""


class StoreUnavailable(Unavailable):
    """The database does not answer; nothing was promised and nothing is half written."""

    code = "storage-unavailable"
    advice = "try again in a moment; the operator can look with `narthex doctor`"


class TenantStore(Protocol):
    """The rows of one application. Every method raises `StoreUnavailable` when the database is away."""

    async def find_application(self) -> Application | None:
        """The application with its keys, token keys and configurations, read together."""
        ...

    async def find_credential(self, credential_id: bytes) -> Credential | None: ...

    async def list_credentials(self, user_id: str) -> Sequence[Credential]:
        """The credentials of a user, oldest first; of one with more than `MOST_CREDENTIALS`, the oldest of them."""
        ...

    async def find_evidence(self, credential_id: bytes) -> AttestationEvidence | None:
        """What vouched for a credential; None where nothing did, or where it was not kept."""
        ...

    async def scan_credentials(self, *, after: tuple[str, bytes] | None, most: int) -> Sequence[Credential]:
        """The next portion of all credentials, in the order of (user id, credential id), past that pair."""
        ...

    async def has_users(self, at_least: int) -> bool:
        """Whether so many distinct users, or more, have a credential. Looks no further than it must."""
        ...

    async def find_alias_user(self, alias_mac: bytes) -> str | None:
        """The id of the user who bears the alias."""
        ...

    async def find_alias_owners(self, alias_macs: Sequence[bytes]) -> Sequence[str]:
        """The ids of all users who bear one of the aliases, each once."""
        ...

    async def is_spent(self, nonce: bytes) -> bool:
        """Whether a one-time token was used already; the commit stays the authority."""
        ...

    async def commit(self, *changes: Change) -> None:
        """Apply all changes in order, or none.

        Raises:
            Refusal: the one that stands beside the change that could not be made.
        """
        ...


class RootStore(Protocol):
    """The database above applications."""

    def tenant(self, app_id: str) -> TenantStore:
        """The store of one application, whether or not it exists yet. Costs nothing."""
        ...

    async def list_applications(self) -> Sequence[str]:
        """The ids of all applications, in order."""
        ...

    async def purge_nonces(self, *, expired_before: datetime) -> int:
        """Forget spent nonces whose tokens have expired anyway; says how many went."""
        ...

    async def purge_events(self, *, now: datetime) -> int:
        """Forget events that are older than their own application keeps them; says how many went."""
        ...

    async def find_related_application(self, rp_id: str) -> str | None:
        """The id of the application that answers for the host of this relying party id."""
        ...

    async def find_metadata(self) -> KeptMetadata:
        """What is known of the FIDO metadata, without the BLOB."""
        ...

    async def read_metadata(self) -> bytes | None:
        """The BLOB, as it was signed."""
        ...

    async def claim_metadata_try(self, *, at: datetime, last_tried_before: datetime) -> bool:
        """Whether it is for us to fetch the metadata: of several servers that ask, one is told so."""
        ...

    async def keep_metadata(self, *, number: int, blob: bytes, at: datetime, replace: bool = False) -> bool:
        """Keep a BLOB unless one of this number, or a later one, is kept; either way the failures are over.

        Args:
            replace: keep it whatever is kept, as after a change of who signs the metadata.
        """
        ...

    async def note_metadata_failure(self, problem: str) -> None:
        """Count a try that failed, and remember why."""
        ...

    async def find_fact(self, name: str) -> bytes | None:
        """What the server remembers of itself under this name, such as its master key's fingerprint."""
        ...

    async def keep_fact(self, name: str, value: bytes) -> bytes:
        """Remember a fact unless the name has one already; says what is remembered from now on."""
        ...

    async def ping(self) -> None:
        """Ask the database something small. Raises `StoreUnavailable`."""
        ...

    async def close(self) -> None:
        """Let go of the database, after the commits that are under way. What is asked later is refused."""
        ...
