"""What each change does and refuses, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from narthex.adapters.sql import store
from narthex.adapters.sql.plan import DrawnIdTaken
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import CHANGES, SqlRootStore
from narthex.base.errors import Malformed, Refusal
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddCredential,
    AddEvent,
    AddTokenKey,
    AliasTaken,
    ApplicationExists,
    ApplicationGone,
    Change,
    CredentialChanged,
    CredentialExists,
    NonceSpent,
    ReplaceAliases,
    SetSettings,
    SpendNonce,
    TouchConfiguration,
)
from narthex.ports.records import ApplicationSettings, KeyKind
from narthex.ports.store import MOST_CREDENTIALS
from narthex.usecases.call import time_ordered_id
from tests.store.conftest import Test
from tests.store.records import (
    NOW,
    SECOND,
    make_alias,
    make_api_key,
    make_configuration,
    make_credential,
    make_event,
    make_token_key,
    make_touch,
    raw,
)

OnStore = Callable[[Test], None]

SPEND = SpendNonce(nonce=raw("nonce", 16), expires_at=NOW)


def test_a_credential_is_read_as_it_was_kept(on_store: OnStore) -> None:
    credential = make_credential(
        sign_count=2**32 - 1, discoverable=True, nickname="Ānna’s 🔑", transports=(), user_verified=True, country="DE"
    )

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(credential))
        assert await tenant.find_credential(credential.credential_id) == credential
        assert await tenant.find_credential(raw("none")) is None

    on_store(act)


def test_credentials_of_a_user_come_oldest_first(on_store: OnStore) -> None:
    credentials = [make_credential(f"{n}", created_at=NOW + n * SECOND) for n in (2, 0, 1)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for credential in [*credentials, make_credential("of another", user_id="another")]:
            await tenant.commit(AddCredential(credential))
        assert await tenant.list_credentials("user") == sorted(credentials, key=lambda kept: kept.created_at)

    on_store(act)


def test_of_very_many_credentials_the_oldest_are_listed(on_store: OnStore) -> None:
    """More than an application could ever give a user: imported ones, or those of a server without this limit."""
    credentials = [make_credential(f"{n}", created_at=NOW + n * SECOND) for n in range(MOST_CREDENTIALS + 1)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await asyncio.gather(*(tenant.commit(AddCredential(credential)) for credential in reversed(credentials)))
        assert await tenant.list_credentials("user") == credentials[:MOST_CREDENTIALS]

    on_store(act)


@pytest.mark.parametrize("portion", [1, 2, 3, 5_000])
def test_users_are_counted_as_far_as_is_asked(on_store: OnStore, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    monkeypatch.setattr(store, "_USERS_PORTION", portion)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for n in range(8):
            await tenant.commit(AddCredential(make_credential(f"{n}", user_id=f"{n % 4}")))
        await root.tenant("other").commit(AddCredential(make_credential(user_id="another")))
        assert [n for n in range(8) if await tenant.has_users(n)] == [0, 1, 2, 3, 4]

    on_store(act)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (SPEND, NonceSpent),
        (AddCredential(make_credential()), CredentialExists),
        (AddApplication(created_at=NOW, settings=ApplicationSettings()), ApplicationExists),
        (AddEvent(make_event()), DrawnIdTaken),
        (AddApiKey(make_api_key()), DrawnIdTaken),
        (AddTokenKey(make_token_key(), drop_before=NOW), DrawnIdTaken),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else value.__name__,
)
def test_a_thing_that_is_there_is_not_added_again(on_store: OnStore, change: Change, refusal: Any) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        if not isinstance(change, AddApplication):
            await tenant.commit(change)
        with pytest.raises(refusal) as caught:
            await tenant.commit(change)
        assert type(caught.value) is refusal

    on_store(act)


def test_that_an_id_of_ours_is_taken_is_not_explained_to_the_caller(on_store: OnStore) -> None:
    """It would pass for a conflict of the caller's; so it is no refusal, and takes the act with it all the same."""
    assert not issubclass(DrawnIdTaken, Refusal)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddEvent(make_event()))
        with pytest.raises(DrawnIdTaken, match="the id that we drew for an event is taken"):
            await tenant.commit(SPEND, AddEvent(make_event()))
        assert not await tenant.is_spent(SPEND.nonce)

    on_store(act)


