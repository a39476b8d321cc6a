"""Decoys: where an application conceals its users, an unknown one must look like one with a passkey.

A decoy is a credential that does not exist: always the same one for the same question, and another one for
another. Its key has no owner, so that an answer to it fails where an answer to a true passkey would fail, with
the same reason (CVE-2024-39912 is what a list that is empty for unknown users tells).

What it cannot hide: that a user has several passkeys, because a decoy is always alone.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from narthex.ports.records import Credential
from narthex.usecases.call import Call

# The order of P-256, less one (SEC 2, section 2.4.2): private keys are 1 … order - 1.
_MOST_KEYS = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 - 1
# What passkeys in the field look like: the length of their ids, their transports, whether they are synced.
_SHAPES = (
    (32, ("internal", "hybrid"), True),
    (20, ("hybrid", "internal"), True),
    (16, ("internal", "hybrid"), True),
    (32, ("internal",), False),
)


def decoy_seed(call: Call, *, user_id: str | None, alias: str | None, rp_id: str) -> bytes:
    """What the decoy for a question grows from, 32 bytes."""
    parts = (call.application.app_id, rp_id, "user" if user_id else "alias", user_id or alias or "")
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return call.keyring.mac("decoy-credential", message)


def decoy(call: Call, seed: bytes, *, user_id: str | None, rp_id: str) -> Credential:
    """The credential that does not exist.

    Args:
        user_id: the one that was asked for, which a true authenticator would name; None if an alias was.
    """

    def grown(label: bytes) -> bytes:
        return call.keyring.mac("decoy-credential", seed + label)

    id_size, transports, synced = _SHAPES[seed[0] % len(_SHAPES)]
    handle = user_id.encode() if user_id else grown(b"user")
    return Credential(
        credential_id=grown(b"id")[:id_size],
        user_id=user_id or "",
        user_handle=handle,
        public_key=_ownerless_key(grown(b"key")),
        sign_count=0,
        attestation_format="none",
        aaguid=bytes(16),
        rp_id=rp_id,
        origin="",
        transports=transports,
        backup_eligible=synced,
        backup_state=synced,
        user_verified=True,
        discoverable=True,
        nickname=None,
        device="",
        country="",
        created_at=call.now,
        last_used_at=call.now,
    )


def _ownerless_key(chance: bytes) -> bytes:
    """An ES256 key as COSE has it (RFC 9053, section 7.1); the private half is forgotten."""
    private = ec.derive_private_key(int.from_bytes(chance, "big") % _MOST_KEYS + 1, ec.SECP256R1())
    point = private.public_key().public_numbers()
    x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
    return bytes.fromhex("a5010203262001215820") + x + bytes.fromhex("225820") + y
