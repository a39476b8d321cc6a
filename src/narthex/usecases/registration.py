"""Registration: a backend gives leave, a browser asks for options, an authenticator makes a credential.

`issue_register_token` stores nothing: a user exists once a credential or an alias does. `begin_registration`
hands out a challenge inside a sealed session. `finish_registration` verifies the answer and, in one
transaction, spends the session, spends the leave, keeps the credential and records the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from narthex.base.errors import Conflict, Malformed, Refusal, Rejected
from narthex.base.mail import parse_address
from narthex.ports.changes import AddCredential, CredentialExists, NonceSpent, ReplaceAliases, SpendNonce
from narthex.ports.records import AttestationEvidence, Credential, CredentialExtensions, EventType
from narthex.ports.store import MOST_CREDENTIALS
from narthex.tokens.payloads import RegisterToken, RegistrationSession, RequestedExtensions, refuse_expired
from narthex.tokens.sealed import TokenKind
from narthex.usecases.alias import alias_records, check_aliases, refuse_taken
from narthex.usecases.assurance import packed
from narthex.usecases.authenticator import anchor_digest, anchors_for, anchors_known, facts_of, key_identifiers
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.ceremony import (
    CHALLENGE_SIZE,
    SAME_RP_ID,
    SESSION_LIVES,
    assured,
    expected_origin,
    expected_rp_id,
    judge_authenticator,
    log_findings,
    note_origin,
    refuse_ceremony,
    require_origin,
)
from narthex.usecases.creation_options import (
    OFFERED_ALGORITHMS,
    USER_VERIFICATIONS,
    CreationOptions,
    allowed_attestation,
    attachment,
    conveyance,
    known_word,
)
from narthex.usecases.event import log
from narthex.usecases.limit import count_ceremony
from narthex.usecases.notice import new_passkey_notices
from narthex.usecases.sign_in_token import seal_sign_in_token
from narthex.usecases.token_key import DROPPED_AFTER, open_token, seal_token
from narthex.webauthn.assurance import Assurance, Method
from narthex.webauthn.authenticator_policy import REFUSING, Occasion, PasskeyLimitReached, offered_algorithms
from narthex.webauthn.errors import RpIdMismatch
from narthex.webauthn.messages import RegistrationResponse
from narthex.webauthn.registration import VerifiedRegistration, verify_registration
from narthex.webauthn.trust import TrustVerdict

REGISTER_TOKEN_LIVES = timedelta(seconds=120)
VERIFY_TOKEN_LIVES = timedelta(seconds=120)

# CTAP 2.1, section 6.4: PINs have 4 to 63 bytes.
_IMPOSSIBLE_PIN_LENGTH = 64
# So many registrations of one user may be under way at once before the limit is counted in the act itself: counting
# makes them wait for one another.
_SIDE_BY_SIDE = 64


class MissingUserId(Malformed):
    """The register token names no user."""

    code = "missing-userid"
    advice = "send `userId` to `/register/token`"


class ConditionalCreateUnverified(Malformed):
    """A passkey that is made without asking cannot require that its user be verified."""

    code, spec = "conditional-create-unverified", "WebAuthn L3 #sctn-createCredential"
    advice = "leave `userVerification` at `preferred`, or leave `conditionalCreate` out"


class MaxUsersReached(Rejected):
    """The application holds as many users as it may."""

    code = "max-users-reached"
    advice = "ask the operator to raise the application's limit, or delete users who left"


class TooManyCredentials(Rejected):
    """The user has as many passkeys as a user may have."""

    code = "too-many-credentials"
    advice = "delete passkeys that this user no longer uses"


class RegistrationRefused(Rejected):
    """The authenticator's answer did not pass verification; `reason` says which check refused it."""

    code = "fido2-invalid-registration"
    advice = "look `reason` up among the errors, and begin the registration again"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a backend asks for: one passkey, for one user."""

    user_id: str
    username: str
    display_name: str | None
    attestation: str | None
    authenticator_type: str | None
    discoverable: bool
    user_verification: str | None
    aliases: Sequence[str] | None
    alias_hashing: bool
    hints: Sequence[str]
    expires_at: datetime | None
    conditional: bool = False
    """Let the browser make the passkey without asking, after a sign-in with a password (`mediation: conditional`)."""
    extensions: RequestedExtensions | None = None
    notice_email: str = ""
    """Whom to tell by mail once the passkey is made, whatever the application's settings say; empty for nobody."""