@pytest.mark.parametrize(
    ("kept", "asserted", "accepted"),
    [
        (0, 0, True),
        (0, 1, True),
        (5, 6, True),
        (5, 5, False),
        (5, 4, False),
        (5, 0, False),
        (2**32 - 2, 2**32 - 1, True),
    ],
)
def test_a_counter_must_grow_unless_there_is_none(on_store: OnStore, kept: int, asserted: int, accepted: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        credential = make_credential(sign_count=kept)
        await tenant.commit(AddCredential(credential))
        touch = make_touch(sign_count=asserted)
        if accepted:
            await tenant.commit(touch)
            credential = msgspec.structs.replace(
                credential,
                sign_count=asserted,
                backup_state=touch.backup_state,
                device=touch.device,
                country=touch.country,
                last_used_at=touch.used_at,
            )
        else:
            with pytest.raises(CredentialChanged):
                await tenant.commit(touch)
        assert await tenant.find_credential(credential.credential_id) == credential

    on_store(act)


@pytest.mark.parametrize(("before", "now", "after"), [(False, True, True), (True, False, True), (False, False, False)])
def test_a_user_once_verified_stays_verified(on_store: OnStore, before: bool, now: bool, after: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential(user_verified=before)))
        await tenant.commit(make_touch(user_verified=now))
        kept = await tenant.find_credential(raw("credential"))
        assert kept is not None
        assert kept.user_verified is after

    on_store(act)


def test_a_credential_that_is_gone_is_not_touched(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        with pytest.raises(CredentialChanged):
            await root.tenant("app").commit(make_touch())

    on_store(act)


def test_a_user_has_exactly_the_aliases_given_last(on_store: OnStore) -> None:
    a, b, c = make_alias("a", plaintext="a@example.org"), make_alias("b"), make_alias("c")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("user", (a, b, a)))
        await tenant.commit(ReplaceAliases("user", (b, c)))
        assert [await tenant.find_alias_user(alias.mac) for alias in (a, b, c)] == [None, "user", "user"]
        await tenant.commit(ReplaceAliases("user", ()))
        assert [await tenant.find_alias_user(alias.mac) for alias in (a, b, c)] == [None, None, None]

    on_store(act)


def test_an_alias_of_another_user_is_taken(on_store: OnStore) -> None:
    a, b = make_alias("a"), make_alias("b")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("one", (a,)))
        await tenant.commit(ReplaceAliases("two", (b,)))
        with pytest.raises(AliasTaken):
            await tenant.commit(ReplaceAliases("two", (a,)))
        assert await tenant.find_alias_user(a.mac) == "one"
        assert await tenant.find_alias_user(b.mac) == "two"

    on_store(act)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 33])
def test_the_owners_of_aliases_come_each_once(on_store: OnStore, count: int) -> None:
    aliases = [make_alias(f"{n}") for n in range(count)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("two", tuple(aliases[2:])))
        await tenant.commit(ReplaceAliases("one", tuple(aliases[:2])))
        expected = [user for user, least in (("one", 1), ("two", 3)) if count >= least]
        assert (
            await tenant.find_alias_owners([alias.mac for alias in aliases] + [raw("nobody's")] * (count > 0))
            == expected
        )

    on_store(act)


def test_an_application_is_read_together_with_its_keys(on_store: OnStore) -> None:
    settings = ApplicationSettings(origins=("https://example.org",), max_users=3, event_logging=True)
    secret = make_api_key("one")
    public = make_api_key(
        "two", kind=KeyKind.PUBLIC, value="app:public:2", locked=True, last_locked_at=NOW, created_at=NOW + SECOND
    )
    older, newer = make_token_key(7), make_token_key(3, created_at=NOW + SECOND)
    configuration = make_configuration(edited_by="anna", edited_at=NOW, created_at=NOW)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("third")
        assert await tenant.find_application() is None
        await tenant.commit(
            AddApplication(created_at=NOW, settings=ApplicationSettings()), AddApiKey(secret), AddApiKey(public)
        )
        await tenant.commit(AddTokenKey(older, drop_before=NOW))
        await tenant.commit(AddTokenKey(newer, drop_before=NOW))
        await tenant.commit(TouchConfiguration(configuration), SetSettings(settings))
        found = await tenant.find_application()
        assert found is not None
        assert (found.app_id, found.created_at, found.settings, found.delete_at) == ("third", NOW, settings, None)
        assert found.api_keys == (secret, public)
        assert found.token_keys == (newer, older)
        assert found.configurations == (configuration,)

    on_store(act)


