"""Applications at the command line: their settings, where their ceremonies take place, and their rp ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter, validators

from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    Yes,
    is_agreed,
    minute,
    operate,
    print_json,
    print_members,
    print_table,
    said,
)

if TYPE_CHECKING:
    from narthex.ports.records import Application, SeenOrigin
    from narthex.usecases.call import OperatorCall

applications = App(name="app", help="The applications whose users sign in here.")

_LINKS_A_MONTH = 1_000
"""Of a new application. The compatible API's default is none, and a magic link that is never sent helps nobody."""


@dataclass(frozen=True)
class Choices:
    """What an operator may decide for an application; None leaves it as it is."""

    origin: Annotated[
        list[str] | None,
        Parameter(help="A page's origin, such as https://app.example.com; repeat for more. The list replaces the old."),
    ] = None
    top_origin: Annotated[
        list[str] | None, Parameter(help="An origin that may frame the application's pages; repeat for more.")
    ] = None
    conceal_users: Annotated[
        bool | None, Parameter(help="Answer for unknown users with a decoy, so that nobody can ask who is one.")
    ] = None
    single_use: Annotated[bool | None, Parameter(help="Accept each sign-in token once; on from the start.")] = None
    manual_tokens: Annotated[bool | None, Parameter(help="Make sign-in tokens by hand; on from the start.")] = None
    rp_id: Annotated[
        list[str] | None,
        Parameter(
            help="A relying party id that ceremonies may name; repeat for more. Without any: what fits an origin."
        ),
    ] = None
    attestation: Annotated[bool | None, Parameter(help="Let registrations ask for attestation.")] = None
    enterprise: Annotated[
        bool | None, Parameter(help="Let registrations ask which very authenticator it is (enterprise attestation).")
    ] = None
    sign_count: Annotated[
        Literal["refuse", "flag"] | None, Parameter(help="What to do when a signature counter does not rise.")
    ] = None
    backup_eligibility: Annotated[
        Literal["refuse", "flag"] | None, Parameter(help="What to do when a passkey's backup eligibility changes.")
    ] = None
    fips_for_aal3: Annotated[bool | None, Parameter(help="Give AAL3 only to authenticators with FIPS 140.")] = None
    events: Annotated[bool | None, Parameter(help="Keep an event log.")] = None
    event_days: Annotated[
        int | None, Parameter(help="Days that events are kept.", validator=validators.Number(gte=0, lte=3650))
    ] = None
    max_users: Annotated[
        int | None, Parameter(help="The most users with passkeys; 0 for no limit.", validator=validators.Number(gte=0))
    ] = None
    admin_email: Annotated[
        list[str] | None, Parameter(help="Whom to tell of what becomes of the application; repeat for more.")
    ] = None
    magic_links: Annotated[bool | None, Parameter(help="Send magic links; on from the start.")] = None
    magic_link_quota: Annotated[
        int | None, Parameter(help="Magic links in 30 days; 1000 from the start.", validator=validators.Number(gte=0))
    ] = None
    magic_link_confirmation: Annotated[
        bool | None, Parameter(help="Have people click once more on a page of this server; on from the start.")
    ] = None
    magic_link_origin: Annotated[
        list[str] | None, Parameter(help="Where magic links may lead; repeat for more. Without any: anywhere.")
    ] = None
    mail_templates: Annotated[
        Path | None,
        Parameter(help="How mails read: a JSON file, or a directory; one that is empty takes all templates back."),
    ] = None
    mail_sender_name: Annotated[str | None, Parameter(help="Who mails are from, beside the address.")] = None
    notices: Annotated[
        bool | None, Parameter(help="Tell users by mail of new passkeys, and of sign-ins by magic link.")
    ] = None

    def changes(self) -> dict[str, Any]:
        """By the name of the application's setting: what was chosen."""
        from narthex.cli.mail_template import read_templates
        from narthex.ports.records import Oddity

        chosen = {
            "origins": None if self.origin is None else tuple(self.origin),
            "top_origins": None if self.top_origin is None else tuple(self.top_origin),
            "conceal_unknown_users": self.conceal_users,
            "single_use_verify_tokens": self.single_use,
            "manual_tokens": self.manual_tokens,
            "rp_ids": None if self.rp_id is None else tuple(self.rp_id),
            "allow_attestation": self.attestation,
            "enterprise_attestation": self.enterprise,
            "sign_count_stalled": self.sign_count and Oddity(self.sign_count),
            "backup_eligibility_changed": self.backup_eligibility and Oddity(self.backup_eligibility),
            "fips_for_aal3": self.fips_for_aal3,
            "event_logging": self.events,
            "event_retention_days": self.event_days,
            "admin_emails": None if self.admin_email is None else tuple(self.admin_email),
            "magic_links": self.magic_links,
            "magic_link_monthly_quota": self.magic_link_quota,
            "magic_link_confirmation": self.magic_link_confirmation,
            "magic_link_origins": None if self.magic_link_origin is None else tuple(self.magic_link_origin),
            "mail_templates": None if self.mail_templates is None else read_templates(self.mail_templates),
            "mail_sender_name": self.mail_sender_name,
            "notices": self.notices,
        }
        changes = {name: value for name, value in chosen.items() if value is not None}
        return changes if self.max_users is None else {**changes, "max_users": self.max_users or None}


