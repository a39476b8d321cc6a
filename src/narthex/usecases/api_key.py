"""API keys: how they are drawn and known, what they are good for, and how they end.

A key is `{app id}:public:{32 hexadecimal digits}` or `{app id}:secret:{32 hexadecimal digits}`; the digits are a UUID
of version 4, 122 random bits. Scanners of source code find secrets by `SECRET_PATTERN`. The store has a MAC of each
key and, for listings, its last four characters, which no two keys of an application share.
"""

from __future__ import annotations

import contextlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from hashlib import pbkdf2_hmac
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

import msgspec

from narthex.base.errors import Conflict, Malformed, quoted
from narthex.base.values import Secret
from narthex.ports.changes import (
    AddApiKey,
    ApiKeyHintTaken,
    ApiKeyNotFound,
    Change,
    ExpireKey,
    RemoveApiKey,
    ReviseKey,
    SetKeyLock,
)
from narthex.ports.environment import Keyring, Random
from narthex.ports.records import ApiKey, Application, EventType, KeyKind, Scope
from narthex.usecases.call import OperatorCall
from narthex.usecases.event import operator_log

SECRET_PATTERN: Final = r"\b[a-z][a-z0-9]{2,61}:secret:[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\b"
"""What every secret key that this server draws looks like, as a regular expression."""

REFERENCE_SCOPES: Final = {
    KeyKind.PUBLIC: (Scope.REGISTER, Scope.LOGIN),
    KeyKind.SECRET: (Scope.TOKEN_REGISTER, Scope.TOKEN_VERIFY),
}
"""The scopes of the compatible API, in the order of the numbers by which requests name them."""

SCOPES_OF_KIND: Final = {
    KeyKind.PUBLIC: frozenset(REFERENCE_SCOPES[KeyKind.PUBLIC]),
    KeyKind.SECRET: frozenset(Scope) - frozenset(REFERENCE_SCOPES[KeyKind.PUBLIC]),
}

MOST_KEYS: Final = 100
LONGEST_NAME: Final = 100
MOST_NETWORKS: Final = 50
LONGEST_OVERLAP: Final = timedelta(days=90)
# Four digits tell 65,536 keys apart, and an application has a hundred at most: a second draw is rare.
_DRAWS: Final = 20
_REFERENCE_ROUNDS: Final = 10_000
_LONGEST_NUMBER: Final = 10


class KeyScopesRequired(Malformed):
    """A key is good for something, or it is none."""

    code = "create-api-key-scopes-required"
    advice = "name one scope or more"


class KeyScopeUnknown(Malformed):
    """There is no such scope, or it is one of the other kind of key."""

    code = "api-key-scope-unknown"
    advice = "name scopes of this kind of key; the reference page of keys lists them"


class KeyInvalid(Malformed):
    """A key's name is too long, its networks are none, or its end lies in the past."""

    code = "api-key-invalid"
    advice = "use a name of 100 characters at most, networks like `192.0.2.0/24`, and an end that is yet to come"


class TooManyKeys(Conflict):
    """The application has as many keys as may be."""

    code = "too-many-api-keys"
    advice = "delete keys that are not in use any more: the listing shows when each was used last"


class ApplicationClosed(Conflict):
    """The application is frozen or about to be deleted: its keys stay locked, whatever is said of one."""

    code = "application-closed"
    advice = "unfreeze the application, or cancel its deletion, first"


class KeyTerms(msgspec.Struct, frozen=True):
    """What a key is to be good for."""

    scopes: frozenset[str]
    name: str = ""
    networks: tuple[str, ...] = ()
    expires_at: datetime | None = None
    legacy: bool = False


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


def draw_key(app_id: str, kind: KeyKind, random: Random) -> str:
    """A new key's text."""
    return f"{app_id}:{kind.value}:{_uuid4_hex(random(16))}"


def draw_pairs(app_id: str, random: Random) -> tuple[tuple[str, str], tuple[Secret, Secret]]:
    """Two pairs whose last four characters all differ."""
    drawn: dict[str, str] = {}
    while len(drawn) < 4:
        text = _uuid4_hex(random(16))
        drawn.setdefault(text[-4:], text)
    first, second, third, fourth = drawn.values()
    public = (f"{app_id}:public:{first}", f"{app_id}:public:{second}")
    return public, (Secret(f"{app_id}:secret:{third}"), Secret(f"{app_id}:secret:{fourth}"))


def is_open(key: ApiKey, application: Application, *, now: datetime) -> bool:
    """Whether a key opens anything at all."""
    expired = key.expires_at is not None and key.expires_at <= now
    return not (key.locked or application.is_closed or expired)


