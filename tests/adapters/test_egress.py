"""The way out: what is refused by its text, by where it leads, and by how it answers; from real servers here."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narthex.adapters.egress import (
    MAX_ADDRESSES_TRIED,
    MAX_REPLY_BYTES,
    MAX_URL_CHARACTERS,
    GuardedEgress,
    is_public,
)
from narthex.ports.egress import AddressNotAllowed, AddressUnreachable, Egress, Reply
from tests.support.listener import (
    Answer,
    Handler,
    Listener,
    TestAuthority,
    dripping,
    endless,
    endless_headers,
    garbage,
    redirect,
    silent,
)

pytestmark = pytest.mark.anyio

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PUBLIC = "93.184.215.14"


class Names:
    """A resolver that answers as it is told, in turn; the last answer stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        self.asked.append((name, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def post(egress: Egress, url: str, *, timeout_s: float = 10, body: bytes = b"{}") -> Reply:
    return await egress.post(url, headers={"Content-Type": "application/json"}, body=body, timeout_s=timeout_s)


async def get(egress: Egress, url: str, *, timeout_s: float = 10, most_bytes: int = 1_000) -> Reply:
    return await egress.get(url, timeout_s=timeout_s, most_bytes=most_bytes)


async def refusal(egress: Egress, url: str) -> str:
    with pytest.raises(AddressNotAllowed) as caught:
        await post(egress, url)
    with pytest.raises(AddressNotAllowed):
        await get(egress, url)
    assert caught.value.advice
    assert not caught.value.message.endswith(".")
    return caught.value.message


async def failure(egress: Egress, url: str, *, timeout_s: float = 10) -> str:
    with pytest.raises(AddressUnreachable) as caught:
        await post(egress, url, timeout_s=timeout_s)
    assert not caught.value.message.endswith(".")
    return caught.value.message


# --- the text --------------------------------------------------------------------------------------------------------

BAD_TEXTS = {
    "": "cannot be read",
    "example.org/hook": "cannot be read",
    "//example.org/hook": "cannot be read",
    "https:example.org": "cannot be read",
    "https:/example.org": "cannot be read",
    "https://": "cannot be read",
    "https:///etc/passwd": "cannot be read",
    "https://:443/": "cannot be read",
    "https://[::1/": "cannot be read",
    "https://::1/": "cannot be read",
    "https://[::1]evil/": "cannot be read",
    "https://evil[::1]/": "cannot be read",
    "https://[fe80::1%25eth0]/": "cannot be read",
    "https://[fe80::1%eth0]/": "cannot be read",
    "https://[v1.a]/": "cannot be read",
    "https://example.org:80:80/": "cannot be read",
    "https://example.org:http/": "cannot be read",
    "https://example.org:-1/": "cannot be read",
    "https://example.org:４４３/": "cannot be read",
    "ftp://example.org/": "scheme `ftp`",
    "file:///etc/passwd": "cannot be read",
    "file://example.org/etc/passwd": "scheme `file`",
    "gopher://example.org/_": "scheme `gopher`",
    "javascript://example.org/": "scheme `javascript`",
    "https+unix://example.org/": "scheme `https+unix`",
    "https://user@example.org/": "credentials",
    "https://user:password@example.org/": "credentials",
    "https://@example.org/": "credentials",
    "https://example.org@127.0.0.1/": "credentials",
    "https://127.0.0.1:80@example.org/": "credentials",
    "https://example.org/#fragment": "fragment",
    "https://example.org#@127.0.0.1/": "fragment",
    "https://example.org:0/": "port 0",
    "https://example.org:65536/": "port 65536",
    "https://example.org:99999/": "port 99999",
    "https://example.org\\@127.0.0.1/": "backslashes",
    "https:\\\\example.org/": "backslashes",
    " https://example.org/": "spaces",
    "https://example.org/ ": "spaces",
    "https://exam ple.org/": "spaces",
    "https://example.org/\tx": "control characters",
    "https://example.org/\r\nX-Injected: 1": "control characters",
    "ht\ntps://example.org/": "control characters",
    "https://example.org/\x00": "control characters",
    "https://example.org/\x7f": "control characters",
    "https://example.org/\u00a0": "spaces",
    "https://example.org/\u2028": "spaces",
    "https://example.org/\u200b": "control characters",
    "https://example.org/\ud800": "control characters",
    "https://example..org/": "no name",
    "https://.example.org/": "no name",
    "https://example.org../": "no name",
    "https://./": "no name",
    "https://%31%32%37.0.0.1/": "no name",
    "https://127.0.0.1%2f@example.org/": "credentials",
    "https://127.0.0.1%00.example.org/": "no name",
    "https://exa*mple.org/": "no name",
    "https://exam\u2100ple.org/": "no name",
    "https://ex\uff0fample.org/": "no name",
    f"https://{'a' * 64}.org/": "no name",
    f"https://{'a.' * 126}org/": "no name",
    f"https://ü{'a' * 64}.org/": "no name",
    "https://[1:2:3:4:5:6:7:8:9]/": "no IPv6 address",
    "https://[127.0.0.1]/": "no IPv6 address",
    f"https://example.org/{'a' * MAX_URL_CHARACTERS}": "longer",
}


@pytest.mark.parametrize("url", BAD_TEXTS, ids=ascii)
async def test_an_address_that_is_wrong_as_text_asks_nobody(url: str) -> None:
    names = Names([PUBLIC])
    egress = GuardedEgress([ip_network("0.0.0.0/0"), ip_network("::/0")], resolve=names)
    with pytest.raises(AddressNotAllowed) as caught:
        egress.check(url)
    assert BAD_TEXTS[url] in caught.value.message
    assert BAD_TEXTS[url] in await refusal(egress, url)
    assert [] == names.asked


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://example.org",
            "https://example.org:8443/a/b?c=d@e:f",
            "HTTPS://EXAMPLE.ORG/",
            "https://example.org?q",
        ),
        *("https://bücher.example/", "https://example.org./", "https://example.org:/", "https://a_b.example.org/"),
        *(f"https://{PUBLIC}/", "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/", "https://example.org/ü"),
        "https://example.org/" + "a" * (MAX_URL_CHARACTERS - 20),
    ],
)
def test_an_address_that_is_right_as_text_passes(url: str) -> None:
    GuardedEgress().check(url)


