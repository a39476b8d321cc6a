"""The rows of the reference server's database, one by one, as records of ours.

The tables and columns are those of its schema; a value is what SQLite gives for it. Entity Framework Core writes
instants as text in UTC with up to seven digits of a second, GUIDs as upper-case text or (older versions, and other
tools) as 16 bytes in .NET's order, whose first three groups are little-endian, and flags as 0 and 1. Both spellings
of a GUID are read; text with or without hyphens, in any case.

A row that cannot be one of ours is refused alone, with its reason: those beside it come.
"""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from narthex.base.errors import Malformed, Refusal, quoted
from narthex.ports.environment import Keyring, Random
from narthex.ports.records import (
    Alias,
    ApiKey,
    ApplicationSettings,
    AuthenticationConfiguration,
    Credential,
    KeyKind,
    ListedAuthenticator,
)
from narthex.ports.reference import Row
from narthex.usecases.alias import reference_hash
from narthex.usecases.api_key import SCOPES_OF_KIND, key_mac
from narthex.usecases.creation_options import USER_VERIFICATIONS
from narthex.usecases.retention import LONGEST_RETENTION_DAYS
from narthex.usecases.user import LONGEST_USER_ID_BYTES
from narthex.webauthn.cose import parse_public_key

_LONGEST_CREDENTIAL_ID: Final = 1023
_MOST_SECONDS: Final = 7 * 24 * 3600
_LONGEST_PURPOSE: Final = 255
_NO_AAGUID: Final = bytes(16)
DIGEST_SIZE: Final = 32
_PBKDF2 = re.compile(r"([A-Za-z0-9+/]{22}==):([A-Za-z0-9+/]{22,88}={0,2})\Z")
_PUBLIC_KEY = re.compile(r"[^:]+:public:[0-9a-f]{32}\Z")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?\Z")
_HINTS: Final = {"securitykey": "security-key", "clientdevice": "client-device", "hybrid": "hybrid"}


class RecordUnreadable(Malformed):
    """A row or a line of what is imported cannot be kept here: the message says why."""

    code = "record-unreadable"
    advice = "the others are imported; mend this one where it comes from, and import again"


class Account(msgspec.Struct, frozen=True):
    """An application as the reference keeps it."""

    created_at: datetime
    admin_emails: tuple[str, ...]
    delete_at: datetime | None


def account_of(row: Row) -> Account:
    """
    Raises:
        RecordUnreadable.
    """
    _, emails, created_at, delete_at = row
    return Account(instant_of(created_at), _emails(emails), _instant_or_none(delete_at))


def settings_of(row: Row | None, account: Account) -> ApplicationSettings:
    """What was decided for an application; for one without a row of features, what the reference takes for them.

    Raises:
        RecordUnreadable.
    """
    if row is None:
        return ApplicationSettings(admin_emails=account.admin_emails)
    logging, days, most, attestation, quota, manual_tokens, magic_links = row
    return ApplicationSettings(
        admin_emails=account.admin_emails,
        event_logging=_flag(logging, "EventLoggingIsEnabled"),
        event_retention_days=_number(days, "EventLoggingRetentionPeriod", most=LONGEST_RETENTION_DAYS),
        max_users=None if most is None else _number(most, "MaxUsers"),
        allow_attestation=_flag(attestation, "AllowAttestation"),
        magic_link_monthly_quota=_number(quota, "MagicLinkEmailMonthlyQuota"),
        manual_tokens=_flag(manual_tokens, "IsGenerateSignInTokenEndpointEnabled"),
        magic_links=_flag(magic_links, "IsMagicLinksEnabled"),
    )


def api_key_of(row: Row, *, app_id: str, keyring: Keyring, random: Random) -> ApiKey:
    """A public key, which is kept in clear; or a secret one by its slow hash, until its first use tells us the key.

    Raises:
        RecordUnreadable.
    """
    hint, text, scopes, locked, last_locked_at, created_at = row
    kept = _text(text, "ApiKey")
    kind = KeyKind.SECRET if _PBKDF2.match(kept) else KeyKind.PUBLIC
    if kind is KeyKind.PUBLIC and not (_PUBLIC_KEY.match(kept) and kept.startswith(f"{app_id}:")):
        raise RecordUnreadable("it is neither a public key of the application nor the hash of a secret one")
    hint = _text(hint, "Id")
    if len(hint) != 4 or (kind is KeyKind.PUBLIC and not kept.endswith(hint)):
        raise RecordUnreadable("its id is not the last four characters of a key")
    granted = frozenset(scope.strip().lower() for scope in _text_or_none(scopes, "Scopes").split(","))
    granted &= SCOPES_OF_KIND[kind]
    if not granted:
        raise RecordUnreadable("it has no scope that is known")
    return ApiKey(
        key_id=random(16).hex(),
        kind=kind,
        # Nobody knows the secret yet, so nothing can be its MAC: lots stand there until it is used.
        mac=key_mac(keyring, kept) if kind is KeyKind.PUBLIC else random(DIGEST_SIZE),
        hint=hint,
        value=kept if kind is KeyKind.PUBLIC else None,
        scopes=frozenset(map(str, granted)),
        created_at=instant_of(created_at),
        locked=_flag(locked, "IsLocked"),
        last_locked_at=_instant_or_none(last_locked_at),
        legacy=kind is KeyKind.SECRET,
        reference_hash=kept if kind is KeyKind.SECRET else None,
    )


