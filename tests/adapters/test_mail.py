"""Handing mails over: to real servers on this machine, honest and otherwise, and to files."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import ssl
import stat
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from narthex.adapters.mail import MOST_AT_ONCE, ConsoleMail, FileMail, MailSettingRefused, SmtpMail, open_mail
from narthex.base.errors import Refusal
from narthex.base.mail import MailAddressInvalid, MailFieldInvalid
from narthex.ports.mail import MailRefused, MailUnavailable, Message
from tests.support.metadata import Authority, authority

pytestmark = pytest.mark.anyio

SENDER = "narthex@example.com"
PASSWORD = "hunter2 is not good"
MESSAGE = Message(
    recipient="jo@example.org",
    sender_name="Example Shop",
    subject="Sign in to example.com",
    text="Open\n\nhttps://example.com/?token=abc&x=1\n",
    html="<p>Open <a href='https://example.com/?token=abc&amp;x=1'>this</a>\n",
)
CONTROLS = ["\r", "\n", "\r\n", "\0", "\x0b", "\x1b", "\x7f", "\x85", "\u2028"]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def message(**more: str) -> Message:
    return msgspec.structs.replace(MESSAGE, **more)


def parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return found.get_content().replace("\r\n", "\n")


# --- an honest server ---------------------------------------------------------------------------------------------


class Office:
    """What a mail server has been given, and what it answers."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.at_once = 0
        self.most_at_once = 0
        self.answers: dict[str, str] = {}
        self.logins: list[bytes] = []
        self.with_tls: list[bool] = []
        self.names: list[str | None] = []

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from, envelope.mail_options = address, options
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0.02)
        self.at_once -= 1
        self.letters.append(envelope)
        self.with_tls.append(session.ssl is not None)
        self.names.append(session.host_name)
        return self.answers.get("DATA", "250 OK")

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword
    ) -> AuthResult:
        self.logins.append(login.login)
        right = (login.login, login.password) == (b"us@er", PASSWORD.encode())
        return AuthResult(success=right, handled=False, auth_data=login if right else None)

    def letter(self) -> Envelope:
        (letter,) = self.letters
        return letter

    def mail(self) -> EmailMessage:
        content = self.letter().original_content
        assert content is not None
        return parsed(content)


