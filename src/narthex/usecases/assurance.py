"""The assurance record as the outside reads it: in the answer of a verified sign-in, and in the event log."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from narthex.base.values import instant_z, to_base64url, uuid_text
from narthex.webauthn.assurance import Assurance

_DECODER = msgspec.msgpack.Decoder(Assurance)


class AssuranceRecord(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How surely the user is who the token says. Facts and a level: never a permission."""

    id: Annotated[str, Meta(description="A UUID, different for every authentication.")]
    method: Annotated[
        str,
        Meta(
            description="`passkey`; `registration` for a new passkey, which proves nobody yet; `manual` for a token "
            "that a backend made."
        ),
    ]
    aal: Annotated[int, Meta(description="Authentication assurance level of NIST SP 800-63B-4, 1 to 3; 0 for none.")]
    acr: Annotated[
        str | None,
        Meta(description="`phrh` (phishing-resistant, hardware-protected), `phr` (phishing-resistant), or null."),
    ]
    amr: Annotated[tuple[str, ...], Meta(description="Methods by RFC 8176, and `pop` by OpenID EAP ACR Values.")]
    phishing_resistant: Annotated[bool, Meta(description="What was signed is worth nothing at any other site.")]
    hardware: Annotated[bool, Meta(description="Attested, and the keys of the model stay in hardware.")]
    user_present: Annotated[bool, Meta(description="Somebody touched the authenticator, or agreed otherwise.")]
    user_verified: Annotated[bool, Meta(description="The authenticator knew its user, by PIN or by a trait.")]
    backup_eligible: Annotated[
        bool | None, Meta(description="Whether the passkey may be synced; null without a passkey.")
    ]
    backup_state: Annotated[bool | None, Meta(description="Whether it is synced now; null without a passkey.")]
    attested: Annotated[
        bool, Meta(description="Whether its maker vouches for the model, by a chain that is trusted now.")
    ]
    aaguid: Annotated[str | None, Meta(description="The model. Display data only, unless attested.")]
    model: Annotated[str | None, Meta(description="Its name in the FIDO metadata. Display data only, unless attested.")]
    key_protection: Annotated[tuple[str, ...], Meta(description="Where the model keeps keys, as its metadata says.")]
    certified: Annotated[str | None, Meta(description="The model's FIDO certification, such as `FIDO_CERTIFIED_L2`.")]
    fips: Annotated[int | None, Meta(description="The model's level of FIPS 140, 1 to 4.")]
    statuses: Annotated[
        tuple[str, ...], Meta(description="What speaks against the model, such as `REVOKED`; usually nothing.")
    ]
    credential_id: Annotated[str | None, Meta(description="Base64url.")]
    credential_created_at: Annotated[str | None, Meta(description="Since when the passkey is registered, UTC.")]
    rp_id: Annotated[str | None, Meta(description="The domain that the passkey belongs to.")]
    origin: Annotated[str | None, Meta(description="The page that asked for it.")]
    transports: Annotated[tuple[str, ...], Meta(description="How the authenticator can be reached.")]
    attachment: Annotated[str | None, Meta(description="`platform` or `cross-platform`: the browser's word.")]
    auth_time: Annotated[str, Meta(description="When the user acted, or the token was made, UTC.")]
    ip: Annotated[str, Meta(description="Where the browser called from, as far as trusted proxies tell.")]
    device: Annotated[str, Meta(description="Browser and system, as the browser says.")]
    metadata_number: Annotated[int, Meta(description="Serial number of the FIDO metadata judged by; 0 without any.")]
    metadata_stale: Annotated[bool, Meta(description="Whether newer metadata was due. Also true without any.")]
    findings: Annotated[
        tuple[str, ...],
        Meta(
            description="What was noticed and let pass: rules that are only monitored, `sign-count`, "
            "`backup-eligibility`."
        ),
    ]


def record_of(assurance: Assurance) -> AssuranceRecord:
    """Spell a record for the outside."""
    created_at = assurance.credential_created_at
    return AssuranceRecord(
        id=uuid_text(assurance.assurance_id),
        method=assurance.method,
        aal=assurance.aal,
        acr=assurance.acr,
        amr=assurance.amr,
        phishing_resistant=assurance.phr,
        hardware=assurance.hw,
        user_present=assurance.up,
        user_verified=assurance.uv,
        backup_eligible=assurance.be,
        backup_state=assurance.bs,
        attested=assurance.attested,
        aaguid=None if assurance.aaguid is None else uuid_text(assurance.aaguid),
        model=assurance.model,
        key_protection=assurance.key_protection,
        certified=assurance.certified,
        fips=assurance.fips,
        statuses=assurance.statuses,
        credential_id=None if assurance.credential_id is None else to_base64url(assurance.credential_id),
        credential_created_at=None if created_at is None else instant_z(created_at),
        rp_id=assurance.rp_id,
        origin=assurance.origin,
        transports=assurance.transports,
        attachment=assurance.attachment,
        auth_time=instant_z(assurance.auth_time),
        ip=assurance.ip,
        device=assurance.device,
        metadata_number=assurance.mds_number,
        metadata_stale=assurance.mds_stale,
        findings=assurance.findings,
    )


def packed(assurance: Assurance) -> bytes:
    """For a sealed token, and for the event log: 200 bytes where the record as JSON has 750."""
    return msgspec.msgpack.encode(assurance)


def unpacked(kept: bytes) -> Assurance | None:
    """Out of what was packed; None where there is nothing, as in a token of an older server."""
    return _DECODER.decode(kept) if kept else None
