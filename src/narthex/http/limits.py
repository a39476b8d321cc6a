"""What a client's address may ask for in a minute, whoever it says it is.

The numbers are generous on purpose: they stop floods and guessing, not offices behind one address. An address is
counted with its neighbourhood (`narthex.http.client.rate_limit_group`). What one user or one application may ask for is
in `narthex.usecases.limit`.
"""

from __future__ import annotations

from typing import Final

from narthex.http.authenticate import Access
from narthex.ports.limits import Limit

ADDRESS: Final = {
    Access.PUBLIC_KEY: Limit("public-key-calls-of-address", most=1_200, window_s=60),
    Access.SECRET_KEY: Limit("secret-key-calls-of-address", most=12_000, window_s=60),
    Access.MANAGEMENT_KEY: Limit("management-calls-of-address", most=120, window_s=60),
    Access.ANONYMOUS: Limit("anonymous-calls-of-address", most=1_200, window_s=60),
}
"""By who may call the route. The page behind a magic link is among those that anybody may."""
