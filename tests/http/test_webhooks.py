"""Webhooks: who is told of what, signed how, tried how often, and what a stranger's address can do to us."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import anyio.to_thread
import httpx
import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as Oracle
from standardwebhooks.webhooks import WebhookVerificationError

from narthex.adapters.egress import GuardedEgress
from narthex.adapters.system import SystemClock
from narthex.ports.changes import AddDelivery
from narthex.ports.egress import Reply
from narthex.ports.limits import Limit
from narthex.ports.mail import MailUnavailable, Message
from narthex.ports.records import Delivery, DeliveryKind, DeliveryState, EventType, KeyKind, Scope
from narthex.usecases import delivery, lifecycle
from narthex.usecases.application import within_application
from narthex.usecases.call import Caller, OperatorCall
from narthex.usecases.delivery import DISABLED_AFTER, MOST_OF_LANE, WAITS, send_due_deliveries
from narthex.usecases.webhook import (
    MOST_EVENT_TYPES,
    MOST_WEBHOOKS,
    TEST_TYPE,
    WEBHOOK_TESTS,
    WebhookTerms,
    create_webhook,
    list_webhooks,
)
from tests.support.application import Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json
from tests.support.listener import Answer, Listener, Request, TestAuthority, garbage, redirect, silent

pytestmark = pytest.mark.anyio

LOOPBACK = [ip_network("127.0.0.0/8")]
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def make_house(database_url: str, **members: Any) -> HouseInProcess:
    members.setdefault("egress", GuardedEgress(LOOPBACK))
    house = HouseInProcess(database_url, **members)
    # Receivers hold the timestamp against the clock on their wall.
    house.clock.at = SystemClock().now()
    return house


@pytest.fixture
async def house(sqlite_url: str) -> AsyncIterator[HouseInProcess]:
    async with make_house(sqlite_url) as house:
        yield house


def operator_call(house: HouseInProcess) -> OperatorCall:
    """What the server's own loop acts with."""
    env = house.env
    return OperatorCall(
        root=env.root,
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=env.clock.now(),
        caller=Caller(),
        catalog=env.catalog,
        facilities=env.facilities,
    )


async def sent(house: HouseInProcess) -> int:
    """Send what is due."""
    return await send_due_deliveries(operator_call(house))


async def ask(
    application: Application, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str
) -> httpx.Response:
    key = {"ApiSecret": application.secret_key, **headers}
    return await application.client.request(method, path, json=body, headers=key)


async def create(application: Application, url: str, **body: Any) -> Json:
    answer = await ask(application, "POST", "/webhooks", {"url": url, **body})
    assert 201 == answer.status_code, answer.text
    made: Json = answer.json()
    return made


async def listed(application: Application) -> list[Json]:
    answer: list[Json] = (await ask(application, "GET", "/webhooks")).json()
    return answer


async def queue_test(application: Application, webhook: Json) -> str:
    answer = await ask(application, "POST", f"/webhooks/{webhook['id']}/test")
    assert 202 == answer.status_code, answer.text
    return str(answer.json()["deliveryId"])


async def deliveries(application: Application, webhook: Json, query: str = "") -> list[Json]:
    answer = accepted(await ask(application, "GET", f"/webhooks/{webhook['id']}/deliveries{query}"))
    return list(answer["deliveries"])


async def retry(application: Application, webhook: Json, delivery_id: str) -> httpx.Response:
    return await ask(application, "POST", f"/webhooks/{webhook['id']}/deliveries/{delivery_id}/retry")


def verified(request: Request, secret: str) -> Json:
    """What a receiver reads, as long as the signature is good; by the reference implementation."""
    body: Json = Oracle(secret).verify(request.body, dict(request.headers))
    return body


def signatures(request: Request) -> list[str]:
    return request.headers["webhook-signature"].split(" ")


def signature_by_oracle(request: Request, secret: str) -> str:
    """Also at an instant that is far from now."""
    at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    return Oracle(secret).sign(request.headers["webhook-id"], at, request.body.decode())


def types_of(requests: Sequence[Request]) -> list[str]:
    return sorted(msgspec.json.decode(request.body)["type"] for request in requests)


async def wait_for(listener: Listener, count: int) -> list[Request]:
    return await anyio.to_thread.run_sync(listener.wait_for, count)


# --- making and changing them ----------------------------------------------------------------------------------------


async def test_a_webhook_is_made_listed_changed_and_deleted(application: Application) -> None:
    made = await create(
        application,
        "https://example.com/hook",
        eventTypes=["ApiUser*", "ApiWebhookChanged", "ApiUser*"],
        description="shop",
    )
    secret = made.pop("secret")
    expected = {
        "id": made["id"],
        "url": "https://example.com/hook",
        "eventTypes": ["ApiUser*", "ApiWebhookChanged"],
        "description": "shop",
        "enabled": True,
        "createdAt": made["createdAt"],
        "failingSince": None,
        "oldSecretUntil": None,
    }
    assert (expected, [expected]) == (made, await listed(application))
    assert secret.startswith("whsec_")
    assert 32 == len(b64decode(secret.removeprefix("whsec_"), validate=True))

    changed = accepted(
        await ask(application, "POST", f"/webhooks/{made['id']}", {"url": "https://example.org/", "enabled": False})
    )
    expected |= {"url": "https://example.org/", "enabled": False}
    assert (expected, [expected]) == (changed, await listed(application))
    changed = accepted(await ask(application, "POST", f"/webhooks/{made['id']}", {"eventTypes": [], "description": ""}))
    expected |= {"eventTypes": [], "description": ""}
    assert (expected, [expected]) == (changed, await listed(application))

    gone = await ask(application, "DELETE", f"/webhooks/{made['id']}")
    assert (204, []) == (gone.status_code, await listed(application))
    refused(await ask(application, "DELETE", f"/webhooks/{made['id']}"), 404, "webhook_not_found")


