"""The magic links that were sent, which the quotas count."""
# ruff: noqa: S608 -- the statements are joined from constants of this module; every value is a `:name`.

from __future__ import annotations

from narthex.adapters.sql.encoding import to_us
from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import ClaimMail, MailQuotaReached, ReleaseMail

COUNT = TenantStatement("select count(*) from dispatched_mail where app_id = :app_id and created_at >= :since")
_COLUMNS = "mail_id, created_at, user_id, recipient, url_template"
_VALUES = ":app_id, :mail_id, :created_at, :user_id, :recipient, :url_template"
_ADD = TenantStatement(
    f"insert into dispatched_mail (app_id, {_COLUMNS}) values ({_VALUES}) on conflict do nothing", must_change=True
)
# Acts of one application wait for one another (`_turn`), so that two of them never count the same rows.
_ADD_WHERE_ROOM_IS = TenantStatement(
    f"""
    insert into dispatched_mail (app_id, {_COLUMNS}) select {_VALUES}
    where (select count(*) from dispatched_mail where app_id = :app_id and created_at >= :since) < :most
    on conflict do nothing
    """,
    must_change=True,
)
_REMOVE = TenantStatement("delete from dispatched_mail where app_id = :app_id and mail_id = :mail_id")
LIST_AGED = RootStatement("""
    select app_id, exists (
        select 1 from dispatched_mail where dispatched_mail.app_id = application.app_id and created_at < :sent_before
    ) from application where app_id > :after order by app_id limit :most
""")
PURGE = TenantStatement("""
    delete from dispatched_mail where app_id = :app_id and mail_id in (
        select mail_id from dispatched_mail where app_id = :app_id and created_at < :sent_before
        order by created_at limit :most
    )
""")


def _claim(app_id: str, change: ClaimMail) -> list[Step]:
    mail = change.mail
    values: dict[str, object] = {
        "mail_id": mail.mail_id,
        "created_at": to_us(mail.created_at),
        "user_id": mail.user_id,
        "recipient": mail.recipient,
        "url_template": mail.url_template,
    }
    if change.most is None:
        return [(_ADD, _ADD.bind(app_id, **values))]
    bound = _ADD_WHERE_ROOM_IS.bind(app_id, **values, since=to_us(change.since), most=change.most)
    return [(_ADD_WHERE_ROOM_IS, bound)]


def _release(app_id: str, change: ReleaseMail) -> list[Step]:
    return [(_REMOVE, _REMOVE.bind(app_id, mail_id=change.mail_id))]


def _turn(app_id: str, change: ClaimMail) -> str | None:
    return None if change.most is None else f"mails\x1f{app_id}"


CHANGES: Plans = {
    ClaimMail: Plan(_claim, MailQuotaReached, "as many magic links were sent as may be", turn=_turn),
    ReleaseMail: Plan(_release),
}
