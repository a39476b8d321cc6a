"""Running the server: sockets, worker processes, and the demo."""

from __future__ import annotations

import socket
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from narthex import main as house
from narthex.base.errors import Unavailable
from narthex.settings import Settings, read_settings

_GRACE_S = 20
_log = structlog.get_logger("narthex")


class AddressTaken(Unavailable):
    """Something else listens where the server should."""

    code = "address-taken"
    advice = "stop the other program, or set NARTHEX_LISTEN to another port"


def serve(settings: Settings) -> None:
    """Answer until told to stop. Requests under way are finished first."""
    listening = _listening(settings.listen_host, settings.listen_port)
    if settings.public_url.startswith("http://") and settings.management_key:
        _log.warning("the public URL is not https: passkeys work on localhost only", public_url=settings.public_url)
    _log.info("listening", address=f"{settings.listen_host}:{settings.listen_port}", public_url=settings.public_url)
    config = _config("narthex.main:from_environment", factory=True, workers=settings.workers)
    if settings.workers == 1:
        _run(uvicorn.Server(config), listening)
        return
    from uvicorn.supervisors import Multiprocess

    Multiprocess(config, sockets=[listening]).run()


def serve_dev(*, port: int, data_dir: Path) -> None:
    """Start the demo: see `narthex.playground`."""
    from narthex.playground import demo

    listening, actual = _listening_near(port)
    if actual != port:
        print(f"Port {port} is taken, so this is port {actual}.")  # noqa: T201 - the start's own words
    settings = read_settings(
        {
            "NARTHEX_DATA_DIR": str(data_dir),
            "NARTHEX_LISTEN": f"127.0.0.1:{actual}",
            "NARTHEX_RATE_LIMITS": "off",
            "NARTHEX_LOG_LEVEL": "warning",
        }
    )
    house.configure_logs(settings.log_level)
    app: ASGIApp = demo.prepared(settings, port=actual)
    _run(uvicorn.Server(_config(app)), listening)


def _config(app: ASGIApp | str, **more: bool | int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        # Addresses are ours to read, from trusted proxies only; uvicorn's own reading would believe any header.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_S,
        **more,  # type: ignore[arg-type]  # each names its own parameter
    )


def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    server.run(sockets=[listening])
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
        raise AddressTaken(f"`{host}:{port}` cannot be listened on: {e.strerror}") from e
    return listening


def _listening_near(port: int) -> tuple[socket.socket, int]:
    """The port, or the next that is free."""
    for candidate in (*range(port, min(port + 10, 65_536)), 0):
        try:
            listening = _listening("127.0.0.1", candidate)
        except AddressTaken:
            continue
        return listening, listening.getsockname()[1]
    raise AddressTaken(f"no port near {port} is free")