@given(st.text(max_size=60) | st.from_regex(r"\Ahttps?://[^/]{0,30}/.{0,10}\Z"))
def test_any_text_is_an_address_or_refused(url: str) -> None:
    with suppress(AddressNotAllowed):
        GuardedEgress(require_tls=False).check(url)


async def test_a_refusal_never_repeats_the_secrets_of_an_address() -> None:
    egress = GuardedEgress(resolve=Names(["10.1.2.3"]))
    for url in ("https://inner.example/hook/hunter2?key=hunter2", "https://user:hunter2@inner.example/"):
        message = await refusal(egress, url)
        assert "hunter2" not in message
        assert "10.1.2.3" not in message


# --- where it leads --------------------------------------------------------------------------------------------------

NOT_PUBLIC = {
    "this machine": ["127.0.0.1", "127.255.255.254", "::1"],
    "no machine": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "unique local": ["fc00::1", "fdff::1", "fd00:ec2::254"],
    "site local": ["fec0::1"],
    "link-local": ["169.254.169.254", "169.254.170.2", "fe80::1", "febf::1"],
    "shared": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "protocols": ["192.0.0.1", "192.0.0.192", "192.88.99.1", "2001:1::1", "2001:20::1", "100::1", "5f00::1"],
    "the host under a cloud": ["168.63.129.16"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmark": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1", "8000::1", "1::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1"],
    "Teredo of a private client": ["2001:0:808:808:0:0:80ff:fffe", "2001:0:808:808:0:0:f5ff:fffe"],
    "Teredo of a private server": ["2001:0:a00:1:0:0:f7f7:f7f7"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1"],
    "NAT64 of this network": ["64:ff9b:1::10.0.0.1", "64:ff9b:1:a00:0:100:808:808", "64:ff9b:1:1::8.8.8.8"],
}
ARE_PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "168.63.129.17", PUBLIC),
    *("172.15.255.255", "172.32.0.0", "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2001:200::1", "::ffff:8.8.8.8"),
    *("2002:808:808::1", "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "2001:0:808:808:0:0:f7f7:f7f7"),
]
NUMBERS = [(kind, number) for kind, numbers in NOT_PUBLIC.items() for number in numbers]


