"""Attestation statement formats: one file per format and one row here.

A format that has no row is refused, even where nobody asked for attestation: we do not store what we cannot check.
Browsers replace the statement by `none` unless attestation is asked for (L3 #enum-attestation-convey).
"""

from __future__ import annotations

from datetime import datetime

from narthex.base.errors import quoted
from narthex.webauthn.attestation.android_key import verify_android_key
from narthex.webauthn.attestation.android_safetynet import verify_android_safetynet
from narthex.webauthn.attestation.apple import verify_apple
from narthex.webauthn.attestation.compound import compound_of
from narthex.webauthn.attestation.fido_u2f import verify_fido_u2f
from narthex.webauthn.attestation.none import verify_none
from narthex.webauthn.attestation.packed import verify_packed
from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, Verifier
from narthex.webauthn.attestation.tpm import verify_tpm
from narthex.webauthn.attestation_object import COMPOUND, AttestationObject
from narthex.webauthn.errors import AttestationFormatUnsupported

__all__ = ["FORMATS", "Attestation", "AttestationType", "Evidence", "Verifier", "verify_attestation"]

FORMATS: dict[str, Verifier] = {
    "none": verify_none,
    "packed": verify_packed,
    "tpm": verify_tpm,
    "android-key": verify_android_key,
    "fido-u2f": verify_fido_u2f,
    "apple": verify_apple,
    "android-safetynet": verify_android_safetynet,
}
FORMATS[COMPOUND] = compound_of(FORMATS)


def verify_attestation(attestation_object: AttestationObject, client_data_hash: bytes, *, now: datetime) -> Attestation:
    """Check the statement by the rules of its format, whose name is compared case-sensitively.

    Raises:
        AttestationFormatUnsupported, or what the format refuses.
    """
    verify = FORMATS.get(attestation_object.fmt)
    if verify is None:
        raise AttestationFormatUnsupported(f"attestation format {quoted(attestation_object.fmt)} is not supported")
    evidence = Evidence(attestation_object.authenticator_data, client_data_hash, now)
    return verify(attestation_object.statement, evidence)
