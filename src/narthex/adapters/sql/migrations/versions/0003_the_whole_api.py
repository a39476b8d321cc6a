"""What keys may do and until when, the history of settings, mails, webhooks, reports, jobs and shared counts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"

_ID = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("application", sa.Column("frozen_at", _NUMBER))
    op.add_column("event", sa.Column("reason", sa.Text(), nullable=False, server_default=sa.text("''")))
    _extend_api_key()
    _create_tenant_table(
        "settings_revision",
        _kept("version", _NUMBER),
        _kept("changed_at", _NUMBER),
        _kept("changed_by", sa.Text()),
        _kept("settings", sa.Text()),
        key="version",
        in_key_order=False,
    )
    _create_tenant_table(
        "daily_report",
        _kept("day", _NUMBER),
        _kept("users", _NUMBER),
        _kept("credentials", _NUMBER),
        _kept("daily_active_users", _NUMBER),
        _kept("weekly_active_users", _NUMBER),
        key="day",
    )
    _create_what_goes_out()
    _create(
        "job_run",
        _kept("name", _ID),
        _kept("started_at", _NUMBER),
        sa.Column("finished_at", _NUMBER),
        _kept("result", sa.Text()),
        _kept("problem", sa.Text()),
        key=("name",),
    )
    _create(
        "request_count",
        _kept("name", _ID),
        _kept("window_start_s", _NUMBER),
        _kept("count", _NUMBER),
        _kept("expires_at_s", _NUMBER),
        key=("name", "window_start_s"),
        # A crash empties it, and each request is a write less to log; SQLite has no such tables.
        prefixes=["unlogged"] if _is_postgres() else [],
    )
    op.create_index("request_count_by_expiry", "request_count", ["expires_at_s"])


def _extend_api_key() -> None:
    op.add_column("api_key", sa.Column("name", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("api_key", sa.Column("legacy", _FLAG, nullable=False, server_default=sa.text("false")))
    op.add_column("api_key", sa.Column("expires_at", _NUMBER))
    op.add_column("api_key", sa.Column("last_used_at", _NUMBER))
    op.add_column("api_key", sa.Column("networks", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("api_key", sa.Column("reference_hash", sa.Text()))
    # Their scopes were asked of a few routes only; what they were used for beside those they may go on doing.
    op.execute("update api_key set legacy = true where kind = 'secret'")
    # Two keys of an application end alike once in 65,536 times. Requests know a key by its MAC, so both stay good; one
    # of them is only shown by a longer hint.
    op.execute("""
        update api_key set hint = hint || '-' || key_id
        where exists (
            select 1 from api_key as first
            where first.app_id = api_key.app_id and first.hint = api_key.hint and first.key_id < api_key.key_id
        )
    """)
    op.create_index("api_key_by_hint", "api_key", ["app_id", "hint"], unique=True)


def _create_what_goes_out() -> None:
    _create_tenant_table(
        "dispatched_mail",
        _kept("mail_id", sa.LargeBinary()),
        _kept("created_at", _NUMBER),
        _kept("user_id", sa.Text()),
        _kept("recipient", sa.Text()),
        _kept("url_template", sa.Text()),
        key="mail_id",
    )
    op.create_index("dispatched_mail_by_time", "dispatched_mail", ["app_id", "created_at"])
    _create_tenant_table(
        "webhook",
        _kept("webhook_id", sa.LargeBinary()),
        _kept("url", sa.Text()),
        _kept("event_types", sa.Text()),
        _kept("wrapped_secret", sa.LargeBinary()),
        _kept("created_at", _NUMBER),
        _kept("description", sa.Text()),
        _kept("enabled", _FLAG),
        sa.Column("wrapped_old_secret", sa.LargeBinary()),
        sa.Column("old_secret_until", _NUMBER),
        sa.Column("failing_since", _NUMBER),
        key="webhook_id",
    )
    _create_tenant_table(
        "delivery",
        _kept("delivery_id", sa.LargeBinary()),
        _kept("kind", sa.Text()),
        _kept("target", sa.LargeBinary()),
        _kept("content", sa.LargeBinary()),
        _kept("subject", sa.Text()),
        _kept("created_at", _NUMBER),
        sa.Column("next_try_at", _NUMBER),
        _kept("tries", _NUMBER),
        _kept("state", sa.Text()),
        sa.Column("status", _NUMBER),
        _kept("problem", sa.Text()),
        sa.Column("settled_at", _NUMBER),
        key="delivery_id",
        in_key_order=False,
    )
    op.create_index("delivery_by_target", "delivery", ["app_id", "target", "delivery_id"])
    is_due = sa.text("next_try_at is not null")
    op.create_index("delivery_due", "delivery", ["next_try_at"], sqlite_where=is_due, postgresql_where=is_due)
    op.create_index("delivery_pending", "delivery", ["app_id", "target"], sqlite_where=is_due, postgresql_where=is_due)


def _is_postgres() -> bool:
    return context.get_context().dialect.name == "postgresql"


def _kept(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _create(
    name: str, *parts: Any, key: tuple[str, ...], in_key_order: bool = True, prefixes: list[str] | None = None
) -> None:
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        prefixes=prefixes or [],
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
