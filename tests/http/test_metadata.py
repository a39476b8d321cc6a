"""The FIDO metadata: what consoles read of it, and how servers that share a database get it and judge by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from narthex.base.errors import Refusal
from narthex.main import _metadata_chores
from narthex.ports.metadata import FetchedMetadata, MetadataUnavailable
from narthex.ports.records import KeptMetadata
from narthex.settings import read_settings
from narthex.usecases.metadata import (
    MetadataCatalog,
    MetadataSigner,
    Update,
    is_due,
    update_metadata,
    update_when_due,
)
from narthex.webauthn.metadata_blob import MetadataSignatureInvalid, MetadataUntrusted
from narthex.webauthn.metadata_payload import MetadataMalformed
from narthex.webauthn.revocation import MetadataSignerRevoked
from tests.support.application import START, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json, SoftwareAuthenticator
from tests.support.metadata import AAGUID, ICON, MetadataMaker, authority

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
SOMEBODY_ELSE = MetadataMaker(authority=authority("Somebody Else"))
DAY = timedelta(days=1)


def model(number: int) -> bytes:
    return bytes(15) + bytes([number])


def uuid(number: int) -> str:
    return str(UUID(bytes=model(number)))


# --- what consoles read ---------------------------------------------------------------------------------------------


async def read(house: HouseInProcess, path: str) -> Any:
    return accepted(await house.manage(f"/mds/{path}"))


async def test_without_metadata_there_is_nothing_to_choose_from(house: HouseInProcess) -> None:
    paths = ("attestation-types", "certification-statuses", "entries")
    assert [[], [], []] == [await read(house, path) for path in paths]
    assert {
        "number": 0,
        "nextUpdate": None,
        "stale": True,
        "models": 0,
        "unreadable": 0,
        "keptNumber": 0,
        "keptAt": None,
        "triedAt": None,
        "failures": 0,
        "problem": "",
    } == await read(house, "state")


@pytest.fixture
async def library(house: HouseInProcess) -> HouseInProcess:
    """A house whose metadata has four FIDO2 models, and others that are none."""
    u2f = FIDO.entry(aaguid=None, key_identifiers=[bytes(20)], name="U2F", attestation_types=("of_u2f",))
    uaf = FIDO.entry(aaguid=None, aaid="1234#5678", statement={"protocolFamily": "uaf"}, statuses=["RETIRED"])
    await house.load_metadata(
        FIDO.blob(
            FIDO.entry(aaguid=model(1), name="beta", statuses=["FIDO_CERTIFIED_L1"], attestation_types=("attca",)),
            FIDO.entry(
                aaguid=model(2),
                name="Alpha",
                statuses=["FIDO_CERTIFIED", "FIDO_CERTIFIED_L2", "FIDO_CERTIFIED", "UPDATE_AVAILABLE"],
                attestation_types=("basic_full", "basic_surrogate"),
            ),
            FIDO.entry(aaguid=model(3), name="Gamma", statuses=["REVOKED"], icon=None),
            FIDO.entry(aaguid=model(4), name="alpha", statuses=[], icon="https://example.org/icon.png"),
            u2f,
            uaf,
            {"aaguid": "none at all"},
        )
    )
    return house


async def test_models_are_listed_by_name(library: HouseInProcess) -> None:
    entries = await read(library, "entries")
    assert [("Alpha", uuid(2)), ("alpha", uuid(4)), ("beta", uuid(1)), ("Gamma", uuid(3))] == [
        (entry["name"], entry["aaGuid"]) for entry in entries
    ]
    assert {
        "aaGuid": uuid(2),
        "name": "Alpha",
        "certificationStatuses": ["FIDO_CERTIFIED", "FIDO_CERTIFIED_L2", "UPDATE_AVAILABLE"],
        "attestationTypes": ["basic_full", "basic_surrogate"],
        "icon": ICON,
    } == entries[0]
    assert [ICON, None, ICON, None] == [entry["icon"] for entry in entries], "an icon is data, or none"


async def test_kinds_of_attestation_and_statuses_are_those_of_fido2_models(library: HouseInProcess) -> None:
    assert ["attca", "basic_full", "basic_surrogate"] == await read(library, "attestation-types")
    statuses = ["FIDO_CERTIFIED", "FIDO_CERTIFIED_L1", "FIDO_CERTIFIED_L2", "REVOKED", "UPDATE_AVAILABLE"]
    assert statuses == await read(library, "certification-statuses")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [2, 4, 1, 3]),
        ("attestationTypes=attca", [1]),
        ("attestationTypes=attca&attestationTypes=basic_surrogate", [2, 1]),
        ("certificationStatuses=REVOKED&certificationStatuses=FIDO_CERTIFIED_L1", [1, 3]),
        ("attestationTypes=basic_full&certificationStatuses=REVOKED", [3]),
        ("attestationTypes=attca&certificationStatuses=REVOKED", []),
        ("attestationTypes=attca&attestationTypes=basic_full&certificationStatuses=FIDO_CERTIFIED", [2]),
        ("attestationTypes=nothing", []),
        ("certificationStatuses=revoked", []),
        ("attestationTypes=&certificationStatuses=", [2, 4, 1, 3]),
        ("ATTESTATIONTYPES=attca", [1]),
        ("other=x", [2, 4, 1, 3]),
    ],
)
async def test_one_value_of_a_filter_is_enough_and_both_filters_must_be_met(
    library: HouseInProcess, query: str, numbers: list[int]
) -> None:
    found = await read(library, f"entries?{query}")
    assert [uuid(number) for number in numbers] == [entry["aaGuid"] for entry in found]


@pytest.mark.parametrize("value", ["basic-full", "a b", "a%20b", "%C3%A9", "a%0A", "'", "a,b", "*"])
@pytest.mark.parametrize("name", ["attestationTypes", "certificationStatuses"])
async def test_a_filter_holds_letters_digits_and_underscores(library: HouseInProcess, name: str, value: str) -> None:
    problem = refused(await library.manage(f"/mds/entries?{name}=good&{name}={value}"), 400, "validation_failed")
    assert [name] == list(problem["errors"])


async def test_the_state_says_what_is_in_force(library: HouseInProcess) -> None:
    assert {
        "number": 1,
        "nextUpdate": "2049-12-01",
        "stale": False,
        "models": 6,
        "unreadable": 1,
        "keptNumber": 1,
        "keptAt": "2026-03-04T05:06:07.891011Z",
        "triedAt": None,
        "failures": 0,
        "problem": "",
    } == await read(library, "state")


@pytest.mark.parametrize(("due", "stale"), [("2026-03-03", True), ("2026-03-04", False), ("2026-03-05", False)])
async def test_metadata_is_stale_after_the_day_on_which_newer_was_due(
    house: HouseInProcess, due: str, stale: bool
) -> None:
    await house.load_metadata(FIDO.blob(next_update=due))
    assert stale is (await read(house, "state"))["stale"]


# --- several servers, one database ----------------------------------------------------------------------------------


class Shelf:
    """A source that has what was put there: a BLOB, or a refusal to give one."""

    def __init__(self, *held: bytes | Refusal | FetchedMetadata) -> None:
        self.held = list(held)
        self.asked = 0

    async def fetch(self) -> FetchedMetadata:
        self.asked += 1
        await asyncio.sleep(0)
        # The last thing on the shelf is there each time.
        held = self.held.pop(0) if len(self.held) > 1 else self.held[0]
        if isinstance(held, Refusal):
            raise held
        return held if isinstance(held, FetchedMetadata) else FetchedMetadata(held)


DOWN = MetadataUnavailable("metadata at `https://mds.test/` was not fetched in time")


async def update(house: HouseInProcess, source: Shelf, **options: Any) -> Update:
    return await update_metadata(house.root, house.catalog, source, now=house.clock.now(), **options)


async def update_if_due(house: HouseInProcess, source: Shelf) -> Update | None:
    return await update_when_due(house.root, house.catalog, source, now=house.clock.now(), every=DAY)


async def refresh(house: HouseInProcess) -> bool:
    return await house.catalog.refresh(house.root, now=house.clock.now())


async def attested(house: HouseInProcess, ceremonies: Ceremonies) -> tuple[bool, int]:
    """Whether this server finds the passkey attested, and by which metadata."""
    application = ceremonies.application
    here = Ceremonies(
        Application(house.client, application.app_id, application.public_key, application.secret_key),
        authenticator=ceremonies.authenticator,
    )
    record = (await here.verify(await here.sign_in()))["assurance"]
    return record["attested"], record["metadataNumber"]


async def test_another_server_judges_by_what_one_server_fetched(database_url: str) -> None:
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        ceremonies = Ceremonies(await one.create_application(), authenticator=SoftwareAuthenticator(**SECURITY_KEY))
        await ceremonies.register()
        assert (await update(one, Shelf(FIDO.blob(number=5)))).kept

        assert (True, 5) == await attested(one, ceremonies)
        assert (False, 0) == await attested(other, ceremonies)
        assert [True, False] == [await refresh(other) for _ in range(2)]
        assert (True, 5) == await attested(other, ceremonies)

        await update(one, Shelf(FIDO.blob(FIDO.entry(aaguid=model(9)), number=6)))
        assert await refresh(other)
        assert [(False, 6)] * 2 == [await attested(house, ceremonies) for house in (one, other)]


SECURITY_KEY: Json = {"attestation": "packed-x5c", "backup_eligible": False}


async def test_a_large_blob_is_read_as_it_was_kept(database_url: str) -> None:
    """It is kept in parts, which another server puts together."""
    entries = [FIDO.entry(aaguid=model(n), icon=ICON + "A" * 9_000) for n in range(1, 100)]
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        blob = FIDO.blob(*entries)
        await update(one, Shelf(blob))
        assert blob == await other.root.read_metadata()
        await refresh(other)
        assert 99 == len(other.catalog.current.entries)


async def test_one_of_many_servers_fetches(database_url: str) -> None:
    async with HouseInProcess(database_url) as one, HouseInProcess(database_url) as other:
        source = Shelf(FIDO.blob(number=1))
        for _ in range(2):
            await asyncio.gather(*(update_if_due(house, source) for house in (one, other) for _ in range(5)))
        assert 1 == source.asked
        for house in (one, other):
            house.clock.move(days=1)
        source.held = [FIDO.blob(number=2)]
        done = await asyncio.gather(*(update_if_due(house, source) for house in (one, other) for _ in range(5)))
        assert (2, 1) == (source.asked, sum(each is not None for each in done))
        assert 2 == (await one.root.find_metadata()).number


async def test_metadata_is_fetched_again_when_it_is_time(house: HouseInProcess) -> None:
    source = Shelf(FIDO.blob())
    asked = []
    for seconds in (0, 1, DAY.total_seconds() - 2, 1):
        house.clock.move(seconds=seconds)
        await update_if_due(house, source)
        asked.append(source.asked)
    assert [1, 1, 1, 2] == asked


# --- what goes wrong ------------------------------------------------------------------------------------------------


async def state(house: HouseInProcess) -> KeptMetadata:
    return await house.root.find_metadata()


async def test_after_failures_it_waits_twice_as_long_each_time_up_to_six_hours(house: HouseInProcess) -> None:
    source, waits = Shelf(DOWN), []
    for _ in range(12):
        with pytest.raises(MetadataUnavailable):
            await update_if_due(house, source)
        since = house.clock.now()
        while not is_due(await state(house), now=house.clock.now(), every=DAY):
            house.clock.move(seconds=30)
        waits.append((house.clock.now() - since).total_seconds() / 60)
    assert [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360] == waits
    assert 12 == source.asked


async def test_a_failure_is_told_and_what_is_kept_stays_in_force(house: HouseInProcess) -> None:
    source = Shelf(FIDO.blob(number=3), DOWN, DOWN, FIDO.blob(number=4))
    await update(house, source)
    for _ in range(2):
        house.clock.move(hours=1)
        with pytest.raises(MetadataUnavailable):
            await update(house, source)
    shown = await read(house, "state")
    assert (3, 3, 2, DOWN.message) == tuple(shown[name] for name in ("number", "keptNumber", "failures", "problem"))
    await update(house, source)
    shown = await read(house, "state")
    assert (4, 4, 0, "") == tuple(shown[name] for name in ("number", "keptNumber", "failures", "problem"))


async def test_the_instant_of_the_last_try_is_told(house: HouseInProcess) -> None:
    with contextlib.suppress(MetadataUnavailable):
        await update_if_due(house, Shelf(DOWN))
    assert "2026-03-04T05:06:07.891011Z" == (await read(house, "state"))["triedAt"]


UNBELIEVED: dict[str, tuple[Callable[[], bytes | FetchedMetadata], type[Refusal]]] = {
    "no signed text": (lambda: b"not a blob", MetadataMalformed),
    "nothing": (lambda: b"", MetadataMalformed),
    "a payload of something else": (lambda: FIDO.blob(payload=b'{"no": 9}'), MetadataMalformed),
    "another signature": (lambda: FIDO.blob(number=9)[:-8] + b"AAAAAAAA", MetadataSignatureInvalid),
    "another key": (lambda: FIDO.blob(number=9, key=FIDO.intermediate.key), MetadataSignatureInvalid),
    "another root": (lambda: SOMEBODY_ELSE.blob(number=9), MetadataUntrusted),
    "no certificate of the issuer": (lambda: FIDO.blob(number=9, path=[FIDO.leaf.der]), MetadataUntrusted),
    "a signer that was revoked": (
        lambda: FetchedMetadata(FIDO.blob(number=9), crls=FIDO.crls(FIDO.leaf)),
        MetadataSignerRevoked,
    ),
    "an issuer that was revoked": (
        lambda: FetchedMetadata(FIDO.blob(number=9), crls=FIDO.crls(FIDO.intermediate)),
        MetadataSignerRevoked,
    ),
}


@pytest.mark.parametrize("name", UNBELIEVED)
async def test_metadata_that_does_not_verify_changes_nothing_and_is_told(house: HouseInProcess, name: str) -> None:
    made, refusal = UNBELIEVED[name]
    await update(house, Shelf(FIDO.blob(number=3)))
    with pytest.raises(refusal) as refused_by:
        await update(house, Shelf(made()))
    assert 3 == house.catalog.current.number
    assert (3, 1, refused_by.value.message) == (
        (await state(house)).number,
        (await state(house)).failures,
        (await state(house)).problem,
    )


async def test_another_host_than_the_one_that_signs_is_not_believed(house: HouseInProcess) -> None:
    """FIDO's root is that of a public web CA: whoever has a certificate of it for a host must not sign metadata."""
    house.catalog.signer = MetadataSigner(roots=(FIDO.root,), name="mds.fidoalliance.org")
    with pytest.raises(MetadataUntrusted, match=r"signed by `mds\.example\.org`"):
        await update(house, Shelf(FIDO.blob()))
    house.catalog.signer = MetadataSigner(roots=(FIDO.root,), name="MDS.example.org")
    assert (await update(house, Shelf(FIDO.blob()))).kept


