"""The first tables, and on PostgreSQL the function by which one statement refuses as a whole."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None

_ID = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create(
        "application",
        _kept("app_id", _ID),
        _kept("created_at", _NUMBER),
        _kept("settings", sa.Text()),
        sa.Column("delete_at", _NUMBER),
        key=("app_id",),
    )
    _create_tenant_table(
        "api_key",
        _kept("key_id", _ID),
        _kept("kind", sa.Text()),
        _kept("mac", sa.LargeBinary()),
        _kept("hint", sa.Text()),
        sa.Column("value", sa.Text()),
        _kept("scopes", sa.Text()),
        _kept("created_at", _NUMBER),
        _kept("locked", _FLAG),
        sa.Column("last_locked_at", _NUMBER),
        key="key_id",
    )
    _create_tenant_table(
        "token_key",
        _kept("key_id", _NUMBER),
        _kept("wrapped", sa.LargeBinary()),
        _kept("created_at", _NUMBER),
        key="key_id",
    )
    _create_tenant_table(
        "authentication_configuration",
        _kept("purpose", _ID),
        _kept("user_verification", sa.Text()),
        _kept("time_to_live_s", _NUMBER),
        _kept("hints", sa.Text()),
        _kept("created_by", sa.Text()),
        sa.Column("created_at", _NUMBER),
        sa.Column("edited_by", sa.Text()),
        sa.Column("edited_at", _NUMBER),
        sa.Column("last_used_at", _NUMBER),
        key="purpose",
    )
    _create_tenant_table(
        "credential",
        _kept("credential_id", sa.LargeBinary()),
        _kept("user_id", _ID),
        _kept("user_handle", sa.LargeBinary()),
        _kept("public_key", sa.LargeBinary()),
        _kept("sign_count", _NUMBER),
        _kept("attestation_format", sa.Text()),
        _kept("aaguid", sa.LargeBinary()),
        _kept("rp_id", sa.Text()),
        _kept("origin", sa.Text()),
        _kept("transports", sa.Text()),
        _kept("backup_eligible", _FLAG),
        _kept("backup_state", _FLAG),
        _kept("user_verified", _FLAG),
        sa.Column("discoverable", _FLAG),
        sa.Column("nickname", sa.Text()),
        _kept("device", sa.Text()),
        _kept("country", sa.Text()),
        _kept("created_at", _NUMBER),
        _kept("last_used_at", _NUMBER),
        key="credential_id",
        in_key_order=False,
    )
    op.create_index("credential_by_user", "credential", ["app_id", "user_id", "created_at"])
    _create_tenant_table(
        "alias",
        _kept("mac", sa.LargeBinary()),
        _kept("sealed_hash", sa.LargeBinary()),
        _kept("user_id", _ID),
        sa.Column("plaintext", sa.Text()),
        key="mac",
    )
    op.create_index("alias_by_user", "alias", ["app_id", "user_id"])
    _create_tenant_table(
        "spent_nonce",
        _kept("nonce", sa.LargeBinary()),
        _kept("expires_at", _NUMBER),
        key="nonce",
    )
    op.create_index("spent_nonce_by_expiry", "spent_nonce", ["expires_at"])
    _create_tenant_table(
        "event",
        _kept("event_id", sa.LargeBinary()),
        _kept("performed_at", _NUMBER),
        _kept("event_type", _NUMBER),
        _kept("severity", _NUMBER),
        _kept("message", sa.Text()),
        _kept("performed_by", sa.Text()),
        _kept("subject", sa.Text()),
        _kept("api_key_hint", sa.Text()),
        _kept("trace_id", sa.Text()),
        key="event_id",
    )
    _create("server_fact", _kept("name", _ID), _kept("value", sa.LargeBinary()), key=("name",))
    if context.get_context().dialect.name == "postgresql":
        op.execute("""
            create function narthex_refuse(step integer) returns integer language plpgsql volatile as $$
            begin
                raise exception using errcode = 'NX001', message = step::text;
            end
            $$
        """)


def _kept(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _create(name: str, *parts: Any, key: tuple[str, ...], in_key_order: bool = True) -> None:
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        sqlite_with_rowid=not in_key_order,
        sqlite_strict=True,
    )


def _create_tenant_table(name: str, *parts: Any, key: str, in_key_order: bool = True) -> None:
    _create(
        name,
        _kept("app_id", _ID),
        *parts,
        sa.ForeignKeyConstraint(
            ["app_id"], ["application.app_id"], ondelete="cascade", name=f"{name}_application_fkey"
        ),
        key=("app_id", key),
        in_key_order=in_key_order,
    )