def in_url(number: str) -> str:
    return f"https://[{number}]/" if ":" in number else f"https://{number}/"


@pytest.mark.parametrize(("kind", "number"), NUMBERS)
async def test_a_network_that_is_not_public_is_refused_by_number(kind: str, number: str) -> None:
    egress = GuardedEgress()
    with pytest.raises(AddressNotAllowed, match="not public"):
        egress.check(in_url(number))
    assert "not public" in await refusal(egress, in_url(number))


@pytest.mark.parametrize(("kind", "number"), NUMBERS)
async def test_a_network_that_is_not_public_is_refused_by_name(kind: str, number: str) -> None:
    egress = GuardedEgress(resolve=Names([number]))
    egress.check("https://hooks.example/")
    assert "`hooks.example` leads to a network that is not public" == await refusal(egress, "https://hooks.example/")


@pytest.mark.parametrize("number", ARE_PUBLIC)
def test_the_public_network_is_open(number: str) -> None:
    GuardedEgress().check(in_url(number))
    assert is_public(ip_address(number))


@given(st.ip_addresses(v=4))
def test_what_python_knows_to_be_inner_is_not_public_to_us(address: IPv4Address) -> None:
    assert address.is_global or not is_public(address)
    assert not (address.is_multicast and is_public(address))
    assert is_public(address) == is_public(IPv6Address(f"::ffff:{address}"))
    assert is_public(address) == is_public(IPv6Address(f"64:ff9b::{address}"))


@given(st.ip_addresses(v=6) | st.ip_addresses(network="2000::/3") | st.ip_addresses(network="2001::/16"))
def test_an_ipv6_address_that_python_knows_to_be_inner_is_not_public_to_us(address: IPv6Address) -> None:
    carries = address.ipv4_mapped or address.teredo or address in IPv6Network("64:ff9b::/32")
    assert carries or address.is_global or not is_public(address)
    assert not (address.is_multicast and is_public(address))


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "017700000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "0", "0x0"),
        *("0xa9.254.43518", "2852039166", "127.0.0.1.", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.０.０.１"),
    ],
)
async def test_a_number_in_disguise_is_judged_by_what_it_is(host: str) -> None:
    names = Names([PUBLIC])
    egress = GuardedEgress(resolve=names)
    with pytest.raises(AddressNotAllowed, match="not public"):
        egress.check(f"https://{host}/")
    assert "not public" in await refusal(egress, f"https://{host}/")
    assert [] == names.asked


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "ｌocalhost"])
async def test_the_systems_own_resolver_is_judged(host: str) -> None:
    with Listener() as listener:
        assert "not public" in await refusal(GuardedEgress(), f"https://{host}:{listener.port}/")
        assert 0 == listener.connections


async def test_a_name_is_looked_up_as_dns_writes_it() -> None:
    names = Names(["10.0.0.1"])
    await refusal(GuardedEgress(resolve=names), "https://BÜCHER.example.:8443/")
    assert ("xn--bcher-kva.example", 8443) == names.asked[0]


@pytest.mark.parametrize(
    "answers",
    [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["2606:4700::1111", "::1"], [PUBLIC] * 20 + ["169.254.169.254"]],
)
async def test_one_inner_answer_refuses_them_all(answers: list[str]) -> None:
    assert "not public" in await refusal(GuardedEgress(resolve=Names(answers)), "https://hooks.example/")


async def test_an_inner_answer_beside_an_opened_one_refuses_both() -> None:
    with Listener() as listener:
        egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1", "10.0.0.1"]))
        assert "not public" in await refusal(egress, f"http://hooks.example:{listener.port}/")
        assert 0 == listener.connections


