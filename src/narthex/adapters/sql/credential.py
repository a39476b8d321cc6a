"""The credentials of users."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from narthex.adapters.sql import attestation
from narthex.adapters.sql.encoding import (
    extensions_from_json,
    from_flag,
    from_us,
    hex_list_from_json,
    hex_list_to_json,
    list_from_json,
    to_json,
    to_us,
    verdict_from_text,
)
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import (
    AddCredential,
    CredentialChanged,
    CredentialExists,
    CredentialNotFound,
    RejudgeCredential,
    RemoveCredential,
    RenameCredential,
    TouchCredential,
)
from narthex.ports.records import Credential

_COLUMNS = """
    credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
    transports, backup_eligible, backup_state, user_verified, discoverable, nickname, device, country,
    created_at, last_used_at, alg, attestation_type, trust, anchor, key_identifiers, judged_with, extensions
"""
FIND = TenantStatement(f"select {_COLUMNS} from credential where app_id = :app_id and credential_id = :credential_id")
LIST = TenantStatement(f"""
    select {_COLUMNS} from credential where app_id = :app_id and user_id = :user_id
    order by created_at, credential_id limit :most
""")
# The index by user gives the order of users, and each user's few credentials are sorted as they come: to page through
# all of them no index of its own is kept up by every registration.
SCAN = TenantStatement(f"""
    select {_COLUMNS} from credential
    where app_id = :app_id and user_id >= :after_user
        and (user_id > :after_user or credential_id > :after_credential)
    order by user_id, credential_id limit :most
""")
# In portions: over a million users one count held SQLite's readers, who run on the event loop, for 0.15 s. A portion
# takes 2 ms. A counter would be a row for which all registrations of an application wait, to decide one setting.
COUNT_USERS = TenantStatement("""
    select count(*), max(user_id) from (
        select distinct user_id from credential where app_id = :app_id and user_id > :after order by user_id limit :most
    ) as portion
""")
# The credential with which so many are passed by, if there are more; else they are counted to the end.
PASS_BY = TenantStatement("""
    select credential_id from credential where app_id = :app_id and credential_id > :after
    order by credential_id limit 1 offset :count
""")
COUNT = TenantStatement("select count(*) from credential where app_id = :app_id and credential_id > :after")
# By whole users, so that none is counted in two portions.
COUNT_ACTIVE_USERS = TenantStatement("""
    select count(*), max(user_id), count(case when used_at >= :since then 1 end) from (
        select user_id, max(last_used_at) as used_at from credential where app_id = :app_id and user_id > :after
        group by user_id order by user_id limit :most
    ) as portion
""")
_VALUES = """
    :app_id, :credential_id, :user_id, :user_handle, :public_key, :sign_count, :attestation_format, :aaguid, :rp_id,
    :origin, :transports, :backup_eligible, :backup_state, :user_verified, :discoverable, :nickname, :device, :country,
    :created_at, :last_used_at, :alg, :attestation_type, :trust, :anchor, :key_identifiers, :judged_with, :extensions
"""
_ADD = TenantStatement(
    f"""
    insert into credential (app_id, {_COLUMNS}) values ({_VALUES}) on conflict do nothing
    """,
    must_change=True,
)
# Acts of one user wait for one another (`_turn`), so that two of them never count the same rows.
_ADD_WHERE_ROOM_IS = TenantStatement(
    f"""
    insert into credential (app_id, {_COLUMNS}) select {_VALUES}
    where (select count(*) from credential where app_id = :app_id and user_id = :user_id) < :most
    on conflict do nothing
    """,
    must_change=True,
)
# What left its device once stays outside, also if an act beside this one read the record before that was written.
_TOUCHED = """
    backup_eligible = coalesce(backup_eligible, false) or :backup_eligible, backup_state = :backup_state,
    user_verified = user_verified or :user_verified, device = :device, country = :country, last_used_at = :used_at
    where app_id = :app_id and credential_id = :credential_id
