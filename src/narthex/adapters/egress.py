"""The way out to addresses that a stranger chose: webhooks of tenants, lists that certificates name.

Whoever may name an address could make this server ask for what only it can reach: its own ports, the database beside
it, the credentials that a cloud hands out at 169.254.169.254 (CWE-918). So here, and nowhere else:

- The address is read by one grammar, ours, and only its parts go further: no second parser can read it otherwise.
- The name is looked up once, every answer is judged, and the connection goes to an answer that was judged. A name
  server that says something else a moment later (DNS rebinding) is not asked again.
- One answer that is not public refuses them all, but for the networks that the operator opened.
- There is one request per connection. Redirects are answers like others, and proxies of the environment, which would
  look the name up themselves, are not used.
- Seconds and bytes are counted over everything, and no answer is unpacked.

What is said to the stranger names the host that they wrote, never where it led: neither the address found nor the rest
of the URL, which may hold a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from narthex import __version__
from narthex.base.errors import quoted
from narthex.ports.egress import AddressNotAllowed, AddressUnreachable, Reply

if TYPE_CHECKING:
    import httpcore

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a name, in the order to try them. Raises `socket.gaierror`."""

MAX_URL_CHARACTERS: Final = 2_000
MAX_REPLY_BYTES: Final = 4_096
"""Of the answer to a `post`: enough to show what went wrong there."""
MAX_ADDRESSES_TRIED: Final = 4
CONNECT_TIMEOUT_S: Final = 3.0
"""For one address of several, so that a dead one leaves time for the next."""
RESOLVER_THREADS: Final = 64
"""The system goes on asking for a name long after we have stopped waiting. All senders to failing receivers (16 at a
time, `narthex.usecases.delivery`) may leave several such questions behind each, and others still find a thread."""
_MOST_FRAMING_BYTES: Final = 64 * 1024
"""Around a body: headers, provisional answers (1xx), which may be as many as one likes, and the edges of chunks."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<userinfo>[^/?#]*@)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^/?#@:\[\]]+))"
    r"(?::(?P<port>[0-9]{1,5})?)?"
    r"(?P<path>[/?][^#]*)?(?P<fragment>#.*)?"
)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_MAX_NAME_CHARACTERS = 253
_PORTS = {"http": 80, "https": 443}
_PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_HEADERS = {"user-agent": f"narthex/{__version__}", "accept": "*/*"}


class GuardedEgress:
    """Goes out to public addresses, and to the networks that the operator opened.

    Args:
        networks: opened although they are not public, and for http without TLS.
        require_tls: False lets http go to public addresses too, for what is signed, as revocation lists are.
        resolve: instead of the system's resolver.
        tls: instead of the authorities that `SSL_CERT_FILE` or the house's dependencies name.
    """

    def __init__(
        self,
        networks: Sequence[IpNetwork] = (),
        *,
        require_tls: bool = True,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = tuple(networks)
        self._require_tls = require_tls
        # Threads of its own: names whose servers never answer must not keep the threads that the house works with.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._resolve = resolve or self._ask_system
        self._tls = tls

    def check(self, url: str) -> None:
        target = _parse_url(url)
        if target.ip is not None:
            self._judge([target.ip], target)
        elif target.scheme == "http" and self._require_tls and not self._networks:
            raise _without_tls(target)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        target = _parse_url(url)
        most_bytes = MAX_REPLY_BYTES + _MOST_FRAMING_BYTES
        async with _within(timeout_s, target), self._ask("POST", target, headers, body, most_bytes) as response:
            return Reply(response.status, await _read(response, MAX_REPLY_BYTES))

    async def get(self, url: str, *, timeout_s: float, most_bytes: int) -> Reply:
        target = _parse_url(url)
        # Chunks that are small have as much around them as in them.
        wire_bytes = 2 * most_bytes + _MOST_FRAMING_BYTES
        async with _within(timeout_s, target), self._ask("GET", target, {}, None, wire_bytes) as response:
            if any(name.lower() == b"content-encoding" and value != b"identity" for name, value in response.headers):
                raise AddressUnreachable(f"{quoted(target.host)} answers compressed, which was not asked for")
            body = await _read(response, most_bytes + 1)
            if len(body) > most_bytes:
                raise AddressUnreachable(f"{quoted(target.host)} answers with more than {most_bytes} bytes")
            return Reply(response.status, body)

    @contextlib.asynccontextmanager
    async def _ask(
        self, method: str, target: _Target, headers: Mapping[str, str], body: bytes | None, most_bytes: int
    ) -> AsyncIterator[httpcore.Response]:
        """One request on a connection of its own, and the answer until its body.

        Args:
            most_bytes: of all that the other side may say.
        """
        # Imported here: a server that never goes out does not pay for the library.
        import httpcore

        addresses = await self._find_addresses(target)
        ours = {"host": target.authority, "accept-encoding": "identity", "connection": "close"}
        sent = [*(_HEADERS | {name.lower(): value for name, value in headers.items()} | ours).items()]
        async with contextlib.AsyncExitStack() as line:
            stream = await _connect(addresses, target.port)
            line.push_async_callback(stream.aclose)
            if target.scheme == "https":
                stream = await stream.start_tls(self._tls_context(), server_hostname=target.host)
                line.push_async_callback(stream.aclose)
            url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
            counted = cast("httpcore.AsyncNetworkStream", _Counted(stream, most_bytes))
            connection = httpcore.AsyncHTTP11Connection(url.origin, counted)
            async with connection.stream(method, url, headers=sent, content=body) as response:
                yield response

    async def _find_addresses(self, target: _Target) -> list[IpAddress]:
        """Where the connection may go, in the order to try.

        Raises:
            AddressNotAllowed, AddressUnreachable.
        """
        if target.ip is not None:
            addresses = [target.ip]
        else:
            addresses = await self._look_up(target)
        self._judge(addresses, target)
        return addresses

    async def _look_up(self, target: _Target) -> list[IpAddress]:
        try:
            answers = await self._resolve(target.host, target.port)
        except socket.gaierror as e:
            raise AddressUnreachable(f"the name {quoted(target.host)} is not known") from e
        return [_plain(ip_address(answer)) for answer in answers]

    def _judge(self, addresses: Sequence[IpAddress], target: _Target) -> None:
        # A name with public and inner addresses is no mistake but a trick, and what is tried first is a matter of luck.
        closed = [address for address in addresses if not any(address in network for network in self._networks)]
        if not all(is_public(address) for address in closed):
            raise AddressNotAllowed(f"{quoted(target.host)} leads to a network that is not public")
        if closed and target.scheme == "http" and self._require_tls:
            raise _without_tls(target)

    async def _ask_system(self, name: str, port: int) -> Sequence[str]:
        ask = functools.partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            import httpx

            self._tls = httpx.create_ssl_context()
        return self._tls


# --- the address, as text --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of an address."""

    scheme: str
    host: str
    """A name in ASCII, or an IP address as it is commonly written."""
    ip: IpAddress | None
    """None where the host is a name."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def _parse_url(url: str) -> _Target:
    """Read an address: RFC 3986, without what has no place in ours.

    Raises:
        AddressNotAllowed.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise AddressNotAllowed(f"address is longer than {MAX_URL_CHARACTERS} characters")
    # Browsers read `\` as `/`, and libraries drop tabs and line ends: what is read in two ways is not read at all.
    if not url.isprintable() or "\\" in url or " " in url:
        raise AddressNotAllowed("address has spaces, backslashes or control characters in it")
    read = _URL.fullmatch(url)
    if read is None:
        raise AddressNotAllowed("address cannot be read")
    scheme = read["scheme"].lower()
    if scheme not in _PORTS:
        raise AddressNotAllowed(f"address is of the scheme {quoted(scheme)}, not `https`")
    if read["userinfo"] is not None:
        raise AddressNotAllowed("address has credentials in it")
    if read["fragment"] is not None:
        raise AddressNotAllowed("address has a fragment, which is never sent")
    host, ip = _parse_host(read["ipv6"], read["name"])
    port = int(read["port"] or _PORTS[scheme])
    if not 1 <= port <= 65_535:
        raise AddressNotAllowed(f"address has the port {port}, which does not exist")
    return _Target(scheme, host, ip, port, _parse_path(read["path"] or ""))


