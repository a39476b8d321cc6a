"""A server on each database, an application on it, and a page with a visitor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.ceremonies import Page
from tests.acceptance.mailbox import Mailbox
from tests.support.server import AppKeys, RunningServer, running_server

SENDER = "passkeys@shop.example.org"
MAIL_QUOTA = 100
"""In 30 days; an application of today may send a fifth of it."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server on an empty database, once of each kind; it makes the tables itself, and mails into a directory."""
    directory = tmp_path_factory.mktemp("acceptance")
    mail: dict[str, object] = {"mail": directory / "mail", "mail_from": SENDER, "new_application_hold": 0}
    with running_server(_database_url(request, directory), **mail) as running:
        yield running


def _database_url(request: pytest.FixtureRequest, directory: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{directory / 'narthex.db'}"
    url: str = request.getfixturevalue("postgres_cluster").create_database(f"acceptance_{next(_numbers)}")
    return url


@pytest.fixture
def app(server: RunningServer) -> AppKeys:
    return server.create_app(f"acceptance{next(_numbers)}", magicLinkEmailMonthlyQuota=MAIL_QUOTA)


@pytest.fixture
def mailbox(server: RunningServer) -> Mailbox:
    return Mailbox(Path(server.environment["NARTHEX_MAIL"]))


@pytest.fixture
def page(server: RunningServer, app: AppKeys) -> Page:
    return Page(server.base_url, app.public)