async def test_the_connection_goes_where_the_judged_answer_led() -> None:
    """DNS rebinding: a second look at the name would lead elsewhere."""
    with Listener("127.0.0.1") as judged, Listener("127.0.0.2", port=judged.port) as other:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        await post(GuardedEgress(LOCAL, resolve=names), f"http://hooks.example:{judged.port}/")
        assert (1, 0) == (judged.connections, other.connections)
        assert 1 == len(names.asked)


async def test_every_request_is_judged_and_connected_anew() -> None:
    with Listener() as listener:
        names = Names(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"])
        egress = GuardedEgress(LOCAL, resolve=names)
        url = f"http://hooks.example:{listener.port}/"
        assert 200 == (await post(egress, url)).status
        assert 200 == (await post(egress, url)).status
        assert "not public" in await refusal(egress, url)
        assert 2 == listener.connections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "//127.0.0.1/"])
async def test_a_redirect_is_an_answer_like_others(status: int, location: str) -> None:
    with Listener() as listener:
        listener.answers = [redirect(location, status)]
        assert status == (await post(GuardedEgress(LOCAL), listener.url)).status
        assert status == (await get(GuardedEgress(LOCAL), listener.url)).status
        assert 2 == listener.connections


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Listener() as proxy, Listener() as listener:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
        names = Names(["127.0.0.1"])
        assert 200 == (await post(GuardedEgress(LOCAL, resolve=names), f"http://a.example:{listener.port}/")).status
        assert (0, 1) == (proxy.connections, listener.connections)


# --- what the operator opened ----------------------------------------------------------------------------------------


async def test_an_opened_network_is_open_and_needs_no_tls() -> None:
    with Listener() as listener:
        egress = GuardedEgress([ip_network("127.0.0.1/32")])
        egress.check(listener.url)
        assert 200 == (await post(egress, listener.url)).status


async def test_an_opened_network_opens_no_other() -> None:
    egress = GuardedEgress([ip_network("127.0.0.1/32"), ip_network("10.1.0.0/16")])
    for number in ("127.0.0.2", "10.0.0.1", "10.2.0.0", "::1", "64:ff9b::10.1.0.1", "2002:a01:1::"):
        assert "not public" in await refusal(egress, in_url(number))


async def test_an_opened_ipv4_network_is_open_to_its_mapped_form() -> None:
    """It is the same machine: the system sends IPv4."""
    with Listener() as listener:
        egress = GuardedEgress([ip_network("127.0.0.1/32")])
        assert 200 == (await post(egress, f"http://[::ffff:127.0.0.1]:{listener.port}/")).status


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_is_asked_too() -> None:
    with Listener("::1") as listener:
        assert 200 == (await post(GuardedEgress(LOCAL), f"{listener.url}/hook")).status
        assert f"[::1]:{listener.port}" == listener.requests[0].headers["host"]


async def test_a_public_address_is_not_asked_without_tls() -> None:
    for egress in (GuardedEgress(resolve=Names([PUBLIC])), GuardedEgress(LOCAL, resolve=Names([PUBLIC]))):
        assert "over http" in await refusal(egress, "http://hooks.example/")
        assert "over http" in await refusal(egress, f"http://{PUBLIC}/")


async def test_an_opened_answer_beside_a_public_one_is_not_asked_without_tls() -> None:
    egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1", PUBLIC]))
    assert "over http" in await refusal(egress, "http://hooks.example/")


def test_without_opened_networks_http_is_refused_at_once() -> None:
    with pytest.raises(AddressNotAllowed, match="over http"):
        GuardedEgress().check("http://hooks.example/")
    GuardedEgress(LOCAL).check("http://hooks.example/")


