"""What an application asks of authenticators: its lists of models, its rules, and anchors of its own.

Whatever would take away the last passkey of a user is refused until it is accepted: `policy_report` says whom.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from narthex.base.errors import Forbidden, Malformed
from narthex.ports.changes import (
    ApplicationGone,
    Change,
    DelistAuthenticators,
    ExpectSettings,
    ListAuthenticators,
    SettingsChanged,
)
from narthex.ports.records import Application, EventType, ListedAuthenticator, TrustAnchor
from narthex.usecases.application import checked_settings, decide, get_application
from narthex.usecases.authenticator import own_anchors
from narthex.usecases.call import Call, OperatorCall
from narthex.usecases.event import log, operator_log
from narthex.usecases.policy_report import Standpoint, operators_standpoint, refuse_lock_out
from narthex.webauthn.authenticator_policy import AuthenticatorPolicy, checked

MOST_LISTED_MODELS = 1_000
# Each may read all passkeys of the application.
_TRIES = 5


class AttestationNotOffered(Forbidden):
    """The application does not use attestation, so it has no lists of models."""

    code = "attestation-not-supported-on-plan"
    advice = "ask the operator to allow attestation for this application"


class UnknownModel(Malformed):
    """An AAGUID is not that of a model in the FIDO metadata, or is named twice."""

    code = "unknown-authenticator"
    advice = "use AAGUIDs from `/mds/entries`, each once; `narthex metadata show` says whether there is metadata"


class TooManyModels(Malformed):
    """The lists of an application are full."""

    code = "too-many-authenticators"
    advice = "remove models from the lists first"


# --- lists of models ----------------------------------------------------------------------------------------------


def list_models(call: Call, *, allowed: bool) -> list[ListedAuthenticator]:
    """The models that the application allows, or denies.

    Raises:
        AttestationNotOffered.
    """
    _require_attestation(call)
    return [listed for listed in call.application.authenticators if listed.is_allowed is allowed]


async def add_models(call: Call, aaguids: Sequence[UUID], *, allowed: bool, accept_lock_out: bool = False) -> None:
    """Allow models, or deny them; what was said of them before is overwritten.

    Raises:
        AttestationNotOffered, UnknownModel, TooManyModels, LockOutNotAccepted, SettingsChanged.
    """
    _require_attestation(call)
    if len(set(aaguids)) < len(aaguids):
        raise UnknownModel("an AAGUID is named twice")
    for aaguid in aaguids:
        if call.metadata.find(aaguid.bytes) is None and not _is_vouched_for(call.application, aaguid):
            raise UnknownModel(f"`{aaguid}` is not the AAGUID of a model that we know")
    await _change_own_lists(call, aaguids, allowed=allowed, accept_lock_out=accept_lock_out)


async def remove_models(call: Call, aaguids: Sequence[UUID], *, accept_lock_out: bool = False) -> None:
    """Take models from either list; those that are on none are ignored.

    Raises:
        AttestationNotOffered, LockOutNotAccepted, SettingsChanged.
    """
    _require_attestation(call)
    await _change_own_lists(call, aaguids, allowed=None, accept_lock_out=accept_lock_out)


async def _change_own_lists(
    call: Call, aaguids: Sequence[UUID], *, allowed: bool | None, accept_lock_out: bool
) -> None:
    """What an application's backend does to its own lists."""
    await _list_models(
        Standpoint(call.store, call.metadata, call.now),
        call.application.app_id,
        aaguids,
        allowed=allowed,
        accept_lock_out=accept_lock_out,
        events=partial(log, call, performed_by="Unknown User", subject=call.application.app_id),
    )
    call.directory.forget(call.application.app_id)


async def operate_models(
    call: OperatorCall, app_id: str, aaguids: Sequence[UUID], *, allowed: bool | None, accept_lock_out: bool = False
) -> Application:
    """The same by the operator, who may name models that the metadata does not know.

    Args:
        allowed: None takes them from either list.

    Raises:
        ApplicationNotFound, TooManyModels, LockOutNotAccepted, SettingsChanged.
    """
    application = await get_application(call, app_id)
    await _list_models(
        operators_standpoint(call, app_id),
        app_id,
        aaguids,
        allowed=allowed,
        accept_lock_out=accept_lock_out,
        events=partial(operator_log, call, application),
    )
    call.directory.forget(app_id)
    return await get_application(call, app_id)