"""
# L3 #sctn-sign-counter: a counter must grow, unless the authenticator has none and both are zero.
_TOUCH = TenantStatement(
    f"""
    update credential set sign_count = :sign_count, {_TOUCHED}
        and (sign_count < :sign_count or (sign_count = 0 and :sign_count = 0))
    """,
    must_change=True,
)
_TOUCH_STALLING = TenantStatement(
    f"""
    update credential set
        sign_count = case when sign_count < :sign_count then :sign_count else sign_count end, {_TOUCHED}
    """,
    must_change=True,
)
_REJUDGE = TenantStatement(
    """
    update credential set trust = :trust, anchor = :anchor, judged_with = :judged_with
    where app_id = :app_id and credential_id = :credential_id
    """,
    must_change=True,
)
_RENAME = TenantStatement(
    "update credential set nickname = :nickname where app_id = :app_id and credential_id = :credential_id",
    must_change=True,
)
_REMOVE = TenantStatement(
    "delete from credential where app_id = :app_id and credential_id = :credential_id",
    must_change=True,
)
_NOT_FOUND: Final = "the application keeps no such credential"


@lru_cache(maxsize=16)  # One for each size of a portion.
def _add_many(size: int) -> TenantStatement:
    names = _COLUMNS.replace(" ", "").replace("\n", "").split(",")
    rows = (", ".join([":app_id", *(f":{name}_{n}" for name in names)]) for n in range(size))
    return TenantStatement(f"""
        insert into credential (app_id, {_COLUMNS}) values ({"), (".join(rows)}) on conflict do nothing
    """)


def from_row(row: Row) -> Credential:
    (credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
     transports, backup_eligible, backup_state, user_verified, discoverable, nickname, device, country,
     created_at, last_used_at, alg, attestation_type, trust, anchor, key_identifiers, judged_with,
     extensions) = row  # fmt: skip
    return Credential(
        credential_id, user_id, user_handle, public_key, sign_count, attestation_format, aaguid, rp_id, origin,
        list_from_json(transports), from_flag(backup_eligible), backup_state == 1, user_verified == 1,
        from_flag(discoverable), nickname, device, country, from_us(created_at), from_us(last_used_at), alg,
        attestation_type, verdict_from_text(trust), anchor, hex_list_from_json(key_identifiers), judged_with,
        extensions_from_json(extensions),
    )  # fmt: skip


def _values(credential: Credential) -> dict[str, object]:
    values = msgspec.structs.asdict(credential)
    values["transports"] = to_json(credential.transports)
    values["created_at"] = to_us(credential.created_at)
    values["last_used_at"] = to_us(credential.last_used_at)
    values["trust"] = credential.trust.value
    values["key_identifiers"] = hex_list_to_json(credential.key_identifiers)
    values["extensions"] = to_json(credential.extensions)
    return values


def _add(app_id: str, change: AddCredential) -> list[Step]:
    statement = _ADD if change.most is None else _ADD_WHERE_ROOM_IS
    added = (statement, statement.bind(app_id, most=change.most, **_values(change.credential)))
    if change.evidence is None:
        return [added]
    return [added, attestation.add(app_id, change.credential.credential_id, change.evidence)]


def add_many(app_id: str, portion: Sequence[Credential]) -> Step:
    """Keeps those of a portion whose ids are free."""
    statement = _add_many(len(portion))
    # In the order of their ids, so that two imports of the same ones meet in one order.
    ordered = sorted(portion, key=lambda kept: kept.credential_id)
    values = {f"{name}_{n}": value for n, kept in enumerate(ordered) for name, value in _values(kept).items()}
    return statement, statement.bind(app_id, **values)


def _touch(app_id: str, change: TouchCredential) -> list[Step]:
    statement = _TOUCH_STALLING if change.sign_count_may_stall else _TOUCH
    bound = statement.bind(
        app_id,
        credential_id=change.credential_id,
        sign_count=change.sign_count,
        backup_eligible=change.backup_eligible,
        backup_state=change.backup_state,
        user_verified=change.user_verified,
        device=change.device,
        country=change.country,
        used_at=to_us(change.used_at),
    )
    return [(statement, bound)]


def _rejudge(app_id: str, change: RejudgeCredential) -> list[Step]:
    bound = _REJUDGE.bind(
        app_id,
        credential_id=change.credential_id,
        trust=change.trust.value,
        anchor=change.anchor,
        judged_with=change.judged_with,
    )
    return [(_REJUDGE, bound)]


def _rename(app_id: str, change: RenameCredential) -> list[Step]:
    return [(_RENAME, _RENAME.bind(app_id, credential_id=change.credential_id, nickname=change.nickname))]


def _remove(app_id: str, change: RemoveCredential) -> list[Step]:
    return [(_REMOVE, _REMOVE.bind(app_id, credential_id=change.credential_id))]


def _turn(app_id: str, change: AddCredential) -> str | None:
    return None if change.most is None else f"credentials\x1f{app_id}\x1f{change.credential.user_id}"


CHANGES: Plans = {
    AddCredential: Plan(_add, CredentialExists, "the credential is kept already, or there is no room", turn=_turn),
    TouchCredential: Plan(_touch, CredentialChanged, "the credential is gone or its counter moved on"),
    RejudgeCredential: Plan(_rejudge, CredentialChanged, "the credential is gone"),
    RenameCredential: Plan(_rename, CredentialNotFound, _NOT_FOUND),
    RemoveCredential: Plan(_remove, CredentialNotFound, _NOT_FOUND),
}
