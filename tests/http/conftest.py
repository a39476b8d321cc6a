"""A house for each test of the edge, entered in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.application import Application, Ceremonies, HouseInProcess


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def house(sqlite_url: str) -> AsyncIterator[HouseInProcess]:
    """A house on SQLite: for what does not depend on the database."""
    async with HouseInProcess(sqlite_url) as house:
        yield house


@pytest.fixture
async def any_house(database_url: str) -> AsyncIterator[HouseInProcess]:
    """A house on each database in turn."""
    async with HouseInProcess(database_url) as house:
        yield house


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    """The application `demo`, with an event log."""
    return await house.create_application(eventLoggingIsEnabled=True)


@pytest.fixture
def ceremonies(application: Application) -> Ceremonies:
    return Ceremonies(application)