async def test_without_roots_nobody_is_believed(house: HouseInProcess) -> None:
    house.catalog.signer = MetadataSigner(roots=(), name=None)
    with pytest.raises(MetadataUntrusted):
        await update(house, Shelf(FIDO.blob()))


async def test_what_could_not_be_checked_is_passed_on(house: HouseInProcess) -> None:
    said = ("revocation list at `http://crl.test/` was not fetched in time",)
    assert said == (await update(house, Shelf(FetchedMetadata(FIDO.blob(), problems=said)))).problems


@pytest.mark.parametrize("number", [6, 7])
async def test_metadata_does_not_go_back(any_house: HouseInProcess, number: int) -> None:
    """Who can serve an old BLOB would take back that a model was revoked."""
    await update(any_house, Shelf(FIDO.blob(FIDO.entry(statuses=["REVOKED"]), number=7)))
    assert not (await update(any_house, Shelf(FIDO.blob(number=number)))).kept
    entry = any_house.catalog.current.find(AAGUID)
    assert entry is not None
    assert (7, ["REVOKED"]) == (any_house.catalog.current.number, [report.status for report in entry.statuses])


async def test_an_operator_may_go_back(house: HouseInProcess) -> None:
    await update(house, Shelf(FIDO.blob(number=7)))
    assert (await update(house, Shelf(FIDO.blob(number=6)), replace=True)).kept
    assert 6 == house.catalog.current.number


