"""Sending what is to go out: messages to webhooks (Standard Webhooks 1.0), and mails that nobody waits for.

A delivery is kept in the act that causes it, and taken by one server at a time for less than a minute. A server that
dies between sending and writing down that it sent leaves it to the next, so a receiver may be told twice, each time
with the same `webhook-id`; it is never told of what was not kept. No order is promised.

Receivers are strangers, and some are slow. Each has a lane of its own in which two are sent at a time; an application
has so many at a time, and those who do not answer share a part of all: nobody's receiver holds up everybody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hmac
from base64 import b64encode
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec

from narthex.ports.changes import Change, NoteWebhookHealth, SettleDelivery
from narthex.ports.egress import AddressNotAllowed, AddressUnreachable
from narthex.ports.environment import Random
from narthex.ports.mail import MailUnavailable, Message
from narthex.ports.records import Delivery, DeliveryKind, DeliveryState, Webhook
from narthex.usecases.call import OperatorCall
from narthex.usecases.stopwatch import Stopwatch
from narthex.usecases.tenant import Tenant
from narthex.usecases.webhook import disable_webhook
from narthex.usecases.webhook_secret import signing_secrets

_S: Final = timedelta(seconds=1)
_MIN: Final = timedelta(minutes=1)
_H: Final = timedelta(hours=1)

TIMEOUT_S: Final = 15.0
"""For a receiver's whole answer, as Standard Webhooks recommends 15 to 30 s."""
WAITS: Final = {
    DeliveryKind.WEBHOOK: (5 * _S, 5 * _MIN, 30 * _MIN, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H),
    DeliveryKind.MAIL: (1 * _MIN, 5 * _MIN, 30 * _MIN, 2 * _H, 6 * _H),
}
"""How long after each try that failed the next one follows, and up to a tenth longer. After the last, no other does."""
DISABLED_AFTER: Final = timedelta(days=5)
"""So long may nothing get through to a webhook."""
_TRIES_BEFORE_DISABLING: Final = 5
"""Of the very delivery: one bad minute, years after the last event, disables nothing."""

MOST_AT_ONCE: Final = 32
MOST_OF_FAILING: Final = 16
"""To all receivers together to whom the last deliveries did not get through."""
MOST_OF_APPLICATION: Final = 4
MOST_OF_LANE: Final = 2
_MOST_WAITING_IN_LANE: Final = 256
_MOST_WAITING_OF_APPLICATION: Final = 512
"""In all its lanes: whoever has twenty webhooks must not have all the room there is, and others behind them."""
_MOST_WAITING: Final = 4_096
_MOST_CLAIMED: Final = 256

_SHIFT: Final = timedelta(minutes=5)
"""A machine that sleeps stops the stopwatch: the clock is read anew at least so often, or signatures grow stale."""
_LOOK_AGAIN_AFTER_S: Final = 1.0
_BEGUN_WITHIN: Final = timedelta(seconds=20)
_TAKEN_FOR: Final = timedelta(seconds=45)
"""A try takes 20 s at most, a mail's: whoever begins in time is done before anybody else may take it."""
_PACE: Final = timedelta(milliseconds=40)
"""Of a receiver that was not tried yet."""
_BACK_AFTER_AT_LEAST: Final = timedelta(seconds=1)
_BACK_AFTER_AT_MOST: Final = timedelta(seconds=30)

GONE: Final = 410
_NOT_REACHED: Final = "the address leads nowhere that this server goes to: the name is not known, or it is not public"
"""One sentence for both, or whoever may name an address could ask which names our own network knows."""
_TOLD_OF_THE_REACHED: Final = ("under TLS", "in time", "in HTTP", "no connections", "breaks the connection off")


async def send_due_deliveries(call: OperatorCall) -> int:
    """Send what is due, and what becomes due while something is still under way; says how many tries there were.

    May be cancelled at any time: what was under way is sent again, by anybody, less than a minute later.

    Raises:
        StoreUnavailable, or what else nobody foresaw; after all that could be done was done.
    """
    shift = _Shift(call)
    try:
        await shift.work()
    finally:
        await shift.end()
    if shift.surprise is not None:
        raise shift.surprise
    return shift.tries


# --- who sends when ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Taken:
    """A delivery that is ours for a while."""

    delivery: Delivery
    begin_by: datetime


