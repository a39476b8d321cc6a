"""The authenticator policy of an application, and what it would do to those who are enrolled."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec

from narthex.base.values import to_base64url
from narthex.http.authenticate import Access
from narthex.http.body import Rule
from narthex.http.routes.passwordless.shapes import AcceptLockOut, Answer, Request, told
from narthex.http.routing import route
from narthex.ports.records import TrustAnchor
from narthex.usecases.application import get_application
from narthex.usecases.authenticator_policy import change_anchors, change_policy
from narthex.usecases.call import OperatorCall
from narthex.usecases.policy_report import Objection, PolicyReport, report_on
from narthex.webauthn.authenticator_policy import MEMBERS, AuthenticatorPolicy, Mode
from narthex.webauthn.metadata import FidoLevel


def _broken_mode(value: str | None) -> str | None:
    if value is not None and value not in set(Mode):
        return f"{{}} must be any of {', '.join(Mode)}."
    return None


def _broken_level(value: str | None) -> str | None:
    if value is not None and value not in FidoLevel.__members__:
        return f"{{}} must be any of {', '.join(FidoLevel.__members__)}."
    return None


_MODE = Rule(_broken_mode, {"enum": [str(mode) for mode in Mode]})
_LEVEL = Rule(_broken_level, {"enum": list(FidoLevel.__members__)})
_Mode = str | None


class AuthenticatorPolicyBody(Request):
    """What to decide anew: a mode for a rule, or what it measures by. What is left out stays as it is."""

    allow_list: _Mode = None
    deny_list: _Mode = None
    bad_status: _Mode = None
    attestation: _Mode = None
    device_bound: _Mode = None
    certification: _Mode = None
    minimum_certification: str | None = None
    fips: _Mode = None
    minimum_fips: int | None = None
    fresh_metadata: _Mode = None
    algorithms: _Mode = None
    allowed_algorithms: list[int] | None = None
    passkeys_per_user: _Mode = None
    most_passkeys: int | None = None
    accept_lock_out: AcceptLockOut = None

    rules: ClassVar = {
        **dict.fromkeys(MEMBERS.values(), (_MODE,)),
        "minimum_certification": (_LEVEL,),
    }

    def changes(self) -> dict[str, Any]:
        """By the name of the policy's member: what was given."""
        members = {field.name: getattr(self, field.name) for field in msgspec.structs.fields(AuthenticatorPolicy)}
        given = {name: value for name, value in members.items() if value is not None}
        modes = set(MEMBERS.values())
        return {
            name: Mode(value) if name in modes else tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
        }


class AuthenticatorPolicyAnswer(Answer):
    """The policy: a mode for each rule, and what it measures by."""

    allow_list: str
    deny_list: str
    bad_status: str
    attestation: str
    device_bound: str
    certification: str
    minimum_certification: str
    fips: str
    minimum_fips: int
    fresh_metadata: str
    algorithms: str
    allowed_algorithms: list[int]
    passkeys_per_user: str
    most_passkeys: int


class RuleCountAnswer(Answer):
    """What one rule would do by itself, if it were enforced."""

    rule: str
    mode: str
    credentials: Annotated[int, told("Passkeys it objects to.")]
    users: Annotated[int, told("Users who have such a passkey.")]
    locked_out: Annotated[int, told("Users who have no other.")]


class ObjectionAnswer(Answer):
    """A passkey to which the policy objects."""

    user_id: str
    credential_id: str
    aa_guid: str
    model: str | None
    rules: list[str]


class PolicyReportAnswer(Answer):
    """What the policy would do to the passkeys that are enrolled, if every rule that is on were enforced."""

    credentials: int
    users: int
    refused: Annotated[int, told("Passkeys to which a rule objects.")]
    locked_out: Annotated[int, told("Users who would have no passkey left.")]
    rules: list[RuleCountAnswer]
    objections: Annotated[list[ObjectionAnswer], told("The first hundred.")]
    locked_out_users: Annotated[list[str], told("The first hundred.")]


class TrustAnchorBody(msgspec.Struct, rename="camel"):
    """A certificate that may vouch for authenticators, beside those of the metadata."""

    name: str | None = None
    certificate: str | None = None
    aa_guids: list[str] | None = None
    hardware: bool | None = None


def _broken_anchors(value: list[TrustAnchorBody] | None) -> str | None:
    if value is None:
        return "The {} field is required."
    for anchor in value:
        if not anchor.name or not anchor.certificate:
            return "{} must each have a name and a certificate."
        if not _is_base64(anchor.certificate):
            return "{} must have certificates as DER in base64."
    return None


