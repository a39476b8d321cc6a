"""Origins and relying party identifiers: one spelling each, so that they can be compared as texts.

A tuple origin is ``scheme://host[:port]`` with the scheme ``http`` or ``https``; its canonical spelling is lower
case, without the default port. Everything else (``android:apk-key-hash:…``, ``ios:bundle-id:…``,
``chrome-extension://…``) is compared whole and exactly.

Strict on purpose: hosts are ASCII (a browser serializes the punycode form), without a trailing dot; what looks like
a number is an IPv4 address in its one canonical form; ports are 1 … 65535 without leading zeros. ``null`` is no
origin: every sandboxed frame in the world shares it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from narthex.base.errors import quoted
from narthex.webauthn.errors import OriginMalformed, RpIdMalformed

MAX_ORIGIN_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
_DEFAULT_PORTS = {"http": "80", "https": "443"}

# ASCII matters: without it, ignoring case makes the Kelvin sign a `k` and the long s an `s`.
_TUPLE_ORIGIN = re.compile(r"(https?)://([^/?#]*)(.*)\Z", re.IGNORECASE | re.ASCII | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?\Z", re.IGNORECASE | re.ASCII)
_WHOLE_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+\Z")
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_DOMAIN_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_LOOKS_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


def canonical_origin(text: str) -> str:
    """Bring an expected origin, as a caller writes it, to its canonical spelling.

    A path, query or fragment is ignored: callers of the compatible API pass whole page addresses.

    Raises:
        OriginMalformed: it is no origin, or it carries user information.

    >>> canonical_origin("HTTPS://Example.org:443/sign-in?x=1")
    'https://example.org'
    >>> canonical_origin("android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc")
    'android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc'
    """
    origin, rest = _split(text)
    if not rest.isprintable() or " " in rest:
        raise OriginMalformed(f"origin {quoted(text)} has a space or a control character")
    return origin


def parse_origin(text: str) -> str:
    """Read the origin that a client wrote, which is an origin and nothing after it.

    Raises:
        OriginMalformed: it is no serialized origin.

    >>> parse_origin("https://example.org:8443")
    'https://example.org:8443'
    """
    origin, rest = _split(text)
    if rest:
        raise OriginMalformed(f"origin {quoted(text)} has something after the host")
    return origin


@lru_cache(maxsize=1024)
def parse_rp_id(text: str) -> str:
    """Check that a text is a relying party identifier: a valid domain in lower case.

    Raises:
        RpIdMalformed: it is an address, a number, a URL, or spelt in another way.

    >>> parse_rp_id("example.org")
    'example.org'
    """
    labels = text.split(".")
    if len(text) > MAX_HOST_CHARACTERS or not all(_DOMAIN_LABEL.match(label) for label in labels):
        raise RpIdMalformed(f"relying party id {quoted(text)} is not a domain in lower case ASCII")
    if _LOOKS_NUMERIC.match(labels[-1]):
        raise RpIdMalformed(f"relying party id {quoted(text)} is an address, not a domain")
    return text


def is_rp_id_of(rp_id: str, origin: str) -> bool:
    """Is the origin's host the relying party's domain, or below it?

    The scheme is not looked at, nor the public suffix list: browsers do both before they let an authenticator sign.
    Origins that are compared whole have no host, so the answer for them is False.

    Args:
        origin: canonical.

    >>> is_rp_id_of("example.org", "https://login.example.org:8443")
    True
    >>> is_rp_id_of("example.org", "https://notexample.org")
    False
    """
    matched = _TUPLE_ORIGIN.match(origin)
    authority = _AUTHORITY.match(matched[2]) if matched else None
    if authority is None:
        return False
    host: str = authority[1]
    return host == rp_id or host.endswith("." + rp_id)


def is_web_origin(origin: str) -> bool:
    """Is it an origin of a web page, with a host, rather than one of an app?

    Args:
        origin: canonical.

    >>> is_web_origin("https://example.org"), is_web_origin("ios:bundle-id:org.example.app")
    (True, False)
    """
    return _TUPLE_ORIGIN.match(origin) is not None


def _split(text: str) -> tuple[str, str]:
    """Canonical origin, and what follows it in the text."""
    if len(text) > MAX_ORIGIN_CHARACTERS:
        raise OriginMalformed(f"origin {quoted(text)} is too long")
    matched = _TUPLE_ORIGIN.match(text)
    if matched is None:
        return _whole(text), ""
    scheme = matched[1].lower()
    authority = _AUTHORITY.match(matched[2])
    if authority is None:
        raise OriginMalformed(f"origin {quoted(text)} is not a scheme, an ASCII host and perhaps a port")
    port = authority[2]
    if port is not None and int(port) > 65535:
        raise OriginMalformed(f"origin {quoted(text)} has an impossible port")
    host = _canonical_host(authority[1].lower(), text)
    suffix = "" if port is None or port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{suffix}", matched[3]


def _whole(text: str) -> str:
    lowered = text.lower()
    if not _WHOLE_ORIGIN.match(text) or lowered.startswith(("http:", "https:")):
        raise OriginMalformed(f"origin {quoted(text)} is neither a web origin nor one of an app")
    return text


def _canonical_host(host: str, text: str) -> str:
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        labels = host.split(".")
        if _LOOKS_NUMERIC.match(labels[-1]):
            return str(IPv4Address(host))
    except AddressValueError as e:
        raise OriginMalformed(f"origin {quoted(text)} has a number for a host that is no canonical address") from e
    if len(host) > MAX_HOST_CHARACTERS or not all(_HOST_LABEL.match(label) for label in labels):
        raise OriginMalformed(f"origin {quoted(text)} has an impossible host")
    return host
