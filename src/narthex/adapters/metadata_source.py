"""Metadata from an address, or from a file.

Neither is trusted: what is fetched is verified by `verify_metadata`. What is guarded here is the server itself:
nothing without TLS (but on this machine), no more bytes, redirects and seconds than agreed, and no request to a
private address because an unverified certificate said so: what certificates name is asked through the guarded way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from narthex import __version__
from narthex.adapters.egress import GuardedEgress
from narthex.base.errors import Refusal, quoted
from narthex.ports.egress import AddressNotAllowed, AddressUnreachable, Egress
from narthex.ports.metadata import FetchedMetadata, MetadataUnavailable
from narthex.webauthn.metadata_blob import MAX_BLOB_BYTES, revocation_urls
from narthex.webauthn.revocation import MAX_CRL_BYTES

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 60.0
CRL_TIMEOUT_S: Final = 15.0
MAX_REDIRECTS: Final = 3

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHECK_NETWORK = "check that this server may reach that address, and whether it needs a proxy (`HTTPS_PROXY`)"
_FETCH_BY_HAND = "without a way to the internet, fetch the file elsewhere and give its path"
_ANOTHER_ADDRESS = "check the address in a browser: it should answer with one long line of text"


def _public_egress() -> Egress:
    """Revocation lists are signed, and authorities publish them over plain http (RFC 5280 section 8)."""
    return GuardedEgress(require_tls=False)


@dataclass(frozen=True, slots=True)
class UrlSource:
    """Fetches the BLOB from an address, and then what its certificates' issuers revoked.

    Args:
        url: https, or http on this machine.
        timeout_s: for everything together.
        egress: the way to the revocation lists, whose addresses come from a certificate that nobody has verified yet.
    """

    url: str
    timeout_s: float = TIMEOUT_S
    egress: Egress = field(default_factory=_public_egress)

    async def fetch(self) -> FetchedMetadata:
        # Imported here: a server that never fetches does not pay for the library.
        import httpx

        deadline = asyncio.get_running_loop().time() + self.timeout_s
        named = _parse_url(self.url)
        # Proxies of the environment are for the world outside.
        async with httpx.AsyncClient(
            trust_env=not _is_local(named), timeout=self.timeout_s, headers=_HEADERS
        ) as client:
            blob = await _get(client, self.url, deadline=deadline, named=named)
        crls, problems = await _get_crls(self.egress, blob, deadline=deadline)
        return FetchedMetadata(blob, crls, problems)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Reads the BLOB from a file. Nobody is asked what was revoked: such a server may have no way to the internet."""

    path: Path

    async def fetch(self) -> FetchedMetadata:
        return FetchedMetadata(await asyncio.to_thread(self._read))

    def _read(self) -> bytes:
        shown = quoted(self.path)
        try:
            with self.path.open("rb") as file:
                blob = file.read(MAX_BLOB_BYTES + 1)
        except OSError as e:
            message, advice = _FILE_PROBLEMS.get(e.errno or 0, ("cannot be read", "check the file and its disk"))
            raise MetadataUnavailable(f"metadata file {shown} {message}", advice=advice) from e
        if len(blob) > MAX_BLOB_BYTES:
            raise MetadataUnavailable(
                f"metadata file {shown} is larger than {MAX_BLOB_BYTES} bytes", advice="check that it is the right file"
            )
        return blob


_HEADERS = {"User-Agent": f"narthex/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_FILE_PROBLEMS = {
    errno.ENOENT: ("is not there", "put the file there, or correct the path"),
    errno.ENOTDIR: ("is not there", "put the file there, or correct the path"),
    errno.EISDIR: ("is a directory", "give the path of the file itself"),
    errno.EACCES: ("may not be read by this server", "let the user that this server runs as read the file"),
    errno.EPERM: ("may not be read by this server", "let the user that this server runs as read the file"),
}


async def _get_crls(egress: Egress, blob: bytes, *, deadline: float) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """What could be fetched, and what went wrong with the rest."""
    try:
        urls = revocation_urls(blob)
    except Refusal as e:
        return (), (f"nobody can be asked what was revoked: {e.message}",)
    left_s = min(deadline - asyncio.get_running_loop().time(), CRL_TIMEOUT_S)
    answers = await asyncio.gather(
        *(_get_crl(egress, url, timeout_s=left_s) for url in urls),
        return_exceptions=True,
    )
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, MetadataUnavailable):
            raise answer
    crls = tuple(answer for answer in answers if isinstance(answer, bytes))
    return crls, tuple(answer.message for answer in answers if isinstance(answer, MetadataUnavailable))


