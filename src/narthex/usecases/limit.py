"""How much of something one user, or one application, may ask for in a while: refused before it costs anything.

What an address may ask for is counted at the edge. Here it is counted by whom the request is about, after that was
resolved: a user who is asked for by id and by alias is one user (CVE-2025-24806, CVE-2026-47203).
"""

from __future__ import annotations

from typing import Final

from narthex.base.errors import RateLimited
from narthex.ports.limits import Limit
from narthex.usecases.call import Call

CEREMONIES_FROM_ADDRESS: Final = Limit("ceremonies-of-user-from-address", most=60, window_s=60)
"""Of one user, from one neighbourhood: nobody alone can use up what all addresses together may ask of a user."""
CEREMONIES_OF_USER: Final = Limit("ceremonies-of-user", most=600, window_s=60)
CALLS_OF_PAGES: Final = Limit("calls-of-pages", most=60_000, window_s=60)
"""Of all pages of an application together."""
MAGIC_LINKS_OF_APPLICATION: Final = Limit("magic-links-of-application", most=10, window_s=300)
"""Ten in five minutes, as the compatible API has it (its section 9.9)."""
MAGIC_LINKS_OF_USER: Final = Limit("magic-links-of-user", most=5, window_s=900)


async def count_ceremony(call: Call, user: str) -> None:
    """Count a step of a ceremony of a user.

    Args:
        user: whom it is about, resolved; or what names nobody, which must not be told apart.

    Raises:
        RateLimited: there were too many.
    """
    if call.facilities.limiter is None:
        return
    app_id = call.application.app_id
    await _count(call, CEREMONIES_FROM_ADDRESS, f"{app_id}:{call.caller.address_group}:{user}", "for this user")
    await count_for_user(call, CEREMONIES_OF_USER, user)


async def count_for_user(call: Call, limit: Limit, user_id: str) -> None:
    """Count one for a user of this application.

    Raises:
        RateLimited: there were too many.
    """
    app_id = call.application.app_id
    # An application's id has no colon, so no two pairs are written alike.
    await _count(call, limit, f"{app_id}:{user_id}", "for this user")


async def count_for_application(call: Call, limit: Limit) -> None:
    """Count one for this application.

    Raises:
        RateLimited: there were too many.
    """
    await _count(call, limit, call.application.app_id, "for this application")


async def _count(call: Call, limit: Limit, counted: str, whom: str) -> None:
    limiter = call.facilities.limiter
    wait_s = await limiter.hit((limit, counted)) if limiter is not None else None
    if wait_s is not None:
        raise too_many(whom, wait_s)


def too_many(whom: str, wait_s: int) -> RateLimited:
    """The refusal, with when to come back."""
    return RateLimited(f"too many requests {whom}", retry_after_s=wait_s, advice=f"try again in {wait_s} s")
