"""A Redis server of our own for one test: on a free port of this machine, with nothing on the disk, gone afterwards."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

from tests.support.server import free_port

START_TIMEOUT_S = 10.0


def find_redis() -> str | None:
    """Where the server's program is; Valkey is the same to us."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A throw-away server that a test may kill, freeze and start again, with a password."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:the-password@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--requirepass", "the-password"]
        command = [self._program, *options, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        if setpriv := shutil.which("setpriv"):
            # Should the test run be killed, the server goes with it.
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """End it as a crash would; what it counted is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it take connections and requests, and answer none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """Send one command; says the first 64 KiB of the answer, as the protocol writes it."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(b"AUTH the-password\r\n")
            connection.recv(64)
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65_536)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert process.poll() is None, "the Redis server ended at its start"
            assert time.monotonic() < deadline, "the Redis server does not answer"
            try:
                if self.ask("PING").startswith(b"+PONG"):
                    return
            except OSError:
                time.sleep(0.02)