async def test_what_is_signed_may_come_without_tls_but_not_from_inside() -> None:
    egress = GuardedEgress(require_tls=False, resolve=Names(["10.0.0.1"]))
    egress.check(f"http://{PUBLIC}/")
    assert "not public" in await refusal(egress, "http://crl.example/")
    assert "not public" in await refusal(egress, "http://169.254.169.254/")


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_a_request_is_sent_as_it_was_given() -> None:
    with Listener() as listener:
        listener.answers = [Answer(202, b"thanks")]
        reply = await GuardedEgress(LOCAL).post(
            f"{listener.url}/a/b?c=d&e=%2F&f=ü",
            headers={"Webhook-Id": "msg_1", "HOST": "evil.example", "Accept-Encoding": "gzip", "User-Agent": "hooks/1"},
            body=b'{"a":1}',
            timeout_s=10,
        )
        [request] = listener.wait_for(1)
    assert Reply(202, b"thanks") == reply
    assert ("POST", "/a/b?c=d&e=%2F&f=%C3%BC", b'{"a":1}') == (request.method, request.path, request.body)
    assert {
        "host": f"127.0.0.1:{listener.port}",
        "user-agent": "hooks/1",
        "accept": "*/*",
        "webhook-id": "msg_1",
        "accept-encoding": "identity",
        "connection": "close",
        "content-length": "7",
    } == request.headers


async def test_an_address_without_a_path_asks_for_the_root() -> None:
    with Listener() as listener:
        await get(GuardedEgress(LOCAL), listener.url)
        await get(GuardedEgress(LOCAL), f"{listener.url}?a=b")
        assert ["/", "/?a=b"] == [request.path for request in listener.requests]


async def test_a_header_that_would_be_two_is_never_sent() -> None:
    """That is our mistake, not a stranger's, so it is no refusal."""
    with Listener() as listener:
        with pytest.raises(Exception, match="header value"):
            await GuardedEgress(LOCAL).post(listener.url, headers={"A": "b\r\nC: d"}, body=b"", timeout_s=10)
        assert [] == listener.requests


async def test_tls_and_host_name_the_name_and_not_the_address() -> None:
    authority = TestAuthority()
    with Listener(authority=authority, names=["hooks.example"]) as listener:
        egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1"]), tls=authority.trusted())
        assert 200 == (await post(egress, f"https://hooks.example.:{listener.port}/")).status
        assert ["hooks.example"] == listener.server_names
        assert f"hooks.example:{listener.port}" == listener.requests[0].headers["host"]


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(name: str) -> None:
    authority = TestAuthority()
    with Listener(authority=authority, names=[name]) as listener:
        egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1"]), tls=authority.trusted())
        assert "under TLS: Hostname mismatch" in await failure(egress, f"https://hooks.example:{listener.port}/")
        assert [] == listener.requests


async def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    with Listener(authority=TestAuthority()) as listener:
        assert "under TLS: " in await failure(GuardedEgress(LOCAL), listener.url)
        assert [] == listener.requests


async def test_a_server_without_tls_is_told() -> None:
    with Listener() as listener:
        assert "under TLS" in await failure(GuardedEgress(LOCAL), listener.url.replace("http", "https"))


# --- how it answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [silent, dripping, Answer(delay_s=30)], ids=["silent", "dripping", "late"])
async def test_a_slow_server_is_given_up_as_a_whole(answer: Callable[[Handler], None]) -> None:
    with Listener() as listener:
        listener.answers = [answer]
        before = time.monotonic()
        assert "in time" in await failure(GuardedEgress(LOCAL), listener.url, timeout_s=0.4)
        assert time.monotonic() - before < 3


async def test_a_slow_name_server_is_given_up() -> None:
    async def never(name: str, port: int) -> Sequence[str]:
        await anyio.sleep(30)
        return [PUBLIC]

    before = time.monotonic()
    assert "in time" in await failure(GuardedEgress(resolve=never), "https://hooks.example/", timeout_s=0.3)
    assert time.monotonic() - before < 3


async def test_a_silent_handshake_is_given_up() -> None:
    """Connections wait in the listener's queue, and nobody answers."""
    authority = TestAuthority()
    listener = Listener(authority=authority)
    egress = GuardedEgress(LOCAL, tls=authority.trusted())
    assert "in time" in await failure(egress, listener.url, timeout_s=0.3)
    listener._server.server_close()


