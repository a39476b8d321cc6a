"""The authenticator policy at the command line: rules, lists of models, anchors, and what they would do."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from cyclopts import App, Parameter

from narthex.base.values import to_base64url
from narthex.cli.operator import (
    AsJson,
    Config,
    Name,
    Yes,
    counted,
    is_agreed,
    operate,
    print_json,
    print_members,
    print_table,
    printable,
    said,
)
from narthex.http.problems import sentence

if TYPE_CHECKING:
    from narthex.ports.records import Application, TrustAnchor
    from narthex.usecases.call import OperatorCall
    from narthex.usecases.policy_report import PolicyReport
    from narthex.webauthn.metadata import Metadata

T = TypeVar("T")

policies = App(name="policy", help="What an application asks of authenticators.")

ModeName = Literal["off", "monitor", "enforce-new", "enforce"] | None
AaGuids = Annotated[list[UUID], Parameter(help="AAGUIDs, as UUIDs.", negative="")]


@dataclass(frozen=True)
class Rules:
    """What to decide anew; None leaves it as it is."""

    allow_list: Annotated[ModeName, Parameter(help="Only models on the allow list, once it has any.")] = None
    deny_list: Annotated[ModeName, Parameter(help="No models on the deny list.")] = None
    bad_status: Annotated[ModeName, Parameter(help="No models that FIDO reports as broken or withdrawn.")] = None
    attestation: Annotated[ModeName, Parameter(help="Only authenticators that prove their model.")] = None
    device_bound: Annotated[ModeName, Parameter(help="Only passkeys that stay on one device.")] = None
    certification: Annotated[ModeName, Parameter(help="Only models that FIDO has certified.")] = None
    minimum_certification: Annotated[
        Literal["L1", "L1plus", "L2", "L2plus", "L3", "L3plus"] | None, Parameter(help="For that: how high.")
    ] = None
    fips: Annotated[ModeName, Parameter(help="Only models with FIPS 140.")] = None
    minimum_fips: Annotated[int | None, Parameter(help="For that: the level, 1 to 4.")] = None
    fresh_metadata: Annotated[ModeName, Parameter(help="Nobody while the metadata is out of date.")] = None
    algorithms: Annotated[ModeName, Parameter(help="Only keys of certain algorithms.")] = None
    algorithm: Annotated[
        list[int] | None, Parameter(help="For that: a COSE identifier, such as -7 for ES256; repeat for more.")
    ] = None
    passkeys_per_user: Annotated[ModeName, Parameter(help="No more passkeys for a user than so many.")] = None
    most_passkeys: Annotated[int | None, Parameter(help="For that: how many, 1 to 100.")] = None

    def changes(self) -> dict[str, Any]:
        """By the name of the policy's member: what was chosen."""
        from narthex.webauthn.authenticator_policy import MEMBERS, Mode

        modes = set(MEMBERS.values())
        chosen = {name: value for name, value in vars(self).items() if value is not None and name != "algorithm"}
        changes = {name: Mode(value) if name in modes else value for name, value in chosen.items()}
        return changes if self.algorithm is None else {**changes, "allowed_algorithms": tuple(self.algorithm)}


Chosen = Annotated[Rules, Parameter(name="*")]


