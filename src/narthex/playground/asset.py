"""The files of the page, as they stand in the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

PAGE = "page.html"
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be written."""

    content: bytes
    media_type: str
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """Every file, by its name."""
    return {
        entry.name: _asset(entry.name, entry.read_bytes())
        for entry in files("narthex.playground").joinpath("assets").iterdir()
        if entry.is_file()
    }


def _asset(name: str, content: bytes) -> Asset:
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Asset(content=content, media_type=media_type, etag=f'"{sha256(content).hexdigest()[:32]}"')
