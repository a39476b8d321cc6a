"""What an application asks of authenticators: every rule in every mode, when a passkey is made and when it is used.

And what a policy would do to those who are enrolled: the report, and the guard that it gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest

from narthex.ports.changes import AddCredential
from narthex.ports.records import Credential, EventType
from narthex.usecases.assurance import unpacked
from narthex.usecases.creation_options import OFFERED_ALGORITHMS
from narthex.usecases.policy_report import MOST_SHOWN
from narthex.webauthn.authenticator_policy import RULES, Mode
from tests.store.records import make_credential
from tests.support.application import Application, Begun, Ceremonies, HouseInProcess, accepted, problem_of, refused
from tests.support.authenticator import CertificateFaults, Json, SoftwareAuthenticator, b64u, maker
from tests.support.metadata import AAGUID, MetadataMaker

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
PATH = "/admin/apps/demo/authenticator-policy"
MODEL, ANOTHER_MODEL = str(UUID(bytes=AAGUID)), str(UUID(bytes=bytes(15) + b"\x02"))
SECURITY_KEY = {"attestation": "packed-x5c", "backup_eligible": False}


def member(rule: str) -> str:
    """The rule's name in JSON."""
    first, *more = rule.split("-")
    return first + "".join(word.title() for word in more)


ALL_OFF = {member(rule): "off" for rule in RULES}


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    return await house.create_application(allowAttestation=True, eventLoggingIsEnabled=True)


async def ask_policy(house: HouseInProcess, **members: Any) -> httpx.Response:
    return await house.manage(PATH, members)


async def decide(house: HouseInProcess, **members: Any) -> Json:
    """Decide, whoever is locked out."""
    return accepted(await ask_policy(house, acceptLockOut=True, **members))


async def report(house: HouseInProcess, **members: Any) -> Json:
    return accepted(await house.manage(f"{PATH}/report", members))


def ceremonies_with(application: Application, **authenticator: Any) -> Ceremonies:
    return Ceremonies(application, authenticator=SoftwareAuthenticator(**authenticator))


async def begun_registration(ceremonies: Ceremonies, user_id: str = "ann") -> Begun:
    return await ceremonies.begin_registration(await ceremonies.give_leave(user_id))


async def objections_logged(house: HouseInProcess) -> list[str]:
    rows = await house.rows(
        "select message from event where event_type = :kind", kind=int(EventType.ApiAuthenticatorPolicyObjected)
    )
    return [message for (message,) in rows]


async def logged(house: HouseInProcess, kind: EventType) -> int:
    return sum(event[0] == kind for event in await house.events())


# --- every rule, every mode, both occasions -------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What a rule objects to, and how it says so."""

    code: str
    authenticator: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    next_update: str = "2049-12-01"
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)
    """Members of the policy by which the rule measures."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Members of the problem document."""


CASES = {
    "deny-list": Case("authenticator_not_allowed", denied=(MODEL,)),
    "bad-status": Case("authenticator_compromised", entry={"statuses": ["REVOKED"]}, details={"statuses": ["REVOKED"]}),
    "attestation": Case("attestation_required"),
    "allow-list": Case("authenticator_not_allowed", SECURITY_KEY, allowed=(ANOTHER_MODEL,)),
    "certification": Case(
        "certification_required",
        SECURITY_KEY,
        {"statuses": ["FIDO_CERTIFIED_L1"]},
        measures={"minimumCertification": "L2"},
        details={"required": "FIDO L2"},
    ),
    "fips": Case(
        "certification_required",
        SECURITY_KEY,
        {"statuses": ["FIDO_CERTIFIED_L3", "FIPS140_CERTIFIED_L1"]},
        measures={"minimumFips": 2},
        details={"required": "FIPS 140 L2"},
    ),
    "device-bound": Case("device_bound_required"),
    "algorithms": Case(
        "algorithm_not_accepted",
        {"algorithm": -7},
        measures={"allowedAlgorithms": [-8, -257]},
        details={"accepted": [-8, -257]},
    ),
    "fresh-metadata": Case("metadata_stale", SECURITY_KEY, next_update="2026-03-03"),
}


