"""Notices: users hear by mail of a new passkey and of a sign-in by magic link, from the act itself or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from narthex.adapters.limits import MemoryLimiter
from narthex.adapters.mail import FileMail
from narthex.ports.mail import Message
from narthex.ports.records import EventType, MailTemplate
from narthex.usecases.call import Caller, OperatorCall
from narthex.usecases.delivery import send_due_deliveries
from tests.http.test_magic_links import (
    SENDER,
    Letters,
    ask,
    follow,
    make_application,
    of_type,
    token_in,
)
from tests.http.test_magic_links import send as send_link
from tests.support.application import (
    Application,
    Ceremonies,
    HouseInProcess,
    MovableClock,
    accepted,
    refused,
)

pytestmark = pytest.mark.anyio

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    return Letters(tmp_path / "mails")


@pytest.fixture
async def house(sqlite_url: str, letters: Letters) -> AsyncIterator[HouseInProcess]:
    mail = FileMail(letters.directory, SENDER)
    async with HouseInProcess(sqlite_url, mail=mail, new_application_hold=timedelta(0)) as house:
        yield house


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    """An application that tells its users of what happens."""
    application = await make_application(house)
    await house.change_settings("demo", notices=True)
    return application


@pytest.fixture
def ceremonies(application: Application) -> Ceremonies:
    return Ceremonies(application)


async def notices(house: HouseInProcess, kind: str, app_id: str = "demo") -> list[Message]:
    """What waits to go out, in the order of its recipients."""
    rows = await house.rows(
        "select content, kind, target, state from delivery where app_id = :app_id and subject = :kind",
        app_id=app_id,
        kind=kind,
    )
    assert all(("mail", b"", "pending") == (row[1], bytes(row[2]), row[3]) for row in rows)
    messages = [msgspec.msgpack.decode(row[0], type=Message) for row in rows]
    return sorted(messages, key=lambda message: message.recipient)


async def told(house: HouseInProcess, kind: str, app_id: str = "demo") -> list[str]:
    return [message.recipient for message in await notices(house, kind, app_id)]


# --- a new passkey ---------------------------------------------------------------------------------------------------


async def test_a_new_passkey_is_told_to_the_aliases_in_clear_that_are_addresses(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    aliases = ["ann@example.org", "ANN@example.org", "nick", "ann@bücher.example"]
    await ceremonies.register("ann", aliases=aliases, aliasHashing=False)
    assert ["ann@example.org", "ann@xn--bcher-kva.example"] == await told(house, "new-passkey")
    message = (await notices(house, "new-passkey"))[0]
    assert ("A new passkey for example.org", "example.org") == (message.subject, message.sender_name)
    assert "Added: 2026-03-04 05:06 UTC" in message.text
    assert "Device: unknown" not in message.text
    lines = await of_type(house, EventType.ApiUserNoticeSent)
    assert [("System", "ann", "notice `new-passkey` is on its way, to 2 of the user's addresses")] == lines


async def test_the_mail_names_the_device_and_nothing_that_is_secret(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    house.client.headers["user-agent"] = FIREFOX
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("ann", noticeEmail="ann@example.org"))
    token = accepted(await ceremonies.complete_registration(begun))["token"]
    (message,) = await notices(house, "new-passkey")
    assert "Device: Firefox, Linux" in message.text
    for secret in (token, begun.session, application.public_key, application.secret_key):
        assert secret not in str(message)


@pytest.mark.parametrize(
    "agent",
    [
        "Visit evil.example now/1",
        "https:evil:example/1",
        "Evil Call 5550100 to undo/1",
        "Evil and a very long story about it that has no end in sight/1",
        "=?utf-8?q?evil?=/1",
        "<b>evil</b>/1",
        "\x7fevil\x1b[2J/1",
    ],
)
async def test_a_browser_cannot_write_to_the_reader_nor_keep_the_notice_away(
    house: HouseInProcess, ceremonies: Ceremonies, agent: str
) -> None:
    own = MailTemplate("new-passkey", "New passkey on $DEVICE", "$DEVICE\n", "<p>$DEVICE</p>")
    await house.change_settings("demo", mail_templates=(own,))
    # Apps of Apple's systems name themselves, and what they say is taken for the browser's name.
    house.client.headers["user-agent"] = f"{agent} CFNetwork/811.4.18 Darwin/16.5.0"
    await ceremonies.register("ann", noticeEmail="ann@example.org")
    (message,) = await notices(house, "new-passkey")
    assert ("New passkey on unknown", "unknown\n", "<p>unknown</p>") == (message.subject, message.text, message.html)


async def test_hashed_aliases_are_told_nothing_for_nobody_can_read_them(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await ceremonies.register("ann", aliases=["ann@example.org"])
    assert [] == await told(house, "new-passkey")
    assert [] == await of_type(house, EventType.ApiUserNoticeSent)


async def test_whoever_was_the_user_until_now_hears_of_the_passkey_that_replaces_the_aliases(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await house.change_settings("demo", notices=False)
    await ceremonies.register("ann", aliases=["ann@example.org"], aliasHashing=False)
    assert [] == await told(house, "new-passkey")
    await house.change_settings("demo", notices=True)
    await ceremonies.register("ann", aliases=["eve@evil.example"], aliasHashing=False)
    assert ["ann@example.org", "eve@evil.example"] == await told(house, "new-passkey")


async def test_an_address_that_the_backend_names_is_told_whatever_the_settings_say(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await house.change_settings("demo", notices=False)
    aliases = ["ann@example.org", "Owner@Example.org"]
    await ceremonies.register("ann", aliases=aliases, aliasHashing=False, noticeEmail="owner@example.org")
    assert ["owner@example.org"] == await told(house, "new-passkey")


@pytest.mark.parametrize("address", ["ann", "ann@example.org\r\nBcc: eve@evil.example", "Ann <ann@example.org>"])
async def test_an_address_that_is_none_is_refused_with_the_leave(ceremonies: Ceremonies, address: str) -> None:
    problem = refused(await ceremonies.ask_leave(noticeEmail=address), 400, "validation_failed")
    assert {"noticeEmail": ["The NoticeEmail field is not a valid e-mail address."]} == problem["errors"]


async def test_an_address_that_a_browser_names_is_told_nothing(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    leave = await ceremonies.give_leave("ann")
    begun = await ceremonies.begin_registration(leave, noticeEmail="eve@evil.example")
    accepted(await ceremonies.complete_registration(begun, noticeEmail="eve@evil.example"))
    assert [] == await told(house, "new-passkey")


async def test_a_registration_that_fails_is_told_to_nobody(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("ann", noticeEmail="ann@example.org"))
    refused(
        await ceremonies.complete_registration(begun, origin="https://evil.example"),
        400,
        "fido2_invalid_registration",
    )
    assert [] == await told(house, "new-passkey")


async def test_of_two_that_complete_one_registration_one_is_told_of(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("ann", noticeEmail="ann@example.org"))
    body = ceremonies.registration_body(begun)
    answers = await asyncio.gather(*(ceremonies.application.public("/register/complete", body) for _ in range(4)))
    assert [200, 400, 400, 400] == sorted(answer.status_code for answer in answers)
    assert ["ann@example.org"] == await told(house, "new-passkey")


async def test_without_a_mail_server_nothing_waits_for_one(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url) as house:
        ceremonies = Ceremonies(await make_application(house))
        await house.change_settings("demo", notices=True)
        await ceremonies.register("ann", noticeEmail="ann@example.org")
        assert [] == await told(house, "new-passkey")


async def test_a_notice_is_not_held_up_by_any_limit(sqlite_url: str, letters: Letters) -> None:
    """Whoever could use one up would act unseen."""
    mail, limiter = FileMail(letters.directory, SENDER), MemoryLimiter(MovableClock())
    async with HouseInProcess(sqlite_url, mail=mail, limiter=limiter, new_application_hold=timedelta(0)) as house:
        ceremonies = Ceremonies(await make_application(house))
        for _ in range(5):
            await ceremonies.register("ann", noticeEmail="ann@example.org")
        assert ["ann@example.org"] * 5 == await told(house, "new-passkey")


async def test_the_notice_reaches_the_mailbox_when_what_is_due_is_sent(
    house: HouseInProcess, ceremonies: Ceremonies, letters: Letters
) -> None:
    await ceremonies.register("ann", noticeEmail="ann@example.org")
    assert [] == letters.all()
    env = house.env
    call = OperatorCall(
        root=env.root,
        directory=env.directory,
        keyring=env.keyring,
        random=env.random,
        now=env.clock.now(),
        caller=Caller(),
        catalog=env.catalog,
        facilities=env.facilities,
    )
    assert 1 == await send_due_deliveries(call)
    mail = letters.last()
    assert ("ann@example.org", "A new passkey for example.org") == (mail["To"], mail["Subject"])
    assert 0 == await send_due_deliveries(call)


# --- a sign-in by a link from a mail ---------------------------------------------------------------------------------


async def give_aliases(house: HouseInProcess, application: Application, *aliases: str) -> None:
    """Ann has these aliases in clear, and a passkey of which she was not told."""
    await house.change_settings("demo", notices=False)
    await Ceremonies(application).register("ann", aliases=list(aliases), aliasHashing=False)
    await house.change_settings("demo", notices=True)


async def test_a_sign_in_by_magic_link_is_told_once_the_backend_has_verified_it(
    house: HouseInProcess, application: Application, letters: Letters
) -> None:
    await give_aliases(house, application, "ann@example.org", "ann@example.net")
    await send_link(application, locale="de")
    house.client.headers["user-agent"] = FIREFOX
    token = token_in(await follow(house, letters.link()))
    assert [] == await told(house, "recovery")
    accepted(await application.secret("/signin/verify", {"token": token}))
    assert ["ann@example.net", "ann@example.org"] == await told(house, "recovery")
    message = (await notices(house, "recovery"))[0]
    assert "Anmeldung bei shop.example.org mit einem Link aus einer E-Mail" == message.subject
    assert "Gerät: Firefox, Linux" in message.text
    assert token not in str(message)
    refused(await application.secret("/signin/verify", {"token": token}), 400, "token_already_used")
    assert 2 == len(await told(house, "recovery"))
    lines = await of_type(house, EventType.ApiUserNoticeSent)
    assert [("System", "ann", "notice `recovery` is on its way, to 2 of the user's addresses")] == lines


async def test_a_link_without_confirmation_knows_no_device(
    house: HouseInProcess, application: Application, letters: Letters
) -> None:
    await give_aliases(house, application, "ann@example.org")
    await house.change_settings("demo", magic_link_confirmation=False)
    await send_link(application)
    accepted(await application.secret("/signin/verify", {"token": token_in(letters.link())}))
    (message,) = await notices(house, "recovery")
    assert "Device: unknown" in message.text


async def test_a_sign_in_with_a_passkey_or_by_hand_is_no_recovery(
    house: HouseInProcess, application: Application
) -> None:
    await give_aliases(house, application, "ann@example.org")
    by_hand = accepted(await application.secret("/signin/generate-token", {"userId": "ann"}))["token"]
    ceremonies = Ceremonies(application)
    for token in (by_hand, await ceremonies.register("bob")):
        await ceremonies.verify(token)
    assert [] == await told(house, "recovery")


async def test_only_the_user_of_this_application_is_told(
    house: HouseInProcess, application: Application, letters: Letters
) -> None:
    other = await make_application(house, "other")
    await Ceremonies(other).register("ann", aliases=["other@example.org"], aliasHashing=False)
    await house.change_settings("other", notices=True)
    await give_aliases(house, application, "ann@example.org")
    await send_link(application)
    accepted(await application.secret("/signin/verify", {"token": token_in(await follow(house, letters.link()))}))
    assert (["ann@example.org"], []) == (await told(house, "recovery"), await told(house, "recovery", "other"))


async def test_a_token_that_may_be_verified_twice_is_told_of_once_a_minute(sqlite_url: str, letters: Letters) -> None:
    clock = MovableClock()
    mail = FileMail(letters.directory, SENDER)
    async with HouseInProcess(
        sqlite_url, mail=mail, limiter=MemoryLimiter(clock), new_application_hold=timedelta(0)
    ) as house:
        application = await make_application(house)
        await give_aliases(house, application, "ann@example.org")
        await house.change_settings("demo", single_use_verify_tokens=False)
        assert 204 == (await ask(application)).status_code
        token = token_in(await follow(house, letters.link()))
        for _ in range(3):
            accepted(await application.secret("/signin/verify", {"token": token}))
        assert ["ann@example.org"] == await told(house, "recovery")
        clock.move(seconds=60)
        accepted(await application.secret("/signin/verify", {"token": token}))
        assert ["ann@example.org"] * 2 == await told(house, "recovery")
