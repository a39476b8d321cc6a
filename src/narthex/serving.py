"""Running the server: sockets, worker processes, and the demo."""

# ruff: noqa: T201 - the demo says a few words on the terminal, before and after logs are of use.

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from narthex import main as house
from narthex.base.errors import Unavailable
from narthex.connection import Connection
from narthex.settings import Settings, is_local, read_settings

_GRACE_S = 20
_log = structlog.get_logger("narthex")


class AddressTaken(Unavailable):
    """Something else listens where the server should."""

    code = "address-taken"
    advice = "stop the other program, or set NARTHEX_LISTEN to another port"


def serve(settings: Settings) -> None:
    """Answer until told to stop. Requests under way are finished first."""
    listening = _listening(settings.listen_host, settings.listen_port)
    if is_local(settings.public_url):
        _log.warning("the public URL works on this machine only: set NARTHEX_PUBLIC_URL for any other use")
    _log.info("listening", address=f"{settings.listen_host}:{settings.listen_port}", public_url=settings.public_url)
    config = _config("narthex.main:from_environment", factory=True, workers=settings.workers)
    if settings.workers == 1:
        _run(uvicorn.Server(config), listening)
        return
    from uvicorn.supervisors import Multiprocess

    Multiprocess(config, sockets=[listening]).run()


def serve_dev(*, port: int, data_dir: Path) -> None:
    """Start the demo and its playground, on the loopback only; `narthex.playground` says what they are."""
    from narthex.playground import demo

    listening, actual = _listening_near(port)
    if actual != port and port != 0:
        print(f"Port {port} is taken, so this is port {actual}.")
    settings = read_settings(
        {
            "NARTHEX_DATA_DIR": str(data_dir),
            "NARTHEX_LISTEN": f"127.0.0.1:{actual}",
            "NARTHEX_RATE_LIMITS": "off",
            "NARTHEX_LOG_LEVEL": "warning",
            # A demo tells nobody that it was started, unless it is asked to.
            "NARTHEX_METADATA": os.environ.get("NARTHEX_METADATA", "off"),
            "NARTHEX_METADATA_ROOT": os.environ.get("NARTHEX_METADATA_ROOT", ""),
            # Magic links are read on the terminal, and may be tried at once.
            "NARTHEX_MAIL": os.environ.get("NARTHEX_MAIL", "console"),
            "NARTHEX_MAIL_FROM": os.environ.get("NARTHEX_MAIL_FROM", "narthex@localhost"),
            "NARTHEX_NEW_APPLICATION_HOLD": "0",
            # Webhooks of a demo go to programs on the same machine.
            "NARTHEX_EGRESS_NETWORKS": "127.0.0.0/8, ::1",
        }
    )
    house.configure_logs(settings.log_level)
    prepared = demo.prepared(settings, port=actual)
    if prepared.remark:
        print(prepared.remark)
    ready = (
        f"Narthex is ready: {settings.public_url}{demo.PATH}\n"
        f"It keeps its data in {data_dir}. Press Ctrl-C to stop it; the data stays."
    )
    _run(_Announced(_config(prepared.app), ready), *listening)


class _Announced(uvicorn.Server):
    """A server that says when it answers, and not before."""

    def __init__(self, config: uvicorn.Config, words: str) -> None:
        super().__init__(config)
        self._words = words

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._words, flush=True)


def _config(app: ASGIApp | str, **more: bool | int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="on",
        # Addresses are ours to read, from trusted proxies only; uvicorn's own reading would believe any header.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_S,
        **more,  # type: ignore[arg-type]  # each names its own parameter
    )


def _run(server: uvicorn.Server, *listening: socket.socket) -> None:
    # When all is answered, uvicorn raises the signal that stopped it once more, for whoever listened before. A stop
    # that was asked for is no failure: the process ends with status 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=list(listening))
    if not server.started:
        raise SystemExit(1)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as e:
        listening.close()
        taken = e.errno == errno.EADDRINUSE
        advice = None if taken else "set NARTHEX_LISTEN to an address of this machine, and a port that you may use"
        raise AddressTaken(f"`{host}:{port}` cannot be listened on: {e.strerror}", advice=advice) from e
    return listening


def _listening_near(port: int) -> tuple[list[socket.socket], int]:
    """The port, or the next that is free; on both loopback addresses, for `localhost` may mean either."""
    for candidate in (*range(port, min(port + 10, 65_536)), 0):
        try:
            first = _listening("127.0.0.1", candidate)
        except AddressTaken:
            continue
        actual: int = first.getsockname()[1]
        try:
            return [first, _listening("::1", actual)] if _has_ipv6_loopback() else [first], actual
        except AddressTaken:
            # Browsers try ::1 first, so they would reach the other program under our name.
            first.close()
    raise AddressTaken(f"no port near {port} is free")


def _has_ipv6_loopback() -> bool:
    if not socket.has_ipv6:
        return False
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