def test_every_rule_has_its_case() -> None:
    """Passkeys per user have tests of their own: they are about a user, not about an authenticator."""
    assert RULES.keys() - {"passkeys-per-user"} == CASES.keys()


@pytest.fixture(params=CASES)
def rule(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def staged(house: HouseInProcess, application: Application, case: Case) -> Ceremonies:
    """Metadata and lists as the case has them; every rule is off."""
    other = FIDO.entry(aaguid=UUID(ANOTHER_MODEL).bytes)
    await house.load_metadata(FIDO.blob(FIDO.entry(**case.entry), other, next_update=case.next_update))
    for models, allowed in ((case.allowed, True), (case.denied, False)):
        if models:
            body = {"aaGuids": list(models), "isAllowed": allowed}
            assert 204 == (await application.secret("/authenticators/add", body)).status_code
    await decide(house, **ALL_OFF)
    return ceremonies_with(application, **case.authenticator)


@pytest.mark.parametrize("mode", Mode)
async def test_a_rule_at_registration(house: HouseInProcess, application: Application, rule: str, mode: Mode) -> None:
    case = CASES[rule]
    ceremonies = await staged(house, application, case)
    token = await ceremonies.give_leave()
    begun = await ceremonies.begin_registration(token)
    await decide(house, **case.measures, **{member(rule): mode})
    body = ceremonies.registration_body(begun)
    response = await application.public("/register/complete", body)

    if mode in (Mode.ENFORCE, Mode.ENFORCE_NEW):
        problem = refused(response, 400, case.code)
        assert case.details == {name: problem[name] for name in case.details}
        assert [(0, 0)] == await house.rows(
            "select (select count(*) from credential), (select count(*) from attestation)"
        )
        assert (1, 0) == (
            await logged(house, EventType.ApiAuthPasskeyRegistrationRefused),
            await logged(house, EventType.ApiAuthPasskeyRegistrationCompleted),
        )
        refused(await application.public("/register/complete", body), 400, "token_already_used")
        # The leave is not spent: with an authenticator that is accepted, the user may try again.
        await ceremonies.begin_registration(token)
        return
    record = (await ceremonies.verify(accepted(response)["token"]))["assurance"]
    noticed = mode is Mode.MONITOR
    assert ([rule] if noticed else []) == record["findings"]
    said = [f"the rule `{rule}` objects to the passkey, and is only monitored"] if noticed else []
    assert said == await objections_logged(house)


@pytest.mark.parametrize("mode", Mode)
async def test_a_rule_at_sign_in(house: HouseInProcess, application: Application, rule: str, mode: Mode) -> None:
    case = CASES[rule]
    ceremonies = await staged(house, application, case)
    await ceremonies.register()
    await decide(house, **case.measures, **{member(rule): mode})
    house.clock.move(seconds=60)
    body = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
    response = await application.public("/signin/complete", body)

    if mode is Mode.ENFORCE:
        problem = refused(response, 400, case.code)
        assert case.details == {name: problem[name] for name in case.details}
        assert [(True,)] == [(bool(same),) for (same,) in await house.rows(UNUSED)]
        assert (1, 0) == (
            await logged(house, EventType.ApiUserSignInRefused),
            await logged(house, EventType.ApiUserSignInCompleted),
        )
        refused(await application.public("/signin/complete", body), 400, "token_already_used")
        return
    record = (await ceremonies.verify(accepted(response)["token"]))["assurance"]
    noticed = mode in (Mode.MONITOR, Mode.ENFORCE_NEW)
    assert ([rule] if noticed else []) == record["findings"]
    said = [f"the rule `{rule}` objects to the passkey, and is only monitored"] if noticed else []
    assert said == await objections_logged(house)


UNUSED = "select last_used_at = created_at from credential"


async def test_what_satisfies_every_rule_passes_them_all(house: HouseInProcess, application: Application) -> None:
    await house.load_metadata(FIDO.blob(FIDO.entry(statuses=["FIDO_CERTIFIED_L3plus", "FIPS140_CERTIFIED_L4"])))
    body = {"aaGuids": [MODEL], "isAllowed": True}
    assert 204 == (await application.secret("/authenticators/add", body)).status_code
    await decide(
        house,
        **{member(rule): "enforce" for rule in RULES},
        allowedAlgorithms=[-7],
        minimumCertification="L3plus",
        minimumFips=4,
        mostPasskeys=1,
    )
    ceremonies = ceremonies_with(application, **SECURITY_KEY)
    await ceremonies.register()
    record = (await ceremonies.verify(await ceremonies.sign_in()))["assurance"]
    assert (3, []) == (record["aal"], record["findings"])


async def test_all_that_object_are_told_and_the_first_that_is_enforced_refuses(
    house: HouseInProcess, application: Application
) -> None:
    ceremonies = await staged(house, application, Case("", entry={"statuses": ["REVOKED"]}, denied=(MODEL,)))
    await ceremonies.register()
    objecting = ("denyList", "badStatus", "attestation", "deviceBound")
    await decide(house, **dict.fromkeys(objecting, "monitor"))
    record = (await ceremonies.verify(await ceremonies.sign_in()))["assurance"]
    assert ["deny-list", "bad-status", "attestation", "device-bound"] == record["findings"]
    await decide(house, deviceBound="enforce", attestation="enforce")
    refused(await ceremonies.complete_sign_in(await ceremonies.begin_sign_in()), 400, "attestation_required")
    await decide(house, badStatus="enforce")
    refused(await ceremonies.complete_sign_in(await ceremonies.begin_sign_in()), 400, "authenticator_compromised")


async def test_a_forged_answer_is_refused_for_the_forgery_and_not_judged(
    house: HouseInProcess, application: Application
) -> None:
    """What the policy holds of an authenticator is for its owner alone."""
    ceremonies = await staged(house, application, CASES["attestation"])
    await ceremonies.register()
    await decide(house, attestation="enforce")
    response = await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), knobs={"tampered": True})
    assert "signature_invalid" == refused(response, 400, "signin_complete_error")["reason"]


