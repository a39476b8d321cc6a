"""What registration and sign-in share: where a ceremony may come from, what it proved, and how it is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from narthex.base.errors import Malformed, Refusal, Rejected, quoted
from narthex.ports.changes import Change, NonceSpent, NoteOrigin, SpendNonce
from narthex.ports.records import Credential, EventType, RpIdMigration
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.event import log
from narthex.webauthn.assurance import Assurance, Method, assure
from narthex.webauthn.authentication import VerifiedAssertion
from narthex.webauthn.authenticator import AuthenticatorFacts
from narthex.webauthn.authenticator_policy import Occasion, judge
from narthex.webauthn.errors import OriginNotAllowed
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.origin import canonical_origin, is_rp_id_of, is_web_origin, parse_rp_id
from narthex.webauthn.registration import VerifiedRegistration

CHALLENGE_SIZE = 32
SESSION_LIVES = timedelta(minutes=10)
AUTOFILL_SESSION_LIVES = timedelta(hours=24)
"""A page may wait in autofill all day before its user touches the key."""
MOST_SEEN_ORIGINS = 100
_ORIGIN_IS_NOTED_EVERY = timedelta(hours=1)

SAME_RP_ID = "send the same `rpid` when a ceremony begins and when it completes"


SIGN_COUNT, BACKUP_ELIGIBILITY = "sign-count", "backup-eligibility"
_ODDITIES = {
    SIGN_COUNT: "the signature counter did not rise: the authenticator may have been copied",
    BACKUP_ELIGIBILITY: "the backup eligibility of the passkey changed, which it never should",
}
"""What an application may let pass, and what the event log says of it."""


class OriginRequired(Malformed):
    """The request does not say which page it comes from."""

    code = "origin-required"
    advice = "send `origin`, as `window.location.origin` gives it"


class RpIdRequired(Malformed):
    """The request does not name the relying party."""

    code = "rp-id-required"
    advice = "send `rpid`, as `window.location.hostname` gives it"


class RpIdRefused(Rejected):
    """No origin of the application lies under this relying party id, or it is not on the application's list."""

    code = "rp-id-not-allowed"
    advice = "send an rp id that is on the application's list, or the host of one of its origins, or a parent of it"


def require_origin(origin: str | None) -> str:
    """The origin as it was sent.

    Raises:
        OriginRequired: there is none.
    """
    if not origin or not origin.strip():
        raise OriginRequired("origin is required")
    return origin


def expected_origin(call: Call, origin: str | None) -> str:
    """The origin that the client data must name, checked against the application's list.

    Raises:
        OriginRequired, OriginNotAllowed, or the webauthn room's own refusal of what is no origin.
    """
    sent = require_origin(origin)
    allowed = call.application.settings.origins
    if sent in allowed:
        return sent  # What stands on the list is canonical already.
    canonical = canonical_origin(sent)
    if allowed and canonical not in allowed:
        raise OriginNotAllowed(
            f"origin {quoted(canonical)} is not on the application's list of origins",
            advice="open the page at an origin that is on the list, or have the operator add this one",
        )
    return canonical


def expected_rp_id(call: Call, rp_id: str | None) -> str:
    """The relying party id of a ceremony, checked against the application's list of origins.

    Raises:
        RpIdRequired, RpIdRefused, or the webauthn room's own refusal of what is no domain.
    """
    if not rp_id:
        raise RpIdRequired("rpid is required")
    domain = parse_rp_id(rp_id)
    settings = call.application.settings
    if settings.rp_ids:
        if domain not in settings.rp_ids:
            raise RpIdRefused(f"rp id `{domain}` is not on the application's list of rp ids")
    elif not _covers_any(domain, settings.origins):
        raise RpIdRefused(f"rp id `{domain}` covers none of the application's origins")
    return domain


@lru_cache(maxsize=1024)
def _covers_any(rp_id: str, origins: tuple[str, ...]) -> bool:
    """Whether a web origin of the list lies under the rp id; a list without web origins asks for nothing."""
    web_origins = [origin for origin in origins if is_web_origin(origin)]
    return not web_origins or any(is_rp_id_of(rp_id, origin) for origin in web_origins)


