"""Archives as files: gzip (RFC 1952), one member for each portion, so that an export that died can go on.

A member that was written to its end was on the disk before the next one began. What a dying process left behind the
last whole member is cut off. The file bears its name only when its last line is on the disk; until then it is
`NAME.partial`. It holds everything personal that the application keeps: mode 0600 from its first byte.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from narthex.base.errors import Conflict, Malformed
from narthex.ports.archive import LONGEST_LINE, ArchiveUnreadable

_READ_BYTES: Final = 1 << 18
_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
_END_LINE: Final = b'{"kind":"end"'


class ArchiveUnwritable(Malformed):
    """The archive cannot be written there."""

    code = "archive-unwritable"
    advice = "name a file in a directory that can be written and has room"


class ArchiveExists(Conflict):
    """There is a file of this name, or the beginning of one."""

    code = "archive-exists"
    advice = "name another file, or go on with one that was begun: --resume"


class ArchiveWriter:
    """Writes one archive, portion by portion."""

    def __init__(self, path: Path, *, resume: bool, read: Callable[[bytes], object]) -> None:
        """
        Args:
            read: takes each line that an earlier run wrote.

        Raises:
            ArchiveExists, ArchiveUnwritable, ArchiveUnreadable.
        """
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        if path.exists():
            raise ArchiveExists(f"there is a file `{path}` already")
        if self._partial.exists() and not resume:
            raise ArchiveExists(f"an export to `{path}` was begun and not ended")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (0 if resume else os.O_EXCL)
        try:
            self._file: IO[bytes] = os.fdopen(os.open(self._partial, flags, 0o600), "r+b")
            os.fchmod(self._file.fileno(), 0o600)
        except OSError as e:
            raise ArchiveUnwritable(f"`{self._partial}` cannot be written: {e.strerror}") from e
        try:
            self._go_on(read)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, lines: bytes) -> None:
        """Add a portion, and wait until it is on the disk.

        Raises:
            ArchiveUnwritable.
        """
        try:
            self._file.write(gzip.compress(lines, _LEVEL, mtime=0))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise ArchiveUnwritable(f"`{self._partial}` cannot be written: {e.strerror}") from e

    def finish(self) -> None:
        """Give the file its name.

        Raises:
            ArchiveUnwritable, ArchiveExists.
        """
        try:
            # A link is made once: a file that came to be meanwhile is not replaced.
            os.link(self._partial, self._path)
            self._partial.unlink()
            directory = os.open(self._path.absolute().parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except FileExistsError as e:
            raise ArchiveExists(f"there is a file `{self._path}` already") from e
        except OSError as e:
            raise ArchiveUnwritable(f"`{self._path}` cannot be written: {e.strerror}") from e

    def _go_on(self, read: Callable[[bytes], object]) -> None:
        whole = 0
        for lines, end in _members(self._file):
            if lines.startswith(_END_LINE):
                break  # It lacked its name alone; the end is written again.
            for line in lines.splitlines(keepends=True):
                read(line)
            whole = end
        self._file.truncate(whole)
        self._file.seek(whole)


class ArchiveReader:
    """Reads one archive, as often as it is asked to: always the file that was opened."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ArchiveUnreadable.
        """
        try:
            # Without waiting: a pipe may have nobody at its other end, and what is read twice cannot be one.
            self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except OSError as e:
            raise ArchiveUnreadable(f"`{path}` cannot be read: {e.strerror}") from e
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.close()
            raise ArchiveUnreadable(f"`{path}` is no file", advice="write the archive to a file: it is read twice")

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def lines(self) -> Iterator[bytes]:
        """The lines from the first on.

        Raises:
            ArchiveUnreadable.
        """
        self._file.seek(0)
        try:
            with gzip.GzipFile(fileobj=self._file) as unpacked:
                while line := unpacked.readline(LONGEST_LINE + 1):
                    if not line.endswith(b"\n"):
                        raise ArchiveUnreadable("the archive has a line that is not whole, or longer than any")
                    yield line
        except EOFError as e:
            raise ArchiveUnreadable("the archive is not whole: it stops in the middle") from e
        except (OSError, zlib.error) as e:
            raise ArchiveUnreadable("the file is no archive, or it is damaged: gzip cannot unpack it") from e


def _members(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """The whole members of a file, each with the place where it ends."""
    end, rest = 0, b""
    file.seek(0)
    while True:
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        parts: list[bytes] = []
        read = 0
        while not unpacker.eof:
            chunk = rest or file.read(_READ_BYTES)
            rest = b""
            if not chunk:
                return
            read += len(chunk)
            try:
                parts.append(unpacker.decompress(chunk))
            except zlib.error:
                return
        rest = unpacker.unused_data
        end += read - len(rest)
        yield b"".join(parts), end