async def test_no_metadata_at_all_is_not_fresh(house: HouseInProcess, application: Application) -> None:
    await decide(house, freshMetadata="enforce-new")
    ceremonies = Ceremonies(application)
    refused(await ceremonies.complete_registration(await begun_registration(ceremonies)), 400, "metadata_stale")


# --- an AAGUID is a claim (Keycloak #48388) -------------------------------------------------------------------------

PRETENDERS: dict[str, tuple[Json, Json, str]] = {
    "no attestation": ({"attestation": "none"}, {}, "attestation_required"),
    "vouches for itself": ({"attestation": "packed-self"}, {}, "attestation_required"),
    "an attested model calls itself another": (
        {"attestation": "packed-x5c", "aaguid": UUID(ANOTHER_MODEL).bytes},
        {"aaguid": AAGUID, "certificate": CertificateFaults(aaguid=UUID(ANOTHER_MODEL).bytes)},
        "fido2_invalid_registration",
    ),
    "a maker who is not the model's": (
        {"attestation": "packed-x5c", "aaguid": UUID(ANOTHER_MODEL).bytes},
        {},
        "attestation_required",
    ),
    "an attested model that is not listed": ({"attestation": "packed-x5c"}, {}, "authenticator_not_allowed"),
}


@pytest.mark.parametrize("name", PRETENDERS)
async def test_a_claim_does_not_satisfy_the_allow_list(
    house: HouseInProcess, application: Application, name: str
) -> None:
    authenticator, knobs, code = PRETENDERS[name]
    await house.load_metadata(
        FIDO.blob(
            FIDO.entry(aaguid=AAGUID),
            FIDO.entry(aaguid=UUID(ANOTHER_MODEL).bytes, roots=[maker("another").der]),
        )
    )
    listed = ANOTHER_MODEL if name.endswith(("listed", "model's")) else MODEL
    body = {"aaGuids": [listed], "isAllowed": True}
    assert 204 == (await application.secret("/authenticators/add", body)).status_code
    ceremonies = ceremonies_with(application, **authenticator)
    begun = await begun_registration(ceremonies)
    refused(await ceremonies.complete_registration(begun, knobs=knobs), 400, code)
    assert [] == await house.rows("select * from credential")


