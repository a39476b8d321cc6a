"""What a sign-in is worth: from what a ceremony proved to a level, and the record that says why.

NIST SP 800-63B-4 (July 2025) gives the levels (AAL 1 … 3), EAP ACR Values 1.0 the words `phr` (phishing-resistant)
and `phrh` (phishing-resistant, with the key protected by hardware), and RFC 8176 the `amr`, to which EAP adds `pop`.
The rules are two tables, ``ROWS`` and ``CEILINGS``, and three sentences:

* The level is computed at each use, from the metadata of that day, and never kept as a summary: a model that fails
  tomorrow lowers tomorrow's sign-ins.
* A row asks for proofs, and the first row whose proofs are all there is the level, so more proof never lowers it.
* BE=0 is what the authenticator says of itself. It is recorded, and it is evidence only together with attestation:
  without that, the level ends at 2.

WebAuthn proves both ends of phishing resistance with every assertion whose origin and rpIdHash were checked
(SP 800-63B-4 section 3.2.5.2, verifier name binding), hence `phr` for each of them. Methods other than passkeys
prove nobody's presence: they are worth AAL 0 and no acr, and ``method`` names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache

import msgspec

from narthex.webauthn.authenticator import AuthenticatorFacts
from narthex.webauthn.metadata import FidoLevel

PHR, PHRH = "phr", "phrh"


class Method(StrEnum):
    """How a person or a program came in."""

    PASSKEY = "passkey"
    REGISTRATION = "registration"
    """A passkey was made. That is no sign-in: the leave was the backend's."""
    RECOVERY_CODE = "recovery_code"
    EMAIL_LINK = "email_link"
    MANUAL = "manual"
    ADMIN = "admin"
    CLIENT_KEY = "client_key"
    CLIENT_SECRET = "client_secret"
    WORKLOAD = "workload"


class Level(msgspec.Struct, frozen=True):
    """What a sign-in is worth."""

    aal: int
    """0 … 3, SP 800-63B-4 section 2; 0 is ours, for what is no authentication by its rules."""
    acr: str | None
    """`phr` or `phrh`."""
    amr: tuple[str, ...]
    phr: bool
    """Phishing-resistant."""
    hw: bool
    """It rests on a key that hardware protects."""


class Proof(Enum):
    """One thing that a ceremony, or the authenticator behind it, can show."""

    UP = "up"
    """A person consented: SP 800-63B-4 section 3.2.8, authentication intent."""
    UV = "uv"
    """The authenticator verified the user: the second factor (section 3.1.7)."""
    BOUND = "bound"
    """BE=0: the authenticator says that the key cannot leave it (Appendix B.3)."""
    HARDWARE = "hardware"
    """Attested: keys stay in hardware (section 3.2.13)."""
    FIPS = "fips"
    """Attested: FIPS 140 level 1 or higher (section 2.3.2); counts as shown where nobody asks for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A level, and the proofs it takes."""

    proofs: frozenset[Proof]
    level: Level


def _row(*proofs: Proof, level: Level) -> Row:
    return Row(frozenset(proofs), level)


NOTHING = Level(0, None, (), phr=False, hw=False)

_UP, _UV, _BOUND, _HARDWARE, _FIPS = Proof
ROWS = (
    _row(_UP, _UV, _BOUND, _HARDWARE, _FIPS, level=Level(3, PHRH, ("hwk", "pop", "user", "mfa"), phr=True, hw=True)),
    _row(_UP, _UV, _BOUND, _HARDWARE, level=Level(2, PHRH, ("hwk", "pop", "user", "mfa"), phr=True, hw=True)),
    _row(_UP, _UV, level=Level(2, PHR, ("pop", "user", "mfa"), phr=True, hw=False)),
    # Nobody touched anything: no intent, which AAL2 recommends and AAL3 demands (section 3.2.8).
    _row(_UV, level=Level(2, PHR, ("pop", "mfa"), phr=True, hw=False)),
    # UV=0 is single-factor, wherever the key lies (Appendix B.3).
    _row(_UP, level=Level(1, PHR, ("pop", "user"), phr=True, hw=False)),
    # Beyond NIST, whose AAL1 lets a device answer alone: neither flag means that nobody was there.
    _row(level=NOTHING),
)
"""From the highest level to none. The second row is the first without FIPS, where FIPS is required."""

