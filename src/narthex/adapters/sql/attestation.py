"""What vouched for credentials when they were made. It goes when its credential goes."""

from __future__ import annotations

from narthex.adapters.sql.engine import Step
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.records import AttestationEvidence

FIND = TenantStatement("""
    select attestation_object, client_data_json from attestation
    where app_id = :app_id and credential_id = :credential_id
""")
# Where the row is there already, so is the credential, whose own step refuses.
_ADD = TenantStatement("""
    insert into attestation (app_id, credential_id, attestation_object, client_data_json)
    values (:app_id, :credential_id, :attestation_object, :client_data_json)
    on conflict do nothing
""")


def add(app_id: str, credential_id: bytes, evidence: AttestationEvidence) -> Step:
    bound = _ADD.bind(
        app_id,
        credential_id=credential_id,
        attestation_object=evidence.attestation_object,
        client_data_json=evidence.client_data_json,
    )
    return _ADD, bound
