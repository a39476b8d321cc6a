"""What an honest passkey never does: a backup eligibility that changes, a signature counter that does not rise.

Refused by default; an application may let them pass, and then every trace says so. A passkey whose eligibility was
never recorded is no offender: its next sign-in fills it in, once (L3 #sctn-credential-backup, #sctn-sign-counter).
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from narthex.ports.records import EventType, Oddity
from tests.support.application import Ceremonies, HouseInProcess, accepted, problem_of, refused
from tests.support.authenticator import Json, SoftwareAuthenticator
from tests.support.metadata import MetadataMaker

pytestmark = pytest.mark.anyio

MANY = 20
SINGLE_DEVICE, SYNCED = {"be": False, "bs": False}, {"be": True, "bs": False}


async def record(house: HouseInProcess) -> tuple[Any, ...]:
    """The whole row of the only passkey."""
    (row,) = await house.rows("select * from credential")
    return row


async def eligible(house: HouseInProcess) -> bool | None:
    ((value,),) = await house.rows("select backup_eligible from credential")
    return None if value is None else bool(value)


async def counted(house: HouseInProcess) -> int:
    ((value,),) = await house.rows("select sign_count from credential")
    return int(value)


async def last_event(house: HouseInProcess) -> tuple[Any, ...]:
    lines = await house.rows(
        "select event_type, performed_by, message from event where app_id = 'demo' "
        "order by performed_at desc, event_id desc limit 1"
    )
    return lines[0]


async def flagged(house: HouseInProcess) -> list[str]:
    """What the events of let-pass oddities say."""
    lines = await house.rows("select event_type, performed_by, message from event order by performed_at, event_id")
    return [message for number, who, message in lines if number == EventType.ApiUserSignInFlagged and who == "ann"]


async def forget_eligibility(house: HouseInProcess) -> None:
    """As a record has it that was made before the flag was kept, or imported."""
    await house.write("update credential set backup_eligible = null")


async def answer(ceremonies: Ceremonies, **knobs: Any) -> httpx.Response:
    ceremonies.authenticator.counts = False
    return await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), knobs=knobs)


async def signs_in(ceremonies: Ceremonies, **knobs: Any) -> Json:
    """The assurance of a sign-in that must be accepted."""
    token = accepted(await answer(ceremonies, **knobs))["token"]
    assurance: Json = (await ceremonies.verify(token))["assurance"]
    return assurance


async def reason(ceremonies: Ceremonies, **knobs: Any) -> str:
    """Why a sign-in is refused that must be."""
    problem = refused(await answer(ceremonies, **knobs), 400, "signin_complete_error")
    said: str = problem["reason"]
    return said


async def outcomes(ceremonies: Ceremonies, *each: dict[str, Any]) -> list[str]:
    """How sign-ins end that all began before, and are completed side by side."""
    bodies = [ceremonies.sign_in_body(await ceremonies.begin_sign_in(), **knobs) for knobs in each]
    responses = await asyncio.gather(*(ceremonies.application.public("/signin/complete", body) for body in bodies))
    return ["200" if response.is_success else problem_of(response)["reason"] for response in responses]


@pytest.fixture
async def synced(house: HouseInProcess, ceremonies: Ceremonies) -> Ceremonies:
    """`ann` has a passkey that may be synced."""
    await ceremonies.register()
    return ceremonies


# --- eligibility that was never recorded ----------------------------------------------------------------------------


@pytest.mark.parametrize("be", [True, False])
async def test_what_was_never_recorded_is_filled_in_once(any_house: HouseInProcess, be: bool) -> None:
    ceremonies = Ceremonies(await any_house.create_application(eventLoggingIsEnabled=True))
    await ceremonies.register()
    await forget_eligibility(any_house)

    assurance = await signs_in(ceremonies, be=be, bs=False)
    assert (be, []) == (assurance["backupEligible"], assurance["findings"])
    assert be is await eligible(any_house)
    assert [] == await flagged(any_house)

    await signs_in(ceremonies, be=be, bs=False)
    assert "backup_eligibility_changed" == await reason(ceremonies, be=not be, bs=False)
    assert be is await eligible(any_house)


@pytest.mark.parametrize("policy", Oddity)
async def test_a_gap_is_no_oddity_whatever_the_policy(
    house: HouseInProcess, synced: Ceremonies, policy: Oddity
) -> None:
    await house.change_settings("demo", backup_eligibility_changed=policy)
    await forget_eligibility(house)
    assert [] == (await signs_in(synced, **SINGLE_DEVICE))["findings"]
    assert await eligible(house) is False


async def test_a_refused_sign_in_fills_nothing_in(house: HouseInProcess, synced: Ceremonies) -> None:
    """Only the authenticator's own word counts, and it is its own once the signature was verified."""
    await forget_eligibility(house)
    for knobs in ({"tampered": True}, {"challenge": bytes(32)}, {"up": False}, {"be": False, "bs": True}):
        await reason(synced, **knobs)
    assert await eligible(house) is None


