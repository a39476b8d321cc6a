"""The demo application's keys, kept between starts: Narthex itself knows them only by their MACs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from narthex.base.errors import Unavailable


class KeyFileUnusable(Unavailable):
    """The file with the demo's keys cannot be read or written."""

    code = "demo-key-file-unusable"
    advice = "mend its permissions, or choose another place with `narthex dev --data-dir PATH`"


class DemoKeys(msgspec.Struct, frozen=True, rename="camel"):
    """One key pair of the demo application."""

    api_key: str
    api_secret: str

    def __repr__(self) -> str:
        return f"DemoKeys(api_key={self.api_key!r})"


def read_keys(path: Path) -> DemoKeys | None:
    """The keys that an earlier start left; None when there are none, or none that can be made out.

    Raises:
        KeyFileUnusable.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=DemoKeys)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    except OSError as e:
        raise KeyFileUnusable(f"the demo's keys in `{path}` cannot be read: {e.strerror}") from e


def write_keys(path: Path, keys: DemoKeys) -> None:
    """Keep the keys, for this user alone to read. The file is whole before it bears its name.

    Raises:
        KeyFileUnusable.
    """
    content = msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n"
    try:
        # `mkstemp` makes files of mode 0600.
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".draft")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as e:
        raise KeyFileUnusable(f"the demo's keys cannot be kept in `{path}`: {e.strerror}") from e
