"""What the house asks of a database.

A `TenantStore` belongs to one application: no method takes a tenant, so none can be asked for the wrong one.
The `RootStore` stands above applications; only an operator's call holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import Final, Protocol

from narthex.base.errors import Unavailable
from narthex.ports.changes import Change
from narthex.ports.records import (
    Alias,
    Application,
    AttestationEvidence,
    Credential,
    DailyReport,
    Delivery,
    DeliveryState,
    Event,
    EventFilter,
    JobRun,
    KeptMetadata,
    SettingsRevision,
    UserSummary,
)

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

    async def list_aliases(self, user_id: str) -> Sequence[Alias]:
        """The aliases of a user, in the order of their MACs."""
        ...

    async def list_users(self, *, after: str | None, most: int, prefix: str = "") -> Sequence[UserSummary]:
        """The next portion of those who have a credential or an alias, in the order of their ids, past one of them.

        Args:
            prefix: only ids that begin with it, in this very case.
        """
        ...

    async def find_user(self, user_id: str) -> UserSummary | None: ...

    async def count_users(self) -> int:
        """How many distinct users have a credential."""
        ...

    async def count_credentials(self) -> int: ...

    async def count_active_users(self, *, since: datetime) -> int:
        """How many distinct users have used a credential since an instant."""
        ...

    async def keep_credentials(self, credentials: Sequence[Credential]) -> int:
        """Keep many at once, as an import does; those whose id is kept already stay as they are. Says how many came."""
        ...

    async def keep_aliases(self, aliases: Sequence[tuple[str, Alias]]) -> int:
        """Keep many at once, each with its user's id; those that somebody bears already stay. Says how many came."""
        ...

    async def scan_aliases(self, *, after: bytes, most: int) -> Sequence[tuple[str, Alias]]:
        """The next portion of all aliases with their users' ids, in the order of their MACs, past one of them."""
        ...

    async def list_events(
        self, *, which: EventFilter, before: bytes | None, most: int, skip: int = 0
    ) -> Sequence[Event]:
        """Events that pass a filter, newest first, before one of them.

        Args:
            before: the id of an event, which is not included.
            skip: how many of those that pass are left out first.
        """
        ...

    async def list_events_after(self, *, which: EventFilter, after: bytes, most: int) -> Sequence[Event]:
        """Events that pass a filter, oldest first, after an id."""
        ...

    async def count_events(self, *, which: EventFilter) -> int: ...

    async def list_deliveries(
        self, webhook_id: bytes, *, before: bytes | None, most: int, state: DeliveryState | None = None
    ) -> Sequence[Delivery]:
        """Deliveries of a webhook, newest first, before the id of one of them."""
        ...

    async def count_mails(self, *, since: datetime) -> int:
        """How many magic links were sent since an instant."""
        ...

    async def list_reports(self, *, since: date | None, until: date | None) -> Sequence[DailyReport]:
        """The daily reports in the order of their days, both bounds included."""
        ...

    async def list_revisions(self, *, before: int | None, most: int) -> Sequence[SettingsRevision]:
        """What the settings were, newest first, before a version."""
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

    async def purge_mails(self, *, sent_before: datetime) -> int:
        """Forget magic links that were sent before an instant; says how many went."""
        ...

    async def purge_deliveries(self, *, settled_before: datetime) -> int:
        """Forget deliveries that were settled before an instant; says how many went."""
        ...

    async def claim_deliveries(
        self, *, now: datetime, busy_until: datetime, most: int
    ) -> Sequence[tuple[str, Delivery]]:
        """Take deliveries that are due, with their applications' ids; nobody else is given them before `busy_until`."""
        ...

    async def list_scheduled_deletions(self) -> Sequence[tuple[str, datetime]]:
        """Applications that are to be deleted, and when, in the order of their ids."""
        ...

    async def erase_application(self, app_id: str) -> bool:
        """Delete an application and everything of it, in portions: others are served meanwhile.

        A process that dies on the way leaves the rest for the next call. Where its deletion is cancelled or set for
        another time meanwhile, or the id was freed by somebody else and taken anew, nothing more is deleted.

        Returns:
            whether there is no application of this id now.
        """
        ...

    async def list_job_runs(self) -> Sequence[JobRun]:
        """How each job that ever ran went last, in the order of their names."""
        ...

    async def keep_job_run(self, run: JobRun) -> None: ...

    async def count_requests(self, names: Sequence[tuple[str, int, int]]) -> Sequence[int]:
        """Count once more for each name in its window, and say how many there are now, also by other servers.

        Args:
            names: a name, the first second of the window, and the second from which the count may be forgotten. One
                that stands there twice is counted twice, and is told both times how many there are after that.
        """
        ...

    async def purge_request_counts(self, *, expired_before_s: int) -> int:
        """Forget counts that might be forgotten before a second; says how many went."""
        ...

    def hold(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold a name that one process at a time can hold, as long as the context lasts or the process lives.

        Gives False at once where another holds it. On PostgreSQL an advisory lock, on SQLite the lock of a file.
        """
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
