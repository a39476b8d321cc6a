"""What somebody tried who wanted to break the house, and what stopped it; the attempts that went through came first.

Attacks that a room or another file of tests already repels are not repeated here.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.application import Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json, SoftwareAuthenticator
from tests.support.metadata import MetadataMaker

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
KEY_ATTRIBUTES = {"fixedTPM": 1 << 1, "fixedParent": 1 << 4, "sensitiveDataOrigin": 1 << 5}
HONEST_ATTRIBUTES = 0x0006_0472


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    return await house.create_application(eventLoggingIsEnabled=True, allowAttestation=True)


async def enrolled(application: Application, *, making: Json, **authenticator: Any) -> Ceremonies:
    """Ceremonies of a user whose passkey was made with a statement of such a making."""
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(backup_eligible=False, **authenticator))
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(attestation="direct"))
    accepted(await ceremonies.complete_registration(begun, knobs={"making": making}))
    return ceremonies


async def worth(ceremonies: Ceremonies) -> tuple[int, str | None, bool]:
    """AAL, acr, attested."""
    record = (await ceremonies.verify(await ceremonies.sign_in(userId="ann")))["assurance"]
    return record["aal"], record["acr"], record["attested"]


HARDWARE, UNPROVEN = (3, "phrh", True), (2, "phr", False)


# --- AAL 3 without the hardware -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", [None, *KEY_ATTRIBUTES])
async def test_a_genuine_tpm_does_not_lift_a_key_that_was_brought_to_it(
    house: HouseInProcess, application: Application, lacking: str | None
) -> None:
    """An identity key that its maker certified signs about imported keys too, which lie in a file as well."""
    await house.load_metadata(FIDO.blob(FIDO.entry(attestation_types=("attca",))))
    attributes = HONEST_ATTRIBUTES & ~KEY_ATTRIBUTES.get(lacking or "", 0)
    ceremonies = await enrolled(application, attestation="tpm", making={"area": {"attributes": attributes}})
    assert (UNPROVEN if lacking else HARDWARE) == await worth(ceremonies)


@pytest.mark.parametrize(
    ("description", "expected"), [({}, HARDWARE), ({"level": 0}, UNPROVEN), ({"kept_in": 0}, UNPROVEN)]
)
async def test_android_does_not_lift_a_key_that_it_calls_software(
    house: HouseInProcess, application: Application, description: Json, expected: tuple[int, str, bool]
) -> None:
    await house.load_metadata(FIDO.blob(FIDO.entry()))
    ceremonies = await enrolled(application, attestation="android-key", making={"description": description})
    assert expected == await worth(ceremonies)


async def test_metadata_that_comes_later_does_not_lift_such_a_key(
    house: HouseInProcess, application: Application
) -> None:
    ceremonies = await enrolled(application, attestation="tpm", making={"area": {"attributes": 1 << 18}})
    assert UNPROVEN == await worth(ceremonies)
    await house.load_metadata(FIDO.blob(FIDO.entry(attestation_types=("attca",))))
    assert [UNPROVEN] * 2 == [await worth(ceremonies) for _ in range(2)]


@pytest.mark.parametrize("slip", [{"statuses": [("REVOKED", "yesterday")]}, {"statuses": ["REVOKED"], "aaid": 7}])
async def test_a_slip_in_its_entry_does_not_clear_a_revoked_model(
    house: HouseInProcess, application: Application, slip: Json
) -> None:
    """An entry that cannot be read was left out whole, and a model without an entry has nothing against it."""
    await house.load_metadata(FIDO.blob())
    ceremonies = await enrolled(application, attestation="packed-x5c", making={})
    await house.load_metadata(FIDO.blob(FIDO.entry(**slip), number=2))
    assert (0, None, False) == await worth(ceremonies)
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("bob"))
    refused(await ceremonies.complete_registration(begun), 400, "authenticator_compromised")


# --- related origins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
async def test_a_request_to_two_hosts_is_to_neither(house: HouseInProcess, order: int) -> None:
    """A cache may keep the answer under one name that was given for the other."""
    for app_id, host in (("demo", "example.org"), ("evil", "evil.example")):
        await house.create_application(app_id)
        accepted(await house.manage(f"/admin/apps/{app_id}/origins", {"origins": [f"https://{host}"]}))
        assert 204 == (await house.manage(f"/admin/apps/{app_id}/rp-ids/answer-for", {"rpId": host})).status_code
    named = [("Host", "example.org"), ("Host", "evil.example")][::order]
    refused(await house.client.get("/.well-known/webauthn", headers=named), 404, "no_related_origins")
