"""Users: whoever has a credential or an alias. No table keeps them."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from narthex.adapters.sql.encoding import from_us_or_none
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import Arguments, TenantStatement
from narthex.ports.changes import RemoveUser
from narthex.ports.records import UserSummary

_LAST_CHARACTER = "\U0010ffff"
_SURROGATES = ("\ud800", "\udfff")


def _list(bound: str) -> TenantStatement:
    """A portion of the users, each with the number of their credentials and the last use of one.

    Either table gives its portion in the order of its index by user, whatever comes behind it. There is one lower
    bound, as SQLite uses one alone; credentials are looked up for the users of the portion only.
    """
    portion = "select distinct user_id from {} where app_id = :app_id and user_id >= :low and user_id <> :after"
    credentials, aliases = (
        f"select user_id from ({portion.format(table)} {bound} order by user_id limit :most) as of_{table}"
        for table in ("credential", "alias")
    )
    return TenantStatement(f"""
        select user_id,
            (select count(*) from credential where app_id = :app_id and user_id = portion.user_id),
            (select max(last_used_at) from credential where app_id = :app_id and user_id = portion.user_id)
        from ({credentials} union {aliases} order by user_id limit :most) as portion order by user_id
    """)


_LIST = _list("")
_LIST_BELOW = _list("and user_id < :high")
# The users of a portion stand side by side, and so do their aliases.
LIST_ALIASES = TenantStatement("""
    select user_id, plaintext from alias where app_id = :app_id and user_id >= :first and user_id <= :last
    order by user_id, mac
""")
FIND = TenantStatement("""
    select count(*), max(last_used_at) from credential where app_id = :app_id and user_id = :user_id
""")
_REMOVE_CREDENTIALS = TenantStatement("delete from credential where app_id = :app_id and user_id = :user_id")
_REMOVE_ALIASES = TenantStatement("delete from alias where app_id = :app_id and user_id = :user_id")


def list_users(app_id: str, *, after: str | None, most: int, prefix: str) -> tuple[TenantStatement, Arguments]:
    """What finds a portion of the users, by the order of their ids' bytes in UTF-8, which is that of Python's texts."""
    values = {"low": max(after or "", prefix), "after": after or "", "most": most}
    high = past(prefix)
    if high is None:
        return _LIST, _LIST.bind(app_id, **values)
    return _LIST_BELOW, _LIST_BELOW.bind(app_id, high=high, **values)


def past(prefix: str) -> str | None:
    """The first text behind all those that begin with a prefix; None where there is none.

    >>> past("ab"), past("a\ud7ff"), past("")
    ('ac', 'a\ue000', None)
    """
    kept = prefix.rstrip(_LAST_CHARACTER)
    if not kept:
        return None
    following = chr(ord(kept[-1]) + 1)
    return kept[:-1] + (chr(ord(_SURROGATES[1]) + 1) if following == _SURROGATES[0] else following)


def summaries(users: Sequence[Row], aliases: Sequence[Row]) -> list[UserSummary]:
    """The users of a portion, with their aliases."""
    borne = {user_id: tuple(row[1] for row in rows) for user_id, rows in groupby(aliases, key=lambda row: row[0])}
    return [
        UserSummary(user_id, borne.get(user_id, ()), count, from_us_or_none(last_used_at))
        for user_id, count, last_used_at in users
    ]


def _remove(app_id: str, change: RemoveUser) -> list[Step]:
    return [
        (_REMOVE_CREDENTIALS, _REMOVE_CREDENTIALS.bind(app_id, user_id=change.user_id)),
        (_REMOVE_ALIASES, _REMOVE_ALIASES.bind(app_id, user_id=change.user_id)),
    ]


CHANGES: Plans = {RemoveUser: Plan(_remove)}
