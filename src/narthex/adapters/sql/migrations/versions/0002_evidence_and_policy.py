"""What vouches for credentials, what applications say of authenticators and origins, and the FIDO metadata."""

from __future__ import annotations

from typing import Any

import cbor2
import sqlalchemy as sa
from alembic import context, op

from narthex.adapters.sql.fill import Fill

revision = "0002"
down_revision = "0001"

_ID = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")

_UNREADABLE = 0  # reserved in the registry of COSE algorithms
_ES256 = -7

# Of what 0001 kept, nothing can be judged again: the statement is gone, and `packed` may have been signed by the new
# key itself. Nothing vouches for these credentials, so the type is `none` whatever the format was.
_ADDED = {
    "alg": str(_ES256),  # most are; `_FILL` corrects the others
    "attestation_type": "'none'",
    "trust": "'no-path'",
    "anchor": "null",
    "key_identifiers": "'[]'",
    "judged_with": "''",
    "extensions": "'{}'",
}


def _alg_of(public_key: bytes) -> int:
    """COSE_Key, label 3. The order of the members is not ours, so no place in the bytes says it."""
    try:
        alg = cbor2.loads(public_key)[3]
    except (cbor2.CBORError, ValueError, LookupError, TypeError):
        return _UNREADABLE
    return alg if type(alg) is int else _UNREADABLE


_FILL = Fill("credential", ("app_id", "credential_id"), ("", b""), source="public_key", target="alg", convert=_alg_of)


def upgrade() -> None:
    if context.get_context().dialect.name == "sqlite":
        _rebuild_credential()
    else:
        _extend_credential()
    context.config.attributes["output"].kept.append(_FILL)
    # May be null, so that the log, the longest table, is not written anew.
    op.add_column("event", sa.Column("assurance", sa.LargeBinary()))
    op.add_column("application", sa.Column("settings_version", _NUMBER, nullable=False, server_default=sa.text("0")))
    _create(
        "attestation",
        _kept("app_id", _ID),
        _kept("credential_id", sa.LargeBinary()),
        _kept("attestation_object", sa.LargeBinary()),
        _kept("client_data_json", sa.LargeBinary()),
        sa.ForeignKeyConstraint(
            ["app_id", "credential_id"],
            ["credential.app_id", "credential.credential_id"],
            ondelete="cascade",
            name="attestation_credential_fkey",
        ),
        key=("app_id", "credential_id"),
        in_key_order=False,
    )
    _create_tenant_table(
        "authenticator",
        _kept("aaguid", sa.LargeBinary()),
        _kept("is_allowed", _FLAG),
        _kept("created_at", _NUMBER),
        key=("aaguid",),
    )
    _create_tenant_table(
        "seen_origin",
        _kept("origin", _ID),
        _kept("rp_id", _ID),
        _kept("first_seen_at", _NUMBER),
        _kept("last_seen_at", _NUMBER),
        key=("origin", "rp_id"),
    )
    _create_tenant_table("related_rp_id", _kept("rp_id", _ID), key=("rp_id",))
    op.create_index("related_rp_id_by_rp_id", "related_rp_id", ["rp_id"], unique=True)
    _create(
        "kept_metadata",
        _kept("name", _ID),
        _kept("number", _NUMBER),
        sa.Column("digest", sa.LargeBinary()),
        _kept("parts", _NUMBER),
        sa.Column("kept_at", _NUMBER),
        sa.Column("tried_at", _NUMBER),
        _kept("failures", _NUMBER),
        _kept("problem", sa.Text()),
        key=("name",),
    )
    _create(
        "metadata_part",
        _kept("digest", sa.LargeBinary()),
        _kept("part", _NUMBER),
        _kept("value", sa.LargeBinary()),
        key=("digest", "part"),
        in_key_order=False,
    )


def _rebuild_credential() -> None:
    """SQLite cannot make a column nullable: a table of the new form takes the rows and the name of the old one."""
    first = [
        _kept("app_id", _ID),
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
        sa.Column("backup_eligible", _FLAG),
        _kept("backup_state", _FLAG),
        _kept("user_verified", _FLAG),
        sa.Column("discoverable", _FLAG),
        sa.Column("nickname", sa.Text()),
        _kept("device", sa.Text()),
        _kept("country", sa.Text()),
        _kept("created_at", _NUMBER),
        _kept("last_used_at", _NUMBER),
    ]
    _create(
        "credential_rebuilt",
        *first,
        _kept("alg", _NUMBER),
        _kept("attestation_type", sa.Text()),
        _kept("trust", sa.Text()),
        sa.Column("anchor", sa.LargeBinary()),
        _kept("key_identifiers", sa.Text()),
        _kept("judged_with", sa.Text()),
        _kept("extensions", sa.Text()),
        sa.ForeignKeyConstraint(
            ["app_id"], ["application.app_id"], ondelete="cascade", name="credential_application_fkey"
        ),
        key=("app_id", "credential_id"),
        key_name="credential_pkey",
        in_key_order=False,
    )
    names = ", ".join(column.name for column in first)
    op.execute(
        f"insert into credential_rebuilt ({names}, {', '.join(_ADDED)}) "  # noqa: S608 -- constants of this file
        f"select {names}, {', '.join(_ADDED.values())} from credential order by rowid"
    )
    op.drop_table("credential")
    op.rename_table("credential_rebuilt", "credential")
    op.create_index("credential_by_user", "credential", ["app_id", "user_id", "created_at"])


def _extend_credential() -> None:
    """PostgreSQL notes a column's first value in its catalog; no row is written."""
    op.alter_column("credential", "backup_eligible", nullable=True)
    kinds: dict[str, Any] = {"alg": _NUMBER, "anchor": sa.LargeBinary()}
    for name, value in _ADDED.items():
        kind = kinds.get(name, sa.Text())
        if value == "null":
            op.add_column("credential", sa.Column(name, kind))
        else:
            op.add_column("credential", sa.Column(name, kind, nullable=False, server_default=sa.text(value)))
            op.alter_column("credential", name, server_default=None)


def _kept(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _create(
    name: str, *parts: Any, key: tuple[str, ...], key_name: str | None = None, in_key_order: bool = True
) -> None:
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key, name=key_name or f"{name}_pkey"),
        sqlite_with_rowid=not in_key_order,
        sqlite_strict=True,
    )


def _create_tenant_table(name: str, *parts: Any, key: tuple[str, ...]) -> None:
    _create(
        name,
        _kept("app_id", _ID),
        *parts,
        sa.ForeignKeyConstraint(
            ["app_id"], ["application.app_id"], ondelete="cascade", name=f"{name}_application_fkey"
        ),
        key=("app_id", *key),
    )