async def test_a_listed_model_that_proves_itself_is_let_in(house: HouseInProcess, application: Application) -> None:
    await house.load_metadata(FIDO.blob())
    body = {"aaGuids": [MODEL], "isAllowed": True}
    assert 204 == (await application.secret("/authenticators/add", body)).status_code
    await ceremonies_with(application, **SECURITY_KEY).register()


async def test_from_the_start_lists_and_bad_news_bind_new_passkeys(
    house: HouseInProcess, application: Application
) -> None:
    assert {
        **dict.fromkeys(ALL_OFF, "off"),
        **dict.fromkeys(("allowList", "denyList", "badStatus"), "enforce-new"),
        "minimumCertification": "L1",
        "minimumFips": 1,
        "allowedAlgorithms": [],
        "mostPasskeys": 100,
    } == accepted(await house.manage(PATH))


# --- what the browser is asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["attestation", "certification", "fips"])
@pytest.mark.parametrize(("mode", "asked"), [("off", "none"), ("monitor", "direct"), ("enforce-new", "direct")])
async def test_a_rule_that_needs_attestation_asks_for_it(
    house: HouseInProcess, application: Application, rule: str, mode: str, asked: str
) -> None:
    await decide(house, **{rule: mode})
    assert asked == (await begun_registration(Ceremonies(application))).data["attestation"]


async def test_an_allow_list_asks_for_attestation_once_it_has_a_model(
    house: HouseInProcess, application: Application
) -> None:
    await house.load_metadata(FIDO.blob())
    asked = []
    for path, body in ((None, None), ("add", {"isAllowed": False}), ("add", {"isAllowed": True}), ("remove", {})):
        if path:
            answer = await application.secret(f"/authenticators/{path}", {"aaGuids": [MODEL], **(body or {})})
            assert 204 == answer.status_code
        asked.append((await begun_registration(Ceremonies(application))).data["attestation"])
    assert ["none", "none", "direct", "none"] == asked


@pytest.mark.parametrize(
    ("leave", "asked"), [("none", "direct"), ("indirect", "direct"), ("direct", "direct"), ("enterprise", "enterprise")]
)
async def test_the_policy_asks_for_no_less_than_the_backend(
    house: HouseInProcess, application: Application, leave: str, asked: str
) -> None:
    await house.change_settings("demo", enterprise_attestation=True)
    await decide(house, attestation="monitor")
    ceremonies = Ceremonies(application)
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(attestation=leave))
    assert asked == begun.data["attestation"]


@pytest.mark.parametrize(
    ("mode", "accepts", "offered"),
    [
        ("off", [-8], list(OFFERED_ALGORITHMS)),
        ("monitor", [-8], list(OFFERED_ALGORITHMS)),
        ("enforce-new", [-257, -7], [-7, -257]),
        ("enforce", [-7], [-7]),
        ("enforce", [-53], [-53]),
    ],
)
async def test_only_algorithms_that_will_be_accepted_are_offered(
    house: HouseInProcess, application: Application, mode: str, accepts: list[int], offered: list[int]
) -> None:
    await decide(house, algorithms=mode, allowedAlgorithms=accepts)
    begun = await begun_registration(Ceremonies(application))
    assert offered == [each["alg"] for each in begun.data["pubKeyCredParams"]]


async def test_an_algorithm_that_was_not_offered_is_refused(house: HouseInProcess, application: Application) -> None:
    """CVE-2026-8830: what the options ask for is checked again on the answer."""
    await decide(house, algorithms="enforce-new", allowedAlgorithms=[-8])
    ceremonies = ceremonies_with(application, algorithm=-7)
    response = await ceremonies.complete_registration(await begun_registration(ceremonies))
    assert "algorithm_not_allowed" == refused(response, 400, "fido2_invalid_registration")["reason"]


