"""The aliases of users."""

from __future__ import annotations

from functools import lru_cache

from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import AliasTaken, ReplaceAliases

FIND_USER = TenantStatement("select user_id from alias where app_id = :app_id and mac = :mac")
_DROP = TenantStatement("delete from alias where app_id = :app_id and user_id = :user_id")
# A row of the same user can appear between our delete and our insert; only another user's row is a conflict.
_ADD = TenantStatement(
    """
    insert into alias (app_id, mac, sealed_hash, user_id, plaintext)
    values (:app_id, :mac, :sealed_hash, :user_id, :plaintext)
    on conflict (app_id, mac) do update set sealed_hash = excluded.sealed_hash, plaintext = excluded.plaintext
    where alias.user_id = excluded.user_id
    """,
    must_change=True,
)


@lru_cache(maxsize=32)  # One for each number of aliases that a user may have.
def find_owners(count: int) -> TenantStatement:
    macs = ", ".join(f":mac_{n}" for n in range(count))
    return TenantStatement(f"select distinct user_id from alias where app_id = :app_id and mac in ({macs})")  # noqa: S608 -- `:names` only


def _replace(app_id: str, change: ReplaceAliases) -> list[Step]:
    # In the order of their MACs, so that two acts that want the same aliases meet in one order.
    aliases = sorted({alias.mac: alias for alias in change.aliases}.items())
    return [
        (_DROP, _DROP.bind(app_id, user_id=change.user_id)),
        *(
            (
                _ADD,
                _ADD.bind(
                    app_id, mac=mac, sealed_hash=alias.sealed_hash, user_id=change.user_id, plaintext=alias.plaintext
                ),
            )
            for mac, alias in aliases
        ),
    ]


def _turn(app_id: str, change: ReplaceAliases) -> str:
    # "Exactly these" is true only if no other act gives the same user aliases in the meantime.
    return f"aliases\x1f{app_id}\x1f{change.user_id}"


CHANGES: Plans = {
    ReplaceAliases: Plan(_replace, AliasTaken, "another user bears one of the aliases", turn=_turn),
}
