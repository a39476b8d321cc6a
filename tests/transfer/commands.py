"""The commands in processes of their own, and credentials by the thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from narthex.ports.records import Credential
from tests.support.authenticator import KeyPair

KEY = "a master key of 32 characters or more"
# The commands, also before the command line hangs them where they belong.
_COMMAND = """
from narthex import cli
from narthex.cli import transfer
if "import" not in cli.app:
    cli.app.command(transfer.imports)
if "export" not in cli.app and hasattr(transfer, "export"):
    cli.app.command(transfer.export)
cli.main()
"""


class Commands:
    """Runs `narthex` in a directory of its own, with settings of its own."""

    def __init__(self, directory: Path, *, data: str = "data", master_key: str = KEY) -> None:
        self.directory = directory
        self.data_dir = directory / data
        self._master_key = master_key

    @property
    def database(self) -> Path:
        return self.data_dir / "narthex.db"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
        given |= {"NARTHEX_MASTER_KEY": self._master_key, "NARTHEX_DATA_DIR": str(self.data_dir)}
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            env=given,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def does(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments)
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    def fails(self, *arguments: str) -> str:
        """What a command says that must be refused."""
        done = self.run(*arguments)
        assert 1 == done.returncode, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


@cache
def public_key(number: int = 0) -> bytes:
    return bytes(cbor2.dumps(KeyPair(-7, ec.derive_private_key(number + 1, ec.SECP256R1())).cose()))


def credential(number: int, *, keys: int = 1) -> Credential:
    """One of many.

    Args:
        keys: how many different public keys they have.
    """
    user_id = f"user{number}"
    return Credential(
        credential_id=number.to_bytes(16, "big"),
        user_id=user_id,
        user_handle=user_id.encode(),
        public_key=public_key(number % keys),
        sign_count=0,
        attestation_format="none",
        aaguid=bytes(16),
        rp_id="example.org",
        origin="https://example.org",
        transports=(),
        backup_eligible=True,
        backup_state=True,
        user_verified=False,
        discoverable=True,
        nickname=None,
        device="Chrome, Windows 10",
        country="DE",
        created_at=datetime(2024, 1, 2, tzinfo=UTC),
        last_used_at=datetime(2024, 1, 3, tzinfo=UTC),
    )