def is_slow_hash(text: str) -> bool:
    """Whether a text is how the reference keeps a secret key."""
    return _PBKDF2.match(text) is not None


def configuration_of(row: Row) -> AuthenticationConfiguration:
    """
    Raises:
        RecordUnreadable.
    """
    purpose, verification, seconds, hints, created_by, created_on, edited_by, edited_on, last_used_on = row
    named = _text(purpose, "Purpose")
    if not re.fullmatch(r"[\w-]+", named) or len(named) > _LONGEST_PURPOSE:
        raise RecordUnreadable("its purpose is none")
    verified = _text(verification, "UserVerificationRequirement").lower()
    if verified not in USER_VERIFICATIONS:
        raise RecordUnreadable(f"it asks for user verification {quoted(verification)}")
    lasting_s = _number(seconds, "TimeToLive", most=_MOST_SECONDS)
    if not lasting_s:
        raise RecordUnreadable("its tokens would live for no time")
    return AuthenticationConfiguration(
        purpose=named,
        user_verification=verified,
        time_to_live_s=lasting_s,
        hints=_hints(_text_or_none(hints, "Hints")),
        created_by=_text_or_none(created_by, "CreatedBy"),
        created_at=_instant_or_none(created_on),
        edited_by=None if edited_by is None else _text(edited_by, "EditedBy"),
        edited_at=_instant_or_none(edited_on),
        last_used_at=_instant_or_none(last_used_on),
    )


def authenticator_of(row: Row) -> ListedAuthenticator:
    """
    Raises:
        RecordUnreadable.
    """
    aaguid, is_allowed, created_at = row
    return ListedAuthenticator(guid_of(aaguid), _flag(is_allowed, "IsAllowed"), instant_of(created_at))


def credential_of(row: Row) -> Credential:
    """
    Raises:
        RecordUnreadable.
    """
    (credential_id, public_key, user_handle, sign_count, attestation_format, created_at, aaguid, last_used_at, rp_id,
     origin, country, device, nickname, user_id, backup_state, backup_eligible, discoverable) = row  # fmt: skip
    user = _text(user_id, "UserId")
    public = _bytes(public_key, "PublicKey")
    made_at = instant_of(created_at)
    return checked_credential(
        Credential(
            credential_id=_bytes(credential_id, "DescriptorId"),
            user_id=user,
            user_handle=_bytes(user_handle, "UserHandle") if user_handle is not None else user.encode(),
            public_key=public,
            sign_count=_number(sign_count, "SignatureCounter", most=2**32 - 1),
            attestation_format=_text_or_none(attestation_format, "AttestationFmt") or "none",
            aaguid=_NO_AAGUID if aaguid is None else guid_of(aaguid),
            rp_id=_text(rp_id, "RPID"),
            origin=_text_or_none(origin, "Origin"),
            transports=(),
            backup_eligible=_flag_or_none(backup_eligible, "IsBackupEligible"),
            backup_state=bool(_flag_or_none(backup_state, "BackupState")),
            # The reference does not keep it: the first sign-in with user verification says so again.
            user_verified=False,
            discoverable=_flag_or_none(discoverable, "IsDiscoverable"),
            nickname=_text_or_none(nickname, "Nickname") or None,
            device=_text_or_none(device, "Device"),
            country=_text_or_none(country, "Country"),
            created_at=made_at,
            last_used_at=made_at if last_used_at is None else instant_of(last_used_at),
            alg=_algorithm(public),
        )
    )


def checked_credential(credential: Credential) -> Credential:
    """Pass a credential that a ceremony of this server could have made.

    Raises:
        RecordUnreadable.
    """
    if not 0 < len(credential.credential_id) <= _LONGEST_CREDENTIAL_ID:
        raise RecordUnreadable(f"its id is not 1 to {_LONGEST_CREDENTIAL_ID} bytes")
    check_user_id(credential.user_id)
    if not 0 < len(credential.user_handle) <= LONGEST_USER_ID_BYTES:
        raise RecordUnreadable(f"its user handle is not 1 to {LONGEST_USER_ID_BYTES} bytes")
    if len(credential.aaguid) != len(_NO_AAGUID):
        raise RecordUnreadable("its AAGUID is not 16 bytes")
    if not 0 <= credential.sign_count < 2**32:
        raise RecordUnreadable("its signature counter is none")
    if not credential.rp_id:
        raise RecordUnreadable("it names no relying party id")
    return credential


