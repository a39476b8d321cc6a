"""The format `compound` (L3 #sctn-compound-attestation): several statements about one credential.

Each part is verified by the row of its own format, about the same authenticator data and client data. The
specification lets the relying party decide how many must hold; here all of them must, because a part that we cannot
check is one that nobody should rely on. Nothing is compound twice.

Beyond the spec: there are at most eight parts, because each may cost a signature to check.
"""

from __future__ import annotations

from collections.abc import Mapping

from narthex.base.errors import quoted
from narthex.webauthn.attestation.statement import Attestation, AttestationType, Evidence, Verifier
from narthex.webauthn.attestation_object import COMPOUND, PARTS, Statement
from narthex.webauthn.errors import AttestationFormatUnsupported, AttestationStatementMalformed

MIN_PARTS, MAX_PARTS = 2, 8

_TYPES = tuple(AttestationType)  # from what vouches for nothing to what vouches most


def compound_of(formats: Mapping[str, Verifier]) -> Verifier:
    """Make the verifier of statements whose parts are of these formats."""

    def verify_compound(statement: Statement, evidence: Evidence) -> Attestation:
        """Check a compound statement.

        Returns:
            its type is that of the part that vouches most; the trust paths are those of the parts.
        Raises:
            AttestationStatementMalformed, AttestationFormatUnsupported, or what the format of a part refuses.
        """
        parts = tuple(_verify_part(part, evidence, formats) for part in _get_parts(statement))
        return Attestation(COMPOUND, max((part.type for part in parts), key=_TYPES.index), parts=parts)

    return verify_compound


def _get_parts(statement: Statement) -> list[object]:
    parts = statement.get(PARTS)
    if not isinstance(parts, list) or not MIN_PARTS <= len(parts) <= MAX_PARTS:
        raise AttestationStatementMalformed(f"compound statement has not {MIN_PARTS} to {MAX_PARTS} parts")
    return parts


def _verify_part(part: object, evidence: Evidence, formats: Mapping[str, Verifier]) -> Attestation:
    if not isinstance(part, dict) or part.keys() != {"fmt", "attStmt"}:
        raise AttestationStatementMalformed("part of a compound statement has not exactly `fmt` and `attStmt`")
    fmt, statement = part["fmt"], part["attStmt"]
    if not isinstance(fmt, str) or not isinstance(statement, dict) or fmt == COMPOUND:
        raise AttestationStatementMalformed("part of a compound statement is compound, or has a member of a wrong type")
    verify = formats.get(fmt)
    if verify is None:
        raise AttestationFormatUnsupported(f"attestation format {quoted(fmt)} is not supported")
    return verify(statement, evidence)
