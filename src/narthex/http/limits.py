"""Rate limits on the edge, counted in this process.

The numbers are generous on purpose: they stop floods and guessing, not offices behind one address.
"""

from __future__ import annotations

import math
from time import time  # noqa: TID251 - the limiter's windows are its own; no decision about a user reads this clock
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from narthex.http.authenticate import Access
from narthex.ports.limits import Limit

PER_MINUTE = {
    Access.PUBLIC_KEY.value: 1_200,
    Access.SECRET_KEY.value: 12_000,
    Access.MANAGEMENT_KEY.value: 120,
    Access.ANONYMOUS.value: 1_200,
}


class AddressLimiter:
    """Counts requests by class of route and client group, in windows of a minute."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._items = {name: RateLimitItemPerMinute(most) for name, most in PER_MINUTE.items()}

    def __call__(self, access: str, group: str) -> int | None:
        item = self._items[access]
        if self._limiter.hit(item, access, group):
            return None
        reset_at = self._limiter.get_window_stats(item, access, group).reset_time
        return max(1, math.ceil(reset_at - time()))


ADDRESS: Final = {
    Access.PUBLIC_KEY: Limit("public-key-calls-of-address", most=1_200, window_s=60),
    Access.SECRET_KEY: Limit("secret-key-calls-of-address", most=12_000, window_s=60),
    Access.MANAGEMENT_KEY: Limit("management-calls-of-address", most=120, window_s=60),
    Access.ANONYMOUS: Limit("anonymous-calls-of-address", most=1_200, window_s=60),
}
"""What a client's neighbourhood may ask for, by who may call the route."""