def note_origin(call: Call, origin: str, rp_id: str) -> list[Change]:
    """Remember where a verified ceremony took place, while the application takes them from anywhere.

    The owner of a passkey can forge origins, and what is noted is proposed as a list of whom to trust. So it is a
    web page only if it lies under the rp id, or under the one that the relying party moves to; whoever uses related
    origins lists them by hand. And it is bounded: the first to be seen stay.
    """
    settings = call.application.settings
    if settings.origins or not _may_belong(origin, rp_id, settings.rp_id_migration):
        return []
    seen = call.application.seen_origins
    known = next((each for each in seen if (each.origin, each.rp_id) == (origin, rp_id)), None)
    fresh = known is not None and call.now < known.last_seen_at + _ORIGIN_IS_NOTED_EVERY
    if fresh or (known is None and len(seen) >= MOST_SEEN_ORIGINS):
        return []
    return [NoteOrigin(origin=origin, rp_id=rp_id, seen_at=call.now)]


def _may_belong(origin: str, rp_id: str, moving: RpIdMigration | None) -> bool:
    if not is_web_origin(origin):
        return True
    new = moving.new if moving is not None and moving.old == rp_id else rp_id
    return is_rp_id_of(rp_id, origin) or is_rp_id_of(new, origin)


async def refuse_ceremony(
    call: Call, refusal: Refusal, *, nonce: bytes, expires_at: datetime, event_type: EventType, subject: str
) -> None:
    """Record that a ceremony failed, and spend its session: a second try begins anew.

    Raises:
        NonceSpent: the session was spent before. That is then the answer, whatever the reason: a spent session must
            not go on telling what passes verification and what does not.
    """
    reason = refusal.details.get("reason", refusal.code)
    message = f"{refusal.message} ({reason})"
    line = log(call, event_type, message, performed_by=subject, subject=call.application.app_id, reason=reason)
    try:
        await call.store.commit(SpendNonce(nonce=nonce, expires_at=expires_at), *line)
    except NonceSpent:
        if line:
            await call.store.commit(*line)
        raise


def judge_authenticator(
    call: Call, facts: AuthenticatorFacts, *, occasion: Occasion, passkeys: int = 0
) -> tuple[str, ...]:
    """Hold an authenticator against the application's policy; gives the rules that objected and let it pass.

    Args:
        passkeys: how many the user has already; looked at for registrations only.
    Raises:
        the refusal of the first rule that objects and is enforced.
    """
    verdict = judge(
        call.application.settings.authenticator_policy,
        facts,
        occasion=occasion,
        allowed=call.tenant.allowed_models,
        denied=call.tenant.denied_models,
        metadata_fresh=not call.metadata.is_stale(call.now),
        passkeys=passkeys,
    )
    if verdict.refusal is not None:
        raise verdict.refusal
    return verdict.monitored


def assured(
    call: Call,
    method: Method,
    credential: Credential,
    facts: AuthenticatorFacts,
    verified: VerifiedRegistration | VerifiedAssertion,
    response: RegistrationResponse | AuthenticationResponse,
    *,
    origin: str,
    findings: tuple[str, ...],
) -> Assurance:
    """Write down what a ceremony proved, now."""
    return assure(
        method,
        assurance_id=time_ordered_id(call.now, call.random),
        facts=facts,
        up=verified.user_present,
        uv=verified.user_verified,
        be=verified.backup_eligible,
        bs=verified.backup_state,
        credential_id=credential.credential_id,
        credential_created_at=credential.created_at,
        rp_id=credential.rp_id,
        origin=origin,
        transports=credential.transports,
        attachment=response.attachment,
        auth_time=call.now,
        ip=call.caller.address,
        device=call.caller.device,
        mds_number=call.metadata.number,
        mds_stale=call.metadata.is_stale(call.now),
        findings=findings,
        fips_required=call.application.settings.fips_for_aal3,
    )


def log_findings(call: Call, assurance: Assurance, *, user_id: str) -> list[Change]:
    """The changes that record what was noticed and let pass, one event each."""
    return [
        change
        for finding in assurance.findings
        for change in log(
            call,
            EventType.ApiUserSignInFlagged if finding in _ODDITIES else EventType.ApiAuthenticatorPolicyObjected,
            _ODDITIES.get(finding, f"the rule `{finding}` objects to the passkey, and is only monitored"),
            performed_by=user_id,
            subject=call.application.app_id,
        )
    ]
