"""What the house asks of the way out, to addresses that somebody else chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from narthex.base.errors import Rejected, Unavailable


class AddressNotAllowed(Rejected):
    """The address is no http(s), has credentials in it, or leads to a network that is not public."""

    code = "address-not-allowed"
    advice = "use a public https address; the operator can open networks with NARTHEX_EGRESS_NETWORKS"


class AddressUnreachable(Unavailable):
    """Nobody answered there, or not in time, or not in HTTP."""

    code = "address-unreachable"
    advice = "check that the address answers from outside, within some seconds, with a certificate that browsers accept"


class Reply(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    """As much of it as was asked for."""


class Egress(Protocol):
    """Goes out, but never to networks that are not public, and never where an answer redirects to."""

    def check(self, url: str) -> None:
        """Refuse an address whose very text is wrong, without asking anybody. Raises `AddressNotAllowed`."""
        ...

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        """Raises `AddressNotAllowed`, `AddressUnreachable`."""
        ...

    async def get(self, url: str, *, timeout_s: float, most_bytes: int) -> Reply:
        """Raises `AddressNotAllowed`, `AddressUnreachable`: also when the answer is longer than `most_bytes`."""
        ...
