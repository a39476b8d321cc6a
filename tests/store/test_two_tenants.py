"""Two applications with the same ids in every table: neither sees nor changes what is the other's.

The tables below have a row for every question and every change of the port; one without a row fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import CHANGES, SqlRootStore, SqlTenantStore
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
    AnswerForRpId,
    Change,
    ClaimMail,
    DelistAuthenticators,
    ExpectSettings,
    ExpireKey,
    ForgetOrigins,
    KeepReport,
    KeepRevision,
    LeaveRpId,
    ListAuthenticators,
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
    ScheduleDeletion,
    SetFrozen,
    SetKeyLock,
    SetSettings,
    SettleDelivery,
    SpendNonce,
    TouchConfiguration,
    TouchCredential,
)
from narthex.ports.records import ApplicationSettings, Credential, DeliveryState, EventFilter, UserSummary
from narthex.ports.store import TenantStore
from tests.store.conftest import Test, make_application, run_on
from tests.store.records import (
    NOW,
    SECOND,
    make_alias,
    make_api_key,
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

TABLES = (
    "application", "api_key", "token_key", "authentication_configuration", "credential", "attestation", "alias",
    "spent_nonce", "event", "authenticator", "seen_origin", "related_rp_id", "webhook",
    "delivery", "dispatched_mail", "daily_report", "settings_revision",
)  # fmt: skip


async def plant(tenant: SqlTenantStore, mark: str) -> None:
    """Rows in every table: the ids are the same for each tenant, the rest bears its mark.

    But for the relying party id that one application alone may answer for.
    """
    await tenant.commit(SetSettings(ApplicationSettings(origins=(mark,))))
    await tenant.commit(AddApiKey(make_api_key(hint=mark)))
    await tenant.commit(AddApiKey(make_api_key("imported", hint=f"2 {mark}", reference_hash="c2FsdA==:aGFzaA==")))
    await tenant.commit(AddTokenKey(make_token_key(wrapped=mark.encode()), drop_before=NOW))
    await tenant.commit(TouchConfiguration(make_configuration(created_by=mark)))
    await tenant.commit(AddConfiguration(make_configuration("leaving", created_by=mark)))
    await tenant.commit(AddCredential(make_credential(device=mark, user_id=mark)))
    await tenant.commit(AddCredential(make_credential("shared", device=mark), evidence=make_evidence(mark)))
    await tenant.commit(AddCredential(_leaving(mark), evidence=make_evidence("leaving")))
    await tenant.commit(ReplaceAliases("leaving", (make_alias("leaving", plaintext=mark),)))
    await tenant.commit(ReplaceAliases(mark, (make_alias("a"),)))
    await tenant.commit(ReplaceAliases("user", (make_alias("b", plaintext=mark),)))
    await tenant.commit(SpendNonce(raw("nonce", 16), NOW), SpendNonce(raw(mark, 16), NOW))
    await tenant.commit(AddEvent(make_event(subject=mark)))
    await tenant.commit(ListAuthenticators((raw("model", 16),), is_allowed=mark == "of-app", created_at=NOW))
    await tenant.commit(NoteOrigin("https://example.org", "example.org", seen_at=NOW + len(mark) * SECOND))
    await tenant.commit(AnswerForRpId(f"{mark}.example"))
    for name in ("webhook", "another webhook"):
        await tenant.commit(AddWebhook(make_webhook(name, url=mark)))
        await tenant.commit(AddDelivery(make_delivery(f"of {name}", target=raw(name, 16), subject=mark)))
    await tenant.commit(ClaimMail(make_mail(recipient=mark, created_at=NOW + len(mark) * SECOND), since=NOW, most=1))
    await tenant.commit(KeepReport(make_report(users=len(mark))))
    await tenant.commit(KeepRevision(make_revision(changed_by=mark)))


async def dump(root: SqlRootStore, app_id: str) -> dict[str, list[tuple[Any, ...]]]:
    rows = {}
    for table in TABLES:
        statement = RootStatement(f"select * from {table} where app_id = :app_id")
        rows[table] = sorted(tuple(row) for row in await root._engine.fetch(statement, statement.bind(app_id=app_id)))
    return rows


Question = Callable[[SqlTenantStore], Awaitable[object]]

QUESTIONS: dict[str, tuple[Question, Callable[[str], object]]] = {
    "find_application": (
        lambda tenant: _marks_of_application(tenant),
        lambda mark: [
            (mark,),
            {mark, f"2 {mark}"},
            mark.encode(),
            {mark},
            mark == "of-app",
            NOW + len(mark) * SECOND,
            (f"{mark}.example",),
            {mark},
        ],
    ),
    "find_credential": (
        lambda tenant: tenant.find_credential(raw("credential")),
        lambda mark: make_credential(device=mark, user_id=mark),
    ),
    "list_credentials": (
        lambda tenant: tenant.list_credentials("user"),
        lambda mark: [make_credential("shared", device=mark)],
    ),
    "find_evidence": (lambda tenant: tenant.find_evidence(raw("shared")), make_evidence),
    "scan_credentials": (
        lambda tenant: tenant.scan_credentials(after=None, most=10),
        lambda mark: [
            _leaving(mark),
            make_credential(device=mark, user_id=mark),
            make_credential("shared", device=mark),
        ],
    ),
    "has_users": (lambda tenant: _numbers_of_users(tenant), lambda mark: [1, 2, 3]),
    "list_users": (
        lambda tenant: tenant.list_users(after=None, most=10),
        lambda mark: [
            UserSummary("leaving", (mark,), 1, NOW + len(mark) * SECOND),
            UserSummary(mark, (None,), 1, NOW),
            UserSummary("user", (mark,), 1, NOW),
        ],
    ),
    "find_user": (lambda tenant: tenant.find_user("user"), lambda mark: UserSummary("user", (mark,), 1, NOW)),
    "count_users": (lambda tenant: tenant.count_users(), lambda mark: 3),
    "count_credentials": (lambda tenant: tenant.count_credentials(), lambda mark: 3),
    "count_active_users": (
        lambda tenant: tenant.count_active_users(since=NOW + len("of-other") * SECOND),
        lambda mark: int(mark == "of-other"),
    ),
    "list_aliases": (
        lambda tenant: tenant.list_aliases("user"),
        lambda mark: [make_alias("b", plaintext=mark)],
    ),
    "scan_aliases": (
        lambda tenant: tenant.scan_aliases(after=b"", most=10),
        lambda mark: sorted(
            [
                ("leaving", make_alias("leaving", plaintext=mark)),
                (mark, make_alias("a")),
                ("user", make_alias("b", plaintext=mark)),
            ],
            key=lambda borne: borne[1].mac,
        ),
    ),
    "list_revisions": (
        lambda tenant: tenant.list_revisions(before=None, most=10),
        lambda mark: [make_revision(changed_by=mark)],
    ),
    "find_alias_user": (lambda tenant: tenant.find_alias_user(raw("a")), lambda mark: mark),
    "find_alias_owners": (
        lambda tenant: tenant.find_alias_owners([raw("a"), raw("b")]),
        lambda mark: sorted([mark, "user"]),
    ),
    "list_events": (
        lambda tenant: tenant.list_events(which=EventFilter(performed_by="user"), before=None, most=10),
        lambda mark: [make_event(subject=mark)],
    ),
    "list_events_after": (
        lambda tenant: tenant.list_events_after(which=EventFilter(), after=b"", most=10),
        lambda mark: [make_event(subject=mark)],
    ),
    "count_events": (lambda tenant: tenant.count_events(which=EventFilter(performed_by="user")), lambda mark: 1),
    "list_deliveries": (
        lambda tenant: tenant.list_deliveries(raw("webhook", 16), before=None, most=10),
        lambda mark: [make_delivery("of webhook", subject=mark)],
    ),
    "count_mails": (
        lambda tenant: tenant.count_mails(since=NOW + len("of-other") * SECOND),
        lambda mark: int(mark == "of-other"),
    ),
    "list_reports": (
        lambda tenant: tenant.list_reports(since=None, until=None),
        lambda mark: [make_report(users=len(mark))],
    ),
    "is_spent": (lambda tenant: _spent(tenant), lambda mark: [mark, "nonce"]),
}

CHANGED: dict[type[Change], tuple[Change, set[str]]] = {
    SpendNonce: (SpendNonce(raw("another nonce", 16), NOW), {"spent_nonce"}),
    AddCredential: (AddCredential(make_credential("another"), make_evidence()), {"credential", "attestation"}),
    TouchCredential: (make_touch(), {"credential"}),
    RejudgeCredential: (make_rejudged(), {"credential"}),
    ReplaceAliases: (ReplaceAliases("user", (make_alias("c"),)), {"alias"}),
    TouchConfiguration: (
        TouchConfiguration(make_configuration(last_used_at=NOW + 2 * SECOND)),
        {"authentication_configuration"},
    ),
    AddEvent: (AddEvent(make_event("another")), {"event"}),
    AddApiKey: (AddApiKey(make_api_key("another")), {"api_key"}),
    AddTokenKey: (
        AddTokenKey(make_token_key(2, created_at=NOW + 2 * SECOND), drop_before=NOW + SECOND),
        {"token_key"},
    ),
    ExpectSettings: (ExpectSettings(0), {"application"}),
    SetSettings: (SetSettings(ApplicationSettings(max_users=1)), {"application"}),
    ListAuthenticators: (ListAuthenticators((raw("another", 16),), True, NOW), {"authenticator"}),
    DelistAuthenticators: (DelistAuthenticators((raw("model", 16),)), {"authenticator"}),
    NoteOrigin: (NoteOrigin("https://another.example", "another.example", NOW), {"seen_origin"}),
    ForgetOrigins: (ForgetOrigins(), {"seen_origin"}),
    AnswerForRpId: (AnswerForRpId("another.example"), {"related_rp_id"}),
    LeaveRpId: (LeaveRpId("of-app.example"), {"related_rp_id"}),
    AddWebhook: (AddWebhook(make_webhook("third webhook")), {"webhook"}),
    ReviseWebhook: (ReviseWebhook(make_webhook("another webhook", enabled=False)), {"webhook"}),
    RemoveWebhook: (RemoveWebhook(raw("webhook", 16)), {"webhook", "delivery"}),
    NoteWebhookHealth: (NoteWebhookHealth(raw("another webhook", 16), NOW), {"webhook"}),
    AddDelivery: (AddDelivery(make_delivery("another")), {"delivery"}),
    SettleDelivery: (
        SettleDelivery(
            make_delivery("of another webhook").delivery_id, 1, DeliveryState.DELIVERED, 204, "", NOW, settled_at=NOW
        ),
        {"delivery"},
    ),
    RetryDelivery: (RetryDelivery(make_delivery("of another webhook").delivery_id, NOW + SECOND), {"delivery"}),
    ClaimMail: (ClaimMail(make_mail("another"), since=NOW, most=9), {"dispatched_mail"}),
    ReleaseMail: (ReleaseMail(raw("mail", 16)), {"dispatched_mail"}),
    KeepReport: (KeepReport(make_report(day=NOW.date().replace(day=1))), {"daily_report"}),
    SetKeyLock: (SetKeyLock("key", locked=True, at=NOW), {"api_key"}),
    ReviseKey: (ReviseKey("key", "name", frozenset({"login"}), (), None), {"api_key"}),
    ExpireKey: (ExpireKey("key", NOW), {"api_key"}),
    AdoptKey: (AdoptKey("imported", raw("adopted")), {"api_key"}),
    NoteKeyUse: (NoteKeyUse("key", NOW), {"api_key"}),
    RemoveApiKey: (RemoveApiKey("imported"), {"api_key"}),
    AddConfiguration: (AddConfiguration(make_configuration("another")), {"authentication_configuration"}),
    ReviseConfiguration: (
        ReviseConfiguration(make_configuration(edited_by="anna", edited_at=NOW)),
        {"authentication_configuration"},
    ),
    RemoveConfiguration: (RemoveConfiguration("leaving"), {"authentication_configuration"}),
    RenameCredential: (RenameCredential(raw("credential"), "nickname"), {"credential"}),
    RemoveCredential: (RemoveCredential(raw("shared")), {"credential", "attestation"}),
    RemoveUser: (RemoveUser("leaving"), {"credential", "attestation", "alias"}),
    SetFrozen: (SetFrozen(NOW), {"application"}),
    ScheduleDeletion: (ScheduleDeletion(NOW), {"application"}),
    KeepRevision: (KeepRevision(make_revision(2)), {"settings_revision"}),
}
KEEPS_MANY = {"keep_credentials", "keep_aliases"}
"""Neither questions nor changes; they have a test of their own below."""


def _leaving(mark: str) -> Credential:
    return make_credential("leaving", user_id="leaving", device=mark, last_used_at=NOW + len(mark) * SECOND)


async def _marks_of_application(tenant: SqlTenantStore) -> list[object]:
    found = await tenant.find_application()
    assert found is not None
    (token_key,), (listed,), (seen,) = found.token_keys, found.authenticators, found.seen_origins
    return [
        found.settings.origins, {key.hint for key in found.api_keys}, token_key.wrapped,
        {configuration.created_by for configuration in found.configurations}, listed.is_allowed,
        seen.last_seen_at, found.related_rp_ids, {webhook.url for webhook in found.webhooks},
    ]  # fmt: skip


async def _numbers_of_users(tenant: SqlTenantStore) -> list[int]:
    return [number for number in range(1, 5) if await tenant.has_users(number)]


async def _spent(tenant: SqlTenantStore) -> list[str]:
    return [name for name in ("of-app", "of-other", "nonce", "another") if await tenant.is_spent(raw(name, 16))]


def test_every_question_and_change_of_the_port_has_a_row() -> None:
    methods = {name for name in vars(TenantStore) if not name.startswith("_")}
    assert set(QUESTIONS) == methods - {"commit"} - KEEPS_MANY
    # An application that is there cannot be added, so its row is a test of its own below.
    assert set(CHANGED) == set(CHANGES) - {AddApplication}
    assert set.union(*(tables for _, tables in CHANGED.values())) == set(TABLES)


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_a_question_is_answered_from_ones_own_rows(on_store: Callable[[Test], None], question: str) -> None:
    ask, expected = QUESTIONS[question]

    async def act(root: SqlRootStore) -> None:
        app, other = root.tenant("app"), root.tenant("other")
        await plant(app, "of-app")
        await plant(other, "of-other")
        assert await ask(app) == expected("of-app")
        assert await ask(other) == expected("of-other")

    on_store(act)


@pytest.mark.parametrize("question", sorted(set(QUESTIONS) - {"find_application"}))
def test_what_only_another_has_is_not_there(on_store: Callable[[Test], None], question: str) -> None:
    ask, _ = QUESTIONS[question]

    async def act(root: SqlRootStore) -> None:
        await plant(root.tenant("other"), "of-other")
        assert not await ask(root.tenant("app"))

    on_store(act)


@pytest.mark.parametrize("kind", sorted(CHANGED, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_a_change_stays_among_ones_own_rows(
    on_store: Callable[[Test], None], kind: type[Change], together: bool
) -> None:
    change, tables = CHANGED[kind]

    async def act(root: SqlRootStore) -> None:
        app, other = root.tenant("app"), root.tenant("other")
        await plant(app, "of-app")
        await plant(other, "of-other")
        before, others = await dump(root, "app"), await dump(root, "other")
        companions = [CHANGED[companion][0] for companion in CHANGED if companion is not kind] if together else []
        await app.commit(change, *companions)
        after = await dump(root, "app")
        changed = {name for name in TABLES if after[name] != before[name]}
        assert changed == (set(TABLES) if together else tables)
        assert await dump(root, "other") == others

    on_store(act)


def test_an_application_is_added_beside_others(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        await plant(root.tenant("app"), "of-app")
        before = await dump(root, "app")
        await root.tenant("third").commit(AddApplication(created_at=NOW, settings=ApplicationSettings()))
        assert await dump(root, "app") == before

    on_store(act)


def test_many_that_are_kept_at_once_stay_with_their_tenant(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        app, other = root.tenant("app"), root.tenant("other")
        await plant(other, "of-other")
        others = await dump(root, "other")
        assert await app.keep_credentials([make_credential("shared"), make_credential("own")]) == 2
        assert await app.keep_aliases([("user", make_alias("b")), ("user", make_alias("own"))]) == 2
        assert await dump(root, "other") == others
        assert await app.count_credentials() == 2
        assert len(await app.scan_aliases(after=b"", most=9)) == 2

    on_store(act)


def test_an_application_is_erased_with_everything(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        await plant(root.tenant("app"), "of-app")
        await plant(root.tenant("other"), "of-other")
        others = await dump(root, "other")
        await root.erase_application("app")
        assert await dump(root, "app") == {table: [] for table in TABLES}
        assert await dump(root, "other") == others

    on_store(act)


def test_an_application_takes_everything_with_it_when_it_goes(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        await plant(root.tenant("app"), "of-app")
        await plant(root.tenant("other"), "of-other")
        others = await dump(root, "other")
        statement = RootStatement("delete from application where app_id = :app_id")
        assert await root._engine.execute(statement, statement.bind(app_id="app")) == 1
        assert await dump(root, "app") == {table: [] for table in TABLES}
        assert await dump(root, "other") == others

    on_store(act)


def test_everything_outlives_a_restart(database_url: str) -> None:
    kept: dict[str, list[tuple[Any, ...]]] = {}

    async def keep(root: SqlRootStore) -> None:
        await make_application(root, "app")
        await plant(root.tenant("app"), "of-app")
        kept.update(await dump(root, "app"))

    async def read(root: SqlRootStore) -> None:
        assert await dump(root, "app") == kept
        for ask, expected in QUESTIONS.values():
            assert await ask(root.tenant("app")) == expected("of-app")

    run_on(database_url, keep)
    assert all(kept[table] for table in TABLES)
    run_on(database_url, read)