async def issue_register_token(call: Call, enrolment: Enrolment) -> str:
    """Give leave to enrol one passkey.

    Raises:
        TooManyCredentials, PasskeyLimitReached, MaxUsersReached, InvalidAttestation, AttestationNotAllowed,
        EnterpriseAttestationNotAllowed, ConditionalCreateUnverified, AliasTaken, MailAddressInvalid, and what
        `check_aliases` raises.
    """
    aliases = check_aliases(enrolment.aliases or ())
    notice_email = parse_address(enrolment.notice_email) if enrolment.notice_email else ""
    kept = await call.store.list_credentials(enrolment.user_id)
    _refuse_too_many_credentials(call, len(kept))
    if not kept:  # A user who is here already may always add another passkey.
        await _refuse_too_many_users(call)
    attestation = allowed_attestation(call, enrolment.attestation)
    if enrolment.conditional and (enrolment.user_verification or "").lower() == "required":
        raise ConditionalCreateUnverified("a passkey cannot be made without asking and require user verification")
    await refuse_taken(call, enrolment.user_id, aliases)
    token = RegisterToken(
        token_id=time_ordered_id(call.now, call.random),
        expires_at=enrolment.expires_at or call.now + REGISTER_TOKEN_LIVES,
        user_id=enrolment.user_id,
        username=enrolment.username,
        display_name=enrolment.display_name or enrolment.username,
        attestation=attestation,
        authenticator_type=enrolment.authenticator_type or "any",
        discoverable=enrolment.discoverable,
        user_verification=enrolment.user_verification or "preferred",
        # None and none at all both leave the user's aliases as they are: the Python SDK always sends a list.
        aliases=aliases or None,
        alias_hashing=enrolment.alias_hashing,
        hints=tuple(enrolment.hints),
        conditional=enrolment.conditional,
        extensions=enrolment.extensions,
        notice_email=notice_email,
    )
    sealed = await seal_token(call, TokenKind.REGISTER, token)
    await _commit_event(call, EventType.ApiAuthUserRegistered, "leave to register a passkey given", enrolment.user_id)
    return sealed


async def begin_registration(
    call: Call, *, token: str | None, origin: str | None, rp_id: str | None
) -> tuple[CreationOptions, str]:
    """Answer a register token with creation options and a session.

    Raises:
        MissingToken, InvalidToken, InvalidTokenFormat, ExpiredToken, NonceSpent, OriginRequired, OriginNotAllowed,
        RpIdRequired, RpIdRefused, MissingUserId, RateLimited, TooManyCredentials, PasskeyLimitReached, InvalidArgument,
        and what `allowed_attestation` refuses, for the operator may have decided anew since the token was given.
    """
    leave = await open_token(call, token, TokenKind.REGISTER, RegisterToken)
    refuse_expired(leave.expires_at, now=call.now)
    # The commit at the end decides; asked now as well, so that no authenticator makes a passkey in vain.
    if await call.store.is_spent(leave.token_id):
        raise NonceSpent("the token was used before")
    expected_origin(call, origin)
    relying_party = expected_rp_id(call, rp_id)
    if not leave.user_id:
        raise MissingUserId("the register token names no user")
    await count_ceremony(call, leave.user_id)
    kept = await call.store.list_credentials(leave.user_id)
    _refuse_too_many_credentials(call, len(kept))
    options = CreationOptions(
        rp_id=relying_party,
        user_handle=leave.user_id.encode(),
        username=leave.username,
        display_name=leave.display_name,
        challenge=call.random(CHALLENGE_SIZE),
        attestation=conveyance(call, allowed_attestation(call, leave.attestation)),
        attachment=attachment(leave),
        discoverable=leave.discoverable,
        user_verification=known_word(leave.user_verification, USER_VERIFICATIONS, "user verification"),
        hints=leave.hints,
        exclude=kept,
        algorithms=offered_algorithms(call.application.settings.authenticator_policy, OFFERED_ALGORITHMS),
        conditional=leave.conditional,
        extensions=leave.extensions,
    )
    session = RegistrationSession(
        session_id=time_ordered_id(call.now, call.random),
        challenge=options.challenge,
        expires_at=call.now + SESSION_LIVES,
        rp_id=relying_party,
        user_id=leave.user_id,
        user_verification_required=options.user_verification == "required",
        register_token_id=leave.token_id,
        register_token_expires_at=leave.expires_at,
        aliases=leave.aliases,
        alias_hashing=leave.alias_hashing,
        conditional=leave.conditional,
        algorithms=tuple(options.algorithms),
        notice_email=leave.notice_email,
    )
    sealed = await seal_token(call, TokenKind.REGISTRATION_SESSION, session)
    await _commit_event(call, EventType.ApiAuthPasskeyRegistrationBegan, "passkey registration began", leave.user_id)
    return options, sealed


