"""The categories in which the FIDO Alliance's server tests send bad messages, through the front door.

Those tests are about a whole server, so this matrix is too: every member of both answers, spoilt in every way. What is
wrong *inside* the members (client data, authenticator data, statements, signatures) stands in ``cases`` and in the
tables of the formats, and is refused there with its own reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.application import Ceremonies, HouseInProcess, problem_of
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

MISSING = object()
FAULTS: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "empty": "",
    "not base64url": "ab+/",
    "base64 with padding too much": "AA====",
    "another text": "AAAA",
    "number": 5,
    "boolean": True,
    "list": ["AAAA"],
    "object": {"0": 65},
}
CREATED = ("id", "rawId", "type", "response", "response.clientDataJSON", "response.attestationObject")
ASSERTED = (
    "id",
    "rawId",
    "type",
    "response",
    "response.clientDataJSON",
    "response.authenticatorData",
    "response.signature",
    "response.userHandle",
)
# These lists only shrink. The FIDO tests want `type`, which says nothing where only one type exists; the official
# clients of the compatible API do not all send the others (docs/divergences.md, "More tolerant").
ACCEPTED = {
    ("type", "missing"),
    ("type", "null"),
    ("response.userHandle", "missing"),
    ("response.userHandle", "null"),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def busy(
    anyio_backend: str, _sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ceremonies]:
    """One house for the whole matrix: nothing that is refused leaves a trace."""
    path = tmp_path_factory.mktemp("conformance") / "narthex.db"
    path.write_bytes(_sqlite_template.read_bytes())
    async with HouseInProcess(f"sqlite:///{path}") as house:
        ceremonies = Ceremonies(await house.create_application())
        await ceremonies.register()
        yield ceremonies


def spoilt(message: Json, place: str, fault: str) -> Json:
    """The message with one member left out or replaced."""
    name, _, below = place.partition(".")
    if below:
        return message | {name: spoilt(message[name], below, fault)}
    rest = {other: value for other, value in message.items() if other != name}
    return rest if FAULTS[fault] is MISSING else rest | {name: FAULTS[fault]}


def check(response: Any, place: str, fault: str) -> None:
    if (place, fault) in ACCEPTED:
        assert response.status_code == 200, response.text
        return
    assert problem_of(response)["status"] == 400


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", CREATED)
async def test_a_registration_with_a_spoilt_member_is_refused(busy: Ceremonies, place: str, fault: str) -> None:
    body = busy.registration_body(await busy.begin_registration(await busy.give_leave(f"{place} {fault}")))
    body["response"] = spoilt(body["response"], place, fault)
    check(await busy.application.public("/register/complete", body), place, fault)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ASSERTED)
async def test_an_assertion_with_a_spoilt_member_is_refused(busy: Ceremonies, place: str, fault: str) -> None:
    credential = busy.authenticator.credentials[0]
    body = busy.sign_in_body(await busy.begin_sign_in(), credential=credential)
    body["response"] = spoilt(body["response"], place, fault)
    check(await busy.application.public("/signin/complete", body), place, fault)


@pytest.mark.parametrize(
    "attestation",
    ["packed-self", "packed-x5c", "tpm", "android-key", "fido-u2f", "apple", "android-safetynet", "compound"],
)
async def test_every_format_registers_through_the_front_door(house_clock: Any, attestation: str) -> None:
    """Attestation that nobody asked for is checked all the same."""
    ceremonies, now = house_clock
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(attestation))
    making = {"made_at": now()} if attestation == "android-safetynet" else {}
    response = await ceremonies.complete_registration(begun, knobs={"attestation": attestation, "making": making})
    assert response.status_code == 200, response.text


@pytest.fixture
async def house_clock(anyio_backend: str, sqlite_url: str) -> AsyncIterator[Any]:
    async with HouseInProcess(sqlite_url) as house:
        yield Ceremonies(await house.create_application()), house.clock.now