def is_open_from(key: ApiKey, address: str) -> bool:
    """Whether a key may be used from an address. The edge, which knows of proxies, decides for requests."""
    if not key.networks:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return any((mapped or parsed) in ip_network(network) for network in key.networks)


def opens_by_reference_hash(key: ApiKey, text: str) -> bool:
    """Whether a text is the imported key whose hash the reference kept: PBKDF2-HMAC-SHA512 with 10,000 rounds.

    Takes some 5 ms, once in the key's life: what it says yes to is known by our own MAC from then on.
    """
    if key.reference_hash is None:
        return False
    salt, _, kept = key.reference_hash.partition(":")
    try:
        expected = b64decode(kept, validate=True)
        derived = pbkdf2_hmac("sha512", text.encode(), b64decode(salt, validate=True), _REFERENCE_ROUNDS, len(expected))
    except (ValueError, OverflowError):
        return False
    return len(expected) >= 16 and hmac.compare_digest(derived, expected)


def checked_terms(kind: KeyKind, terms: KeyTerms, *, now: datetime) -> KeyTerms:
    """Spell networks one way, and refuse what makes no key.

    Raises:
        KeyScopesRequired, KeyScopeUnknown, KeyInvalid.
    """
    if not terms.scopes:
        raise KeyScopesRequired("a key needs a scope")
    for scope in sorted(terms.scopes):
        if scope not in SCOPES_OF_KIND[kind]:
            raise KeyScopeUnknown(f"{quoted(scope)} is no scope of a {kind.value} key")
    if len(terms.name) > LONGEST_NAME or not terms.name.isprintable():
        raise KeyInvalid(f"the name of a key is at most {LONGEST_NAME} printable characters")
    if terms.expires_at is not None and terms.expires_at <= now:
        raise KeyInvalid("the key would have expired already")
    if len(terms.networks) > MOST_NETWORKS:
        raise KeyInvalid(f"a key names {MOST_NETWORKS} networks at most")
    return msgspec.structs.replace(terms, networks=tuple(dict.fromkeys(map(_network, terms.networks))))


async def create_key(call: OperatorCall, application: Application, kind: KeyKind, terms: KeyTerms) -> Secret:
    """Give an application another key; the answer is the only time that a secret one is told.

    Raises:
        KeyScopesRequired, KeyScopeUnknown, KeyInvalid, TooManyKeys.
    """
    return await _create_key(call, application, kind, checked_terms(kind, terms, now=call.now))


async def rotate_key(
    call: OperatorCall, application: Application, key_id: str, *, overlap: timedelta
) -> tuple[Secret, datetime]:
    """Draw a successor that is good for the same, and for as long as the old key was; that one opens a while longer.

    Returns:
        the new key, and when the old one ends.

    Raises:
        ApiKeyNotFound, KeyInvalid, TooManyKeys.
    """
    key = get_key(application, key_id)
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise KeyInvalid(f"two keys overlap for {LONGEST_OVERLAP.days} days at most")
    ends_at, expires_at = call.now + overlap, None
    if key.expires_at is not None:
        if key.expires_at <= call.now:
            raise KeyInvalid("the key has expired: create another one instead")
        ends_at, expires_at = min(ends_at, key.expires_at), call.now + (key.expires_at - key.created_at)
    # A legacy key's successor says in its scopes what the old one might do: nobody need keep the old rule alive.
    scopes = key.scopes if not key.legacy else frozenset(str(s) for s in SCOPES_OF_KIND[key.kind] if key.may(s))
    terms = KeyTerms(scopes=scopes, name=key.name, networks=key.networks, expires_at=expires_at)
    return await _create_key(call, application, key.kind, terms, ExpireKey(key.key_id, ends_at)), ends_at


async def revise_key(call: OperatorCall, application: Application, key_id: str, terms: KeyTerms) -> None:
    """Decide anew what a key is good for; it is no legacy key from then on.

    Raises:
        ApiKeyNotFound, KeyScopesRequired, KeyScopeUnknown, KeyInvalid.
    """
    key = get_key(application, key_id)
    terms = checked_terms(key.kind, terms, now=call.now)
    revised = ReviseKey(
        key_id=key.key_id,
        name=terms.name,
        scopes=terms.scopes,
        networks=terms.networks,
        expires_at=terms.expires_at,
    )
    message = f"key {_shown(key)} is good for: {', '.join(sorted(terms.scopes))}"
    await _commit(call, application, EventType.ApiManagementApiKeyChanged, message, revised)


