"""What changes of an API key, and what stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest

from narthex.adapters.sql.store import SqlRootStore, SqlTenantStore
from narthex.ports.changes import (
    AddApiKey,
    AdoptKey,
    ApiKeyHintTaken,
    ApiKeyNotFound,
    Change,
    ExpireKey,
    NoteKeyUse,
    RemoveApiKey,
    ReviseKey,
    SetKeyLock,
    SpendNonce,
)
from narthex.ports.records import ApiKey, KeyKind
from tests.store.conftest import Test
from tests.store.records import NOW, SECOND, make_api_key, raw

OnStore = Callable[[Test], None]
MINUTE = timedelta(minutes=1)

FULL = make_api_key(
    scopes=frozenset({"events:read", "users:write"}),
    locked=True,
    last_locked_at=NOW,
    name="Ānna’s backend 🔑",
    legacy=True,
    expires_at=NOW + 9 * SECOND,
    last_used_at=NOW + 2 * SECOND,
    networks=("192.0.2.0/24", "2001:db8::/32"),
    reference_hash="c2FsdA==:aGFzaA==",
)
PUBLIC = make_api_key("public", kind=KeyKind.PUBLIC, value="app:public:0001", created_at=NOW + SECOND)


async def keys_of(tenant: SqlTenantStore) -> tuple[ApiKey, ...]:
    found = await tenant.find_application()
    assert found is not None
    return found.api_keys


async def key_after(tenant: SqlTenantStore, *changes: Change) -> ApiKey:
    """The first key after an act; the other one must not have changed."""
    before = await keys_of(tenant)
    await tenant.commit(*changes)
    changed, *others = await keys_of(tenant)
    assert others == list(before[1:])
    return changed


def on_keys(on_store: OnStore, key: ApiKey, act: Test) -> None:
    async def prepared(root: SqlRootStore) -> None:
        await root.tenant("app").commit(AddApiKey(key), AddApiKey(PUBLIC))
        await act(root)

    on_store(prepared)


def test_all_that_can_be_said_of_a_key_is_read_as_it_was_kept(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await keys_of(root.tenant("app")) == (FULL, PUBLIC)

    on_keys(on_store, FULL, act)


def test_two_keys_of_an_application_do_not_end_alike(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        with pytest.raises(ApiKeyHintTaken):
            await root.tenant("app").commit(AddApiKey(make_api_key("another", hint=PUBLIC.hint)))
        await root.tenant("other").commit(AddApiKey(make_api_key("another", hint=PUBLIC.hint)))
        assert await keys_of(root.tenant("app")) == (FULL, PUBLIC)

    on_keys(on_store, FULL, act)


def test_a_key_is_locked_and_unlocked(on_store: OnStore) -> None:
    """Its last locking is remembered; a lock that is there already is not put on anew."""
    replace = msgspec.structs.replace

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        kept = make_api_key()
        assert await key_after(tenant, SetKeyLock("key", locked=False, at=NOW)) == kept
        locked = replace(kept, locked=True, last_locked_at=NOW + SECOND)
        assert await key_after(tenant, SetKeyLock("key", locked=True, at=NOW + SECOND)) == locked
        assert await key_after(tenant, SetKeyLock("key", locked=True, at=NOW + 2 * SECOND)) == locked
        unlocked = replace(locked, locked=False)
        assert await key_after(tenant, SetKeyLock("key", locked=False, at=NOW + 3 * SECOND)) == unlocked

    on_keys(on_store, make_api_key(), act)


def test_a_revised_key_is_good_for_what_was_said_and_no_legacy_key(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        revision = ReviseKey("key", "another", frozenset({"login"}), ("198.51.100.7/32",), None)
        assert await key_after(root.tenant("app"), revision) == msgspec.structs.replace(
            FULL,
            name="another",
            scopes=frozenset({"login"}),
            networks=("198.51.100.7/32",),
            expires_at=None,
            legacy=False,
        )

    on_keys(on_store, FULL, act)


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (None, NOW, NOW),
        (NOW + SECOND, NOW, NOW),
        (NOW, NOW + SECOND, NOW),
        (NOW, NOW, NOW),
    ],
)
def test_the_end_of_a_key_only_comes_closer(
    on_store: OnStore, before: datetime | None, asked: datetime, after: datetime
) -> None:
    async def act(root: SqlRootStore) -> None:
        assert (await key_after(root.tenant("app"), ExpireKey("key", asked))).expires_at == after

    on_keys(on_store, make_api_key(expires_at=before), act)


def test_an_imported_key_is_adopted_once(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        adopted = msgspec.structs.replace(FULL, mac=raw("ours"), reference_hash=None)
        assert await key_after(tenant, AdoptKey("key", raw("ours"))) == adopted
        assert await key_after(tenant, AdoptKey("key", raw("another"))) == adopted

    on_keys(on_store, FULL, act)


def test_a_key_of_ours_is_not_adopted(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await key_after(root.tenant("app"), AdoptKey("key", raw("another"))) == make_api_key()

    on_keys(on_store, make_api_key(), act)


def test_the_last_use_of_a_key_is_exact_to_a_minute_and_never_goes_back(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for used, seen in (
            (timedelta(), timedelta()),
            (59 * SECOND, timedelta()),
            (MINUTE, MINUTE),
            (SECOND, MINUTE),
            (3 * MINUTE, 3 * MINUTE),
        ):
            key = await key_after(tenant, NoteKeyUse("key", NOW + used))
            assert key == make_api_key(last_used_at=NOW + seen)

    on_keys(on_store, make_api_key(), act)


def test_a_key_is_removed(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(RemoveApiKey("key"))
        assert await keys_of(root.tenant("app")) == (PUBLIC,)
        await root.tenant("app").commit(AddApiKey(FULL))

    on_keys(on_store, FULL, act)


@pytest.mark.parametrize(
    "change",
    [
        SetKeyLock("none", locked=True, at=NOW),
        SetKeyLock("none", locked=False, at=NOW),
        ReviseKey("none", "", frozenset(), (), None),
        ExpireKey("none", NOW),
        RemoveApiKey("none"),
    ],
    ids=lambda change: type(change).__name__,
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_key_that_is_not_there_refuses(on_store: OnStore, change: Change, alone: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        nonce = SpendNonce(raw("nonce", 16), NOW)
        with pytest.raises(ApiKeyNotFound):
            await tenant.commit(*([] if alone else [nonce]), change)
        assert not await tenant.is_spent(nonce.nonce)

    on_keys(on_store, FULL, act)


def test_a_new_key_and_the_end_of_the_old_one_are_one_act(on_store: OnStore) -> None:
    """As a roll-over has it: on PostgreSQL the same table is changed twice."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        with pytest.raises(ApiKeyHintTaken):
            await tenant.commit(ExpireKey("key", NOW), AddApiKey(make_api_key("new", hint=PUBLIC.hint)))
        assert await keys_of(tenant) == (FULL, PUBLIC)
        await tenant.commit(ExpireKey("key", NOW), AddApiKey(make_api_key("new", created_at=NOW + 2 * SECOND)))
        assert [key.expires_at for key in await keys_of(tenant)] == [NOW, None, None]

    on_keys(on_store, FULL, act)
