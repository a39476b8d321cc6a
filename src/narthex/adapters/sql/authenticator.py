"""The models of authenticators that an application allows or denies by name."""

from __future__ import annotations

from narthex.adapters.sql.encoding import from_us, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import DelistAuthenticators, ListAuthenticators
from narthex.ports.records import ListedAuthenticator

COLUMNS = {"aaguid": "bytea", "is_allowed": "boolean", "created_at": "bigint"}
_LIST = TenantStatement("""
    insert into authenticator (app_id, aaguid, is_allowed, created_at)
    values (:app_id, :aaguid, :is_allowed, :created_at)
    on conflict (app_id, aaguid) do update set is_allowed = excluded.is_allowed
""")
_DELIST = TenantStatement("delete from authenticator where app_id = :app_id and aaguid = :aaguid")


def from_row(row: Row) -> ListedAuthenticator:
    aaguid, is_allowed, created_at = row
    return ListedAuthenticator(aaguid, is_allowed == 1, from_us(created_at))


# In the order of their AAGUIDs, so that two acts that name the same models meet in one order.


def _list(app_id: str, change: ListAuthenticators) -> list[Step]:
    created_at = to_us(change.created_at)
    return [
        (_LIST, _LIST.bind(app_id, aaguid=aaguid, is_allowed=change.is_allowed, created_at=created_at))
        for aaguid in sorted(set(change.aaguids))
    ]


def _delist(app_id: str, change: DelistAuthenticators) -> list[Step]:
    return [(_DELIST, _DELIST.bind(app_id, aaguid=aaguid)) for aaguid in sorted(set(change.aaguids))]


CHANGES: Plans = {ListAuthenticators: Plan(_list), DelistAuthenticators: Plan(_delist)}
