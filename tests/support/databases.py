"""Fixtures that give a test a fresh, migrated database, on SQLite and on PostgreSQL alike.

A test that takes `database_url` runs once on each; one that is about a single database takes `sqlite_url` or
`postgresql_url`. The tables are made once a session and copied for each test.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from narthex.adapters.sql.migrate import upgrade
from tests.support.postgres import Cluster

_numbers = itertools.count()
_TEMPLATE = "narthex_template"


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of this session; a test that stops it must start it again."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def _postgres_template(postgres_cluster: Cluster) -> str:
    asyncio.run(upgrade(postgres_cluster.create_database(_TEMPLATE)))
    return _TEMPLATE


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "narthex.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
def postgresql_url(postgres_cluster: Cluster, _postgres_template: str) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL database."""
    name = f"test_{next(_numbers)}"
    yield postgres_cluster.create_database(name, template=_postgres_template)
    postgres_cluster.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """The URL of a migrated, empty SQLite database."""
    path = tmp_path / "narthex.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
