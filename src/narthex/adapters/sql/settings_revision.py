"""What the settings of an application were, version by version."""

from __future__ import annotations

from typing import Final

from narthex.adapters.sql.encoding import from_us, settings_from_json, to_json, to_us
from narthex.adapters.sql.engine import Row, Step
from narthex.adapters.sql.plan import Plan, Plans
from narthex.adapters.sql.statement import TenantStatement
from narthex.ports.changes import KeepRevision
from narthex.ports.records import SettingsRevision

LAST: Final = 2**63 - 1
"""Past all versions: what a column holds at most."""
LIST = TenantStatement("""
    select version, changed_at, changed_by, settings from settings_revision
    where app_id = :app_id and version < :before order by version desc limit :most
""")
_KEEP = TenantStatement("""
    insert into settings_revision (app_id, version, changed_at, changed_by, settings)
    values (:app_id, :version, :changed_at, :changed_by, :settings)
    on conflict (app_id, version) do update
    set changed_at = excluded.changed_at, changed_by = excluded.changed_by, settings = excluded.settings
""")


def from_row(row: Row) -> SettingsRevision:
    version, changed_at, changed_by, settings = row
    return SettingsRevision(version, from_us(changed_at), changed_by, settings_from_json(settings))


def _keep(app_id: str, change: KeepRevision) -> list[Step]:
    kept = change.revision
    bound = _KEEP.bind(
        app_id,
        version=kept.version,
        changed_at=to_us(kept.changed_at),
        changed_by=kept.changed_by,
        settings=to_json(kept.settings),
    )
    return [(_KEEP, bound)]


CHANGES: Plans = {KeepRevision: Plan(_keep)}
