"""Handing mails over: to a mail server (SMTP), to files, or to the terminal of whoever develops.

What stands in a header is checked once more before anything is opened, whoever wrote it. The operator's password
travels under TLS or within this machine only, and stands in no message, no `repr` and no log. Messages for people
name neither the server nor the recipient: they are shown to those who asked for the mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from narthex.adapters.system import SystemClock, system_random
from narthex.base.errors import Malformed, quoted
from narthex.base.mail import (
    MAX_LINK_CHARACTERS,
    MailAddressInvalid,
    check_body,
    check_header,
    check_sender_name,
    parse_address,
)
from narthex.base.values import Secret
from narthex.ports.mail import Mail, MailRefused, MailUnavailable, Message

if TYPE_CHECKING:
    import aiosmtplib

TIMEOUT_S: Final = 20.0
FAREWELL_S: Final = 2.0
MOST_AT_ONCE: Final = 4

_PORTS: Final = {"smtp": 587, "smtps": 465}
# RFC 5322, section 2.1.1, allows 998 characters without the line's end.
_LONGEST_LINE: Final = 998
_OTHER_NAME: Final = "its certificate is for another name"
_OTHER_NAME_CODES: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_CHECK_SETTING: Final = "check the mail setting; `narthex doctor` tries it"


class MailSettingRefused(Malformed):
    """The setting that says where mails go cannot be read."""

    code = "mail-setting-refused"
    advice = (
        "say `smtp://user:password@host:587`, `smtps://user:password@host:465`, `file:///directory`, `console` or "
        "`off`; write `%40` for `@`, `%3A` for `:`, `%2F` for `/` and `%23` for `#` in a password"
    )


def open_mail(setting: str | None, sender: str) -> Mail | None:
    """Read where mails go; None when nothing sends mails here.

    Args:
        setting: `smtp://…`, `smtps://…`, `file:///…`, a path, `console`, `off`, or nothing.
        sender: the address that mails are from.

    Raises:
        MailSettingRefused.
    """
    setting = (setting or "off").strip()
    if setting.lower() in ("off", ""):
        return None
    sender = _parse_sender(sender)
    scheme = setting.partition(":")[0].lower()
    if setting.lower() == "console":
        return ConsoleMail(sender)
    if scheme in _PORTS:
        return SmtpMail(setting, sender)
    directory = _parse_directory(setting)
    try:
        return FileMail(directory, sender)
    except OSError as e:
        raise MailSettingRefused(f"the directory {quoted(directory)} for mails cannot be made: {e.strerror}") from e


def _parse_sender(text: str) -> str:
    try:
        sender = parse_address(text)
    except MailAddressInvalid as e:
        raise MailSettingRefused(f"the sender of mails is no address: {e.message}", advice=e.advice) from e
    if not sender.isascii():
        raise MailSettingRefused(f"the sender {quoted(sender)} is not ASCII before the `@`, which few servers take")
    return sender


def _parse_directory(setting: str) -> Path:
    """A path must look like one: a forgotten `smtp://` shall not become a directory, nor be shown with a password."""
    if setting.lower().startswith("file:///"):
        return Path(unquote(setting[len("file://") :]))
    if setting.startswith(("/", "./", "../", "~/")):
        with contextlib.suppress(RuntimeError):
            return Path(setting).expanduser()
    raise MailSettingRefused("the mail setting is neither a mail server nor a directory")


@dataclass(frozen=True, slots=True)
class _Server:
    """A mail server, as the setting names it."""

    host: str
    port: int
    tls: bool
    """From the first byte on."""
    starttls: bool
    user: str | None
    password: Secret
    ca: Path | None


def _parse_server(url: str) -> _Server:
    # No message here shows the address, or what Python says of it: a password may be anywhere in it.
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or not parts.hostname.isascii():
        raise MailSettingRefused("the mail server is not at an address such as `smtp://host:587`")
    if parts.path not in ("", "/") or parts.fragment:
        raise MailSettingRefused("the address of the mail server has something after the host")
    options = _parse_options(parts.query)
    tls = parts.scheme == "smtps"
    if tls and "starttls" in options:
        raise MailSettingRefused("`starttls` is for `smtp://`: `smtps://` has TLS from the beginning")
    local = _is_local(parts.hostname)
    starttls = not tls and options.get("starttls", "off" if local else "on") == "on"
    user, password = unquote(parts.username or ""), Secret(unquote(parts.password or ""))
    if bool(user) != bool(password):
        raise MailSettingRefused("the mail server's user and password belong together")
    if user and not (tls or starttls or local):
        raise MailSettingRefused("the password would travel without TLS", advice="leave `starttls=off` out")
    if any(not character.isprintable() for character in parts.hostname + user + password):
        raise MailSettingRefused("the address of the mail server has a control character")
    ca = Path(options["ca"]) if "ca" in options else None
    return _Server(parts.hostname, parts.port or _PORTS[parts.scheme], tls, starttls, user or None, password, ca)


def _split(url: str) -> SplitResult | None:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.port != 0:
            return parts
    return None


def _parse_options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs) or not options.keys() <= {"starttls", "ca"}:
        raise MailSettingRefused("the mail server's options are `starttls` and `ca`, each at most once")
    if options.get("starttls", "on") not in ("on", "off"):
        raise MailSettingRefused("`starttls` is neither `on` nor `off`")
    if options.get("ca") == "":
        raise MailSettingRefused("`ca` names no file")
    return options


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


class SmtpMail:
    """Hands mails to a mail server (RFC 5321; submission, RFC 6409).

    Args:
        url: `smtp://user:password@host:587`, where STARTTLS is insisted on (RFC 3207) unless the server is on this
            machine or `?starttls=off` says otherwise; or `smtps://user:password@host:465` (RFC 8314). `?ca=/path.pem`
            names the only authorities whose certificates count.
        sender: the address that mails are from.
        timeout_s: for one mail as a whole, waiting for its turn included.

    Raises:
        MailSettingRefused.
    """

    def __init__(self, url: str, sender: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._server = _parse_server(url)
        self._sender = _parse_sender(sender)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._tls = _tls_context(self._server.ca) if self._server.tls or self._server.starttls else None

    def __repr__(self) -> str:
        return f"SmtpMail({self._server.host}:{self._server.port})"

    async def send(self, message: Message) -> None:
        """Hand a mail over.

        A connection that breaks after the last line and before the server's answer leaves open whether it has it;
        that counts as not, so a mail may arrive twice and never not at all.

        Raises:
            MailUnavailable, or its kind MailRefused; MailAddressInvalid, MailFieldInvalid.
        """
        email, recipient = _to_email(message, self._sender)
        await self._exchange(email, recipient)

    async def check(self) -> None:
        await self._exchange(None, "")

    async def _exchange(self, email: bytes | None, recipient: str) -> None:
        # Imported here: a server that never sends does not pay for the library.
        from aiosmtplib import SMTPException

        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                client = self._client()
                try:
                    await client.connect()
                    if client.is_ehlo_or_helo_needed:
                        await client.ehlo()
                    if email is not None:
                        await _hand_over(client, self._sender, recipient, email)
                    await _say_farewell(client)
                finally:
                    # Never through the library's own context: after a timeout, that one waits for an answer to QUIT.
                    client.close()
        except (SMTPException, OSError, ValueError) as e:
            problem = _explain(e, timeout_s=self._timeout_s)
        else:
            return
        # Raised outside, so that no traceback shows what the server said of the login.
        raise problem

    def _client(self) -> aiosmtplib.SMTP:
        import aiosmtplib

        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=str(server.password) if server.user else None,
            # The machine's own name is nobody's business, and asking for it can take seconds.
            local_hostname=self._sender.rpartition("@")[2],
            timeout=self._timeout_s,
            use_tls=server.tls,
            start_tls=server.starttls,
            tls_context=self._tls,
        )


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as e:
        raise MailSettingRefused(
            f"the file {quoted(ca)} has no certificates that can be read", advice="`ca` names a file in PEM"
        ) from e


async def _hand_over(client: aiosmtplib.SMTP, sender: str, recipient: str, email: bytes) -> None:
    options = []
    if not recipient.isascii():
        if not client.supports_extension("smtputf8"):
            raise MailRefused(
                "the mail server takes only ASCII before the `@`", advice="a server with SMTPUTF8 takes such addresses"
            )
        options = ["BODY=8BITMIME", "SMTPUTF8"]
    await client.sendmail(sender, [recipient], email, mail_options=options)


async def _say_farewell(client: aiosmtplib.SMTP) -> None:
    """The mail is the server's by now: whatever goes wrong here must not have it sent again."""
    from aiosmtplib import SMTPException

    with contextlib.suppress(SMTPException, OSError):
        await client.quit(timeout=FAREWELL_S)