async def test_that_nothing_is_newer_ends_a_row_of_failures(house: HouseInProcess) -> None:
    await update(house, Shelf(FIDO.blob(number=7)))
    with contextlib.suppress(MetadataUnavailable):
        await update(house, Shelf(DOWN))
    await update(house, Shelf(FIDO.blob(number=7)))
    assert (0, "") == ((await state(house)).failures, (await state(house)).problem)


# --- another signer -------------------------------------------------------------------------------------------------


async def test_what_another_signer_signed_is_not_used_and_told_once(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url) as house:
        ceremonies = Ceremonies(await house.create_application(), authenticator=SoftwareAuthenticator(**SECURITY_KEY))
        await ceremonies.register()
        await update(house, Shelf(FIDO.blob(number=50)))
        # As after a start with other settings: the process has read nothing yet.
        house.env.catalog.signer = MetadataSigner(roots=(SOMEBODY_ELSE.root,), name=None)
        fresh = MetadataCatalog(house.catalog.signer)
        with pytest.raises(MetadataUntrusted):
            await fresh.refresh(house.root, now=START)
        assert (0, False) == (fresh.current.number, fresh.readable)
        assert not await fresh.refresh(house.root, now=START)

        # A lower number is no going back where what is kept counts for nothing.
        blob = SOMEBODY_ELSE.blob(SOMEBODY_ELSE.entry(), number=2)
        assert (await update_metadata(house.root, fresh, Shelf(blob), now=START)).kept
        assert (2, True, 2) == (fresh.current.number, fresh.readable, (await state(house)).number)
        await refresh(house)
        assert (True, 2) == await attested(house, ceremonies)


