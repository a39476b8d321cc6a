"""A file into which secrets are written once: JSON Lines, mode 0600, on the disk before anything counts on them.

An import that dies between the file and the database finds here what it wrote down, and uses that.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from narthex.base.errors import Malformed
from narthex.base.values import Secret


class SecretFileUnusable(Malformed):
    """The file for new secrets cannot be read or written, or is another kind of file."""

    code = "secret-file-unusable"
    advice = "name a file in a directory that can be written, with --keys-file"


class _Line(msgspec.Struct):
    application: str
    name: str
    secret: str


class SecretFile:
    """One file (`narthex.ports.key_ledger.KeyLedger`). It is made when there is something to write."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            SecretFileUnusable.
        """
        self.path = path
        self.written = 0
        self._kept: dict[tuple[str, str], Secret] = {}
        try:
            content = self._content() if path.exists() else b""
        except OSError as e:
            raise SecretFileUnusable(f"`{path}` cannot be read: {e.strerror}") from e
        for line in content.splitlines():
            self._read(line)

    def find(self, app_id: str, name: str) -> Secret | None:
        return self._kept.get((app_id, name))

    def keep(self, app_id: str, name: str, secret: Secret) -> None:
        """
        Raises:
            SecretFileUnusable.
        """
        if self._kept.get((app_id, name)) == secret:
            return
        line = b"\n" + msgspec.json.encode(_Line(app_id, name, str(secret))) + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                # One that was there may have been open to others.
                os.fchmod(file.fileno(), 0o600)
                # A line that a dying run left unfinished is ended first.
                file.write(line.lstrip(b"\n") if self._ends_well() else line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise SecretFileUnusable(f"`{self.path}` cannot be written: {e.strerror}") from e
        self._kept[app_id, name] = secret
        self.written += 1

    def _content(self) -> bytes:
        """What stands in the file. What another user could have put there would become a key that they know."""
        # Without waiting: a pipe has nobody at its other end.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SecretFileUnusable(f"`{self.path}` is no file")
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise SecretFileUnusable(f"`{self.path}` is there, and others could write to it")
            return file.read()

    def _ends_well(self) -> bool:
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read(self, line: bytes) -> None:
        if not line:
            return
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.MsgspecError:
            if line.startswith(b'{"application":"'[: len(line)]) and not line.endswith(b"}"):
                return  # Cut off by a run that died: nothing was committed with it.
            raise SecretFileUnusable(f"`{self.path}` is there and holds something else") from None
        self._kept[read.application, read.name] = Secret(read.secret)
