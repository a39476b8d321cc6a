"""What is to go out: kept with the act that causes it, given to one sender at a time, and forgotten in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from narthex.adapters.sql import open_store
from narthex.adapters.sql.store import SqlRootStore, SqlTenantStore
from narthex.ports.changes import (
    AddDelivery,
    AddWebhook,
    DeliveryNotFound,
    NoteWebhookHealth,
    RemoveWebhook,
    RetryDelivery,
    ReviseWebhook,
    SettleDelivery,
    WebhookNotFound,
)
from narthex.ports.records import Delivery, DeliveryKind, DeliveryState, Webhook
from tests.store.conftest import Test, make_application
from tests.store.records import NOW, SECOND, make_delivery, make_webhook, raw

OnStore = Callable[[Test], None]

HOOK = raw("webhook", 16)
LATER = NOW + 60 * SECOND


def settled(delivery: Delivery, **but: Any) -> SettleDelivery:
    values: dict[str, Any] = {
        "delivery_id": delivery.delivery_id,
        "tries": 1,
        "state": DeliveryState.DELIVERED,
        "status": 204,
        "problem": "",
        "next_try_at": LATER,
        "settled_at": NOW + SECOND,
    }
    return SettleDelivery(**values | but)


def failed(delivery: Delivery, **but: Any) -> SettleDelivery:
    values: dict[str, Any] = {"state": DeliveryState.PENDING, "status": 503, "problem": "busy", "settled_at": None}
    return settled(delivery, **values | but)


async def listed(tenant: SqlTenantStore) -> list[Delivery]:
    return list(await tenant.list_deliveries(HOOK, before=None, most=100))


async def webhooks(tenant: SqlTenantStore) -> tuple[Webhook, ...]:
    found = await tenant.find_application()
    assert found is not None
    return found.webhooks


def test_a_webhook_is_read_as_it_was_kept_and_revised(on_store: OnStore) -> None:
    plain = make_webhook()
    full = make_webhook(
        "full",
        url="https://ā.example/?a=b#c",
        event_types=(),
        created_at=NOW + SECOND,
        description="Ānna’s",
        enabled=False,
        wrapped_old_secret=raw("old", 60),
        old_secret_until=LATER,
        failing_since=NOW,
    )

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddWebhook(full))
        await tenant.commit(AddWebhook(plain))
        assert await webhooks(tenant) == (plain, full)
        revised = msgspec.structs.replace(full, webhook_id=plain.webhook_id, created_at=LATER)
        await tenant.commit(ReviseWebhook(revised))
        assert await webhooks(tenant) == (msgspec.structs.replace(revised, created_at=plain.created_at), full)

    on_store(act)


def test_a_webhook_that_is_not_there_is_neither_revised_nor_removed(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        await root.tenant("other").commit(AddWebhook(make_webhook()))
        tenant = root.tenant("app")
        for change in (ReviseWebhook(make_webhook()), RemoveWebhook(HOOK)):
            with pytest.raises(WebhookNotFound):
                await tenant.commit(change)
        await tenant.commit(NoteWebhookHealth(HOOK, NOW))
        assert (await webhooks(root.tenant("other")))[0].failing_since is None

    on_store(act)


def test_a_webhook_goes_with_its_deliveries_and_no_others(on_store: OnStore) -> None:
    of_another = make_delivery("another", target=raw("full", 16))
    mail = make_delivery("mail", kind=DeliveryKind.MAIL, target=b"")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddWebhook(make_webhook()))
        await tenant.commit(AddDelivery(make_delivery()), AddDelivery(of_another), AddDelivery(mail))
        await tenant.commit(RemoveWebhook(HOOK))
        assert await webhooks(tenant) == ()
        assert await listed(tenant) == []
        claimed = await root.claim_deliveries(now=NOW, busy_until=LATER, most=10)
        assert {delivery.delivery_id for _, delivery in claimed} == {of_another.delivery_id, mail.delivery_id}

    on_store(act)


def test_a_webhook_fails_since_its_first_failure_and_until_it_gets_through(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddWebhook(make_webhook()))
        for noted, expected in ((None, None), (NOW, NOW), (LATER, NOW), (None, None), (LATER, LATER)):
            await tenant.commit(NoteWebhookHealth(HOOK, noted))
            assert (await webhooks(tenant))[0].failing_since == expected

    on_store(act)


def test_deliveries_of_a_webhook_come_newest_first(on_store: OnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narthex.adapters.sql.store.PORTION", 2)
    deliveries = [make_delivery(f"{n}", created_at=NOW + n * SECOND) for n in range(7)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(*(AddDelivery(delivery) for delivery in deliveries))
        await tenant.commit(
            AddDelivery(make_delivery("another", target=raw("full", 16))),
            AddDelivery(make_delivery("mail", kind=DeliveryKind.MAIL, target=b"")),
        )
        assert await listed(tenant) == deliveries[::-1]
        assert await tenant.list_deliveries(HOOK, before=deliveries[4].delivery_id, most=2) == [
            deliveries[3],
            deliveries[2],
        ]
        # A mail has no target: to ask for those without one does not bring it.
        assert await tenant.list_deliveries(b"", before=None, most=10) == []
        for place in (0, 2, 5):
            await tenant.commit(settled(deliveries[place]))

        async def in_state(state: DeliveryState, most: int = 10, before: bytes | None = None) -> list[int]:
            found = await tenant.list_deliveries(HOOK, before=before, most=most, state=state)
            assert {delivery.state for delivery in found} <= {state}
            ids = [delivery.delivery_id for delivery in deliveries]
            return [ids.index(delivery.delivery_id) for delivery in found]

        assert await in_state(DeliveryState.DELIVERED) == [5, 2, 0]
        assert await in_state(DeliveryState.DELIVERED, most=2) == [5, 2]
        assert await in_state(DeliveryState.DELIVERED, before=deliveries[5].delivery_id) == [2, 0]
        assert await in_state(DeliveryState.PENDING) == [6, 4, 3, 1]
        assert await in_state(DeliveryState.FAILED) == []

    on_store(act)


def test_a_delivery_is_due_when_its_time_has_come_and_claimed_once(on_store: OnStore) -> None:
    due, future = make_delivery("due"), make_delivery("future", next_try_at=NOW + SECOND)
    of_other = make_delivery("of other", kind=DeliveryKind.MAIL, target=b"")

    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(AddDelivery(due), AddDelivery(future))
        await root.tenant("other").commit(AddDelivery(of_other))
        claimed = await root.claim_deliveries(now=NOW, busy_until=LATER, most=10)
        assert sorted((app_id, delivery.delivery_id) for app_id, delivery in claimed) == [
            ("app", due.delivery_id),
            ("other", of_other.delivery_id),
        ]
        assert ("app", msgspec.structs.replace(due, next_try_at=LATER)) in claimed
        assert await root.claim_deliveries(now=NOW, busy_until=LATER, most=10) == []
        assert len(await root.claim_deliveries(now=NOW + SECOND, busy_until=LATER, most=10)) == 1
        # Whoever claimed them died: they are due again.
        assert len(await root.claim_deliveries(now=LATER, busy_until=LATER + SECOND, most=2)) == 2
        assert len(await root.claim_deliveries(now=LATER, busy_until=LATER + SECOND, most=2)) == 1

    on_store(act)


def test_those_that_wait_longest_are_claimed_first(on_store: OnStore) -> None:
    deliveries = [make_delivery(f"{n}", next_try_at=NOW - n * SECOND) for n in range(5)]

    async def act(root: SqlRootStore) -> None:
        await root.tenant("app").commit(*(AddDelivery(delivery) for delivery in deliveries))
        claimed = await root.claim_deliveries(now=NOW, busy_until=LATER, most=2)
        assert {delivery.delivery_id for _, delivery in claimed} == {d.delivery_id for d in deliveries[3:]}

    on_store(act)


def test_what_is_settled_is_not_claimed_and_what_failed_is_tried_again(on_store: OnStore) -> None:
    gone, up, again = (make_delivery(name) for name in ("gone", "given up", "again"))

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(*(AddDelivery(delivery) for delivery in (gone, up, again)))
        await tenant.commit(settled(gone))
        await tenant.commit(settled(up, tries=8, state=DeliveryState.FAILED, status=None, problem="no address"))
        await tenant.commit(failed(again, tries=2))
        found = {delivery.delivery_id: delivery for delivery in await listed(tenant)}
        assert found[gone.delivery_id] == msgspec.structs.replace(
            gone, tries=1, state=DeliveryState.DELIVERED, status=204, settled_at=NOW + SECOND, next_try_at=NOW + SECOND
        )
        assert found[up.delivery_id] == msgspec.structs.replace(
            up, tries=8, state=DeliveryState.FAILED, problem="no address", settled_at=NOW + SECOND,
            next_try_at=NOW + SECOND,
        )  # fmt: skip
        assert found[again.delivery_id] == msgspec.structs.replace(
            again, tries=2, status=503, problem="busy", next_try_at=LATER
        )
        assert await root.claim_deliveries(now=LATER - SECOND, busy_until=LATER, most=10) == []
        claimed = await root.claim_deliveries(now=LATER, busy_until=LATER + SECOND, most=10)
        assert [delivery.delivery_id for _, delivery in claimed] == [again.delivery_id]

    on_store(act)


def test_an_answer_that_comes_too_late_does_not_undo_what_is_settled(on_store: OnStore) -> None:
    delivery = make_delivery()

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(failed(delivery))  # it is gone: ignored
        await tenant.commit(AddDelivery(delivery))
        await tenant.commit(settled(delivery))
        await tenant.commit(failed(delivery, tries=5))
        (found,) = await listed(tenant)
        assert (found.state, found.tries) == (DeliveryState.DELIVERED, 1)

    on_store(act)


@pytest.mark.parametrize("state", list(DeliveryState))
def test_a_delivery_is_sent_again_from_its_first_try_on(on_store: OnStore, state: DeliveryState) -> None:
    delivery = make_delivery()

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddDelivery(delivery))
        await tenant.commit(settled(delivery, tries=7, state=state, problem="busy"))
        await tenant.commit(RetryDelivery(delivery.delivery_id, LATER))
        assert await listed(tenant) == [msgspec.structs.replace(delivery, next_try_at=LATER)]
        assert len(await root.claim_deliveries(now=LATER, busy_until=LATER + SECOND, most=10)) == 1

    on_store(act)


def test_what_is_not_there_and_what_is_no_webhooks_is_not_sent_again(on_store: OnStore) -> None:
    mail = make_delivery("mail", kind=DeliveryKind.MAIL, target=b"")

    async def act(root: SqlRootStore) -> None:
        await root.tenant("other").commit(AddDelivery(make_delivery()))
        tenant = root.tenant("app")
        await tenant.commit(AddDelivery(mail))
        for delivery in (make_delivery(), mail):
            with pytest.raises(DeliveryNotFound):
                await tenant.commit(RetryDelivery(delivery.delivery_id, LATER))

    on_store(act)


def test_deliveries_are_forgotten_when_they_were_settled_long_ago(
    on_store: OnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narthex.adapters.sql.store._PURGE_PORTION", 2)
    monkeypatch.setattr("narthex.adapters.sql.store._APPLICATIONS_PORTION", 1)
    old = [make_delivery(f"old {n}", created_at=NOW - 40 * timedelta(days=1)) for n in range(5)]
    slow = make_delivery("slow", created_at=NOW - 40 * timedelta(days=1))
    pending = make_delivery("pending", created_at=NOW - 40 * timedelta(days=1))
    new = make_delivery("new")

    async def act(root: SqlRootStore) -> None:
        bound = NOW - 30 * timedelta(days=1)
        for app_id in ("app", "other"):
            tenant = root.tenant(app_id)
            await tenant.commit(*(AddDelivery(delivery) for delivery in (*old, slow, pending, new)))
            for delivery in old:
                await tenant.commit(settled(delivery, settled_at=bound - timedelta(microseconds=1)))
            await tenant.commit(settled(slow, settled_at=bound))
            await tenant.commit(settled(new))
        assert await root.purge_deliveries(settled_before=bound) == 10
        assert await root.purge_deliveries(settled_before=bound) == 0
        for app_id in ("app", "other"):
            assert {delivery.delivery_id for delivery in await listed(root.tenant(app_id))} == {
                delivery.delivery_id for delivery in (slow, pending, new)
            }

    on_store(act)


def test_what_was_settled_in_the_moment_it_was_made_is_forgotten_too(on_store: OnStore) -> None:
    delivery = make_delivery()

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddDelivery(delivery))
        await tenant.commit(settled(delivery, settled_at=NOW))
        assert await root.purge_deliveries(settled_before=NOW) == 0
        assert await root.purge_deliveries(settled_before=NOW + timedelta(microseconds=1)) == 1

    on_store(act)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_no_delivery_is_given_to_two_senders(database_url: str, nodes: int) -> None:
    deliveries = [make_delivery(f"{n}", next_try_at=NOW - n % 7 * SECOND) for n in range(200)]

    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            await make_application(roots[0], "app")
            await roots[0].tenant("app").commit(*(AddDelivery(delivery) for delivery in deliveries))
            claims = await asyncio.gather(
                *(roots[n % nodes].claim_deliveries(now=NOW, busy_until=LATER, most=11) for n in range(30))
            )
        finally:
            for root in roots:
                await root.close()
        given = [delivery.delivery_id for claim in claims for _, delivery in claim]
        assert max(len(claim) for claim in claims) == 11
        assert len(given) == len(set(given))
        assert set(given) == {delivery.delivery_id for delivery in deliveries}

    asyncio.run(act())


def test_no_more_wait_for_a_target_than_may(on_store: OnStore) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant, other = root.tenant("app"), raw("other", 16)
        for number in range(5):
            await tenant.commit(AddDelivery(make_delivery(f"{number}"), most=3))
        await tenant.commit(AddDelivery(make_delivery("other", target=other), most=3))
        assert 3 == len(await listed(tenant))
        assert 1 == len(await tenant.list_deliveries(other, before=None, most=10))

        await tenant.commit(settled((await listed(tenant))[0]))
        await tenant.commit(AddDelivery(make_delivery("late"), most=3))
        assert 4 == len(await listed(tenant))

    on_store(act)
