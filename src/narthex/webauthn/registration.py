"""Registration: does this response hold a new credential that was made for us, now, as we asked?

WebAuthn L3 #sctn-registering-a-new-credential, in its order. Not done here: the steps before clientDataJSON (the
client's), whether the credential id is already taken (the store knows), and what an unanchored attestation is worth
(policy decides, on the Trust fact).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

import msgspec

from narthex.webauthn.attestation import Attestation, verify_attestation
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.authenticator_data import AttestedCredentialData, AuthenticatorData, Extensions
from narthex.webauthn.ceremony import check_challenge, check_flags, check_origins, check_rp_id, check_type
from narthex.webauthn.client_data import parse_client_data
from narthex.webauthn.cose import PublicKey, parse_public_key
from narthex.webauthn.errors import (
    AlgorithmNotAllowed,
    AttestationUntrusted,
    AttestedCredentialDataMissing,
    CredentialIdMismatch,
)
from narthex.webauthn.messages import RegistrationResponse, check_id
from narthex.webauthn.trust import Trust, TrustVerdict, verify_trust_path

TRANSPORTS = ("usb", "nfc", "ble", "smart-card", "hybrid", "internal")
"""L3 #enum-transport."""

FindAnchors = Callable[[bytes, Attestation], Collection[bytes]]
"""(AAGUID, verified statement) → DER certificates that may vouch for it; none when we know none."""


# From what weighs most: a part that leads elsewhere tells more than one whose anchors we do not know.
_WORST_FIRST = (TrustVerdict.UNANCHORED, TrustVerdict.UNCERTAIN, TrustVerdict.ANCHORED, TrustVerdict.NO_PATH)
_NO_AAGUID = bytes(16)


class VerifiedRegistration(msgspec.Struct, frozen=True, kw_only=True):
    """A new credential and what we learnt about it."""

    credential_id: bytes
    public_key: bytes
    """The COSE_Key, in the very bytes the authenticator sent."""
    alg: int
    sign_count: int
    aaguid: bytes
    """16 bytes. Proves a model only with an anchored ``trust``; zero where the attestation does not cover it."""
    user_present: bool
    user_verified: bool
    backup_eligible: bool
    backup_state: bool
    attestation: Attestation
    path: Trust
    """Where the certificates lead. Of a compound statement: to an anchor if all its parts that have a path do."""
    trust: Trust
    """What that is worth: ``path``, unless the statement itself lets the key be elsewhere."""
    transports: tuple[str, ...]
    """Those of TRANSPORTS that the client named, in its order."""
    discoverable: bool | None
    """``credProps.rk``: the client's unsigned word."""
    extensions: Extensions
    """Authenticator extension outputs, signed."""


