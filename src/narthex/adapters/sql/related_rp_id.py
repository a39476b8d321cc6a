"""The relying party ids under whose hosts the server answers for an application (`/.well-known/webauthn`)."""

from __future__ import annotations

from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import RootStatement, TenantStatement
from narthex.ports.changes import AnswerForRpId, LeaveRpId, RpIdAnswered

COLUMNS = {"rp_id": "text"}
FIND_APPLICATION = RootStatement("select app_id from related_rp_id where rp_id = :rp_id")
# Two unique indexes can stand in the way, by application and across them. Only without a target does PostgreSQL let
# either pass quietly when acts race; then the row tells whose it is.
_ANSWER = TenantStatement("""
    insert into related_rp_id (app_id, rp_id) values (:app_id, :rp_id) on conflict do nothing
""")
_IS_OURS = TenantStatement(
    "update related_rp_id set rp_id = :rp_id where app_id = :app_id and rp_id = :rp_id", must_change=True
)
_LEAVE = TenantStatement("delete from related_rp_id where app_id = :app_id and rp_id = :rp_id")


def _answer(app_id: str, change: AnswerForRpId) -> list[Step]:
    return [
        (_ANSWER, _ANSWER.bind(app_id, rp_id=change.rp_id)),
        (_IS_OURS, _IS_OURS.bind(app_id, rp_id=change.rp_id)),
    ]


def _leave(app_id: str, change: LeaveRpId) -> list[Step]:
    return [(_LEAVE, _LEAVE.bind(app_id, rp_id=change.rp_id))]


CHANGES: Plans = {
    AnswerForRpId: Plan(_answer, RpIdAnswered, "another application answers for the relying party id"),
    LeaveRpId: Plan(_leave),
}
