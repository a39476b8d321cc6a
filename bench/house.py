"""What the server needs before it is measured: a database, an application, and rows."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.load import RP_ID, Keys, Passkey
from bench.process import BIN, narthex_environment
from tests.support.authenticator import SoftwareCredential, make_key_pair

BARE_TABLES = """
    create table credential (id blob primary key, point blob not null, sign_count integer not null) without rowid;
    create table nonce (nonce blob primary key) without rowid;
"""
_KEY = re.compile(r"(ApiKey|ApiSecret) +(\S+)")


def create_application(directory: Path, database_url: str) -> Keys:
    """Migrate a new database and make the one application that the load speaks to. Its event log is on."""
    environment = narthex_environment(directory, database_url)
    command = [str(BIN / "narthex"), "app", "create", "bench", "--origin", "https://bench.example"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    keys = dict(reversed(_KEY.findall(printed)))
    return Keys({"ApiKey": keys["ApiKey"]}, {"ApiSecret": keys["ApiSecret"]})


def fill(database: Path, *, like: Passkey, count: int) -> None:
    """Copy one passkey until the file holds `count` credentials, each of another user under another id.

    Ids are spread as chance would spread them: neighbours in time are not neighbours in the index.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.create_function("spread", 1, _spread, deterministic=True)
        columns = [row[1] for row in connection.execute("pragma table_info(credential)")]
        own = {
            "credential_id": "spread(n)",
            "user_id": "'user' || n",
            "user_handle": "cast('user' || n as blob)",
            "sign_count": "0",
        }
        values = ", ".join(own.get(column, f"credential.{column}") for column in columns)
        connection.execute(
            f"""
            insert into credential ({", ".join(columns)})
            with recursive numbers(n) as (select 2 union all select n + 1 from numbers where n < ?)
            select {values} from numbers, credential where user_id = ?
            """,
            (count, like.user_id),
        )
        connection.commit()
        connection.execute("pragma wal_checkpoint(truncate)")


def filled(n: int, *, like: Passkey) -> Passkey:
    """The passkey in the row of that number (2 … count)."""
    user_id = f"user{n}"
    credential = replace(like.credential, credential_id=_spread(n), user_handle=user_id.encode(), sign_count=0)
    return Passkey(user_id, credential)


def bare_database(database: Path, passkeys: Sequence[Passkey]) -> None:
    """What the bare server reads: the credentials, and nothing else."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(BARE_TABLES)
        connection.executemany(
            "insert into credential values (?, ?, 0)",
            [(each.credential.credential_id, _point(each.credential)) for each in passkeys],
        )
        connection.commit()


def make_passkeys(count: int) -> list[Passkey]:
    """Passkeys that no server has seen."""
    return [
        Passkey(f"user{n}", SoftwareCredential(_spread(n), make_key_pair(-7), RP_ID, f"user{n}".encode(), True))
        for n in range(count)
    ]


def _point(credential: SoftwareCredential) -> bytes:
    public: ec.EllipticCurvePublicKey = credential.key.private.public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _spread(n: int) -> bytes:
    return sha256(str(n).encode()).digest()