# --- eligibility that changed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("be", [True, False])
async def test_a_change_is_refused_recorded_and_changes_nothing(house: HouseInProcess, be: bool) -> None:
    application = await house.create_application(eventLoggingIsEnabled=True)
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(backup_eligible=be))
    await ceremonies.register()
    before = await record(house)
    house.clock.move(minutes=5)

    assert "backup_eligibility_changed" == await reason(ceremonies, be=not be, bs=False)
    assert before == await record(house)
    number, who, message = await last_event(house)
    assert (EventType.ApiUserSignInRefused, "ann") == (number, who)
    assert "backup eligibility is not what it was at registration" in message
    await signs_in(ceremonies, be=be, bs=False)


async def test_the_state_may_change_as_often_as_it_likes(house: HouseInProcess, synced: Ceremonies) -> None:
    for bs in (True, False, True):
        assert bs is (await signs_in(synced, be=True, bs=bs))["backupState"]
        assert [(bs,)] == [(bool(value),) for (value,) in await house.rows("select backup_state from credential")]


@pytest.mark.parametrize("policy", Oddity)
async def test_a_state_without_eligibility_is_always_refused(
    house: HouseInProcess, synced: Ceremonies, policy: Oddity
) -> None:
    """lbuchs/WebAuthn#128: BS=1 with BE=0 is nothing that an application may let pass."""
    await house.change_settings("demo", backup_eligibility_changed=policy)
    assert "backup_state_invalid" == await reason(synced, be=False, bs=True)


async def test_a_change_may_be_let_pass_and_is_told(house: HouseInProcess, synced: Ceremonies) -> None:
    await house.change_settings("demo", backup_eligibility_changed=Oddity.FLAG)
    assurance = await signs_in(synced, **SINGLE_DEVICE)
    assert (["backup-eligibility"], False) == (assurance["findings"], assurance["backupEligible"])
    assert ["the backup eligibility of the passkey changed, which it never should"] == await flagged(house)
    assert [] == (await signs_in(synced, **SYNCED))["findings"]


async def test_what_left_its_device_once_stays_outside(house: HouseInProcess) -> None:
    """BE=0, then 1, then 0 again: the copy that the cloud has does not come back."""
    application = await house.create_application(eventLoggingIsEnabled=True)
    ceremonies = Ceremonies(application, authenticator=SoftwareAuthenticator(backup_eligible=False))
    await ceremonies.register()
    await house.change_settings("demo", backup_eligibility_changed=Oddity.FLAG)

    assert [] == (await signs_in(ceremonies, **SINGLE_DEVICE))["findings"]
    assert ["backup-eligibility"] == (await signs_in(ceremonies, **SYNCED))["findings"]
    assert await eligible(house) is True
    for _ in range(2):
        assert ["backup-eligibility"] == (await signs_in(ceremonies, **SINGLE_DEVICE))["findings"]
        assert await eligible(house) is True
    assert 3 == len(await flagged(house))

    await house.change_settings("demo", backup_eligibility_changed=Oddity.REFUSE)
    assert "backup_eligibility_changed" == await reason(ceremonies, **SINGLE_DEVICE)
    await signs_in(ceremonies, **SYNCED)