@dataclass(slots=True)
class _Lane:
    """What waits for one receiver."""

    waiting: deque[_Taken] = field(default_factory=deque)
    senders: int = 0
    pace: timedelta = _PACE
    """How long the last try took."""

    @property
    def is_full(self) -> bool:
        return len(self.waiting) >= _MOST_WAITING_IN_LANE

    @property
    def busy_for(self) -> timedelta:
        """How long those that wait in it will take, as far as we can tell: others need not come back before."""
        return self.pace * len(self.waiting) / MOST_OF_LANE


class _Shift:
    """Some minutes of sending in one process."""

    def __init__(self, call: OperatorCall) -> None:
        self.tries = 0
        self.surprise: Exception | None = None
        self._call = call
        self._clock = Stopwatch(call.now)
        self._ends_at = call.now + _SHIFT
        self._lanes: dict[tuple[str, bytes], _Lane] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._room_of_failing = asyncio.Semaphore(MOST_OF_FAILING)
        self._room_of_application: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MOST_OF_APPLICATION)
        )

    async def work(self) -> None:
        while True:
            claimed = await self._claim()
            for app_id, changes in self._line_up(claimed).items():
                with self._surprises():
                    await self._call.root.tenant(app_id).commit(*changes)
            if not claimed and not self._senders:
                return
            # What is left of a long queue is looked at without a pause: others may stand behind it.
            if self._senders and len(claimed) < _MOST_CLAIMED:
                await asyncio.wait(self._senders, timeout=_LOOK_AGAIN_AFTER_S)

    async def end(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _claim(self) -> Sequence[tuple[str, Delivery]]:
        now = self._clock.now()
        waiting = sum(len(lane.waiting) for lane in self._lanes.values())
        if now >= self._ends_at or waiting >= _MOST_WAITING:
            return ()
        return await self._call.root.claim_deliveries(now=now, busy_until=now + _TAKEN_FOR, most=_MOST_CLAIMED)

    def _line_up(self, claimed: Iterable[tuple[str, Delivery]]) -> Mapping[str, Sequence[Change]]:
        """Let deliveries wait in their receivers' lanes; those that find them full wait outside, by application."""
        now, outside = self._clock.now(), defaultdict[str, list[Change]](list)
        waiting, busy_for = Counter[str](), functools.cache(self._busy_for)
        for (app_id, _), lane in self._lanes.items():
            waiting[app_id] += len(lane.waiting)
        for app_id, delivery in claimed:
            key = (app_id, delivery.target)
            lane = self._lanes.setdefault(key, _Lane())
            # An empty lane takes one in any case: mails are not to wait until the webhooks beside them answer.
            is_full = lane.is_full or (lane.waiting and waiting[app_id] >= _MOST_WAITING_OF_APPLICATION)
            if is_full:
                outside[app_id].append(_untouched(delivery, next_try_at=now + busy_for(key)))
                continue
            lane.waiting.append(_Taken(delivery, now + _BEGUN_WITHIN))
            waiting[app_id] += 1
            if lane.senders < MOST_OF_LANE:
                self._open(key, lane)
        return outside

    def _busy_for(self, key: tuple[str, bytes]) -> timedelta:
        """When there may be room again in a lane, for one who found none."""
        lanes = [each for (app_id, _), each in self._lanes.items() if app_id == key[0]]
        of_all = sum((each.pace * len(each.waiting) for each in lanes), timedelta(0)) / MOST_OF_APPLICATION
        return min(max(self._lanes[key].busy_for, of_all, _BACK_AFTER_AT_LEAST), _BACK_AFTER_AT_MOST)

    def _open(self, key: tuple[str, bytes], lane: _Lane) -> None:
        lane.senders += 1
        sender = asyncio.create_task(self._serve(key, lane))
        self._senders.add(sender)
        sender.add_done_callback(self._senders.discard)

    async def _serve(self, key: tuple[str, bytes], lane: _Lane) -> None:
        try:
            while lane.waiting:
                taken = lane.waiting.popleft()
                if not await self._sent(key[0], lane, taken):
                    await self._give_back(key[0], [taken, *self._late(lane)])
        finally:
            lane.senders -= 1
            if not lane.senders:
                del self._lanes[key]

    def _late(self, lane: _Lane) -> list[_Taken]:
        """Take what waited too long out of a lane: it is in the order in which it came."""
        late, now = [], self._clock.now()
        while lane.waiting and lane.waiting[0].begin_by <= now:
            late.append(lane.waiting.popleft())
        return late

    async def _give_back(self, app_id: str, those: Iterable[_Taken]) -> None:
        """Let go of deliveries whose turn did not come, before another server takes them for abandoned."""
        at = self._clock.now() + _BACK_AFTER_AT_MOST
        with self._surprises():
            await self._call.root.tenant(app_id).commit(
                *(_untouched(taken.delivery, next_try_at=at) for taken in those)
            )

    async def _sent(self, app_id: str, lane: _Lane, taken: _Taken) -> bool:
        """Whether a delivery was dealt with; not if its turn came too late."""
        with self._surprises():
            tenant = await self._call.directory.find(app_id, now=self._clock.now())
            if tenant is None:
                return True  # What is to go out has gone with its application.
            webhook = _webhook_of(tenant, taken.delivery)
            async with self._turn(app_id, webhook):
                now = self._clock.now()
                if now >= taken.begin_by:
                    return False
                tried = await self._try(tenant, webhook, taken.delivery, now=now)
                lane.pace = self._clock.now() - now
            self.tries += tried.counts
            await self._settle(tenant, webhook, taken.delivery, tried)
        return True

    @contextlib.asynccontextmanager
    async def _turn(self, app_id: str, webhook: Webhook | None) -> AsyncIterator[None]:
        """Wait until there is room for one more."""
        is_failing = webhook is not None and webhook.failing_since is not None
        # The application's own room first: what waits in there takes no room from others.
        async with (
            self._room_of_application[app_id],
            self._room_of_failing if is_failing else contextlib.nullcontext(),
            self._room,
        ):
            yield

    @contextlib.contextmanager
    def _surprises(self) -> Iterator[None]:
        """The edge of the background: what nobody foresaw is told in the end, and ends the try of nobody else.

        The delivery comes back by itself.
        """
        try:
            yield
        except Exception as e:
            self.surprise = self.surprise or e

    async def _try(self, tenant: Tenant, webhook: Webhook | None, delivery: Delivery, *, now: datetime) -> _Tried:
        try:
            if delivery.kind is DeliveryKind.MAIL:
                return await _send_mail(self._call, delivery)
            return await _send_to_webhook(self._call, tenant, webhook, delivery, now=now)
        except Exception as e:
            # It counts as a try, or a delivery that nobody can send would be tried for ever.
            self.surprise = self.surprise or e
            return _Tried(f"this server could not send it: {type(e).__name__}")

    async def _settle(self, tenant: Tenant, webhook: Webhook | None, delivery: Delivery, tried: _Tried) -> None:
        now, app_id = self._clock.now(), tenant.application.app_id
        settled = _settled(delivery, tried, now=now, random=self._call.random)
        health = _health(webhook, tried, now=now)
        await self._call.root.tenant(app_id).commit(settled, *health)
        if health:
            self._call.directory.forget(app_id)
        why = _reason_to_disable(webhook, settled, now=now)
        if webhook is not None and why:
            await disable_webhook(dataclasses.replace(self._call, now=now).within(tenant), webhook, why)


# --- one try ----------------------------------------------------------------------------------------------------------


class _Tried(msgspec.Struct, frozen=True):
    """How a try went."""

    problem: str = ""
    """Empty: it got there."""
    status: int | None = None
    is_final: bool = False
    """Whether there is no use in another try."""
    counts: bool = True
    """Whether something was tried at all."""


def _untouched(delivery: Delivery, *, next_try_at: datetime) -> SettleDelivery:
    return SettleDelivery(
        delivery_id=delivery.delivery_id,
        tries=delivery.tries,
        state=DeliveryState.PENDING,
        status=delivery.status,
        problem=delivery.problem,
        next_try_at=next_try_at,
        settled_at=None,
    )


def _given_up(problem: str) -> _Tried:
    return _Tried(problem, is_final=True, counts=False)


async def _send_mail(call: OperatorCall, delivery: Delivery) -> _Tried:
    if call.facilities.mail is None:
        return _given_up("no mail is set up")
    try:
        message = msgspec.msgpack.decode(delivery.content, type=Message)
    except msgspec.MsgspecError:
        return _given_up("the mail that was kept cannot be read")
    try:
        await call.facilities.mail.send(message)
    except MailUnavailable as e:
        return _Tried(e.message)
    return _Tried()


async def _send_to_webhook(
    call: OperatorCall, tenant: Tenant, webhook: Webhook | None, delivery: Delivery, *, now: datetime
) -> _Tried:
    if webhook is None:
        return _given_up("the webhook was deleted")
    if not webhook.enabled:
        return _given_up("the webhook is disabled")
    if call.facilities.egress is None:
        return _given_up("this server sends nothing to other addresses")
    secrets = signing_secrets(call.keyring, tenant.application.app_id, webhook, now=now)
    headers = signed_headers(delivery, secrets, now=now)
    try:
        reply = await call.facilities.egress.post(
            webhook.url, headers=headers, body=delivery.content, timeout_s=TIMEOUT_S
        )
    except AddressNotAllowed:
        return _Tried(_NOT_REACHED)
    except AddressUnreachable as e:
        return _Tried(e.message if any(told in e.message for told in _TOLD_OF_THE_REACHED) else _NOT_REACHED)
    return _answered(reply.status)


def _answered(status: int) -> _Tried:
    if 200 <= status < 300:
        return _Tried(status=status)
    if status == GONE:
        return _Tried("the receiver answers 410: it wants nothing more", status, is_final=True)
    redirects = "; redirects are not followed" if 300 <= status < 400 else ""
    return _Tried(f"the receiver answers {status}{redirects}", status)


def message_id(delivery: Delivery) -> str:
    """The same at every try: receivers know by it what they had already."""
    return f"msg_{delivery.delivery_id.hex()}"


def signed_headers(delivery: Delivery, secrets: Sequence[bytes], *, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks: HMAC-SHA-256 over id, seconds and body, with full stops between them."""
    name, seconds = message_id(delivery), str(int(now.timestamp()))
    signed = f"{name}.{seconds}.".encode() + delivery.content
    signatures = (b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets)
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


# --- what becomes of it -----------------------------------------------------------------------------------------------


def _settled(delivery: Delivery, tried: _Tried, *, now: datetime, random: Random) -> SettleDelivery:
    tries, waits = delivery.tries + tried.counts, WAITS[delivery.kind]
    if not tried.problem:
        state, next_try_at = DeliveryState.DELIVERED, now
    elif tried.is_final or tries > len(waits):
        state, next_try_at = DeliveryState.FAILED, now
    else:
        state, next_try_at = DeliveryState.PENDING, now + _prolonged(waits[tries - 1], random)
    return SettleDelivery(
        delivery_id=delivery.delivery_id,
        tries=tries,
        state=state,
        status=tried.status,
        problem=tried.problem,
        next_try_at=next_try_at,
        settled_at=None if state is DeliveryState.PENDING else now,
    )


def _prolonged(wait: timedelta, random: Random) -> timedelta:
    """By a tenth at most, as chance will have it: what failed together does not come back together."""
    return wait * (1 + int.from_bytes(random(4)) / 2**32 / 10)


def _health(webhook: Webhook | None, tried: _Tried, *, now: datetime) -> list[Change]:
    if webhook is None or not tried.counts or bool(tried.problem) is (webhook.failing_since is not None):
        return []
    return [NoteWebhookHealth(webhook.webhook_id, now if tried.problem else None)]


def _reason_to_disable(webhook: Webhook | None, settled: SettleDelivery, *, now: datetime) -> str:
    if webhook is None or not webhook.enabled:
        return ""
    if settled.status == GONE:
        return "the receiver answers 410"
    since = webhook.failing_since
    if since is None or not settled.problem or settled.tries < _TRIES_BEFORE_DISABLING or now < since + DISABLED_AFTER:
        return ""
    return f"nothing has got through for {DISABLED_AFTER.days} days"


def _webhook_of(tenant: Tenant, delivery: Delivery) -> Webhook | None:
    if delivery.kind is not DeliveryKind.WEBHOOK:
        return None
    return next((each for each in tenant.application.webhooks if each.webhook_id == delivery.target), None)
