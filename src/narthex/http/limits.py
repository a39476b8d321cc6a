"""Rate limits on the edge, counted in this process.

The numbers are generous on purpose: they stop floods and guessing, not offices behind one address.
"""

from __future__ import annotations

import math
from time import time  # noqa: TID251 - the limiter's windows are its own; no decision about a user reads this clock

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from narthex.http.authenticate import Access

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
