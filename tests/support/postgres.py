"""A PostgreSQL server of our own for one test session: no data of anybody's, no port, gone afterwards.

It listens on a unix socket in a private directory under /tmp, runs as an unprivileged user when we are root
(PostgreSQL refuses root), and does not sync: it is thrown away anyway. Each pytest-xdist worker has its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

START_TIMEOUT_S = 30.0


class Cluster:
    """A throw-away database server that a test may stop and start. Use it from the main thread."""

    def __init__(self) -> None:
        self._binaries = _find_binaries()
        self._user = _unprivileged_user()
        # Under /tmp itself: a unix socket's path has room for 107 bytes only.
        self.directory = Path(tempfile.mkdtemp(prefix="narthex-pg-", dir="/tmp"))
        if self._user is not None:
            shutil.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        self._server: subprocess.Popen[bytes] | None = None
        options = ["--no-sync", "--auth=trust", "--username=narthex", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", f"--pgdata={self._data}", *options)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://narthex@/{database}?host={self.directory}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "120",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        if setpriv := shutil.which("setpriv"):
            # Should the test run be killed, the server goes with it.
            command = [setpriv, "--pdeathsig", "INT", *command]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, **self._identity())
        self._wait_until_ready()

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server; connections are cut. `immediate` does it as a crash would."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self._server.wait(timeout=START_TIMEOUT_S)
        self._server = None

    def restart(self, *, immediate: bool = False) -> None:
        self.stop(immediate=immediate)
        self.start()

    def remove(self) -> None:
        self.stop(immediate=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database as a copy of another; says its URL."""
        self.execute(f'create database "{name}" template "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.execute(f'drop database if exists "{name}" with (force)')

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement as the owner of the server; says what psql printed."""
        connection = [f"--host={self.directory}", "--username=narthex", f"--dbname={database}"]
        return self._run("psql", *connection, "--no-psqlrc", "-Atq", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self.directory), "-d", "postgres"]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._server is not None
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self.directory, check=False, **self._identity())
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def _identity(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _find_binaries() -> Path:
    """Where the newest server's programs are: Debian keeps them apart from PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise RuntimeError("these tests need PostgreSQL's server programs (`apt install postgresql`), and found none")


def _unprivileged_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]