@asynccontextmanager
async def post_office(
    office: Office, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", **more: Any
) -> AsyncIterator[int]:
    """An aiosmtpd in this loop; gives its port. `tls` is from the first byte on, `tls_context` for STARTTLS."""
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def answer() -> SMTP:
        connections.append(SMTP(office, loop=loop, hostname="mx.test", **more))
        return connections[-1]

    server = await loop.create_server(answer, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            if connection.transport is not None:
                connection.transport.close()
        await asyncio.sleep(0.01)
        await server.wait_closed()


@asynccontextmanager
async def scripted(talk: Talk) -> AsyncIterator[int]:
    """A server that does whatever the test says; gives its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def lines(*answers: str) -> Talk:
    """Greets with the first answer, then gives one to each line; after the last, closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()
            if not await reader.readline():
                return

    return talk


def silent_after(*answers: str) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await lines(*answers)(reader, writer)
        await reader.read()

    return talk


async def refusal(mail: SmtpMail, what: Message | None = MESSAGE) -> MailUnavailable:
    with pytest.raises(MailUnavailable) as caught:
        await (mail.send(what) if what else mail.check())
    shown = "".join(traceback.format_exception(caught.value)) + repr(mail)
    assert PASSWORD not in shown
    assert "localhost" not in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    assert not caught.value.message.endswith(".")
    assert caught.value.advice
    return caught.value


# --- certificates -------------------------------------------------------------------------------------------------


class Certificates:
    """An authority of our own in a file, and what a server shows."""

    def __init__(self, folder: Path) -> None:
        root = authority("mail test root")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(root.certificate.public_bytes(Encoding.PEM))
        other = authority("another mail test root")
        self.other_ca = folder / "other.pem"
        self.other_ca.write_bytes(other.certificate.public_bytes(Encoding.PEM))
        self.localhost = self._server(folder, root.issue("localhost", ca=False, dns_names=["localhost"]))
        self.elsewhere = self._server(folder, root.issue("elsewhere", ca=False, dns_names=["mail.example.com"]))

    @staticmethod
    def _server(folder: Path, shown: Authority) -> ssl.SSLContext:
        both = folder / "server.pem"
        key = shown.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        both.write_bytes(key + shown.certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


USER = f"us%40er:{PASSWORD.replace(' ', '%20')}@"


async def test_a_mail_arrives_as_text_and_html(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(MESSAGE)
    mail = office.mail()
    assert (SENDER, ["jo@example.org"]) == (office.letter().mail_from, office.letter().rcpt_tos)
    assert "Example Shop <narthex@example.com>" == mail["From"]
    assert "jo@example.org" == mail["To"]
    assert MESSAGE.subject == mail["Subject"]
    assert "auto-generated" == mail["Auto-Submitted"]
    assert mail["Message-ID"].endswith("@example.com>")
    assert mail["Date"].datetime is not None
    assert "multipart/alternative" == mail.get_content_type()
    assert MESSAGE.text == part(mail, "plain")
    assert MESSAGE.html == part(mail, "html")
    assert ["example.com"] == office.names


async def test_a_mail_without_html_is_plain(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://localhost:{port}", SENDER).send(message(html=""))
    assert "text/plain" == office.mail().get_content_type()


async def test_lines_that_begin_with_a_dot_or_are_long_arrive_whole(anyio_backend: Any) -> None:
    office = Office()
    text = f".\n..\n.x\nhttps://example.com/{'x' * 2000}?a=b\nFrom here on ü\n"
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(message(text=text, html=text.replace("ü", "u")))
    assert (text, text.replace("ü", "u")) == (part(office.mail(), "plain"), part(office.mail(), "html"))
    assert office.letter().original_content is not None
    assert all(len(line) <= 998 for line in office.letter().original_content.split(b"\r\n"))
    assert office.letter().original_content.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "Müller, GmbH",
        'Jo "J" <mallory@evil.example>',
        "a@b.example, c",
        "株式会社" * 30,
        "(a) \\ b;",
        "",
        "Ж, " * 40 + "Ж",
    ],
)
async def test_any_name_leaves_one_sender_and_comes_back(anyio_backend: Any, name: str) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(message(sender_name=name, subject=f"An {name}"))
    (sender,) = office.mail()["From"].addresses
    assert SENDER == sender.addr_spec
    # The newer parser of Python 3.11 puts spaces between encoded words; the older one reads them as RFC 2047 says.
    raw = email.message_from_bytes(office.letter().original_content or b"")["From"]
    assert name == str(make_header(decode_header(parseaddr(raw)[0])))
    assert f"An {name}" == office.mail()["Subject"]
    assert office.letter().original_content is not None
    assert office.letter().original_content.isascii()


async def test_an_international_domain_travels_in_punycode(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(message(recipient="jo@straße.example"))
    assert ["jo@xn--strae-oqa.example"] == office.letter().rcpt_tos
    assert "jo@xn--strae-oqa.example" == office.mail()["To"]


async def test_a_name_outside_ascii_goes_where_the_server_takes_it(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office, enable_SMTPUTF8=True) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(message(recipient="jürgen@example.org"))
    assert ["jürgen@example.org"] == office.letter().rcpt_tos
    assert "SMTPUTF8" in office.letter().mail_options
    assert office.letter().original_content is not None
    assert "To: jürgen@example.org\r\n".encode() in office.letter().original_content


async def test_a_name_outside_ascii_is_refused_where_the_server_does_not(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        mail = SmtpMail(f"smtp://127.0.0.1:{port}", SENDER)
        assert isinstance(await refusal(mail, message(recipient="jürgen@example.org")), MailRefused)
    assert not office.letters


@pytest.mark.parametrize("recipient", ["a..b@example.org", ".a@example.org", "a.@example.org", "-o'x{1}|y@example.org"])
async def test_odd_recipients_are_asked_for_as_they_are(anyio_backend: Any, recipient: str) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(message(recipient=recipient))
    assert [recipient] == office.letter().rcpt_tos
    assert office.letter().original_content is not None
    assert f"\r\nTo: {recipient}\r\n".encode() in office.letter().original_content


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("field", ["subject", "sender_name", "recipient"])
async def test_a_header_cannot_begin_another(anyio_backend: Any, field: str, control: str) -> None:
    office = Office()
    bent = message(**{field: f"{getattr(MESSAGE, field)}{control}Bcc: mallory@evil.example"})
    async with post_office(office) as port:
        with pytest.raises((MailFieldInvalid, MailAddressInvalid)):
            await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(bent)
    assert not office.letters


@pytest.mark.parametrize("body", ["text", "html"])
@pytest.mark.parametrize("control", ["\0", "\r", "\x1b[2J"])
async def test_a_body_has_no_controls(anyio_backend: Any, body: str, control: str) -> None:
    with pytest.raises(MailFieldInvalid):
        await SmtpMail("smtp://127.0.0.1:1", SENDER).send(message(**{body: f"a{control}b"}))


async def test_a_few_mails_travel_at_once_and_no_more(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        mail = SmtpMail(f"smtp://127.0.0.1:{port}", SENDER)
        await asyncio.gather(*(mail.send(MESSAGE) for _ in range(3 * MOST_AT_ONCE)))
    assert 3 * MOST_AT_ONCE == len(office.letters)
    assert 1 < office.most_at_once <= MOST_AT_ONCE
    assert 3 * MOST_AT_ONCE == len({parsed(letter.original_content or b"")["Message-ID"] for letter in office.letters})


async def test_a_check_sends_nothing(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).check()
    assert not office.letters


# --- TLS and logins -----------------------------------------------------------------------------------------------


async def test_a_mail_travels_under_tls_from_the_first_byte(anyio_backend: Any, certificates: Certificates) -> None:
    office = Office()
    # aiosmtpd counts only its own STARTTLS as TLS, so it is told that a login needs none.
    async with post_office(
        office, tls=certificates.localhost, authenticator=office.authenticate, auth_require_tls=False
    ) as port:
        await SmtpMail(f"smtps://{USER}localhost:{port}?ca={certificates.ca}", SENDER).send(MESSAGE)
    assert ["us@er"] == [login.decode() for login in office.logins]
    assert office.letter()


async def test_a_mail_travels_under_starttls(anyio_backend: Any, certificates: Certificates) -> None:
    office = Office()
    async with post_office(
        office, tls_context=certificates.localhost, require_starttls=True, authenticator=office.authenticate
    ) as port:
        mail = SmtpMail(f"smtp://{USER}localhost:{port}?starttls=on&ca={certificates.ca}", SENDER)
        await mail.check()
        await mail.send(MESSAGE)
    assert [True] == office.with_tls
    assert [b"us@er", b"us@er"] == office.logins


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
@pytest.mark.parametrize("wrong", ["authority", "name", "world"])
async def test_a_certificate_that_is_not_the_servers_is_refused(
    anyio_backend: Any, certificates: Certificates, scheme: str, wrong: str
) -> None:
    office = Office()
    shown = certificates.elsewhere if wrong == "name" else certificates.localhost
    ca = {"authority": f"ca={certificates.other_ca}", "name": f"ca={certificates.ca}", "world": ""}[wrong]
    how: dict[str, Any] = {"tls": shown} if scheme == "smtps" else {"tls_context": shown}
    options = ca if scheme == "smtps" else f"starttls=on&{ca}".rstrip("&")
    async with post_office(office, authenticator=office.authenticate, **how) as port:
        problem = await refusal(SmtpMail(f"{scheme}://{USER}localhost:{port}?{options}", SENDER))
    assert ("for another name" if wrong == "name" else "certificate") in problem.message
    assert not office.logins
    assert not office.letters


async def test_a_server_that_hides_starttls_gets_neither_login_nor_mail(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office, authenticator=office.authenticate, auth_require_tls=False) as port:
        problem = await refusal(SmtpMail(f"smtp://{USER}127.0.0.1:{port}?starttls=on", SENDER))
    assert "STARTTLS" in problem.message
    assert not office.logins
    assert not office.letters


async def test_a_server_that_refuses_starttls_gets_no_mail(anyio_backend: Any) -> None:
    async with scripted(lines("220 hello", "250-mx.test\r\n250 STARTTLS", "454 not now")) as port:
        problem = await refusal(SmtpMail(f"smtp://{USER}127.0.0.1:{port}?starttls=on", SENDER))
    assert "454 not now" in problem.message


async def test_a_refused_login_tells_no_password(anyio_backend: Any) -> None:
    office = Office()
    async with post_office(office, authenticator=office.authenticate, auth_require_tls=False) as port:
        problem = await refusal(SmtpMail(f"smtp://us%40er:{PASSWORD[1:]}@127.0.0.1:{port}", SENDER))
    assert "the mail server refuses the login (535)" == problem.message
    assert PASSWORD[1:] not in "".join(traceback.format_exception(problem))
    assert not office.letters


async def test_a_server_that_repeats_the_password_is_not_quoted(anyio_backend: Any) -> None:
    talk = lines("220 hello", "250-mx.test\r\n250 AUTH PLAIN", f"535 {PASSWORD} is wrong for us@er")
    async with scripted(talk) as port:
        problem = await refusal(SmtpMail(f"smtp://{USER}127.0.0.1:{port}", SENDER))
    assert "(535)" in problem.message


async def test_a_server_without_logins_is_refused(anyio_backend: Any) -> None:
    async with scripted(lines("220 hello", "250 mx.test")) as port:
        problem = await refusal(SmtpMail(f"smtp://{USER}127.0.0.1:{port}", SENDER), None)
    assert "AUTH" in problem.message


# --- servers that say no, or nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "answer", "for_good"),
    [
        ("MAIL", "451 come back", False),
        ("MAIL", "550 who are you", False),
        ("RCPT", "450 greylisted", False),
        ("RCPT", "550 no such user", True),
        ("RCPT", "421 shutting down", False),
        ("DATA", "452 disk full", False),
        ("DATA", "554 looks like spam", True),
    ],
)
async def test_a_no_is_told_with_the_words_of_the_server(
    anyio_backend: Any, at: str, answer: str, for_good: bool
) -> None:
    office = Office()
    office.answers[at] = answer
    async with post_office(office) as port:
        problem = await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER))
    assert answer in problem.message
    assert for_good == isinstance(problem, MailRefused)


@pytest.mark.parametrize("greeting", ["421 too busy", "554 no service", "hello", "220-", "", "220 " + "x" * 70_000])
async def test_a_greeting_that_is_none_is_refused(anyio_backend: Any, greeting: str) -> None:
    async with scripted(lines(greeting)) as port:
        await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.3))