async def lock_key(call: OperatorCall, application: Application, key_id: str, *, locked: bool) -> None:
    """Let a key open nothing, or let it open again. Every node heeds it within a second.

    Raises:
        ApiKeyNotFound; ApplicationClosed, where it is to open again and cannot.
    """
    key = get_key(application, key_id)
    if not locked and application.is_closed:
        raise ApplicationClosed(f"application {quoted(application.app_id)} is frozen or about to be deleted")
    event_type = EventType.AdminApiKeyLocked if locked else EventType.AdminApiKeyUnlocked
    message = f"key {_shown(key)} {'locked' if locked else 'unlocked'}"
    await _commit(call, application, event_type, message, SetKeyLock(key.key_id, locked=locked, at=call.now))


async def remove_key(call: OperatorCall, application: Application, key_id: str) -> None:
    """
    Raises:
        ApiKeyNotFound.
    """
    key = get_key(application, key_id)
    message = f"key {_shown(key)} deleted"
    await _commit(call, application, EventType.AdminApiKeyDeleted, message, RemoveApiKey(key.key_id))


async def list_keys(call: OperatorCall, application: Application) -> tuple[ApiKey, ...]:
    """The keys of an application. That they were looked at is an event, as in the compatible API."""
    lines = operator_log(call, application, EventType.AdminApiKeysEnumerated, "keys listed", by="Unknown User")
    if lines:
        await call.root.tenant(application.app_id).commit(*lines)
    return application.api_keys


def get_key(application: Application, key_id: str) -> ApiKey:
    """A key by its last four characters, as listings name it, or by its whole id.

    Raises:
        ApiKeyNotFound.
    """
    for key in application.api_keys:
        if key_id in (key.hint, key.key_id):
            return key
    raise ApiKeyNotFound(f"application {quoted(application.app_id)} has no key {quoted(key_id)}")


def legacy_keys(application: Application) -> list[ApiKey]:
    """Keys that may still do whatever the reference lets any secret key do."""
    return [key for key in application.api_keys if key.legacy]


async def _create_key(
    call: OperatorCall, application: Application, kind: KeyKind, terms: KeyTerms, *also: Change
) -> Secret:
    if len(application.api_keys) >= MOST_KEYS:
        raise TooManyKeys(f"an application has {MOST_KEYS} keys at most")
    draw = _drawing(application, kind, call.random)
    for _ in range(_DRAWS):
        text = draw()
        key = msgspec.structs.replace(
            keep_key(kind, text, call.keyring, call.random, call.now),
            scopes=terms.scopes,
            name=terms.name,
            networks=terms.networks,
            expires_at=terms.expires_at,
            legacy=terms.legacy,
        )
        message = f"{kind.value} key {_shown(key)} created"
        with contextlib.suppress(ApiKeyHintTaken):
            await _commit(call, application, EventType.AdminApiKeyCreated, message, AddApiKey(key=key), *also)
            return Secret(text)
    raise ApiKeyHintTaken("no key could be drawn whose last four characters are free")


def _drawing(application: Application, kind: KeyKind, random: Random) -> Callable[[], str]:
    """Draws keys whose hints are free, as far as we know."""
    taken = {key.hint for key in application.api_keys}

    def draw() -> str:
        text = draw_key(application.app_id, kind, random)
        while text[-4:] in taken:
            text = draw_key(application.app_id, kind, random)
        return text

    return draw


async def _commit(
    call: OperatorCall, application: Application, event_type: EventType, message: str, *changes: Change
) -> None:
    lines = operator_log(call, application, event_type, message, by="Unknown User")
    await call.root.tenant(application.app_id).commit(*changes, *lines)
    call.directory.forget(application.app_id)


def _shown(key: ApiKey) -> str:
    return f"***{key.hint}"


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise KeyInvalid(f"{quoted(text)} is no network like `192.0.2.0/24`") from None


def scopes_from(kind: KeyKind, named: Iterable[int | str]) -> KeyTerms:
    """Terms from scopes as a request names them: the compatible API's numbers, or texts.

    A secret key whose scopes all came as numbers is a legacy one: whoever asked knows no others.

    Raises:
        KeyScopesRequired, KeyScopeUnknown.
    """
    known, scopes, by_number = REFERENCE_SCOPES[kind], set[str](), True
    for each in named:
        # Python refuses to read thousands of digits, and no scope has more than one.
        number = int(each) if isinstance(each, int) or (each.isdecimal() and len(each) < _LONGEST_NUMBER) else None
        if number is None:
            by_number = False
            scopes.add(str(each))
        elif 0 <= number < len(known):
            scopes.add(known[number].value)
        else:
            raise KeyScopeUnknown(f"`{number}` is no scope of a {kind.value} key")
    return KeyTerms(scopes=frozenset(scopes), legacy=by_number and kind is KeyKind.SECRET)


def _uuid4_hex(chance: bytes) -> str:
    """A version 4 UUID without dashes (RFC 9562, section 5.4): the shape that mobile clients check for."""
    raw = bytearray(chance)
    raw[6] = 0x40 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return raw.hex()
