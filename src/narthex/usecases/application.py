"""Applications: the tenants of the server, made by its operator."""

from __future__ import annotations

import contextlib
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from narthex.base.errors import Malformed, NotFound
from narthex.base.values import Secret
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddEvent,
    AddTokenKey,
    Change,
    ExpectSettings,
    SetSettings,
    SettingsChanged,
)
from narthex.ports.environment import Keyring, Random
from narthex.ports.records import (
    ApiKey,
    Application,
    ApplicationSettings,
    EventType,
    KeyKind,
    Scope,
    TrustAnchor,
)
from narthex.usecases.call import OperatorCall, event
from narthex.usecases.token_key import DROPPED_AFTER, new_token_key
from narthex.webauthn.authenticator_policy import checked
from narthex.webauthn.errors import CertificateMalformed, quoted
from narthex.webauthn.origin import canonical_origin, parse_rp_id
from narthex.webauthn.trust import parse_certificate

MOST_TRUST_ANCHORS = 50
# Of so many that decide at once, each round lets one through.
_TRIES = 100

Decision = Callable[[Application], Awaitable[Mapping[str, Any]]]
_APP_ID = re.compile(r"[a-z][a-z0-9]{2,61}\Z")

SCOPES_OF_KIND = {
    KeyKind.PUBLIC: frozenset({Scope.REGISTER, Scope.LOGIN}),
    KeyKind.SECRET: frozenset({Scope.TOKEN_REGISTER, Scope.TOKEN_VERIFY}),
}


class InvalidApplicationId(Malformed):
    """An application id is 3 to 62 lower-case letters and digits, and begins with a letter."""

    code = "invalid-application-id"
    advice = "use 3 to 62 lower-case letters and digits, beginning with a letter"


class RpIdMigrationInvalid(Malformed):
    """A relying party moves from one id to another one."""

    code = "rp-id-migration-invalid"
    advice = "name the old id and the new one, two domains in lower case"


class TrustAnchorInvalid(Malformed):
    """A trust anchor of an application is no certificate, or has no name of its own."""

    code = "trust-anchor-invalid"
    advice = "give each anchor a name of its own, one X.509 certificate, and AAGUIDs as UUIDs"


class ApplicationNotFound(NotFound):
    """There is no application of this id."""

    code = "application-not-found"
    advice = "`narthex app list` prints the ids that exist"


@dataclass(frozen=True, slots=True)
class ApplicationKeys:
    """The keys of a new application, whole: they are shown once and kept only as MACs."""

    public: tuple[str, str]
    secret: tuple[Secret, Secret]


async def create_application(call: OperatorCall, app_id: str, settings: ApplicationSettings) -> ApplicationKeys:
    """Make an application with two key pairs and its first token key.

    Raises:
        InvalidApplicationId, ApplicationExists, or the refusal of an origin that is none.
    """
    if not _APP_ID.match(app_id):
        raise InvalidApplicationId(f"{quoted(app_id)} is no application id")
    settings = checked_settings(settings)
    public, secret = _draw_keys(app_id, call.random)
    kept = [
        *(keep_key(KeyKind.PUBLIC, key, call.keyring, call.random, call.now) for key in public),
        *(keep_key(KeyKind.SECRET, key, call.keyring, call.random, call.now) for key in secret),
    ]
    token_key = new_token_key(app_id, keyring=call.keyring, random=call.random, now=call.now)
    changes: list[Change] = [
        AddApplication(created_at=call.now, settings=settings),
        *(AddApiKey(key=key) for key in kept),
        AddTokenKey(key=token_key, drop_before=call.now - DROPPED_AFTER),
    ]
    by = next(iter(settings.admin_emails), "System")
    changes += operator_event(call, app_id, settings, EventType.ApiManagementAppCreated, "application created", by=by)
    await call.root.tenant(app_id).commit(*changes)
    call.directory.forget(app_id)
    return ApplicationKeys(public=public, secret=secret)


async def get_application(call: OperatorCall, app_id: str) -> Application:
    """An application with its keys and settings, as the database has it now.

    Raises:
        ApplicationNotFound.
    """
    application = await call.root.tenant(app_id).find_application()
    if application is None:
        raise ApplicationNotFound(f"there is no application {quoted(app_id)}")
    return application


async def change_settings(call: OperatorCall, app_id: str, **changes: Any) -> ApplicationSettings:
    """Decide anew what is named, and leave the rest as it is.

    Args:
        changes: members of `ApplicationSettings`.

    Raises:
        what `decide` raises.
    """

    async def named(application: Application) -> Mapping[str, Any]:
        return changes

    return await decide(call, app_id, named)


