"""What each change does and refuses, on both databases."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from narthex.adapters.sql import store
from narthex.adapters.sql.credential import SCAN
from narthex.adapters.sql.plan import DrawnIdTaken
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import CHANGES, SqlRootStore
from narthex.base.errors import Malformed, Refusal
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddConfiguration,
    AddCredential,
    AddDelivery,
    AddEvent,
    AddTokenKey,
    AddWebhook,
    AdoptKey,
    AliasTaken,
    AnswerForRpId,
    ApiKeyHintTaken,
    ApplicationExists,
    ApplicationGone,
    Change,
    ClaimMail,
    ConfigurationExists,
    CredentialChanged,
    CredentialExists,
    DelistAuthenticators,
    ExpectSettings,
    ExpireKey,
    ForgetOrigins,
    KeepReport,
    KeepRevision,
    LeaveRpId,
    ListAuthenticators,
    NonceSpent,
    NoteKeyUse,
    NoteOrigin,
    NoteWebhookHealth,
    RejudgeCredential,
    ReleaseMail,
    RemoveApiKey,
    RemoveConfiguration,
    RemoveCredential,
    RemoveUser,
    RemoveWebhook,
    RenameCredential,
    ReplaceAliases,
    RetryDelivery,
    ReviseConfiguration,
    ReviseKey,
    ReviseWebhook,
    RpIdAnswered,
    ScheduleDeletion,
    SetFrozen,
    SetKeyLock,
    SetSettings,
    SettingsChanged,
    SettleDelivery,
    SpendNonce,
    TouchConfiguration,
    TouchCredential,
)
from narthex.ports.records import (
    Application,
    ApplicationSettings,
    AttestationEvidence,
    Credential,
    DeliveryState,
    KeyKind,
    ListedAuthenticator,
    Oddity,
    RpIdMigration,
    SeenOrigin,
    TrustAnchor,
)
from narthex.ports.store import MOST_CREDENTIALS
from narthex.usecases.call import time_ordered_id
from narthex.webauthn.trust import TrustVerdict
from tests.store.conftest import Test
from tests.store.records import (
    NOW,
    SECOND,
    make_alias,
    make_api_key,
    make_attested,
    make_configuration,
    make_credential,
    make_delivery,
    make_event,
    make_evidence,
    make_mail,
    make_rejudged,
    make_report,
    make_revision,
    make_token_key,
    make_touch,
    make_webhook,
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
        (AddApiKey(make_api_key()), ApiKeyHintTaken),
        (AddConfiguration(make_configuration()), ConfigurationExists),
        (AddTokenKey(make_token_key(), drop_before=NOW), DrawnIdTaken),
        (AddWebhook(make_webhook()), DrawnIdTaken),
        (AddDelivery(make_delivery()), DrawnIdTaken),
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
    ListAuthenticators: ListAuthenticators((raw("model", 16),), True, NOW),
    NoteOrigin: NoteOrigin("https://example.org", "example.org", NOW),
    AnswerForRpId: AnswerForRpId("example.org"),
    AddWebhook: AddWebhook(make_webhook()),
    AddDelivery: AddDelivery(make_delivery()),
    ClaimMail: ClaimMail(make_mail(), since=NOW, most=1),
    KeepReport: KeepReport(make_report()),
    AddConfiguration: AddConfiguration(make_configuration()),
    KeepRevision: KeepRevision(make_revision()),
    SetFrozen: SetFrozen(NOW),
    ScheduleDeletion: ScheduleDeletion(NOW),
}
NEEDS_NO_APPLICATION = {
    DelistAuthenticators,
    ForgetOrigins,
    LeaveRpId,
    NoteWebhookHealth,
    SettleDelivery,
    ReleaseMail,
    AdoptKey,
    NoteKeyUse,
    RemoveUser,
}
MISSES_ITS_OWN = {
    ReviseWebhook, RemoveWebhook, RetryDelivery, SetKeyLock, ReviseKey, ExpireKey, RemoveApiKey, ReviseConfiguration,
    RemoveConfiguration, RenameCredential, RemoveCredential,
}  # fmt: skip
"""Changes of a thing, which refuse because that is not there."""


@pytest.mark.parametrize("kind", sorted(ORPHANS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("alone", [True, False])
def test_an_application_that_is_gone_is_not_changed(on_store: OnStore, kind: type[Change], alone: bool) -> None:
    async def act(root: SqlRootStore) -> None:
        companions = [] if alone or kind is SpendNonce else [SPEND]
        with pytest.raises(ApplicationGone):
            await root.tenant("nowhere").commit(*companions, ORPHANS[kind])

    on_store(act)


def test_every_change_says_what_happens_without_an_application() -> None:
    of_a_credential = {TouchCredential, RejudgeCredential}
    said = set(ORPHANS) | {AddApplication, ExpectSettings} | of_a_credential | NEEDS_NO_APPLICATION | MISSES_ITS_OWN
    assert set(CHANGES) == said


@pytest.mark.parametrize(
    "change",
    [
        NoteWebhookHealth(raw("webhook", 16), NOW),
        NoteWebhookHealth(raw("webhook", 16), None),
        SettleDelivery(raw("delivery", 16), 1, DeliveryState.DELIVERED, 204, "", NOW, NOW),
        ReleaseMail(raw("mail", 16)),
        AdoptKey("key", raw("adopted")),
        NoteKeyUse("key", NOW),
        RemoveUser("user"),
    ],
)
def test_what_is_only_noted_is_ignored_where_its_thing_is_gone(on_store: OnStore, change: Change) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(change, SPEND)
        assert await root.tenant("app").is_spent(SPEND.nonce)
        await root.tenant("nowhere").commit(change)

    on_store(act)


@pytest.mark.parametrize("app_id", ["app", "nowhere"])
def test_settings_that_are_not_what_was_read_stop_the_act(on_store: OnStore, app_id: str) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(ExpectSettings(0), SetSettings(ApplicationSettings(max_users=1)))
        with pytest.raises(SettingsChanged):
            await root.tenant(app_id).commit(ExpectSettings(0), SetSettings(ApplicationSettings(max_users=2)))
        application = await root.tenant("app").find_application()
        assert application is not None
        assert (1, 1) == (application.settings.max_users, application.settings_version)

    on_store(act)


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


# ── what vouches for a credential, and how it is judged ──


@pytest.mark.parametrize("backup_eligible", [None, False, True])
def test_all_that_can_be_said_of_a_credential_is_read_as_it_was_kept(
    on_store: OnStore, backup_eligible: bool | None
) -> None:
    credential = make_attested(backup_eligible=backup_eligible)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(credential, make_evidence()))
        assert await tenant.find_credential(credential.credential_id) == credential
        assert await tenant.list_credentials("user") == [credential]
        assert await tenant.scan_credentials(after=None, most=1) == [credential]

    on_store(act)


def test_the_evidence_is_kept_in_the_very_bytes_that_arrived(on_store: OnStore) -> None:
    evidence = AttestationEvidence(attestation_object=raw("large", 20_000), client_data_json='{"a":"Ā\0"}'.encode())

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential("with"), evidence), AddCredential(make_credential("without")))
        assert await tenant.find_evidence(raw("with")) == evidence
        assert await tenant.find_evidence(raw("without")) is None
        assert await tenant.find_evidence(raw("none")) is None

    on_store(act)


def test_a_credential_that_is_there_keeps_its_evidence(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential("with"), make_evidence("first")))
        await tenant.commit(AddCredential(make_credential("without")))
        for name in ("with", "without"):
            with pytest.raises(CredentialExists):
                await tenant.commit(AddCredential(make_credential(name), make_evidence("second")))
        assert await tenant.find_evidence(raw("with")) == make_evidence("first")
        assert await tenant.find_evidence(raw("without")) is None

    on_store(act)


def test_the_evidence_goes_with_its_credential(on_store: OnStore) -> None:
    delete = RootStatement("delete from credential where credential_id = :credential_id")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for name in ("goes", "stays"):
            await tenant.commit(AddCredential(make_credential(name), make_evidence(name)))
        assert await root._engine.execute(delete, delete.bind(credential_id=raw("goes"))) == 1
        assert await tenant.find_evidence(raw("goes")) is None
        assert await tenant.find_evidence(raw("stays")) == make_evidence("stays")

    on_store(act)


@pytest.mark.parametrize("verdict", list(TrustVerdict))
def test_a_credential_is_judged_again(on_store: OnStore, verdict: TrustVerdict) -> None:
    anchor = raw("new anchor") if verdict is TrustVerdict.ANCHORED else None

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_attested()))
        await tenant.commit(make_rejudged("attested", trust=verdict, anchor=anchor))
        assert await tenant.find_credential(raw("attested")) == make_attested(
            trust=verdict, anchor=anchor, judged_with="metadata 8"
        )

    on_store(act)


@pytest.mark.parametrize("companions", [(), (SPEND,)], ids=["alone", "together"])
def test_a_credential_that_is_gone_is_not_judged(on_store: OnStore, companions: tuple[Change, ...]) -> None:
    async def act(root: SqlRootStore) -> None:
        with pytest.raises(CredentialChanged, match="the credential is gone"):
            await root.tenant("app").commit(*companions, make_rejudged())
        assert not await root.tenant("app").is_spent(SPEND.nonce)

    on_store(act)


@pytest.mark.parametrize(("kept", "asserted", "after"), [(5, 4, 5), (5, 5, 5), (5, 6, 6), (5, 0, 5), (0, 0, 0)])
def test_a_counter_that_may_stall_is_not_compared_and_never_falls(
    on_store: OnStore, kept: int, asserted: int, after: int
) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential(sign_count=kept)))
        await tenant.commit(make_touch(sign_count=asserted, sign_count_may_stall=True))
        found = await tenant.find_credential(raw("credential"))
        assert found is not None
        assert (found.sign_count, found.last_used_at) == (after, NOW + SECOND)
        with pytest.raises(CredentialChanged):
            await tenant.commit(make_touch("gone", sign_count_may_stall=True))

    on_store(act)


@pytest.mark.parametrize("before", [None, False, True])
@pytest.mark.parametrize("now", [False, True])
def test_a_use_says_whether_the_credential_may_be_backed_up(on_store: OnStore, before: bool | None, now: bool) -> None:
    """What left its device once stays outside, whatever an act beside that one had read."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential(backup_eligible=before)))
        await tenant.commit(make_touch(backup_eligible=now))
        found = await tenant.find_credential(raw("credential"))
        assert found is not None
        assert found.backup_eligible is (now or before is True)

    on_store(act)


