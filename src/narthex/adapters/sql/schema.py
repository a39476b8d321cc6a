"""The tables as they are meant to be, for Alembic to compare with and for people to read.

Nothing on the request path imports this module: SQLAlchemy costs a quarter of a cold start. The migrations make
the tables; a test proves that what they make is what stands here.

Rules: a tenant table's primary key begins with `app_id` and its foreign key carries it, so that deleting an
application takes everything with it, be it by way of a credential. Instants are microseconds since 1970 in UTC. Ids
compare byte by byte (collation "C"): an operating system's upgrade must not reorder an index.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData()

# SQLite's strict tables know INTEGER, TEXT and BLOB; each of these is one of them there.
Id = Text(collation="C").with_variant(Text(), "sqlite")
Number = BigInteger().with_variant(Integer(), "sqlite")
Flag = Boolean().with_variant(Integer(), "sqlite")
Instant = Number
Json = Text


def _table(name: str, *parts: Any, key: tuple[str, ...], in_key_order: bool = True) -> Table:
    """A table; on SQLite its rows live in the primary key's own tree, if `in_key_order`.

    That saves a lookup, and wins where rows are small or arrive in key order. A credential is neither: in a tree
    of its own it is kept 28 % faster and found as fast (300,000 of them, decision 0003).
    """
    return Table(
        name,
        metadata,
        *parts,
        PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        sqlite_with_rowid=not in_key_order,
        sqlite_strict=True,
    )


def _tenant_table(name: str, *parts: Any, key: str | tuple[str, ...], in_key_order: bool = True) -> Table:
    return _table(
        name,
        Column("app_id", Id, nullable=False),
        *parts,
        ForeignKeyConstraint(["app_id"], ["application.app_id"], ondelete="cascade", name=f"{name}_application_fkey"),
        key=("app_id", key) if isinstance(key, str) else ("app_id", *key),
        in_key_order=in_key_order,
    )


application = _table(
    "application",
    Column("app_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("settings", Json, nullable=False),
    Column("delete_at", Instant),
    Column("frozen_at", Instant),
    Column("settings_version", Number, nullable=False, server_default=text("0")),
    key=("app_id",),
)

api_key = _tenant_table(
    "api_key",
    Column("key_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("hint", Text, nullable=False),
    Column("value", Text),
    Column("scopes", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("locked", Flag, nullable=False),
    Column("last_locked_at", Instant),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("legacy", Flag, nullable=False, server_default=text("false")),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("networks", Json, nullable=False, server_default=text("'[]'")),
    Column("reference_hash", Text),
    # The last four characters stand for a key in listings and in the compatible API's paths.
    Index("api_key_by_hint", "app_id", "hint", unique=True),
    key="key_id",
)

token_key = _tenant_table(
    "token_key",
    Column("key_id", Number, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    key="key_id",
)

authentication_configuration = _tenant_table(
    "authentication_configuration",
    Column("purpose", Id, nullable=False),
    Column("user_verification", Text, nullable=False),
    Column("time_to_live_s", Number, nullable=False),
    Column("hints", Json, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant),
    Column("edited_by", Text),
    Column("edited_at", Instant),
    Column("last_used_at", Instant),
    key="purpose",
)

credential = _tenant_table(
    "credential",
    Column("credential_id", LargeBinary, nullable=False),
    Column("user_id", Id, nullable=False),
    Column("user_handle", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", Number, nullable=False),
    Column("attestation_format", Text, nullable=False),
    Column("aaguid", LargeBinary, nullable=False),
    Column("rp_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("transports", Json, nullable=False),
    Column("backup_eligible", Flag),
    Column("backup_state", Flag, nullable=False),
    Column("user_verified", Flag, nullable=False),
    Column("discoverable", Flag),
    Column("nickname", Text),
    Column("device", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant, nullable=False),
    Column("alg", Number, nullable=False),
    Column("attestation_type", Text, nullable=False),
    Column("trust", Text, nullable=False),
    Column("anchor", LargeBinary),
    Column("key_identifiers", Json, nullable=False),
    Column("judged_with", Text, nullable=False),
    Column("extensions", Json, nullable=False),
    Index("credential_by_user", "app_id", "user_id", "created_at"),
    key="credential_id",
    in_key_order=False,
)

attestation = _table(
    "attestation",
    Column("app_id", Id, nullable=False),
    Column("credential_id", LargeBinary, nullable=False),
    Column("attestation_object", LargeBinary, nullable=False),
    Column("client_data_json", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["app_id", "credential_id"],
        ["credential.app_id", "credential.credential_id"],
        ondelete="cascade",
        name="attestation_credential_fkey",
    ),
    key=("app_id", "credential_id"),
    in_key_order=False,
)

alias = _tenant_table(
    "alias",
    Column("mac", LargeBinary, nullable=False),
    Column("sealed_hash", LargeBinary, nullable=False),
    Column("user_id", Id, nullable=False),
    Column("plaintext", Text),
    Index("alias_by_user", "app_id", "user_id"),
    key="mac",
)

spent_nonce = _tenant_table(
    "spent_nonce",
    Column("nonce", LargeBinary, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("spent_nonce_by_expiry", "expires_at"),
    key="nonce",
)

event = _tenant_table(
    "event",
    Column("event_id", LargeBinary, nullable=False),
    Column("performed_at", Instant, nullable=False),
    Column("event_type", Number, nullable=False),
    Column("severity", Number, nullable=False),
    Column("message", Text, nullable=False),
    Column("performed_by", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("api_key_hint", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("assurance", LargeBinary),
    Column("reason", Text, nullable=False, server_default=text("''")),
    key="event_id",
)

authenticator = _tenant_table(
    "authenticator",
    Column("aaguid", LargeBinary, nullable=False),
    Column("is_allowed", Flag, nullable=False),
    Column("created_at", Instant, nullable=False),
    key="aaguid",
)

seen_origin = _tenant_table(
    "seen_origin",
    Column("origin", Id, nullable=False),
    Column("rp_id", Id, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    key=("origin", "rp_id"),
)

related_rp_id = _tenant_table(
    "related_rp_id",
    Column("rp_id", Id, nullable=False),
    # One application alone answers for a host.
    Index("related_rp_id_by_rp_id", "rp_id", unique=True),
    key="rp_id",
)

settings_revision = _tenant_table(
    "settings_revision",
    Column("version", Number, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("settings", Json, nullable=False),
    key="version",
    in_key_order=False,
)

daily_report = _tenant_table(
    "daily_report",
    Column("day", Number, nullable=False),  # since 1970
    Column("users", Number, nullable=False),
    Column("credentials", Number, nullable=False),
    Column("daily_active_users", Number, nullable=False),
    Column("weekly_active_users", Number, nullable=False),
    key="day",
)

dispatched_mail = _tenant_table(
    "dispatched_mail",
    Column("mail_id", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("url_template", Text, nullable=False),
    Index("dispatched_mail_by_time", "app_id", "created_at"),
    key="mail_id",
)

webhook = _tenant_table(
    "webhook",
    Column("webhook_id", LargeBinary, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Json, nullable=False),
    Column("wrapped_secret", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("wrapped_old_secret", LargeBinary),
    Column("old_secret_until", Instant),
    Column("failing_since", Instant),
    key="webhook_id",
)

# Not of a webhook by foreign key: mails go out the same way, and have none.
delivery = _tenant_table(
    "delivery",
    Column("delivery_id", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Null once it is settled, so that the index holds only what is yet to be done.
    Column("next_try_at", Instant),
    Column("tries", Number, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Number),
    Column("problem", Text, nullable=False),
    Column("settled_at", Instant),
    Index("delivery_by_target", "app_id", "target", "delivery_id"),
    key="delivery_id",
    in_key_order=False,
)
_IS_PENDING = delivery.c.next_try_at.is_not(None)
Index(
    "delivery_pending",
    delivery.c.app_id,
    delivery.c.target,
    sqlite_where=_IS_PENDING,
    postgresql_where=_IS_PENDING,
)
Index(
    "delivery_due",
    delivery.c.next_try_at,
    sqlite_where=_IS_PENDING,
    postgresql_where=_IS_PENDING,
)

job_run = _table(
    "job_run",
    Column("name", Id, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("result", Text, nullable=False),
    Column("problem", Text, nullable=False),
    key=("name",),
)

# What several servers count together. What is lost with a crash is counted anew, so PostgreSQL need not log it.
request_count = _table(
    "request_count",
    Column("name", Id, nullable=False),
    Column("window_start_s", Number, nullable=False),
    Column("count", Number, nullable=False),
    Column("expires_at_s", Number, nullable=False),
    Index("request_count_by_expiry", "expires_at_s"),
    key=("name", "window_start_s"),
)

server_fact = _table(
    "server_fact",
    Column("name", Id, nullable=False),
    Column("value", LargeBinary, nullable=False),
    key=("name",),
)

# One row, named for whose metadata it is. The BLOB is apart, because a row is written as a whole; and in parts,
# because all sign-ins of a SQLite database would wait while 32 MiB are written.
kept_metadata = _table(
    "kept_metadata",
    Column("name", Id, nullable=False),
    Column("number", Number, nullable=False),
    Column("digest", LargeBinary),
    Column("parts", Number, nullable=False),
    Column("kept_at", Instant),
    Column("tried_at", Instant),
    Column("failures", Number, nullable=False),
    Column("problem", Text, nullable=False),
    key=("name",),
)

metadata_part = _table(
    "metadata_part",
    Column("digest", LargeBinary, nullable=False),
    Column("part", Number, nullable=False),
    Column("value", LargeBinary, nullable=False),
    key=("digest", "part"),
    in_key_order=False,
)
