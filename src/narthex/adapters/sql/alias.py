"""The aliases of users."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import AliasTaken, ReplaceAliases
from narthex.ports.records import Alias

LIST = TenantStatement("""
    select mac, sealed_hash, plaintext from alias where app_id = :app_id and user_id = :user_id order by mac
""")
# With the user's id after the alias, so that a row of either begins with one.
SCAN = TenantStatement("""
    select mac, sealed_hash, plaintext, user_id from alias where app_id = :app_id and mac > :after
    order by mac limit :most
""")
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
    return TenantStatement(f"select distinct user_id from alias where app_id = :app_id and mac in ({macs})")


@lru_cache(maxsize=16)  # One for each size of a portion.
def _add_many(size: int) -> TenantStatement:
    rows = (f"(:app_id, :mac_{n}, :sealed_hash_{n}, :user_id_{n}, :plaintext_{n})" for n in range(size))
    return TenantStatement(f"""
        insert into alias (app_id, mac, sealed_hash, user_id, plaintext) values {", ".join(rows)}
        on conflict do nothing
    """)


def from_row(row: Row) -> Alias:
    mac, sealed_hash, plaintext = row[:3]
    return Alias(mac, sealed_hash, plaintext)


def add_many(app_id: str, portion: Sequence[tuple[str, Alias]]) -> Step:
    """Keeps those of a portion that nobody bears."""
    statement = _add_many(len(portion))
    values: dict[str, object] = {}
    # In the order of their MACs, as in `_replace`.
    for n, (user_id, alias) in enumerate(sorted(portion, key=lambda borne: borne[1].mac)):
        values |= {
            f"mac_{n}": alias.mac,
            f"sealed_hash_{n}": alias.sealed_hash,
            f"user_id_{n}": user_id,
            f"plaintext_{n}": alias.plaintext,
        }
    return statement, statement.bind(app_id, **values)


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