CEILINGS = {
    # UV says nothing any more, malware or a finder can set it: what is left is one factor, having the device.
    "USER_VERIFICATION_BYPASS": 1,
    # Who once held the device may have taken the key out, past its PIN: having the key is one factor.
    "USER_KEY_PHYSICAL_COMPROMISE": 1,
    # The key may be anywhere, and nobody had to touch the device: a signature is nobody's in particular.
    "USER_KEY_REMOTE_COMPROMISE": 0,
    # The alliance says to trust the model in nothing, as it does of a forgery or a back door.
    "REVOKED": 0,
}
"""Bad status of the model → the highest AAL that is left, also where the model is only claimed.

ATTESTATION_KEY_COMPROMISE is not here: it takes the attestation away (``authenticator``), and with it AAL 3."""

AMR_OF_METHOD = {Method.RECOVERY_CODE: ("otp",)}
"""What RFC 8176 has a word for, of the methods that are no passkey. A link is none of its methods."""


def level_of(
    method: Method,
    *,
    up: bool = False,
    uv: bool = False,
    exportable: bool = True,
    facts: AuthenticatorFacts | None = None,
    fips_required: bool = False,
) -> Level:
    """Say what a sign-in is worth.

    Args:
        up, uv: flags of the assertion, verified.
        exportable: the key may leave its device, by the authenticator's own word (BE=1).
        facts: what is known now of the authenticator; None where nothing is.
        fips_required: the strict profile: AAL 3 takes a FIPS 140 status too.
    """
    if method is not Method.PASSKEY:
        return msgspec.structs.replace(NOTHING, amr=AMR_OF_METHOD.get(method, ()))
    shown = (
        up,
        uv,
        not exportable,
        facts is not None and facts.hardware,
        not fips_required or (facts is not None and facts.fips is not None),
    )
    level = _highest(shown, min((CEILINGS.get(status, 3) for status in _statuses(facts)), default=3))
    if level.aal and facts is not None and facts.software:
        return msgspec.structs.replace(level, amr=("swk", *level.amr))
    return level


@cache
def _highest(shown: tuple[bool, ...], ceiling: int) -> Level:
    """Look the level up; there are 128 answers, and each sign-in asks.

    Args:
        shown: for each Proof, in their order.
        ceiling: the highest AAL that is left.
    """
    proofs = {proof for proof, is_shown in zip(Proof, shown, strict=True) if is_shown}
    return next(row.level for row in ROWS if row.proofs <= proofs and row.level.aal <= ceiling)


def _statuses(facts: AuthenticatorFacts | None) -> tuple[str, ...]:
    return () if facts is None else tuple(sorted(facts.standing.bad))


