"""Fetching metadata: from a real server on this machine, and from files."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest

from narthex.adapters import metadata_source
from narthex.adapters.egress import GuardedEgress
from narthex.adapters.fido_root import FIDO_SIGNER, FIDO_URL, fido_roots
from narthex.adapters.metadata_source import MAX_REDIRECTS, FileSource, UrlSource
from narthex.ports.egress import Egress
from narthex.ports.metadata import FetchedMetadata, MetadataUnavailable
from narthex.webauthn.metadata_blob import revocation_urls
from tests.support.metadata import MetadataMaker

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server whose paths answer as the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.egress: Egress = GuardedEgress([ip_network("127.0.0.0/8")])
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                with suppress(ConnectionError):
                    site.answers.get(self.path, status(404))(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def fetch(self, path: str = "/", *, timeout_s: float = 10) -> FetchedMetadata:
        return asyncio.run(UrlSource(self.url + path, timeout_s, self.egress).fetch())

    def refusal(self, path: str = "/", *, timeout_s: float = 10) -> MetadataUnavailable:
        with pytest.raises(MetadataUnavailable) as caught:
            self.fetch(path, timeout_s=timeout_s)
        assert caught.value.advice
        assert not caught.value.message.endswith(".")
        return caught.value


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


def body(raw: bytes, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(raw)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(raw)

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", "0")
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(65_536))


def slow(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.05)


# --- an address -----------------------------------------------------------------------------------------------------


def test_a_blob_is_fetched_as_it_is(site: Site) -> None:
    blob = MetadataMaker().blob()
    site.answers["/"] = body(blob)
    assert FetchedMetadata(blob) == site.fetch()


def test_the_lists_of_what_was_revoked_are_fetched_too(site: Site) -> None:
    fido = MetadataMaker(crl_urls=(f"{site.url}/1", f"{site.url}/2"))
    site.answers |= {"/": body(fido.blob()), "/1": body(b"one"), "/2": body(b"two")}
    assert FetchedMetadata(fido.blob(), (b"one", b"two")).crls == site.fetch().crls


@pytest.mark.parametrize("answer", [status(404), status(500), endless, slow], ids=["404", "500", "endless", "slow"])
def test_a_list_that_cannot_be_fetched_is_told_and_no_harm(
    site: Site, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_source, "CRL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(metadata_source, "MAX_CRL_BYTES", 1_000_000)
    fido = MetadataMaker(crl_urls=(f"{site.url}/1", f"{site.url}/2"))
    site.answers |= {"/": body(fido.blob()), "/1": answer, "/2": body(b"two")}
    fetched = site.fetch()
    assert ((b"two",), 1) == (fetched.crls, len(fetched.problems))
    assert f"{site.url}/1" in fetched.problems[0]


def test_what_is_no_blob_is_handed_on_for_others_to_refuse(site: Site) -> None:
    site.answers["/"] = body(b"<html>")
    fetched = site.fetch()
    assert (b"<html>", (), 1) == (fetched.blob, fetched.crls, len(fetched.problems))


def test_a_redirect_on_this_machine_is_followed(site: Site) -> None:
    site.answers |= {"/": status(302, Location="/a"), "/a": status(308, Location=f"{site.url}/b"), "/b": body(b"x")}
    assert b"x" == site.fetch().blob


def test_redirects_end(site: Site) -> None:
    site.answers["/"] = status(301, Location="/")
    assert "redirects" in site.refusal().message
    assert MAX_REDIRECTS + 1 == len(site.asked)


@pytest.mark.parametrize("location", ["http://example.org/", "http://10.0.0.1/", "file:///etc/passwd", "ftp://[::1]/"])
def test_a_redirect_away_from_tls_is_refused(site: Site, location: str) -> None:
    site.answers["/"] = status(302, Location=location)
    assert "TLS" in site.refusal().message


@pytest.mark.parametrize("code", [204, 304, 400, 404, 503])
def test_another_status_is_told(site: Site, code: int) -> None:
    site.answers["/"] = status(code)
    assert str(code) in site.refusal().message


def test_a_redirect_to_nowhere_is_a_status_like_others(site: Site) -> None:
    site.answers["/"] = status(302)
    assert "302" in site.refusal().message


def test_an_endless_body_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_source, "MAX_BLOB_BYTES", 1_000_000)
    site.answers["/"] = endless
    assert "larger than 1000000 bytes" in site.refusal().message


def test_a_body_that_drips_is_cut_off(site: Site) -> None:
    site.answers["/"] = slow
    before = time.monotonic()
    assert "in time" in site.refusal(timeout_s=0.5).message
    assert time.monotonic() - before < 3


def test_a_body_that_breaks_off_is_refused(site: Site) -> None:
    def cut(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x")

    site.answers["/"] = cut
    assert "cannot be fetched" in site.refusal().message


def test_a_compressed_body_is_refused(site: Site) -> None:
    """Nobody asked for it, and a kilobyte can unfold to a gigabyte."""
    site.answers["/"] = body(b"x", Content_Encoding="gzip")
    assert "compressed" in site.refusal().message


def refusal_of(url: str) -> MetadataUnavailable:
    with pytest.raises(MetadataUnavailable) as caught:
        asyncio.run(UrlSource(url, timeout_s=10).fetch())
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://example.org/", "example.org", "", "https://", "https://["]
)
def test_an_address_without_tls_is_not_asked(url: str) -> None:
    assert "metadata at" in refusal_of(url).message


def test_nobody_listening_is_told() -> None:
    assert "nobody listens" in refusal_of("http://127.0.0.1:9/").message


def test_a_server_without_tls_is_told(site: Site) -> None:
    assert "cannot be fetched" in refusal_of(site.url.replace("http", "https")).message


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "its name is not known" in refusal_of("https://metadata.invalid/").message


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"),
        *("127.1", "0x7f000001", "2130706433", "017700000001", "0xa9.254.43518", "0"),
    ],
)
def test_a_certificate_cannot_send_us_to_this_network(host: str) -> None:
    """Its addresses are read before anything is verified."""
    fido = MetadataMaker(crl_urls=(f"http://{host}/crl",))
    fetched, problems = crls_of(UrlSource("https://example.org/").egress, fido.blob())
    assert ((), 1) == (fetched, len(problems))
    assert "a network that is not public" in problems[0]
    assert revocation_urls(fido.blob()) == (f"http://{host}/crl",)


def test_a_certificate_cannot_send_us_to_this_network_by_a_name() -> None:
    """The address says nothing; the name server does."""

    async def resolve(name: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    fido = MetadataMaker(crl_urls=("http://crl.example.org/crl",))
    fetched, problems = crls_of(GuardedEgress(require_tls=False, resolve=resolve), fido.blob())
    assert ((), 1) == (fetched, len(problems))
    assert "`crl.example.org` leads to a network that is not public" in problems[0]


def test_metadata_of_this_machine_does_not_open_it_to_certificates(site: Site) -> None:
    """What the operator named is the BLOB; its certificates are still a stranger's."""
    fido = MetadataMaker(crl_urls=(f"{site.url}/crl",))
    site.answers |= {"/": body(fido.blob()), "/crl": body(b"one")}
    fetched = asyncio.run(UrlSource(f"{site.url}/").fetch())
    assert ((), 1) == (fetched.crls, len(fetched.problems))
    assert ["/"] == site.asked
    assert "a network that is not public" in fetched.problems[0]


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/", "/elsewhere"])
def test_a_list_that_is_elsewhere_is_not_followed(site: Site, location: str) -> None:
    fido = MetadataMaker(crl_urls=(f"{site.url}/crl",))
    site.answers |= {"/": body(fido.blob()), "/crl": status(302, Location=location)}
    assert "answers with status 302" in site.fetch().problems[0]
    assert ["/", "/crl"] == site.asked


