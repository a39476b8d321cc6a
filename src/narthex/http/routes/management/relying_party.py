"""Where the ceremonies of an application take place: origins, rp ids, and a move from one rp id to another."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from narthex.base.values import instant_z
from narthex.http.authenticate import Access
from narthex.http.body import required
from narthex.http.routes.passwordless.shapes import Answer, Request, told
from narthex.http.routing import route
from narthex.ports.records import Application, RpIdMigration
from narthex.usecases.application import change_settings, get_application
from narthex.usecases.call import OperatorCall
from narthex.usecases.relying_party import answer_for, change_move, forget_origins, lock_origins, survey_rp_ids


class OriginsBody(Request):
    """Lists to replace. What is left out stays as it is; an empty list opens the application again."""

    origins: list[str] | None = None
    top_origins: list[str] | None = None
    rp_ids: list[str] | None = None


class LockBody(Request):
    """What was seen and does not belong on the list."""

    without: list[str] | None = None


class MigrationBody(Request):
    """From which rp id to which; null for both ends the move."""

    old: Annotated[str | None, told("The id of the passkeys that exist.", "old.example")] = None
    new: Annotated[str | None, told("The id of the passkeys to come.", "new.example")] = None


class RpIdBody(Request):
    """A relying party id."""

    rp_id: str | None = None

    rules: ClassVar = {"rp_id": (required,)}


class SeenOriginAnswer(Answer):
    """What verified ceremonies have named."""

    origin: str
    rp_id: str
    first_seen_at: str
    last_seen_at: Annotated[str, told("Exact to an hour.")]


class OriginsAnswer(Answer):
    """Where ceremonies may take place, and where they did while they might anywhere."""

    origins: list[str]
    top_origins: list[str]
    rp_ids: list[str]
    open: Annotated[bool, told("Whether ceremonies may come from any page.")]
    seen: list[SeenOriginAnswer]
    related_rp_ids: Annotated[list[str], told("Hosts at which `/.well-known/webauthn` names these origins.")]


class RpIdCountAnswer(Answer):
    """How far an rp id is in use."""

    rp_id: str
    credentials: int
    users: int


class RpIdsAnswer(Answer):
    """Which rp ids the passkeys belong to, and how far a move has come."""

    old: str | None
    new: str | None
    users: int
    moved: Annotated[int, told("Users who have a passkey for the new id.")]
    not_moved: Annotated[int, told("Users who have one for the old id, and none for the new.")]
    rp_ids: list[RpIdCountAnswer]


@route("GET", "/admin/apps/{app_id}/origins", access=Access.MANAGEMENT_KEY, answer=OriginsAnswer)
async def get_origins(call: OperatorCall, app_id: str) -> OriginsAnswer:
    """Where ceremonies may take place, and where they did."""
    return _origins(await get_application(call, app_id))


@route("POST", "/admin/apps/{app_id}/origins", access=Access.MANAGEMENT_KEY, body=OriginsBody, answer=OriginsAnswer)
async def set_origins(call: OperatorCall, body: OriginsBody, app_id: str) -> OriginsAnswer:
    """Decide where ceremonies may take place."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
    changes: dict[str, Any] = {name: tuple(value) for name, value in given.items()}
    await change_settings(call, app_id, **changes)
    return _origins(await get_application(call, app_id))


@route("POST", "/admin/apps/{app_id}/origins/lock", access=Access.MANAGEMENT_KEY, body=LockBody, answer=OriginsAnswer)
async def lock(call: OperatorCall, body: LockBody, app_id: str) -> OriginsAnswer:
    """Make the lists of what was seen: ceremonies come from there, and from nowhere else."""
    await lock_origins(call, app_id, without=tuple(body.without or ()))
    return _origins(await get_application(call, app_id))


@route("POST", "/admin/apps/{app_id}/origins/forget", access=Access.MANAGEMENT_KEY, answer=OriginsAnswer)
async def forget(call: OperatorCall, app_id: str) -> OriginsAnswer:
    """Forget what was seen, and begin to learn anew."""
    await forget_origins(call, app_id)
    return _origins(await get_application(call, app_id))


@route("GET", "/admin/apps/{app_id}/rp-ids", access=Access.MANAGEMENT_KEY, answer=RpIdsAnswer)
async def get_rp_ids(call: OperatorCall, app_id: str) -> RpIdsAnswer:
    """Count passkeys and users by rp id, and say how far a move has come."""
    return await _survey(call, app_id)


@route(
    "POST", "/admin/apps/{app_id}/rp-ids/migrate", access=Access.MANAGEMENT_KEY, body=MigrationBody, answer=RpIdsAnswer
)
async def migrate(call: OperatorCall, body: MigrationBody, app_id: str) -> RpIdsAnswer:
    """Begin a move from one rp id to another, or end it: passkeys of both sign in while it lasts."""
    moving = RpIdMigration(old=body.old or "", new=body.new or "") if body.old or body.new else None
    await change_move(call, app_id, moving)
    return await _survey(call, app_id)


@route("POST", "/admin/apps/{app_id}/rp-ids/answer-for", access=Access.MANAGEMENT_KEY, body=RpIdBody)
async def answer(call: OperatorCall, body: RpIdBody, app_id: str) -> None:
    """Answer `/.well-known/webauthn` at the host of an rp id with the origins of this application."""
    await answer_for(call, app_id, body.rp_id or "")


@route("POST", "/admin/apps/{app_id}/rp-ids/leave", access=Access.MANAGEMENT_KEY, body=RpIdBody)
async def leave(call: OperatorCall, body: RpIdBody, app_id: str) -> None:
    """No longer answer at the host of an rp id."""
    await answer_for(call, app_id, body.rp_id or "", leave=True)


def _origins(application: Application) -> OriginsAnswer:
    settings = application.settings
    return OriginsAnswer(
        origins=list(settings.origins),
        top_origins=list(settings.top_origins),
        rp_ids=list(settings.rp_ids),
        open=not settings.origins,
        seen=[
            SeenOriginAnswer(
                origin=seen.origin,
                rp_id=seen.rp_id,
                first_seen_at=instant_z(seen.first_seen_at),
                last_seen_at=instant_z(seen.last_seen_at),
            )
            for seen in application.seen_origins
        ],
        related_rp_ids=list(application.related_rp_ids),
    )


async def _survey(call: OperatorCall, app_id: str) -> RpIdsAnswer:
    moving = (await get_application(call, app_id)).settings.rp_id_migration
    survey = await survey_rp_ids(call, app_id)
    return RpIdsAnswer(
        old=moving.old if moving is not None else None,
        new=moving.new if moving is not None else None,
        users=survey.users,
        moved=survey.moved,
        not_moved=survey.not_moved,
        rp_ids=[
            RpIdCountAnswer(rp_id=count.rp_id, credentials=count.credentials, users=count.users)
            for count in survey.by_use()
        ],
    )
