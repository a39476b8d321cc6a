"""A SQLite file that others open and close as well."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from narthex.adapters.sql.sqlite import connect


def test_a_file_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """Whoever is the last to close a file locks it meanwhile, and our writer, who never waits later, opened it then."""
    path = tmp_path / "narthex.db"
    other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    other.execute("begin exclusive")
    release = threading.Timer(0.2, other.close)
    release.start()
    with closing(connect(str(path), busy_timeout_ms=0)) as connection:
        assert [("wal",)] == connection.execute("pragma journal_mode").fetchall()
        assert [(0,)] == connection.execute("pragma busy_timeout").fetchall()
    release.join()
