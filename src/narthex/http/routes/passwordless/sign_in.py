"""Sign-in endpoints of the compatible API (its sections 6.3, 6.4, 7.2 and 7.3)."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from narthex.base.values import to_base64url
from narthex.http.authenticate import Access
from narthex.http.body import Body, between, bytes_of, public_key_type, required
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.registration import BeginAnswer
from narthex.http.routes.passwordless.shapes import Answer, TokenAnswer, instant_z, options_credential
from narthex.http.routing import route
from narthex.ports.records import Scope
from narthex.tokens.payloads import VerifyToken
from narthex.usecases import sign_in, sign_in_token
from narthex.usecases.call import Call
from narthex.usecases.sign_in import RequestOptions
from narthex.usecases.sign_in_token import DEFAULT_LIVES_S, LONGEST_LIVES_S
from narthex.webauthn.messages import AuthenticationResponse

_TIMEOUT_MS = 60_000


class SignInBeginBody(Body):
    """Who wants to sign in, for what, and from which page. All of it but the page is optional."""

    user_id: str | None = None
    alias: str | None = None
    purpose: str | None = None
    origin: str | None = None
    rpid: str | None = None


class AssertionResponseBody(msgspec.Struct, rename="camel"):
    """What the authenticator answered (L3 #dictdef-authenticatorassertionresponsejson)."""

    authenticator_data: str | None = None
    client_data_json: str | None = msgspec.field(name="clientDataJSON", default=None)
    signature: str | None = None
    user_handle: str | None = None


class AssertionCredentialBody(msgspec.Struct, rename="camel"):
    """The assertion as the browser hands it over (L3 #dictdef-authenticationresponsejson)."""

    id: str | None = None
    raw_id: str | None = None
    type: str | None = None
    response: AssertionResponseBody | None = None


class SignInCompleteBody(Body):
    """The session of a sign-in, and the authenticator's answer."""

    session: str | None = None
    response: AssertionCredentialBody | None = None
    origin: str | None = None
    rpid: str | None = None

    rules: ClassVar = {"response": (required,)}


class VerifyBody(Body):
    """A sign-in token."""

    token: str | None = None


class GenerateTokenBody(Body):
    """Whom to make a sign-in token for, and how long it counts."""

    user_id: str | None = None
    time_to_live_seconds: int | None = msgspec.field(name="timeToLive", default=None)
    purpose: str | None = None
    rpid: str | None = None
    origin: str | None = None

    rules: ClassVar = {"user_id": (required,), "time_to_live_seconds": (between(1, LONGEST_LIVES_S),)}


class VerifiedAnswer(Answer):
    """Who signed in. Failures are error statuses: `success` is never false."""

    success: bool
    user_id: str
    timestamp: str
    rp_id: str | None
    rpid: str | None
    origin: str
    device: str
    country: str
    nickname: str | None
    credential_id: str
    purpose: str | None
    expires_at: str
    token_id: str
    type: str


@route(
    "POST",
    "/signin/begin",
    access=Access.PUBLIC_KEY,
    scope=Scope.LOGIN,
    body=SignInBeginBody,
    answer=BeginAnswer,
)
async def signin_begin(call: Call, body: SignInBeginBody) -> BeginAnswer:
    """Get the options of `navigator.credentials.get`, and a session. Unknown users are answered like known ones."""
    options, session = await sign_in.begin_sign_in(
        call, user_id=body.user_id, alias=body.alias, purpose=body.purpose, origin=body.origin, rp_id=body.rpid
    )
    return BeginAnswer(data=request_options_json(options), session=session)


@route(
    "POST",
    "/signin/complete",
    access=Access.PUBLIC_KEY,
    scope=Scope.LOGIN,
    body=SignInCompleteBody,
    answer=TokenAnswer,
)
async def signin_complete(call: Call, body: SignInCompleteBody) -> TokenAnswer:
    """Verify the assertion. The answer is a sign-in token for your backend to verify, once."""
    token = await sign_in.finish_sign_in(
        call,
        session=body.session,
        origin=body.origin,
        rp_id=body.rpid,
        response=_response(body.response or AssertionCredentialBody()),
    )
    return TokenAnswer(token=token)


@route(
    "POST",
    "/signin/verify",
    access=Access.SECRET_KEY,
    scope=Scope.TOKEN_VERIFY,
    body=VerifyBody,
    answer=VerifiedAnswer,
)
async def signin_verify(call: Call, body: VerifyBody) -> VerifiedAnswer:
    """Learn who signed in, from the token that the browser brought. A token is accepted once."""
    return verified_json(await sign_in_token.verify_sign_in_token(call, body.token))


@route(
    "POST",
    "/signin/generate-token",
    access=Access.SECRET_KEY,
    scope=Scope.TOKEN_VERIFY,
    body=GenerateTokenBody,
    answer=TokenAnswer,
)
async def signin_generate_token(call: Call, body: GenerateTokenBody) -> TokenAnswer:
    """Make a sign-in token without a passkey, for a user whom you know by other means."""
    token = await sign_in_token.issue_manual_token(
        call,
        user_id=body.user_id or "",
        time_to_live_s=DEFAULT_LIVES_S if body.time_to_live_seconds is None else body.time_to_live_seconds,
        purpose=body.purpose or "sign-in",
        rp_id=body.rpid,
        origin=body.origin,
    )
    return TokenAnswer(token=token)


def request_options_json(options: RequestOptions) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptions as browsers take it."""
    return {
        "challenge": to_base64url(options.challenge),
        "timeout": _TIMEOUT_MS,
        "rpId": options.rp_id,
        "allowCredentials": [options_credential(each.credential_id, each.transports) for each in options.allow],
        "userVerification": options.user_verification,
        "hints": list(options.hints),
    }


def verified_json(token: VerifyToken) -> VerifiedAnswer:
    """Both spellings of the rp id, and no null where the Python SDK cannot read one."""
    return VerifiedAnswer(
        success=True,
        user_id=token.user_id,
        timestamp=instant_z(token.timestamp),
        rp_id=token.rp_id,
        rpid=token.rp_id,
        origin=token.origin or "",
        device=token.device or "",
        country=token.country or "",
        nickname=token.nickname,
        credential_id=b64encode(token.credential_id or b"").decode(),
        purpose=token.purpose,
        expires_at=instant_z(token.expires_at),
        token_id=str(UUID(bytes=token.token_id)),
        type=token.type,
    )


def _response(body: AssertionCredentialBody) -> AuthenticationResponse:
    inner = body.response or AssertionResponseBody()
    if not body.id:
        raise ValidationFailed({"response.id": ["The Response.Id field is required."]})
    public_key_type(body.type, "response.type")
    return AuthenticationResponse(
        id=body.id,
        raw_id=bytes_of(body.raw_id, "response.rawId"),
        client_data_json=bytes_of(inner.client_data_json, "response.response.clientDataJSON"),
        authenticator_data=bytes_of(inner.authenticator_data, "response.response.authenticatorData"),
        signature=bytes_of(inner.signature, "response.response.signature"),
        user_handle=_user_handle(inner.user_handle),
    )


def _user_handle(text: str | None) -> bytes | None:
    if text is None:
        return None
    # An empty handle is the authenticator's mistake, and the verification refuses it by its name.
    return bytes_of(text, "response.response.userHandle") if text else b""
