"""Credentials in the compatible API (its sections 7.6 and 7.7), with a new name and what browsers may keep."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, ClassVar

from msgspec import UNSET, UnsetType

from narthex.base.values import to_base64url, uuid_text
from narthex.http.authenticate import Access
from narthex.http.body import at_most_characters, needed, required
from narthex.http.problems import ValidationFailed
from narthex.http.routes.passwordless.shapes import (
    Answer,
    Request,
    RpId,
    UserId,
    bytes_of,
    instant_bare,
    told,
)
from narthex.http.routing import route
from narthex.ports.records import Credential, Scope
from narthex.usecases import credential
from narthex.usecases.call import Call
from narthex.usecases.credential import LONGEST_NICKNAME
from narthex.usecases.registration import MissingUserId

CredentialId = Annotated[str | None, told("`descriptor.id` of a listed credential, base64url.", "q1w2e3r4")]


class CredentialListQuery(Request):
    """Whose credentials."""

    user_id: UserId = None

    rules: ClassVar = {"user_id": (needed,)}


class CredentialListBody(Request):
    """Whose credentials."""

    user_id: UserId = None

    rules: ClassVar = {"user_id": (required,)}


class DeleteCredentialBody(Request):
    """Which credential goes."""

    credential_id: CredentialId = None

    rules: ClassVar = {"credential_id": (required,)}


class RenameCredentialBody(Request):
    """Which credential, and what it is called from now on."""

    credential_id: CredentialId = None
    nickname: Annotated[
        str | UnsetType | None, told("What the user calls this passkey; null takes its name away.", "My laptop")
    ] = UNSET

    rules: ClassVar = {"credential_id": (required,), "nickname": (at_most_characters(LONGEST_NICKNAME),)}


class AcceptedCredentialsQuery(Request):
    """Whose passkeys, and on which domain."""

    user_id: UserId = None
    rpid: RpId = None

    rules: ClassVar = {"user_id": (required,), "rpid": (required,)}


class CredentialDescriptor(Answer):
    """What names a credential (L3 #dictdef-publickeycredentialdescriptor)."""

    type: Annotated[str, told("`public-key`.", "public-key")]
    id: Annotated[str, told("The credential's id, base64url.", "q1w2e3r4")]


class CredentialAnswer(Answer):
    """A passkey, and what was learnt when it was made and last used."""

    descriptor: CredentialDescriptor
    public_key: Annotated[str, told("The COSE_Key, standard base64.", "pQECAyYgASFYIA==")]
    user_handle: Annotated[str, told("Standard base64.", "dXNlci0x")]
    signature_counter: int
    attestation_fmt: Annotated[str, told("Attestation statement format.", "none")]
    created_at: Annotated[str, told("UTC without a zone.", "2026-01-02T03:04:05.123456")]
    aa_guid: Annotated[str, told("The model, all zero where it is not told.", "00000000-0000-0000-0000-000000000000")]
    last_used_at: Annotated[str, told("UTC without a zone.", "2026-01-02T03:04:05.123456")]
    rpid: Annotated[str, told("The domain it was made for.", "example.com")]
    origin: Annotated[str, told("The page it was made on.", "https://example.com")]
    country: Annotated[str, told("Where it was used last; empty where nobody tells.", "SE")]
    device: Annotated[str, told("On what it was used last.", "Chrome, Windows 10")]
    nickname: Annotated[str | None, told("What the user calls it.", "My laptop")]
    user_id: Annotated[str, told("Whose it is.", "user-1")]
    backup_state: Annotated[bool | None, told("Whether it is synced to other devices now.")]
    is_backup_eligible: Annotated[bool | None, told("Whether it may be synced; null where that is not known.")]
    is_discoverable: Annotated[bool | None, told("Whether it is found without naming the user.")]
    transports: Annotated[list[str], told("How browsers reach it, as far as known.", ["internal", "hybrid"])]
    user_verified: Annotated[bool, told("Whether it has verified its user at least once.")]
    attestation_trust: Annotated[
        str, told("Where the attestation's path led: `no-path`, `uncertain`, `unanchored` or `anchored`.", "no-path")
    ]


class CredentialListAnswer(Answer):
    """The credentials of a user."""

    values: list[CredentialAnswer]


class AcceptedCredentialsAnswer(Answer):
    """What `PublicKeyCredential.signalAllAcceptedCredentials` takes, as it stands."""

    rp_id: Annotated[str, told("The domain.", "example.com")]
    user_id: Annotated[str, told("The user handle, base64url.", "dXNlci0x")]
    all_accepted_credential_ids: Annotated[list[str], told("Every passkey that is accepted, base64url.", ["q1w2e3r4"])]


@route(
    "GET",
    "/credentials/list",
    access=Access.SECRET_KEY,
    scope=Scope.CREDENTIALS_READ,
    query=CredentialListQuery,
    answer=CredentialListAnswer,
)
async def credentials_list(call: Call, query: CredentialListQuery) -> CredentialListAnswer:
    """The credentials of a user, oldest first; none for a user who is unknown."""
    if not query.user_id:
        # The compatible API's own words, which its tests compare.
        title = 'Required parameter "string UserId" was not provided from query string.'
        raise MissingUserId(title, advice="add `?userId=`")
    return await _listed(call, query.user_id)


@route(
    "POST",
    "/credentials/list",
    access=Access.SECRET_KEY,
    scope=Scope.CREDENTIALS_READ,
    body=CredentialListBody,
    answer=CredentialListAnswer,
)
async def credentials_list_by_post(call: Call, body: CredentialListBody) -> CredentialListAnswer:
    """The credentials of a user, oldest first; none for a user who is unknown."""
    return await _listed(call, body.user_id or "")


@route(
    "POST",
    "/credentials/delete",
    access=Access.SECRET_KEY,
    scope=Scope.CREDENTIALS_WRITE,
    body=DeleteCredentialBody,
    may_miss=True,
)
async def credentials_delete(call: Call, body: DeleteCredentialBody) -> None:
    """Delete a passkey: it signs nobody in any more.

    The browser goes on offering it. Tell it so with `PublicKeyCredential.signalUnknownCredential`, or with what
    `/credentials/accepted` answers.
    """
    await credential.remove_credential(call, bytes_of(body.credential_id, "credentialId"))


@route(
    "POST",
    "/credentials/rename",
    access=Access.SECRET_KEY,
    scope=Scope.CREDENTIALS_WRITE,
    body=RenameCredentialBody,
    may_miss=True,
)
async def credentials_rename(call: Call, body: RenameCredentialBody) -> None:
    """Call a passkey something else, or nothing."""
    if body.nickname is UNSET:
        raise ValidationFailed({"nickname": ["The Nickname field is required; null takes the name away."]})
    await credential.rename_credential(call, bytes_of(body.credential_id, "credentialId"), body.nickname)


@route(
    "GET",
    "/credentials/accepted",
    access=Access.SECRET_KEY,
    scope=Scope.CREDENTIALS_READ,
    query=AcceptedCredentialsQuery,
    answer=AcceptedCredentialsAnswer,
    may_miss=True,
)
async def credentials_accepted(call: Call, query: AcceptedCredentialsQuery) -> AcceptedCredentialsAnswer:
    """All passkeys of a user on a domain, for the page to hand to `PublicKeyCredential.signalAllAcceptedCredentials`.

    The browser hides or deletes every passkey of this user and domain that the list lacks. The list is therefore
    always whole, and there is no empty one: a user who has no passkey here, also one who is unknown, is a 404. Ask for
    it when the user has just signed in, and not while a registration is under way.
    """
    accepted = await credential.accepted_credentials(call, query.user_id or "", query.rpid or "")
    return AcceptedCredentialsAnswer(
        rp_id=accepted.rp_id,
        user_id=to_base64url(accepted.user_handle),
        all_accepted_credential_ids=[to_base64url(each) for each in accepted.credential_ids],
    )


async def _listed(call: Call, user_id: str) -> CredentialListAnswer:
    kept = await credential.credentials_of(call.store, user_id)
    return CredentialListAnswer([credential_answer(each) for each in kept])


def credential_answer(kept: Credential) -> CredentialAnswer:
    """A credential as lists show it. Encodings and names are those of the compatible API, its section 2.3."""
    return CredentialAnswer(
        descriptor=CredentialDescriptor(type="public-key", id=to_base64url(kept.credential_id)),
        public_key=b64encode(kept.public_key).decode(),
        user_handle=b64encode(kept.user_handle).decode(),
        signature_counter=kept.sign_count,
        attestation_fmt=kept.attestation_format,
        created_at=instant_bare(kept.created_at),
        aa_guid=uuid_text(kept.aaguid),
        last_used_at=instant_bare(kept.last_used_at),
        rpid=kept.rp_id,
        origin=kept.origin,
        country=kept.country,
        device=kept.device,
        nickname=kept.nickname,
        user_id=kept.user_id,
        backup_state=kept.backup_state,
        is_backup_eligible=kept.backup_eligible,
        is_discoverable=kept.discoverable,
        transports=list(kept.transports),
        user_verified=kept.user_verified,
        attestation_trust=kept.trust.value,
    )