def _parse_host(ipv6: str | None, name: str | None) -> tuple[str, IpAddress | None]:
    if name is None:
        ip = _parse_ipv6(ipv6 or "")
        return str(ip), ip
    host = _parse_name(name)
    number = _parse_ipv4(host)
    return (host, None) if number is None else (str(number), number)


def _parse_ipv6(text: str) -> IpAddress:
    """The grammar lets no zone through: it would name an interface of this machine."""
    try:
        return _plain(IPv6Address(text))
    except ValueError as e:
        raise AddressNotAllowed(f"host {quoted(text)} is no IPv6 address") from e


def _parse_ipv4(name: str) -> IPv4Address | None:
    # The resolver also reads `127.1`, `0x7f.1`, `0177.0.0.1` and `2130706433`, as C does.
    with contextlib.suppress(OSError):
        return IPv4Address(socket.inet_aton(name))
    return None


def _parse_name(host: str) -> str:
    """A name in ASCII and lower case, without the dot of the root, which certificates and servers do not expect."""
    name = (host.lower() if host.isascii() else _to_ascii(host)).removesuffix(".")
    if len(name) > _MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None:
        raise AddressNotAllowed(f"host {quoted(host)} is no name")
    return name


def _to_ascii(host: str) -> str:
    """UTS 46 as browsers apply it, which also makes digits of `①②⑦`: what is judged is what the resolver sees."""
    import idna

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except idna.IDNAError as e:
        raise AddressNotAllowed(f"host {quoted(host)} is no name") from e