class Assurance(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one sign-in, or one registration, proved: written once and never changed.

    It travels inside sealed tokens, so fields only ever append, with a default. None is a fact that was not
    observed.
    """

    assurance_id: bytes
    """16 bytes."""
    method: Method
    aal: int
    acr: str | None
    amr: tuple[str, ...]
    phr: bool
    hw: bool
    up: bool
    uv: bool
    be: bool | None
    """The claim that the key may leave its device; ``hw`` is the evidence that it does not."""
    bs: bool | None
    attested: bool
    aaguid: bytes | None
    """16 bytes; a claim unless ``attested``."""
    model: str | None
    """The name that the metadata has for the AAGUID: to be shown, and no more than that unless ``attested``."""
    key_protection: tuple[str, ...]
    """As attested, like ``certified`` and ``fips``."""
    certified: str | None
    """Such as `FIDO_CERTIFIED_L2`."""
    fips: int | None
    """FIPS 140 level, 1 … 4."""
    statuses: tuple[str, ...]
    """The bad ones of the model, also where it is only claimed."""
    credential_id: bytes | None
    credential_created_at: datetime | None
    rp_id: str | None
    origin: str | None
    transports: tuple[str, ...]
    attachment: str | None
    auth_time: datetime
    """When the user last acted, UTC; no refresh moves it (RFC 9068 section 2.2.1)."""
    ip: str = ""
    device: str = ""
    mds_number: int = 0
    """Of the metadata that was in force; 0 when there was none."""
    mds_stale: bool = False
    """It had announced an update that was overdue."""
    findings: tuple[str, ...] = ()
    """Policy rules that objected and were only monitored, and oddities that were let pass."""


def assure(
    method: Method,
    *,
    assurance_id: bytes,
    facts: AuthenticatorFacts,
    up: bool,
    uv: bool,
    be: bool,
    bs: bool,
    credential_id: bytes,
    credential_created_at: datetime,
    rp_id: str,
    origin: str,
    transports: tuple[str, ...],
    attachment: str | None,
    auth_time: datetime,
    ip: str,
    device: str,
    mds_number: int,
    mds_stale: bool,
    findings: tuple[str, ...] = (),
    fips_required: bool = False,
) -> Assurance:
    """Make the record of a ceremony that was verified.

    Args:
        method: PASSKEY for a sign-in, REGISTRATION for a new passkey.
        facts: what is known now of the authenticator. Its ``backup_eligible`` is the word at registration.
        be: the word of this ceremony; where the two differ, the key counts as exportable.
        findings: in the order in which they were judged.
    Raises:
        ValueError: the method is no ceremony.
    """
    if method not in (Method.PASSKEY, Method.REGISTRATION):
        raise ValueError(f"{method.value} is no ceremony")
    exportable = be or facts.backup_eligible
    level = level_of(method, up=up, uv=uv, exportable=exportable, facts=facts, fips_required=fips_required)
    return Assurance(
        assurance_id=assurance_id,
        method=method,
        aal=level.aal,
        acr=level.acr,
        amr=level.amr,
        phr=level.phr,
        hw=level.hw,
        up=up,
        uv=uv,
        be=be,
        bs=bs,
        attested=facts.attested,
        aaguid=facts.aaguid,
        model=(facts.entry.name or None) if facts.entry is not None else None,
        key_protection=facts.key_protection,
        certified=_certified(facts.certified),
        fips=facts.fips,
        statuses=_statuses(facts),
        credential_id=credential_id,
        credential_created_at=credential_created_at,
        rp_id=rp_id,
        origin=origin,
        transports=transports,
        attachment=attachment,
        auth_time=auth_time,
        ip=ip,
        device=device,
        mds_number=mds_number,
        mds_stale=mds_stale,
        findings=findings,
    )


def unproven(
    method: Method,
    *,
    assurance_id: bytes,
    auth_time: datetime,
    ip: str = "",
    device: str = "",
    rp_id: str | None = None,
    origin: str | None = None,
    mds_number: int = 0,
    mds_stale: bool = False,
    findings: tuple[str, ...] = (),
) -> Assurance:
    """Make the record of a way in that is no ceremony: AAL 0, and nothing observed of any authenticator.

    Raises:
        ValueError: the method is a ceremony.
    """
    if method in (Method.PASSKEY, Method.REGISTRATION):
        raise ValueError(f"{method.value} is a ceremony")
    level = level_of(method)
    return Assurance(
        assurance_id=assurance_id,
        method=method,
        aal=level.aal,
        acr=level.acr,
        amr=level.amr,
        phr=level.phr,
        hw=level.hw,
        up=False,
        uv=False,
        be=None,
        bs=None,
        attested=False,
        aaguid=None,
        model=None,
        key_protection=(),
        certified=None,
        fips=None,
        statuses=(),
        credential_id=None,
        credential_created_at=None,
        rp_id=rp_id,
        origin=origin,
        transports=(),
        attachment=None,
        auth_time=auth_time,
        ip=ip,
        device=device,
        mds_number=mds_number,
        mds_stale=mds_stale,
        findings=findings,
    )


def _certified(level: FidoLevel | None) -> str | None:
    return None if level is None else f"FIDO_CERTIFIED_{level.name}"
