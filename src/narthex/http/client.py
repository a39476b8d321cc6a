"""What the edge can tell of the client: address, device, country, trace id. None of it is evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_TRACE_PARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_PORT = re.compile(r":[0-9]*\Z")
_WITH_PORT = re.compile(r"(?:([0-9.]+):[0-9]+|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?)\Z")
_LONGEST_USER_AGENT = 256


def trace_id(headers: Mapping[bytes, bytes], chance: bytes) -> str:
    """A trace id in the form of W3C Trace Context, keeping the caller's trace where it sent one.

    Args:
        chance: 24 random bytes.
    """
    given = _TRACE_PARENT.match(headers.get(b"traceparent", b""))
    trace = given.group(1).decode() if given else chance[:16].hex()
    return f"00-{trace}-{chance[16:24].hex()}-01"


def host(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The name that the request was sent to, in lower case and without a port; empty where there are two of them.

    RFC 9112 section 3.2. A proxy or a cache before us may have read the other one.
    """
    named = [value for name, value in headers if name == b"host"]
    return _PORT.sub("", named[0].decode("latin-1").lower()) if len(named) == 1 else ""


def joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; of a name that stands twice the last one counts.

    But the lines of ``X-Forwarded-For`` are one list (RFC 9110 section 5.3): some proxies add a line, and with that one
    alone, the next proxy would pass for the client.
    """
    by_name = dict(headers)
    if len(by_name) < len(headers) and b"x-forwarded-for" in by_name:
        by_name[b"x-forwarded-for"] = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    return by_name


def client_address(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> str:
    """The address of the client: the peer's, or what a trusted proxy says of it.

    ``X-Forwarded-For`` is read from the right, past every proxy that is trusted: what stands further left was
    written by somebody we do not know (CVE-2026-45364).
    """
    return _followed(peer, headers, trusted)[0]


def is_from(networks: Sequence[Network], peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> bool:
    """Whether the client is in one of these networks; not if a proxy of ours cannot say who the client is."""
    address, is_known = _followed(peer, headers, trusted)
    return is_known and is_trusted(address, networks)


def _followed(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> tuple[str, bool]:
    """The last address on the way back to the client that can be believed, and whether the way ends there."""
    address = peer
    hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")]
    while hops and is_trusted(address, trusted):
        hop = _without_port(hops.pop())
        if not hop:
            continue  # RFC 9110 section 5.6.1: lists may have empty elements.
        if _parsed(hop) is None:
            return address, False
        address = hop
    return address, True


def _without_port(hop: str) -> str:
    """Some proxies write the client's port as well: ``192.0.2.1:49152``, ``[2001:db8::1]:49152``."""
    with_port = _WITH_PORT.match(hop)
    return (with_port[1] or with_port[2]) if with_port else hop


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is one of our own proxies."""
    parsed = _parsed(address) if trusted else None
    return parsed is not None and any(parsed in network for network in trusted)


@lru_cache(maxsize=4096)  # Asked with every request, and most come from few addresses.
def rate_limit_group(address: str) -> str:
    """The neighbourhood that shares a limit: the address, or its /64 when it is IPv6 (one customer has all of it)."""
    match _parsed(address):
        case IPv6Address() as parsed:
            return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
        case None:
            return address
        case parsed:
            return str(parsed)


def country(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> str:
    """The two letters that a trusted proxy put into ``CF-IPCountry``, or nothing."""
    text = headers.get(b"cf-ipcountry", b"").decode("latin-1")
    return text if len(text) == 2 and text.isalnum() and is_trusted(peer, trusted) else ""


def device(headers: Mapping[bytes, bytes]) -> str:
    """``Chrome, Windows 10``: the browser's family, the system's family and its major version."""
    return _device(headers.get(b"user-agent", b"")[:_LONGEST_USER_AGENT].decode("latin-1"))


@lru_cache(maxsize=4096)
def _device(user_agent: str) -> str:
    # Imported here: its tables take a tenth of a second to load, which the first answer need not wait for.
    from ua_parser import parse

    parsed = parse(user_agent)
    browser = parsed.user_agent.family if parsed.user_agent else "Other"
    system, major = (parsed.os.family, parsed.os.major or "") if parsed.os else ("Other", "")
    return f"{browser}, {system} {major}"


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text names, if it names one.

    A socket that listens on IPv6 tells of an IPv4 peer as ``::ffff:192.0.2.1`` (RFC 4291, 2.5.5.2): it is the same
    peer, and trusted or limited as such.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