async def test_a_passkey_that_changed_never_reaches_aal3_again(house: HouseInProcess) -> None:
    metadata = MetadataMaker()
    await house.load_metadata(metadata.blob())
    application = await house.create_application(eventLoggingIsEnabled=True)
    await house.change_settings("demo", allow_attestation=True, backup_eligibility_changed=Oddity.FLAG)
    key = SoftwareAuthenticator(backup_eligible=False, attestation="packed-x5c")
    ceremonies = Ceremonies(application, authenticator=key)
    await ceremonies.register(attestation="direct")

    levels = [(await signs_in(ceremonies, **flags))["aal"] for flags in (SINGLE_DEVICE, SYNCED, SINGLE_DEVICE)]
    assert [3, 2, 2] == levels
    house.clock.move(days=400)
    await house.load_metadata(metadata.blob(number=2))
    later = await signs_in(ceremonies, **SINGLE_DEVICE)
    assert (2, ["backup-eligibility"]) == (later["aal"], later["findings"])


# --- counters -------------------------------------------------------------------------------------------------------

STORED = 7
FALLING = {"equal": 7, "less": 6, "one": 1, "zero": 0}
"""Counters that do not rise above what is stored."""


@pytest.fixture
async def counting(house: HouseInProcess, ceremonies: Ceremonies) -> Ceremonies:
    """`ann` has a passkey whose counter stands at 7."""
    await ceremonies.register()
    await signs_in(ceremonies, sign_count=STORED)
    return ceremonies


@pytest.mark.parametrize("received", FALLING.values(), ids=FALLING)
async def test_a_counter_that_does_not_rise_is_refused_and_recorded(
    house: HouseInProcess, counting: Ceremonies, received: int
) -> None:
    before = await record(house)
    house.clock.move(minutes=5)
    assert "sign_count_decreased" == await reason(counting, sign_count=received)
    assert before == await record(house)
    number, who, message = await last_event(house)
    assert (EventType.ApiUserSignInRefused, "ann") == (number, who)
    assert "counter did not rise" in message
    await signs_in(counting, sign_count=STORED + 1)


@pytest.mark.parametrize("received", FALLING.values(), ids=FALLING)
async def test_a_counter_that_does_not_rise_may_be_let_pass(
    house: HouseInProcess, counting: Ceremonies, received: int
) -> None:
    """What is kept is the larger: or the copy would go on unseen once it has signed."""
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    assert ["sign-count"] == (await signs_in(counting, sign_count=received))["findings"]
    assert STORED == await counted(house)
    assert 1 == len(await flagged(house))
    assert "may have been copied" in (await flagged(house))[0]

    assert [] == (await signs_in(counting, sign_count=STORED + 1))["findings"]
    assert ["sign-count"] == (await signs_in(counting, sign_count=STORED + 1))["findings"]
    assert STORED + 1 == await counted(house)


async def test_the_two_oddities_are_decided_apart(house: HouseInProcess, counting: Ceremonies) -> None:
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    assert "backup_eligibility_changed" == await reason(counting, sign_count=STORED, **SINGLE_DEVICE)
    await house.change_settings("demo", sign_count_stalled=Oddity.REFUSE, backup_eligibility_changed=Oddity.FLAG)
    assert "sign_count_decreased" == await reason(counting, sign_count=STORED, **SINGLE_DEVICE)
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    assurance = await signs_in(counting, sign_count=STORED, **SINGLE_DEVICE)
    assert ["backup-eligibility", "sign-count"] == sorted(assurance["findings"])
    assert 2 == len(await flagged(house))


