"""Houses to move between."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def template(_sqlite_template: Path) -> Path:
    """A migrated, empty SQLite database to copy."""
    return _sqlite_template