# --- passkeys per user ----------------------------------------------------------------------------------------------


async def test_a_user_at_the_limit_is_told_before_anything_is_made(
    house: HouseInProcess, application: Application
) -> None:
    await decide(house, passkeysPerUser="enforce-new", mostPasskeys=2)
    ceremonies = Ceremonies(application)
    leaves = [await ceremonies.give_leave() for _ in range(3)]
    late = [await ceremonies.begin_registration(leave) for leave in leaves]
    for begun in late[:2]:
        accepted(await ceremonies.complete_registration(begun))
    problem = refused(await ceremonies.ask_leave(userId="ann"), 400, "passkey_limit_reached")
    assert "The user has 2 passkeys, and the application allows 2." == problem["title"]
    refused(await ceremonies.ask_registration(leaves[2]), 400, "passkey_limit_reached")
    refused(await ceremonies.complete_registration(late[2]), 400, "passkey_limit_reached")
    await ceremonies.register("bob")
    assert [("ann", 2), ("bob", 1)] == await house.rows(
        "select user_id, count(*) from credential group by user_id order by user_id"
    )


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.MONITOR])
async def test_a_limit_that_is_not_enforced_refuses_nobody(
    house: HouseInProcess, application: Application, mode: Mode
) -> None:
    await decide(house, passkeysPerUser=mode, mostPasskeys=1)
    ceremonies = Ceremonies(application)
    await ceremonies.register()
    record = (await ceremonies.verify(await ceremonies.register()))["assurance"]
    assert (["passkeys-per-user"] if mode is Mode.MONITOR else []) == record["findings"]


async def test_a_user_past_a_new_limit_signs_in_as_before(house: HouseInProcess, application: Application) -> None:
    ceremonies = Ceremonies(application)
    for _ in range(3):
        await ceremonies.register()
    accepted(await ask_policy(house, passkeysPerUser="enforce", mostPasskeys=1))
    record = (await ceremonies.verify(await ceremonies.sign_in(userId="ann")))["assurance"]
    assert [] == record["findings"]


async def test_registrations_in_one_moment_do_not_pass_the_limit_together(any_house: HouseInProcess) -> None:
    """The limit is asked before the passkey is kept, and once more in the act that keeps it."""
    ceremonies = Ceremonies(await any_house.create_application())
    await decide(any_house, passkeysPerUser="enforce-new", mostPasskeys=2)
    begun = [await begun_registration(ceremonies) for _ in range(8)]
    answers = await asyncio.gather(*(ceremonies.complete_registration(each) for each in begun))
    assert [200] * 2 + [400] * 6 == sorted(answer.status_code for answer in answers)
    assert {"passkey_limit_reached"} == {problem_of(each)["errorCode"] for each in answers if each.status_code == 400}
    assert [(2,)] == await any_house.rows("select count(*) from credential")


# --- the report -----------------------------------------------------------------------------------------------------


async def give(house: HouseInProcess, *credentials: Credential, app_id: str = "demo") -> None:
    """As an import would."""
    tenant = house.root.tenant(app_id)
    for start in range(0, len(credentials), 200):
        await tenant.commit(*map(AddCredential, credentials[start : start + 200]))


async def test_nobody_enrolled_is_nobody_locked_out(house: HouseInProcess, application: Application) -> None:
    await decide(house, **ALL_OFF)
    expected = {"credentials": 0, "users": 0, "refused": 0, "lockedOut": 0, "objections": [], "lockedOutUsers": []}
    assert expected | {"rules": []} == await report(house)
    count = {"rule": "attestation", "mode": "enforce", "credentials": 0, "users": 0, "lockedOut": 0}
    assert expected | {"rules": [count]} == await report(house, attestation="enforce")
    assert "off" == accepted(await house.manage(PATH))["attestation"], "nothing was decided"


