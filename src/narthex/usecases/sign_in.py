"""Sign-in: the hottest path of the house.

`begin_sign_in` writes nothing: the challenge travels inside a sealed session. `finish_sign_in` reads one
credential, verifies purely, and commits once: the session is spent, the credential touched and the event
recorded together, or nothing is. A refusal spends the session as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from narthex.base.errors import Malformed, Refusal, Rejected
from narthex.ports.changes import Change, CredentialChanged, NonceSpent, SpendNonce, TouchConfiguration, TouchCredential
from narthex.ports.records import AuthenticationConfiguration, Credential, EventType, Oddity
from narthex.tokens.payloads import SignInSession, refuse_expired
from narthex.tokens.sealed import TokenKind
from narthex.usecases.alias import alias_mac
from narthex.usecases.assurance import packed
from narthex.usecases.authenticator import facts_of, rejudged
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.ceremony import (
    AUTOFILL_SESSION_LIVES,
    BACKUP_ELIGIBILITY,
    CHALLENGE_SIZE,
    SAME_RP_ID,
    SESSION_LIVES,
    SIGN_COUNT,
    assured,
    expected_origin,
    expected_rp_id,
    judge_authenticator,
    log_findings,
    note_origin,
    refuse_ceremony,
    require_origin,
)
from narthex.usecases.decoy import decoy, decoy_seed
from narthex.usecases.event import log
from narthex.usecases.limit import count_ceremony
from narthex.usecases.sign_in_token import seal_sign_in_token
from narthex.usecases.tenant import PRESETS
from narthex.usecases.token_key import open_token, seal_token
from narthex.usecases.user import LONGEST_USER_ID_BYTES
from narthex.webauthn.assurance import Assurance, Method
from narthex.webauthn.authentication import StoredCredential, VerifiedAssertion, verify_assertion
from narthex.webauthn.authenticator import AuthenticatorFacts
from narthex.webauthn.authenticator_policy import Occasion
from narthex.webauthn.errors import CredentialNotAllowed, RpIdMismatch
from narthex.webauthn.messages import AuthenticationResponse

# The purpose's row is one for the whole application: written at each sign-in it would be the one row that
# all of them wait for.
_PURPOSE_USE_IS_NOTED_EVERY = timedelta(minutes=1)
"""That of a user handle (L3 #user-handle)."""


class UnknownCredential(Rejected):
    """The application keeps no credential of this id."""

    code = "unknown-credential"
    advice = "tell the user that this passkey is no longer accepted, and offer another way in"


class SignInRefused(Rejected):
    """The authenticator's answer did not pass verification; `reason` says which check refused it."""

    code = "signin-complete-error"
    advice = "look `reason` up among the errors, and begin the sign-in again"


@dataclass(frozen=True, slots=True)
class AllowedCredential:
    """A credential that may answer: what the browser is told of it."""

    credential_id: bytes
    transports: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What the browser must be told to get an assertion (L3 #dictdef-publickeycredentialrequestoptions)."""

    rp_id: str
    challenge: bytes
    user_verification: str
    hints: Sequence[str]
    allow: Sequence[AllowedCredential]


async def begin_sign_in(
    call: Call,
    *,
    user_id: str | None,
    alias: str | None,
    purpose: str | None,
    origin: str | None,
    rp_id: str | None,
    user_verification: str | None = None,
) -> tuple[RequestOptions, str]:
    """Answer with request options and a session. An unknown user or alias is no error, and looks like none.

    Args:
        user_verification: instead of what the purpose says (L3 #enumdef-userverificationrequirement). Nothing that a
            client of the public API sends may end up here: it would lower what the application asks.

    Raises:
        OriginRequired, OriginNotAllowed, RpIdRequired, RpIdRefused, RateLimited.
    """
    expected_origin(call, origin)
    asked_rp_id = expected_rp_id(call, rp_id)
    configuration = _configuration(call, purpose)
    asked = await _asked_user(call, user_id, alias)
    if asked or alias:
        # An alias that names nobody is counted too: else its never being refused would tell that it names nobody.
        await count_ceremony(call, asked or f"alias {alias_mac(call, alias or '').hex()}")
    relying_party, allowed = await _allowed_credentials(call, asked, asked_rp_id)
    anybody = not (user_id or alias)
    seed = None
    if call.application.settings.conceal_unknown_users and not anybody:
        # Kept for true users too, who need none: with it the session would be longer for those who are not here.
        seed = decoy_seed(call, user_id=user_id, alias=alias, rp_id=asked_rp_id)
    if seed is not None and not allowed:
        relying_party = _decoy_rp_id(call, seed, asked_rp_id)
        if relying_party != asked_rp_id:
            # What the old page would be told: a passkey is the same one on both.
            seed = decoy_seed(call, user_id=user_id, alias=alias, rp_id=relying_party)
        allowed = [_allowed(decoy(call, seed, user_id=user_id, rp_id=relying_party))]
    # A sign-in for a user who has no passkey here is open to anybody's, as the compatible API has it. Any other
    # purpose is about the user who was asked for, and nobody else can serve it.
    bound = not anybody and (bool(allowed) or configuration.purpose != "sign-in")
    bound_to = (asked or "") if bound else None
    options = RequestOptions(
        rp_id=relying_party,
        challenge=call.random(CHALLENGE_SIZE),
        user_verification=user_verification or configuration.user_verification,
        hints=configuration.hints,
        allow=allowed,
    )
    session = SignInSession(
        session_id=time_ordered_id(call.now, call.random),
        challenge=options.challenge,
        expires_at=call.now + (AUTOFILL_SESSION_LIVES if anybody else SESSION_LIVES),
        rp_id=relying_party,
        user_id=bound_to,
        user_verification_required=options.user_verification == "required",
        purpose=configuration.purpose,
        decoy=seed,
        asked_rp_id=None if relying_party == asked_rp_id else asked_rp_id,
        filler=b"" if seed is None else _filler(bound_to or ""),
    )
    return options, await seal_token(call, TokenKind.SIGN_IN_SESSION, session)


async def finish_sign_in(
    call: Call, *, session: str | None, origin: str | None, rp_id: str | None, response: AuthenticationResponse
) -> str:
    """Verify an assertion; answer with a sign-in token for the credential's owner, whoever was asked for.

    Raises:
        OriginRequired, OriginNotAllowed, RpIdRefused, MissingToken, InvalidToken, InvalidTokenFormat, ExpiredToken,
        UnknownCredential, RateLimited, SignInRefused, NonceSpent, or the refusal of the first rule of the authenticator
        policy that objects and is enforced.
    """
    require_origin(origin)
    ceremony = await open_token(call, session, TokenKind.SIGN_IN_SESSION, SignInSession)
    refuse_expired(ceremony.expires_at, now=call.now)
    credential = await _find_credential(call, ceremony, response.raw_id)
    if credential is not None:
        await count_ceremony(call, credential.user_id)
    try:
        page = expected_origin(call, origin)
        # Asked again, as the origin is: a session may have begun under lists that are decided anew since.
        expected_rp_id(call, ceremony.asked_rp_id or ceremony.rp_id)
        if credential is None:
            raise UnknownCredential("we don't recognize the passkey you sent us", credentialId=response.id)
        verified = _verify(call, ceremony, credential, origin=page, rp_id=rp_id, response=response)
        settings, metadata = call.application.settings, call.metadata
        credential, judgement = await rejudged(
            credential, store=call.store, settings=settings, metadata=metadata, now=call.now
        )
        facts, findings = _judge(call, credential, verified)
        assurance = assured(call, Method.PASSKEY, credential, facts, verified, response, origin=page, findings=findings)
        # Sealed before it is earned: once the session is spent, nothing that can fail may stand in its way.
        token = await _token(call, ceremony, credential, assurance, origin=page)
        await _record(call, ceremony, credential, verified, assurance, judgement)
    except NonceSpent:
        raise
    except CredentialChanged as e:
        # The counter moved on while we verified: to the client it is the counter that did not rise.
        changed = SignInRefused(e.message, advice=e.advice, reason=e.code)
        await _refuse(call, ceremony, credential, changed)
        raise changed from e
    except (Malformed, Rejected) as refusal:
        await _refuse(call, ceremony, credential, refusal)
        raise
    return token


async def _token(
    call: Call, ceremony: SignInSession, credential: Credential, assurance: Assurance, *, origin: str
) -> str:
    return await seal_sign_in_token(
        call,
        assurance,
        kind="passkey_signin",
        user_id=credential.user_id,
        purpose=ceremony.purpose,
        lives=timedelta(seconds=_configuration(call, ceremony.purpose).time_to_live_s),
        rp_id=ceremony.rp_id,
        origin=origin,
        device=call.caller.device,
        country=call.caller.country,
        nickname=credential.nickname,
        credential_id=credential.credential_id,
    )


def _judge(
    call: Call, credential: Credential, verified: VerifiedAssertion
) -> tuple[AuthenticatorFacts, tuple[str, ...]]:
    """What is known of the authenticator, and what was noticed and let pass.

    Raises:
        the refusal of the first rule of the application's policy that objects and is enforced.
    """
    facts = facts_of(
        credential,
        settings=call.application.settings,
        metadata=call.metadata,
        now=call.now,
        # Once exportable, always exportable: what left the device stays outside.
        backup_eligible=bool(credential.backup_eligible) or verified.backup_eligible,
    )
    monitored = judge_authenticator(call, facts, occasion=Occasion.SIGN_IN)
    odd = {SIGN_COUNT: verified.sign_count_stalled, BACKUP_ELIGIBILITY: verified.backup_eligibility_changed}
    noticed = [name for name, is_odd in odd.items() if is_odd]
    return facts, (*noticed, *monitored)


def _configuration(call: Call, purpose: str | None) -> AuthenticationConfiguration:
    # An unknown purpose gets the built-in settings and is recorded as a sign-in, never as what it was called.
    return call.tenant.configuration(purpose or "sign-in") or PRESETS["sign-in"]


async def _asked_user(call: Call, user_id: str | None, alias: str | None) -> str | None:
    if user_id:
        return user_id
    if alias:
        return await call.store.find_alias_user(alias_mac(call, alias))
    return None


async def _allowed_credentials(call: Call, user_id: str | None, rp_id: str) -> tuple[str, list[AllowedCredential]]:
    """The rp id to ask the browser for, and the user's credentials that belong to it.

    While a relying party moves, a user who has none for the new id yet is asked for those of the old one: browsers
    allow that where the old host's list of related origins names the page (L3 #sctn-related-origins).
    """
    if user_id is None:
        return rp_id, []
    kept = await call.store.list_credentials(user_id)
    moving = call.application.settings.rp_id_migration
    for candidate in (rp_id, moving.old) if moving is not None and moving.new == rp_id else (rp_id,):
        allowed = [_allowed(credential) for credential in kept if credential.rp_id == candidate]
        if allowed:
            return candidate, allowed
    return rp_id, []


def _filler(user_id: str) -> bytes:
    """As many bytes as the longest user id has more. MessagePack spends one less on the length of a text below 32."""
    size = len(user_id.encode())
    return bytes(max(0, LONGEST_USER_ID_BYTES - size + (size < 32)))


def _decoy_rp_id(call: Call, seed: bytes, rp_id: str) -> str:
    """While a relying party moves, half of the decoys have not moved yet, as many a true user has not."""
    moving = call.application.settings.rp_id_migration
    return moving.old if moving is not None and moving.new == rp_id and seed[1] % 2 else rp_id


def _allowed(credential: Credential) -> AllowedCredential:
    return AllowedCredential(credential.credential_id, credential.transports)


async def _find_credential(call: Call, ceremony: SignInSession, credential_id: bytes) -> Credential | None:
    found = await call.store.find_credential(credential_id)
    if found is None and ceremony.decoy is not None:
        offered = decoy(call, ceremony.decoy, user_id=ceremony.user_id, rp_id=ceremony.rp_id)
        return offered if offered.credential_id == credential_id else None
    return found


def _verify(
    call: Call,
    ceremony: SignInSession,
    credential: Credential,
    *,
    origin: str,
    rp_id: str | None,
    response: AuthenticationResponse,
) -> VerifiedAssertion:
    settings = call.application.settings
    try:
        if rp_id not in (None, ceremony.rp_id, ceremony.asked_rp_id):
            raise RpIdMismatch("the sign-in began with another rp id", advice=SAME_RP_ID)
        if ceremony.user_id not in (None, credential.user_id):
            raise CredentialNotAllowed("this passkey belongs to another user than the sign-in asked for")
        if credential.rp_id != ceremony.rp_id:
            raise CredentialNotAllowed("this passkey was made for another rp id")
        return verify_assertion(
            response,
            credential=StoredCredential(
                credential_id=credential.credential_id,
                public_key=credential.public_key,
                sign_count=credential.sign_count,
                user_handle=credential.user_handle,
                backup_eligible=credential.backup_eligible,
            ),
            challenge=ceremony.challenge,
            rp_id=ceremony.rp_id,
            origins=(origin,),
            top_origins=settings.top_origins,
            user_verification_required=ceremony.user_verification_required,
            sign_count_must_rise=settings.sign_count_stalled is Oddity.REFUSE,
            backup_eligibility_fixed=settings.backup_eligibility_changed is Oddity.REFUSE,
        )
    except (Malformed, Rejected) as e:
        raise SignInRefused(e.message, advice=e.advice, reason=e.code) from e


async def _record(
    call: Call,
    ceremony: SignInSession,
    credential: Credential,
    verified: VerifiedAssertion,
    assurance: Assurance,
    judgement: list[Change],
) -> None:
    snapshot = [
        *_purpose_use(call, _configuration(call, ceremony.purpose)),
        *note_origin(call, assurance.origin or "", ceremony.rp_id),
    ]
    await call.store.commit(
        SpendNonce(nonce=ceremony.session_id, expires_at=ceremony.expires_at),
        TouchCredential(
            credential_id=credential.credential_id,
            sign_count=verified.sign_count,
            backup_state=verified.backup_state,
            user_verified=verified.user_verified,
            device=call.caller.device,
            country=call.caller.country,
            used_at=call.now,
            backup_eligible=bool(credential.backup_eligible) or verified.backup_eligible,
            sign_count_may_stall=call.application.settings.sign_count_stalled is Oddity.FLAG,
        ),
        *judgement,
        *snapshot,
        *log(
            call,
            EventType.ApiUserSignInCompleted,
            f"signed in for `{ceremony.purpose}`",
            performed_by=credential.user_id,
            subject=call.application.app_id,
            assurance=packed(assurance),
        ),
        *log_findings(call, assurance, user_id=credential.user_id),
    )
    if snapshot:
        call.directory.forget(call.application.app_id)


def _purpose_use(call: Call, configuration: AuthenticationConfiguration) -> list[Change]:
    noted_at = configuration.last_used_at
    if noted_at is not None and call.now < noted_at + _PURPOSE_USE_IS_NOTED_EVERY:
        return []
    used = msgspec.structs.replace(configuration, last_used_at=call.now)
    return [TouchConfiguration(configuration=used, make=configuration.purpose in PRESETS)]


async def _refuse(call: Call, ceremony: SignInSession, credential: Credential | None, refusal: Refusal) -> None:
    await refuse_ceremony(
        call,
        refusal,
        nonce=ceremony.session_id,
        expires_at=ceremony.expires_at,
        event_type=EventType.ApiUserSignInRefused,
        subject=credential.user_id if credential else ceremony.user_id or "",
    )