async def finish_registration(
    call: Call,
    *,
    session: str | None,
    origin: str | None,
    rp_id: str | None,
    nickname: str | None,
    response: RegistrationResponse,
) -> str:
    """Verify a new credential and keep it; answer with a sign-in token.

    Raises:
        MissingToken, InvalidToken, InvalidTokenFormat, ExpiredToken, OriginRequired, OriginNotAllowed, RpIdRefused,
        NonceSpent, RegistrationRefused, TooManyCredentials, PasskeyLimitReached, AliasTaken, or the refusal of the
        first rule of the authenticator policy that objects and is enforced.
    """
    ceremony = await open_token(call, session, TokenKind.REGISTRATION_SESSION, RegistrationSession)
    refuse_expired(ceremony.expires_at, now=call.now)
    require_origin(origin)
    try:
        page = expected_origin(call, origin)
        # Asked again, as the origin is: a session may have begun under lists that are decided anew since.
        expected_rp_id(call, ceremony.rp_id)
        verified = _verify(call, ceremony, origin=page, rp_id=rp_id, response=response)
        credential = _credential(call, ceremony, verified, origin=page, nickname=nickname, response=response)
        # Asked again, because registrations may begin side by side.
        kept = len(await call.store.list_credentials(ceremony.user_id))
        _refuse_too_many_credentials(call, kept)
        assurance = _judged(call, credential, verified, response, kept=kept)
        # Sealed before it is earned: once the session is spent, nothing that can fail may stand in its way.
        token = await _token(call, ceremony, credential, assurance)
        await _keep(call, ceremony, credential, assurance, response, kept=kept)
    except NonceSpent:
        raise
    except CredentialExists as e:
        if await call.store.find_credential(response.raw_id) is None:
            full = PasskeyLimitReached("registrations side by side left no room for this passkey")
            await _refuse(call, ceremony, full)
            raise full from e
        known = RegistrationRefused("this passkey is registered already", reason=e.code)
        await _refuse(call, ceremony, known)
        raise known from e
    except (Malformed, Rejected, Conflict) as refusal:
        await _refuse(call, ceremony, refusal)
        raise
    return token


async def _token(call: Call, ceremony: RegistrationSession, credential: Credential, assurance: Assurance) -> str:
    return await seal_sign_in_token(
        call,
        assurance,
        kind="passkey_register",
        user_id=ceremony.user_id,
        purpose=None,
        lives=VERIFY_TOKEN_LIVES,
        rp_id=ceremony.rp_id,
        origin=credential.origin,
        device=call.caller.device,
        country=call.caller.country,
        nickname=credential.nickname,
        credential_id=credential.credential_id,
    )


def _judged(
    call: Call, credential: Credential, verified: VerifiedRegistration, response: RegistrationResponse, *, kept: int
) -> Assurance:
    """Hold the new passkey against the application's policy, and write down what is known of it.

    Args:
        kept: how many passkeys the user has already.

    Raises:
        the refusal of the first rule of the policy that objects and is enforced.
    """
    facts = facts_of(credential, settings=call.application.settings, metadata=call.metadata, now=call.now)
    monitored = judge_authenticator(call, facts, occasion=Occasion.REGISTRATION, passkeys=kept)
    origin = credential.origin
    return assured(call, Method.REGISTRATION, credential, facts, verified, response, origin=origin, findings=monitored)


def _verify(
    call: Call, ceremony: RegistrationSession, *, origin: str, rp_id: str | None, response: RegistrationResponse
) -> VerifiedRegistration:
    settings = call.application.settings
    try:
        if rp_id is not None and rp_id != ceremony.rp_id:
            raise RpIdMismatch("the registration began with another rp id", advice=SAME_RP_ID)
        return verify_registration(
            response,
            challenge=ceremony.challenge,
            rp_id=ceremony.rp_id,
            origins=(origin,),
            top_origins=settings.top_origins,
            user_verification_required=ceremony.user_verification_required,
            user_presence_required=not ceremony.conditional,
            algorithms=ceremony.algorithms or OFFERED_ALGORITHMS,
            find_anchors=anchors_for(settings, call.metadata),
            now=call.now,
        )
    except (Malformed, Rejected) as e:
        raise RegistrationRefused(e.message, advice=e.advice, reason=e.code) from e


def _credential(
    call: Call,
    ceremony: RegistrationSession,
    verified: VerifiedRegistration,
    *,
    origin: str,
    nickname: str | None,
    response: RegistrationResponse,
) -> Credential:
    return Credential(
        credential_id=verified.credential_id,
        user_id=ceremony.user_id,
        user_handle=ceremony.user_id.encode(),
        public_key=verified.public_key,
        sign_count=verified.sign_count,
        attestation_format=verified.attestation.format,
        aaguid=verified.aaguid,
        rp_id=ceremony.rp_id,
        origin=origin,
        transports=tuple(verified.transports),
        backup_eligible=verified.backup_eligible,
        backup_state=verified.backup_state,
        user_verified=verified.user_verified,
        discoverable=verified.discoverable,
        nickname=nickname or None,
        device=call.caller.device,
        country=call.caller.country,
        created_at=call.now,
        last_used_at=call.now,
        alg=verified.alg,
        attestation_type=verified.attestation.type.value,
        trust=verified.trust.verdict,
        anchor=anchor_digest(verified.trust),
        key_identifiers=key_identifiers(verified.attestation),
        judged_with=anchors_known(call.application.settings, call.metadata),
        extensions=_extensions(verified, response),
    )


