"""The file that the first start makes for the master key."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from narthex.adapters.keyring import MasterKeyUnusable, read_or_make_master_key


def test_it_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "master.key"
    key = read_or_make_master_key(path)
    assert len(key) == 64
    assert read_or_make_master_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_it_is_not_written_where_somebody_elses_link_leads(tmp_path: Path) -> None:
    """Nor does the draft of a start that was killed hinder the next one, which in a container has the same pid."""
    path = tmp_path / "data" / "master.key"
    path.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    path.with_name(f"master.key.{os.getpid()}.draft").symlink_to(elsewhere)
    read_or_make_master_key(path)
    assert not elsewhere.exists()


def test_a_link_that_leads_nowhere_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MasterKeyUnusable):
        read_or_make_master_key(path)
    assert list(tmp_path.iterdir()) == [path]
