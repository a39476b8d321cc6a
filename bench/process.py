"""Servers under measurement: processes of their own on a core of their own, weighed by what /proc says of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
_PATIENCE_S = 30.0
_NS = 1e-9
_CORES = sorted(os.sched_getaffinity(0))


class Server:
    """A process that answers HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], address: tuple[str, int], first_answer_s: float) -> None:
        self.process = process
        self.address = address
        self.first_answer_s = first_answer_s
        """From the start of the process to its first answer."""
        self.start_cpu_s = self.cpu_s()

    def cpu_s(self) -> float:
        """CPU that all of its threads have used, in user and kernel mode together."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * _NS

    def resident_mb(self, what: str = "VmRSS") -> float:
        """Resident memory now, or with ``VmHWM`` at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(what))
        return int(line.split()[1]) / 1024


@contextlib.contextmanager
def narthex(directory: Path, database_url: str, **settings: str) -> Iterator[Server]:
    """`narthex serve` on a database, with the settings of production but for what is named."""
    port = _free_port()
    environment = narthex_environment(directory, database_url, listen=f"127.0.0.1:{port}", **settings)
    with _running([str(BIN / "narthex"), "serve"], environment, port) as server:
        yield server


@contextlib.contextmanager
def bare(database: Path) -> Iterator[Server]:
    """The bare ASGI server, with the same loop and HTTP parser as ours."""
    port = _free_port()
    options = ["--loop=uvloop", "--http=httptools", "--lifespan=off", "--log-level=error"]
    options += ["--no-access-log", "--no-proxy-headers", "--no-server-header"]
    command = [str(BIN / "uvicorn"), "bench.bare:app", "--port", str(port), *options]
    with _running(command, {**os.environ, "BARE_DATABASE": str(database)}, port) as server:
        yield server


def narthex_environment(directory: Path, database_url: str, **settings: str) -> dict[str, str]:
    """The environment of a `narthex` command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
    ours = {"data_dir": str(directory), "database_url": database_url, "log_level": "error", **settings}
    return kept | {f"NARTHEX_{name.upper()}": value for name, value in ours.items()}


@contextlib.contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[Server]:
    address = ("127.0.0.1", port)
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, preexec_fn=on_server_core)
    try:
        _wait_for_answer(process, address)
        yield Server(process, address, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE_S)


def _wait_for_answer(process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(address, 1) as probe:
            probe.sendall(b"GET /health/http HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            probe.settimeout(_PATIENCE_S)
            if probe.recv(64):
                return
        time.sleep(0.002)
    raise RuntimeError(f"{process.args!r} did not answer")


def on_server_core() -> None:
    """Keep this process on one core; the generator keeps to the others."""
    os.sched_setaffinity(0, _CORES[:1])


def off_server_core() -> None:
    """Leave the first core to the server, where there is more than one."""
    os.sched_setaffinity(0, _CORES[1:] or _CORES)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