@policies.command
def show(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print the rules, the lists of models, and the anchors of the application's own."""
    from narthex.usecases.application import get_application

    async def act(call: Any) -> tuple[Application, Metadata]:
        return await get_application(call, name), call.catalog.current

    _, (application, metadata) = operate(config, act)
    policy = msgspec.to_builtins(application.settings.authenticator_policy)
    if as_json:
        anchors = msgspec.to_builtins(application.settings.trust_anchors)
        print_json({"policy": policy, "models": _models(application), "anchors": anchors})
        return
    print_members(policy)
    if application.authenticators:
        print()
        rows = (
            (UUID(bytes=each.aaguid), "allowed" if each.is_allowed else "denied", _model(metadata, each.aaguid))
            for each in application.authenticators
        )
        print_table(("AAGUID", "LIST", "MODEL"), rows)
    for anchor in application.settings.trust_anchors:
        vouches_for = ", ".join(anchor.aaguids) or "any model"
        print(f"\nanchor {printable(anchor.name)}: {vouches_for}{', keys in hardware' if anchor.hardware else ''}")


@policies.command(name="set")
def set_(
    name: Name,
    /,
    *,
    rules: Chosen = Rules(),
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide something else; what is not named stays. What would lock users out is shown before it is asked for.

    A rule is `off`; or it is only noted what it objects to (`monitor`); or new passkeys are refused (`enforce-new`);
    or old ones are refused at sign-in as well (`enforce`).
    """
    from narthex.usecases.authenticator_policy import change_policy
    from narthex.usecases.policy_report import report_on

    changes = rules.changes()

    def explain() -> None:
        _, found = operate(config, lambda call: report_on(call, name, only_enforced=True, **changes))
        if as_json:
            return
        _print_report(found, when="under the rules that would refuse sign-ins")
        print()

    policy = _agreed(
        config, yes, lambda call, accepted: change_policy(call, name, accept_lock_out=accepted, **changes), explain
    )
    if as_json:
        print_json(msgspec.to_builtins(policy))
        return
    print_members(msgspec.to_builtins(policy))


@policies.command
def report(name: Name, /, *, rules: Chosen = Rules(), as_json: AsJson = False, config: Config = None) -> None:
    """Print what the policy, with these changes, would do to the passkeys that are enrolled. Nothing is decided."""
    from narthex.http.routes.management.authenticator_policy import report_answer
    from narthex.usecases.policy_report import report_on

    _, found = operate(config, lambda call: report_on(call, name, **rules.changes()))
    if as_json:
        print_json(msgspec.to_builtins(report_answer(found)))
        return
    _print_report(found)


@policies.command
def allow(name: Name, aaguids: AaGuids, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None) -> None:
    """Put models on the allow list."""
    _operate_models(name, aaguids, config, allowed=True, yes=yes, as_json=as_json)


@policies.command
def deny(name: Name, aaguids: AaGuids, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None) -> None:
    """Put models on the deny list."""
    _operate_models(name, aaguids, config, allowed=False, yes=yes, as_json=as_json)


@policies.command
def delist(
    name: Name, aaguids: AaGuids, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None
) -> None:
    """Take models from either list."""
    _operate_models(name, aaguids, config, allowed=None, yes=yes, as_json=as_json)


@policies.command
def trust(
    name: Name,
    certificate: Annotated[Path, Parameter(help="A PEM file with one certificate.")],
    /,
    *,
    called: Annotated[str | None, Parameter(help="What to call it; without it, the name of the file.")] = None,
    aaguid: Annotated[
        list[UUID] | None, Parameter(help="A model that it may vouch for; without any, every one.", negative="")
    ] = None,
    hardware: Annotated[bool, Parameter(help="Its keys stay in hardware, to your knowledge.", negative="")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Let a certificate of your own vouch for authenticators, beside those of the metadata."""
    from narthex.ports.records import TrustAnchor

    anchor = TrustAnchor(
        name=called or certificate.stem,
        certificate=_read_certificate(certificate),
        aaguids=tuple(map(str, aaguid or ())),
        hardware=hardware,
    )
    _change_anchors(
        name,
        config,
        lambda kept: (*(each for each in kept if each.name != anchor.name), anchor),
        yes=yes,
        as_json=as_json,
    )


@policies.command
def distrust(
    name: Name,
    anchor: Annotated[str, Parameter(help="What the anchor is called.")],
    /,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Take back what `trust` gave: what the certificate vouched for is no longer attested, from the next use on."""

    def less(kept: tuple[TrustAnchor, ...]) -> tuple[TrustAnchor, ...]:
        if anchor not in (each.name for each in kept):
            raise SystemExit(f"No anchor of {name} is called {anchor}: `narthex policy show {name}` prints them.")
        return tuple(each for each in kept if each.name != anchor)

    _change_anchors(name, config, less, yes=yes, as_json=as_json)


def _operate_models(
    name: str, aaguids: list[UUID], config: Path | None, *, allowed: bool | None, yes: bool, as_json: bool
) -> None:
    from narthex.usecases.authenticator_policy import operate_models

    async def act(call: OperatorCall, accepted: bool) -> tuple[Application, Metadata]:
        changed = await operate_models(call, name, aaguids, allowed=allowed, accept_lock_out=accepted)
        return changed, call.catalog.current

    application, metadata = _agreed(config, yes, act)
    if as_json:
        print_json({"models": _models(application)})
        return
    for aaguid in aaguids:
        listed = next((each for each in application.authenticators if each.aaguid == aaguid.bytes), None)
        place = "is on neither list" if listed is None else f"is {'allowed' if listed.is_allowed else 'denied'}"
        print(f"{aaguid} {place}: {printable(_model(metadata, aaguid.bytes))}")


def _models(application: Application) -> list[dict[str, Any]]:
    return [{"aa_guid": str(UUID(bytes=m.aaguid)), "is_allowed": m.is_allowed} for m in application.authenticators]


def _change_anchors(
    name: str,
    config: Path | None,
    changed: Callable[[tuple[TrustAnchor, ...]], tuple[TrustAnchor, ...]],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from narthex.usecases.authenticator_policy import change_anchors

    anchors = _agreed(config, yes, lambda call, accepted: change_anchors(call, name, changed, accept_lock_out=accepted))
    if as_json:
        print_json({"anchors": msgspec.to_builtins(anchors)})
        return
    print_members({"anchors": [anchor.name for anchor in anchors]})


def _agreed(
    config: Path | None,
    yes: bool,
    act: Callable[[OperatorCall, bool], Awaitable[T]],
    explain: Callable[[], None] = lambda: None,
) -> T:
    """Do something; where it would lock users out, ask first."""
    from narthex.usecases.policy_report import LockOutNotAccepted

    try:
        return operate(config, lambda call: act(call, False))[1]
    except LockOutNotAccepted as refusal:
        explain()
        if not is_agreed(f"{sentence(refusal.message)} Do it all the same?", yes=yes):
            raise SystemExit(1) from None
    return operate(config, lambda call: act(call, True))[1]


def _read_certificate(path: Path) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except OSError as e:
        raise SystemExit(f"The file {path} cannot be read: {e.strerror}.") from None
    except ValueError:
        raise SystemExit(f"The file {path} holds no certificate in PEM form.") from None
    if len(certificates) != 1:
        raise SystemExit(f"The file {path} holds {len(certificates)} certificates: give one at a time.")
    return b64encode(certificates[0].public_bytes(Encoding.DER)).decode()


def _model(metadata: Metadata, aaguid: bytes) -> str:
    entry = metadata.find(aaguid)
    return entry.name if entry is not None else "not in the metadata" if metadata.number else "no metadata"


def _print_report(report: PolicyReport, *, when: str = "if every rule that is on were enforced") -> None:
    print(f"{counted(report.credentials, 'passkey')} of {counted(report.users, 'user')}, {when}:")
    print(
        f"  {counted(report.refused, 'passkey')} would be refused, and {counted(report.locked_out, 'user')} locked out."
    )
    if report.rules:
        print()
        print_table(
            ("RULE", "MODE", "PASSKEYS", "USERS", "LOCKED OUT"),
            ((each.rule, each.mode, each.credentials, each.users, each.locked_out) for each in report.rules),
        )
    if report.objections:
        print()
        print_table(
            ("USER", "PASSKEY", "MODEL", "RULES"),
            (
                (
                    each.user_id,
                    to_base64url(each.credential_id)[:16],
                    each.model or UUID(bytes=each.aaguid),
                    ", ".join(each.rules),
                )
                for each in report.objections
            ),
        )
    if report.refused > len(report.objections):
        print(f"… and {report.refused - len(report.objections)} more.")
    if report.locked_out_users:
        more = report.locked_out - len(report.locked_out_users)
        print(f"\nlocked out: {said(report.locked_out_users)}{f' and {more} more' if more else ''}")
