"""What an application asks of authenticators: its lists of models, its rules, and what they would do to its users.

A rule that refuses sign-ins can lock people out. Before one is enforced, the report says whom: for every rule that is
on, how many passkeys it objects to, and how many users have no other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from narthex.base.errors import Conflict, Forbidden, Malformed
from narthex.ports.changes import DelistAuthenticators, ListAuthenticators
from narthex.ports.records import Application, Credential, EventType, ListedAuthenticator
from narthex.usecases.application import change_settings, get_application, operator_event
from narthex.usecases.authenticator import facts_of, rejudged
from narthex.usecases.call import Call, OperatorCall
from narthex.usecases.ceremony import log
from narthex.usecases.credential import credentials_by_user
from narthex.webauthn.authenticator_policy import (
    RULES,
    AuthenticatorPolicy,
    Mode,
    Occasion,
    checked,
    judge,
    mode_of,
)

MOST_LISTED_MODELS = 1_000
MOST_SHOWN = 100
"""How many passkeys and users a report names; it counts them all."""
_MEASURES = {"certification": "minimum_certification", "fips": "minimum_fips", "algorithms": "allowed_algorithms"}
"""Rule → by what it measures at a sign-in: a member of the policy."""


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


class LockOutNotAccepted(Conflict):
    """The policy would leave users without a passkey that signs them in."""

    code = "policy-locks-out"
    advice = "look at the report; enforce for new passkeys only, or say that you accept it"


# --- lists of models ----------------------------------------------------------------------------------------------


def list_models(call: Call, *, allowed: bool) -> list[ListedAuthenticator]:
    """The models that the application allows, or denies.

    Raises:
        AttestationNotOffered.
    """
    _require_attestation(call)
    return [listed for listed in call.application.authenticators if listed.is_allowed is allowed]


async def add_models(call: Call, aaguids: Sequence[UUID], *, allowed: bool) -> None:
    """Allow models, or deny them; what was said of them before is overwritten.

    Raises:
        AttestationNotOffered, UnknownModel, TooManyModels.
    """
    _require_attestation(call)
    if len(set(aaguids)) < len(aaguids):
        raise UnknownModel("an AAGUID is named twice")
    named_by_anchors = {UUID(aaguid) for anchor in call.application.settings.trust_anchors for aaguid in anchor.aaguids}
    for aaguid in aaguids:
        if call.metadata.find(aaguid.bytes) is None and aaguid not in named_by_anchors:
            raise UnknownModel(f"`{aaguid}` is not the AAGUID of a model that we know")
    _refuse_too_many(call.application, [aaguid.bytes for aaguid in aaguids])
    await call.store.commit(
        ListAuthenticators(aaguids=tuple(each.bytes for each in aaguids), is_allowed=allowed, created_at=call.now),
        *log(
            call,
            EventType.ApiAuthenticatorsAllowlisted if allowed else EventType.ApiAuthenticatorsBlacklisted,
            f"{len(aaguids)} authenticator models put on the {'allow' if allowed else 'deny'} list",
            performed_by="Unknown User",
            subject=call.application.app_id,
        ),
    )
    call.directory.forget(call.application.app_id)


async def remove_models(call: Call, aaguids: Sequence[UUID]) -> None:
    """Take models from either list; those that are on none are ignored.

    Raises:
        AttestationNotOffered.
    """
    _require_attestation(call)
    await call.store.commit(
        DelistAuthenticators(aaguids=tuple(each.bytes for each in aaguids)),
        *log(
            call,
            EventType.ApiAuthenticatorsDelisted,
            f"{len(aaguids)} authenticator models taken from the lists",
            performed_by="Unknown User",
            subject=call.application.app_id,
        ),
    )
    call.directory.forget(call.application.app_id)


async def operate_models(
    call: OperatorCall, app_id: str, aaguids: Sequence[UUID], *, allowed: bool | None
) -> Application:
    """The same by the operator, who may name models that the metadata does not know.

    Args:
        allowed: None takes them from either list.

    Raises:
        ApplicationNotFound, TooManyModels.
    """
    application = await get_application(call, app_id)
    raw = tuple(dict.fromkeys(aaguid.bytes for aaguid in aaguids))
    if allowed is not None:
        _refuse_too_many(application, raw)
    kind = EventType.ApiAuthenticatorsDelisted
    if allowed is not None:
        kind = EventType.ApiAuthenticatorsAllowlisted if allowed else EventType.ApiAuthenticatorsBlacklisted
    await call.root.tenant(app_id).commit(
        DelistAuthenticators(aaguids=raw)
        if allowed is None
        else ListAuthenticators(aaguids=raw, is_allowed=allowed, created_at=call.now),
        *operator_event(call, app_id, application.settings, kind, f"{len(raw)} authenticator models, by the operator"),
    )
    call.directory.forget(app_id)
    return await get_application(call, app_id)


def _require_attestation(call: Call) -> None:
    if not call.application.settings.allow_attestation:
        raise AttestationNotOffered("attestation is not enabled for this application")


def _refuse_too_many(application: Application, added: Collection[bytes]) -> None:
    listed = {listed.aaguid for listed in application.authenticators} | set(added)
    if len(listed) > MOST_LISTED_MODELS:
        raise TooManyModels(f"an application lists at most {MOST_LISTED_MODELS} models")


# --- the policy ---------------------------------------------------------------------------------------------------


async def change_policy(
    call: OperatorCall, app_id: str, *, accept_lock_out: bool = False, **changes: Any
) -> AuthenticatorPolicy:
    """Decide anew what is named, and leave the rest as it is.

    Args:
        changes: members of `AuthenticatorPolicy`.
        accept_lock_out: enforce it also where users are left without a passkey that signs them in.

    Raises:
        ApplicationNotFound, PolicyInvalid, LockOutNotAccepted.
    """
    application = await get_application(call, app_id)
    old = application.settings.authenticator_policy
    policy = checked(msgspec.structs.replace(old, **changes))
    if policy == old:
        return old
    if not accept_lock_out and any(_refuses_anew(old, policy, rule) for rule in RULES):
        enforced = _only_enforced(policy)
        report = await report_on(call, app_id, enforced)
        if report.locked_out:
            raise LockOutNotAccepted(
                f"{report.locked_out} of {report.users} users would have no passkey left that signs them in",
                lockedOut=report.locked_out,
                users=report.users,
            )
    await change_settings(call, app_id, authenticator_policy=policy)
    return policy


def _refuses_sign_ins(policy: AuthenticatorPolicy, rule: str) -> bool:
    return mode_of(policy, rule) is Mode.ENFORCE


def _refuses_anew(old: AuthenticatorPolicy, new: AuthenticatorPolicy, rule: str) -> bool:
    """Whether sign-ins may be refused that were not: what was accepted once is not asked about at every change."""
    measure = _MEASURES.get(rule, rule.replace("-", "_"))
    same = _refuses_sign_ins(old, rule) and getattr(old, measure) == getattr(new, measure)
    return _refuses_sign_ins(new, rule) and not same


def _only_enforced(policy: AuthenticatorPolicy) -> AuthenticatorPolicy:
    """The policy without the rules that refuse no sign-in."""
    off = {rule.replace("-", "_"): Mode.OFF for rule in RULES if not _refuses_sign_ins(policy, rule)}
    return msgspec.structs.replace(policy, **off)


# --- the report ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class RuleCount:
    """What one rule would do by itself, if it were enforced."""

    rule: str
    mode: Mode
    credentials: int = 0
    """Passkeys it objects to."""
    users: int = 0
    """Users who have such a passkey."""
    locked_out: int = 0
    """Users who have no other."""


@dataclass(frozen=True, slots=True)
class Objection:
    """A passkey to which the policy objects."""

    user_id: str
    credential_id: bytes
    aaguid: bytes
    model: str | None
    rules: tuple[str, ...]


@dataclass(slots=True)
class PolicyReport:
    """What a policy would do to the passkeys that are enrolled, if every rule that is on were enforced."""

    rules: list[RuleCount]
    credentials: int = 0
    users: int = 0
    refused: int = 0
    """Passkeys to which a rule objects."""
    locked_out: int = 0
    """Users who would have no passkey left."""
    objections: list[Objection] = field(default_factory=list)
    """The first `MOST_SHOWN` of them."""
    locked_out_users: list[str] = field(default_factory=list)
    """The first `MOST_SHOWN` of them."""


async def report_on(call: OperatorCall, app_id: str, policy: AuthenticatorPolicy | None = None) -> PolicyReport:
    """Hold every passkey of an application against a policy; None for the one it has.

    Reads them all, in portions: other requests have their turn between them.

    Raises:
        ApplicationNotFound, PolicyInvalid.
    """
    application = await get_application(call, app_id)
    policy = checked(policy or application.settings.authenticator_policy)
    on = [rule for rule in RULES if mode_of(policy, rule) is not Mode.OFF]
    report = PolicyReport(rules=[RuleCount(rule, mode_of(policy, rule)) for rule in on])
    async for user_id, credentials in credentials_by_user(call.root.tenant(app_id)):
        judged = [await _objections(call, application, policy, each, len(credentials)) for each in credentials]
        _count(report, user_id, judged)
    return report


async def _objections(
    call: OperatorCall, application: Application, policy: AuthenticatorPolicy, credential: Credential, passkeys: int
) -> Objection:
    settings, metadata = application.settings, call.catalog.current
    store = call.root.tenant(application.app_id)
    credential, _ = await rejudged(credential, store=store, settings=settings, metadata=metadata, now=call.now)
    facts = facts_of(credential, settings=settings, metadata=metadata, now=call.now)
    verdict = judge(
        policy,
        facts,
        occasion=Occasion.SIGN_IN,
        allowed=frozenset(each.aaguid for each in application.authenticators if each.is_allowed),
        denied=frozenset(each.aaguid for each in application.authenticators if not each.is_allowed),
        metadata_fresh=not metadata.is_stale(call.now),
        passkeys=passkeys,
    )
    return Objection(
        user_id=credential.user_id,
        credential_id=credential.credential_id,
        aaguid=credential.aaguid,
        model=facts.entry.name if facts.entry is not None else None,
        rules=tuple(finding.rule for finding in verdict.findings),
    )


def _count(report: PolicyReport, user_id: str, judged: Sequence[Objection]) -> None:
    refused = [objection for objection in judged if objection.rules]
    report.users += 1
    report.credentials += len(judged)
    report.refused += len(refused)
    report.objections += refused[: MOST_SHOWN - len(report.objections)]
    if len(refused) == len(judged):
        report.locked_out += 1
        report.locked_out_users += [user_id][: MOST_SHOWN - len(report.locked_out_users)]
    for count in report.rules:
        hit = sum(count.rule in objection.rules for objection in judged)
        count.credentials += hit
        count.users += hit > 0
        count.locked_out += hit == len(judged)