async def decide(call: OperatorCall, app_id: str, decision: Decision, *also: Change) -> ApplicationSettings:
    """Change settings on the grounds of what they are now; decided again when somebody else was faster.

    Args:
        decision: given the application, the members of `ApplicationSettings` that change.
        also: what changes together with them.

    Raises:
        ApplicationNotFound, SettingsChanged, what `checked_settings` raises, and what the decision does.
    """
    for _ in range(_TRIES):
        application = await get_application(call, app_id)
        changes = await decision(application)
        settings = checked_settings(msgspec.structs.replace(application.settings, **changes))
        changed = [name for name in changes if getattr(settings, name) != getattr(application.settings, name)]
        if not changed:
            return settings
        message = f"settings changed: {', '.join(changed)}"
        with contextlib.suppress(SettingsChanged):
            await call.root.tenant(app_id).commit(
                ExpectSettings(application.settings_version),
                SetSettings(settings=settings),
                *also,
                *operator_event(call, app_id, settings, EventType.ApiManagementSettingsChanged, message),
            )
            call.directory.forget(app_id)
            return settings
    raise SettingsChanged(f"the settings of {quoted(app_id)} are being changed by others at the same time")


def checked_settings(settings: ApplicationSettings) -> ApplicationSettings:
    """Spell every origin and rp id the one way in which ceremonies are compared with it, each once; check the rest.

    Raises:
        OriginMalformed, RpIdMalformed, RpIdMigrationInvalid, TrustAnchorInvalid, PolicyInvalid.
    """
    migration = settings.rp_id_migration
    moving: tuple[str, ...] = ()
    if migration is not None:
        if not migration.old or not migration.new:
            raise RpIdMigrationInvalid("a move needs an rp id to begin at and one to end at")
        if migration.old == migration.new:
            raise RpIdMigrationInvalid(f"a relying party cannot move from `{migration.old}` to itself")
        moving = (migration.new, migration.old)
    rp_ids = (*settings.rp_ids, *moving) if settings.rp_ids else ()
    for rp_id in (*rp_ids, *moving):
        parse_rp_id(rp_id)
    _check_anchors(settings.trust_anchors)
    checked(settings.authenticator_policy)
    return msgspec.structs.replace(
        settings,
        origins=tuple(dict.fromkeys(canonical_origin(origin) for origin in settings.origins)),
        top_origins=tuple(dict.fromkeys(canonical_origin(origin) for origin in settings.top_origins)),
        rp_ids=tuple(dict.fromkeys(rp_ids)),
    )


def _check_anchors(anchors: tuple[TrustAnchor, ...]) -> None:
    if len(anchors) > MOST_TRUST_ANCHORS:
        raise TrustAnchorInvalid(f"an application has at most {MOST_TRUST_ANCHORS} trust anchors of its own")
    if len({anchor.name for anchor in anchors}) < len(anchors):
        raise TrustAnchorInvalid("two trust anchors bear the same name")
    for anchor in anchors:
        try:
            parse_certificate(b64decode(anchor.certificate, validate=True))
            _ = [UUID(aaguid) for aaguid in anchor.aaguids]
        except (CertificateMalformed, ValueError) as e:
            raise TrustAnchorInvalid(f"trust anchor {quoted(anchor.name)} cannot be read") from e


def key_mac(keyring: Keyring, key: str) -> bytes:
    """What the store knows a key by. Keys carry 122 random bits: a password hash would buy nothing."""
    return keyring.mac("api-key", key.encode())


def keep_key(kind: KeyKind, key: str, keyring: Keyring, random: Random, now: datetime) -> ApiKey:
    """Make the record of a key with all the scopes of its kind."""
    return ApiKey(
        key_id=random(16).hex(),
        kind=kind,
        mac=key_mac(keyring, key),
        hint=key[-4:],
        value=key if kind is KeyKind.PUBLIC else None,
        scopes=frozenset(str(scope) for scope in SCOPES_OF_KIND[kind]),
        created_at=now,
    )


def _draw_keys(app_id: str, random: Random) -> tuple[tuple[str, str], tuple[Secret, Secret]]:
    """Two pairs whose last four characters, which stand for them in listings and logs, all differ."""
    drawn: dict[str, str] = {}
    while len(drawn) < 4:
        text = _uuid4_hex(random(16))
        drawn.setdefault(text[-4:], text)
    first, second, third, fourth = drawn.values()
    public = (f"{app_id}:public:{first}", f"{app_id}:public:{second}")
    return public, (Secret(f"{app_id}:secret:{third}"), Secret(f"{app_id}:secret:{fourth}"))


def _uuid4_hex(chance: bytes) -> str:
    """A version 4 UUID without dashes (RFC 9562, section 5.4): the shape that mobile clients check for."""
    raw = bytearray(chance)
    raw[6] = 0x40 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return raw.hex()


def operator_event(
    call: OperatorCall,
    app_id: str,
    settings: ApplicationSettings,
    event_type: EventType,
    message: str,
    *,
    by: str = "System",
) -> list[AddEvent]:
    """The change that records what an operator did, if the application keeps a log at all."""
    if not settings.event_logging:
        return []
    line = event(
        event_type,
        message,
        performed_by=by,
        subject=app_id,
        now=call.now,
        random=call.random,
        caller=call.caller,
    )
    return [AddEvent(event=line)]
