"""A server that is opened to the conformance tool: it says so loudly, and not for an application that is not there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx

from tests.support.server import NARTHEX, free_port, running_server

SETTING = "NARTHEX_CONFORMANCE_APPLICATION"


def narthex(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `narthex` with data of its own."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("NARTHEX_")}
    given |= {
        "NARTHEX_DATA_DIR": str(directory),
        "NARTHEX_METADATA": "off",
        "NARTHEX_LISTEN": f"127.0.0.1:{free_port()}",
        **settings,
    }
    return subprocess.run(
        [NARTHEX, *arguments], env=given, cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_application_that_is_not_there_is_not_opened(tmp_path: Path) -> None:
    narthex(tmp_path, "app", "create", "demo")
    done = narthex(tmp_path, "serve", **{SETTING: "dmeo"})

    assert (1, "", 2) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert "NARTHEX_CONFORMANCE_APPLICATION names `dmeo`, and there is no such application." in done.stderr
    assert "`narthex app create dmeo --attestation --enterprise`" in done.stderr


def test_the_command_line_makes_the_application_that_the_setting_names(tmp_path: Path) -> None:
    done = narthex(tmp_path, "app", "create", "demo", **{SETTING: "demo"})

    assert (0, "") == (done.returncode, done.stderr)


def test_a_server_that_is_opened_says_so_and_answers(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path / 'narthex.db'}"
    with running_server(database_url) as server:
        server.create_app("demo")
        assert "passkeys of this application" not in server.log
        key = (server.data_dir / "master.key").read_text()
    body = {"username": "ann", "displayName": "Ann"}
    with running_server(database_url, master_key=key.strip(), conformance_application="demo") as server:
        answer = httpx.post(f"{server.base_url}/attestation/options", json=body)
        warning = next(line for line in server.log.splitlines() if "ANYONE can make and use passkeys" in line)

    assert ("ok", "localhost") == (answer.json()["status"], answer.json()["rp"]["id"])
    assert ('"level": "warning"' in warning, '"application": "demo"' in warning) == (True, True)
    # Not over https: a cookie that is `Secure` would not come back.
    assert answer.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
