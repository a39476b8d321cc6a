"""What an application asks of authenticators, beyond a ceremony that verified.

Every rule has a mode, because strictness without a plan locks people out: first monitor who would be refused, then
refuse new passkeys, and only then those that are in use. ``RULES`` is the one table, in the order of judgement; all
rules that object are told, and the first that is enforced refuses.

What a rule takes as evidence follows from who would lie. A good word (on the allow list, certified, FIPS) counts only
when attested, since anyone can name a good model; a bad word (on the deny list, a bad status, BE=1) counts on the mere
claim. Without attestation asked for, browsers may blank the AAGUID (L3 #enum-attestation-convey), so a deny list
stops models that are named honestly, and only an allow list stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec

from narthex.base.errors import Malformed, Rejected, quoted
from narthex.webauthn.authenticator import AuthenticatorFacts
from narthex.webauthn.cose import ALGORITHMS
from narthex.webauthn.metadata import FidoLevel

FIPS_LEVELS = range(1, 5)
PASSKEY_LIMITS = range(1, 101)


class Mode(StrEnum):
    """What follows when a rule objects."""

    OFF = "off"
    """The rule is not asked."""
    MONITOR = "monitor"
    """It is noted."""
    ENFORCE_NEW = "enforce-new"
    """New passkeys are refused; for those in use it is noted."""
    ENFORCE = "enforce"
    """New passkeys are refused, and sign-ins with old ones."""


class Occasion(StrEnum):
    """When an authenticator is judged."""

    REGISTRATION = "registration"
    SIGN_IN = "sign-in"


REFUSING = {
    Occasion.REGISTRATION: frozenset({Mode.ENFORCE_NEW, Mode.ENFORCE}),
    Occasion.SIGN_IN: frozenset({Mode.ENFORCE}),
}
"""Occasion → the modes that refuse then."""


class AuthenticatorPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What an application asks of authenticators: a mode for each rule, and what the rule measures by.

    It is read back as it was kept; ``checked`` is for what comes in.
    """

    allow_list: Mode = Mode.ENFORCE_NEW
    """Acts only while the application's allow list is not empty."""
    deny_list: Mode = Mode.ENFORCE_NEW
    bad_status: Mode = Mode.ENFORCE_NEW
    attestation: Mode = Mode.OFF
    """MONITOR asks for attestation and refuses nobody: so sign-ins can reach AAL 3."""
    device_bound: Mode = Mode.OFF
    certification: Mode = Mode.OFF
    minimum_certification: str = "L1"
    """The name of a FidoLevel."""
    fips: Mode = Mode.OFF
    minimum_fips: int = 1
    """FIPS 140 level, 1 … 4."""
    fresh_metadata: Mode = Mode.OFF
    algorithms: Mode = Mode.OFF
    allowed_algorithms: tuple[int, ...] = ()
    """COSE identifiers."""
    passkeys_per_user: Mode = Mode.OFF
    most_passkeys: int = 100
    """1 … 100."""


# --- refusals -----------------------------------------------------------------------------------------------------


class PolicyInvalid(Malformed):
    """The authenticator policy has a member that cannot be; `member` names it."""

    code = "policy-invalid"
    advice = "correct the member that `member` names; nothing was changed"


class AuthenticatorNotAllowed(Rejected):
    """The application does not take this model of authenticator."""

    code, spec = "authenticator-not-allowed", "WebAuthn L3 #sctn-attestation"
    advice = "use an authenticator that the application allows, or have its operator change the lists"


class AttestationRequired(Rejected):
    """The application takes only authenticators that prove their model, and this one did not."""

    code, spec = "attestation-required", "WebAuthn L3 #sctn-attestation"
    advice = "begin again and let the browser pass on the make of the authenticator, or use one that attests its model"


class AuthenticatorCompromised(Rejected):
    """The model of the authenticator is known to be broken, or was withdrawn; `statuses` says how."""

    code, spec = "authenticator-compromised", "FIDO Metadata Service v3.1 section 3.1.4"
    advice = "use another model of authenticator, and ask the maker whether this one can be mended"


class DeviceBoundRequired(Rejected):
    """The application takes only passkeys that stay on one device, and this one can be copied to others."""

    code, spec = "device-bound-required", "WebAuthn L3 #sctn-credential-backup"
    advice = "use a security key, or another authenticator that does not sync its passkeys"


class CertificationRequired(Rejected):
    """The model of the authenticator is not certified as high as the application asks."""

    code, spec = "certification-required", "FIDO Metadata Service v3.1 section 3.1.4"
    advice = "use an authenticator that is certified for the level that `required` names"


class MetadataStale(Rejected):
    """The metadata on authenticators is out of date, and the application does not rely on such."""

    code, spec = "metadata-stale", "FIDO Metadata Service v3.1 section 3.1.6"
    advice = "have the operator bring the metadata up to date; the user can do nothing about it"


class AlgorithmNotAccepted(Rejected):
    """The passkey's key is of an algorithm that the application does not, or no longer, take."""

    code, spec = "algorithm-not-accepted", "WebAuthn L3 #sctn-alg-identifier"
    advice = "make a new passkey, with an authenticator that has one of the algorithms that `accepted` lists"


