"""What archives and the files that they stand in have in common."""

from __future__ import annotations

from typing import Final

from narthex.base.errors import Malformed

LONGEST_LINE: Final = 8 << 20
"""In bytes, with its end: whoever reads a file need not hold more of it at once."""


class ArchiveUnreadable(Malformed):
    """The file is no archive, or not a whole one, or it was altered."""

    code = "archive-unreadable"
    advice = "export the application again, or give the archive as it was written"
