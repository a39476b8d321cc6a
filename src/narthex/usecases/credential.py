"""The credentials of an application: read through to the end, renamed, and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from narthex.base.errors import Malformed, NotFound, quoted
from narthex.ports.changes import CredentialNotFound, RemoveCredential, RenameCredential
from narthex.ports.records import Credential, EventType
from narthex.ports.store import MOST_CREDENTIALS, TenantStore
from narthex.usecases.call import Call
from narthex.usecases.event import log

LONGEST_NICKNAME: Final = 64
_PORTION = 500


class NicknameTooLong(Malformed):
    """What a user calls a passkey has 64 characters at most."""

    code = "nickname-too-long"
    advice = f"use {LONGEST_NICKNAME} characters at most"


class NoAcceptedCredentials(NotFound):
    """The application keeps no passkey of this user for this relying party id.

    It is no empty list: a browser that is told one takes all the user's passkeys for this relying party away, also
    those that another server or another application accepts (L3 #sctn-signalAllAcceptedCredentials).
    """

    code, spec = "no-accepted-credentials", "WebAuthn L3 #sctn-signalAllAcceptedCredentials"
    advice = (
        "check the user id and the rp id; to have a deleted passkey go, name that very one to "
        "`PublicKeyCredential.signalUnknownCredential`"
    )


@dataclass(frozen=True, slots=True)
class AcceptedCredentials:
    """All passkeys of a user for a relying party id."""

    rp_id: str
    user_handle: bytes
    credential_ids: Sequence[bytes]


async def credentials_by_user(store: TenantStore) -> AsyncIterator[tuple[str, list[Credential]]]:
    """Every user who has credentials, with all of them. Read in portions: other requests have their turn between."""
    after: tuple[str, bytes] | None = None
    gathered: list[Credential] = []
    while portion := await store.scan_credentials(after=after, most=_PORTION):
        for credential in portion:
            if gathered and gathered[0].user_id != credential.user_id:
                yield gathered[0].user_id, gathered
                gathered = []
            gathered.append(credential)
        after = (portion[-1].user_id, portion[-1].credential_id)
        await asyncio.sleep(0)  # SQLite answers without a pause.
    if gathered:
        yield gathered[0].user_id, gathered


async def credentials_of(store: TenantStore, user_id: str) -> Sequence[Credential]:
    """All credentials of a user, oldest first, also of one who came with more than `MOST_CREDENTIALS`."""
    listed = await store.list_credentials(user_id)
    if len(listed) < MOST_CREDENTIALS:
        return listed
    found: list[Credential] = []
    after = (user_id, b"")
    while portion := await store.scan_credentials(after=after, most=_PORTION):
        found += [credential for credential in portion if credential.user_id == user_id]
        after = (portion[-1].user_id, portion[-1].credential_id)
        if after[0] != user_id:
            break
        await asyncio.sleep(0)  # SQLite answers without a pause.
    return sorted(found, key=lambda credential: (credential.created_at, credential.credential_id))


async def accepted_credentials(call: Call, user_id: str, rp_id: str) -> AcceptedCredentials:
    """What browsers may be told to keep of a user's passkeys; they take all others away.

    Raises:
        NoAcceptedCredentials: there is none, which is no answer to act upon.
    """
    kept = await credentials_of(call.store, user_id)
    accepted = [credential for credential in kept if credential.rp_id == rp_id]
    if not accepted:
        raise NoAcceptedCredentials(f"user {quoted(user_id)} has no passkey for {quoted(rp_id)} here")
    # INVARIANT: the list is complete. A passkey that it lacks is one that its user loses.
    return AcceptedCredentials(rp_id, accepted[-1].user_handle, [each.credential_id for each in accepted])


async def remove_credential(call: Call, credential_id: bytes) -> Credential:
    """Take a credential away; says which it was.

    Raises:
        CredentialNotFound.
    """
    credential = await get_credential(call, credential_id)
    await call.store.commit(
        RemoveCredential(credential_id=credential_id),
        *log(
            call,
            EventType.ApiUserDeleteCredential,
            "passkey deleted",
            performed_by="System",
            subject=credential.user_id,
        ),
    )
    return credential


async def rename_credential(call: Call, credential_id: bytes, nickname: str | None) -> None:
    """Call a credential something else, or nothing.

    Raises:
        CredentialNotFound, NicknameTooLong.
    """
    if nickname is not None and len(nickname) > LONGEST_NICKNAME:
        raise NicknameTooLong(f"nickname {quoted(nickname)} is longer than {LONGEST_NICKNAME} characters")
    credential = await get_credential(call, credential_id)
    await call.store.commit(
        RenameCredential(credential_id=credential_id, nickname=nickname or None),
        *log(
            call,
            EventType.ApiUserCredentialRenamed,
            "passkey renamed",
            performed_by="System",
            subject=credential.user_id,
        ),
    )


async def get_credential(call: Call, credential_id: bytes) -> Credential:
    """
    Raises:
        CredentialNotFound.
    """
    credential = await call.store.find_credential(credential_id)
    if credential is None:
        raise CredentialNotFound("the application keeps no passkey of this id")
    return credential