def crls_of(egress: Egress, blob: bytes) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    async def crls() -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        deadline = asyncio.get_running_loop().time() + 5
        return await metadata_source._get_crls(egress, blob, deadline=deadline)

    return asyncio.run(crls())


# --- a file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "blob.jwt"
    path.write_bytes(b"x.y.z")
    assert FetchedMetadata(b"x.y.z") == asyncio.run(FileSource(path).fetch())


def file_refusal(path: Path) -> str:
    with pytest.raises(MetadataUnavailable) as caught:
        asyncio.run(FileSource(path).fetch())
    assert caught.value.advice
    return caught.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert f"metadata file `{tmp_path}/x` is not there" == file_refusal(tmp_path / "x")


def test_a_directory_is_told(tmp_path: Path) -> None:
    assert f"metadata file `{tmp_path}` is a directory" == file_refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch(mode=0)
    assert "may not be read" in file_refusal(path)


def test_a_file_beyond_all_measure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_source, "MAX_BLOB_BYTES", 10)
    path = tmp_path / "x"
    path.write_bytes(bytes(11))
    assert "larger than 10 bytes" in file_refusal(path)


# --- FIDO -----------------------------------------------------------------------------------------------------------


def test_fidos_roots_are_the_published_ones() -> None:
    """GlobalSign Root CA - R3 and Root R46, by the fingerprints that GlobalSign publishes."""
    expected = {
        "cbb522d7b7f127ad6a0113865bdf1cd4102e7d0759af635a7cf4720dc963c53b",
        "4fa3126d8d3a11d1c4855a4f807cbad6cf919d3a5a88b03bea2c6372d93c40c9",
    }
    assert expected == {hashlib.sha256(der).hexdigest() for der in fido_roots()}


def test_fido_is_asked_under_tls_and_known_by_name() -> None:
    assert FIDO_URL.startswith("https://")
    assert FIDO_SIGNER.endswith(".fidoalliance.org")
