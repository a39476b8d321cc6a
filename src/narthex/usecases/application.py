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

from narthex.base.errors import Malformed, NotFound, quoted
from narthex.base.mail import check_sender_name, parse_address
from narthex.base.values import Secret
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddTokenKey,
    Change,
    ExpectSettings,
    KeepRevision,
    SetSettings,
    SettingsChanged,
)
from narthex.ports.records import (
    Application,
    ApplicationSettings,
    EventType,
    KeyKind,
    SettingsRevision,
    TrustAnchor,
)
from narthex.usecases.api_key import draw_pairs, keep_key
from narthex.usecases.call import Call, OperatorCall
from narthex.usecases.event import operator_log
from narthex.usecases.mail_template import check_templates
from narthex.usecases.token_key import DROPPED_AFTER, new_token_key
from narthex.webauthn.authenticator_policy import checked
from narthex.webauthn.errors import CertificateMalformed, OriginMalformed
from narthex.webauthn.origin import canonical_origin, is_web_origin, parse_rp_id
from narthex.webauthn.trust import parse_certificate

MOST_TRUST_ANCHORS = 50
_MOST = {"event_retention_days": 3_650, "magic_link_monthly_quota": 2**31 - 1, "max_users": 2**31 - 1}
# Of so many that decide at once, each round lets one through.
_TRIES = 100

Decision = Callable[[Application], Awaitable[Mapping[str, Any]]]
_APP_ID = re.compile(r"[a-z][a-z0-9]{2,61}\Z")


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


class SettingOutOfRange(Malformed):
    """A number among the settings is one that nobody can mean."""

    code = "setting-out-of-range"
    advice = "keep events for 0 to 3650 days, and use numbers from 0 to 2147483647 elsewhere"


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
    check_app_id(app_id)
    settings = checked_settings(settings)
    public, secret = draw_pairs(app_id, call.random)
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
    application = Application(app_id, call.now, settings)
    changes.append(KeepRevision(SettingsRevision(0, call.now, by, settings)))
    changes += operator_log(call, application, EventType.ApiManagementAppCreated, "application created", by=by)
    await call.root.tenant(app_id).commit(*changes)
    call.directory.forget(app_id)
    return ApplicationKeys(public=public, secret=secret)


def check_app_id(app_id: str) -> None:
    """
    Raises:
        InvalidApplicationId.
    """
    if not _APP_ID.match(app_id):
        raise InvalidApplicationId(f"{quoted(app_id)} is no application id")


async def get_application(call: OperatorCall, app_id: str) -> Application:
    """An application with its keys and settings, as the database has it now.

    Raises:
        ApplicationNotFound.
    """
    application = await call.root.tenant(app_id).find_application()
    if application is None:
        raise ApplicationNotFound(f"there is no application {quoted(app_id)}")
    return application


async def within_application(call: OperatorCall, app_id: str) -> Call:
    """A call within an application, by the operator.

    Raises:
        ApplicationNotFound.
    """
    tenant = await call.directory.refresh(app_id, now=call.now)
    if tenant is None:
        raise ApplicationNotFound(f"there is no application {quoted(app_id)}")
    return call.within(tenant)


async def change_settings(
    call: OperatorCall, app_id: str, *, by: str = "System", **changes: Any
) -> ApplicationSettings:
    """Decide anew what is named, and leave the rest as it is.

    Args:
        by: who decides.
        changes: members of `ApplicationSettings`.

    Raises:
        what `decide` raises.
    """

    async def named(application: Application) -> Mapping[str, Any]:
        return changes

    return await decide(call, app_id, named, by=by)


async def decide(
    call: OperatorCall, app_id: str, decision: Decision, *also: Change, by: str = "System"
) -> ApplicationSettings:
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
        decided = msgspec.structs.replace(application, settings=changed_settings(application.settings, changes))
        changed = names_changed(application.settings, decided.settings)
        if not changed:
            return application.settings
        message = f"settings changed: {', '.join(changed)}"
        with contextlib.suppress(SettingsChanged):
            await call.root.tenant(app_id).commit(
                *replacing(application, decided.settings, now=call.now, by=by),
                *also,
                # The log is the one that there is from now on: to switch it on is its first line.
                *operator_log(call, decided, EventType.ApiManagementSettingsChanged, message, by=by),
            )
            call.directory.forget(app_id)
            return decided.settings
    raise SettingsChanged(f"the settings of {quoted(app_id)} are being changed by others at the same time")


def changed_settings(settings: ApplicationSettings, changes: Mapping[str, Any]) -> ApplicationSettings:
    """Settings with some of their members decided anew.

    Raises:
        what `checked_settings` raises.
    """
    return checked_settings(msgspec.structs.replace(settings, **changes))


def names_changed(before: ApplicationSettings, after: ApplicationSettings) -> list[str]:
    """The members that differ, in the order in which they stand."""
    return [name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)]


def replacing(application: Application, settings: ApplicationSettings, *, now: datetime, by: str) -> list[Change]:
    """The changes that make settings those of an application, unless somebody else was faster, and keep the history."""
    revision = SettingsRevision(application.settings_version + 1, now, by, settings)
    return [ExpectSettings(application.settings_version), SetSettings(settings=settings), KeepRevision(revision)]


def checked_settings(settings: ApplicationSettings) -> ApplicationSettings:
    """Spell every origin and rp id the one way in which ceremonies are compared with it, each once; check the rest.

    Raises:
        OriginMalformed, RpIdMalformed, RpIdMigrationInvalid, SettingOutOfRange, TrustAnchorInvalid, PolicyInvalid,
        MailAddressInvalid, MailFieldInvalid, MailTemplateInvalid.
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
    _check_numbers(settings)
    _check_anchors(settings.trust_anchors)
    checked(settings.authenticator_policy)
    return msgspec.structs.replace(
        settings,
        origins=tuple(dict.fromkeys(canonical_origin(origin) for origin in settings.origins)),
        top_origins=tuple(dict.fromkeys(canonical_origin(origin) for origin in settings.top_origins)),
        rp_ids=tuple(dict.fromkeys(rp_ids)),
        admin_emails=tuple(dict.fromkeys(map(parse_address, settings.admin_emails))),
        mail_templates=check_templates(settings.mail_templates),
        mail_sender_name=check_sender_name(settings.mail_sender_name),
        magic_link_origins=tuple(dict.fromkeys(map(_page, settings.magic_link_origins))),
    )


def _check_numbers(settings: ApplicationSettings) -> None:
    for name, most in _MOST.items():
        number = getattr(settings, name)
        if number is not None and not 0 <= number <= most:
            raise SettingOutOfRange(f"{name.replace('_', ' ')} cannot be {number}")


def _page(origin: str) -> str:
    canonical = canonical_origin(origin)
    if not is_web_origin(canonical):
        raise OriginMalformed(
            f"{quoted(origin)} is no origin of a page", advice="use an origin like `https://example.com`"
        )
    return canonical


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
