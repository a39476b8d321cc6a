"""Aliases: other names of a user.

The compatible API names an alias by its reference hash, ``base64(SHA-256(app id ‖ alias))``, which anybody who
copies the table could search. The table therefore keeps a MAC of that hash under the server's pepper, and the
hash itself only wrapped; hashes imported from the reference still match.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from narthex.ports.changes import AliasTaken
from narthex.ports.records import Alias
from narthex.usecases.call import Call

MOST_ALIASES = 10
LONGEST_ALIAS = 250


def reference_hash(app_id: str, alias: str) -> bytes:
    """The 32 bytes by which the compatible API names an alias: exact, no case folding, no trimming."""
    return sha256((app_id + alias).encode()).digest()


def alias_mac(call: Call, alias: str) -> bytes:
    """What the store knows the alias by."""
    return call.keyring.mac("alias", reference_hash(call.application.app_id, alias))


def alias_records(call: Call, aliases: Sequence[str], *, hashing: bool) -> tuple[Alias, ...]:
    """Make the records of a user's aliases, each once."""
    return tuple(_alias_record(call, alias, hashing=hashing) for alias in dict.fromkeys(aliases))


def _alias_record(call: Call, alias: str, *, hashing: bool) -> Alias:
    name = reference_hash(call.application.app_id, alias)
    mac = call.keyring.mac("alias", name)
    return Alias(
        mac=mac,
        sealed_hash=call.keyring.wrap("alias-hash", call.application.app_id.encode() + mac, name),
        plaintext=None if hashing else alias,
    )


async def refuse_taken(call: Call, user_id: str, aliases: Sequence[str]) -> None:
    """Pass when no other user bears one of the aliases.

    Raises:
        AliasTaken: somebody does.
    """
    if not aliases:
        return
    owners = await call.store.find_alias_owners([alias_mac(call, alias) for alias in aliases])
    if any(owner != user_id for owner in owners):
        raise AliasTaken("an alias is already in use by another user of this application")
