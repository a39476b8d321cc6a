"""What is found at well-known places (RFC 8615)."""

from __future__ import annotations

import msgspec

from narthex.http.authenticate import Access
from narthex.http.environment import AnonymousCall, Page
from narthex.http.routing import JSON_TYPE, route
from narthex.usecases.relying_party import related_origins

_KEPT_FOR_S = 300


@route("GET", "/.well-known/webauthn", access=Access.ANONYMOUS, answer=Page, may_miss=True)
async def well_known_webauthn(call: AnonymousCall) -> Page:
    """The origins that may use the passkeys of the rp id whose host this is (L3 #sctn-related-origins).

    Browsers ask the rp id's own host, so let its web server pass this path on, with the `Host` it was asked by.
    """
    origins = await related_origins(call.root, call.host)
    content = msgspec.json.encode({"origins": origins})
    headers = ((b"cache-control", b"public, max-age=%d" % _KEPT_FOR_S), (b"vary", b"host"))
    return Page(content, JSON_TYPE, headers=headers)
