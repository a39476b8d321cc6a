"""The lists of authenticator models of the compatible API (its section 7.13)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from narthex.ports.records import EventType
from narthex.usecases.authenticator_policy import MOST_LISTED_MODELS
from tests.http.test_trust_anchors import OWN, anchor, set_anchors
from tests.support.application import ABSENT, Application, Ceremonies, HouseInProcess, accepted, refused, sent
from tests.support.authenticator import Json, SoftwareAuthenticator
from tests.support.metadata import AAGUID, MetadataMaker

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
KEY, PHONE, OTHER = (str(UUID(bytes=raw)) for raw in (AAGUID, bytes(15) + b"\x02", bytes(15) + b"\x03"))
U2F_MODEL = bytes(range(20))
CREATED = "2026-03-04T05:06:07.891011"


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    models = [FIDO.entry(aaguid=UUID(model).bytes, name=f"Model {model}") for model in (KEY, PHONE, OTHER)]
    await house.load_metadata(FIDO.blob(*models, FIDO.entry(aaguid=None, key_identifiers=[U2F_MODEL])))
    return await house.create_application(allowAttestation=True, eventLoggingIsEnabled=True)


async def ask_list(application: Application, query: str) -> httpx.Response:
    headers = {"ApiSecret": application.secret_key}
    return await application.client.get(f"/authenticators/list{query}", headers=headers)


async def listed(application: Application, *, allowed: bool) -> list[Json]:
    response = await ask_list(application, f"?isAllowed={str(allowed).lower()}")
    answer: Any = accepted(response)
    assert isinstance(answer, list), "a bare array"
    return answer


async def names(application: Application, *, allowed: bool) -> list[str]:
    return [each["aaGuid"] for each in await listed(application, allowed=allowed)]


async def add(application: Application, *models: Any, **members: Any) -> httpx.Response:
    return await application.secret("/authenticators/add", {"aaGuids": list(models), **members})


async def remove(application: Application, *models: Any, **members: Any) -> httpx.Response:
    return await application.secret("/authenticators/remove", {"aaGuids": list(models), **members})


def done(response: httpx.Response) -> None:
    assert (204, b"") == (response.status_code, response.content), response.text


# --- listing --------------------------------------------------------------------------------------------------------


async def test_a_list_is_a_bare_array_of_models_and_dates_without_a_zone(application: Application) -> None:
    assert [] == await listed(application, allowed=True)
    done(await add(application, KEY, isAllowed=True))
    assert [{"aaGuid": KEY, "createdAt": CREATED}] == await listed(application, allowed=True)
    assert [] == await listed(application, allowed=False)


@pytest.mark.parametrize("query", ["isAllowed=True", "isallowed=true", "ISALLOWED=TRUE", "isAllowed=true&more=1"])
async def test_the_query_is_read_as_dotnet_writes_it(application: Application, query: str) -> None:
    """.NET spells its booleans with a capital."""
    done(await add(application, KEY, isAllowed=True))
    answer: Any = accepted(await ask_list(application, f"?{query}"))
    assert [KEY] == [each["aaGuid"] for each in answer]


async def test_false_with_a_capital_is_the_deny_list(application: Application) -> None:
    done(await add(application, KEY, isAllowed=True))
    done(await add(application, PHONE))
    answer: Any = accepted(await ask_list(application, "?isAllowed=False"))
    assert [PHONE] == [each["aaGuid"] for each in answer]


@pytest.mark.parametrize("query", ["", "?isAllowed=", "?allowed=true"])
async def test_which_list_must_be_said(application: Application, query: str) -> None:
    problem = refused(await ask_list(application, query), 400, "validation_failed")
    assert ["isAllowed"] == list(problem["errors"])


@pytest.mark.parametrize("value", ["maybe", "2", "true" * 2])
async def test_what_is_neither_true_nor_false_is_refused(application: Application, value: str) -> None:
    assert 400 == (await ask_list(application, f"?isAllowed={value}")).status_code


# --- adding and removing --------------------------------------------------------------------------------------------


async def test_without_a_flag_models_go_on_the_deny_list(application: Application) -> None:
    done(await add(application, KEY))
    done(await add(application, PHONE, isAllowed=False))
    done(await add(application, OTHER, isAllowed=None))
    assert {KEY, PHONE, OTHER} == set(await names(application, allowed=False))


async def test_a_model_that_is_added_again_changes_lists(application: Application) -> None:
    done(await add(application, KEY, PHONE, isAllowed=True))
    done(await add(application, PHONE, OTHER, isAllowed=False))
    assert [KEY] == await names(application, allowed=True)
    assert {PHONE, OTHER} == set(await names(application, allowed=False))


async def test_a_model_may_be_spelt_in_capitals(application: Application) -> None:
    done(await add(application, KEY.upper(), isAllowed=True))
    assert [KEY] == await names(application, allowed=True)
    done(await remove(application, KEY.upper()))
    assert [] == await names(application, allowed=True)


async def test_models_are_taken_from_either_list_and_unknown_ones_ignored(application: Application) -> None:
    done(await add(application, KEY, isAllowed=True))
    done(await add(application, PHONE))
    done(await remove(application, KEY, PHONE, OTHER, "11111111-2222-3333-4444-555555555555", KEY))
    assert [] == [*await names(application, allowed=True), *await names(application, allowed=False)]


@pytest.mark.parametrize(
    "models",
    [
        ["11111111-2222-3333-4444-555555555555"],
        [KEY, "11111111-2222-3333-4444-555555555555"],
        [str(UUID(int=0))],
        [KEY, KEY],
        [KEY, KEY.upper()],
    ],
)
async def test_a_model_that_nobody_knows_or_that_is_named_twice_changes_nothing(
    application: Application, models: list[str]
) -> None:
    problem = refused(await add(application, *models, isAllowed=True), 400, "unknown_authenticator")
    assert problem["title"] in (
        "An AAGUID is named twice.",
        f"`{models[-1]}` is not the AAGUID of a model that we know.",
    )
    assert [] == await names(application, allowed=True)


OF_OUR_OWN = "abcdefab-2222-3333-4444-555555555555"


@pytest.mark.parametrize("spelt", [OF_OUR_OWN, OF_OUR_OWN.upper(), OF_OUR_OWN.replace("-", "")])
async def test_a_model_without_metadata_is_known_by_an_anchor_of_the_applications_own(
    house: HouseInProcess, application: Application, spelt: str
) -> None:
    accepted(await set_anchors(house, anchor(OWN, aaGuids=[spelt])))
    done(await add(application, OF_OUR_OWN, isAllowed=True))


@pytest.mark.parametrize("path", ["/authenticators/add", "/authenticators/remove"])
@pytest.mark.parametrize(
    "models", [ABSENT, None, [], [None], [""], ["key"], [KEY.replace("-", "")], [f"{{{KEY}}}"], [5], [KEY] * 1_001]
)
async def test_models_are_named_by_uuids_and_at_least_one_is(application: Application, path: str, models: Any) -> None:
    response = await application.secret(path, sent({"aaGuids": models, "isAllowed": True}))
    problem = refused(response, 400, "validation_failed")
    assert ["aaGuids"] == list(problem["errors"])


async def test_what_was_written_is_in_the_event_log(house: HouseInProcess, application: Application) -> None:
    house.clock.move(seconds=1)
    done(await add(application, KEY, isAllowed=True))
    house.clock.move(seconds=1)
    done(await add(application, KEY, PHONE))
    house.clock.move(seconds=1)
    done(await remove(application, KEY))
    hint = application.secret_key[-4:]
    kinds = [
        EventType.ApiAuthenticatorsAllowlisted,
        EventType.ApiAuthenticatorsBlacklisted,
        EventType.ApiAuthenticatorsDelisted,
    ]
    assert [(kind, 3, "Unknown User", "demo", hint) for kind in kinds] == (await house.events())[1:]


async def test_the_lists_have_an_end(house: HouseInProcess, application: Application) -> None:
    full = [UUID(int=number) for number in range(2, MOST_LISTED_MODELS + 2)]
    await house.load_metadata(FIDO.blob(*(FIDO.entry(aaguid=model.bytes) for model in (*full, UUID(KEY))), number=2))
    done(await add(application, *map(str, full)))
    refused(await add(application, KEY, isAllowed=True), 400, "too_many_authenticators")
    done(await add(application, str(full[0]), isAllowed=True))
    done(await remove(application, str(full[1])))
    done(await add(application, KEY, isAllowed=True))


# --- nobody is locked out unawares ----------------------------------------------------------------------------------


@pytest.fixture
async def ann(house: HouseInProcess, application: Application) -> Ceremonies:
    """Whose one passkey is of the model KEY, and proves it; both lists refuse sign-ins."""
    authenticator = SoftwareAuthenticator(attestation="packed-x5c", backup_eligible=False)
    ceremonies = Ceremonies(application, authenticator=authenticator)
    await ceremonies.register(attestation="direct")
    await decide(house, allowList="enforce", denyList="enforce")
    return ceremonies


async def decide(house: HouseInProcess, **modes: str) -> None:
    accepted(await house.manage("/admin/apps/demo/authenticator-policy", modes))


LOCK_OUTS: dict[str, tuple[list[str], Json, list[str], Json]] = {
    "the first model on the allow list": ([], {}, [PHONE], {"isAllowed": True}),
    "a model on the deny list": ([], {}, [OTHER, KEY], {"isAllowed": False}),
    "from the allow list to the deny list": ([KEY], {"isAllowed": True}, [KEY], {"isAllowed": False}),
}


@pytest.mark.parametrize("name", LOCK_OUTS)
async def test_a_list_that_locks_users_out_must_be_accepted(
    house: HouseInProcess, application: Application, ann: Ceremonies, name: str
) -> None:
    before, to, models, listed_as = LOCK_OUTS[name]
    if before:
        done(await add(application, *before, **to))
    kept = await names(application, allowed=True), await names(application, allowed=False)
    for word in (ABSENT, False, None):
        problem = refused(await add(application, *models, **listed_as, acceptLockOut=word), 409, "policy_locks_out")
        assert (1, 1) == (problem["lockedOut"], problem["users"])
    assert kept == (await names(application, allowed=True), await names(application, allowed=False))
    await ann.sign_in()
    done(await add(application, *models, **listed_as, acceptLockOut=True))
    refused(await ann.complete_sign_in(await ann.begin_sign_in()), 400, "authenticator_not_allowed")


async def test_a_model_is_not_taken_from_the_allow_list_unasked(application: Application, ann: Ceremonies) -> None:
    done(await add(application, KEY, PHONE, isAllowed=True))
    refused(await remove(application, KEY), 409, "policy_locks_out")
    await ann.sign_in()
    done(await remove(application, PHONE))
    # With the last model gone the list asks nothing, and everybody is let in.
    done(await remove(application, KEY))
    await ann.sign_in()
    done(await add(application, KEY, PHONE, isAllowed=True))
    done(await remove(application, KEY, acceptLockOut=True))
    refused(await ann.complete_sign_in(await ann.begin_sign_in()), 400, "authenticator_not_allowed")


async def test_what_a_list_does_to_nobody_is_not_asked_about(application: Application, ann: Ceremonies) -> None:
    done(await add(application, KEY, isAllowed=True))
    done(await add(application, PHONE, isAllowed=True))
    done(await add(application, OTHER))
    done(await remove(application, OTHER, PHONE))
    await ann.sign_in()


async def test_a_list_that_is_only_monitored_is_not_asked_about(
    house: HouseInProcess, application: Application, ann: Ceremonies
) -> None:
    await decide(house, allowList="monitor", denyList="enforce-new")
    done(await add(application, PHONE, isAllowed=True))
    done(await add(application, KEY))
    await ann.sign_in()


async def test_a_user_whom_the_list_locked_out_already_is_not_asked_about_again(
    application: Application, ann: Ceremonies
) -> None:
    done(await add(application, PHONE, isAllowed=True, acceptLockOut=True))
    done(await add(application, OTHER, isAllowed=True))
    done(await add(application, KEY))
    done(await remove(application, PHONE))


async def test_a_user_with_another_model_is_not_locked_out(application: Application, ann: Ceremonies) -> None:
    second = SoftwareAuthenticator(attestation="none", backup_eligible=False)
    await Ceremonies(application, authenticator=second).register("ann")
    refused(await add(application, PHONE, isAllowed=True), 409, "policy_locks_out")
    done(await add(application, KEY, isAllowed=True))


async def test_one_applications_list_asks_about_its_own_users_alone(
    house: HouseInProcess, application: Application, ann: Ceremonies
) -> None:
    other = await house.create_application("other", allowAttestation=True)
    done(await add(other, PHONE, isAllowed=True))
    done(await add(other, KEY))
    await ann.sign_in()


# --- who may --------------------------------------------------------------------------------------------------------


async def test_without_attestation_there_are_no_lists(house: HouseInProcess) -> None:
    without = await house.create_application("without")
    for response in (
        await ask_list(without, "?isAllowed=true"),
        await add(without, KEY, isAllowed=True),
        await remove(without, KEY),
    ):
        refused(response, 403, "attestation_not_supported_on_plan")


async def test_two_tenants_have_lists_of_their_own(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other", allowAttestation=True)
    done(await add(application, KEY, isAllowed=True))
    done(await add(other, KEY))
    assert [[KEY], [], [], [KEY]] == [
        await names(application, allowed=True),
        await names(application, allowed=False),
        await names(other, allowed=True),
        await names(other, allowed=False),
    ]
    done(await remove(other, KEY))
    assert [KEY] == await names(application, allowed=True)


async def test_one_tenants_list_does_not_refuse_anothers_users(house: HouseInProcess, application: Application) -> None:
    other = await house.create_application("other", allowAttestation=True)
    done(await add(application, KEY))
    for tenant in (application, other):
        ceremonies = Ceremonies(tenant, authenticator=SoftwareAuthenticator())
        begun = await ceremonies.begin_registration(await ceremonies.give_leave())
        assert (400 if tenant is application else 200) == (await ceremonies.complete_registration(begun)).status_code


async def test_a_list_acts_on_the_next_registration(house: HouseInProcess, application: Application) -> None:
    """What is remembered of the application is forgotten at once in the process that changed it."""
    ceremonies = Ceremonies(application)
    await ceremonies.register()
    done(await add(application, KEY))
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    refused(await ceremonies.complete_registration(begun), 400, "authenticator_not_allowed")
    done(await remove(application, KEY))
    await ceremonies.register()
