"""Who may enter the playground: the browser of this machine, on the playground's own page.

The server listens on the loopback only, and that alone keeps nobody out who can make this machine's browser ask
for him. A page elsewhere can let its own host name resolve to 127.0.0.1 (DNS rebinding), so the `Host` must be
ours. It can send forms here (CSRF), so an act needs a header that no form can send, which a script elsewhere could
only send after a preflight that nobody here answers; and the `Origin` must be the very host that was asked.
"""

from __future__ import annotations

from collections.abc import Mapping

ACT_HEADER = "x-playground"
_NAMES = ("localhost", "127.0.0.1", "[::1]")


def own_hosts(port: int) -> frozenset[str]:
    """Every `Host` under which a browser of this machine reaches the port.

    >>> sorted(own_hosts(8470))
    ['127.0.0.1:8470', '[::1]:8470', 'localhost:8470']
    """
    default = set(_NAMES) if port == 80 else set()
    return frozenset({f"{name}:{port}" for name in _NAMES} | default)


def objection_to_host(headers: Mapping[str, str], hosts: frozenset[str]) -> str | None:
    """Why a request is not answered at all, or None."""
    if headers.get("host", "").lower() in hosts:
        return None
    return "The playground answers to the names of this machine only, such as localhost; this request named another."


def objection_to_act(headers: Mapping[str, str]) -> str | None:
    """Why the backend does not act on a request that passed the first check, or None."""
    if headers.get(ACT_HEADER) != "1":
        return "The playground's backend acts for its own page only: the header X-Playground is missing."
    if headers.get("origin", "").lower() != f"http://{headers['host'].lower()}":
        return "The playground's backend acts for its own page only: this request comes from another origin."
    return None
