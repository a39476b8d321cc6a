"""What is decided of an application, its purposes and its history, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from narthex.adapters.sql import store
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import SqlRootStore
from narthex.ports.changes import (
    AddApplication,
    AddConfiguration,
    AddCredential,
    AddEvent,
    AddWebhook,
    ApplicationGone,
    ConfigurationExists,
    ConfigurationNotFound,
    KeepRevision,
    RemoveConfiguration,
    ReviseConfiguration,
    ScheduleDeletion,
    SetFrozen,
    TouchConfiguration,
)
from narthex.ports.records import Application, ApplicationSettings
from tests.store.conftest import Test, make_application
from tests.store.records import (
    NOW,
    SECOND,
    make_alias,
    make_configuration,
    make_credential,
    make_event,
    make_evidence,
    make_revision,
    make_webhook,
    raw,
)

OnStore = Callable[[Test], None]


async def find_application(root: SqlRootStore, app_id: str = "app") -> Application:
    found = await root.tenant(app_id).find_application()
    assert found is not None
    return found


def test_an_application_is_frozen_and_thawed(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        for frozen_at in (NOW, NOW + SECOND, None):
            await root.tenant("app").commit(SetFrozen(frozen_at))
            found = await find_application(root)
            assert (found.frozen_at, found.is_closed) == (frozen_at, frozen_at is not None)
        assert (await find_application(root, "other")).frozen_at is None

    on_store(act)


def test_applications_that_are_to_be_deleted_are_listed(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        assert await root.list_scheduled_deletions() == []
        for app_id, delete_at in (("other", NOW), ("app", NOW + SECOND)):
            await root.tenant(app_id).commit(ScheduleDeletion(delete_at))
            assert (await find_application(root, app_id)).delete_at == delete_at
        assert await root.list_scheduled_deletions() == [("app", NOW + SECOND), ("other", NOW)]
        await root.tenant("app").commit(ScheduleDeletion(None))
        assert await root.list_scheduled_deletions() == [("other", NOW)]
        assert not (await find_application(root)).is_closed

    on_store(act)


def test_webhooks_come_in_the_order_in_which_they_were_made(on_store: OnStore) -> None:
    webhooks = tuple(
        make_webhook(f"{n}", created_at=NOW + n * SECOND, wrapped_old_secret=raw("old"), old_secret_until=NOW)
        for n in range(3)
    )

    async def act(root: SqlRootStore) -> None:
        for webhook in reversed(webhooks):
            await root.tenant("app").commit(AddWebhook(webhook))
        assert (await find_application(root)).webhooks == webhooks
        assert (await find_application(root, "other")).webhooks == ()

    on_store(act)


# ── the history of its settings ──


def test_what_settings_were_is_listed_newest_first(on_store: OnStore) -> None:
    revisions = [make_revision(version, changed_at=NOW + version * SECOND) for version in range(5)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        for revision in revisions:
            await tenant.commit(KeepRevision(revision))
        assert await tenant.list_revisions(before=None, most=9) == revisions[::-1]
        assert await tenant.list_revisions(before=4, most=2) == [revisions[3], revisions[2]]
        assert await tenant.list_revisions(before=0, most=9) == []

    on_store(act)


def test_a_revision_of_the_same_version_takes_the_place_of_the_other(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        last = make_revision(changed_at=NOW + SECOND, changed_by="berta", settings=ApplicationSettings(max_users=9))
        for revision in (make_revision(), last):
            await tenant.commit(KeepRevision(revision))
        assert await tenant.list_revisions(before=None, most=9) == [last]

    on_store(act)


# ── its purposes ──


def test_a_purpose_is_configured_once(on_store: OnStore) -> None:
    kept = make_configuration(created_by="anna", created_at=NOW, last_used_at=None)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddConfiguration(kept))
        with pytest.raises(ConfigurationExists):
            await tenant.commit(AddConfiguration(make_configuration(created_by="berta")))
        assert (await find_application(root)).configurations == (kept,)

    on_store(act)


@pytest.mark.parametrize("make", [True, False])
def test_a_revised_purpose_keeps_who_made_it_and_when_it_was_used(on_store: OnStore, make: bool) -> None:
    kept = make_configuration(created_by="anna", created_at=NOW)
    revised = make_configuration(
        user_verification="required", time_to_live_s=7, hints=("hybrid",), edited_by="berta", edited_at=NOW + SECOND,
        created_by="nobody", created_at=None, last_used_at=None,
    )  # fmt: skip

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddConfiguration(kept), AddConfiguration(make_configuration("another")))
        await tenant.commit(ReviseConfiguration(revised, make=make))
        expected = msgspec.structs.replace(revised, created_by="anna", created_at=NOW, last_used_at=NOW)
        assert (await find_application(root)).configurations == (make_configuration("another"), expected)

    on_store(act)


def test_a_preset_that_is_revised_becomes_a_row_if_asked(on_store: OnStore) -> None:
    revised = make_configuration(edited_by="berta", edited_at=NOW, last_used_at=None)

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        with pytest.raises(ConfigurationNotFound):
            await tenant.commit(ReviseConfiguration(revised))
        await tenant.commit(ReviseConfiguration(revised, make=True))
        assert (await find_application(root)).configurations == (revised,)
        with pytest.raises(ApplicationGone):
            await root.tenant("nowhere").commit(ReviseConfiguration(revised, make=True))

    on_store(act)


def test_a_purpose_is_forgotten(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(TouchConfiguration(make_configuration()))
        await tenant.commit(RemoveConfiguration("sign-in"))
        assert (await find_application(root)).configurations == ()
        with pytest.raises(ConfigurationNotFound):
            await tenant.commit(RemoveConfiguration("sign-in"))

    on_store(act)


# ── how it goes ──


async def _plant_many(root: SqlRootStore, app_id: str) -> None:
    tenant = root.tenant(app_id)
    await tenant.keep_credentials([make_credential(f"{n}", user_id=f"{n}") for n in range(10)])
    await tenant.commit(AddCredential(make_credential("attested"), make_evidence()))
    await tenant.keep_aliases([(f"{n}", make_alias(f"{n}")) for n in range(10)])
    await tenant.commit(*(AddEvent(make_event(f"{n}")) for n in range(10)))


async def _count(root: SqlRootStore, table: str) -> dict[str, int]:
    statement = RootStatement(f"select app_id, count(*) from {table} group by app_id")
    return dict([tuple(row) for row in await root._engine.fetch(statement, ())])


@pytest.mark.parametrize("portion", [1, 3, 10, 500])
def test_an_application_is_erased_in_portions(on_store: OnStore, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    monkeypatch.setattr(store, "_ERASED_AT_ONCE", portion)

    async def act(root: SqlRootStore) -> None:
        for app_id in ("app", "other"):
            await _plant_many(root, app_id)
        await root.erase_application("app")
        assert await root.tenant("app").find_application() is None
        assert await root.list_applications() == ["other"]
        for table, count in {"credential": 11, "attestation": 1, "alias": 10, "event": 10}.items():
            assert await _count(root, table) == {"other": count}
        await root.erase_application("app")
        await root.tenant("app").commit(AddApplication(created_at=NOW, settings=ApplicationSettings()))
        assert await root.tenant("app").count_users() == 0

    on_store(act)


def test_an_erasure_that_was_cut_off_is_finished_by_the_next(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_ERASED_AT_ONCE", 1)

    async def act(root: SqlRootStore) -> None:
        await _plant_many(root, "app")
        erasing = asyncio.create_task(root.erase_application("app"))
        while await root.tenant("app").count_credentials() > 8:  # noqa: ASYNC110 -- only the database knows
            await asyncio.sleep(0)
        erasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await erasing
        assert 0 < await root.tenant("app").count_credentials() < 11
        assert (await find_application(root)).app_id == "app"
        await root.erase_application("app")
        assert await _count(root, "credential") == {}
        assert await _count(root, "application") == {"other": 1}

    on_store(act)


def test_others_are_served_while_an_application_is_erased(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ERASED_AT_ONCE", 1)

    async def act(root: SqlRootStore) -> None:
        await _plant_many(root, "app")
        erasing = asyncio.create_task(root.erase_application("app"))
        served = 0
        while not erasing.done():
            await root.tenant("other").commit(AddEvent(make_event(f"{served}")))
            served += 1
        await erasing
        assert served > 5
        assert await _count(root, "event") == {"other": served}

    on_store(act)


def test_what_is_added_while_an_application_is_erased_goes_too(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await _plant_many(root, "app")

        async def register(n: int) -> None:
            await root.tenant("app").commit(AddCredential(make_credential(f"late {n}"), make_evidence()))

        outcomes = await asyncio.gather(
            root.erase_application("app"), *(register(n) for n in range(20)), return_exceptions=True
        )
        assert outcomes[0] is True
        assert {type(outcome) for outcome in outcomes[1:]} <= {type(None), ApplicationGone}
        for table in ("credential", "attestation"):
            assert await _count(root, table) == {}
        await make_application(root, "app")

    on_store(act)