async def test_words_of_a_server_are_shown_without_controls(anyio_backend: Any) -> None:
    async with scripted(lines("421 \x1b[2J\x07 busy")) as port:
        problem = await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER))
    assert problem.message.isprintable()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    "talk",
    [
        silence,
        silent_after("220 hello", "250 mx.test"),
    ],
    ids=["at once", "after EHLO"],
)
async def test_a_server_that_hangs_is_given_up(anyio_backend: Any, talk: Talk) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with scripted(talk) as port:
        problem = await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.3))
    assert loop.time() - begun < 3
    assert "within 0.3 s" in problem.message


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(200):
        writer.write(b"220-still here\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_a_server_that_drips_is_given_up(anyio_backend: Any) -> None:
    """Each line comes in time; all of them never end."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with scripted(drip) as port:
        await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.3))
    assert loop.time() - begun < 3


async def test_a_server_that_is_slow_at_each_step_is_given_up_and_left(anyio_backend: Any) -> None:
    """No single answer is late."""
    left = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in ("220 hello", "250 mx.test", "250 OK", "250 OK", "354 go on"):
            await asyncio.sleep(0.2)
            writer.write(f"{answer}\r\n".encode())
            if not await reader.readline():
                left.set()
        await reader.read()

    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with scripted(slow) as port:
        problem = await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.5))
        assert loop.time() - begun < 0.8
        await asyncio.wait_for(left.wait(), 2)
    assert "within 0.5 s" in problem.message


async def test_a_turn_is_waited_for_no_longer_than_a_mail_may_take(anyio_backend: Any) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with scripted(silence) as port:
        mail = SmtpMail(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.3)
        answers = await asyncio.gather(*(mail.send(MESSAGE) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(answer, MailUnavailable) for answer in answers)
    assert loop.time() - begun < 3


async def test_a_mail_that_was_taken_counts_although_the_farewell_fails(anyio_backend: Any) -> None:
    answers = ["220 hello", "250 mx.test", "250 OK", "250 OK", "354 go on"]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await lines(*answers)(reader, writer)
        while (await reader.readline()) != b".\r\n":
            pass
        writer.write(b"250 taken\r\n")
        await reader.readline()  # QUIT, and no answer: the connection closes.

    async with scripted(talk) as port:
        await SmtpMail(f"smtp://127.0.0.1:{port}", SENDER).send(MESSAGE)


async def test_a_connection_that_breaks_in_the_mail_is_a_no(anyio_backend: Any) -> None:
    async with scripted(lines("220 hello", "250 mx.test", "250 OK", "250 OK", "354 go on")) as port:
        problem = await refusal(SmtpMail(f"smtp://127.0.0.1:{port}", SENDER))
    assert "connection" in problem.message


async def test_nobody_there_is_told(anyio_backend: Any) -> None:
    async with scripted(silence) as port:
        pass
    problem = await refusal(SmtpMail(f"smtp://{USER}127.0.0.1:{port}", SENDER), None)
    assert "the mail server cannot be reached: nobody listens there" == problem.message


async def test_a_name_that_nobody_knows_is_told(anyio_backend: Any) -> None:
    problem = await refusal(SmtpMail("smtp://nowhere.invalid:25?starttls=off", SENDER), None)
    assert problem.message.startswith("the mail server cannot be reached: ")


# --- the setting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [None, "", "off", "OFF", " "])
def test_mails_can_be_off(setting: str | None) -> None:
    assert open_mail(setting, "") is None


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("smtp://mail.example.com", "SmtpMail(mail.example.com:587)"),
        (f"smtp://{USER}mail.example.com:2525/", "SmtpMail(mail.example.com:2525)"),
        (f"smtps://{USER}mail.example.com", "SmtpMail(mail.example.com:465)"),
        ("SMTP://[::1]:25", "SmtpMail(::1:25)"),
        ("smtp://10.0.0.1:25?starttls=off", "SmtpMail(10.0.0.1:25)"),
        ("Console", "ConsoleMail()"),
    ],
)
def test_a_setting_names_where_mails_go(setting: str, kind: str) -> None:
    assert kind == repr(open_mail(setting, SENDER))


@pytest.mark.parametrize(
    "setting",
    [
        "smtp:",
        "smtp://",
        f"smtp://{USER}",
        f"smtp://us%40er:{PASSWORD}",
        f"smtp://user:{PASSWORD}/x@mail.example.com",
        f"smtp://user:{PASSWORD}#x@mail.example.com",
        f"smtp://user:{PASSWORD}?x@mail.example.com",
        f"smtp://user:[{PASSWORD}@mail.example.com",
        f"smtp://{USER}mail.example.com:{PASSWORD}",
        f"smtp://{USER}mail.example.com:0",
        f"smtp://{USER}mail.example.com:65536",
        f"smtp://{USER}mail.example.com/inbox",
        f"smtp://{USER}mail.example.com#x",
        f"smtp://{USER}mail.example.com?tls=off",
        f"smtp://{USER}mail.example.com?starttls=maybe",
        f"smtp://{USER}mail.example.com?starttls=on&starttls=off",
        f"smtp://{USER}mail.example.com?starttls=off",
        f"smtps://{USER}mail.example.com?starttls=off",
        f"smtp://{USER}mail.example.com?ca=",
        f"smtp://{USER}mail.example.com?ca=/nowhere/ca.pem",
        f"smtp://{USER}mäil.example.com",
        f"smtp://user%0d%0aRCPT:{PASSWORD}@mail.example.com",
        f"smtp://:{PASSWORD}@mail.example.com",
        "smtp://user@mail.example.com",
        f"user:{PASSWORD}@mail.example.com:587",
        f"http://user:{PASSWORD}@mail.example.com",
        f"sendgrid:{PASSWORD}",
        "mails",
        "file://host/mails",
        "file:mails",
        "on",
    ],
)
def test_a_wrong_setting_refuses_the_start_and_tells_no_password(setting: str) -> None:
    with pytest.raises(MailSettingRefused) as caught:
        open_mail(setting, SENDER)
    shown = "".join(traceback.format_exception(caught.value)).split("\n", 1)[-1]
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20")):
        assert secret not in caught.value.message + repr(caught.value.__cause__) + repr(caught.value.__context__)
        assert secret not in shown
    assert caught.value.advice


@pytest.mark.parametrize(
    "sender", ["", "Narthex", "Jo <jo@example.com>", "jo@example.com\r\nBcc: x@y.z", "jü@example.com"]
)
@pytest.mark.parametrize("setting", ["smtp://localhost", "console", "./mails"])
def test_a_sender_who_is_none_refuses_the_start(setting: str, sender: str) -> None:
    with pytest.raises(MailSettingRefused):
        open_mail(setting, sender)


def test_a_file_that_holds_no_certificates_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(MailSettingRefused):
        open_mail(f"smtps://mail.example.com?ca={tmp_path}/ca.pem", SENDER)


def test_a_password_is_in_no_repr() -> None:
    mail = SmtpMail(f"smtps://{USER}mail.example.com", SENDER)
    assert PASSWORD not in repr(mail) + repr(vars(mail))


# --- files and the terminal ---------------------------------------------------------------------------------------


async def test_files_hold_the_very_mail_and_the_newest_is_last(anyio_backend: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new folder" / "mails"
    mail = open_mail(f"file://{str(folder).replace(' ', '%20')}", SENDER)
    assert isinstance(mail, FileMail)
    for subject in ("one", "two", "drei für dich"):
        await mail.send(message(subject=subject))
    files = sorted(folder.iterdir())
    assert [".eml"] * 3 == [file.suffix for file in files]
    assert ["one", "two", "drei für dich"] == [parsed(file.read_bytes())["Subject"] for file in files]
    raw = files[0].read_bytes()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r\n\r\nOpen\r\n\r\nhttps://example.com/?token=abc&x=1\r\n" in raw
    assert MESSAGE.html == part(parsed(raw), "html")


async def test_mails_in_files_are_for_nobody_else(anyio_backend: Any, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        mail = FileMail(tmp_path / "mails", SENDER)
        await mail.send(MESSAGE)
    finally:
        os.umask(before)
    (file,) = (tmp_path / "mails").iterdir()
    assert 0o700 == stat.S_IMODE((tmp_path / "mails").stat().st_mode)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


async def test_a_folder_that_has_gone_is_told_and_leaves_nothing(anyio_backend: Any, tmp_path: Path) -> None:
    mail = open_mail(str(tmp_path / "mails"), SENDER)
    assert mail is not None
    await mail.check()
    assert [] == list((tmp_path / "mails").iterdir())
    (tmp_path / "mails").rmdir()
    for act in (mail.check(), mail.send(MESSAGE)):
        with pytest.raises(MailUnavailable):
            await act


def test_a_folder_that_cannot_be_made_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MailSettingRefused):
        open_mail(f"{tmp_path}/file/mails", SENDER)
    with pytest.raises(MailSettingRefused):
        open_mail(f"{tmp_path}/file", SENDER)


async def test_the_terminal_shows_the_text(anyio_backend: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mail = open_mail("console", SENDER)
    assert isinstance(mail, ConsoleMail)
    await mail.check()
    await mail.send(MESSAGE)
    shown = capsys.readouterr()
    assert "" == shown.out
    assert "mail | To: jo@example.org\nmail | Subject: Sign in to example.com\nmail | \nmail | Open\n" in shown.err
    assert "https://example.com/?token=abc&x=1\n" in shown.err


@pytest.mark.parametrize("field", ["subject", "sender_name", "recipient", "text", "html"])
async def test_neither_files_nor_the_terminal_take_what_a_server_would_not(
    anyio_backend: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    bent = message(**{field: f"{getattr(MESSAGE, field)}\x1b[2J"})
    for mail in (FileMail(tmp_path, SENDER), ConsoleMail(SENDER)):
        with pytest.raises(Refusal):
            await mail.send(bent)
    assert [] == os.listdir(tmp_path)
    assert "" == capsys.readouterr().err


async def test_both_stay_usable_after_a_no(anyio_backend: Any) -> None:
    office = Office()
    office.answers["RCPT"] = "550 no"
    async with AsyncExitStack() as stack:
        mail = SmtpMail(f"smtp://127.0.0.1:{await stack.enter_async_context(post_office(office))}", SENDER)
        for _ in range(2 * MOST_AT_ONCE):
            await refusal(mail)
        del office.answers["RCPT"]
        await mail.send(MESSAGE)
    assert office.letter()
