"""The four endpoints at which the FIDO conformance tool tests a server.

FIDO, Server Requirements and Transport Binding Profile, and the "Conformance testing server API" of the tool, which
names the members. There is no key and no register token here: whoever reaches these endpoints can make and use
passkeys of one application, for any user name. They are therefore mounted only where the operator names that
application (`NARTHEX_CONFORMANCE_APPLICATION`), and no part of the OpenAPI document.

* Nothing is verified here. Every endpoint decodes, calls the use cases of the public API, and words the answer: what
  the tool finds is what the product does.
* The session, a sealed token as everywhere, travels in a cookie. Nothing else in the house reads cookies.
* Every refusal is 400 with the profile's two members; what we did not foresee is 500, and as silent as elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from narthex.base.values import to_base64url
from narthex.http import client
from narthex.http.authenticate import Access
from narthex.http.body import Body, Rule, required
from narthex.http.environment import AnonymousCall, Environment, Header, Page
from narthex.http.problems import PathNotFound, ValidationFailed
from narthex.http.routes.passwordless.registration import AttestationResponseBody, creation_options_json
from narthex.http.routes.passwordless.shapes import bytes_of, given, known_attachment, public_key_type
from narthex.http.routes.passwordless.sign_in import AssertionResponseBody, request_options_json
from narthex.http.routing import JSON_TYPE, Endpoint, RouteSpec, route
from narthex.usecases.call import Call, Caller
from narthex.usecases.creation_options import USER_VERIFICATIONS
from narthex.usecases.registration import Enrolment, begin_registration, finish_registration, issue_register_token
from narthex.usecases.sign_in import begin_sign_in, finish_sign_in
from narthex.webauthn.messages import AuthenticationResponse, RegistrationResponse
from narthex.webauthn.origin import canonical_origin

COOKIE = "narthex-conformance"
RESIDENT_KEYS = ("required", "preferred", "discouraged")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProfileCall(Call):
    """A call of the conformance tool: by nobody in particular, to the one application that is open to it."""

    origin: str
    """Ours: the tool takes the server's address for the page's."""
    rp_id: str
    session: str | None
    """What the cookie holds."""


class ProfileEndpoint(Endpoint):
    """An endpoint that asks for no key, and refuses in the words of the profile."""

    def __init__(
        self, by_method: Mapping[str, RouteSpec], env: Environment, anonymous: AnonymousCall, *, app_id: str
    ) -> None:
        super().__init__(by_method, env, anonymous)
        self._app_id = app_id
        self._origin = canonical_origin(env.public_url)
        self._rp_id = urlsplit(env.public_url).hostname or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, _Reworded(send))

    async def _call(
        self, spec: RouteSpec, scope: Scope, headers: Mapping[bytes, bytes], trace: str
    ) -> Call | AnonymousCall:
        env, now = self._env, self._env.clock.now()
        tenant = await env.directory.find(self._app_id, now=now)
        if tenant is None:
            raise PathNotFound("the application that the tests were about was deleted")
        return ProfileCall(
            tenant=tenant,
            store=env.root.tenant(self._app_id),
            directory=env.directory,
            keyring=env.keyring,
            random=env.random,
            now=now,
            caller=Caller(device=client.device(headers), trace_id=trace),
            metadata=env.catalog.current,
            facilities=replace(env.facilities, limiter=None),
            origin=self._origin,
            rp_id=self._rp_id,
            session=_cookie(headers),
        )


def mount(specs: Iterable[RouteSpec], env: Environment, anonymous: AnonymousCall, *, app_id: str) -> list[Route]:
    """Starlette routes, one for each endpoint.

    Args:
        app_id: the application that the tool may do with as it likes.
    """
    return [Route(spec.path, ProfileEndpoint({spec.method: spec}, env, anonymous, app_id=app_id)) for spec in specs]


# --- registration ---------------------------------------------------------------------------------------------------


def _one_of(*known: str) -> Rule:
    def broken(value: str | None) -> str | None:
        return None if value is None or value in known else f"{{}} must be any of {', '.join(known)}."

    return Rule(broken)


def _broken_selection(value: Selection | None) -> str | None:
    if value is None or value.resident_key in (None, *RESIDENT_KEYS):
        return None
    return f"{{}}.residentKey must be any of {', '.join(RESIDENT_KEYS)}."


def _blank(value: str | None) -> str | None:
    return "The {} field is blank." if value is not None and not value.strip() else None


class Selection(msgspec.Struct, rename="camel", omit_defaults=True):
    """AuthenticatorSelectionCriteria (L3 #dictdef-authenticatorselectioncriteria)."""

    authenticator_attachment: str | None = None
    resident_key: str | None = None
    require_resident_key: bool | None = None
    user_verification: str | None = None

    @property
    def discoverable(self) -> bool:
        """Whether only a discoverable credential will do: `requireResidentKey` counts where `residentKey` is absent."""
        return self.resident_key == "required" if self.resident_key is not None else self.require_resident_key is True


class AttestationOptionsBody(Body):
    """ServerPublicKeyCredentialCreationOptionsRequest."""

    username: str | None = None
    display_name: str | None = None
    authenticator_selection: Selection | None = None
    attestation: str | None = None
    extensions: Json | None = None

    rules: ClassVar = {
        "username": (required,),
        "display_name": (required,),
        "authenticator_selection": (Rule(_broken_selection),),
    }


class AttestationResultBody(Body):
    """ServerPublicKeyCredential with a ServerAuthenticatorAttestationResponse. `rawId` is not in the profile's IDL."""

    id: str | None = None
    raw_id: str | None = None
    type: str | None = None
    response: AttestationResponseBody | None = None
    authenticator_attachment: str | None = None
    # Not used; declared, so that something else than an object is refused.
    client_extension_results: Json | None = None
    get_client_extension_results: Json | None = None

    rules: ClassVar = {"id": (required,), "type": (required,), "response": (required,)}


@route("POST", "/attestation/options", access=Access.ANONYMOUS, body=AttestationOptionsBody, answer=Page)
async def attestation_options(call: ProfileCall, body: AttestationOptionsBody) -> Page:
    """Options for `navigator.credentials.create`, for whoever asks."""
    asked = body.authenticator_selection
    selection = asked or Selection()
    enrolment = Enrolment(
        user_id=_user_id(call, body.username or ""),
        username=body.username or "",
        display_name=body.display_name,
        attestation=body.attestation,
        authenticator_type=selection.authenticator_attachment,
        discoverable=selection.discoverable,
        user_verification=selection.user_verification,
        aliases=None,
        alias_hashing=True,
        hints=(),
        expires_at=None,
    )
    leave = await issue_register_token(call, enrolment)
    options, session = await begin_registration(call, token=leave, origin=call.origin, rp_id=call.rp_id)
    echo = {} if asked is None else {"authenticatorSelection": msgspec.to_builtins(asked)}
    return _ok(
        {**creation_options_json(options), **echo, "extensions": body.extensions or {}}, _cookie_of(call, session)
    )


@route("POST", "/attestation/result", access=Access.ANONYMOUS, body=AttestationResultBody, answer=Page)
async def attestation_result(call: ProfileCall, body: AttestationResultBody) -> Page:
    """Verify the new passkey and keep it."""
    inner = body.response or AttestationResponseBody()
    public_key_type(body.type, "type")
    response = RegistrationResponse(
        id=given(body.id, "id"),
        raw_id=bytes_of(_raw_id(body), "rawId"),
        client_data_json=bytes_of(inner.client_data_json, "response.clientDataJSON"),
        attestation_object=bytes_of(inner.attestation_object, "response.attestationObject"),
        transports=tuple(each for each in inner.transports or () if each),
        attachment=known_attachment(body.authenticator_attachment),
    )
    # The answer is a sign-in token, which nobody here has a use for.
    await finish_registration(
        call, session=call.session, origin=call.origin, rp_id=call.rp_id, nickname=None, response=response
    )
    return _ok({})


# --- authentication -------------------------------------------------------------------------------------------------


class AssertionOptionsBody(Body):
    """ServerPublicKeyCredentialGetOptionsRequest. Without `username`, whoever has a discoverable passkey may answer."""

    username: str | None = None
    user_verification: str | None = None
    extensions: Json | None = None

    rules: ClassVar = {"username": (Rule(_blank),), "user_verification": (_one_of(*USER_VERIFICATIONS),)}


class AssertionResultBody(Body):
    """ServerPublicKeyCredential with a ServerAuthenticatorAssertionResponse."""

    id: str | None = None
    raw_id: str | None = None
    type: str | None = None
    response: AssertionResponseBody | None = None
    authenticator_attachment: str | None = None
    client_extension_results: Json | None = None
    get_client_extension_results: Json | None = None

    rules: ClassVar = {"id": (required,), "type": (required,), "response": (required,)}


@route("POST", "/assertion/options", access=Access.ANONYMOUS, body=AssertionOptionsBody, answer=Page)
async def assertion_options(call: ProfileCall, body: AssertionOptionsBody) -> Page:
    """Options for `navigator.credentials.get`. An unknown user is refused, as the profile wants it."""
    user_id = None
    if body.username is not None:
        user_id = _user_id(call, body.username)
        await _refuse_unknown(call, user_id)
    options, session = await begin_sign_in(
        call,
        user_id=user_id,
        alias=None,
        purpose=None,
        origin=call.origin,
        rp_id=call.rp_id,
        user_verification=body.user_verification or "preferred",
    )
    return _ok({**request_options_json(options), "extensions": body.extensions or {}}, _cookie_of(call, session))


@route("POST", "/assertion/result", access=Access.ANONYMOUS, body=AssertionResultBody, answer=Page)
async def assertion_result(call: ProfileCall, body: AssertionResultBody) -> Page:
    """Verify the assertion."""
    inner = body.response or AssertionResponseBody()
    public_key_type(body.type, "type")
    response = AuthenticationResponse(
        id=given(body.id, "id"),
        raw_id=bytes_of(_raw_id(body), "rawId"),
        client_data_json=bytes_of(inner.client_data_json, "response.clientDataJSON"),
        authenticator_data=bytes_of(inner.authenticator_data, "response.authenticatorData"),
        signature=bytes_of(inner.signature, "response.signature"),
        # The profile's own example sends an empty handle for "none"; a browser would send null.
        user_handle=bytes_of(inner.user_handle, "response.userHandle") if inner.user_handle else None,
        attachment=known_attachment(body.authenticator_attachment),
    )
    await finish_sign_in(call, session=call.session, origin=call.origin, rp_id=call.rp_id, response=response)
    return _ok({})


async def _refuse_unknown(call: ProfileCall, user_id: str) -> None:
    kept = await call.store.list_credentials(user_id)
    if not any(credential.rp_id == call.rp_id for credential in kept):
        raise ValidationFailed({"username": ["No user of this name has a passkey here."]})


# --- both -----------------------------------------------------------------------------------------------------------


def _user_id(call: Call, username: str) -> str:
    """43 characters that follow from the name: the user handle tells nothing of it (L3 #sctn-user-handle-privacy)."""
    message = f"{call.application.app_id}\x00{username}".encode()
    return to_base64url(call.keyring.mac("conformance-user", message))


def _raw_id(body: AttestationResultBody | AssertionResultBody) -> str | None:
    return body.id if body.raw_id is None else body.raw_id


def _cookie_of(call: ProfileCall, session: str) -> Header:
    secure = "; Secure" if call.origin.startswith("https://") else ""
    return b"set-cookie", f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict{secure}".encode()


def _cookie(headers: Mapping[bytes, bytes]) -> str | None:
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def _ok(members: Json, *headers: Header) -> Page:
    return Page(msgspec.json.encode({"status": "ok", "errorMessage": "", **members}), JSON_TYPE, headers=headers)


class _Reworded:
    """Passes an answer on; a problem document becomes the profile's ServerResponse."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start["status"] >= 400:
            message = {**message, "body": _failed(message["body"])}
            self._start = _failed_start(self._start, message["body"])
        await self._send(self._start)
        await self._send(message)


def _failed(problem: bytes) -> bytes:
    document = msgspec.json.decode(problem)
    sentences = [sentence for each in document.get("errors", {}).values() for sentence in each] or [document["title"]]
    code = document.get("reason", document["errorCode"])
    return msgspec.json.encode({"status": "failed", "errorMessage": f"{' '.join(sentences)} ({code})"})


def _failed_start(start: Message, content: bytes) -> Message:
    kept = [header for header in start["headers"] if header[0] not in (b"content-type", b"content-length")]
    written = [(b"content-type", JSON_TYPE), (b"content-length", str(len(content)).encode())]
    return {**start, "status": 500 if start["status"] == 500 else 400, "headers": [*kept, *written]}