class PasskeyLimitReached(Rejected):
    """The user has as many passkeys as the application allows each of its users."""

    code = "passkey-limit-reached"
    advice = "delete a passkey that the user no longer needs, or have the operator raise the limit"


# --- rules --------------------------------------------------------------------------------------------------------


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at."""

    policy: AuthenticatorPolicy
    facts: AuthenticatorFacts
    occasion: Occasion
    allowed: frozenset[bytes]
    denied: frozenset[bytes]
    metadata_fresh: bool
    passkeys: int

    @property
    def model(self) -> str:
        """The AAGUID as text."""
        return quoted(UUID(bytes=self.facts.aaguid))


Check = Callable[[Case], Rejected | None]
"""Gives the refusal, if the rule objects; whether it is one, the mode decides."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: how the rule judges, and on what evidence."""

    check: Check
    needs_attestation: bool = False
    """Only attestation can satisfy it."""


def _deny_list(case: Case) -> Rejected | None:
    if case.facts.aaguid in case.denied:
        return AuthenticatorNotAllowed(f"authenticator model {case.model} is on the application's deny list")
    return None


def _bad_status(case: Case) -> Rejected | None:
    if not case.facts.standing.bad:
        return None
    statuses = sorted(case.facts.standing.bad)
    told = ", ".join(statuses)
    return AuthenticatorCompromised(f"authenticator model {case.model} is reported as {told}", statuses=statuses)


def _attestation(case: Case) -> Rejected | None:
    if not case.facts.attested:
        return AttestationRequired("the authenticator did not prove its model, and the application requires it")
    return None


def _allow_list(case: Case) -> Rejected | None:
    # INVARIANT: an AAGUID satisfies the list only when whoever vouches for the authenticator vouches for that very
    # model, or the list could be passed by naming a model on it.
    if not case.allowed:
        return None
    if not case.facts.attested:
        return AttestationRequired("the application has an allow list, and the authenticator did not prove its model")
    if not case.facts.names_model:
        return AttestationRequired("the application has an allow list, and the anchor that was reached names no model")
    if case.facts.aaguid not in case.allowed:
        return AuthenticatorNotAllowed(f"authenticator model {case.model} is not on the application's allow list")
    return None


def _certification(case: Case) -> Rejected | None:
    if not case.facts.attested:
        return AttestationRequired("the application asks for a certified model, and the authenticator proved none")
    required, has = FidoLevel[case.policy.minimum_certification], case.facts.certified
    if has is None or has < required:
        return _uncertified(case, has="no FIDO level" if has is None else has.name, required=f"FIDO {required.name}")
    return None


def _fips(case: Case) -> Rejected | None:
    if not case.facts.attested:
        return AttestationRequired("the application asks for FIPS 140, and the authenticator did not prove its model")
    required, has = case.policy.minimum_fips, case.facts.fips
    if has is None or has < required:
        return _uncertified(case, has="no FIPS level" if has is None else f"L{has}", required=f"FIPS 140 L{required}")
    return None


def _uncertified(case: Case, *, has: str, required: str) -> Rejected:
    message = f"authenticator model {case.model} has {has}, and the application asks for {required}"
    return CertificationRequired(message, required=required)


def _device_bound(case: Case) -> Rejected | None:
    if case.facts.backup_eligible:
        return DeviceBoundRequired("the passkey can be copied to other devices, and the application forbids that")
    return None


def _algorithms(case: Case) -> Rejected | None:
    alg, accepted = case.facts.alg, case.policy.allowed_algorithms
    if alg not in accepted:
        return AlgorithmNotAccepted(f"the application does not accept algorithm `{alg}`", accepted=list(accepted))
    return None


def _fresh_metadata(case: Case) -> Rejected | None:
    if not case.metadata_fresh:
        return MetadataStale("the metadata on authenticators is out of date")
    return None


def _passkeys_per_user(case: Case) -> Rejected | None:
    most = case.policy.most_passkeys
    if case.occasion is Occasion.REGISTRATION and case.passkeys >= most:
        return PasskeyLimitReached(f"the user has {case.passkeys} passkeys, and the application allows {most}")
    return None


RULES: dict[str, Rule] = {
    "deny-list": Rule(_deny_list),
    "bad-status": Rule(_bad_status),
    "attestation": Rule(_attestation, needs_attestation=True),
    "allow-list": Rule(_allow_list, needs_attestation=True),
    "certification": Rule(_certification, needs_attestation=True),
    "fips": Rule(_fips, needs_attestation=True),
    "device-bound": Rule(_device_bound),
    "algorithms": Rule(_algorithms),
    "fresh-metadata": Rule(_fresh_metadata),
    "passkeys-per-user": Rule(_passkeys_per_user),
}
"""Rule → how it judges, in the order of judgement: first what is wrong with the model for good, then what another
authenticator or another try would mend, last what is not the authenticator's fault."""


