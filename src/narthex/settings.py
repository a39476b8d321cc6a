"""The settings of a server, from the environment and an optional TOML file.

`SETTINGS` is the table of them all: names, defaults, how a text is read, and what it means. `narthex settings`
and the reference page are made from it. A setting of the environment wins over the file. What cannot be read
stops the start with one sentence that names the setting and says what would do.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from narthex.base.errors import Malformed
from narthex.base.values import Secret

PREFIX = "NARTHEX_"
CONFIG = f"{PREFIX}CONFIG"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SettingRefused(Malformed):
    """A setting is missing or cannot be read."""

    code = "setting-refused"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator may set."""

    database_url: str
    public_url: str
    listen_host: str
    listen_port: int
    workers: int
    management_key: Secret | None
    master_key: Secret | None
    master_key_file: Path | None
    data_dir: Path
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    rate_limits: str
    """`off`, `on`, `database`, or the address of a Redis server."""
    mail: Secret | None
    mail_from: str
    new_application_hold: timedelta
    egress_networks: tuple[IPv4Network | IPv6Network, ...]
    log_level: str
    metadata: str | Path | None
    """An address, a file, or None for no metadata at all."""
    metadata_root: Path | None
    conformance_application: str | None

    @property
    def own_master_key_file(self) -> Path:
        """Where the first start keeps the key that it makes when none is given."""
        return self.data_dir / "master.key"


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table."""

    name: str
    """As the TOML file spells it; the environment has it in capitals behind `NARTHEX_`."""
    default: str
    """As a person would write it; empty when it depends on others, which the meaning says."""
    meaning: str
    read: Callable[[str], Any]
    secret: bool = False

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


def _text(text: str) -> str:
    return text


def _secret(text: str) -> Secret:
    return Secret(text)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with a home directory that is not known") from None


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("is not an address like `https://passkeys.example.com`")
    return text.rstrip("/")


def _metadata(text: str) -> str | Path | None:
    if text.lower() == "off":
        return None
    return text if "://" in text else _path(text)


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("is not `host:port`, such as `127.0.0.1:8470`")
    return host.strip("[]"), int(port)


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 128:
        raise ValueError("is not a number from 1 to 128")
    return int(text)


def _rate_limits(text: str) -> str:
    if text.startswith(("redis://", "rediss://")):
        return Secret(text)  # It may hold a password.
    if text.lower() not in ("on", "off", "database"):
        raise ValueError("is none of `on`, `off`, `database` and `redis://…`")
    return text.lower()


def _mail(text: str) -> Secret | None:
    return None if text.lower() == "off" else Secret(text)


def _hours(text: str) -> timedelta:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError("is no number of hours, from 0 to 9999")
    return timedelta(hours=int(text))


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        networks = tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("is not a list of networks like `10.0.0.0/8, ::1`") from None
    if any(isinstance(network, IPv6Network) and network.network_address.ipv4_mapped for network in networks):
        # Peers are compared by their IPv4 address, so such a network would silently trust nobody.
        raise ValueError("names IPv4 addresses in IPv6 form: write them as `10.0.0.0/8`")
    return networks


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("is none of `debug`, `info`, `warning`, `error`")
    return text.lower()


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "database_url",
        "",
        "Where everything is kept: `sqlite:///path/to/file` or `postgresql://user:password@host/database`. "
        "Default: `narthex.db` in the data directory.",
        _text,
        secret=True,
    ),
    Setting(
        "public_url",
        "",
        "The address under which browsers and backends reach this server, as `https://passkeys.example.com`. Required "
        "unless the server listens on this machine only; then it is `http://localhost:PORT`.",
        _url,
    ),
    Setting("listen", "127.0.0.1:8470", "Host and port to listen on; `0.0.0.0:8470` for every interface.", _listen),
    Setting("workers", "1", "Processes that answer. More than one needs PostgreSQL.", _workers),
    Setting(
        "management_key",
        "",
        "The key of the management API, as long and random as a password; without it that API refuses everybody.",
        _secret,
        secret=True,
    ),
    Setting(
        "master_key",
        "",
        "At least 32 characters from which every other secret derives: `openssl rand -hex 32`. Without it and without "
        "`master_key_file`, the first start makes one in the data directory. Lose it and every token and API key is "
        "void.",
        _secret,
        secret=True,
    ),
    Setting("master_key_file", "", "A file that holds the master key, instead of `master_key`.", _path),
    Setting("data_dir", ".narthex", "Where the server keeps files of its own.", _path),
    Setting(
        "trusted_proxies",
        "",
        "Networks of your own reverse proxies, separated by commas. Only from there are `X-Forwarded-For` and "
        "`CF-IPCountry` believed, so the proxy must overwrite or drop what a client wrote into `CF-IPCountry`.",
        _networks,
    ),
    Setting(
        "rate_limits",
        "on",
        "Limits requests by address, by application and by user. `on` counts in each process, which is right for one; "
        "`database` or a `redis://…` address counts for all that share it; `off` limits nothing.",
        _rate_limits,
        secret=True,
    ),
    Setting(
        "mail",
        "off",
        "How mails leave, magic links and notices: `smtp://user:password@host:587`, `smtps://…`, a directory that gets "
        "a file for each, `console`, or `off`.",
        _mail,
        secret=True,
    ),
    Setting("mail_from", "", "The address that mails are from, as `passkeys@example.com`.", _text),
    Setting(
        "new_application_hold",
        "24",
        "For how many hours a new application may send magic links and notices to its own administrators only; `0` for "
        "no hold.",
        _hours,
    ),
    Setting(
        "egress_networks",
        "",
        "Networks that are not public and to which webhooks may go all the same, separated by commas. Anything else "
        "that is not public is never asked, whatever a name resolves to.",
        _networks,
    ),
    Setting(
        "metadata",
        "https://mds3.fidoalliance.org/",
        "Where to get the FIDO metadata, by which models of authenticators are judged: an `https` address, fetched "
        "once a day; a file, read every ten minutes; or `off`. The demo server gets none unless this is set.",
        _metadata,
    ),
    Setting(
        "metadata_root",
        "",
        "A PEM file with the certificates that may sign the metadata, instead of the root that FIDO publishes.",
        _path,
    ),
    Setting(
        "conformance_application",
        "",
        "The id of an application that the FIDO conformance tool may test at `/attestation/…` and `/assertion/…`. "
        "Anyone can then make and use passkeys of that application: never set this on a server that people rely on.",
        _text,
    ),
    Setting("log_level", "info", "`debug`, `info`, `warning` or `error`.", _log_level),
)


def read_settings(environment: Mapping[str, str], *, config: Path | None = None) -> Settings:
    """Read and check every setting.

    Args:
        config: a TOML file; without it, the one that `NARTHEX_CONFIG` names, if any.

    Raises:
        SettingRefused: one is missing or wrong; the message names it.
    """
    if config is None and environment.get(CONFIG):
        config = Path(environment[CONFIG])
    given = _read_file(config) if config is not None else {}
    given |= {row.name: environment[row.variable] for row in SETTINGS if environment.get(row.variable)}
    values = {row.name: _read(row, given.get(row.name, row.default)) for row in SETTINGS}
    return _settled(values)


def is_local(public_url: str) -> bool:
    """Whether an address works on this machine only: browsers offer passkeys there without https."""
    host = urlsplit(public_url).hostname or ""
    return host == "localhost" or host.endswith(".localhost")


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: most likely a slip of the pen."""
    known = {row.variable for row in SETTINGS} | {CONFIG}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _check_metadata_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise SettingRefused(f"NARTHEX_METADATA `{url}` is neither an https address, nor a file, nor `off`")