# ── all credentials, in portions ──


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
def test_all_credentials_are_scanned_each_once_in_order(on_store: OnStore, most: int) -> None:
    """User ids sort byte by byte, and the credentials of one user need not be as old as their ids are small."""
    users = ["Zulu", "a", "a\u0301", "aa", "á", "🔑"]
    credentials = [
        make_credential(f"{user} {n}", user_id=user, created_at=NOW - n * SECOND) for user in users for n in range(3)
    ]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(*(AddCredential(credential) for credential in credentials))
        await root.tenant("other").commit(AddCredential(make_credential(user_id="b")))
        found: list[Credential] = []
        after = None
        while portion := await tenant.scan_credentials(after=after, most=most):
            assert len(portion) <= most
            found += portion
            after = (found[-1].user_id, found[-1].credential_id)
        assert found == sorted(credentials, key=lambda kept: (kept.user_id.encode(), kept.credential_id))

    on_store(act)


def test_a_scan_goes_on_past_a_credential_that_went_away(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(*(AddCredential(make_credential(f"{n}", user_id=f"{n}")) for n in (1, 3)))
        (found,) = await tenant.scan_credentials(after=("2", raw("2")), most=10)
        assert found.user_id == "3"

    on_store(act)


def test_a_scan_sorts_no_more_than_one_user_on_sqlite(sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        rows = connection.execute(f"explain query plan {SCAN.sqlite}", (None,) * len(SCAN.names)).fetchall()
    assert [row[-1] for row in rows] == [
        "SEARCH credential USING INDEX credential_by_user (app_id=? AND user_id>?)",
        "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY",
    ]


# ── authenticators, origins, relying party ids ──


async def find_application(root: SqlRootStore, app_id: str = "app") -> Application:
    found = await root.tenant(app_id).find_application()
    assert found is not None
    return found


def test_models_are_allowed_denied_and_delisted(on_store: OnStore) -> None:
    one, two, three = sorted(raw(f"{n}", 16) for n in range(3))

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(ListAuthenticators((three, one, three), is_allowed=True, created_at=NOW))
        await tenant.commit(ListAuthenticators((two, one), is_allowed=False, created_at=NOW + SECOND))
        assert (await find_application(root)).authenticators == (
            ListedAuthenticator(one, is_allowed=False, created_at=NOW),
            ListedAuthenticator(two, is_allowed=False, created_at=NOW + SECOND),
            ListedAuthenticator(three, is_allowed=True, created_at=NOW),
        )
        await tenant.commit(DelistAuthenticators((one, raw("never listed", 16), three, one)))
        assert [listed.aaguid for listed in (await find_application(root)).authenticators] == [two]
        await tenant.commit(DelistAuthenticators(()), ListAuthenticators((), is_allowed=True, created_at=NOW))
        assert [listed.aaguid for listed in (await find_application(root)).authenticators] == [two]

    on_store(act)


def test_origins_are_noted_in_the_order_in_which_they_were_first_seen(on_store: OnStore) -> None:
    """Whether a text is canonical is not the store's to say: what is noted comes back, and two texts are two."""
    noted = [
        ("https://z.example", "z.example"),
        ("https://a.example", "example"),
        ("https://a.example", "a.example"),
        ("https://é.example", "é.example"),
        ("https://e\u0301.example", "é.example"),
        ("android:apk-key-hash:🔑", "a.example"),
    ]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for n, (origin, rp_id) in enumerate(noted):
            await tenant.commit(NoteOrigin(origin, rp_id, NOW + n * SECOND))
        seen = (await find_application(root)).seen_origins
        assert seen == tuple(
            SeenOrigin(origin, rp_id, NOW + n * SECOND, NOW + n * SECOND) for n, (origin, rp_id) in enumerate(noted)
        )
        await tenant.commit(ForgetOrigins())
        assert (await find_application(root)).seen_origins == ()

    on_store(act)


def test_an_origin_seen_again_moves_its_last_instant_only(on_store: OnStore) -> None:
    """Forwards, and within a second it stays: see `NoteOrigin`."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for later, last in ((0, 0), (0.5, 0), (1, 1), (3, 3), (2, 3), (-60, 3), (4, 4)):
            await tenant.commit(NoteOrigin("https://example.org", "example.org", NOW + later * SECOND))
            assert (await find_application(root)).seen_origins == (
                SeenOrigin("https://example.org", "example.org", NOW, NOW + last * SECOND),
            )

    on_store(act)


def test_one_application_alone_answers_for_an_rp_id(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        app, other = root.tenant("app"), root.tenant("other")
        assert await root.find_related_application("example.org") is None
        await app.commit(AnswerForRpId("example.org"), AnswerForRpId("a.example"))
        with pytest.raises(RpIdAnswered):
            await other.commit(SPEND, AnswerForRpId("example.org"))
        assert not await other.is_spent(SPEND.nonce)
        await app.commit(SPEND, AnswerForRpId("example.org"))
        assert (await find_application(root)).related_rp_ids == ("a.example", "example.org")
        assert (await find_application(root, "other")).related_rp_ids == ()
        assert await root.find_related_application("example.org") == "app"
        await other.commit(LeaveRpId("example.org"))
        assert await root.find_related_application("example.org") == "app"
        await app.commit(LeaveRpId("example.org"))
        await app.commit(LeaveRpId("example.org"))
        await other.commit(AnswerForRpId("example.org"))
        assert await root.find_related_application("example.org") == "other"

    on_store(act)


def test_an_application_that_goes_answers_for_nothing(on_store: OnStore) -> None:
    delete = RootStatement("delete from application where app_id = :app_id")

    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(AnswerForRpId("example.org"))
        await root._engine.execute(delete, delete.bind(app_id="app"))
        await root.tenant("other").commit(AnswerForRpId("example.org"))
        assert await root.find_related_application("example.org") == "other"

    on_store(act)


def test_an_event_keeps_its_assurance(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(
            AddEvent(make_event("with", assurance=b"packed")), AddEvent(make_event("without"))
        )
        statement = RootStatement("select assurance from event where app_id = :app_id order by event_id")
        rows = await root._engine.fetch(statement, statement.bind(app_id="app"))
        assert {bytes(row[0]) if row[0] else None for row in rows} == {None, b"packed"}

    on_store(act)


OF_0001 = (
    '{"origins":["https://example.org"],"top_origins":[],"admin_emails":["anna@example.org"],"event_logging":true,'
    '"event_retention_days":90,"magic_link_monthly_quota":0,"max_users":null,"allow_attestation":true,'
    '"manual_tokens":true,"magic_links":true,"single_use_verify_tokens":true,"conceal_unknown_users":false}'
)


@pytest.mark.parametrize("settings", [OF_0001, f'{{"of_a_later_version":{{}},{OF_0001[1:]}'])
def test_settings_of_another_version_are_read(on_store: OnStore, settings: str) -> None:
    statement = RootStatement("update application set settings = :settings where app_id = :app_id")

    async def act(root: SqlRootStore) -> None:
        await root._engine.execute(statement, statement.bind(app_id="app", settings=settings))
        assert (await find_application(root)).settings == ApplicationSettings(
            origins=("https://example.org",),
            admin_emails=("anna@example.org",),
            event_logging=True,
            event_retention_days=90,
            allow_attestation=True,
        )

    on_store(act)


def test_settings_are_read_as_they_were_kept(on_store: OnStore) -> None:
    settings = ApplicationSettings(
        rp_ids=("example.org",),
        rp_id_migration=RpIdMigration(old="example.org", new="example.com"),
        enterprise_attestation=True,
        sign_count_stalled=Oddity.FLAG,
        backup_eligibility_changed=Oddity.FLAG,
        fips_for_aal3=True,
        trust_anchors=(TrustAnchor(name="Ānna’s", certificate="MIIB", aaguids=("0" * 36,), hardware=True),),
    )

    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(SetSettings(settings))
        assert (await find_application(root)).settings == settings

    on_store(act)