def _parse_path(text: str) -> str:
    rooted = text if text.startswith("/") else f"/{text}"
    return quote(rooted, safe=_PRINTABLE_ASCII)


def _without_tls(target: _Target) -> AddressNotAllowed:
    return AddressNotAllowed(f"{quoted(target.host)} is not asked over http, which anyone on the way can read")


# --- the address, as a number ----------------------------------------------------------------------------------------

_INNER_IPV4: Final = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by the customers of a provider; also 100.100.100.200, credentials of Alibaba Cloud
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # public by number, but answered by the host under every machine of Azure
        "169.254.0.0/16",  # link-local; also 169.254.169.254, credentials of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; also 192.0.0.192, credentials of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4, given up
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_IPV6: Final = IPv6Network("2000::/3")
"""All that IANA ever gave out for global unicast; unique local, link-local, multicast and the rest lie outside."""
_INNER_IPV6: Final = tuple(
    ip_network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo, which is one of them, is judged by its IPv4
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = (
    IPv6Network("64:ff9b::/96"),
    # RFC 8215 leaves the length of a local prefix open. With zeros up to the last 32 bits every reading is harmless.
    IPv6Network("64:ff9b:1::/96"),
)


def is_public(address: IpAddress) -> bool:
    """Whether the address is one of the world's, by the registries of IANA (RFC 6890), as of 2025.

    An IPv6 address that carries an IPv4 address is judged by that.

    >>> is_public(ip_address("169.254.169.254")), is_public(ip_address("64:ff9b::a9fe:a9fe"))
    (False, False)
    """
    address = _plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _INNER_IPV4)
    carried = _carried_ipv4(address)
    if carried:
        return all(is_public(inner) for inner in carried)
    return address in _PUBLIC_IPV6 and not any(address in network for network in _INNER_IPV6)


def _plain(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv4-mapped one is, for that is where the system connects to."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _carried_ipv4(address: IPv6Address) -> Sequence[IPv4Address]:
    """Where a gateway on the way would send it: NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380)."""
    if any(address in network for network in _NAT64):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


# --- the connection --------------------------------------------------------------------------------------------------


async def _connect(addresses: Sequence[IpAddress], port: int) -> httpcore.AsyncNetworkStream:
    import httpcore

    failure: Exception = httpcore.ConnectError("there is no address")
    for address in addresses[:MAX_ADDRESSES_TRIED]:
        try:
            return await httpcore.AnyIOBackend().connect_tcp(str(address), port, timeout=CONNECT_TIMEOUT_S)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
            failure = e
    raise failure


class _Counted:
    """A connection from which only so much is read: reading what never ends keeps the processor from everybody else."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, most_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = most_bytes
        self.write = stream.write
        self.aclose = stream.aclose
        self.get_extra_info = stream.get_extra_info

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- as in httpcore
        import httpcore

        if not self._left_bytes:
            raise httpcore.RemoteProtocolError("the answer has too much around its body")
        read = await self._stream.read(min(max_bytes, self._left_bytes), timeout)
        self._left_bytes -= len(read)
        return read


async def _read(response: httpcore.Response, most_bytes: int) -> bytes:
    """The answer's body, or so much of it. It is not unpacked, so what is counted is what came."""
    body = bytearray()
    async with contextlib.aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_stream())) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) >= most_bytes:
                break
    return bytes(body[:most_bytes])


@contextlib.asynccontextmanager
async def _within(timeout_s: float, target: _Target) -> AsyncIterator[None]:
    """Bound the whole exchange, looking up the name included, and say what failed without saying where."""
    import httpcore

    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError, OSError) as e:
        raise AddressUnreachable(f"{quoted(target.host)} {_explain(e)}") from e


def _explain(error: Exception) -> str:
    import httpcore

    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or "unknown"
            return f"cannot be reached under TLS: {reason.rstrip('.')}"
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return "does not answer in time"
    if isinstance(error, httpcore.ConnectError):
        return "takes no connections"
    if isinstance(error, httpcore.RemoteProtocolError):
        return "does not answer in HTTP"
    return "breaks the connection off"
