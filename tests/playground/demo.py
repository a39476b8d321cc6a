"""`narthex dev` as a child process, for the tests."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.server import NARTHEX

START = re.compile(r"Narthex is ready: (http://localhost:(\d+)/playground)\n")
ACT = {"X-Playground": "1"}


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """A demo that has said that it is ready."""

    words: str
    """All that it printed until then."""
    link: str
    port: int
    data_dir: Path

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def keys(self) -> dict[str, str]:
        kept: dict[str, str] = json.loads((self.data_dir / "demo.json").read_text())
        return kept

    def act(self, name: str, body: object) -> Any:
        """What the page does: ask its own backend to act."""
        answer = httpx.post(f"{self.link}/{name}", json=body, headers={**ACT, "Origin": self.origin})
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def running_demo(data_dir: Path, port: int = 0) -> Iterator[RunningDemo]:
    """Start a demo and wait for its words; at the end, press Ctrl-C."""
    command = [NARTHEX, "dev", "--port", str(port), "--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    words = ""
    try:
        for line in process.stdout:
            words += line
            if "Ctrl-C" in line:
                break
        ready = START.search(words)
        assert ready, f"the demo did not start:\n{words}{process.stdout.read()}"
        yield RunningDemo(words, ready[1], int(ready[2]), data_dir)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert (0, "") == (process.wait(timeout=30), rest)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
