"""The demo application: made at the first start, found again at every later one."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from narthex import main as house
from narthex.adapters.sql import migrate
from narthex.http.app import create_app
from narthex.http.environment import Environment
from narthex.playground.app import PATH, Demo, Playground
from narthex.playground.key_file import DemoKeys, read_keys, write_keys
from narthex.ports.records import Application, ApplicationSettings, KeyKind
from narthex.settings import Settings
from narthex.usecases.api_key import SCOPES_OF_KIND, KeyTerms, create_key, is_open, key_mac
from narthex.usecases.application import change_settings, create_application, get_application
from narthex.usecases.call import OperatorCall

__all__ = ["PATH", "prepared"]

APP_ID = "demo"
KEY_FILE = "demo.json"
_SETTINGS = ApplicationSettings(event_logging=True, magic_link_monthly_quota=1000)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A playground that is ready to be served, and what its first words should say."""

    app: ASGIApp
    remark: str | None


def prepared(settings: Settings, *, port: int) -> Prepared:
    """Bring the database up to date, find or make the demo application, and join the playground to the server.

    Raises:
        DataDirUnusable, KeyFileUnusable, StoreUnavailable, MasterKeyDiffers, MasterKeyUnusable.
    """
    _make_data_dir(settings)
    keys, remark = asyncio.run(_seeded(settings))
    demo = Demo(
        port=port, app_id=APP_ID, keys=keys, key_file=settings.data_dir / KEY_FILE, command=_command(settings.data_dir)
    )

    def joined(env: Environment) -> ASGIApp:
        return Playground(create_app(env), demo, public_url=env.public_url)

    return Prepared(app=house.Server(settings, joined), remark=remark)


def _command(data_dir: Path) -> str:
    """What to type to reach the same data from the same shell.

    >>> _command(Path("elsewhere")).startswith("NARTHEX_DATA_DIR=elsewhere ")
    True
    """
    program = "narthex" if shutil.which("narthex") else os.path.relpath(sys.argv[0])
    setting = "" if data_dir == Path(".narthex") else f"NARTHEX_DATA_DIR={shlex.quote(str(data_dir))} "
    return setting + shlex.quote(program)


def _make_data_dir(settings: Settings) -> None:
    house.make_data_dir(settings)
    ignored = settings.data_dir / ".gitignore"
    try:
        # The directory holds keys, and stands where people keep their own code. Others may have put it there: what
        # has the name already stays as it is, and with O_EXCL that includes a link that leads nowhere yet.
        with contextlib.suppress(FileExistsError), open(ignored, "x", encoding="utf-8") as file:
            file.write("*\n")
    except OSError as e:
        raise house.DataDirUnusable(f"nothing can be kept in `{settings.data_dir}`: {e.strerror}") from e


async def _seeded(settings: Settings) -> tuple[DemoKeys, str | None]:
    await migrate.upgrade(settings.database_url)
    async with house.operating(settings) as call:
        keys, remark = await _found_or_made(call, settings)
        # Another port than last time is another origin.
        known = (await get_application(call, APP_ID)).settings.origins
        await change_settings(call, APP_ID, origins=(*known, settings.public_url))
    return keys, remark


async def _found_or_made(call: OperatorCall, settings: Settings) -> tuple[DemoKeys, str | None]:
    path = settings.data_dir / KEY_FILE
    kept = read_keys(path)
    application = await call.root.tenant(APP_ID).find_application()
    if application is None:
        made = await create_application(call, APP_ID, _SETTINGS)
        keys, remark = DemoKeys(api_key=made.public[0], api_secret=str(made.secret[0])), None
    elif kept is not None and _open(call, application, kept):
        return kept, None
    else:
        keys = await _add_key_pair(call, application)
        remark = f"The demo's keys in {path} were lost or damaged, so it was given new ones."
    write_keys(path, keys)
    return keys, remark


def _open(call: OperatorCall, application: Application, keys: DemoKeys) -> bool:
    """Whether both keys are the application's, and open."""
    usable = [key for key in application.api_keys if is_open(key, application, now=call.now)]
    pair = ((KeyKind.PUBLIC, keys.api_key), (KeyKind.SECRET, keys.api_secret))
    return all(
        any(key.kind is kind and hmac.compare_digest(key.mac, key_mac(call.keyring, text)) for key in usable)
        for kind, text in pair
    )


async def _add_key_pair(call: OperatorCall, application: Application) -> DemoKeys:
    public, secret = [
        await create_key(call, application, kind, KeyTerms(scopes=frozenset(map(str, SCOPES_OF_KIND[kind]))))
        for kind in (KeyKind.PUBLIC, KeyKind.SECRET)
    ]
    return DemoKeys(api_key=str(public), api_secret=str(secret))