async def test_an_operator_does_the_same(house: HouseInProcess, application: Application) -> None:
    call = await within_application(operator_call(house), "demo")
    webhook, secret = await create_webhook(call, WebhookTerms("https://example.com/hook"))
    assert (webhook,) == await list_webhooks(call)
    assert "Secret('***')" == repr(secret)
    assert [webhook.url] == [each["url"] for each in await listed(application)]


async def test_changes_are_events_and_other_webhooks_hear_of_them(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        await create(application, listener.url, eventTypes=["ApiWebhook*"])
        other = await create(application, "https://example.com/?secret=in+the+url")
        await ask(application, "POST", f"/webhooks/{other['id']}", {"url": "https://example.com/?secret=two"})
        await ask(application, "POST", f"/webhooks/{other['id']}", {"url": "https://example.com/?secret=two"})
        await ask(application, "POST", f"/webhooks/{other['id']}/rotate", {})
        await ask(application, "DELETE", f"/webhooks/{other['id']}")
        await sent(house)
    messages = [
        f"webhook {other['id']} {what}" for what in ("created", "changed: url", "given a new secret", "deleted")
    ]
    told = [msgspec.json.decode(request.body)["data"]["message"] for request in listener.requests]
    assert sorted(messages) == sorted(told)
    changed = [row for row in await house.events() if row[0] == EventType.ApiWebhookChanged]
    assert 5 == len(changed)
    assert (EventType.ApiWebhookChanged, 3, "System", other["id"], application.secret_key[-4:]) in changed


BAD_URLS = {
    "": "ValidationFailed",
    "ftp://example.com/": "address_not_allowed",
    "http://169.254.169.254/latest/meta-data": "address_not_allowed",
    "https://169.254.169.254/": "address_not_allowed",
    "https://[::ffff:10.0.0.1]/": "address_not_allowed",
    "https://10.1.2.3/": "address_not_allowed",
    "https://0x7f.1/": "address_not_allowed",
    "https://[fd00::1]/": "address_not_allowed",
    "https://user:password@example.com/": "address_not_allowed",
    "http://example.com/": "address_not_allowed",
    "https://example.com/" + "a" * 2_000: "address_not_allowed",
}


@pytest.mark.parametrize(("url", "code"), BAD_URLS.items(), ids=[url[:30] for url in BAD_URLS])
async def test_an_address_that_leads_inside_is_refused_when_it_is_named(sqlite_url: str, url: str, code: str) -> None:
    async with make_house(sqlite_url, egress=GuardedEgress()) as house:
        application = await house.create_application()
        answer = await ask(application, "POST", "/webhooks", {"url": url})
        if code == "ValidationFailed":
            assert (400, ["url"]) == (answer.status_code, list(answer.json()["errors"]))
        else:
            refused(answer, 400, code)
        made = await create(application, "https://example.com/hook")
        if url:
            refused(await ask(application, "POST", f"/webhooks/{made['id']}", {"url": url}), 400, code)
        assert ["https://example.com/hook"] == [each["url"] for each in await listed(application)]


async def test_a_server_without_a_way_out_takes_no_webhooks(sqlite_url: str) -> None:
    async with make_house(sqlite_url, egress=None) as house:
        application = await house.create_application()
        answer = await ask(application, "POST", "/webhooks", {"url": "https://example.com/"})
        refused(answer, 400, "address_not_allowed")


BAD_TYPES = ["", " ", "*Api", "Api*User", "apiuser*", "ApiUser", "ApiUserSignInCompleted ", "Nothing*", "1103", None]


@pytest.mark.parametrize("pattern", BAD_TYPES)
async def test_a_pattern_that_names_nothing_is_refused(application: Application, pattern: str | None) -> None:
    body = {"url": "https://example.com/", "eventTypes": ["ApiUser*", pattern]}
    problem = refused(await ask(application, "POST", "/webhooks", body), 400, "event_type_unknown")
    assert f"`{pattern or ''}` names no type of event" == problem["title"].rstrip(".")


async def test_bounds_are_kept(application: Application) -> None:
    url = "https://example.com/"
    names = (2 * [each.name for each in EventType])[: MOST_EVENT_TYPES + 1]
    for wrong in ({"description": "x" * 201}, {"description": "a\r\nb"}, {"eventTypes": names}):
        refused(await ask(application, "POST", "/webhooks", {"url": url, **wrong}), 400, "webhook_invalid")
    made = await create(application, url, description="x" * 200, eventTypes=names[:-1])
    for seconds in (-1, 7 * 86_400 + 1):
        answer = await ask(application, "POST", f"/webhooks/{made['id']}/rotate", {"overlapSeconds": seconds})
        assert (400, ["overlapSeconds"]) == (answer.status_code, list(answer.json()["errors"]))
    for wrong_query in ("?limit=0", "?limit=101", "?state=lost"):
        assert 400 == (await ask(application, "GET", f"/webhooks/{made['id']}/deliveries{wrong_query}")).status_code
    for _ in range(MOST_WEBHOOKS - 1):
        await create(application, url)
    refused(await ask(application, "POST", "/webhooks", {"url": url}), 409, "too_many_webhooks")


async def test_of_many_who_make_webhooks_at_once_none_passes_the_bound(database_url: str) -> None:
    async with make_house(database_url) as house:
        application = await house.create_application()
        asked = [ask(application, "POST", "/webhooks", {"url": "https://example.com/"}) for _ in range(25)]
        answers = await asyncio.gather(*asked)
        assert [201] * MOST_WEBHOOKS + [409] * 5 == sorted(answer.status_code for answer in answers)
        assert MOST_WEBHOOKS == len(await listed(application))


async def test_scopes_divide_reading_from_writing(house: HouseInProcess, application: Application) -> None:
    made = await create(application, "https://example.com/")
    reader = await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({Scope.WEBHOOKS_READ.value}))
    other = await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({Scope.EVENTS_READ.value}))
    assert 200 == (await ask(application, "GET", "/webhooks", ApiSecret=reader)).status_code
    assert 403 == (await ask(application, "GET", "/webhooks", ApiSecret=other)).status_code
    for method, path in WRITING:
        answer = await ask(application, method, path.format(made["id"]), {}, ApiSecret=reader)
        assert 403 == answer.status_code, path