def _explain(error: Exception, *, timeout_s: float) -> MailUnavailable:
    import aiosmtplib

    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    match error:
        case TimeoutError():
            return MailUnavailable(f"the mail server did not take the mail within {timeout_s:g} s")
        case aiosmtplib.SMTPAuthenticationError():
            # Its words are left out: it knows the password by now.
            return MailUnavailable(f"the mail server refuses the login ({error.code})", advice=_CHECK_SETTING)
        case aiosmtplib.SMTPSenderRefused():
            return MailUnavailable(f"the mail server refuses the sender: {_words(error)}", advice=_CHECK_SETTING)
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code >= 500:
            return MailRefused(f"the mail server refuses the mail for good: {_words(error)}")
        case aiosmtplib.SMTPResponseException():
            return MailUnavailable(f"the mail server refuses for now: {_words(error)}")
        case aiosmtplib.SMTPConnectError() | ssl.SSLError():
            return MailUnavailable(f"the mail server cannot be reached: {_cause(error)}", advice=_CHECK_SETTING)
        case aiosmtplib.SMTPServerDisconnected():
            return MailUnavailable("the mail server closed the connection")
        case aiosmtplib.SMTPException():
            return MailUnavailable(
                f"the mail server lacks what is needed: {str(error).rstrip('.')}", advice=_CHECK_SETTING
            )
        case _:
            return MailUnavailable(f"the connection to the mail server broke: {type(error).__name__}")


