"""Registration endpoints of the compatible API (its sections 6.1, 6.2 and 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from narthex.base.values import to_base64url
from narthex.http.authenticate import Access
from narthex.http.body import Rule, at_most_bytes, at_most_characters, needed, required
from narthex.http.routes.passwordless.magic_link import MAIL_ADDRESS
from narthex.http.routes.passwordless.shapes import (
    CEREMONY_TIMEOUT_MS,
    INSTANT,
    BeginAnswer,
    Origin,
    Request,
    RpId,
    TokenAnswer,
    UserId,
    bytes_of,
    given,
    instant_of,
    known_attachment,
    one_of,
    options_credential,
    public_key_type,
    told,
)
from narthex.http.routing import route
from narthex.ports.records import Scope
from narthex.tokens.payloads import RequestedExtensions
from narthex.usecases import registration
from narthex.usecases.alias import LONGEST_ALIAS, wrong_shape
from narthex.usecases.call import Call
from narthex.usecases.creation_options import CREDENTIAL_PROTECTION, HINTS, LARGE_BLOB_SUPPORT, CreationOptions
from narthex.usecases.credential import LONGEST_NICKNAME
from narthex.usecases.registration import Enrolment
from narthex.usecases.user import LONGEST_USER_ID_BYTES
from narthex.webauthn.messages import RegistrationResponse

_MOST_HINTS = 3


def _broken_aliases(value: list[str | None] | None) -> str | None:
    wrong = wrong_shape(value or ())
    return None if wrong is None else f"{{}} {wrong}."


def _broken_hints(value: list[str | None] | None) -> str | None:
    if not value:
        return None
    if len(value) > _MOST_HINTS:
        return f"{{}} cannot hold more than {_MOST_HINTS} hints."
    if any(one_of(hint, HINTS) is None for hint in value):
        return f"{{}} must be any of {', '.join(HINTS)}."
    return None


ALIASES = Rule(_broken_aliases, {"items": {"type": "string", "minLength": 1, "maxLength": LONGEST_ALIAS}})
_HINTS = Rule(_broken_hints, {"items": {"type": "string"}, "maxItems": _MOST_HINTS})


def _broken_extensions(value: ExtensionsBody | None) -> str | None:
    if value is None:
        return None
    if value.large_blob is not None and value.large_blob.support not in LARGE_BLOB_SUPPORT:
        return f"{{}}.LargeBlob.Support must be any of {', '.join(LARGE_BLOB_SUPPORT)}."
    if value.credential_protection_policy not in (None, *CREDENTIAL_PROTECTION):
        return f"{{}}.CredentialProtectionPolicy must be any of {', '.join(CREDENTIAL_PROTECTION)}."
    return None


class LargeBlobBody(msgspec.Struct, rename="camel"):
    """Whether the passkey must be able to store a blob (L3 #sctn-large-blob-extension)."""

    support: str | None = None


class ExtensionsBody(msgspec.Struct, rename="camel"):
    """What the new passkey should be able to do, or tell (L3 #sctn-extensions). Others are ignored."""

    prf: dict[str, Any] | None = None
    """Present, even if empty: the passkey should be able to derive secrets."""
    large_blob: LargeBlobBody | None = None
    credential_protection_policy: str | None = None
    enforce_credential_protection_policy: bool | None = None
    min_pin_length: bool | None = None


class RegisterTokenBody(Request):
    """Leave for one user to enrol a passkey."""

    user_id: UserId = None
    username: Annotated[
        str | None, told("Shown by the browser when the user chooses a passkey.", "ann@example.com")
    ] = None
    display_name: Annotated[str | None, told("A friendlier name; without it, the username.", "Ann")] = None
    attestation: Annotated[
        str | None, told("`none`, or `direct`, `indirect` or `enterprise` where the application allows it.")
    ] = None
    authenticator_type: Annotated[str | None, told("`any`, `platform` or `cross-platform`.")] = None
    discoverable: Annotated[bool | None, told("Whether the passkey can be found without naming the user.")] = True
    user_verification: Annotated[str | None, told("`required`, `preferred` or `discouraged`.")] = None
    aliases: Annotated[
        list[str | None] | None,
        told("Other names to sign in by. They replace the ones the user has; none leaves them."),
    ] = None
    alias_hashing: Annotated[bool | None, told("Whether aliases are kept so that nobody can read them.")] = True
    hints: Annotated[
        list[str | None] | None, told("Any of `security-key`, `client-device`, `hybrid`, the best first.")
    ] = None
    expires_at: Annotated[str | None, told("ISO 8601; without a zone it is UTC. Default: in two minutes.")] = None
    conditional_create: Annotated[
        bool | None,
        told("Let the browser make the passkey without asking, right after a sign-in with a password."),
    ] = None
    extensions: Annotated[
        ExtensionsBody | None,
        told("`prf`, `largeBlob`, `credentialProtectionPolicy` and `minPinLength`, as `create` takes them."),
    ] = None
    notice_email: Annotated[
        str | None, told("Tell this address by mail once the passkey is made.", "ann@example.com")
    ] = None

    rules: ClassVar = {
        "user_id": (required, at_most_bytes(LONGEST_USER_ID_BYTES)),
        "username": (required,),
        "aliases": (ALIASES,),
        "hints": (_HINTS,),
        "expires_at": (INSTANT,),
        "extensions": (Rule(_broken_extensions),),
        "notice_email": (MAIL_ADDRESS,),
    }


class RegisterBeginBody(Request):
    """A register token, and the page that will make the passkey."""

    token: Annotated[str | None, told("From `/register/token`.", "register_ATBy_AJ1paoCoogI…")] = None
    origin: Origin = None
    rpid: RpId = None

    rules: ClassVar = {"token": (needed,), "origin": (needed,), "rpid": (needed,)}


class RegisterBeginAnswer(BeginAnswer):
    """Options for the browser, how it may ask its user, and the session that goes with the answer."""

    mediation: Annotated[
        str, told("For `navigator.credentials.create`: `conditional` if the user need not be asked.", "optional")
    ]


class AttestationResponseBody(msgspec.Struct, rename="camel"):
    """What the authenticator answered (L3 #dictdef-authenticatorattestationresponsejson)."""

    attestation_object: str | None = None
    client_data_json: str | None = msgspec.field(name="clientDataJSON", default=None)
    transports: list[str | None] | None = None


class RegistrationCredentialBody(msgspec.Struct, rename="camel"):
    """The new credential as the browser hands it over (L3 #dictdef-registrationresponsejson)."""

    id: str | None = None
    raw_id: str | None = None
    type: str | None = None
    response: AttestationResponseBody | None = None
    client_extension_results: dict[str, Any] | None = None
    authenticator_attachment: str | None = None


class RegisterCompleteBody(Request):
    """The session of a registration, and the authenticator's answer."""

    session: Annotated[str | None, told("From `/register/begin`.", "session_ATBy_AK0qbVx…")] = None
    response: Annotated[
        RegistrationCredentialBody | None,
        told("What `navigator.credentials.create` gave, binary members as base64url.", {"id": "q1w2e3r4", "…": "…"}),
    ] = None
    nickname: Annotated[str | None, told("What the user calls this passkey.", "My laptop")] = None
    origin: Origin = None
    rpid: RpId = None

    rules: ClassVar = {
        "session": (needed,),
        "response": (required,),
        "nickname": (at_most_characters(LONGEST_NICKNAME),),
        "origin": (needed,),
    }


@route(
    "POST",
    "/register/token",
    access=Access.SECRET_KEY,
    scope=Scope.TOKEN_REGISTER,
    body=RegisterTokenBody,
    answer=TokenAnswer,
)
async def register_token(call: Call, body: RegisterTokenBody) -> TokenAnswer:
    """Give a user leave to enrol one passkey. Nothing is stored yet."""
    enrolment = Enrolment(
        user_id=body.user_id or "",
        username=body.username or "",
        display_name=body.display_name,
        attestation=body.attestation,
        authenticator_type=body.authenticator_type,
        discoverable=body.discoverable is not False,
        user_verification=body.user_verification,
        aliases=_texts(body.aliases),
        alias_hashing=body.alias_hashing is not False,
        hints=_texts([one_of(hint, HINTS) for hint in body.hints or ()]),
        expires_at=instant_of(body.expires_at),
        conditional=body.conditional_create is True,
        extensions=_requested(body.extensions),
        notice_email=body.notice_email or "",
    )
    return TokenAnswer(token=await registration.issue_register_token(call, enrolment))


@route(
    "POST",
    "/register/begin",
    access=Access.PUBLIC_KEY,
    scope=Scope.REGISTER,
    body=RegisterBeginBody,
    answer=RegisterBeginAnswer,
)
async def register_begin(call: Call, body: RegisterBeginBody) -> RegisterBeginAnswer:
    """Exchange a register token for the options of `navigator.credentials.create`, and a session."""
    options, session = await registration.begin_registration(
        call, token=body.token, origin=body.origin, rp_id=body.rpid
    )
    mediation = "conditional" if options.conditional else "optional"
    return RegisterBeginAnswer(data=creation_options_json(options), session=session, mediation=mediation)


@route(
    "POST",
    "/register/complete",
    access=Access.PUBLIC_KEY,
    scope=Scope.REGISTER,
    body=RegisterCompleteBody,
    answer=TokenAnswer,
)
async def register_complete(call: Call, body: RegisterCompleteBody) -> TokenAnswer:
    """Verify the new passkey and keep it. The answer is a sign-in token for your backend to verify."""
    token = await registration.finish_registration(
        call,
        session=body.session,
        origin=body.origin,
        rp_id=body.rpid,
        nickname=body.nickname,
        response=_response(body.response or RegistrationCredentialBody()),
    )
    return TokenAnswer(token=token)


def creation_options_json(options: CreationOptions) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptions as browsers take it: no member is null, for some would throw."""
    selection: dict[str, Any] = {
        "residentKey": "required" if options.discoverable else "discouraged",
        "requireResidentKey": options.discoverable,
        "userVerification": options.user_verification,
    }
    if options.attachment is not None:
        selection = {"authenticatorAttachment": options.attachment, **selection}
    return {
        "rp": {"id": options.rp_id, "name": options.rp_id},
        "user": {
            "name": options.username,
            "id": to_base64url(options.user_handle),
            "displayName": options.display_name,
        },
        "challenge": to_base64url(options.challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in options.algorithms],
        "timeout": CEREMONY_TIMEOUT_MS,
        "attestation": options.attestation,
        "attestationFormats": [],
        "authenticatorSelection": selection,
        "hints": list(options.hints),
        "excludeCredentials": [
            options_credential(credential.credential_id, credential.transports) for credential in options.exclude
        ],
        "extensions": extensions_json(options.extensions),
    }


def extensions_json(requested: RequestedExtensions | None) -> dict[str, Any]:
    """AuthenticationExtensionsClientInputs: `credProps` always, and what the backend asked for."""
    inputs: dict[str, Any] = {"credProps": True}
    if requested is None:
        return inputs
    if requested.prf:
        inputs["prf"] = {}
    if requested.large_blob is not None:
        inputs["largeBlob"] = {"support": requested.large_blob}
    if requested.credential_protection is not None:
        inputs["credentialProtectionPolicy"] = requested.credential_protection
        inputs["enforceCredentialProtectionPolicy"] = requested.enforce_credential_protection
    if requested.min_pin_length:
        inputs["minPinLength"] = True
    return inputs


def _requested(body: ExtensionsBody | None) -> RequestedExtensions | None:
    if body is None:
        return None
    return RequestedExtensions(
        prf=body.prf is not None,
        large_blob=body.large_blob.support if body.large_blob is not None else None,
        credential_protection=body.credential_protection_policy,
        enforce_credential_protection=body.enforce_credential_protection_policy is True,
        min_pin_length=body.min_pin_length is True,
    )


def _response(body: RegistrationCredentialBody) -> RegistrationResponse:
    inner = body.response or AttestationResponseBody()
    public_key_type(body.type, "response.type")
    return RegistrationResponse(
        id=given(body.id, "response.id"),
        raw_id=bytes_of(body.raw_id, "response.rawId"),
        client_data_json=bytes_of(inner.client_data_json, "response.response.clientDataJSON"),
        attestation_object=bytes_of(inner.attestation_object, "response.response.attestationObject"),
        transports=_texts(inner.transports),
        cred_props_rk=_word(body.client_extension_results, "credProps", "rk"),
        prf_enabled=_word(body.client_extension_results, "prf", "enabled"),
        large_blob_supported=_word(body.client_extension_results, "largeBlob", "supported"),
        attachment=known_attachment(body.authenticator_attachment),
    )


def _texts(value: Sequence[str | None] | None) -> tuple[str, ...]:
    return tuple(text for text in value or () if text)


def _word(results: dict[str, Any] | None, extension: str, member: str) -> bool | None:
    """The client's word on an extension. What else it says of it, such as the secrets of prf, is left where it is."""
    said = (results or {}).get(extension)
    word = said.get(member) if isinstance(said, dict) else None
    return word if isinstance(word, bool) else None
