"""What an import asks of the reference server's database: which applications it has, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

Row: TypeAlias = Sequence[Any]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "AccountInfo": ("AcountName", "AdminEmailsSerialized", "CreatedAt", "DeleteAt"),
    "AppFeatures": (
        "EventLoggingIsEnabled", "EventLoggingRetentionPeriod", "MaxUsers", "AllowAttestation",
        "MagicLinkEmailMonthlyQuota", "IsGenerateSignInTokenEndpointEnabled", "IsMagicLinksEnabled",
    ),
    "ApiKeys": ("Id", "ApiKey", "Scopes", "IsLocked", "LastLockedAt", "CreatedAt"),
    "AuthenticationConfigurations": (
        "Purpose", "UserVerificationRequirement", "TimeToLive", "Hints", "CreatedBy", "CreatedOn", "EditedBy",
        "EditedOn", "LastUsedOn",
    ),
    "Authenticators": ("AaGuid", "IsAllowed", "CreatedAt"),
    "Credentials": (
        "DescriptorId", "PublicKey", "UserHandle", "SignatureCounter", "AttestationFmt", "CreatedAt", "AaGuid",
        "LastUsedAt", "RPID", "Origin", "Country", "Device", "Nickname", "UserId", "BackupState",
        "IsBackupEligible", "IsDiscoverable",
    ),
    "Aliases": ("Alias", "UserId", "Plaintext"),
}  # fmt: skip
"""Table → the columns that are read, in the order in which a row has them."""


class ReferenceSource(Protocol):
    """The reference server's database."""

    @property
    def name(self) -> str:
        """One word that tells this very content from any other."""
        ...

    def applications(self) -> Sequence[str]:
        """The ids of all applications."""
        ...

    def count(self, table: str, app_id: str) -> int:
        """How many rows of a table are an application's."""
        ...

    def rows(self, table: str, app_id: str, *, most: int) -> Iterator[Sequence[Row]]:
        """The rows of an application in the order of their keys, each with `COLUMNS` of its table, so many together."""
        ...
