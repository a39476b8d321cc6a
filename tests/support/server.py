"""The real server as a child process: `narthex serve` on a free port of this machine, with files of its own.

    with running_server("sqlite:////tmp/x/narthex.db") as server:
        keys = server.create_app("demo")
        httpx.post(f"{server.base_url}/register/token", headers={"ApiSecret": keys.secret}, json=…)

When the block ends, the server is asked to stop as a supervisor would ask it, and must have nothing to regret: it
ends with status 0, and its log has no error that nobody foresaw.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

NARTHEX = Path(sys.executable).with_name("narthex")
MANAGEMENT_KEY = "the operator of the tests"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class AppKeys:
    """The keys of an application, as they are shown when it is made."""

    app_id: str
    public: str
    secret: str
    second_public: str
    second_secret: str


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers."""

    base_url: str
    management_key: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    environment: Mapping[str, str]

    @property
    def log(self) -> str:
        return (self.data_dir / "log").read_text(encoding="utf-8")

    def create_app(self, app_id: str, **features: object) -> AppKeys:
        """Make an application through the management API."""
        answer = httpx.post(
            f"{self.base_url}/admin/apps/{app_id}/create",
            headers={"ManagementKey": self.management_key},
            json=features,
        )
        assert answer.status_code == 200, answer.text
        keys = answer.json()
        return AppKeys(app_id, keys["apiKey1"], keys["apiSecret1"], keys["apiKey2"], keys["apiSecret2"])

    def run_command(self, *arguments: str) -> str:
        """Run `narthex` with the server's own settings, beside the running server; says what it printed."""
        done = subprocess.run(
            [NARTHEX, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def running_server(
    database_url: str | None = None, *, foresees_everything: bool = True, **settings: object
) -> Iterator[RunningServer]:
    """Start `narthex serve` and wait until it answers; stop it at the end.

    Args:
        database_url: without one, SQLite in the server's data directory.
        foresees_everything: whether an unforeseen error in the log fails the test.
        **settings: more settings, as `workers=2` for `NARTHEX_WORKERS`.
    """
    with tempfile.TemporaryDirectory(prefix="narthex-server-") as directory:
        data_dir, port = Path(directory), free_port()
        given = {
            "database_url": database_url or f"sqlite:///{data_dir / 'narthex.db'}",
            "listen": f"127.0.0.1:{port}",
            "data_dir": data_dir,
            "management_key": MANAGEMENT_KEY,
            "rate_limits": "off",
            "metadata": "off",
            **settings,
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
        environment |= {f"NARTHEX_{name.upper()}": str(value) for name, value in given.items()}
        with (data_dir / "log").open("wb") as log:
            process = subprocess.Popen([NARTHEX, "serve"], env=environment, stdout=log, stderr=log)
        server = RunningServer(f"http://127.0.0.1:{port}", str(given["management_key"]), process, data_dir, environment)
        try:
            _wait_until_healthy(server)
            yield server
            status = _stop(process)
            assert status == 0, f"the server ended with {status}:\n{server.log}"
            assert not foresees_everything or '"unexpected"' not in server.log, server.log
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: RunningServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        assert server.process.poll() is None, f"the server did not start:\n{server.log}"
        assert time.monotonic() < deadline, f"the server does not answer:\n{server.log}"
        try:
            if httpx.get(f"{server.base_url}/health/http", timeout=2).text == "Healthy":
                return
        except httpx.TransportError:
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Ask the server to stop, unless the test has ended it."""
    if process.poll() is None:
        process.terminate()
    return process.wait(timeout=STOP_TIMEOUT_S)