def _extensions(verified: VerifiedRegistration, response: RegistrationResponse) -> CredentialExtensions:
    """What the extensions said: the authenticator's signed outputs, and two words of the client."""
    signed = verified.extensions
    protection, length, secret = signed.get("credProtect"), signed.get("minPinLength"), signed.get("hmac-secret")
    return CredentialExtensions(
        cred_protect=protection if type(protection) is int and protection in (1, 2, 3) else None,
        min_pin_length=length if type(length) is int and 0 < length < _IMPOSSIBLE_PIN_LENGTH else None,
        hmac_secret=secret if isinstance(secret, bool) else None,
        prf=response.prf_enabled,
        large_blob=response.large_blob_supported,
    )


async def _keep(
    call: Call,
    ceremony: RegistrationSession,
    credential: Credential,
    assurance: Assurance,
    response: RegistrationResponse,
    *,
    kept: int,
) -> None:
    evidence = None
    if credential.trust is not TrustVerdict.NO_PATH:
        evidence = AttestationEvidence(response.attestation_object, response.client_data_json)
    aliases: tuple[ReplaceAliases, ...] = ()
    if ceremony.aliases is not None:
        records = alias_records(call, ceremony.aliases, hashing=ceremony.alias_hashing)
        aliases = (ReplaceAliases(user_id=ceremony.user_id, aliases=records),)
    seen, most = note_origin(call, credential.origin, credential.rp_id), _most_credentials(call)
    notices = await new_passkey_notices(call, ceremony, credential)
    await call.store.commit(
        SpendNonce(nonce=ceremony.session_id, expires_at=ceremony.expires_at),
        # INVARIANT: one leave enrols one passkey. A register token that leaks after its use is worth nothing.
        SpendNonce(nonce=ceremony.register_token_id, expires_at=_last_use(call, ceremony)),
        AddCredential(credential=credential, evidence=evidence, most=most if kept + _SIDE_BY_SIDE >= most else None),
        *aliases,
        *seen,
        *log(
            call,
            EventType.ApiAuthPasskeyRegistrationCompleted,
            "passkey registered",
            performed_by=ceremony.user_id,
            subject=call.application.app_id,
            assurance=packed(assurance),
        ),
        *log_findings(call, assurance, user_id=ceremony.user_id),
        *notices,
    )
    if seen:
        call.directory.forget(call.application.app_id)


def _last_use(call: Call, ceremony: RegistrationSession) -> datetime:
    """When the last session that the register token can have begun is over: its use is remembered till then."""
    return min(ceremony.register_token_expires_at, call.now + DROPPED_AFTER) + SESSION_LIVES


async def _refuse(call: Call, ceremony: RegistrationSession, refusal: Refusal) -> None:
    await refuse_ceremony(
        call,
        refusal,
        nonce=ceremony.session_id,
        expires_at=ceremony.expires_at,
        event_type=EventType.ApiAuthPasskeyRegistrationRefused,
        subject=ceremony.user_id,
    )


async def _commit_event(call: Call, event_type: EventType, message: str, user_id: str) -> None:
    changes = log(call, event_type, message, performed_by=user_id, subject=call.application.app_id)
    if changes:
        await call.store.commit(*changes)


def _most_credentials(call: Call) -> int:
    """How many passkeys a user may have."""
    policy = call.application.settings.authenticator_policy
    if policy.passkeys_per_user in REFUSING[Occasion.REGISTRATION]:
        return min(policy.most_passkeys, MOST_CREDENTIALS)
    return MOST_CREDENTIALS


def _refuse_too_many_credentials(call: Call, kept: int) -> None:
    """No authenticator shall make a passkey that is one too many."""
    if kept >= MOST_CREDENTIALS:
        raise TooManyCredentials(f"the user has {MOST_CREDENTIALS} passkeys, which is the most")
    if kept >= (most := _most_credentials(call)):
        raise PasskeyLimitReached(f"the user has {kept} passkeys, and the application allows {most}")


async def _refuse_too_many_users(call: Call) -> None:
    most = call.application.settings.max_users
    if most is not None and await call.store.has_users(most):
        raise MaxUsersReached(f"the application may hold {most} users, and it does")
