"""The master key, and what derives from it.

The key comes from the environment, from a file that the operator names, or from a file that the first start
makes in the data directory (mode 0600, complete before it bears its name). Everything used derives from it by
HKDF-SHA-256, one key for each purpose; the key itself never leaves this module.
"""

from __future__ import annotations

import hmac
import os
from functools import cache
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from narthex.adapters.system import system_random
from narthex.base.errors import Malformed
from narthex.ports.environment import CannotUnwrap

SHORTEST_KEY = 32
_NONCE_SIZE = 12


class MasterKeyUnusable(Malformed):
    """The master key cannot be read, or is too short to be one."""

    code = "master-key-unusable"


class MasterKeyring:
    """Derives, wraps and unwraps under one master key."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) < SHORTEST_KEY:
            raise MasterKeyUnusable(
                f"the master key has {len(master_key)} characters and needs at least {SHORTEST_KEY}",
                advice="make one with `openssl rand -hex 32`",
            )
        self.__derive = cache(lambda label: _derived(master_key, label))
        self.__ciphers = cache(lambda purpose: AESGCM(self.__derive(f"wrap {purpose}")))

    def __repr__(self) -> str:
        return f"MasterKeyring(fingerprint={self.fingerprint.hex()})"

    @property
    def fingerprint(self) -> bytes:
        return self.__derive("fingerprint")[:16]

    def mac(self, purpose: str, message: bytes) -> bytes:
        return hmac.digest(self.__derive(f"mac {purpose}"), message, sha256().name)

    def wrap(self, purpose: str, context: bytes, plaintext: bytes) -> bytes:
        nonce = system_random(_NONCE_SIZE)
        return nonce + self.__ciphers(purpose).encrypt(nonce, plaintext, context)

    def unwrap(self, purpose: str, context: bytes, wrapped: bytes) -> bytes:
        try:
            return self.__ciphers(purpose).decrypt(wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:], context)
        except (InvalidTag, ValueError) as e:
            raise CannotUnwrap("a stored secret does not open with this master key") from e


def read_master_key(path: Path) -> bytes:
    """The master key in a file of the operator's.

    Raises:
        MasterKeyUnusable: the file cannot be read.
    """
    try:
        return path.read_bytes().strip()
    except OSError as e:
        raise MasterKeyUnusable(f"the master key file `{path}` cannot be read: {e.strerror}") from e


def read_or_make_master_key(path: Path) -> bytes:
    """The master key in the data directory, made at the first start.

    Two first starts at once agree: the file is written whole under another name and then linked, and a link
    is made once.
    """
    if path.exists():
        return read_master_key(path)
    # A name that nobody can foretell, and O_EXCL: the key never goes where somebody else's link leads.
    draft = path.with_name(f"{path.name}.{system_random(8).hex()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(system_random(32).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as e:
        raise MasterKeyUnusable(f"the master key file `{path}` cannot be made: {e.strerror}") from e
    return read_master_key(path)


def _derived(master_key: bytes, label: str) -> bytes:
    info = b"narthex master v1 " + label.encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(master_key)