async def _get_crl(egress: Egress, url: str, *, timeout_s: float) -> bytes:
    subject = f"revocation list at {quoted(url)}"
    try:
        reply = await egress.get(url, timeout_s=timeout_s, most_bytes=MAX_CRL_BYTES)
    except (AddressNotAllowed, AddressUnreachable) as e:
        raise MetadataUnavailable(f"{subject} cannot be fetched: {e.message}", advice=_CHECK_NETWORK) from e
    if reply.status != 200:
        raise MetadataUnavailable(f"{subject} answers with status {reply.status}", advice=_ANOTHER_ADDRESS)
    return reply.body


async def _get(client: httpx.AsyncClient, address: str, *, deadline: float, named: httpx.URL) -> bytes:
    """Fetch the BLOB, following redirects.

    Args:
        named: the address that the operator named: if it is of this machine or network, so may be others.
    Raises:
        MetadataUnavailable.
    """
    import httpx

    subject = f"metadata at {quoted(address)}"
    try:
        async with asyncio.timeout_at(deadline):
            url = _parse_url(address)
            for _ in range(MAX_REDIRECTS + 1):
                _check_url(url, subject, named=named)
                answer = await _get_once(client, url, subject)
                if isinstance(answer, bytes):
                    return answer
                url = answer
    except (TimeoutError, httpx.TimeoutException) as e:
        raise MetadataUnavailable(f"{subject} was not fetched in time", advice=_CHECK_NETWORK) from e
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
        message, advice = _explain(e)
        raise MetadataUnavailable(f"{subject} cannot be fetched: {message}", advice=advice) from e
    raise MetadataUnavailable(f"{subject} redirects more than {MAX_REDIRECTS} times", advice=_ANOTHER_ADDRESS)


async def _get_once(client: httpx.AsyncClient, url: httpx.URL, subject: str) -> bytes | httpx.URL:
    async with client.stream("GET", url, follow_redirects=False) as response:
        if response.status_code in _REDIRECTS and "location" in response.headers:
            return url.join(response.headers["location"])
        if response.status_code != 200:
            raise MetadataUnavailable(f"{subject} answers with status {response.status_code}", advice=_ANOTHER_ADDRESS)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise MetadataUnavailable(f"{subject} comes compressed, which was not asked for", advice=_ANOTHER_ADDRESS)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BLOB_BYTES:
                raise MetadataUnavailable(f"{subject} is larger than {MAX_BLOB_BYTES} bytes", advice=_ANOTHER_ADDRESS)
        return bytes(body)


def _parse_url(address: str) -> httpx.URL:
    import httpx

    try:
        return httpx.URL(address)
    except httpx.InvalidURL as e:
        raise MetadataUnavailable(
            f"metadata at {quoted(address)} is not at an address", advice="give an address that begins with `https://`"
        ) from e


def _check_url(url: httpx.URL, subject: str, *, named: httpx.URL) -> None:
    without_tls = _is_local(url) and _is_local(named)
    if not url.host or url.scheme not in ({"https", "http"} if without_tls else {"https"}):
        raise MetadataUnavailable(
            f"{subject} leads to {quoted(url)}, which is not under TLS",
            advice="give an address that begins with `https://` and stays there",
        )
    if _is_private(url) and not _is_private(named):
        raise MetadataUnavailable(
            f"{subject} leads to {quoted(url)}, an address of this network",
            advice="only an address that the operator names may be one of this network",
        )


def _is_local(url: httpx.URL) -> bool:
    address = _ip_address(url)
    return url.host == "localhost" if address is None else address.is_loopback


def _is_private(url: httpx.URL) -> bool:
    """Of this machine or network, as far as the address itself tells: names are not looked up."""
    address = _ip_address(url)
    return url.host == "localhost" if address is None else not address.is_global


def _ip_address(url: httpx.URL) -> IPv4Address | IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ip_address(url.host)
    # The resolver also reads `127.1`, `0x7f000001` and `2130706433`, as C does.
    with contextlib.suppress(OSError, UnicodeError):
        return IPv4Address(socket.inet_aton(url.host))
    return None


def _explain(error: Exception) -> tuple[str, str]:
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "its name is not known", f"{_CHECK_NETWORK}; {_FETCH_BY_HAND}"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or "TLS fails"
            return f"{reason}", "check the server's clock and, behind a proxy that opens TLS, `SSL_CERT_FILE`"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "nobody listens there", _CHECK_NETWORK
    return quoted(error) if str(error) else "the connection broke", f"{_CHECK_NETWORK}; {_FETCH_BY_HAND}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__
