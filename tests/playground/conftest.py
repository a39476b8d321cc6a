"""One demo for all tests of a file that only look at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.playground.demo import RunningDemo, running_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as running:
        yield running