Chosen = Annotated[Choices, Parameter(name="*")]


@applications.command
def create(
    name: Annotated[str, Parameter(help="Its id: 3 to 62 lower-case letters and digits, beginning with a letter.")],
    /,
    *,
    choices: Chosen = Choices(),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make an application and print its keys, which are shown only now.

    Without --origin, ceremonies may come from any page. It keeps an event log, and may send 1000 magic links in 30
    days, unless something else is said here.
    """
    from narthex.ports.records import ApplicationSettings
    from narthex.usecases.application import create_application

    chosen = ApplicationSettings(
        **{"event_logging": True, "magic_link_monthly_quota": _LINKS_A_MONTH, **choices.changes()}
    )
    settings, keys = operate(config, lambda call: create_application(call, name, chosen))
    if as_json:
        names = {"appId": name, "apiUrl": settings.public_url}
        print_json({**names, "apiKeys": keys.public, "apiSecrets": keys.secret})
        return
    print(f"Application {name}. These keys are shown only now: keep the secret one on your backend.\n")
    print(f"  API URL     {settings.public_url}")
    print(f"  ApiKey      {keys.public[0]}")
    print(f"  ApiSecret   {keys.secret[0]!s}\n")
    print("A second pair, for when you change the first:\n")
    print(f"  ApiKey      {keys.public[1]}")
    print(f"  ApiSecret   {keys.secret[1]!s}")


@applications.command(name="set")
def set_(
    name: Name,
    /,
    *,
    choices: Chosen = Choices(),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide something else for an application; what is not named stays. Servers follow within a second."""
    from narthex.usecases.application import change_settings

    changes = choices.changes()
    _, changed = operate(config, lambda call: change_settings(call, name, **changes))
    if as_json:
        print_json(msgspec.to_builtins(changed))
        return
    print_members(_in_lines(msgspec.to_builtins(changed)))


@applications.command
def show(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print what is decided for an application, and its keys. Secrets are not known here."""
    from narthex.usecases.application import get_application
    from narthex.usecases.magic_link import count_sent, monthly_quota

    async def act(call: OperatorCall) -> tuple[Application, int, int]:
        application = await get_application(call, name)
        quota = monthly_quota(application, call.now - application.created_at)
        return application, await count_sent(call, application), quota

    _, (application, sent, quota) = operate(config, act)
    decided = msgspec.to_builtins(application.settings)
    keys = [
        {"kind": str(key.kind), "key": key.value or f"{name}:secret:{'*' * 28}{key.hint}", "locked": key.locked}
        for key in application.api_keys
    ]
    if as_json:
        links = {"magic_links_sent": sent, "magic_links_allowed": quota}
        print_json({**life_of(application), **decided, **links, "keys": keys})
        return
    state = {"state": state_of(application), "created_at": f"{minute(application.created_at)} UTC"}
    print_members({**state, **_in_lines(decided), "magic_links_sent": f"{sent} of {quota} in 30 days"})
    print(f"authenticator policy: see `narthex policy show {name}`")
    for key in keys:
        print(f"{key['kind']} key: {key['key']}{' (locked)' if key['locked'] else ''}")


@applications.command(name="list")
def list_(*, as_json: AsJson = False, config: Config = None) -> None:
    """Print all applications, and which are frozen or about to be deleted."""

    async def act(call: OperatorCall) -> list[Application]:
        found = [await call.root.tenant(name).find_application() for name in await call.root.list_applications()]
        return [application for application in found if application is not None]

    _, found = operate(config, act)
    if as_json:
        print_json({"applications": [life_of(application) for application in found]})
        return
    if not found:
        print("There are no applications yet: `narthex app create NAME` makes one.")
        return
    print_table(
        ("APPLICATION", "MADE", "STATE"), ((each.app_id, minute(each.created_at), state_of(each)) for each in found)
    )


@applications.command
def origins(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print where ceremonies may take place, and where they did while they might anywhere."""
    from narthex.usecases.application import get_application

    _, application = operate(config, lambda call: get_application(call, name))
    settings = application.settings
    lists = {"origins": settings.origins, "top_origins": settings.top_origins, "rp_ids": settings.rp_ids}
    if as_json:
        print_json({**lists, "seen": msgspec.to_builtins(application.seen_origins)})
        return
    print_members(lists)
    if not settings.origins:
        print(f"\nCeremonies may come from any page. `narthex app lock {name}` makes the list of those that were seen.")
        _print_seen(application.seen_origins)


@applications.command
def lock(
    name: Name,
    /,
    *,
    without: Annotated[
        list[str] | None,
        Parameter(help="An origin that was seen and does not belong there; repeat for more.", negative=""),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Let ceremonies come only from where they were seen to come from."""
    from narthex.usecases.application import get_application
    from narthex.usecases.relying_party import lock_origins, split_seen

    _, application = operate(config, lambda call: get_application(call, name))
    kept, _ = split_seen(application.seen_origins, without=tuple(without or ()))
    if kept:
        if not as_json:
            _print_seen(kept)
        if not is_agreed("\nAllow these, and nothing else?", yes=yes):
            raise SystemExit(1)
    # Only what was agreed to: the question may have stood for an hour, and ceremonies went on.
    _, (settings, left_out) = operate(config, lambda call: lock_origins(call, name, shown=kept))
    lists = {"origins": settings.origins, "rp_ids": settings.rp_ids}
    if as_json:
        print_json({**lists, "left_out": msgspec.to_builtins(left_out)})
        return
    print_members(lists)
    if left_out:
        print(f"left out: {said([*dict.fromkeys(seen.origin for seen in left_out)])}")


@applications.command(name="rp-ids")
def rp_ids(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Count passkeys and users by relying party id, and say how far a move from one to another has come."""
    from narthex.usecases.application import get_application
    from narthex.usecases.relying_party import survey_rp_ids

    _, application = operate(config, lambda call: get_application(call, name))
    _, survey = operate(config, lambda call: survey_rp_ids(call, name))
    moving = application.settings.rp_id_migration
    if as_json:
        progress = {"users": survey.users, "moved": survey.moved, "not_moved": survey.not_moved}
        print_json({**progress, "move": msgspec.to_builtins(moving), "rp_ids": msgspec.to_builtins(survey.by_use())})
        return
    if not survey.rp_ids:
        print("There are no passkeys yet.")
    else:
        print_table(
            ("RP ID", "PASSKEYS", "USERS"),
            ((each.rp_id, each.credentials, each.users) for each in survey.by_use()),
        )
    for rp_id in application.related_rp_ids:
        print(f"Answers https://{rp_id}/.well-known/webauthn")
    if moving is not None:
        print(f"\nMoving from {moving.old} to {moving.new}: {survey.moved} of {survey.users} users have a passkey for")
        print(f"{moving.new}, {survey.not_moved} have only those for {moving.old}.")


@applications.command
def move(
    name: Name,
    /,
    *,
    old: Annotated[
        str | None, Parameter(name="--from", help="The relying party id of the passkeys that exist.")
    ] = None,
    new: Annotated[str | None, Parameter(name="--to", help="The one of the passkeys to come.")] = None,
    end: Annotated[
        bool, Parameter(help="End the move: passkeys of the old id are asked for no more.", negative="")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Move from one relying party id to another: passkeys of both sign in until the move ends."""
    from narthex.ports.records import RpIdMigration
    from narthex.usecases.relying_party import change_move

    if end is (old is not None and new is not None):
        raise SystemExit("Say --from and --to to begin a move, or --end to end it.")
    moving = None if end else RpIdMigration(old=old or "", new=new or "")
    _, settings = operate(config, lambda call: change_move(call, name, moving))
    if as_json:
        print_json({"move": msgspec.to_builtins(settings.rp_id_migration), "rp_ids": settings.rp_ids})
        return
    if moving is None:
        print("The move has ended.")
        return
    listed = dict.fromkeys((*settings.origins, f"https://{moving.new}"))
    print(f"""Users who are named at {moving.new} are asked for their passkeys of {moving.old}, until they have new
ones; without a name, in autofill, browsers offer those of {moving.new} alone. What is left to do:

  1. Let https://{moving.old}/.well-known/webauthn be answered by this server, with the host it was asked by:
       narthex app answer-for {name} {moving.old}
  2. Have the pages at {moving.new} on the list of origins, beside those that stay:
       narthex app set {name} {" ".join(f"--origin {origin}" for origin in listed)}
  3. After a sign-in whose verified `rpId` is {moving.old}, offer the user a new passkey.
  4. Follow it: `narthex app rp-ids {name}`. When nobody is left: `narthex app move {name} --end`.""")


@applications.command(name="forget-origins")
def forget_origins_(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Forget where ceremonies were seen to come from, and begin to learn anew."""
    from narthex.usecases.relying_party import forget_origins

    operate(config, lambda call: forget_origins(call, name))
    if as_json:
        print_json({"seen": []})
        return
    print("Forgotten.")


@applications.command(name="answer-for")
def answer_for_(
    name: Name,
    rp_id: Annotated[str, Parameter(help="A relying party id: the host that browsers ask.")],
    /,
    *,
    leave: Annotated[bool, Parameter(help="Answer there no longer.", negative="")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Tell browsers, at the host of a relying party id, that this application's origins may use its passkeys."""
    from narthex.usecases.relying_party import answer_for

    operate(config, lambda call: answer_for(call, name, rp_id, leave=leave))
    if as_json:
        print_json({"rp_id": rp_id, "is_answered": not leave})
        return
    print(
        f"https://{rp_id}/.well-known/webauthn is {'left alone' if leave else f'answered with the origins of {name}'}."
    )


def life_of(application: Application) -> dict[str, Any]:
    """What an application is, and whether it is to be any longer."""
    from narthex.base.values import instant_z

    frozen_at, delete_at = application.frozen_at, application.delete_at
    return {
        "app_id": application.app_id,
        "created_at": application.created_at.isoformat(),
        "frozen_at": None if frozen_at is None else instant_z(frozen_at),
        "delete_at": None if delete_at is None else instant_z(delete_at),
    }


def state_of(application: Application) -> str:
    """Whether its keys open anything, and if not, why."""
    if application.delete_at is not None:
        return f"deleted at {minute(application.delete_at)} UTC"
    if application.frozen_at is not None:
        return f"frozen since {minute(application.frozen_at)} UTC"
    return "open"


def _in_lines(settings: dict[str, Any]) -> dict[str, Any]:
    """What `narthex policy show` prints is too much for a line, and so is the text of a mail."""
    shown = {name: value for name, value in settings.items() if name not in ("authenticator_policy", "trust_anchors")}
    templates = (f"{each['kind']} {each['locale']}".strip() for each in settings["mail_templates"])
    return {**shown, "mail_templates": [*templates]}


def _print_seen(seen: Sequence[SeenOrigin]) -> None:
    if not seen:
        print("No ceremony has been seen yet.")
        return
    print()
    print_table(
        ("ORIGIN", "RP ID", "FIRST SEEN", "LAST SEEN"),
        (
            (each.origin, each.rp_id, f"{each.first_seen_at:%Y-%m-%d %H:%M}", f"{each.last_seen_at:%Y-%m-%d %H:%M}")
            for each in seen
        ),
    )