async def _list_models(
    standpoint: Standpoint,
    app_id: str,
    aaguids: Sequence[UUID],
    *,
    allowed: bool | None,
    accept_lock_out: bool,
    events: Callable[[EventType, str], Sequence[Change]],
) -> None:
    raw = tuple(dict.fromkeys(aaguid.bytes for aaguid in aaguids))
    change: Change = DelistAuthenticators(aaguids=raw)
    if allowed is not None:
        change = ListAuthenticators(aaguids=raw, is_allowed=allowed, created_at=standpoint.now)
    event_type, place = _EVENTS_OF_LISTS[allowed]
    for _ in range(_TRIES):
        application = await standpoint.store.find_application()
        if application is None:
            raise ApplicationGone("the application is gone")
        after = _with_models(application, raw, allowed=allowed, now=standpoint.now)
        if not accept_lock_out:
            await refuse_lock_out(standpoint, application, after)
        # A policy that is decided meanwhile was asked about without these models, and these models without it.
        with contextlib.suppress(SettingsChanged):
            await standpoint.store.commit(
                ExpectSettings(application.settings_version),
                change,
                *events(event_type, f"{len(raw)} authenticator models {place}"),
            )
            return
    raise SettingsChanged(f"the settings of `{app_id}` are being changed by others at the same time")


def _with_models(application: Application, raw: Sequence[bytes], *, allowed: bool | None, now: datetime) -> Application:
    kept = tuple(each for each in application.authenticators if each.aaguid not in raw)
    if allowed is not None:
        kept += tuple(ListedAuthenticator(aaguid, allowed, now) for aaguid in raw)
    if len(kept) > MOST_LISTED_MODELS:
        raise TooManyModels(f"an application lists at most {MOST_LISTED_MODELS} models")
    return msgspec.structs.replace(application, authenticators=kept)


_EVENTS_OF_LISTS = {
    True: (EventType.ApiAuthenticatorsAllowlisted, "put on the allow list"),
    False: (EventType.ApiAuthenticatorsBlacklisted, "put on the deny list"),
    None: (EventType.ApiAuthenticatorsDelisted, "taken from the lists"),
}


def _require_attestation(call: Call) -> None:
    if not call.application.settings.allow_attestation:
        raise AttestationNotOffered("attestation is not enabled for this application")


def _is_vouched_for(application: Application, aaguid: UUID) -> bool:
    """Whether an anchor of the application's own names the model."""
    return any(aaguid.bytes in anchor.aaguids for anchor in own_anchors(application.settings.trust_anchors))


# --- the policy, and anchors --------------------------------------------------------------------------------------


async def change_policy(
    call: OperatorCall, app_id: str, *, accept_lock_out: bool = False, **changes: Any
) -> AuthenticatorPolicy:
    """Decide anew what is named, and leave the rest as it is.

    Args:
        changes: members of `AuthenticatorPolicy`.
        accept_lock_out: enforce it also where users are left without a passkey that signs them in.

    Raises:
        ApplicationNotFound, PolicyInvalid, LockOutNotAccepted, SettingsChanged.
    """

    async def decided(application: Application) -> Mapping[str, Any]:
        policy = checked(msgspec.structs.replace(application.settings.authenticator_policy, **changes))
        return await _unless_locked_out(call, application, accept_lock_out, authenticator_policy=policy)

    return (await decide(call, app_id, decided)).authenticator_policy


async def change_anchors(
    call: OperatorCall,
    app_id: str,
    changed: Callable[[tuple[TrustAnchor, ...]], tuple[TrustAnchor, ...]],
    *,
    accept_lock_out: bool = False,
) -> tuple[TrustAnchor, ...]:
    """Decide which anchors of its own the application has.

    Args:
        changed: given those that it has, those that it shall have.

    Raises:
        ApplicationNotFound, TrustAnchorInvalid, LockOutNotAccepted, SettingsChanged.
    """

    async def decided(application: Application) -> Mapping[str, Any]:
        anchors = changed(application.settings.trust_anchors)
        checked_settings(msgspec.structs.replace(application.settings, trust_anchors=anchors))
        return await _unless_locked_out(call, application, accept_lock_out, trust_anchors=anchors)

    return (await decide(call, app_id, decided)).trust_anchors


async def _unless_locked_out(
    call: OperatorCall, application: Application, accept_lock_out: bool, **changes: Any
) -> Mapping[str, Any]:
    settings = msgspec.structs.replace(application.settings, **changes)
    if not accept_lock_out and settings != application.settings:
        standpoint = operators_standpoint(call, application.app_id)
        await refuse_lock_out(standpoint, application, msgspec.structs.replace(application, settings=settings))
    return changes
