"""What an import asks of the place where the secrets that it draws are written down."""

from __future__ import annotations

from typing import Protocol

from narthex.base.values import Secret


class KeyLedger(Protocol):
    """Where secrets are written down once, before the database knows of them."""

    def find(self, app_id: str, name: str) -> Secret | None:
        """What an earlier run wrote down under this name."""
        ...

    def keep(self, app_id: str, name: str, secret: Secret) -> None:
        """Write it down for good."""
        ...