WRITING = [
    ("POST", "/webhooks"),
    ("POST", "/webhooks/{}"),
    ("DELETE", "/webhooks/{}"),
    ("POST", "/webhooks/{}/rotate"),
    ("POST", "/webhooks/{}/test"),
    ("POST", f"/webhooks/{{}}/deliveries/{UNKNOWN_ID}/retry"),
]


async def test_the_webhook_of_another_application_is_not_there(house: HouseInProcess, application: Application) -> None:
    made = await create(application, "https://example.com/")
    delivery_id = await queue_test(application, made)
    other = await house.create_application("other")
    own = await create(other, "https://example.com/")
    path = f"/webhooks/{made['id']}"
    for method, url in (
        ("POST", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate"),
        ("POST", f"{path}/test"),
        ("GET", f"{path}/deliveries"),
        ("POST", f"{path}/deliveries/{delivery_id}/retry"),
    ):
        body = {} if method == "POST" else None
        refused(await ask(other, method, url, body), 404, "webhook_not_found")
    refused(await retry(other, own, delivery_id), 404, "delivery_not_found")
    assert [own["id"]] == [each["id"] for each in await listed(other)]
    assert [made["id"]] == [each["id"] for each in await listed(application)]


@pytest.mark.parametrize("wrong", ["x", UNKNOWN_ID, UNKNOWN_ID.replace("-", ""), "f" * 36])
async def test_what_is_not_there_is_told_so(application: Application, wrong: str) -> None:
    refused(await ask(application, "GET", f"/webhooks/{wrong}/deliveries"), 404, "webhook_not_found")
    made = await create(application, "https://example.com/")
    refused(await retry(application, made, wrong), 404, "delivery_not_found")
    refused(await retry(application, made, "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12), 404, "delivery_not_found")


async def test_a_secret_is_told_once_and_found_nowhere(
    house: HouseInProcess, application: Application, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), Listener() as listener:
        made = await create(application, listener.url)
        rotated = accepted(await ask(application, "POST", f"/webhooks/{made['id']}/rotate", {}))
        await queue_test(application, made)
        await sent(house)
        told = [
            str(await listed(application)),
            str(await deliveries(application, made)),
            str((await ask(application, "GET", "/events?pageNumber=1")).json()),
            repr(await house.root.tenant("demo").find_application()),
            str([(request.headers, request.body) for request in listener.requests]),
            caplog.text,
            *capfd.readouterr(),
        ]
    kept = str([await house.rows(f"select * from {table}") for table in ("webhook", "delivery", "event")])
    for secret in (made["secret"], rotated["secret"]):
        text, raw = secret.removeprefix("whsec_"), b64decode(secret.removeprefix("whsec_"))
        for where in (*told, kept):
            assert text not in where
            assert raw.hex() not in where
            assert repr(raw)[2:-1] not in where


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_a_sign_in_reaches_the_receiver_signed(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    with Listener() as listener:
        listener.answers = [Answer(204)]
        made = await create(application, f"{listener.url}/hooks?for=shop", eventTypes=["ApiUserSignInCompleted"])
        await ceremonies.register()
        await ceremonies.verify(await ceremonies.sign_in(userId="ann"))
        assert 1 == await sent(house)
        [request] = listener.requests
    body = verified(request, made["secret"])
    assert ("POST", "/hooks?for=shop") == (request.method, request.path)
    assert "application/json" == request.headers["content-type"]
    assert request.headers["user-agent"].lower().startswith("narthex/")
    assert abs(int(request.headers["webhook-timestamp"]) - house.clock.at.timestamp()) < 60
    assert ("ApiUserSignInCompleted", "ann") == (body["type"], body["data"]["performedBy"])

    exported = (await ask(application, "GET", "/events/export?eventTypes=ApiUserSignInCompleted")).text
    line = msgspec.json.decode(exported)
    line.pop("assurance")
    assert {"type": line["eventType"], "timestamp": line["performedAt"], "data": line} == body

    [delivered] = await deliveries(application, made)
    assert request.headers["webhook-id"] == delivered["messageId"]
    assert delivered["messageId"] == f"msg_{delivered['id'].replace('-', '')}"
    assert ("delivered", 1, 204, "", None) == tuple(
        delivered[name] for name in ("state", "tries", "status", "problem", "nextTryAt")
    )
    assert delivered["settledAt"]
    assert 0 == await sent(house)


async def test_the_oracle_refuses_what_was_altered(house: HouseInProcess, application: Application) -> None:
    """Else it would prove nothing in the other tests."""
    with Listener() as listener:
        other = await create(application, "https://example.com/", enabled=False)
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
        [request] = listener.requests
    assert TEST_TYPE == verified(request, made["secret"])["type"]
    for secret, body in ((other["secret"], request.body), (made["secret"], request.body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Oracle(secret).verify(body, dict(request.headers))


async def test_a_test_says_that_it_is_one_whatever_was_asked_for(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        made = await create(application, listener.url, eventTypes=["ApiUserDeleted"])
        delivery_id = await queue_test(application, made)
        await sent(house)
        [request] = listener.requests
    body = verified(request, made["secret"])
    assert TEST_TYPE == body["type"]
    assert {"applicationId": "demo", "webhookId": made["id"]}.items() <= body["data"].items()
    assert [(delivery_id, TEST_TYPE)] == [
        (each["id"], each["eventType"]) for each in await deliveries(application, made)
    ]


class CountingLimiter:
    """Counts without a window, and lets through as many as may be."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def hit(self, *counted: tuple[Limit, str]) -> int | None:
        self.counts.update(limit.name for limit, _ in counted)
        return 7 if any(self.counts[limit.name] > limit.most for limit, _ in counted) else None

    async def close(self) -> None: ...


async def test_tests_are_limited(sqlite_url: str) -> None:
    async with make_house(sqlite_url, limiter=CountingLimiter()) as house:
        application = await house.create_application()
        made = await create(application, "https://example.com/")
        for _ in range(WEBHOOK_TESTS.most):
            await queue_test(application, made)
        answer = await ask(application, "POST", f"/webhooks/{made['id']}/test")
        refused(answer, 429, "rate_limited")
        assert "7" == answer.headers["retry-after"]
        assert WEBHOOK_TESTS.most == len(await deliveries(application, made))


async def test_a_webhook_hears_only_what_it_asked_for(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    with Listener() as everything, Listener() as some, Listener() as nothing:
        await create(application, everything.url)
        await create(application, some.url, eventTypes=["ApiUserSignIn*", "ApiAuthUserRegistered"])
        await create(application, nothing.url, enabled=False)
        await ceremonies.register()
        await ceremonies.verify(await ceremonies.sign_in(userId="ann"))
        await sent(house)
    wanted = {"ApiUserSignInBegan", "ApiUserSignInCompleted", "ApiUserSignInTokenVerified", "ApiUserSignInVerified"}
    told = types_of(some.requests)
    assert "ApiUserSignInCompleted" in told
    assert all(name.startswith("ApiUserSignIn") or name == "ApiAuthUserRegistered" for name in told)
    assert set(told) < set(types_of(everything.requests))
    assert wanted & set(told)
    assert [] == nothing.requests


async def test_without_an_event_log_webhooks_are_told_all_the_same(house: HouseInProcess) -> None:
    application = await house.create_application()
    with Listener() as listener:
        await create(application, listener.url, eventTypes=["ApiUserSignInCompleted"])
        ceremonies = Ceremonies(application)
        await ceremonies.register()
        await ceremonies.sign_in(userId="ann")
        await sent(house)
    assert ["ApiUserSignInCompleted"] == types_of(listener.requests)
    assert [] == await house.events()


async def test_after_a_rotation_both_secrets_sign_for_a_while(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        made = await create(application, listener.url)
        rotated = accepted(await ask(application, "POST", f"/webhooks/{made['id']}/rotate", {"overlapSeconds": 3_600}))
        assert made["secret"] != rotated["secret"]
        assert rotated["oldSecretUntil"] == (await listed(application))[0]["oldSecretUntil"]
        await queue_test(application, made)
        await sent(house)
        [both] = listener.requests
        assert 2 == len(signatures(both))
        assert verified(both, rotated["secret"]) == verified(both, made["secret"])

        house.clock.move(hours=1)
        assert (await listed(application))[0]["oldSecretUntil"] is None
        await queue_test(application, made)
        await sent(house)
        [_, after] = listener.requests
        assert [signature_by_oracle(after, rotated["secret"])] == signatures(after)

        last = accepted(await ask(application, "POST", f"/webhooks/{made['id']}/rotate", {"overlapSeconds": 0}))
        await queue_test(application, made)
        await sent(house)
        [*_, at_once] = listener.requests
        assert [signature_by_oracle(at_once, last["secret"])] == signatures(at_once)


# --- what does not get through ---------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again_by_the_schedule_and_given_up(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        listener.answers = [Answer(503)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        for tries, wait in enumerate(WAITS[DeliveryKind.WEBHOOK], 1):
            assert 1 == await sent(house)
            [waiting] = await deliveries(application, made)
            assert ("pending", tries, 503) == (waiting["state"], waiting["tries"], waiting["status"])
            assert "the receiver answers 503" == waiting["problem"]
            next_try_at = datetime.fromisoformat(waiting["nextTryAt"])
            assert wait <= next_try_at - house.clock.at <= wait * 1.1 + timedelta(seconds=5)
            house.clock.at = next_try_at - timedelta(seconds=2)
            assert 0 == await sent(house)
            house.clock.at = next_try_at
        assert 1 == await sent(house)
        [failed] = await deliveries(application, made)
        assert ("failed", 10, None) == (failed["state"], failed["tries"], failed["nextTryAt"])
        house.clock.move(days=2)
        assert 0 == await sent(house)
    assert 10 == len(listener.requests)
    assert 1 == len({request.headers["webhook-id"] for request in listener.requests})
    assert 10 == len({request.headers["webhook-timestamp"] for request in listener.requests})
    for request in listener.requests:
        assert [signature_by_oracle(request, made["secret"])] == signatures(request)


async def test_what_got_through_at_last_is_forgiven(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        listener.answers = [Answer(500), Answer(200)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
        assert (await listed(application))[0]["failingSince"] is not None
        house.clock.move(seconds=6)
        await sent(house)
    assert (await listed(application))[0]["failingSince"] is None
    [delivered] = await deliveries(application, made)
    assert ("delivered", 2, 200, "") == tuple(delivered[name] for name in ("state", "tries", "status", "problem"))


BAD_ANSWERS = {
    "404": (Answer(404), 404, "the receiver answers 404"),
    "500": (Answer(500, b"x" * 100_000), 500, "the receiver answers 500"),
    "garbage": (garbage, None, "`127.0.0.1` does not answer in HTTP"),
}


@pytest.mark.parametrize("which", BAD_ANSWERS)
async def test_other_answers_are_failures(house: HouseInProcess, application: Application, which: str) -> None:
    answer, status, problem = BAD_ANSWERS[which]
    with Listener() as listener:
        listener.answers = [answer]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
    [waiting] = await deliveries(application, made)
    assert ("pending", 1, status, problem) == tuple(waiting[n] for n in ("state", "tries", "status", "problem"))


async def test_a_receiver_that_says_nothing_is_given_up(
    house: HouseInProcess, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 0.3)
    with Listener() as listener:
        listener.answers = [silent]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
    [waiting] = await deliveries(application, made)
    assert ("pending", 1, "`127.0.0.1` does not answer in time") == tuple(
        waiting[name] for name in ("state", "tries", "problem")
    )


async def test_redirects_are_not_followed(house: HouseInProcess, application: Application) -> None:
    with Listener() as elsewhere, Listener() as listener:
        listener.answers = [redirect(f"{elsewhere.url}/inside", 307)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
        assert (1, []) == (len(listener.requests), elsewhere.requests)
    [waiting] = await deliveries(application, made)
    assert ("pending", 307, "the receiver answers 307; redirects are not followed") == tuple(
        waiting[name] for name in ("state", "status", "problem")
    )


async def test_a_receiver_that_is_gone_is_told_nothing_more(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        listener.answers = [Answer(410)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
        [failed] = await deliveries(application, made)
        assert ("failed", 410) == (failed["state"], failed["status"])
        assert [False] == [each["enabled"] for each in await listed(application)]
        await create(application, "https://example.com/")
        assert 0 == await sent(house)
        assert 1 == len(listener.requests)
    disabled = [row for row in await house.events() if row[0] == EventType.ApiWebhookDisabled]
    assert [(EventType.ApiWebhookDisabled, 2, "System", made["id"], "")] == disabled


async def test_who_moved_a_webhook_meanwhile_keeps_it(house: HouseInProcess, application: Application) -> None:
    """The receiver of the address before says 410 after the webhook was given another one, and another secret."""
    with Listener() as listener, Listener() as new:
        listener.answers = [Answer(410, delay_s=0.5)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        sending = asyncio.create_task(sent(house))
        await wait_for(listener, 1)
        await ask(application, "POST", f"/webhooks/{made['id']}", {"url": new.url})
        rotated = accepted(await ask(application, "POST", f"/webhooks/{made['id']}/rotate", {"overlapSeconds": 0}))
        await sending
        assert [(new.url, True)] == [(each["url"], each["enabled"]) for each in await listed(application)]
        await queue_test(application, made)
        await sent(house)
        assert TEST_TYPE == verified(new.requests[0], rotated["secret"])["type"]


async def test_after_five_days_without_success_a_webhook_is_disabled(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        listener.answers = [Answer(500)]
        made = await create(application, listener.url)
        began_at, disabled_after = house.clock.at, None
        for hours in range(0, 24 * 7, 3):
            if hours % 24 == 0 and disabled_after is None:
                await queue_test(application, made)
            await sent(house)
            if disabled_after is None and not (await listed(application))[0]["enabled"]:
                disabled_after = house.clock.at - began_at
            house.clock.move(hours=3)
        assert disabled_after is not None
        assert DISABLED_AFTER <= disabled_after < DISABLED_AFTER + timedelta(days=1)
        states = {each["state"] for each in await deliveries(application, made)}
        assert {"failed"} == states
        assert "the webhook is disabled" in {each["problem"] for each in await deliveries(application, made)}
        assert 1 == len([row for row in await house.events() if row[0] == EventType.ApiWebhookDisabled])


async def test_a_first_failure_long_after_the_last_disables_nothing(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        listener.answers = [Answer(500)]
        made = await create(application, listener.url)
        await queue_test(application, made)
        await sent(house)
        house.clock.move(days=300)
        await queue_test(application, made)
        assert 2 == await sent(house)
    assert (await listed(application))[0]["enabled"]


async def test_what_failed_is_sent_again_on_request(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        listener.answers = [Answer(410), Answer(200)]
        made = await create(application, listener.url)
        delivery_id = await queue_test(application, made)
        await sent(house)
        refused(await retry(application, made, delivery_id), 409, "webhook_disabled")
        refused(await ask(application, "POST", f"/webhooks/{made['id']}/test"), 409, "webhook_disabled")
        await ask(application, "POST", f"/webhooks/{made['id']}", {"enabled": True})
        assert 204 == (await retry(application, made, delivery_id)).status_code
        assert 1 == await sent(house)
        assert 204 == (await retry(application, made, delivery_id)).status_code
        assert 1 == await sent(house)
        assert 1 == len({request.headers["webhook-id"] for request in listener.requests})
    [delivered] = await deliveries(application, made)
    assert ("delivered", 1) == (delivered["state"], delivered["tries"])


async def test_the_delivery_of_one_webhook_is_not_sent_again_by_another(
    house: HouseInProcess, application: Application
) -> None:
    made, other = [await create(application, "https://example.com/") for _ in range(2)]
    delivery_id = await queue_test(application, made)
    refused(await retry(application, other, delivery_id), 404, "delivery_not_found")


async def test_what_was_queued_for_a_webhook_goes_with_it(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        made = await create(application, listener.url)
        await queue_test(application, made)
        await ask(application, "DELETE", f"/webhooks/{made['id']}")
        assert 0 == await sent(house)
        assert [] == listener.requests
    assert [] == await house.rows("select * from delivery")


async def test_what_was_queued_goes_with_the_application(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        made = await create(application, listener.url)
        await queue_test(application, made)
        await lifecycle.erase(operator_call(house), "demo")
        assert 0 == await sent(house)
        assert [] == listener.requests
    assert [] == await house.rows("select * from delivery")


async def test_a_delivery_whose_webhook_was_deleted_meanwhile_is_given_up(
    house: HouseInProcess, application: Application
) -> None:
    """Another server, which remembered the webhook for a second, added one after it had gone."""
    await house.root.tenant("demo").commit(AddDelivery(make_delivery(house, DeliveryKind.WEBHOOK, b"{}", bytes(16))))
    assert 0 == await sent(house)
    assert [("failed", 0, "the webhook was deleted")] == await house.rows("select state, tries, problem from delivery")


# --- inside ----------------------------------------------------------------------------------------------------------


async def test_a_name_that_leads_inside_is_refused_when_it_is_sent_to(sqlite_url: str) -> None:
    """And who looks at the problem cannot tell a name of our own network from one that nobody knows."""

    async def resolve(name: str, port: int) -> Sequence[str]:
        if name == "inner.example":
            return ["127.0.0.1"]
        raise socket.gaierror

    with Listener() as listener:
        async with make_house(sqlite_url, egress=GuardedEgress(resolve=resolve)) as house:
            application = await house.create_application()
            told = []
            for name in ("inner.example", "unknown.example"):
                made = await create(application, f"https://{name}:{listener.port}/")
                await queue_test(application, made)
                await sent(house)
                [waiting] = await deliveries(application, made)
                told.append({each: waiting[each] for each in ("state", "tries", "status", "problem")})
        assert 0 == listener.connections
    assert told[0] == told[1]
    assert ("pending", 1, None) == tuple(told[0][name] for name in ("state", "tries", "status"))
    assert "not public" in told[0]["problem"]


async def test_a_certificate_that_nobody_vouches_for_is_told(sqlite_url: str) -> None:
    with Listener(authority=TestAuthority()) as listener:
        egress = GuardedEgress(LOOPBACK, tls=TestAuthority().trusted())
        async with make_house(sqlite_url, egress=egress) as house:
            application = await house.create_application()
            made = await create(application, listener.url)
            await queue_test(application, made)
            await sent(house)
            [waiting] = await deliveries(application, made)
    assert waiting["problem"].startswith("`127.0.0.1` cannot be reached under TLS")
    assert [] == listener.requests


# --- several at once -------------------------------------------------------------------------------------------------


async def test_two_servers_send_each_message_once(database_url: str) -> None:
    with Listener() as listener:
        async with make_house(database_url) as one, make_house(database_url) as two:
            application = await one.create_application()
            made = await create(application, listener.url)
            expected = {await queue_test(application, made) for _ in range(20)}
            two.clock.at = one.clock.at
            assert len(expected) == sum(await asyncio.gather(sent(one), sent(two)))
            told = [request.headers["webhook-id"] for request in listener.requests]
    assert sorted(f"msg_{each.replace('-', '')}" for each in expected) == sorted(told)


class DyingEgress(GuardedEgress):
    """Never comes back from a receiver that was told."""

    async def post(self, *arguments: Any, **options: Any) -> Reply:
        await super().post(*arguments, **options)
        return await asyncio.Future[Reply]()


async def test_who_dies_after_sending_leaves_it_to_be_sent_again(database_url: str) -> None:
    with Listener() as listener:
        async with make_house(database_url, egress=DyingEgress(LOOPBACK)) as dying, make_house(database_url) as heir:
            application = await dying.create_application()
            made = await create(application, listener.url)
            await queue_test(application, made)
            sending = asyncio.create_task(sent(dying))
            await wait_for(listener, 1)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            heir.clock.at = dying.clock.at
            assert 0 == await sent(heir)
            heir.clock.move(seconds=50)
            assert 1 == await sent(heir)
            [delivered] = await deliveries(application, made)
            assert ("delivered", 1) == (delivered["state"], delivered["tries"])
            [first, again] = listener.requests
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body


async def test_a_slow_receiver_holds_up_nobody_else(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other")
    with Listener() as slow, Listener() as quick:
        slow.answers = [Answer(delay_s=20)]
        patient, prompt = await create(application, slow.url), await create(other, quick.url)
        for _ in range(10):
            await queue_test(application, patient)
        await queue_test(other, prompt)
        sending = asyncio.create_task(sent(house))
        await wait_for(quick, 1)
        await wait_for(slow, MOST_OF_LANE)
        # What comes while the slow one is still thinking does not wait for it either.
        await queue_test(other, prompt)
        await wait_for(quick, 2)
        assert (MOST_OF_LANE, False) == (len(slow.requests), sending.done())
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


async def test_a_long_queue_of_one_receiver_waits_outside(
    house: HouseInProcess, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_MOST_WAITING_IN_LANE", 2)
    monkeypatch.setattr(delivery, "_MOST_CLAIMED", 5)
    other = await house.create_application("other")
    with Listener() as slow, Listener() as quick:
        slow.answers = [Answer(delay_s=0.5)]
        patient, prompt = await create(application, slow.url), await create(other, quick.url)
        for _ in range(12):
            await queue_test(application, patient)
        house.clock.move(seconds=1)
        await queue_test(other, prompt)
        sending = asyncio.create_task(sent(house))
        await wait_for(quick, 1)
        assert len(slow.requests) <= MOST_OF_LANE
        first = await sending
        assert first < 13
        house.clock.move(seconds=40)
        assert 13 == first + await sent(house) + await later(house)
        assert 12 == len(slow.requests)
    assert {("delivered", 1)} == {(each["state"], each["tries"]) for each in await deliveries(application, patient)}


async def later(house: HouseInProcess) -> int:
    """Send until nothing comes back any more."""
    tries = 0
    for _ in range(10):
        house.clock.move(seconds=40)
        tries += await sent(house)
    return tries


async def test_whose_turn_comes_too_late_is_given_back(
    house: HouseInProcess, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or another server would take it before it was sent."""
    monkeypatch.setattr(delivery, "_BEGUN_WITHIN", timedelta(seconds=0.4))
    with Listener() as listener:
        listener.answers = [Answer(delay_s=0.5)]
        made = await create(application, listener.url)
        for _ in range(5):
            await queue_test(application, made)
        assert MOST_OF_LANE == await sent(house)
        states = [(each["state"], each["tries"], each["problem"]) for each in await deliveries(application, made)]
        assert [("delivered", 1, "")] * 2 + [("pending", 0, "")] * 3 == sorted(states)
        listener.answers = [Answer()]
        house.clock.move(seconds=40)
        assert 3 == await sent(house)


async def test_one_that_cannot_be_sent_holds_up_nobody_and_is_told(
    house: HouseInProcess, application: Application
) -> None:
    with Listener() as listener:
        names = ["ApiUserDeleted"]
        made, broken = [await create(application, listener.url, eventTypes=names) for _ in range(2)]
        query = "update webhook set wrapped_secret = :wrapped where webhook_id = :id"
        await house.write(query, wrapped=bytes(60), id=raw_id(broken))
        house.env.directory.forget("demo")
        await queue_test(application, broken)
        await queue_test(application, made)
        with pytest.raises(RuntimeError, match="master key"):
            await sent(house)
        assert 1 == len(listener.requests)
    [waiting] = await deliveries(application, broken)
    assert ("pending", 1, "this server could not send it: CannotUnwrap") == tuple(
        waiting[name] for name in ("state", "tries", "problem")
    )
    assert ["delivered"] == [each["state"] for each in await deliveries(application, made)]


def raw_id(webhook: Json) -> bytes:
    return bytes.fromhex(webhook["id"].replace("-", ""))


# --- the list of what was sent ---------------------------------------------------------------------------------------


async def test_deliveries_are_paged_and_chosen_by_state(house: HouseInProcess, application: Application) -> None:
    with Listener() as listener:
        made = await create(application, listener.url)
        done = []
        for _ in range(3):
            house.clock.move(seconds=1)
            done.append(await queue_test(application, made))
        await sent(house)
        house.clock.move(seconds=1)
        waiting = await queue_test(application, made)
    expected, cursor, pages = [waiting, *reversed(done)], "", []
    while True:
        page = accepted(await ask(application, "GET", f"/webhooks/{made['id']}/deliveries?limit=2{cursor}"))
        pages.append([each["id"] for each in page["deliveries"]])
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert [expected[:2], expected[2:]] == pages
    assert [waiting] == [each["id"] for each in await deliveries(application, made, "?state=pending")]
    assert expected[1:] == [each["id"] for each in await deliveries(application, made, "?state=delivered")]
    assert [] == await deliveries(application, made, "?state=failed")


async def test_a_cursor_is_good_for_its_own_list_only(house: HouseInProcess, application: Application) -> None:
    made, other = [await create(application, "https://example.com/") for _ in range(2)]
    for _ in range(2):
        await queue_test(application, made)
    page = accepted(await ask(application, "GET", f"/webhooks/{made['id']}/deliveries?limit=1"))
    cursor = page["nextCursor"]
    for path in (
        f"/webhooks/{other['id']}/deliveries?cursor={cursor}",
        f"/webhooks/{made['id']}/deliveries?state=pending&cursor={cursor}",
        f"/webhooks/{made['id']}/deliveries?cursor={cursor[:-2]}AA",
        f"/webhooks/{made['id']}/deliveries?cursor=x",
    ):
        refused(await ask(application, "GET", path), 400, "invalid_cursor")


# --- mails -----------------------------------------------------------------------------------------------------------

LETTER = Message("ann@example.org", "Shop", "Hello", "A text.")


class Mailbox:
    """A mail server that takes mails, or does not."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.is_open = True

    async def send(self, message: Message) -> None:
        if not self.is_open:
            raise MailUnavailable("the mail server does not answer")
        self.taken.append(message)

    async def check(self) -> None: ...


def make_delivery(house: HouseInProcess, kind: DeliveryKind, content: bytes, target: bytes = b"") -> Delivery:
    now = house.clock.now()
    return Delivery(
        delivery_id=int(now.timestamp() * 1000).to_bytes(6) + bytes(10),
        kind=kind,
        target=target,
        content=content,
        subject="new-passkey",
        created_at=now,
        next_try_at=now,
    )


async def mailed(house: HouseInProcess, content: bytes) -> None:
    await house.create_application()
    await house.root.tenant("demo").commit(AddDelivery(make_delivery(house, DeliveryKind.MAIL, content)))


async def kept(house: HouseInProcess) -> tuple[Any, ...]:
    [row] = await house.rows("select state, tries, problem from delivery")
    return row


async def test_a_mail_goes_out(sqlite_url: str) -> None:
    mailbox = Mailbox()
    async with make_house(sqlite_url, mail=mailbox) as house:
        await mailed(house, msgspec.msgpack.encode(LETTER))
        assert 1 == await sent(house)
        assert ("delivered", 1, "") == await kept(house)
    assert [LETTER] == mailbox.taken


async def test_a_mail_is_tried_again_and_given_up(sqlite_url: str) -> None:
    mailbox = Mailbox()
    mailbox.is_open = False
    async with make_house(sqlite_url, mail=mailbox) as house:
        await mailed(house, msgspec.msgpack.encode(LETTER))
        for tries, wait in enumerate(WAITS[DeliveryKind.MAIL], 1):
            assert 1 == await sent(house)
            assert ("pending", tries, "the mail server does not answer") == await kept(house)
            house.clock.move(seconds=wait.total_seconds() * 0.95)
            assert 0 == await sent(house)
            house.clock.move(seconds=wait.total_seconds() * 0.2)
        assert 1 == await sent(house)
        assert ("failed", 6, "the mail server does not answer") == await kept(house)


async def test_without_a_mail_server_a_mail_is_given_up(house: HouseInProcess) -> None:
    await mailed(house, msgspec.msgpack.encode(LETTER))
    assert 0 == await sent(house)
    assert (DeliveryState.FAILED.value, 0, "no mail is set up") == await kept(house)


async def test_a_mail_that_cannot_be_read_is_given_up(sqlite_url: str) -> None:
    async with make_house(sqlite_url, mail=Mailbox()) as house:
        await mailed(house, b64encode(b"no mail"))
        assert 0 == await sent(house)
        assert ("failed", 0, "the mail that was kept cannot be read") == await kept(house)
