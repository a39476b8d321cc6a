"""Who asks: from a key header to a call.

The application is decided here, by the key and by nothing else: no body, no path and no host name says which
tenant a request belongs to. Scopes are checked here too, before the body is read.

The sentences of the 401 answer are those of the compatible API, which its SDKs' tests compare (its section 3.5).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from narthex.base.errors import Forbidden
from narthex.http import client
from narthex.http.environment import Environment
from narthex.http.problems import KeyRequired, ScopeMissing
from narthex.ports.changes import AdoptKey
from narthex.ports.records import ApiKey, EventType, KeyKind, Scope
from narthex.usecases.api_key import is_open, key_mac, opens_by_reference_hash
from narthex.usecases.call import Call, Caller, OperatorCall
from narthex.usecases.event import event, recorded
from narthex.usecases.tenant import Tenant


class Access(Enum):
    """Who may call a route: the header that must prove it, or nobody in particular."""

    ANONYMOUS = ""
    PUBLIC_KEY = "ApiKey"
    SECRET_KEY = "ApiSecret"
    MANAGEMENT_KEY = "ManagementKey"


class KeyNotAllowedHere(Forbidden):
    """The key is good, and may be used from some networks only; the request came from another."""

    code = "key-not-allowed-here"
    advice = "send the request from a network that the key is for, or let the operator add this one to the key"


@dataclass(frozen=True, slots=True)
class KeyForm:
    """How one kind of key looks, and how to say that it does not."""

    header: str
    other_header: str
    kind: KeyKind
    other_word: str
    other_explanation: str
    invalid: EventType
    disabled: EventType


_FORMS = {
    Access.PUBLIC_KEY: KeyForm(
        header="ApiKey",
        other_header="ApiSecret",
        kind=KeyKind.PUBLIC,
        other_word=":secret:",
        other_explanation="Your ApiKey header contained a ApiSecret instead of your 'ApiKey'.",
        invalid=EventType.ApiAuthInvalidPublicKeyUsed,
        disabled=EventType.ApiAuthDisabledPublicKeyUsed,
    ),
    Access.SECRET_KEY: KeyForm(
        header="ApiSecret",
        other_header="ApiKey",
        kind=KeyKind.SECRET,
        other_word=":public:",
        other_explanation="Your ApiSecret header contained a public ApiKey instead of your 'ApiSecret'.",
        invalid=EventType.ApiAuthInvalidSecretKeyUsed,
        disabled=EventType.ApiAuthDisabledSecretKeyUsed,
    ),
}

_LONGEST_KEY = 256


async def authenticate_key(
    env: Environment,
    access: Access,
    scope: Scope,
    headers: Mapping[bytes, bytes],
    *,
    peer: str,
    trace_id: str,
) -> Call:
    """Find the application whose key this is.

    Args:
        peer: the address at the other end of the connection.

    Raises:
        KeyRequired: the header is missing, or names no unlocked key of the right kind.
        KeyNotAllowedHere: the key is good, and not for the network that the request came from.
        ScopeMissing: the key is good and lacks the scope.
    """
    form = _FORMS[access]
    value = header_text(headers, form.header)
    now = env.clock.now()
    tenant = await env.directory.find(_application_id(value), now=now) if _plausible(value) else None
    if tenant is None:
        raise KeyRequired(form.header, explain(form, headers))
    address = client.client_address(peer, headers, env.trusted_proxies)
    key = _find_key(env, tenant, form, value) or await _imported_key(env, tenant, form, value, address=address)
    if key is None or not is_open(key, tenant.application, now=now):
        event_type = form.invalid if key is None else form.disabled
        message = f"a {'wrong' if key is None else 'locked'} {form.header} was used"
        await _record_bad_key(env, tenant, event_type, message, value, trace_id, address=address)
        raise KeyRequired(form.header, explain(form, headers))
    if key.networks and not client.is_from(_networks(key.networks), peer, headers, env.trusted_proxies):
        message = f"a {form.header} was used from outside its networks"
        event_type = EventType.ApiAuthKeyRefusedByNetwork
        await _record_bad_key(env, tenant, event_type, message, value, trace_id, address=address)
        raise KeyNotAllowedHere(f"this {form.header} may not be used from {address}")
    if not key.may(scope):
        raise ScopeMissing(scope)
    env.key_uses.note(tenant.application.app_id, key, now=now)
    return Call(
        tenant=tenant,
        store=env.root.tenant(tenant.application.app_id),
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=now,
        # Only now: reading a strange user agent costs ten times what it costs to refuse a wrong key.
        caller=Caller(
            api_key_hint=key.hint,
            device=client.device(headers) if access is Access.PUBLIC_KEY else "",
            country=client.country(peer, headers, env.trusted_proxies),
            trace_id=trace_id,
            address=address,
            address_group=client.rate_limit_group(address),
        ),
        metadata=env.catalog.current,
        facilities=env.facilities,
    )


async def enter_application(
    env: Environment, headers: Mapping[bytes, bytes], app_id: str, *, peer: str, trace_id: str
) -> Call | None:
    """A call to an application by somebody who has proved nothing yet; None where there is no such application."""
    now = env.clock.now()
    tenant = await env.directory.find(app_id, now=now) if _plausible(f"{app_id}:") else None
    if tenant is None:
        return None
    address = client.client_address(peer, headers, env.trusted_proxies)
    return Call(
        tenant=tenant,
        store=env.root.tenant(app_id),
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=now,
        caller=Caller(
            device=client.device(headers),
            country=client.country(peer, headers, env.trusted_proxies),
            trace_id=trace_id,
            address=address,
            address_group=client.rate_limit_group(address),
        ),
        metadata=env.catalog.current,
        facilities=env.facilities,
    )


def authenticate_operator(env: Environment, headers: Mapping[bytes, bytes], *, trace_id: str) -> OperatorCall:
    """Check the management key. A server without one refuses everybody.

    Raises:
        KeyRequired.
    """
    given = headers.get(b"managementkey", b"").strip()
    wanted = env.management_key
    if not wanted or not hmac.compare_digest(given, wanted.encode()):
        raise KeyRequired(Access.MANAGEMENT_KEY.value, None)
    return env.operator_call(Caller(trace_id=trace_id))


def header_text(headers: Mapping[bytes, bytes], name: str) -> str:
    """A header's value, or nothing."""
    return headers.get(name.lower().encode(), b"").decode("latin-1").strip()


