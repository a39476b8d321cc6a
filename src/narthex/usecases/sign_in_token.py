"""Sign-in tokens: what a backend verifies, and what it may make by hand where the application allows it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from narthex.base.errors import Forbidden
from narthex.ports.changes import SpendNonce
from narthex.ports.records import EventType
from narthex.tokens.payloads import VerifyToken, refuse_expired
from narthex.tokens.sealed import TokenKind
from narthex.usecases.assurance import packed
from narthex.usecases.call import Call, time_ordered_id
from narthex.usecases.event import log
from narthex.usecases.notice import recovery_notices
from narthex.usecases.token_key import open_token, seal_token
from narthex.webauthn.assurance import Assurance, Method, unproven

DEFAULT_LIVES_S = 120
LONGEST_LIVES_S = 604_800
MAGIC_LINK_TYPE = "magic_link"
"""The `type` of a token that a link from a mail brought."""


class ManualTokensOff(Forbidden):
    """The application does not make sign-in tokens by hand."""

    code = "manual-tokens-off"
    advice = "ask the operator to enable manually generated sign-in tokens for this application"


async def verify_sign_in_token(call: Call, token: str | None) -> VerifyToken:
    """Read a sign-in token and, unless the application allows otherwise, spend it.

    Raises:
        MissingToken, InvalidToken, InvalidTokenFormat, ExpiredToken, NonceSpent.
    """
    verified = await open_token(call, token, TokenKind.VERIFY, VerifyToken)
    refuse_expired(verified.expires_at, now=call.now)
    changes = log(
        call,
        EventType.ApiUserSignInVerified,
        f"sign-in token verified ({verified.type})",
        performed_by=verified.user_id,
        subject=call.application.app_id,
    )
    if call.application.settings.single_use_verify_tokens:
        changes = [SpendNonce(nonce=verified.token_id, expires_at=verified.expires_at), *changes]
    if verified.type == MAGIC_LINK_TYPE:
        changes += await recovery_notices(call, verified)
    if changes:
        await call.store.commit(*changes)
    return verified


async def seal_sign_in_token(
    call: Call, assurance: Assurance, *, kind: str, user_id: str, purpose: str | None, lives: timedelta, **facts: Any
) -> str:
    """Make a sign-in token as of now.

    Args:
        assurance: the record that it carries. Both have one id, by which they are found together.
        facts: further members of `VerifyToken`: what the ceremony, if there was one, is known by.
    """
    token = VerifyToken(
        token_id=assurance.assurance_id,
        expires_at=call.now + lives,
        type=kind,
        user_id=user_id,
        timestamp=call.now,
        purpose=purpose,
        assurance=packed(assurance),
        **facts,
    )
    return await seal_token(call, TokenKind.VERIFY, token)


async def issue_manual_token(
    call: Call, *, user_id: str, time_to_live_s: int, purpose: str, rp_id: str | None, origin: str | None
) -> str:
    """Make a sign-in token without a ceremony. The user need not exist.

    Args:
        time_to_live_s: 1 … `LONGEST_LIVES_S`.

    Raises:
        ManualTokensOff.
    """
    if not call.application.settings.manual_tokens:
        raise ManualTokensOff("manually generated sign-in tokens are disabled for this application")
    sealed = await seal_sign_in_token(
        call,
        _by_hand(call, rp_id=rp_id, origin=origin),
        kind="generated_signin",
        user_id=user_id,
        purpose=purpose,
        lives=timedelta(seconds=time_to_live_s),
        rp_id=rp_id,
        origin=origin,
    )
    changes = log(
        call,
        EventType.ApiUserSigninTokenCreated,
        f"sign-in token made by hand for `{purpose}`",
        performed_by=user_id,
        subject=call.application.app_id,
    )
    if changes:
        await call.store.commit(*changes)
    return sealed


def _by_hand(call: Call, *, rp_id: str | None, origin: str | None) -> Assurance:
    """The backend says who it is, and nothing shows that."""
    return unproven(
        Method.MANUAL,
        assurance_id=time_ordered_id(call.now, call.random),
        auth_time=call.now,
        rp_id=rp_id,
        origin=origin,
        mds_number=call.metadata.number,
        mds_stale=call.metadata.is_stale(call.now),
    )