async def test_metadata_that_no_longer_verifies_attests_nobody(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url) as one, HouseInProcess(sqlite_url) as restarted:
        ceremonies = Ceremonies(await one.create_application(), authenticator=SoftwareAuthenticator(**SECURITY_KEY))
        await update(one, Shelf(FIDO.blob(number=50)))
        await ceremonies.register()
        assert (True, 50) == await attested(one, ceremonies)
        restarted.catalog.signer = MetadataSigner(roots=(SOMEBODY_ELSE.root,), name=None)
        with pytest.raises(MetadataUntrusted):
            await refresh(restarted)
        assert (False, 0) == await attested(restarted, ceremonies)
        shown = await read(restarted, "state")
        assert (0, 50, True) == (shown["number"], shown["keptNumber"], shown["stale"])


# --- a running server -----------------------------------------------------------------------------------------------


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(500):
        if await holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to that")


async def test_a_running_server_reads_the_file_that_its_settings_name(house: HouseInProcess, tmp_path: Path) -> None:
    file = tmp_path / "blob.jwt"
    file.write_bytes(FIDO.blob(number=8))
    chores = _metadata_chores(read_settings({"NARTHEX_METADATA": str(file)}), house.env)
    task = asyncio.gather(*chores)
    try:

        async def is_read() -> bool:
            return (await read(house, "state"))["number"] == 8

        await until(is_read)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_file_that_is_not_there_is_told_and_the_server_goes_on(house: HouseInProcess, tmp_path: Path) -> None:
    settings = read_settings({"NARTHEX_METADATA": str(tmp_path / "missing.jwt")})
    task = asyncio.gather(*_metadata_chores(settings, house.env))
    try:

        async def is_told() -> bool:
            return "is not there" in (await read(house, "state"))["problem"]

        await until(is_told)
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_server_whose_metadata_is_off_looks_for_none() -> None:
    assert [] == _metadata_chores(read_settings({"NARTHEX_METADATA": "off"}), None)  # type: ignore[arg-type]
