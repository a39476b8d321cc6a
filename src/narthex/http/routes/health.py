"""Health, for probes and for the SDKs' own test suites, which wait for it (the compatible API's section 11)."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from narthex.base.errors import Rejected, Unavailable
from narthex.http.authenticate import Access
from narthex.http.environment import AnonymousCall, Page
from narthex.http.routing import JSON_TYPE, route
from narthex.ports.mail import Mail

MAIL_IS_ASKED_EVERY_S: Final = 30.0
MAIL_IS_ASKED_FOR_S: Final = 5.0


class SelfTest(Rejected):
    """Somebody asked for a refusal, to see what one looks like."""

    code = "test-error"
    advice = "nothing: this error is made on request"


@route("GET", "/health/http", access=Access.ANONYMOUS, answer=Page)
async def health_http(call: AnonymousCall) -> Page:
    """The process answers. Nothing else is asked."""
    return Page(b"Healthy", b"text/plain; charset=utf-8")


@route("GET", "/health/storage", access=Access.ANONYMOUS, answer=Page)
async def health_storage(call: AnonymousCall) -> Page:
    """The database answers too, or 503."""
    began = perf_counter()
    try:
        await call.root.ping()
    except Unavailable as e:
        report = _report("Unhealthy", began, {"db": {}})
        headers = ((b"retry-after", str(e.retry_after_s).encode()),)
        return msgspec.structs.replace(report, status=503, headers=headers)
    return _report("Healthy", began, {"db": {}})


@route("GET", "/health/mail", access=Access.ANONYMOUS, answer=Page)
async def health_mail(call: AnonymousCall) -> Page:
    """The mail server would take mails, or 503. Without one the results are empty."""
    began = perf_counter()
    if call.mail is None:
        return _report("Healthy", began, {})
    if await _PROBES.setdefault(call.mail, MailProbe()).answers(call.mail):
        return _report("Healthy", began, {"smtp": {}})
    headers = ((b"retry-after", str(int(MAIL_IS_ASKED_EVERY_S)).encode()),)
    return msgspec.structs.replace(_report("Unhealthy", began, {"smtp": {}}), status=503, headers=headers)


class MailProbe:
    """Asks one way out for mail now and then, however often anybody asks us: it is not ours to be worn out."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._asked_at_s: float | None = None
        self._answered = False
        self._turn = asyncio.Lock()

    async def answers(self, mail: Mail) -> bool:
        """Whether mails would be taken, as of `MAIL_IS_ASKED_EVERY_S` ago at most."""
        async with self._turn:
            if self._asked_at_s is None or self._clock() >= self._asked_at_s + MAIL_IS_ASKED_EVERY_S:
                self._answered = await _asked(mail)
                self._asked_at_s = self._clock()
            return self._answered


_PROBES: WeakKeyDictionary[Mail, MailProbe] = WeakKeyDictionary()


async def _asked(mail: Mail) -> bool:
    try:
        async with asyncio.timeout(MAIL_IS_ASKED_FOR_S):
            await mail.check()
    except (Unavailable, TimeoutError):
        return False
    return True


@route("GET", "/health/version", access=Access.ANONYMOUS, answer=Page)
async def health_version(call: AnonymousCall) -> Page:
    """Which build this is."""
    data = {"version": call.version, "python-version": platform.python_version()}
    return _report("Healthy", perf_counter(), {"version": data})


@route("GET", "/health/throw/api", access=Access.ANONYMOUS, answer=Page)
async def health_throw_api(call: AnonymousCall) -> Page:
    """A refusal on purpose."""
    raise SelfTest("this is the refusal that you asked for")


@route("GET", "/health/throw/exception", access=Access.ANONYMOUS, answer=Page)
async def health_throw_exception(call: AnonymousCall) -> Page:
    """An unforeseen error on purpose."""
    raise RuntimeError("somebody asked for an unforeseen error")


def _report(health: str, began: float, results: dict[str, dict[str, Any]]) -> Page:
    elapsed_ms = round((perf_counter() - began) * 1000, 3)
    document = {
        "status": health,
        "elapsedMilliseconds": elapsed_ms,
        "results": {
            name: {"status": health, "elapsedMilliseconds": elapsed_ms, "data": data} for name, data in results.items()
        },
    }
    return Page(msgspec.json.format(msgspec.json.encode(document), indent=2), JSON_TYPE)
