"""The relying party of an application: where its ceremonies take place, and a move from one id to another.

An application begins open: ceremonies may come from anywhere, and what verified ones name is noted. `lock` makes the
list of it. An rp id cannot be changed for a passkey that exists, so a move keeps both: passkeys of the old id sign in,
new ones are made for the new, and the survey says how many users are not through yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from narthex.base.errors import Conflict, NotFound, quoted
from narthex.ports.changes import AnswerForRpId, ForgetOrigins, LeaveRpId
from narthex.ports.records import Application, ApplicationSettings, EventType, RpIdMigration, SeenOrigin
from narthex.ports.store import RootStore
from narthex.usecases.application import decide, get_application
from narthex.usecases.call import OperatorCall
from narthex.usecases.credential import credentials_by_user
from narthex.usecases.event import operator_log
from narthex.webauthn.origin import canonical_origin, parse_rp_id


class OriginsLocked(Conflict):
    """The application has a list of origins already: nothing was noted since, so there is nothing to lock."""

    code = "origins-locked"
    advice = "change the list itself: `narthex app set NAME --origin …`, or `--empty-origin` to open it again"


class NoOriginSeen(Conflict):
    """There is nothing to lock: no ceremony has been verified yet, or everything seen was left out."""

    code = "no-origin-seen"
    advice = "sign in once from each page that you use, or name the origins: `narthex app set NAME --origin …`"


class NoRelatedOrigins(NotFound):
    """No application answers for the host of this relying party id."""

    code = "no-related-origins"
    advice = "`narthex app answer-for NAME RP_ID` lets an application answer for a host"


def split_seen(
    seen: Iterable[SeenOrigin], *, without: tuple[str, ...]
) -> tuple[tuple[SeenOrigin, ...], tuple[SeenOrigin, ...]]:
    """What a lock would keep of what was seen, and what it would leave out.

    Raises:
        OriginMalformed.
    """
    foreign = {canonical_origin(origin) for origin in without}
    kept, left_out = list[SeenOrigin](), list[SeenOrigin]()
    for each in seen:
        (left_out if each.origin in foreign else kept).append(each)
    return tuple(kept), tuple(left_out)


async def lock_origins(
    call: OperatorCall, app_id: str, *, without: tuple[str, ...] = (), shown: Collection[SeenOrigin] | None = None
) -> tuple[ApplicationSettings, tuple[SeenOrigin, ...]]:
    """Make the list of what was seen: from now on ceremonies come from there, and from nowhere else.

    Args:
        without: origins that were seen and do not belong there.
        shown: what the operator has looked at: what was seen since then is left out too. None takes all.
    Returns:
        the settings, and what was left out.

    Raises:
        ApplicationNotFound, OriginsLocked, NoOriginSeen, OriginMalformed.
    """
    left_out: tuple[SeenOrigin, ...] = ()

    async def seen(application: Application) -> Mapping[str, Any]:
        nonlocal left_out
        if application.settings.origins:
            raise OriginsLocked(f"ceremonies of {quoted(app_id)} come from a list of origins already")
        looked_at = {(each.origin, each.rp_id) for each in (application.seen_origins if shown is None else shown)}
        candidates = tuple(each for each in application.seen_origins if (each.origin, each.rp_id) in looked_at)
        kept, _ = split_seen(candidates, without=without)
        if not kept:
            raise NoOriginSeen(f"no origin was seen for {quoted(app_id)} that could be kept")
        left_out = tuple(each for each in application.seen_origins if each not in kept)
        return {
            "origins": tuple(each.origin for each in kept),
            "rp_ids": (*application.settings.rp_ids, *(each.rp_id for each in kept)),
        }

    # What was left out must not come back by itself when the application is opened and locked another time.
    settings = await decide(call, app_id, seen, ForgetOrigins())
    return settings, left_out


async def change_move(call: OperatorCall, app_id: str, moving: RpIdMigration | None) -> ApplicationSettings:
    """Begin a move from one rp id to another; None ends the one that is under way, and takes the old id off the list.

    Raises:
        ApplicationNotFound, RpIdMigrationInvalid, RpIdMalformed.
    """

    async def moved(application: Application) -> Mapping[str, Any]:
        settings = application.settings
        ended = settings.rp_id_migration
        if moving is not None or ended is None:
            return {"rp_id_migration": moving}
        kept = tuple(rp_id for rp_id in settings.rp_ids if rp_id != ended.old)
        return {"rp_id_migration": None, "rp_ids": kept}

    return await decide(call, app_id, moved)


async def forget_origins(call: OperatorCall, app_id: str) -> None:
    """Begin to learn anew.

    Raises:
        ApplicationNotFound.
    """
    await get_application(call, app_id)
    await call.root.tenant(app_id).commit(ForgetOrigins())
    call.directory.forget(app_id)


async def answer_for(call: OperatorCall, app_id: str, rp_id: str, *, leave: bool = False) -> None:
    """Answer `/.well-known/webauthn` at the host of an rp id with this application's origins; or no longer.

    INVARIANT: one application of a server answers for a host. Its list decides which pages may use the passkeys of
    that rp id, so a second application must not add to it.

    Raises:
        ApplicationNotFound, RpIdMalformed, RpIdAnswered.
    """
    application = await get_application(call, app_id)
    domain = parse_rp_id(rp_id)
    message = f"answers at the host `{domain}`: {'no longer' if leave else 'from now on'}"
    await call.root.tenant(app_id).commit(
        LeaveRpId(rp_id=domain) if leave else AnswerForRpId(rp_id=domain),
        *operator_log(call, application, EventType.ApiManagementSettingsChanged, message),
    )
    call.directory.forget(app_id)


async def related_origins(root: RootStore, host: str) -> tuple[str, ...]:
    """The origins that may use the passkeys of the rp id at this host (L3 #sctn-related-origins).

    Raises:
        NoRelatedOrigins.
    """
    app_id = await root.find_related_application(host)
    application = None if app_id is None else await root.tenant(app_id).find_application()
    if application is None:
        raise NoRelatedOrigins(f"no application answers for {quoted(host)}")
    # Browsers read https origins alone; an app's own origin is vouched for by other files.
    return tuple(origin for origin in application.settings.origins if origin.startswith("https://"))


@dataclass(slots=True)
class RpIdCount:
    """How far an rp id is in use."""

    rp_id: str
    credentials: int = 0
    users: int = 0


@dataclass(slots=True)
class RpIdSurvey:
    """Which rp ids the passkeys of an application belong to, and how far a move has come."""

    rp_ids: dict[str, RpIdCount] = field(default_factory=dict)
    users: int = 0
    not_moved: int = 0
    """Users who have passkeys for the old id and none for the new one."""
    moved: int = 0
    """Users who have one for the new id."""

    def by_use(self) -> list[RpIdCount]:
        """The rp ids, the one with most passkeys first."""
        return sorted(self.rp_ids.values(), key=lambda count: (-count.credentials, count.rp_id))


async def survey_rp_ids(call: OperatorCall, app_id: str) -> RpIdSurvey:
    """Count passkeys and users by rp id. Reads all passkeys, in portions.

    Raises:
        ApplicationNotFound.
    """
    application = await get_application(call, app_id)
    moving = application.settings.rp_id_migration
    survey = RpIdSurvey()
    async for _, credentials in credentials_by_user(call.root.tenant(app_id)):
        belongs = {credential.rp_id for credential in credentials}
        survey.users += 1
        for credential in credentials:
            survey.rp_ids.setdefault(credential.rp_id, RpIdCount(credential.rp_id)).credentials += 1
        for rp_id in belongs:
            survey.rp_ids[rp_id].users += 1
        if moving is not None:
            survey.moved += moving.new in belongs
            survey.not_moved += moving.old in belongs and moving.new not in belongs
    return survey
