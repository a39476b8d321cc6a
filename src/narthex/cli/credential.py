"""The passkeys of users at the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from narthex.base.errors import Malformed
from narthex.base.values import from_base64url, to_base64url
from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    UserId,
    Yes,
    counted,
    minute,
    operate_within,
    print_answer,
    print_json,
    print_table,
    printable,
    require_agreement,
)

if TYPE_CHECKING:
    from narthex.ports.records import Credential
    from narthex.usecases.call import Call

credentials = App(name="credential", help="The passkeys of users.")

CredentialId = Annotated[
    str,
    Parameter(name="PASSKEY", help="Its id, as `narthex credential list` prints it.", allow_leading_hyphen=True),
]


@credentials.command(name="list")
def list_(name: Name, user_id: UserId, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print a user's passkeys, oldest first."""
    from narthex.http.routes.passwordless.credential import CredentialListAnswer, credential_answer
    from narthex.usecases.credential import credentials_of

    async def act(call: Call) -> Sequence[Credential]:
        return await credentials_of(call.store, user_id)

    kept = operate_within(config, name, act)
    if as_json:
        print_answer(CredentialListAnswer([credential_answer(each) for each in kept]))
        return
    if not kept:
        print(f"User {printable(user_id)} has no passkey here.")
        return
    print_credentials(kept)


@credentials.command
def rename(
    name: Name,
    credential_id: CredentialId,
    nickname: Annotated[str, Parameter(help="What to call it; empty for nothing.", allow_leading_hyphen=True)],
    /,
    *,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Call a passkey something else."""
    from narthex.http.routes.passwordless.credential import credential_answer
    from narthex.usecases import credential

    raw = _parse_id(credential_id)

    async def act(call: Call) -> Credential:
        await credential.rename_credential(call, raw, nickname or None)
        return await credential.get_credential(call, raw)

    renamed = operate_within(config, name, act)
    if as_json:
        print_answer(credential_answer(renamed))
        return
    print(f"The passkey of {printable(renamed.user_id)} is called {printable(renamed.nickname or 'nothing')} now.")


@credentials.command
def delete(
    name: Name, credential_id: CredentialId, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None
) -> None:
    """Delete a passkey: it signs nobody in any more. The browser may go on offering it."""
    from narthex.usecases import credential

    raw = _parse_id(credential_id)

    async def look(call: Call) -> tuple[Credential, int]:
        found = await credential.get_credential(call, raw)
        return found, len(await credential.credentials_of(call.store, found.user_id))

    found, number = operate_within(config, name, look)
    others = "no other" if number == 1 else counted(number - 1, "other")
    called = f" {found.nickname}" if found.nickname else ""
    question = f"The passkey{called} of {found.user_id}, last used at {minute(found.last_used_at)} UTC"
    require_agreement(f"{printable(question)}: the user has {others}. Delete it for good?", yes=yes)

    async def act(call: Call) -> None:
        await credential.remove_credential(call, raw)

    operate_within(config, name, act)
    if as_json:
        print_json({"user_id": found.user_id, "credential_id": to_base64url(raw), "is_deleted": True})
        return
    print(f"The passkey is deleted; {printable(found.user_id)} has {others}.")


def print_credentials(kept: Sequence[Credential]) -> None:
    """The id stands last, so that a narrow terminal breaks nothing else."""
    print_table(
        ("NAME", "RP ID", "MADE", "LAST USED", "ID"),
        (
            (
                each.nickname or each.device,
                each.rp_id,
                minute(each.created_at),
                minute(each.last_used_at),
                to_base64url(each.credential_id),
            )
            for each in kept
        ),
    )


def _parse_id(text: str) -> bytes:
    try:
        return from_base64url(text, padding_tolerated=True)
    except Malformed:
        raise SystemExit(
            f"`{printable(text[:100])}` is no id of a passkey: `narthex credential list APP USER` prints them."
        ) from None
