"""What the settings of an application were: who decided what, and when."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from narthex.ports.records import ApplicationSettings, SettingsRevision
from narthex.ports.store import TenantStore
from narthex.usecases.application import names_changed


class Revised(msgspec.Struct, frozen=True):
    """A revision, and the one before it; None for the first that is known."""

    revision: SettingsRevision
    before: ApplicationSettings | None

    @property
    def changed(self) -> list[str]:
        """The members that the revision changed."""
        return [] if self.before is None else names_changed(self.before, self.revision.settings)


async def list_revisions(store: TenantStore, *, before: int | None, most: int) -> tuple[Sequence[Revised], int | None]:
    """Revisions, newest first, before a version; and where the list goes on, None at its end."""
    found = list(await store.list_revisions(before=before, most=most + 1))
    pairs = zip(found, [*found[1:], None], strict=True)
    revised = [Revised(revision, older.settings if older else None) for revision, older in pairs]
    return revised[:most], found[most - 1].version if len(found) > most else None
