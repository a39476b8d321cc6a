"""What else the house asks of the outside: the time, chance, and keys."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Reads the time."""

    def now(self) -> datetime:
        """The instant, aware, in UTC."""
        ...


class Random(Protocol):
    """Draws lots."""

    def __call__(self, size_bytes: int, /) -> bytes:
        """That many unpredictable bytes."""
        ...


class CannotUnwrap(RuntimeError):
    """What was kept was wrapped by another master key or for another purpose, or was altered."""


class Keyring(Protocol):
    """Keeps the master key and answers with what derives from it; the key itself never leaves."""

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that tell two master keys apart and reveal neither."""
        ...

    def mac(self, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA-256 under a key derived for the purpose, 32 bytes."""
        ...

    def wrap(self, purpose: str, context: bytes, plaintext: bytes) -> bytes:
        """Encrypt for keeping at rest; purpose and context must be given again to unwrap."""
        ...

    def unwrap(self, purpose: str, context: bytes, wrapped: bytes) -> bytes:
        """Decrypt what `wrap` gave. Raises `CannotUnwrap`."""
        ...
