"""Every setting is read, or refused with one sentence that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.base.values import Secret
from narthex.settings import SETTINGS, SettingRefused, Settings, read_settings, unknown_variables

GOOD: list[tuple[str, str, Any]] = [
    ("database_url", "sqlite:////var/lib/narthex.db", "sqlite:////var/lib/narthex.db"),
    ("database_url", "postgresql://u:p@h/d", "postgresql://u:p@h/d"),
    ("public_url", "https://passkeys.example.com", "https://passkeys.example.com"),
    ("public_url", "https://example.com/passkeys/", "https://example.com/passkeys"),
    ("public_url", "http://localhost:8470", "http://localhost:8470"),
    ("workers", "1", 1),
    ("management_key", "key", Secret("key")),
    ("master_key", "k" * 32, Secret("k" * 32)),
    ("master_key_file", "/run/key", Path("/run/key")),
    ("data_dir", "data", Path("data")),
    ("data_dir", "~/data", Path.home() / "data"),
    ("trusted_proxies", "", ()),
    ("trusted_proxies", "10.0.0.0/8, ::1,", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("rate_limits", "OFF", "off"),
    ("rate_limits", "on", "on"),
    ("rate_limits", "redis://:password@redis.internal/0", "redis://:password@redis.internal/0"),
    ("mail", "off", None),
    ("mail_from", "passkeys@example.com", "passkeys@example.com"),
    ("new_application_hold", "0", timedelta(0)),
    ("new_application_hold", "24", timedelta(hours=24)),
    ("egress_networks", "", ()),
    ("egress_networks", "10.1.0.0/16, fd00::/8", (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))),
    ("metadata", "https://mds3.fidoalliance.org/", "https://mds3.fidoalliance.org/"),
    ("metadata", "http://127.0.0.1:9000/blob", "http://127.0.0.1:9000/blob"),
    ("metadata", "fido/blob.jwt", Path("fido/blob.jwt")),
    ("metadata", "OFF", None),
    ("metadata_root", "root.pem", Path("root.pem")),
    ("metadata_root", "", None),
    ("conformance_application", "conformance", "conformance"),
    ("log_level", "Debug", "debug"),
]
BAD: list[tuple[str, str]] = [
    ("public_url", "passkeys.example.com"),
    ("public_url", "ftp://example.com"),
    ("public_url", "https://"),
    ("public_url", "https://example.com/?a=b"),
    ("public_url", "https://example.com/#a"),
    ("public_url", "https://user@example.com"),
    ("public_url", "https://[::1"),
    ("listen", "8470"),
    ("listen", ":8470"),
    ("listen", "localhost:"),
    ("listen", "localhost:65536"),
    ("listen", "localhost:-1"),
    ("listen", "localhost:http"),
    ("listen", "localhost:²"),
    ("workers", "0"),
    ("workers", "129"),
    ("workers", "many"),
    ("workers", "1.5"),
    ("workers", "9" * 5_000),
    ("trusted_proxies", "10.0.0.0/33"),
    ("trusted_proxies", "::ffff:10.0.0.0/104"),
    ("trusted_proxies", "10.0.0.1/8"),
    ("trusted_proxies", "proxy.internal"),
    ("data_dir", "~nobody-of-this-name/data"),
    ("master_key_file", "~nobody-of-this-name/key"),
    ("rate_limits", "yes"),
    ("rate_limits", "1"),
    ("rate_limits", "http://redis.internal"),
    ("new_application_hold", "-1"),
    ("new_application_hold", "1.5"),
    ("new_application_hold", "a day"),
    ("new_application_hold", "10000"),
    ("egress_networks", "10.0.0.1/8"),
    ("egress_networks", "webhooks.internal"),
    ("metadata", "http://mds3.fidoalliance.org/"),
    ("metadata", "ftp://example.com/blob"),
    ("metadata", "~nobody-of-this-name/blob"),
    ("metadata_root", "~nobody-of-this-name/root"),
    ("log_level", "loud"),
]


def read(**settings: str) -> Settings:
    return read_settings(variables(settings))


def variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"NARTHEX_{name.upper()}": value for name, value in settings.items()}


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_read(name: str, text: str, value: Any) -> None:
    assert value == getattr(read(**{name: text}), name)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(SettingRefused) as refused:
        read(**{name: text})
    shown = "" if name in {row.name for row in SETTINGS if row.secret} else f"`{text}` "
    assert refused.value.message.startswith(f"NARTHEX_{name.upper()} {shown}")
    assert shown or text not in refused.value.message


def test_mail_needs_somebody_to_be_from() -> None:
    with pytest.raises(SettingRefused, match="NARTHEX_MAIL_FROM is required"):
        read(mail="console")
    settings = read(mail="smtp://u:p@mail.internal", mail_from="passkeys@example.com")
    assert (Secret("smtp://u:p@mail.internal"), "passkeys@example.com") == (settings.mail, settings.mail_from)


def test_limits_are_counted_in_a_database_where_several_servers_share_one() -> None:
    assert "database" == read(rate_limits="database", database_url="postgresql://h/d").rate_limits
    with pytest.raises(SettingRefused, match="for several servers on PostgreSQL"):
        read(rate_limits="database")


def test_every_setting_has_a_good_case_and_those_that_can_be_wrong_a_bad_one() -> None:
    names = {row.name for row in SETTINGS}
    assert names == {name for name, _, _ in GOOD} | {"listen"}
    # What mails are sent by and from is read, and refused, where it is used.
    anything_goes = {"database_url", "management_key", "master_key", "conformance_application", "mail", "mail_from"}
    assert names == {name for name, _ in BAD} | anything_goes


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:1", "127.0.0.1", 1), ("localhost:8470", "localhost", 8470), ("[::1]:8470", "::1", 8470)],
)
def test_where_to_listen(text: str, host: str, port: int) -> None:
    settings = read(listen=text)
    assert (host, port) == (settings.listen_host, settings.listen_port)


def test_without_any_setting_the_server_is_for_this_machine() -> None:
    settings = read()
    assert ("127.0.0.1", 8470) == (settings.listen_host, settings.listen_port)
    assert "http://localhost:8470" == settings.public_url
    assert "sqlite:///.narthex/narthex.db" == settings.database_url
    assert (1, None, None, (), "on", "info") == (
        settings.workers,
        settings.management_key,
        settings.master_key,
        settings.trusted_proxies,
        settings.rate_limits,
        settings.log_level,
    )


def test_files_of_its_own_are_in_the_data_directory() -> None:
    settings = read(data_dir="/srv/data")
    assert "sqlite:////srv/data/narthex.db" == settings.database_url
    assert Path("/srv/data/master.key") == settings.own_master_key_file


@pytest.mark.parametrize("listen", ["0.0.0.0:8470", "[::]:8470", "192.0.2.1:8470", "example.com:8470"])
def test_a_server_for_more_than_this_machine_must_know_its_address(listen: str) -> None:
    with pytest.raises(SettingRefused, match="NARTHEX_PUBLIC_URL is required"):
        read(listen=listen)
    assert "https://a.example" == read(listen=listen, public_url="https://a.example").public_url


def test_sqlite_has_one_worker() -> None:
    with pytest.raises(SettingRefused, match="needs PostgreSQL"):
        read(workers="2")
    assert 2 == read(workers="2", database_url="postgresql:///narthex").workers


def test_the_master_key_is_given_once() -> None:
    with pytest.raises(SettingRefused, match="both set"):
        read(master_key="k" * 32, master_key_file="/run/key")


def test_a_slip_of_the_pen_is_noticed() -> None:
    given = {"NARTHEX_WORKER": "1", "NARTHEX_CONFIG": "x", "NARTHEX_LISTEN": "x", "PATH": "/bin"}
    assert ["NARTHEX_WORKER"] == unknown_variables(given)


def test_secrets_do_not_show() -> None:
    redis, mail = "redis://:secret s@redis.internal", "smtp://ann:secret s@mail.internal"
    given = {"management_key": "hush hush", "master_key": "secret " * 8, "rate_limits": redis, "mail": mail}
    shown = repr(read(**given, mail_from="passkeys@example.com"))
    assert "hush" not in shown
    assert "secret s" not in shown


def test_a_bad_secret_is_not_quoted() -> None:
    secrets = {"database_url", "management_key", "master_key", "rate_limits", "mail"}
    assert secrets == {row.name for row in SETTINGS if row.secret}


@given(name=st.sampled_from([row.name for row in SETTINGS]), text=st.text(max_size=40))
def test_any_text_is_a_value_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(SettingRefused):
        read(**{name: text})


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "narthex.toml"


def test_settings_stand_in_a_toml_file(file: Path) -> None:
    file.write_text(
        'listen = "127.0.0.1:9000"\nrate_limits = false\nworkers = 1\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n'
    )
    settings = read_settings({}, config=file)
    assert (9000, "off") == (settings.listen_port, settings.rate_limits)
    assert (ip_network("10.0.0.0/8"), ip_network("::1")) == settings.trusted_proxies


def test_the_environment_wins_over_the_file(file: Path) -> None:
    file.write_text('log_level = "error"\nlisten = "127.0.0.1:9000"\n')
    settings = read_settings({"NARTHEX_LOG_LEVEL": "debug", "NARTHEX_CONFIG": str(file)})
    assert ("debug", 9000) == (settings.log_level, settings.listen_port)


def test_an_empty_variable_counts_as_none(file: Path) -> None:
    file.write_text('log_level = "error"\n')
    assert "error" == read_settings({"NARTHEX_LOG_LEVEL": ""}, config=file).log_level


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"listen = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b'workres = "1"', "`workres` that does not exist"),
        (b'NARTHEX_WORKERS = "1"', "does not exist"),
        (b"[server]\nworkers = 1", "does not exist"),
        (b'log_level = "loud"', "NARTHEX_LOG_LEVEL `loud`"),
        (b"workers = 0", "NARTHEX_WORKERS `0`"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingRefused, match=words):
        read_settings({}, config=file)


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(SettingRefused, match="cannot be read: No such file"):
        read_settings({}, config=file)