async def test_the_report_names_passkeys_users_and_rules(house: HouseInProcess, application: Application) -> None:
    await house.load_metadata(FIDO.blob(FIDO.entry(name="Key 5")))
    await decide(house, **ALL_OFF)
    for user_id, authenticator in (("ann", SECURITY_KEY), ("ann", {}), ("bob", {}), ("eve", SECURITY_KEY)):
        await ceremonies_with(application, **authenticator).register(user_id)
    ids = {
        (user_id, eligible): b64u(raw)
        for user_id, eligible, raw in await house.rows("select user_id, backup_eligible, credential_id from credential")
    }
    found = await report(house, attestation="monitor", deviceBound="enforce")
    rules = ["attestation", "device-bound"]
    objection = {"aaGuid": MODEL, "model": "Key 5", "rules": rules}
    assert {
        "credentials": 4,
        "users": 3,
        "refused": 2,
        "lockedOut": 1,
        "rules": [
            {"rule": "attestation", "mode": "monitor", "credentials": 2, "users": 2, "lockedOut": 1},
            {"rule": "device-bound", "mode": "enforce", "credentials": 2, "users": 2, "lockedOut": 1},
        ],
        "objections": [
            objection | {"userId": "ann", "credentialId": ids["ann", True]},
            objection | {"userId": "bob", "credentialId": ids["bob", True]},
        ],
        "lockedOutUsers": ["bob"],
    } == found


def crowd() -> list[Credential]:
    """400 users with three passkeys each: of every three users, one has only passkeys that sync, one has one."""
    names = [f"{'aBé'[n % 2]}{n}" for n in range(400)]
    return [
        make_credential(f"{name} {k}", user_id=name, backup_eligible=n % 3 == 0 or (n % 3 == 1 and k == 0))
        for n, name in enumerate(names)
        for k in range(3)
    ]


async def test_a_report_counts_them_all_and_names_a_hundred(any_house: HouseInProcess) -> None:
    """1,200 passkeys: more than are read at once, and users whose passkeys lie on both sides of a cut."""
    await any_house.create_application()
    await any_house.create_application("other")
    await give(any_house, *crowd())
    await give(any_house, *crowd()[:30], app_id="other")
    found = await report(any_house, deviceBound="monitor", attestation="enforce")

    assert (1_200, 400, 1_200, 400) == tuple(found[name] for name in ("credentials", "users", "refused", "lockedOut"))
    counts = {each["rule"]: (each["credentials"], each["users"], each["lockedOut"]) for each in found["rules"]}
    assert (1_200, 400, 400) == counts["attestation"]
    assert (134 * 3 + 133, 134 + 133, 134) == counts["device-bound"]
    assert MOST_SHOWN == len(found["objections"]) == len(found["lockedOutUsers"]) == len(set(found["lockedOutUsers"]))
    others = accepted(await any_house.manage("/admin/apps/other/authenticator-policy/report", {}))
    assert (30, 10) == (others["credentials"], others["users"])


async def test_a_report_judges_by_metadata_that_came_later_and_writes_nothing(
    house: HouseInProcess, application: Application
) -> None:
    await ceremonies_with(application, **SECURITY_KEY).register()
    before = await house.rows("select * from credential")
    assert 1 == (await report(house, attestation="enforce"))["lockedOut"]
    await house.load_metadata(FIDO.blob())
    assert 0 == (await report(house, attestation="enforce"))["lockedOut"]
    assert before == await house.rows("select * from credential")


async def test_a_report_that_checks_signatures_gives_others_their_turn(
    house: HouseInProcess, application: Application
) -> None:
    """Each passkey that is judged anew costs a millisecond of the event loop, and SQLite answers without a pause."""
    for number in range(20):
        await ceremonies_with(application, **SECURITY_KEY).register(f"user-{number}")
    await house.load_metadata(FIDO.blob())
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(take_turns())
    assert 0 == (await report(house, attestation="enforce"))["refused"]
    others.cancel()
    assert turns >= 10


