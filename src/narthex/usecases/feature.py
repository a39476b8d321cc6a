"""What an application switches on and off by itself, through its own backend."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Final

from narthex.base.errors import quoted
from narthex.ports.changes import Change, SettingsChanged
from narthex.ports.records import Application, EventType
from narthex.usecases.application import changed_settings, names_changed, replacing
from narthex.usecases.call import Call
from narthex.usecases.event import event, recorded

_TRIES: Final = 100

_SWITCHES: Final = {
    "manual_tokens": (
        EventType.AdminGenerateSignInTokenEndpointDisabled,
        EventType.AdminGenerateSignInTokenEndpointEnabled,
    ),
    "magic_links": (EventType.AdminMagicLinksDisabled, EventType.AdminMagicLinksEnabled),
}
"""What is recorded when a switch is set: off, on. In the compatible API it is so even where nothing changes by it."""


async def change_features(call: Call, *, by: str, **features: Any) -> None:
    """Set some of `event_retention_days`, `manual_tokens` and `magic_links`; None leaves one as it is.

    Raises:
        SettingsChanged.
    """
    changes = {name: value for name, value in features.items() if value is not None}
    for _ in range(_TRIES):
        application = await call.store.find_application()
        if application is None or not changes:
            return
        settings = changed_settings(application.settings, changes)
        lines = _lines(call, application, changes, by=by)
        if names_changed(application.settings, settings):
            lines = [*replacing(application, settings, now=call.now, by=by), *lines]
        with contextlib.suppress(SettingsChanged):
            if lines:
                await call.store.commit(*lines)
                call.directory.forget(application.app_id)
            return
    raise SettingsChanged(f"the settings of {quoted(call.application.app_id)} are being changed by others at once")


def _lines(call: Call, application: Application, changes: dict[str, Any], *, by: str) -> list[Change]:
    caller = dataclasses.replace(call.caller, api_key_hint="")  # The compatible API names no key here.
    lines: list[Change] = []
    for name, types in _SWITCHES.items():
        if name in changes:
            line = event(
                types[bool(changes[name])],
                f"{name.replace('_', ' ')} {'enabled' if changes[name] else 'disabled'}",
                performed_by=by,
                subject=application.app_id,
                now=call.now,
                random=call.random,
                caller=caller,
            )
            lines += recorded(application, line, call.random)
    return lines
