"""Authentication configurations: what a sign-in for a purpose asks, and for how long its token counts.

Every application has two purposes without having made them, `sign-in` and `step-up`: presets, kept as rows of their
own from the first time that they are edited or used, and never deleted. The compatible API, sections 7.12 and 9.5.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from narthex.base.errors import Conflict, Malformed, Rejected, quoted
from narthex.ports.changes import (
    AddConfiguration,
    Change,
    ConfigurationExists,
    RemoveConfiguration,
    ReviseConfiguration,
)
from narthex.ports.records import AuthenticationConfiguration, EventType
from narthex.usecases.call import Call
from narthex.usecases.creation_options import HINTS, USER_VERIFICATIONS
from narthex.usecases.event import log
from narthex.usecases.tenant import PRESETS

LONGEST_PURPOSE: Final = 255
LONGEST_TIME_TO_LIVE: Final = timedelta(days=7)
"""As long as a token that a backend has made for itself (`/signin/generate-token`)."""
MOST_CONFIGURATIONS: Final = 100
"""They are read with every request."""
_PRESETS_LISTED: Final = ("step-up", "sign-in")
_WORD_CATEGORIES: Final = ("Mn", "Nd", "Pc")


class ConfigurationInvalid(Malformed):
    """A purpose, what it asks, or how long it counts cannot be so."""

    code = "configuration-invalid"
    advice = "use letters, digits, `_` and `-` for a purpose, and 1 second to 7 days for how long a sign-in counts"


class PresetPermanent(Rejected):
    """Every application has the purposes `sign-in` and `step-up`: they can be edited, and not deleted."""

    code = "configuration-preset"
    advice = "edit the configuration instead"


class TooManyConfigurations(Conflict):
    """The application has as many purposes as may be."""

    code = "too-many-configurations"
    advice = "delete purposes that are not in use any more: the list shows when each was used last"


@dataclass(frozen=True, slots=True)
class Demands:
    """What a sign-in for a purpose asks of the authenticator, and for how long it counts."""

    time_to_live: timedelta
    user_verification: str = "preferred"
    hints: tuple[str, ...] = ()


async def list_configurations(call: Call, *, purpose: str | None = None) -> Sequence[AuthenticationConfiguration]:
    """Those that are kept and then the presets that are not; or that of one purpose, if there is one."""
    # Read anew, so that a list never lags behind what another server has just answered.
    application = await call.store.find_application()
    kept = () if application is None else application.configurations
    known = {each.purpose for each in kept}
    listed = [*kept, *(PRESETS[preset] for preset in _PRESETS_LISTED if preset not in known)]
    return [each for each in listed if purpose is None or each.purpose == purpose]


async def add_configuration(call: Call, purpose: str, demands: Demands, *, by: str) -> None:
    """Configure a purpose.

    Raises:
        ConfigurationInvalid, ConfigurationExists, TooManyConfigurations.
    """
    _check(purpose, demands)
    if purpose in PRESETS:
        raise ConfigurationExists(f"every application has the purpose {quoted(purpose)}")
    if len(call.application.configurations) >= MOST_CONFIGURATIONS:
        raise TooManyConfigurations(f"an application has at most {MOST_CONFIGURATIONS} purposes")
    made = _configuration(purpose, demands, created_by=by, created_at=call.now)
    await call.store.commit(
        AddConfiguration(made), *_logged(call, EventType.ApiAuthenticationConfigurationCreated, "added", purpose, by)
    )
    call.directory.forget(call.application.app_id)


async def edit_configuration(call: Call, purpose: str, demands: Demands, *, by: str) -> None:
    """Replace what a purpose asks.

    Raises:
        ConfigurationInvalid, ConfigurationNotFound.
    """
    _check(purpose, demands)
    edited = _configuration(purpose, demands, edited_by=by, edited_at=call.now)
    await call.store.commit(
        ReviseConfiguration(edited, make=purpose in PRESETS),
        *_logged(call, EventType.ApiAuthenticationConfigurationUpdated, "edited", purpose, by),
    )
    call.directory.forget(call.application.app_id)


async def remove_configuration(call: Call, purpose: str, *, by: str) -> None:
    """Forget a purpose: from now on a sign-in for it is one for `sign-in`.

    Raises:
        PresetPermanent, ConfigurationNotFound.
    """
    if purpose in PRESETS:
        raise PresetPermanent(f"the purpose {quoted(purpose)} cannot be deleted")
    await call.store.commit(
        RemoveConfiguration(purpose),
        *_logged(call, EventType.ApiAuthenticationConfigurationDeleted, "deleted", purpose, by),
    )
    call.directory.forget(call.application.app_id)


def is_purpose(text: str) -> bool:
    """Whether a text can name a purpose: word characters as .NET counts them, and hyphens.

    >>> is_purpose("transfer-money_2"), is_purpose("transfer money"), is_purpose("")
    (True, False, False)
    """
    return 0 < len(text) <= LONGEST_PURPOSE and all(each == "-" or _is_word(each) for each in text)


def _is_word(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("L") or category in _WORD_CATEGORIES


def _check(purpose: str, demands: Demands) -> None:
    if not is_purpose(purpose):
        raise ConfigurationInvalid(f"{quoted(purpose)} cannot be a purpose")
    second = timedelta(seconds=1)
    if not second <= demands.time_to_live <= LONGEST_TIME_TO_LIVE or demands.time_to_live % second:
        raise ConfigurationInvalid(f"a sign-in cannot count for {demands.time_to_live}")
    if demands.user_verification not in USER_VERIFICATIONS:
        raise ConfigurationInvalid(f"{quoted(demands.user_verification)} is no user verification that we know")
    if any(hint not in HINTS for hint in demands.hints):
        raise ConfigurationInvalid(f"hints are any of {', '.join(HINTS)}")


def _configuration(purpose: str, demands: Demands, **made: Any) -> AuthenticationConfiguration:
    return AuthenticationConfiguration(
        purpose=purpose,
        user_verification=demands.user_verification,
        time_to_live_s=demands.time_to_live // timedelta(seconds=1),
        hints=demands.hints,
        **made,
    )


def _logged(call: Call, event_type: EventType, done: str, purpose: str, by: str) -> list[Change]:
    message = f"configuration of {quoted(purpose)} {done}"
    return log(call, event_type, message, performed_by=by, subject=call.application.app_id)
