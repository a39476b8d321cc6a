"""Users as they are listed and counted, and what of theirs is kept, renamed and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import msgspec
import pytest

from narthex.adapters.sql import store, user
from narthex.adapters.sql.store import SqlRootStore, SqlTenantStore
from narthex.ports.changes import (
    AddCredential,
    ApplicationGone,
    CredentialNotFound,
    RemoveCredential,
    RemoveUser,
    RenameCredential,
    ReplaceAliases,
    SpendNonce,
)
from narthex.ports.records import Alias, UserSummary
from tests.store.conftest import Test
from tests.store.records import NOW, SECOND, make_alias, make_attested, make_credential, make_evidence, raw

OnStore = Callable[[Test], None]

# In the order of their UTF-8 bytes, which is not that of UTF-16 nor of any language.
USER_IDS = ["A", "a", "a.1", "a.10", "a.2", "a%", "a_b", "b", "z", "é", "中", "\U0001f511", "\U0010ffff", "\U0010ffffx"]
USER_IDS.sort(key=str.encode)


async def plant(tenant: SqlTenantStore) -> list[UserSummary]:
    """Users with credentials, with aliases, and with both."""
    expected = []
    for n, user_id in enumerate(USER_IDS):
        count = n % 3
        for k in range(count):
            used_at = NOW + (10 * n + k) * SECOND
            await tenant.commit(
                AddCredential(make_credential(f"{user_id} {k}", user_id=user_id, last_used_at=used_at), make_evidence())
            )
        named = (
            () if n % 3 == 1 else tuple(make_alias(f"{user_id} {k}", plaintext=f"{k}" if k else None) for k in (0, 1))
        )
        await tenant.commit(ReplaceAliases(user_id, named))
        last_used_at = NOW + (10 * n + count - 1) * SECOND if count else None
        aliases = tuple(alias.plaintext for alias in sorted(named, key=lambda alias: alias.mac))
        expected.append(UserSummary(user_id, aliases, count, last_used_at))
    return expected


async def pages(tenant: SqlTenantStore, most: int, prefix: str = "") -> list[UserSummary]:
    found: list[UserSummary] = []
    after = None
    while page := await tenant.list_users(after=after, most=most, prefix=prefix):
        assert len(page) <= most
        found += page
        after = page[-1].user_id
    return found


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_users_are_listed_each_once_in_order(on_store: OnStore, most: int) -> None:
    async def act(root: SqlRootStore) -> None:
        expected = await plant(root.tenant("app"))
        await root.tenant("other").commit(AddCredential(make_credential("of another", user_id="c")))
        assert await pages(root.tenant("app"), most) == expected

    on_store(act)


@pytest.mark.parametrize(
    "prefix", ["a", "a.", "a.1", "a%", "a_", "A", "é", "\U0001f511", "\U0010ffff", "\U0010ffffx", "c", "a.10x", "%"]
)
def test_users_are_listed_by_the_beginning_of_their_ids(on_store: OnStore, prefix: str) -> None:
    async def act(root: SqlRootStore) -> None:
        expected = [one for one in await plant(root.tenant("app")) if one.user_id.startswith(prefix)]
        for most in (1, 100):
            assert await pages(root.tenant("app"), most, prefix) == expected

    on_store(act)


def test_a_portion_of_users_may_begin_past_their_prefix(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await plant(root.tenant("app"))
        found = await root.tenant("app").list_users(after="A", most=9, prefix="b")
        assert [one.user_id for one in found] == ["b"]
        assert await root.tenant("app").list_users(after="z", most=9, prefix="b") == []

    on_store(act)


def test_a_user_is_found(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for expected in await plant(tenant):
            assert await tenant.find_user(expected.user_id) == (
                expected if expected.aliases or expected.credential_count else None
            )
        assert await tenant.find_user("nobody") is None
        assert await tenant.find_user("") is None

    on_store(act)


@pytest.mark.parametrize("name", ["_USERS_PORTION", "_CREDENTIALS_PORTION", "_ACTIVE_USERS_PORTION"])
@pytest.mark.parametrize("portion", [1, 2, 3, 7, 1_000])
def test_users_and_credentials_are_counted_in_portions(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch, name: str, portion: int
) -> None:
    monkeypatch.setattr(store, name, portion)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        summaries = [one for one in await plant(tenant) if one.credential_count]
        await root.tenant("other").commit(AddCredential(make_credential("of another", user_id="c")))
        assert await tenant.count_users() == len(summaries)
        assert await tenant.count_credentials() == sum(one.credential_count for one in summaries)
        for since in (NOW, NOW + 50 * SECOND, NOW + 51 * SECOND, NOW + 999 * SECOND):
            active = [one for one in summaries if one.last_used_at and one.last_used_at >= since]
            assert await tenant.count_active_users(since=since) == len(active)
        assert await root.tenant("nowhere").count_credentials() == 0

    on_store(act)


def test_listing_users_looks_no_further_than_the_portion_on_sqlite(sqlite_url: str) -> None:
    """Every table is searched by an index that begins with the application, and none is scanned."""
    for prefix in ("", "a"):
        statement, arguments = user.list_users("app", after="a.1", most=9, prefix=prefix)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
            steps = [row[-1] for row in connection.execute(f"explain query plan {statement.sqlite}", arguments)]
        searched = [step for step in steps if " credential" in step or " alias" in step]
        bound = "(app_id=? AND user_id>? AND user_id<?)" if prefix else "(app_id=? AND user_id>?)"
        assert searched == [
            f"SEARCH credential USING COVERING INDEX credential_by_user {bound}",
            f"SEARCH alias USING COVERING INDEX alias_by_user {bound}",
            "SEARCH credential USING COVERING INDEX credential_by_user (app_id=? AND user_id=?)",
            "SEARCH credential USING INDEX credential_by_user (app_id=? AND user_id=?)",
        ]


# ── aliases ──


def test_aliases_of_a_user_come_in_the_order_of_their_macs(on_store: OnStore) -> None:
    aliases = tuple(make_alias(f"{n}", plaintext=f"{n}@example.org" if n % 2 else None) for n in range(5))

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("user", aliases))
        await tenant.commit(ReplaceAliases("another", (make_alias("of another"),)))
        assert await tenant.list_aliases("user") == sorted(aliases, key=lambda alias: alias.mac)
        assert await tenant.list_aliases("nobody") == []

    on_store(act)


@pytest.mark.parametrize("most", [1, 2, 100])
def test_all_aliases_are_scanned_each_once_in_order(on_store: OnStore, most: int) -> None:
    borne = sorted(((f"user {n % 3}", make_alias(f"{n}")) for n in range(7)), key=lambda one: one[1].mac)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        assert await tenant.keep_aliases(borne[::-1]) == 7
        found: list[tuple[str, Alias]] = []
        after = b""
        while portion := await tenant.scan_aliases(after=after, most=most):
            assert len(portion) <= most
            found += portion
            after = portion[-1][1].mac
        assert found == borne

    on_store(act)


# ── many at once ──


@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 129, 300])
def test_many_credentials_are_kept_at_once(on_store: OnStore, count: int) -> None:
    """Of one that is there already, or comes twice, the first stays."""
    credentials = [make_attested(f"{n}", nickname=f"{n} 🔑") for n in range(count)]
    before = make_credential("0", nickname="before")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(before))
        assert await tenant.keep_credentials([*credentials, *credentials[:3]]) == max(count - 1, 0)
        for credential in credentials[1:]:
            assert await tenant.find_credential(credential.credential_id) == credential
        assert await tenant.find_credential(before.credential_id) == before
        assert await tenant.count_credentials() == max(count, 1)

    on_store(act)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 129, 300])
def test_many_aliases_are_kept_at_once(on_store: OnStore, count: int) -> None:
    borne = [(f"user {n}", make_alias(f"{n}", plaintext=f"{n}" if n % 2 else None)) for n in range(count)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("before", (make_alias("0", plaintext="before"),)))
        twice = [("thief", alias) for _, alias in borne[:3]]
        assert await tenant.keep_aliases([*borne, *twice]) == max(count - 1, 0)
        for user_id, alias in borne[1:]:
            assert await tenant.list_aliases(user_id) == [alias]
        assert await tenant.find_alias_user(raw("0")) == "before"
        assert await tenant.list_aliases("thief") == []

    on_store(act)


@pytest.mark.parametrize("keep", ["keep_credentials", "keep_aliases"])
def test_nothing_is_kept_of_an_application_that_is_gone(on_store: OnStore, keep: str) -> None:
    many: dict[str, Sequence[object]] = {
        "keep_credentials": [make_credential("1"), make_credential("2")],
        "keep_aliases": [("user", make_alias("1")), ("user", make_alias("2"))],
    }

    async def act(root: SqlRootStore) -> None:
        with pytest.raises(ApplicationGone):
            await getattr(root.tenant("nowhere"), keep)(many[keep])

    on_store(act)


# ── what goes ──


@pytest.mark.parametrize("nickname", ["Ānna’s 🔑", "", None])
def test_a_credential_is_renamed(on_store: OnStore, nickname: str | None) -> None:
    kept = make_credential(nickname="before")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(kept), AddCredential(make_credential("another")))
        await tenant.commit(RenameCredential(kept.credential_id, nickname))
        renamed = msgspec.structs.replace(kept, nickname=nickname)
        assert await tenant.find_credential(kept.credential_id) == renamed
        assert await tenant.find_credential(raw("another")) == make_credential("another")

    on_store(act)


def test_a_credential_is_removed_with_its_evidence(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for name in ("one", "two"):
            await tenant.commit(AddCredential(make_credential(name), make_evidence(name)))
        await tenant.commit(RemoveCredential(raw("one")))
        assert await tenant.list_credentials("user") == [make_credential("two")]
        assert [await tenant.find_evidence(raw(name)) for name in ("one", "two")] == [None, make_evidence("two")]

    on_store(act)


@pytest.mark.parametrize("change", [RenameCredential(raw("one"), "name"), RemoveCredential(raw("one"))])
def test_a_credential_that_is_not_there_refuses(on_store: OnStore, change: RenameCredential | RemoveCredential) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("other").commit(AddCredential(make_credential("one")))
        tenant = root.tenant("app")
        for companions in ([], [SpendNonce(raw("nonce", 16), NOW)]):
            with pytest.raises(CredentialNotFound):
                await tenant.commit(*companions, change)
        assert not await tenant.is_spent(raw("nonce", 16))

    on_store(act)


def test_a_user_is_removed_with_everything(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for n in range(3):
            await tenant.commit(AddCredential(make_credential(f"{n}"), make_evidence()))
        await tenant.commit(ReplaceAliases("user", (make_alias("a"), make_alias("b"))))
        await tenant.commit(AddCredential(make_credential("of another", user_id="another")))
        await tenant.commit(ReplaceAliases("another", (make_alias("c"),)))
        await tenant.commit(RemoveUser("user"))
        assert await tenant.find_user("user") is None
        assert [await tenant.find_evidence(raw(f"{n}")) for n in range(3)] == [None] * 3
        assert await tenant.find_alias_user(raw("a")) is None
        assert await tenant.list_users(after=None, most=9) == [UserSummary("another", (None,), 1, NOW)]

    on_store(act)