def test_rotation_drops_token_keys_that_are_too_old(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for n in range(3):
            await tenant.commit(AddTokenKey(make_token_key(n, created_at=NOW + n * SECOND), drop_before=NOW))
        await tenant.commit(AddTokenKey(make_token_key(9, created_at=NOW + 9 * SECOND), drop_before=NOW + 2 * SECOND))
        found = await tenant.find_application()
        assert found is not None
        assert [key.key_id for key in found.token_keys] == [9, 2]

    on_store(act)


def test_touching_a_purpose_keeps_its_row_and_moves_its_instant(on_store: OnStore) -> None:
    """Within a second the instant stays: see `TouchConfiguration`."""
    kept = make_configuration(user_verification="required")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(TouchConfiguration(kept))
        for later, seen in ((SECOND / 2, timedelta()), (SECOND, SECOND), (3 * SECOND, 3 * SECOND)):
            await tenant.commit(TouchConfiguration(make_configuration(last_used_at=NOW + later)))
            found = await tenant.find_application()
            assert found is not None
            assert found.configurations == (msgspec.structs.replace(kept, last_used_at=NOW + seen),)

    on_store(act)


ORPHANS: dict[type[Change], Change] = {
    SpendNonce: SPEND,
    AddCredential: AddCredential(make_credential()),
    ReplaceAliases: ReplaceAliases("user", (make_alias("a"),)),
    TouchConfiguration: TouchConfiguration(make_configuration()),
    AddEvent: AddEvent(make_event()),
    AddApiKey: AddApiKey(make_api_key()),
    AddTokenKey: AddTokenKey(make_token_key(), drop_before=NOW),
    SetSettings: SetSettings(ApplicationSettings()),
}


@pytest.mark.parametrize("kind", sorted(ORPHANS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("alone", [True, False])
def test_an_application_that_is_gone_is_not_changed(on_store: OnStore, kind: type[Change], alone: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        companions = [] if alone or kind is SpendNonce else [SPEND]
        with pytest.raises(ApplicationGone):
            await root.tenant("nowhere").commit(*companions, ORPHANS[kind])

    on_store(act)


def test_every_change_says_what_happens_without_an_application() -> None:
    from narthex.ports.changes import TouchCredential

    assert set(CHANGES) == set(ORPHANS) | {AddApplication, TouchCredential}


def test_every_change_of_the_port_has_its_statements() -> None:
    assert set(CHANGES) == set(Change.__args__)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_refused_change_takes_the_whole_act_with_it(on_store: OnStore, place: int) -> None:
    """Also when all changes go to the database in one statement, where the order of execution is not ours."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(SPEND)
        good = [AddCredential(make_credential()), AddEvent(make_event())]
        with pytest.raises(NonceSpent):
            await tenant.commit(*good[:place], SPEND, *good[place:])
        assert await tenant.find_credential(raw("credential")) is None
        await tenant.commit(*good)

    on_store(act)


def test_the_first_of_several_refusals_is_told(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(SPEND)
        with pytest.raises(NonceSpent):
            await tenant.commit(SPEND, make_touch(), AddEvent(make_event()))
        with pytest.raises(CredentialChanged):
            await tenant.commit(make_touch(), SPEND, AddEvent(make_event()))

    on_store(act)


def test_an_act_may_change_one_table_twice(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential()), make_touch(sign_count=4), AddEvent(make_event()))
        found = await tenant.find_credential(raw("credential"))
        assert found is not None
        assert found.sign_count == 4
        with pytest.raises(CredentialChanged):
            await tenant.commit(make_touch(sign_count=5), make_touch(sign_count=5))
        found = await tenant.find_credential(raw("credential"))
        assert found is not None
        assert found.sign_count == 4

    on_store(act)


def test_an_application_may_come_with_what_belongs_to_it(on_store: OnStore) -> None:
    """On PostgreSQL in one statement, whose parts all see the database as it was before."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("third")
        application = AddApplication(created_at=NOW, settings=ApplicationSettings())
        await tenant.commit(application, AddApiKey(make_api_key()), AddEvent(make_event()))
        found = await tenant.find_application()
        assert found is not None
        assert found.api_keys == (make_api_key(),)

    on_store(act)


@pytest.mark.parametrize("spent", [0, 1, 2])
def test_an_act_may_spend_several_nonces(on_store: OnStore, spent: int) -> None:
    nonces = [SpendNonce(raw(f"{n}", 16), NOW) for n in range(3)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        with pytest.raises(NonceSpent):
            await tenant.commit(*nonces, nonces[spent], AddEvent(make_event()))
        await tenant.commit(*nonces, AddEvent(make_event()))
        with pytest.raises(NonceSpent):
            await tenant.commit(SpendNonce(raw("fresh", 16), NOW), nonces[spent])
        await tenant.commit(SpendNonce(raw("fresh", 16), NOW))

    on_store(act)


def test_an_act_may_give_several_users_aliases(on_store: OnStore) -> None:
    a, b = make_alias("a"), make_alias("b")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ReplaceAliases("one", (a,)), ReplaceAliases("two", (b,)))
        assert [await tenant.find_alias_user(alias.mac) for alias in (a, b)] == ["one", "two"]
        await tenant.commit(ReplaceAliases("one", ()), ReplaceAliases("two", (a, b)))
        assert [await tenant.find_alias_user(alias.mac) for alias in (a, b)] == ["two", "two"]

    on_store(act)


def test_an_act_without_changes_does_nothing(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("nowhere").commit()

    on_store(act)


@pytest.mark.parametrize("text", ["\ud800", "nul \0 inside"])
def test_a_text_that_a_database_cannot_keep_is_malformed(on_store: OnStore, text: str) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        with pytest.raises(Malformed):
            await tenant.commit(SPEND, AddCredential(make_credential(nickname=text)))
        with pytest.raises(Malformed):
            await tenant.list_credentials(text)
        await tenant.commit(SPEND)

    on_store(act)


def test_spent_nonces_are_forgotten_when_their_tokens_have_expired(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        for app_id in ("app", "other"):
            for n in range(3):
                await root.tenant(app_id).commit(SpendNonce(raw(f"{n}", 16), expires_at=NOW + n * SECOND))
        assert await root.purge_nonces(expired_before=NOW + 2 * SECOND) == 4
        assert await root.purge_nonces(expired_before=NOW + 2 * SECOND) == 0
        await root.tenant("app").commit(SpendNonce(raw("0", 16), expires_at=NOW))
        with pytest.raises(NonceSpent):
            await root.tenant("app").commit(SpendNonce(raw("2", 16), expires_at=NOW))

    on_store(act)


DAY = timedelta(days=1)


def _event_at(at: datetime, name: str) -> AddEvent:
    return AddEvent(make_event(event_id=time_ordered_id(at, lambda size: raw(name, size)), performed_at=at))


def test_events_are_forgotten_when_their_application_keeps_them_no_longer(on_store: OnStore) -> None:
    retention_days = {"app": 7, "forever": 10**9, "other": 30, "without events": 0}
    ages = [timedelta(), 7 * DAY, 7 * DAY + SECOND, 30 * DAY, 30 * DAY + SECOND, 4_000 * DAY]

    async def act(root: SqlRootStore) -> None:
        for app_id, days in retention_days.items():
            settings = ApplicationSettings(event_retention_days=days)
            added = () if app_id in ("app", "other") else (AddApplication(created_at=NOW, settings=settings),)
            await root.tenant(app_id).commit(*added)
            await root.tenant(app_id).commit(SetSettings(settings))
        for app_id in ("app", "forever", "other"):
            for age in ages:
                await root.tenant(app_id).commit(_event_at(NOW - age, f"{age}"))
        assert await root.purge_events(now=NOW) == 4 + 2
        assert await root.purge_events(now=NOW) == 0
        kept = {app_id: await _ages_of_events(root, app_id) for app_id in retention_days}
        assert kept == {"app": ages[:2], "forever": ages, "other": ages[:4], "without events": []}

    on_store(act)


async def _ages_of_events(root: SqlRootStore, app_id: str) -> list[timedelta]:
    statement = RootStatement("select performed_at from event where app_id = :app_id order by performed_at desc")
    rows = await root._engine.fetch(statement, statement.bind(app_id=app_id))
    now_us = NOW.timestamp() * 1_000_000
    return [timedelta(microseconds=round(now_us - row[0])) for row in rows]


def test_many_events_of_many_applications_are_forgotten_in_portions(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PURGE_PORTION", 2)
    monkeypatch.setattr(store, "_APPLICATIONS_PORTION", 2)

    async def act(root: SqlRootStore) -> None:
        for n in range(5):
            tenant = root.tenant(f"app{n}")
            await tenant.commit(AddApplication(created_at=NOW, settings=ApplicationSettings(event_retention_days=1)))
            for m in range(n):
                await tenant.commit(_event_at(NOW - 2 * DAY, f"{m}"))
        assert await root.purge_events(now=NOW) == 0 + 1 + 2 + 3 + 4

    on_store(act)


def test_a_fact_is_kept_once(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.find_fact("fingerprint") is None
        assert await root.keep_fact("fingerprint", b"first") == b"first"
        assert await root.keep_fact("fingerprint", b"second") == b"first"
        assert await root.find_fact("fingerprint") == b"first"

    on_store(act)


def test_applications_are_listed_in_order(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.ping()
        for app_id in ("Zulu", "a-1", "a1"):
            await root.tenant(app_id).commit(AddApplication(created_at=NOW, settings=ApplicationSettings()))
        assert await root.list_applications() == ["Zulu", "a-1", "a1", "app", "other"]

    on_store(act)