def _words(error: aiosmtplib.SMTPResponseException) -> str:
    return quoted(f"{error.code} {error.message}")


def _cause(error: BaseException) -> str:
    # The library's own words name the host.
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        # What OpenSSL says of a wrong name has the name in it.
        return _OTHER_NAME if error.verify_code in _OTHER_NAME_CODES else error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS fails"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return "its name is not known" if isinstance(error, socket.gaierror) else "the connection breaks"


class FileMail:
    """Writes each mail into a directory, as a file that mail readers open; the newest has the last name.

    Raises:
        OSError: there is no directory, and none can be made.
    """

    def __init__(self, directory: Path, sender: str) -> None:
        self._directory = directory
        self._sender = _parse_sender(sender)
        # Mails hold links that sign in.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"FileMail({str(self._directory)!r})"

    async def send(self, message: Message) -> None:
        email, _ = _to_email(message, self._sender)
        await self._write(email, keep=True)

    async def check(self) -> None:
        await self._write(b"", keep=False)

    async def _write(self, email: bytes, *, keep: bool) -> None:
        name = f"{SystemClock().now():%Y%m%dT%H%M%S.%fZ}-{system_random(4).hex()}"
        try:
            await asyncio.to_thread(_write_whole, self._directory, name, email, keep=keep)
        except OSError as e:
            raise MailUnavailable(f"the mail cannot be written: {e.strerror}", advice=_CHECK_SETTING) from e


def _write_whole(directory: Path, name: str, content: bytes, *, keep: bool) -> None:
    """Write a file that bears its name only once it is whole and on the disk."""
    part = directory / f".{name}.part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            part.rename(directory / f"{name}.eml")
    finally:
        part.unlink(missing_ok=True)


class ConsoleMail:
    """Shows the text of each mail on standard error, to whoever develops. What is shown there signs in."""

    def __init__(self, sender: str) -> None:
        self._sender = _parse_sender(sender)

    def __repr__(self) -> str:
        return "ConsoleMail()"

    async def send(self, message: Message) -> None:
        _, recipient = _to_email(message, self._sender)
        lines = [f"To: {recipient}", f"Subject: {message.subject}", "", *message.text.splitlines()]
        sys.stderr.write("".join(f"mail | {line}\n" for line in lines))
        sys.stderr.flush()

    async def check(self) -> None:
        return


def _to_email(message: Message, sender: str) -> tuple[bytes, str]:
    """The mail as it travels (RFC 5322), and its recipient as the envelope has it.

    Raises:
        MailAddressInvalid, MailFieldInvalid: something in it is no part of a mail.
    """
    recipient = parse_address(message.recipient)
    local_part, _, domain = recipient.partition("@")
    sender_part, _, sender_domain = sender.partition("@")
    now = SystemClock().now().astimezone(UTC)
    # A header with an address outside ASCII is spelt in UTF-8 (RFC 6532); encoding it would make another address.
    email = EmailMessage(policy=_FOLDING if recipient.isascii() else SMTPUTF8)
    email["From"] = Address(check_sender_name(message.sender_name), sender_part, sender_domain)
    email["To"] = Address("", local_part, domain)
    email["Subject"] = check_header("the subject", message.subject, most=MAX_LINK_CHARACTERS)
    email["Date"] = now
    email["Message-ID"] = f"<{now:%Y%m%d}.{system_random(16).hex()}@{sender_domain}>"
    # RFC 3834: nobody's holiday answers this.
    email["Auto-Submitted"] = "auto-generated"
    text, html = check_body("the text", message.text), check_body("the html", message.html)
    email.set_content(text, cte=_transfer_encoding(text))
    if html:
        email.add_alternative(html, subtype="html", cte=_transfer_encoding(html))
    return email.as_bytes(), recipient


class _Folding(EmailPolicy):
    """Python 3.11 loses spaces where it folds a long header outside ASCII; its older way of folding does not."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        if value.isascii() or name not in ("From", "Subject"):
            return super().fold_binary(name, value)
        words, rest = value, ""
        if name == "From":
            (sender,) = value.addresses
            words, rest = sender.display_name, f"{self.linesep} <{sender.addr_spec}>"
        folded = Header(words, "utf-8", header_name=name).encode(linesep=self.linesep)
        return f"{name}: {folded}{rest}{self.linesep}".encode("ascii")


_FOLDING: Final = _Folding() + SMTP


def _transfer_encoding(text: str) -> str:
    """As it is where every server takes it; otherwise so that none has to know 8BITMIME."""
    if text.isascii() and all(len(line) <= _LONGEST_LINE for line in text.split("\n")):
        return "7bit"
    return "quoted-printable"
