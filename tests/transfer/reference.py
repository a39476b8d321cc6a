"""The reference server's database, made by its documented schema, with what a real server would have in it.

reference = ReferenceDatabase(path)
reference.add_application("demo")
reference.add_key("demo", "demo:secret:…")
reference.add_credential("demo", credential)
"""

from __future__ import annotations

import json
import os
import sqlite3
from base64 import b64encode
from datetime import datetime
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path
from uuid import UUID

from narthex.ports.records import Credential

SCHEMA = """
create table "AccountInfo" (
    "AcountName" text not null primary key, "AdminEmailsSerialized" text not null, "CreatedAt" text not null,
    "DeleteAt" text, "SubscriptionTier" text
);
create table "AppFeatures" (
    "Tenant" text not null primary key, "EventLoggingIsEnabled" integer not null,
    "EventLoggingRetentionPeriod" integer not null, "DeveloperLoggingEndsAt" text, "MaxUsers" integer,
    "AllowAttestation" integer not null, "MagicLinkEmailMonthlyQuota" integer not null,
    "IsGenerateSignInTokenEndpointEnabled" integer not null, "IsMagicLinksEnabled" integer not null
);
create table "ApiKeys" (
    "Tenant" text not null, "Id" text not null, "ApiKey" text not null, "Scopes" text not null,
    "IsLocked" integer not null, "LastLockedAt" text, "LastUnlockedAt" text, "CreatedAt" text not null,
    primary key ("Tenant", "Id")
);
create table "TokenKeys" (
    "Tenant" text not null, "KeyId" integer not null, "KeyMaterial" text not null, "CreatedAt" text not null,
    primary key ("Tenant", "KeyId")
);
create table "Authenticators" (
    "Tenant" text not null, "AaGuid" text not null, "CreatedAt" text not null, "IsAllowed" integer not null,
    primary key ("Tenant", "AaGuid")
);
create table "AuthenticationConfigurations" (
    "Tenant" text not null, "Purpose" text not null, "UserVerificationRequirement" text not null,
    "TimeToLive" integer not null, "Hints" text not null, "CreatedBy" text not null, "CreatedOn" text,
    "EditedBy" text, "EditedOn" text, "LastUsedOn" text, primary key ("Tenant", "Purpose")
);
create table "Credentials" (
    "Tenant" text not null, "DescriptorId" blob not null, "DescriptorType" integer, "DescriptorTransports" text,
    "PublicKey" blob not null, "UserHandle" blob not null, "SignatureCounter" integer not null,
    "AttestationFmt" text, "CreatedAt" text not null, "AaGuid" text not null, "LastUsedAt" text not null,
    "RPID" text, "Origin" text, "Country" text, "Device" text, "Nickname" text, "UserId" text not null,
    "BackupState" integer, "IsBackupEligible" integer, "IsDiscoverable" integer,
    primary key ("Tenant", "DescriptorId")
);
create table "Aliases" (
    "Tenant" text not null, "Alias" text not null, "UserId" text, "Plaintext" text, primary key ("Tenant", "Alias")
);
"""
CREATED = "2024-01-02 03:04:05.1234567"


class ReferenceDatabase:
    """One file, as Entity Framework Core would write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(SCHEMA)

    def close(self) -> None:
        self.connection.close()

    def insert(self, table: str, **values: object) -> None:
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" for _ in values)
        self.connection.execute(f'insert into "{table}" ({names}) values ({marks})', tuple(values.values()))

    def add_application(self, app_id: str = "demo", *, delete_at: str | None = None, **features: object) -> None:
        self.insert(
            "AccountInfo",
            AcountName=app_id,
            AdminEmailsSerialized=json.dumps(["admin@example.org"]),
            CreatedAt=CREATED,
            DeleteAt=delete_at,
        )
        honest: dict[str, object] = {
            "EventLoggingIsEnabled": 1,
            "EventLoggingRetentionPeriod": 90,
            "MaxUsers": None,
            "AllowAttestation": 0,
            "MagicLinkEmailMonthlyQuota": 2000,
            "IsGenerateSignInTokenEndpointEnabled": 1,
            "IsMagicLinksEnabled": 0,
        }
        self.insert("AppFeatures", Tenant=app_id, **(honest | features))

    def add_key(self, app_id: str, key: str, *, locked: bool = False) -> None:
        """A key in clear if it is public, else by the slow hash that the reference keeps."""
        is_public = ":public:" in key
        self.insert(
            "ApiKeys",
            Tenant=app_id,
            Id=key[-4:],
            ApiKey=key if is_public else slow_hash(key),
            Scopes="register,login" if is_public else "token_register,token_verify",
            IsLocked=int(locked),
            LastLockedAt=CREATED if locked else None,
            CreatedAt=CREATED,
        )

    def add_credential(self, app_id: str, credential: Credential, **values: object) -> None:
        honest: dict[str, object] = {
            "Tenant": app_id,
            "DescriptorId": credential.credential_id,
            "DescriptorType": 0,
            "PublicKey": credential.public_key,
            "UserHandle": credential.user_handle,
            "SignatureCounter": credential.sign_count,
            "AttestationFmt": credential.attestation_format,
            "CreatedAt": ef_text(credential.created_at),
            "AaGuid": str(UUID(bytes=credential.aaguid)).upper(),
            "LastUsedAt": ef_text(credential.last_used_at),
            "RPID": credential.rp_id,
            "Origin": credential.origin,
            "Country": credential.country,
            "Device": credential.device,
            "Nickname": credential.nickname,
            "UserId": credential.user_id,
            "BackupState": int(credential.backup_state),
            "IsBackupEligible": None if credential.backup_eligible is None else int(credential.backup_eligible),
            "IsDiscoverable": None if credential.discoverable is None else int(credential.discoverable),
        }
        self.insert("Credentials", **(honest | values))

    def add_alias(self, app_id: str, user_id: str, alias: str, *, hashing: bool = True) -> None:
        name = b64encode(sha256((app_id + alias).encode()).digest()).decode()
        self.insert("Aliases", Tenant=app_id, Alias=name, UserId=user_id, Plaintext=None if hashing else alias)


def slow_hash(key: str) -> str:
    salt = os.urandom(16)
    derived = pbkdf2_hmac("sha512", key.encode(), salt, 10_000, 16)
    return f"{b64encode(salt).decode()}:{b64encode(derived).decode()}"


def ef_text(instant: datetime) -> str:
    """
    >>> from datetime import UTC
    >>> ef_text(datetime(2024, 1, 2, 3, 4, 5, 120000, tzinfo=UTC))
    '2024-01-02 03:04:05.12'
    """
    return f"{instant:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
