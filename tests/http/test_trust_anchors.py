"""Anchors of an application's own: certificates that vouch for authenticators beside those of the metadata."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from uuid import UUID

import httpx
import pytest

from narthex.usecases.application import MOST_TRUST_ANCHORS
from tests.support.application import ABSENT, Application, Ceremonies, HouseInProcess, accepted, refused, sent
from tests.support.authenticator import Json, SoftwareAuthenticator, maker
from tests.support.metadata import AAGUID, MetadataMaker

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
PATH = "/admin/apps/demo/trust-anchors"
OWN = b64encode(maker().der).decode()
"""The maker of what `SoftwareAuthenticator(attestation="packed-x5c")` shows."""
ANOTHER = b64encode(maker("another").der).decode()
MODEL = str(UUID(bytes=AAGUID))
SECURITY_KEY = {"attestation": "packed-x5c", "backup_eligible": False}


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    return await house.create_application(allowAttestation=True)


def anchor(certificate: str = OWN, *, name: str = "Ours", **members: Any) -> Json:
    return {"name": name, "certificate": certificate, **members}


async def set_anchors(house: HouseInProcess, *anchors: Any, path: str = PATH, **members: Any) -> httpx.Response:
    return await house.manage(path, {"anchors": list(anchors), **members})


async def enrolled(application: Application, **authenticator: Any) -> Ceremonies:
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(**SECURITY_KEY | authenticator))
    await ceremonies.register(attestation="direct")
    return ceremonies


async def worth(ceremonies: Ceremonies) -> tuple[int, bool, bool]:
    """AAL, attested, hardware."""
    record = (await ceremonies.verify(await ceremonies.sign_in(userId="ann")))["assurance"]
    return record["aal"], record["attested"], record["hardware"]


UNATTESTED, ATTESTED, IN_HARDWARE = (2, False, False), (2, True, False), (3, True, True)


# --- deciding -------------------------------------------------------------------------------------------------------


async def test_anchors_are_replaced_and_read_back(house: HouseInProcess, application: Application) -> None:
    assert [] == accepted(await house.manage(PATH))
    first = anchor(aaGuids=[MODEL], hardware=True)
    assert [first] == accepted(await set_anchors(house, first))
    second = anchor(ANOTHER, name="Theirs")
    expected = [second | {"aaGuids": [], "hardware": False}]
    assert expected == accepted(await set_anchors(house, second)) == accepted(await house.manage(PATH))
    assert [] == accepted(await set_anchors(house))


BROKEN: dict[str, list[Json]] = {
    "no certificate in it": [anchor(b64encode(b"not a certificate").decode())],
    "half a certificate": [anchor(b64encode(maker().der[:-1]).decode())],
    "something behind it": [anchor(b64encode(maker().der + b"\0").decode())],
    "a model that is none": [anchor(aaGuids=["Key 5"])],
    "a name twice": [anchor(), anchor(ANOTHER)],
    "too many": [anchor(name=f"Anchor {n}") for n in range(MOST_TRUST_ANCHORS + 1)],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_anchor_that_cannot_be_used_changes_nothing(
    house: HouseInProcess, application: Application, name: str
) -> None:
    accepted(await set_anchors(house, anchor(ANOTHER, name="Theirs")))
    refused(await set_anchors(house, *BROKEN[name]), 400, "trust_anchor_invalid")
    kept: Any = accepted(await house.manage(PATH))
    assert ["Theirs"] == [each["name"] for each in kept]


@pytest.mark.parametrize(
    "anchors", [None, [{}], [{"name": "x"}], [{"certificate": OWN}], [anchor("*")], [anchor(name="")], [anchor("")]]
)
async def test_an_anchor_has_a_name_and_a_certificate(
    house: HouseInProcess, application: Application, anchors: Any
) -> None:
    problem = refused(await house.manage(PATH, {"anchors": anchors}), 400, "validation_failed")
    assert ["anchors"] == list(problem["errors"])


async def test_as_many_as_there_may_be_fit(house: HouseInProcess, application: Application) -> None:
    """Also by their size: the body may be larger than others."""
    many = [anchor(name=f"Anchor {n}") for n in range(MOST_TRUST_ANCHORS)]
    assert MOST_TRUST_ANCHORS == len(accepted(await set_anchors(house, *many)))


async def test_an_application_that_is_not_there_has_none(house: HouseInProcess, application: Application) -> None:
    refused(await house.manage("/admin/apps/nobody/trust-anchors"), 404, "application_not_found")
    response = await set_anchors(house, anchor(), path="/admin/apps/nobody/trust-anchors")
    refused(response, 404, "application_not_found")


# --- vouching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hardware", "expected"), [(None, ATTESTED), (False, ATTESTED), (True, IN_HARDWARE)])
async def test_an_anchor_attests_and_its_operator_says_where_keys_stay(
    house: HouseInProcess, application: Application, hardware: bool | None, expected: tuple[int, bool, bool]
) -> None:
    accepted(await set_anchors(house, anchor(hardware=hardware)))
    assert expected == await worth(await enrolled(application))


@pytest.mark.parametrize(
    ("models", "expected"), [([MODEL], IN_HARDWARE), ([MODEL.upper()], IN_HARDWARE), ([str(UUID(int=7))], UNATTESTED)]
)
async def test_an_anchor_vouches_for_its_models_alone(
    house: HouseInProcess, application: Application, models: list[str], expected: tuple[int, bool, bool]
) -> None:
    accepted(await set_anchors(house, anchor(aaGuids=models, hardware=True)))
    assert expected == await worth(await enrolled(application))


async def test_an_anchor_given_later_attests_from_the_next_use_on_and_one_taken_back_no_longer(
    house: HouseInProcess, application: Application
) -> None:
    ceremonies = await enrolled(application)
    steps = []
    for anchors in ([], [anchor(hardware=True)], [anchor()], [anchor(ANOTHER)], [anchor(hardware=True)], []):
        accepted(await set_anchors(house, *anchors))
        steps.append(await worth(ceremonies))
    assert [UNATTESTED, IN_HARDWARE, ATTESTED, UNATTESTED, IN_HARDWARE, UNATTESTED] == steps


async def test_an_anchor_whose_models_change_is_judged_anew(house: HouseInProcess, application: Application) -> None:
    ceremonies = await enrolled(application)
    steps = []
    for models in ([str(UUID(int=7))], [MODEL], [str(UUID(int=7))], []):
        accepted(await set_anchors(house, anchor(aaGuids=models)))
        steps.append((await worth(ceremonies))[1])
    assert [False, True, False, True] == steps


async def test_an_anchor_of_one_application_means_nothing_to_another(
    house: HouseInProcess, application: Application
) -> None:
    other = await house.create_application("other", allowAttestation=True)
    accepted(await set_anchors(house, anchor(hardware=True)))
    assert UNATTESTED == await worth(await enrolled(other))
    assert IN_HARDWARE == await worth(await enrolled(application))


async def test_an_anchor_vouches_where_the_metadata_trusts_another_maker(
    house: HouseInProcess, application: Application
) -> None:
    """The operator's word stands beside the metadata's, and the bad news of the metadata above both."""
    described = {"roots": [maker("another").der]}
    await house.load_metadata(FIDO.blob(FIDO.entry(**described)))
    accepted(await set_anchors(house, anchor()))
    ceremonies = await enrolled(application)
    steps = [await worth(ceremonies)]
    for number, status in ((2, "USER_VERIFICATION_BYPASS"), (3, "ATTESTATION_KEY_COMPROMISE"), (4, "REVOKED")):
        await house.load_metadata(FIDO.blob(FIDO.entry(statuses=[status], **described), number=number))
        steps.append(await worth(ceremonies))
    assert [ATTESTED, (1, True, False), UNATTESTED, (0, True, False)] == steps


@pytest.mark.parametrize(("models", "certified"), [([], None), ([MODEL], "FIDO_CERTIFIED_L2")])
async def test_what_fido_certified_is_said_of_models_that_an_anchor_names(
    house: HouseInProcess, application: Application, models: list[str], certified: str | None
) -> None:
    """Certificates under an anchor for any model name what they like; FIDO has certified none of those."""
    foreign = FIDO.entry(aaguid=AAGUID, statuses=["FIDO_CERTIFIED_L2", "FIPS140_CERTIFIED_L2"], roots=[FIDO.root])
    await house.load_metadata(FIDO.blob(foreign))
    accepted(await set_anchors(house, anchor(aaGuids=models, hardware=True)))
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(**SECURITY_KEY))
    await ceremonies.register(attestation="direct")
    record = (await ceremonies.verify(await ceremonies.sign_in(userId="ann")))["assurance"]
    assert (True, certified) == (record["attested"], record["certified"])
    assert (2 if certified else None) == record["fips"]


@pytest.mark.parametrize(("models", "status"), [([], 400), ([MODEL], 200)])
async def test_an_allow_list_takes_an_anchors_word_for_models_that_it_names(
    house: HouseInProcess, application: Application, models: list[str], status: int
) -> None:
    """Else whoever has a certificate under an anchor for any model would pass by naming one on the list."""
    accepted(await set_anchors(house, anchor(aaGuids=models)))
    await house.load_metadata(FIDO.blob(FIDO.entry(aaguid=AAGUID, roots=[FIDO.root])))
    added = await application.secret("/authenticators/add", {"aaGuids": [MODEL], "isAllowed": True})
    assert 204 == added.status_code
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(**SECURITY_KEY))
    answer = await ceremonies.complete_registration(await ceremonies.begin_registration(await ceremonies.give_leave()))
    assert status == answer.status_code
    assert status == 200 or "attestation_required" == answer.json()["errorCode"]


async def test_the_metadatas_word_on_hardware_holds_where_its_own_anchor_vouches(
    house: HouseInProcess, application: Application
) -> None:
    await house.load_metadata(FIDO.blob(FIDO.entry(key_protection=("software",))))
    accepted(await set_anchors(house, anchor(hardware=True)))
    assert ATTESTED == await worth(await enrolled(application))


async def test_an_anchor_satisfies_a_policy(house: HouseInProcess, application: Application) -> None:
    accepted(await house.manage("/admin/apps/demo/authenticator-policy", {"attestation": "enforce"}))
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(**SECURITY_KEY))
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    refused(await ceremonies.complete_registration(begun), 400, "attestation_required")
    accepted(await set_anchors(house, anchor()))
    await ceremonies.register()
    await ceremonies.sign_in()
    accepted(await set_anchors(house, acceptLockOut=True))
    begun = await ceremonies.begin_sign_in()
    refused(await ceremonies.complete_sign_in(begun), 400, "attestation_required")


# --- nobody is locked out unawares ----------------------------------------------------------------------------------


@pytest.fixture
async def vouched_for(house: HouseInProcess, application: Application) -> Ceremonies:
    """`ann`, whom only our anchor lets in: the policy asks for attestation at every sign-in."""
    accepted(await set_anchors(house, anchor()))
    ceremonies = await enrolled(application)
    accepted(await house.manage("/admin/apps/demo/authenticator-policy", {"attestation": "enforce"}))
    return ceremonies


TAKEN_BACK: dict[str, list[Json]] = {
    "dropped": [],
    "another in its place": [anchor(ANOTHER)],
    "no longer for the model": [anchor(aaGuids=[str(UUID(int=7))])],
}


@pytest.mark.parametrize("name", TAKEN_BACK)
async def test_an_anchor_is_not_taken_from_its_users_unasked(
    house: HouseInProcess, vouched_for: Ceremonies, name: str
) -> None:
    for word in (ABSENT, False, None):
        body = sent({"anchors": TAKEN_BACK[name], "acceptLockOut": word})
        problem = refused(await house.manage(PATH, body), 409, "policy_locks_out")
        assert (1, 1) == (problem["lockedOut"], problem["users"])
    await vouched_for.sign_in()
    accepted(await set_anchors(house, *TAKEN_BACK[name], acceptLockOut=True))
    refused(await vouched_for.complete_sign_in(await vouched_for.begin_sign_in()), 400, "attestation_required")


@pytest.mark.parametrize(
    "anchors",
    [
        [anchor(name="Another name")],
        [anchor(hardware=True)],
        [anchor(aaGuids=[MODEL])],
        [anchor(), anchor(ANOTHER, name="Theirs")],
    ],
)
async def test_what_still_vouches_for_everybody_is_not_asked_about(
    house: HouseInProcess, vouched_for: Ceremonies, anchors: list[Json]
) -> None:
    accepted(await set_anchors(house, *anchors))
    await vouched_for.sign_in()


async def test_where_no_sign_in_needs_attestation_an_anchor_goes_unasked(
    house: HouseInProcess, vouched_for: Ceremonies
) -> None:
    accepted(await house.manage("/admin/apps/demo/authenticator-policy", {"attestation": "enforce-new"}))
    accepted(await set_anchors(house))
    await vouched_for.sign_in()


async def test_an_anchor_that_cannot_be_used_is_told_before_whom_it_would_lock_out(
    house: HouseInProcess, vouched_for: Ceremonies
) -> None:
    refused(await set_anchors(house, *BROKEN["half a certificate"]), 400, "trust_anchor_invalid")
