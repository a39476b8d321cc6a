"""The nonces of one-time tokens that were used."""

from __future__ import annotations

from narthex.adapters.sql.encoding import to_us
from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import NonceSpent, SpendNonce

FIND = TenantStatement("select 1 from spent_nonce where app_id = :app_id and nonce = :nonce")
_SPEND = TenantStatement(
    """
    insert into spent_nonce (app_id, nonce, expires_at) values (:app_id, :nonce, :expires_at)
    on conflict do nothing
    """,
    must_change=True,
)
PURGE = RootStatement("""
    delete from spent_nonce where (app_id, nonce) in (
        select app_id, nonce from spent_nonce where expires_at < :expired_before
        order by expires_at limit :most
    )
""")


def _spend(app_id: str, change: SpendNonce) -> list[Step]:
    return [(_SPEND, _SPEND.bind(app_id, nonce=change.nonce, expires_at=to_us(change.expires_at)))]


CHANGES: Plans = {SpendNonce: Plan(_spend, NonceSpent, "the token was used before")}
