"""`narthex dev`: what it prints, and what it keeps."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.playground.demo import running_demo
from tests.support.server import NARTHEX, free_port


def read_app_keys(keys: dict[str, str]) -> None:
    assert re.fullmatch(r"demo:public:[0-9a-f]{32}", keys["apiKey"])
    assert re.fullmatch(r"demo:secret:[0-9a-f]{32}", keys["apiSecret"])


def test_it_prints_one_link_and_answers_there(tmp_path: Path) -> None:
    with running_demo(tmp_path / "data") as demo:
        assert [demo.link] == re.findall(r"https?://\S+", demo.words)
        assert 2 == len(demo.words.splitlines())
        assert "<title>Playground · Narthex</title>" in httpx.get(demo.link).text


def test_the_front_page_leads_to_the_playground(tmp_path: Path) -> None:
    with running_demo(tmp_path / "data") as demo:
        answer = httpx.get(f"{demo.origin}/")
    assert (307, "/playground") == (answer.status_code, answer.headers["location"])


def test_a_second_start_keeps_data_and_keys(tmp_path: Path) -> None:
    port = free_port()
    with running_demo(tmp_path / "data", port) as first:
        keys = first.keys
        read_app_keys(keys)
    with running_demo(tmp_path / "data", port) as second:
        assert (keys, port) == (second.keys, second.port)
        assert 200 == second.act("register-token", {"username": "ada"})["response"]["status"]


def test_its_keys_are_for_this_user_alone_to_read(tmp_path: Path) -> None:
    with running_demo(tmp_path / "data"):
        assert 0o600 == stat.S_IMODE((tmp_path / "data/demo.json").stat().st_mode)
    assert "*\n" == (tmp_path / "data/.gitignore").read_text()
    assert [] == list((tmp_path / "data").glob("*.draft"))


def test_a_link_in_place_of_a_file_is_not_written_through(tmp_path: Path) -> None:
    """The data directory stands where others' code may have put one before us."""
    (tmp_path / "data").mkdir()
    for name in (".gitignore", "demo.json"):
        (tmp_path / "data" / name).symlink_to(tmp_path / f"elsewhere-{name}")
    with running_demo(tmp_path / "data") as demo:
        read_app_keys(demo.keys)
    assert [] == list(tmp_path.glob("elsewhere-*"))


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"apiKey": "\xff"}', b'{"apiKey": "demo:public:0", "apiSecret": "demo:secret:0"}']
)
def test_lost_or_damaged_keys_are_replaced_and_it_says_so(tmp_path: Path, content: bytes | None) -> None:
    with running_demo(tmp_path / "data") as first:
        lost = first.keys
    (tmp_path / "data/demo.json").unlink()
    if content is not None:
        (tmp_path / "data/demo.json").write_bytes(content)
    with running_demo(tmp_path / "data") as second:
        read_app_keys(second.keys)
        assert lost["apiSecret"] != second.keys["apiSecret"]
        assert "were lost or damaged, so it was given new ones.\n" in second.words
        assert 200 == second.act("register-token", {"username": "ada"})["response"]["status"]


@contextmanager
def listener(address: str, port: int) -> Iterator[None]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listening:
        listening.bind((address, port))
        listening.listen()
        yield


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_taken_port_gives_another_one_and_it_says_so(tmp_path: Path, address: str) -> None:
    port = free_port()
    with ExitStack() as stack:
        try:
            stack.enter_context(listener(address, port))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        demo = stack.enter_context(running_demo(tmp_path / "data", port))
        assert demo.port != port
        assert demo.words.startswith(f"Port {port} is taken, so this is port {demo.port}.\n")


def test_another_port_is_another_origin_that_is_accepted(tmp_path: Path) -> None:
    for _ in range(2):
        with running_demo(tmp_path / "data", free_port()) as demo:
            begun = httpx.post(
                f"{demo.origin}/signin/begin",
                headers={"ApiKey": demo.keys["apiKey"]},
                json={"RPID": "localhost", "Origin": demo.origin},
            )
            assert 200 == begun.status_code


def test_it_listens_on_the_loopback_only(tmp_path: Path) -> None:
    with running_demo(tmp_path / "data") as demo:
        listening = _listening_addresses(demo.port)
    assert listening
    assert listening <= {"0100007F", "00000000000000000000000001000000"}


def _listening_addresses(port: int) -> set[str]:
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    if not tables[0].exists():
        pytest.skip("only Linux lists its sockets here")
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}


def refused(*arguments: str) -> str:
    done = subprocess.run([NARTHEX, "dev", "--port", "0", *arguments], capture_output=True, text=True, timeout=60)
    assert (1, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_data_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused("--data-dir", str(tmp_path / "file/data")).startswith("Nothing can be kept in ")


def test_a_key_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "demo.json").mkdir()
    assert refused("--data-dir", str(tmp_path)).startswith("The demo's keys in ")
