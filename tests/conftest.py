"""Fixtures for every test."""

from tests.support.databases import (  # noqa: F401
    _postgres_template,
    _sqlite_template,
    database_url,
    postgres_cluster,
    postgresql_url,
    sqlite_url,
)