def verify_registration(
    response: RegistrationResponse,
    *,
    challenge: bytes,
    rp_id: str,
    origins: Collection[str],
    algorithms: Collection[int],
    user_verification_required: bool,
    now: datetime,
    top_origins: Collection[str] = (),
    user_presence_required: bool = True,
    find_anchors: FindAnchors = lambda aaguid, attestation: (),
    trust_required: bool = False,
) -> VerifiedRegistration:
    """Check that a response registers a new credential for our challenge.

    Args:
        response: as decoded from the client; keeps the signed bytes.
        challenge: at least 16 bytes, already taken from where it was kept, so it cannot be used again.
        origins: canonical, as ``canonical_origin`` gives them.
        algorithms: COSE identifiers that the options offered.
        now: instant of the call, UTC.
        top_origins: canonical; empty refuses ceremonies in cross-origin frames.
        user_presence_required: False only for conditional create.
        find_anchors: which certificates may vouch depends on the model, and on the key that attests it.
        trust_required: refuse what does not lead to an anchor.
    Returns:
        the credential, and the facts about it.
    Raises:
        the refusals of ``errors``: Malformed for what cannot be read, Rejected for what was read.
    """
    check_id(response)
    # JSONtext, C, hash
    client_data = parse_client_data(response.client_data_json)
    check_type(client_data, "webauthn.create")
    check_challenge(client_data, challenge)
    check_origins(client_data, origins, top_origins)
    # fmt, authData, attStmt
    attestation_object = parse_attestation_object(response.attestation_object)
    data = attestation_object.authenticator_data
    check_rp_id(data, rp_id)
    check_flags(data, up_required=user_presence_required, uv_required=user_verification_required)
    attested = _check_attested(data, response)
    key = _check_algorithm(attested, algorithms)
    attestation = verify_attestation(attestation_object, client_data.hash, now=now)
    aaguid = attested.aaguid if attestation.covers_aaguid else _NO_AAGUID
    path = follow_path(attestation, aaguid=aaguid, find_anchors=find_anchors, now=now)
    trust = worth_of(path, attestation)
    if trust_required and trust.verdict is not TrustVerdict.ANCHORED:
        raise AttestationUntrusted(f"attestation is {trust.verdict.value}, and this registration requires an anchor")
    return VerifiedRegistration(
        credential_id=attested.credential_id,
        public_key=attested.public_key,
        alg=key.alg,
        sign_count=data.sign_count,
        aaguid=aaguid,
        user_present=data.user_present,
        user_verified=data.user_verified,
        backup_eligible=data.backup_eligible,
        backup_state=data.backup_state,
        attestation=attestation,
        path=path,
        trust=trust,
        transports=_known_transports(response.transports),
        discoverable=response.cred_props_rk,
        extensions=data.extensions,
    )


def judge_trust(attestation: Attestation, *, aaguid: bytes, find_anchors: FindAnchors, now: datetime) -> Trust:
    """What a statement's certificates are worth: ``follow_path``, then ``worth_of``."""
    return worth_of(follow_path(attestation, aaguid=aaguid, find_anchors=find_anchors, now=now), attestation)


def worth_of(path: Trust, attestation: Attestation) -> Trust:
    """What a trust path is worth as evidence of where the key lies.

    INVARIANT: whoever vouches for a model does so for keys that its hardware made and keeps. A genuine module also
    certifies keys that were brought along, and says so: their paths lead to the very same anchors.
    """
    may_leave = any(part.key_may_leave for part in attestation.judged)
    return Trust(TrustVerdict.UNANCHORED) if may_leave and path.verdict is TrustVerdict.ANCHORED else path


def follow_path(attestation: Attestation, *, aaguid: bytes, find_anchors: FindAnchors, now: datetime) -> Trust:
    """Follow the trust path of a statement, or of every judged part of a compound one, of which the worst counts.

    A part without a path vouches for nothing and spoils nothing. Of several anchors the first part's is told.

    Args:
        aaguid: as the verified registration has it.
    Raises:
        CertificateMalformed, TrustPathInvalid: a path is broken in itself.
    """
    trusts = [
        verify_trust_path(part.trust_path, anchors=find_anchors(aaguid, part), now=now) for part in attestation.judged
    ]
    return min(trusts, key=lambda trust: _WORST_FIRST.index(trust.verdict), default=Trust(TrustVerdict.NO_PATH))


def _check_attested(data: AuthenticatorData, response: RegistrationResponse) -> AttestedCredentialData:
    if data.attested is None:
        raise AttestedCredentialDataMissing("authenticator data carries no new credential")
    # Beyond the spec, which compares nothing here: the id the client names is the one the authenticator made.
    if data.attested.credential_id != response.raw_id:
        raise CredentialIdMismatch("the client names another credential than the authenticator made")
    return data.attested


def _check_algorithm(attested: AttestedCredentialData, algorithms: Collection[int]) -> PublicKey:
    """credentialPublicKey.alg, and that the key is one: a key we cannot use must not be stored."""
    key = parse_public_key(attested.public_key)
    if key.alg not in algorithms:
        raise AlgorithmNotAllowed(f"algorithm `{key.alg}` was not offered")
    return key


def _known_transports(named: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(transport for transport in named if transport in TRANSPORTS))
