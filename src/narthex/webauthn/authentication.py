"""Authentication: does this assertion answer our challenge with a credential we keep?

WebAuthn L3 #sctn-verifying-assertion, in its order. Not done here: finding the credential record (the store does,
by ``rawId``) and writing the result back. Nothing that the assertion says is returned before its signature is
verified, so a caller cannot store a forged counter or backup flag.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from narthex.webauthn.authenticator_data import AuthenticatorData, Extensions, parse_authenticator_data
from narthex.webauthn.ceremony import check_challenge, check_flags, check_origins, check_rp_id, check_type
from narthex.webauthn.client_data import parse_client_data
from narthex.webauthn.cose import parse_public_key
from narthex.webauthn.errors import (
    AttestedCredentialDataUnexpected,
    BackupEligibilityChanged,
    CredentialIdMismatch,
    CredentialNotAllowed,
    SignCountDecreased,
    UserHandleMismatch,
    UserHandleMissing,
)
from narthex.webauthn.messages import AuthenticationResponse, check_id


class StoredCredential(msgspec.Struct, frozen=True, kw_only=True):
    """What the relying party keeps of a credential (L3 #credential-record), as far as an assertion needs it."""

    credential_id: bytes
    public_key: bytes
    """The COSE_Key, as registered."""
    sign_count: int
    user_handle: bytes
    backup_eligible: bool | None = None
    """None: never recorded (registered before the flag existed, or imported); the assertion's word is taken once."""


class VerifiedAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """What the assertion proved, and what to write back to the credential record."""

    sign_count: int
    user_present: bool
    user_verified: bool
    backup_eligible: bool
    backup_state: bool
    extensions: Extensions
    sign_count_stalled: bool = False
    """The counter did not rise, and the caller let that pass."""
    backup_eligibility_changed: bool = False
    """It is not what was recorded, and the caller let that pass."""


def verify_assertion(
    response: AuthenticationResponse,
    *,
    credential: StoredCredential,
    challenge: bytes,
    rp_id: str,
    origins: Collection[str],
    user_verification_required: bool,
    top_origins: Collection[str] = (),
    allowed_credentials: Collection[bytes] = (),
    user_handle_required: bool = False,
    sign_count_must_rise: bool = True,
    backup_eligibility_fixed: bool = True,
) -> VerifiedAssertion:
    """Check that an assertion answers our challenge with a credential we keep.

    Args:
        response: as decoded from the client; keeps the signed bytes.
        credential: found by ``rawId``.
        challenge: at least 16 bytes, already taken from where it was kept, so it cannot be used again.
        origins: canonical, as ``canonical_origin`` gives them.
        top_origins: canonical; empty refuses ceremonies in cross-origin frames.
        allowed_credentials: ids that the options asked for; empty when they asked for any.
        user_handle_required: the user was not known beforehand. Off by default, because clients of the compatible
            API leave the handle out (docs/divergences.md).
        sign_count_must_rise: False tells of a counter that did not, instead of refusing.
        backup_eligibility_fixed: False tells of an eligibility that changed, instead of refusing.
    Returns:
        the new sign count (0 … 2**32 - 1), whether the user was present and verified, the backup flags, and what was
        odd and let pass.
    Raises:
        the refusals of ``errors``: Malformed for what cannot be read, Rejected for what was read.
    """
    check_id(response)
    _check_credential(response, credential, allowed_credentials)
    _check_user_handle(response, credential, required=user_handle_required)
    # JSONtext, C, hash
    client_data = parse_client_data(response.client_data_json)
    check_type(client_data, "webauthn.get")
    check_challenge(client_data, challenge)
    check_origins(client_data, origins, top_origins)
    # authData
    data = parse_authenticator_data(response.authenticator_data)
    check_rp_id(data, rp_id)
    check_flags(data, up_required=True, uv_required=user_verification_required)
    _check_unattested(data)
    changed = _check_backup_eligibility(data, credential, fixed=backup_eligibility_fixed)
    parse_public_key(credential.public_key).verify(response.signature, data.raw + client_data.hash)
    # INVARIANT: below this line the authenticator data is the authenticator's own word.
    stalled = _check_sign_count(data, credential, must_rise=sign_count_must_rise)
    return VerifiedAssertion(
        sign_count=data.sign_count,
        user_present=data.user_present,
        user_verified=data.user_verified,
        backup_eligible=data.backup_eligible,
        backup_state=data.backup_state,
        extensions=data.extensions,
        sign_count_stalled=stalled,
        backup_eligibility_changed=changed,
    )


def _check_credential(
    response: AuthenticationResponse, credential: StoredCredential, allowed_credentials: Collection[bytes]
) -> None:
    if response.raw_id != credential.credential_id:
        raise CredentialIdMismatch("the assertion is of another credential than the one that was found")
    if allowed_credentials and response.raw_id not in allowed_credentials:
        raise CredentialNotAllowed("the credential is not among those that were asked for")


def _check_user_handle(response: AuthenticationResponse, credential: StoredCredential, *, required: bool) -> None:
    if response.user_handle is None:
        if required:
            raise UserHandleMissing("the assertion names no user, and none was known beforehand")
    elif not response.user_handle or response.user_handle != credential.user_handle:
        raise UserHandleMismatch("the assertion names another user than the credential's owner")


def _check_unattested(data: AuthenticatorData) -> None:
    # L3 #sctn-authenticator-data: for assertion signatures the AT flag MUST NOT be set.
    if data.attested is not None:
        raise AttestedCredentialDataUnexpected("authenticator data of an assertion carries a credential")


def _check_backup_eligibility(data: AuthenticatorData, credential: StoredCredential, *, fixed: bool) -> bool:
    """currentBe against credentialRecord.backupEligible: whether it changed."""
    recorded = credential.backup_eligible
    changed = recorded is not None and recorded != data.backup_eligible
    if changed and fixed:
        raise BackupEligibilityChanged("the credential's backup eligibility is not what it was at registration")
    return changed


def _check_sign_count(data: AuthenticatorData, credential: StoredCredential, *, must_rise: bool) -> bool:
    """authData.signCount: once either side counts, it must rise; falling back to zero is going back too."""
    counts = bool(data.sign_count or credential.sign_count)
    stalled = counts and data.sign_count <= credential.sign_count
    if stalled and must_rise:
        raise SignCountDecreased(
            "the signature counter did not rise", received=data.sign_count, stored=credential.sign_count
        )
    return stalled