# --- nobody is locked out unawares ----------------------------------------------------------------------------------


async def test_a_policy_that_locks_users_out_must_be_accepted(house: HouseInProcess, application: Application) -> None:
    ceremonies = Ceremonies(application)
    await ceremonies.register("ann")
    await ceremonies_with(application, **SECURITY_KEY).register("bob")
    problem = refused(await ask_policy(house, deviceBound="enforce"), 409, "policy_locks_out")
    assert "1 of 2 users would have no passkey left that signs them in." == problem["title"]
    assert (1, 2) == (problem["lockedOut"], problem["users"])
    for word in (False, None):
        refused(await ask_policy(house, deviceBound="enforce", acceptLockOut=word), 409, "policy_locks_out")
    await ceremonies.sign_in(userId="ann")

    assert "enforce" == (await decide(house, deviceBound="enforce"))["deviceBound"]
    begun = await ceremonies.begin_sign_in(userId="ann")
    refused(await ceremonies.complete_sign_in(begun), 400, "device_bound_required")


@pytest.mark.parametrize("mode", ["off", "monitor", "enforce-new"])
async def test_what_refuses_no_sign_in_locks_nobody_out(
    house: HouseInProcess, application: Application, mode: str
) -> None:
    await Ceremonies(application).register()
    assert mode == accepted(await ask_policy(house, deviceBound=mode))["deviceBound"]


async def test_a_user_with_another_passkey_is_not_locked_out(house: HouseInProcess, application: Application) -> None:
    await Ceremonies(application).register()
    await ceremonies_with(application, **SECURITY_KEY).register()
    accepted(await ask_policy(house, deviceBound="enforce"))


async def test_rules_that_lock_out_only_together_are_found(house: HouseInProcess, application: Application) -> None:
    """One passkey falls to the first rule, the other to the second: each rule alone would leave one."""
    await ceremonies_with(application).register()
    await ceremonies_with(application, backup_eligible=False, algorithm=-7).register()
    await ceremonies_with(application, algorithm=-8).register()
    only_eddsa = {"algorithms": "enforce", "allowedAlgorithms": [-8]}
    found = await report(house, deviceBound="enforce", **only_eddsa)
    assert [0, 0] == [each["lockedOut"] for each in found["rules"] if each["rule"] in ("device-bound", "algorithms")]
    assert 1 == found["lockedOut"]
    accepted(await ask_policy(house, deviceBound="enforce"))
    refused(await ask_policy(house, **only_eddsa), 409, "policy_locks_out")


async def test_who_is_locked_out_already_is_not_asked_about_again(
    house: HouseInProcess, application: Application
) -> None:
    """Neither when a rule is taken back to let users in again, nor when another comes to the one that they fell to."""
    await Ceremonies(application).register()
    await decide(house, deviceBound="enforce", fips="enforce")
    for members in (
        {"mostPasskeys": 7},
        {"certification": "monitor"},
        {"attestation": "enforce"},
        {"minimumFips": 2},
        {"fips": "off"},
    ):
        accepted(await ask_policy(house, **members))


async def test_who_was_let_in_again_is_asked_about_again(house: HouseInProcess, application: Application) -> None:
    await Ceremonies(application).register()
    for _ in range(2):
        refused(await ask_policy(house, deviceBound="enforce"), 409, "policy_locks_out")
        await decide(house, deviceBound="enforce")
        accepted(await ask_policy(house, deviceBound="monitor"))


async def test_only_who_is_newly_locked_out_is_counted(house: HouseInProcess, application: Application) -> None:
    await Ceremonies(application).register("ann")
    await ceremonies_with(application, backup_eligible=False).register("bob")
    await decide(house, deviceBound="enforce")
    problem = refused(await ask_policy(house, attestation="enforce"), 409, "policy_locks_out")
    assert (1, 2) == (problem["lockedOut"], problem["users"])


