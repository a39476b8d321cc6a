"""What the edge is given when the house is joined: parts to call, and the few settings it heeds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from narthex.http.bad_keys import BadKeyLines
from narthex.http.client import Network
from narthex.http.key_uses import KeyUses
from narthex.ports.environment import Clock, Keyring, Random
from narthex.ports.mail import Mail
from narthex.ports.store import RootStore
from narthex.usecases.call import Call, Caller, Facilities, OperatorCall
from narthex.usecases.metadata import MetadataCatalog
from narthex.usecases.tenant import Directory

Header = tuple[bytes, bytes]


class Page(msgspec.Struct, frozen=True):
    """An answer that is written as it stands."""

    content: bytes
    media_type: bytes
    status: int = 200
    headers: tuple[Header, ...] = ()


class Stream(msgspec.Struct, frozen=True):
    """An answer that is written as it comes, until it ends or nobody listens any more."""

    content: AsyncGenerator[bytes, None]
    media_type: bytes
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """The parts of one running server."""

    root: RootStore
    directory: Directory
    keyring: Keyring
    clock: Clock
    random: Random
    management_key: str | None
    trusted_proxies: Sequence[Network]
    version: str
    catalog: MetadataCatalog
    facilities: Facilities
    conformance_application: str | None = None
    """Whose passkeys the FIDO conformance tool may make and use; None, as anywhere that matters, keeps it out."""
    bad_keys: BadKeyLines = field(default_factory=BadKeyLines)
    key_uses: KeyUses = field(default_factory=KeyUses)
    answer_headers: tuple[Header, ...] = field(init=False)
    """What every answer carries; follows from the public URL."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer_headers", answer_headers(self.public_url))

    @property
    def public_url(self) -> str:
        return self.facilities.public_url

    @property
    def errors_url(self) -> str:
        return f"{self.public_url}/errors"

    def operator_call(self, caller: Caller) -> OperatorCall:
        """A call above applications, at this instant. Whoever hands one out has seen to it that it is the operator."""
        return OperatorCall(
            root=self.root,
            directory=self.directory,
            keyring=self.keyring,
            random=self.random,
            now=self.clock.now(),
            caller=caller,
            catalog=self.catalog,
            facilities=self.facilities,
        )


async def _nowhere(_: str) -> Call | None:
    return None


@dataclass(frozen=True, slots=True)
class AnonymousCall:
    """What an endpoint is given that anybody may call: nothing that needs a key, and no keys."""

    root: RootStore
    version: str
    pages: Mapping[str, Page]
    """By path: what does not change while the server runs, rendered when it starts."""
    host: str = ""
    """Which name the request was sent to, in lower case and without a port. Anybody can write any."""
    fetch_site: str = ""
    """Where the browser says that the request comes from (Fetch Metadata, `Sec-Fetch-Site`); empty from others."""
    mail: Mail | None = None
    """None where the operator set up none."""
    enter: Callable[[str], Awaitable[Call | None]] = _nowhere
    """Calls an application by its id; None where there is none. For those who hold a sealed ticket of it, which the
    endpoint must read before it does anything: the id alone proves nothing."""


def answer_headers(public_url: str) -> tuple[Header, ...]:
    """What every answer carries (the compatible API's sections 2.2 and 2.5)."""
    headers = [
        (b"content-security-policy", b"default-src 'self';"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        # Any page may call, without credentials: the keys are the proof, and cookies are never asked for.
        (b"access-control-allow-origin", b"*"),
    ]
    if public_url.startswith("https://"):
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    return tuple(headers)
