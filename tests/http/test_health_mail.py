"""`/health/mail`: whether mails would go, without wearing the mail server out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from narthex.adapters.mail import FileMail, SmtpMail
from narthex.http.routes.health import MAIL_IS_ASKED_EVERY_S, MailProbe
from narthex.ports.mail import MailUnavailable, Message
from tests.adapters.test_mail import Office, post_office
from tests.support.application import HouseInProcess

pytestmark = pytest.mark.anyio

SENDER = "passkeys@narthex.test"


class Asked:
    """A way out for mail that counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0
        self.answers = True

    async def send(self, message: Message) -> None:
        raise AssertionError("nothing is sent to see whether mails would go")

    async def check(self) -> None:
        self.times += 1
        await asyncio.sleep(0)
        if not self.answers:
            raise MailUnavailable("nobody answers")


async def test_a_mail_server_that_answers_is_healthy(sqlite_url: str) -> None:
    async with (
        post_office(Office()) as port,
        HouseInProcess(sqlite_url, mail=SmtpMail(f"smtp://127.0.0.1:{port}", SENDER)) as house,
    ):
        response = await house.get("/health/mail")
        assert 200 == response.status_code
        report = response.json()
        assert ("Healthy", ["smtp"]) == (report["status"], list(report["results"]))
        entry = report["results"]["smtp"]
        assert ("Healthy", {}) == (entry["status"], entry["data"])
        assert entry["elapsedMilliseconds"] >= 0


async def test_one_that_does_not_is_unhealthy_and_nothing_is_told_of_it(sqlite_url: str) -> None:
    async with post_office(Office()) as port:
        pass
    async with HouseInProcess(sqlite_url, mail=SmtpMail(f"smtp://127.0.0.1:{port}", SENDER)) as house:
        response = await house.get("/health/mail")
        assert (503, "30") == (response.status_code, response.headers["retry-after"])
        report = response.json()
        assert ("Unhealthy", "Unhealthy") == (report["status"], report["results"]["smtp"]["status"])
        assert str(port) not in response.text
        assert "127.0.0.1" not in response.text


async def test_a_directory_that_can_be_written_is_healthy(sqlite_url: str, tmp_path: Path) -> None:
    async with HouseInProcess(sqlite_url, mail=FileMail(tmp_path / "mails", SENDER)) as house:
        assert 200 == (await house.get("/health/mail")).status_code
        assert [] == list((tmp_path / "mails").iterdir())


async def test_without_mail_there_is_nothing_to_report(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url) as house:
        response = await house.get("/health/mail")
        assert (200, {}) == (response.status_code, response.json()["results"])


async def test_anybodys_questions_reach_the_mail_server_once_in_a_while(sqlite_url: str) -> None:
    mail = Asked()
    async with HouseInProcess(sqlite_url, mail=mail) as house:
        answers = await asyncio.gather(*(house.get("/health/mail") for _ in range(50)))
        assert {200} == {answer.status_code for answer in answers}
        assert 1 == mail.times


async def test_a_server_that_falls_silent_is_noticed_in_time() -> None:
    mail, now_s = Asked(), [100.0]
    probe = MailProbe(lambda: now_s[0])
    assert await probe.answers(mail)
    mail.answers = False
    now_s[0] += MAIL_IS_ASKED_EVERY_S - 0.1
    assert await probe.answers(mail)
    now_s[0] += 0.1
    assert not await probe.answers(mail)
    mail.answers = True
    assert not await probe.answers(mail)
    assert 2 == mail.times