@pytest.mark.parametrize("policy", Oddity)
async def test_zero_after_zero_is_no_counter(house: HouseInProcess, synced: Ceremonies, policy: Oddity) -> None:
    await house.change_settings("demo", sign_count_stalled=policy)
    for _ in range(3):
        assert [] == (await signs_in(synced, sign_count=0))["findings"]


@pytest.mark.parametrize("policy", Oddity)
async def test_a_counter_may_begin_late_and_leap_to_its_end(
    house: HouseInProcess, synced: Ceremonies, policy: Oddity
) -> None:
    await house.change_settings("demo", sign_count_stalled=policy)
    for received in (0, 1, 2, 1000, 2**32 - 1):
        assert [] == (await signs_in(synced, sign_count=received))["findings"]
        assert received == await counted(house)


async def test_an_application_without_a_log_flags_in_the_assurance(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application())
    await ceremonies.register()
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    await signs_in(ceremonies, sign_count=STORED)
    assert ["sign-count"] == (await signs_in(ceremonies, sign_count=1))["findings"]
    assert [] == await house.events()


async def test_each_application_decides_for_itself(house: HouseInProcess) -> None:
    lenient, strict = [Ceremonies(await house.create_application(name)) for name in ("demo", "strict")]
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG, backup_eligibility_changed=Oddity.FLAG)
    for ceremonies in (lenient, strict):
        await ceremonies.register()
        await signs_in(ceremonies, sign_count=STORED)
    await signs_in(lenient, sign_count=STORED, **SINGLE_DEVICE)
    assert "backup_eligibility_changed" == await reason(strict, sign_count=STORED + 1, **SINGLE_DEVICE)
    assert "sign_count_decreased" == await reason(strict, sign_count=STORED)


# --- side by side, on both databases --------------------------------------------------------------------------------


@pytest.fixture
async def anywhere(any_house: HouseInProcess) -> Ceremonies:
    ceremonies = Ceremonies(await any_house.create_application(eventLoggingIsEnabled=True))
    await ceremonies.register()
    return ceremonies


async def test_side_by_side_all_pass_where_they_may_stall(any_house: HouseInProcess, anywhere: Ceremonies) -> None:
    """Whoever comes last, the counter that is kept is the largest that was seen."""
    await any_house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    counters = [{"sign_count": 1 + number % 5} for number in range(MANY)]
    assert ["200"] * MANY == await outcomes(anywhere, *counters)
    assert 5 == await counted(any_house)


async def test_side_by_side_the_counter_never_falls(any_house: HouseInProcess, anywhere: Ceremonies) -> None:
    counters = [{"sign_count": MANY - number} for number in range(MANY)]
    answers = await outcomes(anywhere, *counters)
    assert "200" in answers
    assert {"200", "credential_changed", "sign_count_decreased"} >= set(answers)
    assert max(MANY - place for place, answer in enumerate(answers) if answer == "200") == await counted(any_house)
    assert "sign_count_decreased" == await reason(anywhere, sign_count=await counted(any_house))


async def test_side_by_side_what_left_its_device_stays_outside(any_house: HouseInProcess, anywhere: Ceremonies) -> None:
    """One says that it was synced, the others read the record before that was written."""
    await any_house.change_settings("demo", backup_eligibility_changed=Oddity.FLAG)
    for _ in range(3):
        await any_house.write("update credential set backup_eligible = :no", no=False)
        assert ["200"] * MANY == await outcomes(anywhere, SYNCED, *[SINGLE_DEVICE] * (MANY - 1))
        assert await eligible(any_house) is True


async def test_side_by_side_a_gap_is_filled_in_with_the_worse(any_house: HouseInProcess, anywhere: Ceremonies) -> None:
    for _ in range(3):
        await forget_eligibility(any_house)
        first, *others = await outcomes(anywhere, SYNCED, *[SINGLE_DEVICE] * (MANY - 1))
        assert {"200", "backup_eligibility_changed"} >= {first, *others}
        assert (first == "200") is await eligible(any_house)
