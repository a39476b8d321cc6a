"""The format `none`: the authenticator, or the browser for it, vouches for nothing (L3 #sctn-none-attestation)."""

from __future__ import annotations

from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence
from narthex.webauthn.attestation_object import Statement
from narthex.webauthn.errors import AttestationStatementMalformed


def verify_none(statement: Statement, evidence: Evidence) -> Attestation:
    """Check that the statement is the empty map.

    Raises:
        AttestationStatementMalformed: it says something.
    """
    if statement:
        raise AttestationStatementMalformed("attestation statement of format `none` is not empty")
    return Attestation("none", AttestationType.NONE)
