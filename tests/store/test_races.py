"""Acts that want the same thing at once: exactly one gets it, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from narthex.adapters.sql import open_store
from narthex.adapters.sql.sqlite import connect, create_file
from narthex.adapters.sql.store import SqlRootStore
from narthex.base.errors import Refusal
from narthex.ports.changes import (
    AddApiKey,
    AddApplication,
    AddConfiguration,
    AddCredential,
    AddEvent,
    AliasTaken,
    AnswerForRpId,
    ApiKeyHintTaken,
    ApplicationExists,
    Change,
    ClaimMail,
    ConfigurationExists,
    CredentialChanged,
    CredentialExists,
    DelistAuthenticators,
    ForgetOrigins,
    LeaveRpId,
    ListAuthenticators,
    MailQuotaReached,
    NonceSpent,
    NoteOrigin,
    ReplaceAliases,
    RpIdAnswered,
    SetKeyLock,
    SpendNonce,
    TouchConfiguration,
)
from narthex.ports.records import Application, ApplicationSettings
from narthex.ports.store import TenantStore
from tests.store.conftest import Test, make_application
from tests.store.records import (
    NOW,
    SECOND,
    make_alias,
    make_api_key,
    make_configuration,
    make_credential,
    make_event,
    make_evidence,
    make_mail,
    make_rejudged,
    make_touch,
    raw,
)

RACERS = 50


def with_event(n: int, *changes: Change) -> tuple[Change, ...]:
    return (*changes, AddEvent(make_event(f"{n}")))


CONTESTED: dict[str, tuple[Callable[[int], tuple[Change, ...]], type[Refusal]]] = {
    "nonce": (lambda n: (SpendNonce(raw("nonce", 16), NOW),), NonceSpent),
    "nonce, with an event": (lambda n: with_event(n, SpendNonce(raw("nonce", 16), NOW)), NonceSpent),
    "credential": (lambda n: with_event(n, AddCredential(make_credential(user_id=f"{n}"))), CredentialExists),
    "credential, with evidence": (
        lambda n: (AddCredential(make_credential(user_id=f"{n}"), make_evidence(f"{n}")),),
        CredentialExists,
    ),
    "room for one more": (
        lambda n: with_event(n, AddCredential(make_credential(f"another {n}"), most=2)),
        CredentialExists,
    ),
    "counter": (lambda n: with_event(n, make_touch("kept", sign_count=6)), CredentialChanged),
    "alias": (lambda n: (ReplaceAliases(f"user {n}", (make_alias("a"), make_alias(f"own {n}"))),), AliasTaken),
    "mail": (lambda n: with_event(n, ClaimMail(make_mail(f"{n}"), since=NOW, most=1)), MailQuotaReached),
    "hint": (lambda n: with_event(n, AddApiKey(make_api_key(f"{n}", hint="abcd"))), ApiKeyHintTaken),
    "purpose": (lambda n: (AddConfiguration(make_configuration(created_by=f"{n}")),), ConfigurationExists),
    "application": (lambda n: (AddApplication(created_at=NOW, settings=ApplicationSettings()),), ApplicationExists),
}


@pytest.mark.parametrize("what", sorted(CONTESTED))
@pytest.mark.parametrize("nodes", [1, 2])
def test_one_of_many_wins(database_url: str, what: str, nodes: int) -> None:
    make, refusal = CONTESTED[what]

    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        try:
            app_id = "new" if what == "application" else "app"
            await make_application(roots[0], "app")
            await roots[0].tenant("app").commit(AddCredential(make_credential("kept", sign_count=5)))
            outcomes = await asyncio.gather(
                *(roots[n % nodes].tenant(app_id).commit(*make(n)) for n in range(RACERS)), return_exceptions=True
            )
        finally:
            for root in roots:
                await root.close()
        assert [type(outcome) for outcome in outcomes if outcome is not None] == [refusal] * (RACERS - 1)

    asyncio.run(act())


def test_a_user_ends_with_the_aliases_of_one_act(on_store: Callable[[Test], None]) -> None:
    sets = [tuple(make_alias(f"{n} {k}") for k in range(3)) for n in range(20)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await asyncio.gather(*(tenant.commit(ReplaceAliases("user", aliases)) for aliases in sets))
        borne = [
            n
            for n, aliases in enumerate(sets)
            for alias in aliases
            if await tenant.find_alias_user(alias.mac) == "user"
        ]
        assert len(borne) == 3
        assert len(set(borne)) == 1

    on_store(act)


def test_users_who_swap_aliases_do_not_deadlock(on_store: Callable[[Test], None]) -> None:
    a, b = make_alias("a"), make_alias("b")

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        acts = [ReplaceAliases(f"user {n % 2}", (a, b) if n % 4 < 2 else ()) for n in range(RACERS)]
        outcomes = await asyncio.gather(*(tenant.commit(change) for change in acts), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), AliasTaken}
        assert await tenant.find_alias_user(a.mac) == await tenant.find_alias_user(b.mac)

    on_store(act)


def test_a_purpose_is_touched_by_many_at_once(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await asyncio.gather(
            *(
                tenant.commit(TouchConfiguration(make_configuration(last_used_at=NOW + n * SECOND)))
                for n in range(RACERS)
            )
        )
        found = await tenant.find_application()
        assert found is not None
        assert [kept.purpose for kept in found.configurations] == ["sign-in"]

    on_store(act)


def test_a_key_locked_by_many_at_once_tells_when_it_was_first(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddApiKey(make_api_key()))
        instants = [NOW + n * SECOND for n in range(20)]
        await asyncio.gather(
            *(tenant.commit(*with_event(n, SetKeyLock("key", True, at))) for n, at in enumerate(instants))
        )
        (first,) = (await _application(tenant)).api_keys
        assert first.locked
        assert first.last_locked_at in instants
        await asyncio.gather(*(tenant.commit(SetKeyLock("key", True, at)) for at in instants))
        assert (await _application(tenant)).api_keys == (first,)

    on_store(act)


async def _application(tenant: TenantStore) -> Application:
    found = await tenant.find_application()
    assert found is not None
    return found


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_imports_of_the_same_keep_each_once(database_url: str, nodes: int) -> None:
    credentials = [make_credential(f"{n}") for n in range(100)]
    aliases = [(f"user {n}", make_alias(f"{n}")) for n in range(100)]

    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        tenants = [roots[n % nodes].tenant("app") for n in range(8)]
        await make_application(roots[0], "app")
        orders = [1, -1] * 4
        kept = await asyncio.gather(
            *(tenant.keep_credentials(credentials[::order]) for tenant, order in zip(tenants, orders, strict=True)),
            *(tenant.keep_aliases(aliases[::order]) for tenant, order in zip(tenants, orders, strict=True)),
        )
        assert (sum(kept[:8]), sum(kept[8:])) == (100, 100)
        assert await tenants[0].count_credentials() == 100
        for root in roots:
            await root.close()

    asyncio.run(act())


def test_a_refused_act_does_not_disturb_those_beside_it(on_store: Callable[[Test], None]) -> None:
    """On SQLite all of these share one transaction."""

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(SpendNonce(raw("spent", 16), NOW))

        def changes(n: int) -> tuple[Change, ...]:
            nonce = raw("spent" if n % 3 == 0 else f"{n}", 16)
            return AddCredential(make_credential(f"{n}")), SpendNonce(nonce, NOW), AddEvent(make_event(f"{n}"))

        outcomes = await asyncio.gather(*(tenant.commit(*changes(n)) for n in range(30)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NonceSpent if n % 3 == 0 else type(None) for n in range(30)]
        kept = [n for n in range(30) if await tenant.find_credential(raw(f"{n}")) is not None]
        assert kept == [n for n in range(30) if n % 3]

    on_store(act)


def test_a_caller_who_goes_away_takes_nobody_along(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        tasks = [
            asyncio.create_task(tenant.commit(SpendNonce(raw(f"{n}", 16), NOW), AddEvent(make_event(f"{n}"))))
            for n in range(RACERS)
        ]
        for pause, task in enumerate(tasks[::2]):
            if pause % 5 == 0:
                await asyncio.sleep(0)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[1::2] == [None] * (RACERS // 2)
        await asyncio.gather(*(tenant.commit(SpendNonce(raw(f"after {n}", 16), NOW)) for n in range(RACERS)))

    on_store(act)


def test_reads_go_on_beside_writes(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential()))

        async def write(n: int) -> None:
            await tenant.commit(AddEvent(make_event(f"{n}")))

        async def read(n: int) -> None:
            assert await tenant.find_credential(raw("credential")) is not None

        await asyncio.gather(*(task(n) for n in range(200) for task in (write, read)))

    on_store(act)


@pytest.mark.parametrize("nodes", [1, 2])
def test_of_applications_that_claim_one_rp_id_one_gets_it(database_url: str, nodes: int) -> None:
    async def act() -> None:
        roots = [await open_store(database_url) for _ in range(nodes)]
        app_ids = [f"app{n}" for n in range(10)]
        try:
            for app_id in app_ids:
                await make_application(roots[0], app_id)
            claims = [(n, app_id) for n in range(5) for app_id in app_ids]
            outcomes = await asyncio.gather(
                *(
                    roots[place % nodes].tenant(app_id).commit(*with_event(n, AnswerForRpId("example.org")))
                    for place, (n, app_id) in enumerate(claims)
                ),
                return_exceptions=True,
            )
            owner = await roots[0].find_related_application("example.org")
        finally:
            for root in roots:
                await root.close()
        assert owner in app_ids
        told: dict[str, set[type]] = {app_id: set() for app_id in app_ids}
        for (_, app_id), outcome in zip(claims, outcomes, strict=True):
            told[app_id].add(type(outcome))
        assert told == {app_id: {type(None) if app_id == owner else RpIdAnswered} for app_id in app_ids}

    asyncio.run(act())


def test_an_rp_id_goes_from_hand_to_hand(on_store: Callable[[Test], None]) -> None:
    """Whatever the order, no act fails in a way that is no refusal, and one application at most answers."""

    async def act(root: SqlRootStore) -> None:
        acts = [
            root.tenant(app_id).commit(change)
            for _ in range(RACERS // 4)
            for app_id in ("app", "other")
            for change in (AnswerForRpId("example.org"), LeaveRpId("example.org"))
        ]
        outcomes = await asyncio.gather(*acts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), RpIdAnswered}

    on_store(act)


def test_an_origin_noted_by_many_at_once_is_one_row(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await asyncio.gather(
            *(
                tenant.commit(*with_event(n, NoteOrigin("https://example.org", "example.org", NOW + (n % 25) * SECOND)))
                for n in range(RACERS)
            )
        )
        found = await tenant.find_application()
        assert found is not None
        (seen,) = found.seen_origins
        assert seen.last_seen_at == NOW + 24 * SECOND
        await asyncio.gather(
            *(
                tenant.commit(ForgetOrigins() if n % 2 else NoteOrigin(f"https://{n % 4}.example", "example", NOW))
                for n in range(RACERS)
            )
        )

    on_store(act)


def test_models_listed_and_delisted_at_once_do_not_deadlock(on_store: Callable[[Test], None]) -> None:
    models = [raw(f"{n}", 16) for n in range(8)]

    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        acts: list[Change] = [
            ListAuthenticators(tuple(models[n % 3 :: -1] + models), n % 2 == 0, NOW)
            if n % 3
            else DelistAuthenticators(tuple(reversed(models)))
            for n in range(RACERS)
        ]
        await asyncio.gather(*(tenant.commit(change) for change in acts))
        await tenant.commit(ListAuthenticators(tuple(models), is_allowed=True, created_at=NOW))
        found = await tenant.find_application()
        assert found is not None
        assert [(listed.aaguid, listed.is_allowed) for listed in found.authenticators] == [
            (model, True) for model in sorted(models)
        ]

    on_store(act)


def test_a_judgement_and_a_use_side_by_side_both_count(on_store: Callable[[Test], None]) -> None:
    async def act(root: SqlRootStore) -> None:
        tenant = root.tenant("app")
        await tenant.commit(AddCredential(make_credential()))
        await asyncio.gather(
            *(tenant.commit(make_rejudged(judged_with=f"{n}")) for n in range(20)),
            tenant.commit(make_touch(sign_count=5)),
        )
        found = await tenant.find_credential(raw("credential"))
        assert found is not None
        assert (found.sign_count, found.trust) == (5, make_rejudged().trust)

    on_store(act)


def test_a_new_file_is_opened_by_several_nodes_at_once(tmp_path: Path) -> None:
    """SQLite's own patience does not cover the switch to its write-ahead log; one round in ten refused somebody."""
    for n in range(60):
        path = str(tmp_path / f"{n}.db")
        create_file(path)
        together = Barrier(6)

        def opened(path: str = path, together: Barrier = together) -> None:
            together.wait()
            connect(path).close()

        with ThreadPoolExecutor(6) as nodes:
            for node in [nodes.submit(opened) for _ in range(6)]:
                node.result()
