"""What an authenticator policy would do to the passkeys that are enrolled, before it does.

A rule that refuses sign-ins can lock people out. The report says whom: for every rule that is on, how many passkeys it
objects to, and how many users have no other. Every passkey is judged as its next sign-in would judge it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from narthex.base.errors import Conflict
from narthex.ports.records import Application, ApplicationSettings, Credential
from narthex.ports.store import TenantStore
from narthex.usecases.application import get_application
from narthex.usecases.authenticator import facts_of, rejudged
from narthex.usecases.call import OperatorCall
from narthex.usecases.credential import credentials_by_user
from narthex.webauthn.authenticator_policy import (
    MEMBERS,
    RULES,
    AuthenticatorPolicy,
    Mode,
    Occasion,
    checked,
    judge,
    mode_of,
)
from narthex.webauthn.metadata import Metadata

MOST_SHOWN = 100
"""How many passkeys and users a report names; it counts them all."""


class LockOutNotAccepted(Conflict):
    """The policy would leave users without a passkey that signs them in."""

    code = "policy-locks-out"
    advice = "look at the report; enforce for new passkeys only, or say that you accept it"


@dataclass(frozen=True, slots=True)
class Standpoint:
    """Whose passkeys are judged, by which metadata, and when."""

    store: TenantStore
    metadata: Metadata
    now: datetime


def operators_standpoint(call: OperatorCall, app_id: str) -> Standpoint:
    return Standpoint(call.root.tenant(app_id), call.catalog.current, call.now)


@dataclass(frozen=True, slots=True)
class Court:
    """A policy with all that it is judged by."""

    policy: AuthenticatorPolicy
    settings: ApplicationSettings
    allowed: frozenset[bytes]
    denied: frozenset[bytes]
    rules: tuple[str, ...]
    """Those that are on."""

    @classmethod
    def of(cls, application: Application, policy: AuthenticatorPolicy) -> Court:
        return cls(
            policy=policy,
            settings=application.settings,
            allowed=frozenset(each.aaguid for each in application.authenticators if each.is_allowed),
            denied=frozenset(each.aaguid for each in application.authenticators if not each.is_allowed),
            rules=tuple(rule for rule in RULES if mode_of(policy, rule) is not Mode.OFF),
        )

    async def objection_to(self, credential: Credential, standpoint: Standpoint) -> Objection:
        """Judge a passkey as its next sign-in would."""
        settings, metadata, now = self.settings, standpoint.metadata, standpoint.now
        judged, changes = await rejudged(
            credential, store=standpoint.store, settings=settings, metadata=metadata, now=now
        )
        if changes:
            await asyncio.sleep(0)  # A signature was checked, which takes a millisecond: now others have their turn.
        facts = facts_of(judged, settings=settings, metadata=metadata, now=now)
        verdict = judge(
            self.policy,
            facts,
            occasion=Occasion.SIGN_IN,
            allowed=self.allowed,
            denied=self.denied,
            metadata_fresh=not metadata.is_stale(now),
            passkeys=0,
        )
        return Objection(
            user_id=credential.user_id,
            credential_id=credential.credential_id,
            aaguid=credential.aaguid,
            model=facts.entry.name if facts.entry is not None else None,
            rules=tuple(finding.rule for finding in verdict.findings),
        )

    async def objects_to(self, credential: Credential, standpoint: Standpoint) -> bool:
        """Whether any rule that is on objects to a passkey."""
        return bool(self.rules and (await self.objection_to(credential, standpoint)).rules)


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
    """What the policy says of a passkey."""

    user_id: str
    credential_id: bytes
    aaguid: bytes
    model: str | None
    rules: tuple[str, ...]
    """Those that object; none if it is welcome."""


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


async def report_on(call: OperatorCall, app_id: str, *, only_enforced: bool = False, **changes: Any) -> PolicyReport:
    """Hold every passkey of an application against its policy.

    Reads them all, in portions: other requests have their turn between them.

    Args:
        only_enforced: leave out the rules that refuse no sign-in.
        changes: members of `AuthenticatorPolicy` to change first; nothing is decided.

    Raises:
        ApplicationNotFound, PolicyInvalid.
    """
    application = await get_application(call, app_id)
    policy = checked(msgspec.structs.replace(application.settings.authenticator_policy, **changes))
    settings = msgspec.structs.replace(application.settings, authenticator_policy=policy)
    application = msgspec.structs.replace(application, settings=settings)
    court = Court.of(application, enforced_part(application) if only_enforced else policy)
    report = PolicyReport(rules=[RuleCount(rule, mode_of(policy, rule)) for rule in court.rules])
    standpoint = operators_standpoint(call, app_id)
    async for user_id, credentials in credentials_by_user(standpoint.store):
        _count(report, user_id, [await court.objection_to(each, standpoint) for each in credentials])
    return report


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


async def refuse_lock_out(standpoint: Standpoint, before: Application, after: Application) -> None:
    """Refuse what takes away the last passkey of a user who has one now; who has none already is not asked about."""
    now, then = Court.of(before, enforced_part(before)), Court.of(after, enforced_part(after))
    if not then.rules:
        return
    users = locked_out = 0
    async for _, credentials in credentials_by_user(standpoint.store):
        users += 1
        if all([await then.objects_to(each, standpoint) for each in credentials]):
            locked_out += not all([await now.objects_to(each, standpoint) for each in credentials])
    if locked_out:
        raise LockOutNotAccepted(
            f"{locked_out} of {users} users would have no passkey left that signs them in",
            lockedOut=locked_out,
            users=users,
        )


def enforced_part(application: Application) -> AuthenticatorPolicy:
    """The application's policy without the rules that refuse no sign-in."""
    policy = application.settings.authenticator_policy
    off = {member: Mode.OFF for rule, member in MEMBERS.items() if mode_of(policy, rule) is not Mode.ENFORCE}
    return msgspec.structs.replace(policy, **off)