MEMBERS = {rule: rule.replace("-", "_") for rule in RULES}
"""Rule → the member of AuthenticatorPolicy that is its mode."""


def mode_of(policy: AuthenticatorPolicy, rule: str) -> Mode:
    """The mode of a rule: the member of the same name."""
    mode: Mode = getattr(policy, MEMBERS[rule])
    return mode


class Finding(msgspec.Struct, frozen=True):
    """A rule that objected."""

    rule: str
    refused: bool
    """False: it was only monitored."""


class Verdict(msgspec.Struct, frozen=True):
    """What the policy says of an authenticator."""

    findings: tuple[Finding, ...] = ()
    """All rules that object, in the order of judgement."""
    refusal: Rejected | None = None
    """Of the first rule that refuses; to be raised."""

    @property
    def monitored(self) -> tuple[str, ...]:
        """The rules that objected and let pass: what the record of assurance keeps."""
        return tuple(finding.rule for finding in self.findings if not finding.refused)


def judge(
    policy: AuthenticatorPolicy,
    facts: AuthenticatorFacts,
    *,
    occasion: Occasion,
    allowed: frozenset[bytes],
    denied: frozenset[bytes],
    metadata_fresh: bool,
    passkeys: int,
) -> Verdict:
    """Hold an authenticator against a policy.

    Args:
        allowed, denied: AAGUIDs, 16 bytes each; an empty allow list asks nothing.
        metadata_fresh: there is metadata, and the update it announced is not overdue.
        passkeys: how many the user has already; looked at for registrations only.
    """
    case = Case(
        policy=policy,
        facts=facts,
        occasion=occasion,
        allowed=allowed,
        denied=denied,
        metadata_fresh=metadata_fresh,
        passkeys=passkeys,
    )
    findings: list[Finding] = []
    refusals: list[Rejected] = []
    for name, rule in RULES.items():
        mode = mode_of(policy, name)
        if mode is Mode.OFF or (objection := rule.check(case)) is None:
            continue
        refused = mode in REFUSING[occasion]
        findings.append(Finding(name, refused))
        if refused:
            refusals.append(objection)
    return Verdict(tuple(findings), refusals[0] if refusals else None)


def needs_attestation(policy: AuthenticatorPolicy, *, allow_list_used: bool) -> bool:
    """Whether a rule that is on can be satisfied by attestation alone: then registrations ask for `direct`.

    Args:
        allow_list_used: the application's allow list is not empty.
    """
    asked = {name for name, rule in RULES.items() if rule.needs_attestation and mode_of(policy, name) is not Mode.OFF}
    return bool(asked if allow_list_used else asked - {"allow-list"})


def offered_algorithms(policy: AuthenticatorPolicy, usual: Sequence[int]) -> tuple[int, ...]:
    """The algorithms to offer for a new passkey: the usual ones, or those that a refusing rule accepts.

    Never empty for a policy that was ``checked``: a browser reads an empty offer as ES256 and RS256
    (L3 #sctn-createCredential). Where the policy accepts none of our usual ones, those that it names are offered.

    Args:
        usual: COSE identifiers that we offer by habit, best first; their order is kept.
    """
    if policy.algorithms not in REFUSING[Occasion.REGISTRATION]:
        return tuple(usual)
    return tuple(alg for alg in usual if alg in policy.allowed_algorithms) or policy.allowed_algorithms


# --- what comes in ------------------------------------------------------------------------------------------------


def checked(policy: AuthenticatorPolicy) -> AuthenticatorPolicy:
    """Give the policy back if it can be followed.

    Called where a policy comes in, not whenever one is read: a server that has fewer algorithms than the one that
    accepted the policy must still be able to read its applications.

    Raises:
        PolicyInvalid: a level, a number or an algorithm is none.
    """
    _check_certification(policy.minimum_certification)
    _check_number(policy.minimum_fips, FIPS_LEVELS, member="minimum_fips")
    _check_number(policy.most_passkeys, PASSKEY_LIMITS, member="most_passkeys")
    _check_algorithms(policy)
    return policy


def _check_certification(level: str) -> None:
    if level not in FidoLevel.__members__:
        known = ", ".join(FidoLevel.__members__)
        raise PolicyInvalid(f"certification level {quoted(level)} is none of {known}", member="minimum_certification")


def _check_number(number: int, within: range, *, member: str) -> None:
    if number not in within:
        raise PolicyInvalid(f"`{number}` is not from {within[0]} to {within[-1]}", member=member)


def _check_algorithms(policy: AuthenticatorPolicy) -> None:
    algorithms = policy.allowed_algorithms
    if policy.algorithms is not Mode.OFF and not algorithms:
        raise PolicyInvalid("the rule `algorithms` is on and accepts none", member="allowed_algorithms")
    if len(set(algorithms)) != len(algorithms):
        raise PolicyInvalid("an algorithm is named twice", member="allowed_algorithms")
    for alg in algorithms:
        if alg not in ALGORITHMS:
            raise PolicyInvalid(f"algorithm `{alg}` is not supported", member="allowed_algorithms")