async def test_of_an_endless_body_the_beginning_is_kept() -> None:
    with Listener() as listener:
        listener.answers = [endless]
        assert Reply(200, bytes(MAX_REPLY_BYTES)) == await post(GuardedEgress(LOCAL), listener.url)
        with pytest.raises(AddressUnreachable, match="more than 100000 bytes"):
            await get(GuardedEgress(LOCAL), listener.url, most_bytes=100_000)
    assert listener.written_bytes < 30_000_000


async def test_endless_headers_are_not_read_to_the_end() -> None:
    with Listener() as listener:
        listener.answers = [endless_headers]
        assert "HTTP" in await failure(GuardedEgress(LOCAL), listener.url)


async def test_as_many_bytes_as_agreed_are_enough() -> None:
    with Listener() as listener:
        listener.answers = [Answer(body=b"x" * 1_000)]
        assert Reply(200, b"x" * 1_000) == await get(GuardedEgress(LOCAL), listener.url, most_bytes=1_000)
        with pytest.raises(AddressUnreachable, match="more than 999 bytes"):
            await get(GuardedEgress(LOCAL), listener.url, most_bytes=999)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """Nobody asked for it, and a kilobyte can unfold to a gigabyte."""
    with Listener() as listener:
        listener.answers = [Answer(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})]
        assert Reply(200, b"\x1f\x8b") == await post(GuardedEgress(LOCAL), listener.url)
        with pytest.raises(AddressUnreachable, match="compressed"):
            await get(GuardedEgress(LOCAL), listener.url)


async def test_garbage_is_no_answer() -> None:
    with Listener() as listener:
        listener.answers = [garbage]
        assert "does not answer in HTTP" in await failure(GuardedEgress(LOCAL), listener.url)


async def test_a_body_that_breaks_off_is_no_answer() -> None:
    with Listener() as listener:
        listener.answers = [Answer(body=b"x", headers={"Content-Length": "1000"})]
        assert "does not answer in HTTP" in await failure(GuardedEgress(LOCAL), listener.url)


async def test_a_hang_up_is_no_answer() -> None:
    with Listener() as listener:
        listener.answers = [lambda handler: None]
        assert "does not answer in HTTP" in await failure(GuardedEgress(LOCAL), listener.url)


async def test_nobody_listening_is_told_without_saying_where() -> None:
    egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1", "127.0.0.2"]))
    assert "`hooks.example` takes no connections" == await failure(egress, "http://hooks.example:9/")


async def test_a_name_that_nobody_knows_is_told() -> None:
    assert "the name `hooks.invalid` is not known" == await failure(GuardedEgress(), "https://hooks.invalid/")


async def test_a_name_without_addresses_is_told() -> None:
    assert "takes no connections" in await failure(GuardedEgress(resolve=Names([])), "https://hooks.example/")


async def test_where_one_address_is_dead_the_next_is_tried() -> None:
    with Listener("127.0.0.3") as listener:
        egress = GuardedEgress(LOCAL, resolve=Names(["127.0.0.1", "::1", "127.0.0.3"]))
        assert 200 == (await post(egress, f"http://hooks.example:{listener.port}/")).status


async def test_not_every_address_of_a_long_list_is_tried() -> None:
    dead = [f"127.0.1.{n}" for n in range(MAX_ADDRESSES_TRIED)]
    with Listener("127.0.0.3") as listener:
        egress = GuardedEgress(LOCAL, resolve=Names([*dead, "127.0.0.3"]))
        assert "takes no connections" in await failure(egress, f"http://hooks.example:{listener.port}/")


async def test_secrets_of_a_request_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with Listener() as listener, caplog.at_level(logging.DEBUG):
        await GuardedEgress(LOCAL).post(
            f"{listener.url}/hunter2", headers={"Webhook-Signature": "hunter2"}, body=b"hunter2", timeout_s=10
        )
    assert "hunter2" not in caplog.text
