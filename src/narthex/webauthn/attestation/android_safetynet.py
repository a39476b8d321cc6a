"""The format `android-safetynet` (L3 #sctn-android-safetynet-attestation): Google's word on a whole device.

Google closed the service in January 2025, so no new statement is made. The format is kept for records from before:
they are judged at their own instant, which is then ``Evidence.now``.

The statement holds a JWS whose payload repeats a nonce. What the payload says of the calling app is not judged: the
caller was the system's own passkey component, whatever page asked.

Beyond the spec: the statement has no member but ``ver`` and ``response``; the payload has no member twice; and it was
made in the minute before, as the server tests of the FIDO Alliance ask, for an honest one is made in the ceremony.
``ctsProfileMatch`` was a step of Level 1 and is kept: without it Google says that the device is not a sound one.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from cryptography import x509

from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, get_bytes
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.errors import (
    AttestationCertificateInvalid,
    AttestationNonceMismatch,
    AttestationStatementMalformed,
    AttestationTimeInvalid,
    DeviceNotSound,
)
from narthex.webauthn.jws import verify_jws
from narthex.webauthn.strict_json import strict_decoder
from narthex.webauthn.trust import parse_certificate

HOST = "attest.android.com"
ALGORITHMS = frozenset({"RS256"})
"""The one that the service signed with."""
MAX_AGE = timedelta(minutes=1)
MAX_SKEW = timedelta(seconds=10)
"""How far Google's clock may be ahead of ours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SafetyNetAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The members of the payload that we judge; the others are let through."""

    nonce: str
    timestamp_ms: int
    """Milliseconds since 1970."""
    cts_profile_match: bool


def verify_android_safetynet(statement: Statement, evidence: Evidence) -> Attestation:
    """Check a SafetyNet statement.

    Raises:
        AttestationStatementMalformed, JwsMalformed, CertificateMalformed, JwsAlgorithmNotAllowed,
        JwsSignatureInvalid, AttestationCertificateInvalid, AttestationNonceMismatch, AttestationTimeInvalid,
        DeviceNotSound.
    """
    if statement.keys() != {"ver", "response"}:
        raise AttestationStatementMalformed("android-safetynet statement has not exactly `ver` and `response`")
    if not isinstance(statement["ver"], str) or not statement["ver"]:
        raise AttestationStatementMalformed("android-safetynet statement names no version")
    text = verify_jws(get_bytes(statement, "response"), algorithms=ALGORITHMS)
    answer = _parse_answer(text.payload)
    _check_nonce(answer, evidence)
    _check_host(text.path[0])
    _check_time(answer, evidence.now)
    if not answer.cts_profile_match:
        raise DeviceNotSound("SafetyNet says that the device does not pass the compatibility tests")
    return Attestation("android-safetynet", AttestationType.BASIC, text.path)


def _parse_answer(raw: bytes) -> SafetyNetAnswer:
    try:
        return msgspec.convert(_DECODER.decode(raw.decode()), SafetyNetAnswer)
    except (ValueError, RecursionError) as e:
        raise AttestationStatementMalformed("SafetyNet answer is not JSON, or has not the members it must have") from e


# msgspec keeps the last of two members of one name, so it checks the types and this reads.
_DECODER = strict_decoder(AttestationStatementMalformed, "SafetyNet answer")


def _check_nonce(answer: SafetyNetAnswer, evidence: Evidence) -> None:
    """nonce: base64, not base64url, of the hash of authData and clientDataHash."""
    if answer.nonce != b64encode(sha256(evidence.signed).digest()).decode():
        raise AttestationNonceMismatch("SafetyNet answer was made for another registration")


def _check_host(leaf: bytes) -> None:
    """That SafetyNet signed: its certificate names the service's host, once for all without wildcards."""
    names = parse_certificate(leaf).find_value(x509.SubjectAlternativeName)
    if names is None or HOST not in names.get_values_for_type(x509.DNSName):
        raise AttestationCertificateInvalid(f"attestation certificate does not name the host `{HOST}`")


def _check_time(answer: SafetyNetAnswer, now: datetime) -> None:
    age_ms = (now - _EPOCH) // timedelta(milliseconds=1) - answer.timestamp_ms
    if age_ms > MAX_AGE // timedelta(milliseconds=1):
        raise AttestationTimeInvalid("SafetyNet answer is older than a minute")
    if age_ms < -MAX_SKEW // timedelta(milliseconds=1):
        raise AttestationTimeInvalid("SafetyNet answer is from the future")
