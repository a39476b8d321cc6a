"""Sign-in endpoints of the compatible API (its sections 6.3, 6.4, 7.2 and 7.3)."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec

from narthex.base.values import instant_z, to_base64url
from narthex.http.authenticate import Access
from narthex.http.body import between, needed, required
from narthex.http.routes.passwordless.shapes import (
    CEREMONY_TIMEOUT_MS,
    Answer,
    BeginAnswer,
    Origin,
    Request,
    RpId,
    TokenAnswer,
    UserId,
    bytes_of,
    given,
    known_attachment,
    options_credential,
    public_key_type,
    told,
)
from narthex.http.routing import route
from narthex.ports.records import Scope
from narthex.tokens.payloads import VerifyToken
from narthex.usecases import sign_in, sign_in_token
from narthex.usecases.assurance import AssuranceRecord, record_of, unpacked
from narthex.usecases.call import Call
from narthex.usecases.sign_in import RequestOptions
from narthex.usecases.sign_in_token import DEFAULT_LIVES_S, LONGEST_LIVES_S
from narthex.webauthn.messages import AuthenticationResponse


class SignInBeginBody(Request):
    """Who wants to sign in, for what, and from which page. All of it but the page is optional."""

    user_id: Annotated[
        str | None,
        told(
            "Only this user's passkeys will do. In a plain sign-in of a user who has none, anybody's will: go by the "
            "user whom `/signin/verify` names.",
            "user-1",
        ),
    ] = None
    alias: Annotated[str | None, told("The same, for the user with this alias.")] = None
    purpose: Annotated[str | None, told("`sign-in`, `step-up`, or a purpose of the application's own.")] = None
    origin: Origin = None
    rpid: RpId = None

    rules: ClassVar = {"origin": (needed,), "rpid": (needed,)}


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
    authenticator_attachment: str | None = None


class SignInCompleteBody(Request):
    """The session of a sign-in, and the authenticator's answer."""

    session: Annotated[str | None, told("From `/signin/begin`.", "session_ATBy_AK0qbVx…")] = None
    response: Annotated[
        AssertionCredentialBody | None,
        told("What `navigator.credentials.get` gave, binary members as base64url.", {"id": "q1w2e3r4", "…": "…"}),
    ] = None
    origin: Origin = None
    rpid: RpId = None

    rules: ClassVar = {"session": (needed,), "response": (required,), "origin": (needed,)}


class VerifyBody(Request):
    """A sign-in token."""

    token: Annotated[str | None, told("What the browser brought.", "verify_ATBy_ALUMx_fmRk…")] = None

    rules: ClassVar = {"token": (needed,)}


class GenerateTokenBody(Request):
    """Whom to make a sign-in token for, and how long it counts."""

    user_id: UserId = None
    time_to_live_seconds: Annotated[int | None, told("Seconds, 1 to 604800; 120 without it.")] = msgspec.field(
        name="timeToLive", default=None
    )
    purpose: Annotated[str | None, told("What `/signin/verify` will say; `sign-in` without it.")] = None
    rpid: Annotated[str | None, told("Told by `/signin/verify` as it is.")] = None
    origin: Annotated[str | None, told("Told by `/signin/verify` as it is.")] = None

    rules: ClassVar = {"user_id": (required,), "time_to_live_seconds": (between(1, LONGEST_LIVES_S),)}


class VerifiedAnswer(Answer):
    """Who signed in. Failures are error statuses: `success` is never false."""

    success: Annotated[bool, told("Always true.", True)]
    user_id: Annotated[str, told("The user who owns the passkey.", "user-1")]
    timestamp: Annotated[str, told("When the sign-in happened, UTC.", "2026-01-02T03:04:05.123456Z")]
    rp_id: Annotated[str | None, told("The relying party id of the ceremony.", "example.com")]
    rpid: Annotated[str, told("The same, in the spelling that some SDKs read; empty without one.", "example.com")]
    origin: Annotated[str, told("The page of the ceremony; empty without one.", "https://example.com")]
    device: Annotated[str, told("Browser and system, as the browser says.", "Chrome, Windows 10")]
    country: Annotated[str, told("Two letters, where a trusted proxy told them.", "SE")]
    nickname: Annotated[str | None, told("What the user calls the passkey.", "My laptop")]
    credential_id: Annotated[str, told("Standard base64; empty without a passkey.", "q1w2e3r4")]
    purpose: Annotated[str | None, told("What the sign-in was for; null after a registration.", "sign-in")]
    expires_at: Annotated[str, told("Until when the token would have counted.", "2026-01-02T03:06:05.123456Z")]
    token_id: Annotated[str, told("A UUID, different for every token.", "0f8fad5b-d9cb-469f-a165-70867728950e")]
    type: Annotated[
        str, told("`passkey_signin`, `passkey_register`, `generated_signin` or `magic_link`.", "passkey_signin")
    ]
    assurance: Annotated[
        AssuranceRecord | None,
        told(
            "How surely it is the user; null for a token of an older server.",
            {
                "method": "passkey",
                "aal": 2,
                "acr": "phr",
                "amr": ["pop", "user", "mfa"],
                "userVerified": True,
                "…": "…",
            },
        ),
    ]


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
    scope=Scope.TOKEN_GENERATE,
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
        "timeout": CEREMONY_TIMEOUT_MS,
        "rpId": options.rp_id,
        "allowCredentials": [options_credential(each.credential_id, each.transports) for each in options.allow],
        "userVerification": options.user_verification,
        "hints": list(options.hints),
    }


def verified_json(token: VerifyToken) -> VerifiedAnswer:
    """Both spellings of the rp id, and no null where the Python SDK cannot read one."""
    assurance = unpacked(token.assurance)
    return VerifiedAnswer(
        success=True,
        user_id=token.user_id,
        timestamp=instant_z(token.timestamp),
        rp_id=token.rp_id,
        rpid=token.rp_id or "",
        origin=token.origin or "",
        device=token.device or "",
        country=token.country or "",
        nickname=token.nickname,
        credential_id=b64encode(token.credential_id or b"").decode(),
        purpose=token.purpose,
        expires_at=instant_z(token.expires_at),
        token_id=str(UUID(bytes=token.token_id)),
        type=token.type,
        assurance=None if assurance is None else record_of(assurance),
    )


def _response(body: AssertionCredentialBody) -> AuthenticationResponse:
    inner = body.response or AssertionResponseBody()
    public_key_type(body.type, "response.type")
    return AuthenticationResponse(
        id=given(body.id, "response.id"),
        raw_id=bytes_of(body.raw_id, "response.rawId"),
        client_data_json=bytes_of(inner.client_data_json, "response.response.clientDataJSON"),
        authenticator_data=bytes_of(inner.authenticator_data, "response.response.authenticatorData"),
        signature=bytes_of(inner.signature, "response.response.signature"),
        user_handle=_user_handle(inner.user_handle),
        attachment=known_attachment(body.authenticator_attachment),
    )


def _user_handle(text: str | None) -> bytes | None:
    if text is None:
        return None
    # An empty handle is the authenticator's mistake, and the verification refuses it by its name.
    return bytes_of(text, "response.response.userHandle") if text else b""