def check_user_id(user_id: str) -> None:
    """
    Raises:
        RecordUnreadable.
    """
    if not user_id:
        raise RecordUnreadable("it names no user")
    if len(user_id.encode()) > LONGEST_USER_ID_BYTES:
        raise RecordUnreadable(f"its user id is longer than {LONGEST_USER_ID_BYTES} bytes, and no browser takes it")


def alias_of(row: Row, *, app_id: str) -> tuple[str, bytes, str | None]:
    """The user's id, the reference hash, and the alias itself where it was not only hashed.

    Raises:
        RecordUnreadable.
    """
    alias, user_id, plaintext = row
    user = _text(user_id, "UserId")
    check_user_id(user)
    try:
        name = b64decode(_text(alias, "Alias"), validate=True)
    except ValueError as e:
        raise RecordUnreadable("its hash is not base64") from e
    if len(name) != DIGEST_SIZE:
        raise RecordUnreadable("its hash is not 32 bytes")
    text = None if plaintext is None else _text(plaintext, "Plaintext")
    if text is not None and reference_hash(app_id, text) != name:
        raise RecordUnreadable("its hash is not that of its text")
    return user, name, text


def alias_record(keyring: Keyring, app_id: str, name: bytes, plaintext: str | None) -> Alias:
    """The record of an alias whose reference hash is known."""
    mac = keyring.mac("alias", name)
    return Alias(mac, keyring.wrap("alias-hash", app_id.encode() + mac, name), plaintext)


def instant_of(value: object) -> datetime:
    """What Entity Framework Core writes for an instant; the seventh digit of a second is dropped.

    Raises:
        RecordUnreadable.

    >>> instant_of("2024-01-02 03:04:05.1234567").isoformat()
    '2024-01-02T03:04:05.123456+00:00'
    >>> instant_of("2024-01-02 05:04:05+02:00").isoformat()
    '2024-01-02T03:04:05+00:00'
    """
    try:
        if isinstance(value, str) and _INSTANT.match(value):
            read = datetime.fromisoformat(value)
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RecordUnreadable(f"{quoted(value)} is no instant")


def guid_of(value: object) -> bytes:
    """A GUID, as text or in .NET's order of bytes, in the order of RFC 9562.

    Raises:
        RecordUnreadable.

    >>> guid_of("EA9B8D66-4D01-1D21-3CE4-B6B48CB575D4").hex()
    'ea9b8d664d011d213ce4b6b48cb575d4'
    >>> guid_of(bytes.fromhex("668d9bea014d211d3ce4b6b48cb575d4")).hex()
    'ea9b8d664d011d213ce4b6b48cb575d4'
    """
    try:
        if isinstance(value, bytes) and len(value) == 16:
            return UUID(bytes_le=value).bytes
        if isinstance(value, str) and len(value) in (32, 36):
            return UUID(value).bytes
    except ValueError:
        pass
    raise RecordUnreadable(f"{quoted(value)} is no GUID")


def _algorithm(public_key: bytes) -> int:
    try:
        return parse_public_key(public_key).alg
    except Refusal as e:
        raise RecordUnreadable(f"its COSE key cannot be used: {e.message}") from e


def _instant_or_none(value: object) -> datetime | None:
    return None if value is None else instant_of(value)


def _flag(value: object, column: str) -> bool:
    flag = _flag_or_none(value, column)
    if flag is None:
        raise RecordUnreadable(f"`{column}` is empty")
    return flag


def _flag_or_none(value: object, column: str) -> bool | None:
    if value is None:
        return None
    if value not in (0, 1):
        raise RecordUnreadable(f"`{column}` is neither 0 nor 1")
    return value == 1


def _number(value: object, column: str, *, most: int = 2**31 - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise RecordUnreadable(f"`{column}` is no number from 0 to {most}")
    return value


def _bytes(value: object, column: str) -> bytes:
    if not isinstance(value, bytes):
        raise RecordUnreadable(f"`{column}` is not bytes")
    return value


def _text(value: object, column: str) -> str:
    # What was no UTF-8 in the file arrives with surrogates, which nothing can write.
    if not isinstance(value, str) or "\0" in value or not (value.isascii() or _is_unicode(value)):
        raise RecordUnreadable(f"`{column}` is not text")
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_or_none(value: object, column: str) -> str:
    return "" if value is None else _text(value, column)


def _emails(value: object) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(_text_or_none(value, "AdminEmailsSerialized") or "[]", type=tuple[str, ...])
    except msgspec.MsgspecError as e:
        raise RecordUnreadable("`AdminEmailsSerialized` is no list of texts in JSON") from e


def _hints(text: str) -> tuple[str, ...]:
    names = [name.strip().lower().replace("-", "") for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _HINTS:
            raise RecordUnreadable(f"{quoted(name)} is no hint")
    return tuple(dict.fromkeys(_HINTS[name] for name in names))
