"""What is known of the authenticator behind a credential, by the metadata and the anchors of this moment.

A credential remembers which anchor its attestation reached, and nothing that follows from it: whether that anchor is
still trusted, what its model is worth and what has become known of it since is asked at every use.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import msgspec

from narthex.base.errors import Refusal
from narthex.ports.changes import Change, RejudgeCredential
from narthex.ports.records import ApplicationSettings, AttestationEvidence, Credential, TrustAnchor
from narthex.ports.store import TenantStore
from narthex.webauthn import authenticator
from narthex.webauthn.attestation import Attestation, verify_attestation
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.authenticator import AuthenticatorFacts
from narthex.webauthn.metadata import Metadata, MetadataEntry
from narthex.webauthn.registration import FindAnchors, judge_trust
from narthex.webauthn.trust import Trust, TrustVerdict, key_identifier

# What metadata calls a certificate's word (FIDO Registry of Predefined Values, section 3.6.3). A model that is said
# to have none of these vouches for itself alone, whatever certificates come along.
_CERTIFIED_TYPES = frozenset({"basic_full", "attca", "anonca", "ecdaa"})


@dataclass(frozen=True, slots=True)
class OwnAnchor:
    """An anchor of the application's own, ready for use."""

    certificate: bytes
    digest: bytes
    aaguids: frozenset[bytes]
    hardware: bool

    def may_vouch_for(self, aaguid: bytes) -> bool:
        return not self.aaguids or aaguid in self.aaguids


@lru_cache(maxsize=256)
def own_anchors(anchors: tuple[TrustAnchor, ...]) -> tuple[OwnAnchor, ...]:
    """Decode the anchors of an application's settings."""
    return tuple(
        OwnAnchor(
            certificate=(der := b64decode(anchor.certificate)),
            digest=hashlib.sha256(der).digest(),
            aaguids=frozenset(UUID(aaguid).bytes for aaguid in anchor.aaguids),
            hardware=anchor.hardware,
        )
        for anchor in anchors
    )


def anchors_for(settings: ApplicationSettings, metadata: Metadata) -> FindAnchors:
    """Which certificates may vouch: those of the model's metadata, and the application's own."""

    def find(aaguid: bytes, attestation: Attestation) -> Collection[bytes]:
        own = [anchor.certificate for anchor in own_anchors(settings.trust_anchors) if anchor.may_vouch_for(aaguid)]
        entry = find_entry(metadata, aaguid, key_identifiers(attestation))
        return own if entry is None else [*entry.anchors, *own]

    return find


def key_identifiers(attestation: Attestation) -> tuple[bytes, ...]:
    """By which metadata lists authenticators that have no AAGUID, leaf first."""
    paths = (part.trust_path for part in attestation.judged)
    return tuple(key_identifier(der) for path in paths for der in path)


def find_entry(metadata: Metadata, aaguid: bytes, identifiers: Collection[bytes]) -> MetadataEntry | None:
    """The metadata of a model: by its AAGUID, or where it has none by the keys of its certificates."""
    if any(aaguid):
        return metadata.find(aaguid)
    found = (metadata.find_by_key_identifier(identifier) for identifier in identifiers)
    return next((entry for entry in found if entry is not None), None)


def anchor_digest(trust: Trust) -> bytes | None:
    """What a credential remembers of the anchor that its path reached."""
    return None if trust.anchor is None else hashlib.sha256(trust.anchor).digest()


def anchors_known(settings: ApplicationSettings, metadata: Metadata) -> str:
    """A name for the anchors by which trust is judged now: another one means that judging again may pay."""
    if not settings.trust_anchors:
        return str(metadata.number)
    digests = b"".join(
        anchor.digest + b"".join(sorted(anchor.aaguids)) for anchor in own_anchors(settings.trust_anchors)
    )
    return f"{metadata.number}:{hashlib.sha256(digests).hexdigest()[:16]}"


def facts_of(
    credential: Credential,
    *,
    settings: ApplicationSettings,
    metadata: Metadata,
    now: datetime,
    backup_eligible: bool | None = None,
) -> AuthenticatorFacts:
    """What is known, now, of the authenticator that holds a credential.

    Args:
        backup_eligible: what has become known of it since the credential was recorded; None for what the record says.
    """
    entry = find_entry(metadata, credential.aaguid, credential.key_identifiers)
    by_metadata = _is_vouched_for(credential, entry)
    own = None if by_metadata else _own_anchor_of(credential, settings)
    return authenticator.facts_of(
        aaguid=credential.aaguid,
        attestation_format=credential.attestation_format,
        attested=by_metadata or own is not None,
        vouched_hardware=None if own is None else own.hardware,
        names_model=own is None or credential.aaguid in own.aaguids,
        alg=credential.alg,
        backup_eligible=bool(credential.backup_eligible if backup_eligible is None else backup_eligible),
        entry=entry,
        now=now,
    )


def _own_anchor_of(credential: Credential, settings: ApplicationSettings) -> OwnAnchor | None:
    if credential.trust is not TrustVerdict.ANCHORED or not settings.trust_anchors:
        return None
    anchors = own_anchors(settings.trust_anchors)
    return next(
        (each for each in anchors if each.digest == credential.anchor and each.may_vouch_for(credential.aaguid)), None
    )


def _is_vouched_for(credential: Credential, entry: MetadataEntry | None) -> bool:
    return (
        entry is not None
        and credential.trust is TrustVerdict.ANCHORED
        and credential.anchor in entry.anchor_digests
        and not _CERTIFIED_TYPES.isdisjoint(entry.attestation_types)
        and (not entry.algorithms or credential.alg in entry.algorithms)
    )


async def rejudged(
    credential: Credential, *, store: TenantStore, settings: ApplicationSettings, metadata: Metadata, now: datetime
) -> tuple[Credential, list[Change]]:
    """The credential with its trust path held against the anchors that are known now, and what to write of it.

    A passkey that was made before its model's metadata was known becomes attested at its next use.
    """
    known = anchors_known(settings, metadata)
    if credential.trust is TrustVerdict.NO_PATH or credential.judged_with == known:
        return credential, []
    if facts_of(credential, settings=settings, metadata=metadata, now=now).attested:
        return credential, []
    evidence = await store.find_evidence(credential.credential_id)
    if evidence is None:
        return credential, []
    trust = _judge_again(evidence, credential, anchors_for(settings, metadata))
    change = RejudgeCredential(
        credential_id=credential.credential_id,
        trust=trust.verdict,
        anchor=anchor_digest(trust),
        judged_with=known,
    )
    judged = msgspec.structs.replace(credential, trust=change.trust, anchor=change.anchor, judged_with=known)
    return judged, [change]


def _judge_again(evidence: AttestationEvidence, credential: Credential, find_anchors: FindAnchors) -> Trust:
    # By the instant of the registration: certificates may expire after they have vouched.
    then = credential.created_at
    try:
        parsed = parse_attestation_object(evidence.attestation_object)
        attestation = verify_attestation(parsed, hashlib.sha256(evidence.client_data_json).digest(), now=then)
        return judge_trust(attestation, aaguid=credential.aaguid, find_anchors=find_anchors, now=then)
    except Refusal:
        # It verified once. Rules that became stricter since then take its worth away, not the passkey.
        return Trust(TrustVerdict.UNANCHORED)