class TrustAnchorsBody(Request):
    """The anchors that the application shall have; they replace those that it has."""

    anchors: list[TrustAnchorBody] | None = None
    accept_lock_out: AcceptLockOut = None

    rules: ClassVar = {"anchors": (Rule(_broken_anchors, needed=True),)}


class TrustAnchorAnswer(Answer):
    """An anchor of the application's own."""

    name: str
    certificate: str
    aa_guids: list[str]
    hardware: bool


@route(
    "GET",
    "/admin/apps/{app_id}/authenticator-policy",
    access=Access.MANAGEMENT_KEY,
    answer=AuthenticatorPolicyAnswer,
)
async def get_policy(call: OperatorCall, app_id: str) -> AuthenticatorPolicyAnswer:
    """What the application asks of authenticators."""
    return _policy((await get_application(call, app_id)).settings.authenticator_policy)


@route(
    "POST",
    "/admin/apps/{app_id}/authenticator-policy",
    access=Access.MANAGEMENT_KEY,
    body=AuthenticatorPolicyBody,
    answer=AuthenticatorPolicyAnswer,
)
async def set_policy(call: OperatorCall, body: AuthenticatorPolicyBody, app_id: str) -> AuthenticatorPolicyAnswer:
    """Decide what the application asks of authenticators. What would lock users out is refused until it is accepted."""
    changed = await change_policy(call, app_id, accept_lock_out=body.accept_lock_out is True, **body.changes())
    return _policy(changed)


@route(
    "POST",
    "/admin/apps/{app_id}/authenticator-policy/report",
    access=Access.MANAGEMENT_KEY,
    body=AuthenticatorPolicyBody,
    answer=PolicyReportAnswer,
)
async def report_policy(call: OperatorCall, body: AuthenticatorPolicyBody, app_id: str) -> PolicyReportAnswer:
    """What the policy, with these changes, would do to those who are enrolled. Nothing is decided."""
    return report_answer(await report_on(call, app_id, **body.changes()))


@route("GET", "/admin/apps/{app_id}/trust-anchors", access=Access.MANAGEMENT_KEY, answer=list[TrustAnchorAnswer])
async def get_anchors(call: OperatorCall, app_id: str) -> list[TrustAnchorAnswer]:
    """The anchors of the application's own."""
    return [_anchor(anchor) for anchor in (await get_application(call, app_id)).settings.trust_anchors]


@route(
    "POST",
    "/admin/apps/{app_id}/trust-anchors",
    access=Access.MANAGEMENT_KEY,
    body=TrustAnchorsBody,
    answer=list[TrustAnchorAnswer],
    most_body_bytes=1024 * 1024,
)
async def set_anchors(call: OperatorCall, body: TrustAnchorsBody, app_id: str) -> list[TrustAnchorAnswer]:
    """Decide which anchors of its own the application has."""
    anchors = tuple(
        TrustAnchor(
            name=each.name or "",
            certificate=each.certificate or "",
            aaguids=tuple(each.aa_guids or ()),
            hardware=each.hardware is True,
        )
        for each in body.anchors or ()
    )
    kept = await change_anchors(call, app_id, lambda _: anchors, accept_lock_out=body.accept_lock_out is True)
    return [_anchor(anchor) for anchor in kept]


def _policy(policy: AuthenticatorPolicy) -> AuthenticatorPolicyAnswer:
    members = msgspec.structs.asdict(policy)
    return AuthenticatorPolicyAnswer(**{**members, "allowed_algorithms": list(policy.allowed_algorithms)})


def report_answer(report: PolicyReport) -> PolicyReportAnswer:
    """A report as HTTP, and the command line with `--json`, tell it."""
    return PolicyReportAnswer(
        credentials=report.credentials,
        users=report.users,
        refused=report.refused,
        locked_out=report.locked_out,
        rules=[
            RuleCountAnswer(
                rule=count.rule,
                mode=count.mode,
                credentials=count.credentials,
                users=count.users,
                locked_out=count.locked_out,
            )
            for count in report.rules
        ],
        objections=[_objection(objection) for objection in report.objections],
        locked_out_users=report.locked_out_users,
    )


def _objection(objection: Objection) -> ObjectionAnswer:
    return ObjectionAnswer(
        user_id=objection.user_id,
        credential_id=to_base64url(objection.credential_id),
        aa_guid=str(UUID(bytes=objection.aaguid)),
        model=objection.model,
        rules=list(objection.rules),
    )


def _anchor(anchor: TrustAnchor) -> TrustAnchorAnswer:
    return TrustAnchorAnswer(
        name=anchor.name,
        certificate=anchor.certificate,
        aa_guids=list(anchor.aaguids),
        hardware=anchor.hardware,
    )


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except ValueError:
        return False