def explain(form: KeyForm, headers: Mapping[bytes, bytes]) -> str:
    """Say what was wrong with the header, in the order and the words of the compatible API."""
    value = header_text(headers, form.header)
    if not value:
        if header_text(headers, form.other_header):
            return (
                f"A '{form.other_header}' header was supplied when a '{form.header}' header should have been supplied."
            )
        return f"A valid '{form.header}' header is required."
    if value.startswith("verify_"):
        return f"A verify token was supplied instead of your '{form.header}'."
    if value.startswith("register_"):
        return f"A register token was supplied instead of your '{form.header}'."
    if form.other_word in value:
        return form.other_explanation
    if form.kind.value not in value:
        return f"We don't recognize the value you supplied for your '{form.header}'. It started with: '{value[:10]}'."
    return f"The value of your '{form.header}' is not valid."


def _plausible(value: str) -> bool:
    return ":" in value and len(value) <= _LONGEST_KEY and value.isascii() and "\x00" not in value


def _application_id(value: str) -> str:
    return value.partition(":")[0]


def _find_key(env: Environment, tenant: Tenant, form: KeyForm, value: str) -> ApiKey | None:
    mac = key_mac(env.keyring, value)
    # The MACs are compared in constant time, though an attacker who cannot compute one learns nothing from it.
    return next(
        (key for key in tenant.application.api_keys if key.kind is form.kind and hmac.compare_digest(key.mac, mac)),
        None,
    )


async def _imported_key(env: Environment, tenant: Tenant, form: KeyForm, value: str, *, address: str) -> ApiKey | None:
    """A key that was brought here from the reference, which kept a slow hash of it; known by our own MAC henceforth."""
    app_id = tenant.application.app_id
    candidates = [
        key
        for key in tenant.application.api_keys
        if key.reference_hash is not None and key.kind is form.kind and value.endswith(key.hint)
    ]
    # Whoever sends wrong keys that end rightly must not keep the server busy with slow hashes.
    group = client.rate_limit_group(address)
    if not candidates or not env.bad_keys.claim_trial(app_id, group, now=env.clock.now()):
        return None
    for key in candidates:
        if await asyncio.to_thread(opens_by_reference_hash, key, value):
            await env.root.tenant(app_id).commit(AdoptKey(key.key_id, key_mac(env.keyring, value)))
            env.directory.forget(app_id)
            # Read again: the key may have been deleted or locked while we reckoned.
            adopted = await env.directory.find(app_id, now=env.clock.now())
            return None if adopted is None else _find_key(env, adopted, form, value)
    return None


@lru_cache(maxsize=1024)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


async def _record_bad_key(
    env: Environment,
    tenant: Tenant,
    event_type: EventType,
    message: str,
    value: str,
    trace_id: str,
    *,
    address: str,
) -> None:
    application, now = tenant.application, env.clock.now()
    app_id = application.app_id
    if not application.settings.event_logging and not application.webhooks:
        return
    if not env.bad_keys.claim(app_id, event_type, client.rate_limit_group(address), now=now):
        return
    line = event(
        event_type,
        f"{message}, perhaps more than once in this minute",
        performed_by="Unknown User",
        subject=app_id,
        now=now,
        random=env.random,
        # Four characters tell keys apart and are worth nothing to whoever reads the log.
        caller=Caller(api_key_hint=value[-4:], trace_id=trace_id),
    )
    await env.root.tenant(app_id).commit(*recorded(application, line, env.random))