def _read_file(path: Path) -> dict[str, str]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise SettingRefused(f"the settings file `{path}` cannot be read: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise SettingRefused(f"the settings file `{path}` is not TOML: {e}") from e
    unknown = sorted(set(given) - {row.name for row in SETTINGS})
    if unknown:
        raise SettingRefused(f"the settings file `{path}` has a setting `{unknown[0]}` that does not exist")
    return {name: _as_text(value) for name, value in given.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(row: Setting, text: str) -> Any:
    if not text:
        return None
    try:
        # The environment hands over bytes that are no UTF-8 as lone surrogates, which nothing can write or compare.
        text.encode()
    except UnicodeEncodeError:
        raise SettingRefused(f"{row.variable} is not UTF-8") from None
    try:
        return row.read(text)
    except ValueError as e:
        shown = "" if row.secret else f" `{text}`"
        raise SettingRefused(f"{row.variable}{shown} {e}") from e


def _settled(values: dict[str, Any]) -> Settings:
    host, port = values.pop("listen")
    values["trusted_proxies"] = values["trusted_proxies"] or ()
    values["egress_networks"] = values["egress_networks"] or ()
    values["mail_from"] = values["mail_from"] or ""
    if values["mail"] and not values["mail_from"]:
        raise SettingRefused(
            "NARTHEX_MAIL_FROM is required when NARTHEX_MAIL is set: the address that mails are from, such as "
            "`passkeys@example.com`"
        )
    if isinstance(values["metadata"], str):
        _check_metadata_address(values["metadata"])
    if values["master_key"] and values["master_key_file"]:
        raise SettingRefused("NARTHEX_MASTER_KEY and NARTHEX_MASTER_KEY_FILE are both set: keep one")
    if values["database_url"] is None:
        values["database_url"] = f"sqlite:///{values['data_dir'] / 'narthex.db'}"
    if values["public_url"] is None:
        if host not in _LOOPBACK:
            raise SettingRefused(
                "NARTHEX_PUBLIC_URL is required when the server listens on more than this machine: set it to the "
                "address that browsers use, such as `https://passkeys.example.com`"
            )
        values["public_url"] = f"http://localhost:{port}"
    if values["rate_limits"] == "database" and values["database_url"].startswith("sqlite:"):
        raise SettingRefused(
            "NARTHEX_RATE_LIMITS is `database`, and that is for several servers on PostgreSQL: `on` counts for one"
        )
    if values["workers"] > 1 and values["database_url"].startswith("sqlite:"):
        raise SettingRefused("NARTHEX_WORKERS above 1 needs PostgreSQL: SQLite is written by one process")
    return Settings(listen_host=host, listen_port=port, **values)