async def test_a_change_of_policy_is_not_asked_about_for_users_without_a_passkey(
    house: HouseInProcess, application: Application
) -> None:
    await application.secret("/register/token", {"userId": "ann", "username": "ann"})
    accepted(await ask_policy(house, deviceBound="enforce", attestation="enforce"))


async def test_monitored_rules_do_not_count_as_locking_out(house: HouseInProcess, application: Application) -> None:
    await Ceremonies(application).register()
    accepted(await ask_policy(house, attestation="monitor", deviceBound="monitor", badStatus="enforce"))


# --- what comes in --------------------------------------------------------------------------------------------------

OUT_OF_BOUNDS: list[tuple[Json, str]] = [
    ({"minimumFips": 0}, "minimum_fips"),
    ({"minimumFips": 5}, "minimum_fips"),
    ({"mostPasskeys": 0}, "most_passkeys"),
    ({"mostPasskeys": 101}, "most_passkeys"),
    ({"algorithms": "monitor"}, "allowed_algorithms"),
    ({"allowedAlgorithms": [-7, -7]}, "allowed_algorithms"),
    ({"allowedAlgorithms": [-7, 5]}, "allowed_algorithms"),
    ({"allowedAlgorithms": [-65535]}, "allowed_algorithms"),
]


@pytest.mark.parametrize(("members", "named"), OUT_OF_BOUNDS)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/report"])
async def test_a_policy_that_cannot_be_followed_is_refused(
    house: HouseInProcess, application: Application, path: str, members: Json, named: str
) -> None:
    before = accepted(await house.manage(PATH))
    problem = refused(await house.manage(path, members), 400, "policy_invalid")
    assert named == problem["member"]
    assert before == accepted(await house.manage(PATH))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        *(({member(rule): "Enforce"}, member(rule)) for rule in RULES),
        ({"minimumCertification": "L9"}, "minimumCertification"),
        ({"minimumCertification": ""}, "minimumCertification"),
        ({"attestation": True}, "attestation"),
    ],
)
async def test_a_mode_or_a_level_that_does_not_exist_is_refused_by_name(
    house: HouseInProcess, application: Application, members: Json, named: str
) -> None:
    problem = refused(await ask_policy(house, **members), 400, "validation_failed")
    assert [named] == list(problem["errors"])


async def test_what_is_not_named_stays(house: HouseInProcess, application: Application) -> None:
    await decide(house, attestation="monitor", minimumFips=3)
    policy = await decide(house, mostPasskeys=7)
    assert ("monitor", 3, "enforce-new") == (policy["attestation"], policy["minimumFips"], policy["denyList"])
    assert 7 == accepted(await house.manage(PATH))["mostPasskeys"]


@pytest.mark.parametrize(("path", "body"), [("", None), ("", {}), ("/report", {})])
async def test_an_application_that_is_not_there_has_no_policy(
    house: HouseInProcess, path: str, body: Json | None
) -> None:
    response = await house.manage(f"/admin/apps/nobody/authenticator-policy{path}", body)
    refused(response, 404, "application_not_found")


async def test_a_policy_is_one_applications(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other")
    await decide(house, deviceBound="enforce")
    await Ceremonies(other).register()
    ceremonies = Ceremonies(application)
    begun = await begun_registration(ceremonies)
    refused(await ceremonies.complete_registration(begun), 400, "device_bound_required")


async def test_findings_are_in_the_log_beside_the_record(house: HouseInProcess, application: Application) -> None:
    await decide(house, attestation="monitor")
    ceremonies = Ceremonies(application)
    await ceremonies.register()
    ((kept,),) = await house.rows(
        "select assurance from event where event_type = :kind", kind=int(EventType.ApiAuthPasskeyRegistrationCompleted)
    )
    record = unpacked(kept)
    assert record is not None
    assert ("attestation",) == record.findings
    found = [event for event in await house.events() if event[0] == EventType.ApiAuthenticatorPolicyObjected]
    assert [(EventType.ApiAuthenticatorPolicyObjected, 2, "ann", "demo", application.public_key[-4:])] == found
