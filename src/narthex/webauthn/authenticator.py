"""What is known, now, of the authenticator behind a credential: claims and facts, told apart once.

An authenticator names its model by an AAGUID, which anyone can copy. The claim becomes a fact when the attestation's
trust path leads to an anchor that is trusted now. Levels and policies read the difference off here:

* Bad news counts on the mere claim: who pretends to be a broken model gains nothing by it.
* Good news (certification, FIPS, how keys are protected) counts only when attested.
* Once the attestation keys of a model are out, anyone can attest for it, whichever anchor vouches: its attestation
  then proves nothing. This is where that is applied.
* Who vouches also says whether keys stay in hardware: the metadata for its own anchors, and the operator for an
  anchor of the application's own, whose certificates may name any model they like.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from narthex.webauthn.metadata import FidoLevel, MetadataEntry, Standing, in_hardware, standing

AAGUID_BYTES = 16
ATTESTATION_KEY_COMPROMISE = "ATTESTATION_KEY_COMPROMISE"
NO_STANDING = Standing(bad=frozenset(), fido=None, fips=None)
"""Of a model that the metadata does not know."""


class AuthenticatorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known, now, of the authenticator behind a credential."""

    aaguid: bytes
    """16 bytes; a claim unless attested, and all zero when the model is not told."""
    attestation_format: str
    attested: bool
    """Its trust path leads to an anchor that is trusted now."""
    hardware: bool
    """Attested, and who vouches says that keys stay in hardware."""
    alg: int
    backup_eligible: bool
    entry: MetadataEntry | None = None
    """Metadata of the model it claims to be: display data unless attested."""
    standing: Standing = NO_STANDING
    """Of that entry, now."""
    names_model: bool = True
    """Who vouches for it vouches for this very model, so that the good word of its entry counts."""

    def __post_init__(self) -> None:
        # INVARIANT: hardware ⇒ attested ⇒ the model's attestation keys are its maker's alone. These are our own
        # mistakes, not a client's, hence no refusal.
        if len(self.aaguid) != AAGUID_BYTES:
            raise ValueError(f"aaguid is not {AAGUID_BYTES} bytes")
        if self.hardware and not self.attested:
            raise ValueError("hardware without attestation is a mere claim")
        if self.attested and ATTESTATION_KEY_COMPROMISE in self.standing.bad:
            raise ValueError("attestation by keys that are compromised proves nothing")

    @property
    def certified(self) -> FidoLevel | None:
        """The level it is certified for, as far as that is attested."""
        return self.standing.fido if self._is_described else None

    @property
    def fips(self) -> int | None:
        """The FIPS 140 level, 1 … 4, as far as that is attested."""
        return self.standing.fips if self._is_described else None

    @property
    def key_protection(self) -> tuple[str, ...]:
        """How the metadata says that keys are kept, as far as that is attested."""
        return tuple(self.entry.key_protection) if self._is_described and self.entry is not None else ()

    @property
    def _is_described(self) -> bool:
        return self.attested and self.names_model

    @property
    def software(self) -> bool:
        """Attested to be a model that keeps keys in software."""
        return not self.hardware and "software" in self.key_protection


def facts_of(
    *,
    aaguid: bytes,
    attestation_format: str,
    attested: bool,
    alg: int,
    backup_eligible: bool,
    entry: MetadataEntry | None,
    now: datetime,
    vouched_hardware: bool | None = None,
    names_model: bool = True,
) -> AuthenticatorFacts:
    """Put together what is known of an authenticator.

    Args:
        attested: the trust path leads to an anchor that is trusted now.
        entry: the metadata of the model it claims to be.
        now: instant of the call, UTC: standing changes with the days.
        vouched_hardware: None where the metadata's anchor was reached; for an anchor of the application's own,
            whether its operator says that keys stay in hardware.
        names_model: False for an anchor that may vouch for any model: its certificates name what they like, and what
            the alliance says of a model is not said of those.
    """
    current = NO_STANDING if entry is None else standing(entry, now=now)
    proven = attested and ATTESTATION_KEY_COMPROMISE not in current.bad
    described = entry is not None and in_hardware(entry)
    return AuthenticatorFacts(
        aaguid=aaguid,
        attestation_format=attestation_format,
        attested=proven,
        hardware=proven and (described if vouched_hardware is None else vouched_hardware),
        alg=alg,
        backup_eligible=backup_eligible,
        entry=entry,
        standing=current,
        names_model=names_model,
    )
