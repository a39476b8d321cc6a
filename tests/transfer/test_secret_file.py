"""New secrets are on the disk before anything counts on them, and for their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from narthex.adapters.secret_file import SecretFile, SecretFileUnusable
from narthex.base.values import Secret


def test_what_was_written_down_is_found_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    SecretFile(path).keep("demo", "a key", Secret("demo:secret:1"))
    again = SecretFile(path)
    assert ("demo:secret:1", None) == (again.find("demo", "a key"), again.find("other", "a key"))
    again.keep("demo", "a key", Secret("demo:secret:1"))
    assert (0, 1) == (again.written, len(path.read_text().splitlines()))


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o644)
    SecretFile(path).keep("demo", "a key", Secret("demo:secret:1"))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_line_that_a_dying_run_left_unfinished_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    SecretFile(path).keep("demo", "a key", Secret("demo:secret:1"))
    with path.open("a") as file:
        file.write('{"application":"demo","na')
    SecretFile(path).keep("demo", "another", Secret("demo:secret:2"))
    again = SecretFile(path)
    assert ["demo:secret:1", "demo:secret:2"] == [again.find("demo", name) for name in ("a key", "another")]


@pytest.mark.parametrize("content", ["something else\n", '{"application": 1}\n{}\n'])
def test_another_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(SecretFileUnusable, match="holds something else"):
        SecretFile(path)
    assert content == path.read_text()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "keys")
    with pytest.raises(SecretFileUnusable, match="cannot be written"):
        SecretFile(tmp_path / "keys").keep("demo", "a key", Secret("demo:secret:1"))
    assert not (tmp_path / "elsewhere").exists()
