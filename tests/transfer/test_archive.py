"""An application goes into an archive and comes out of it as it was, here or elsewhere."""

from __future__ import annotations

import gzip
import json
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from narthex.ports.archive import ArchiveUnreadable
from narthex.ports.changes import (
    AddConfiguration,
    AddCredential,
    AddWebhook,
    AnswerForRpId,
    KeepReport,
    ListAuthenticators,
    NoteOrigin,
    RemoveUser,
    ScheduleDeletion,
)
from narthex.ports.records import (
    Application as ApplicationRecord,
)
from narthex.ports.records import (
    AttestationEvidence,
    AuthenticationConfiguration,
    DailyReport,
    EventFilter,
    Oddity,
    Webhook,
)
from narthex.usecases.archive_export import ArchiveOfAnother, export_application
from narthex.usecases.archive_import import import_archive, verify_archive
from narthex.usecases.archive_line import Checker
from narthex.usecases.arrival import Terms
from narthex.usecases.transfer_report import ApplicationReport, Tally
from narthex.usecases.webhook_secret import signing_secrets
from tests.support.application import Application, Ceremonies, HouseInProcess
from tests.support.authenticator import SoftwareAuthenticator
from tests.transfer.commands import credential
from tests.transfer.ledger import Ledger, operator_of

pytestmark = pytest.mark.anyio

ANOTHER_KEY = b"another master key for tests, as long"
NOW = datetime(2026, 3, 4, tzinfo=UTC)
WEBHOOK_ID = bytes(range(16))
FIRST = Path(__file__).with_name("archive-v1.gz")


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[HouseInProcess]:
    async with HouseInProcess(database_url) as house:
        yield house


@pytest.fixture
def authenticator() -> SoftwareAuthenticator:
    return SoftwareAuthenticator()


@pytest.fixture
async def application(house: HouseInProcess, authenticator: SoftwareAuthenticator) -> Application:
    """With something of every kind."""
    application = await house.create_application(eventLoggingIsEnabled=True)
    ceremonies = Ceremonies(application, authenticator=authenticator)
    await ceremonies.register("ann", aliases=["ann@example.org"])
    await ceremonies.register("bob", aliases=["Bobby"], aliasHashing=False)
    tenant = house.root.tenant("demo")
    evidence = AttestationEvidence(b"an attestation object", b"client data")
    await tenant.commit(
        AddCredential(msgspec.structs.replace(credential(1), attestation_format="packed"), evidence),
        AddConfiguration(AuthenticationConfiguration("payment", "required", 60, ("hybrid",), "ann", NOW)),
        ListAuthenticators((bytes(16),), True, NOW),
        NoteOrigin("https://example.org", "example.org", NOW),
        AnswerForRpId("example.org"),
        KeepReport(DailyReport(date(2026, 3, 3), 1, 2, 3, 4)),
        AddWebhook(Webhook(WEBHOOK_ID, "https://hooks.example.org/", ("ApiUser*",), b"wrapped", NOW)),
    )
    await house.change_settings("demo", max_users=9, sign_count_stalled=Oddity.FLAG)
    return application


@asynccontextmanager
async def elsewhere(template: Path, directory: Path, **house: Any) -> AsyncIterator[HouseInProcess]:
    """Another server, with a database of its own."""
    path = shutil.copy(template, directory / "elsewhere.db")
    async with HouseInProcess(f"sqlite:///{path}", **house) as other:
        yield other


async def archive_of(house: HouseInProcess, *, with_events: bool = True, app_id: str = "demo") -> list[bytes]:
    portions = export_application(
        operator_of(house), app_id, Checker(), server="0", with_events=with_events, advance=lambda *_: None
    )
    return b"".join([portion async for portion in portions]).splitlines(keepends=True)


async def bring(
    house: HouseInProcess, lines: list[bytes], *, to: str | None = None, keys: Any = "keep", **terms: Any
) -> ApplicationReport:
    ledger = terms.pop("ledger", None) or Ledger()
    return await import_archive(
        operator_of(house), lines, verify_archive(lines), app_id=to, keys=keys, ledger=ledger, terms=Terms(**terms)
    )


async def dump(house: HouseInProcess, app_id: str = "demo") -> dict[str, Any]:
    """All that an archive holds, without what is drawn anew."""
    store = house.root.tenant(app_id)
    application = await store.find_application()
    assert application is not None
    credentials = await store.scan_credentials(after=None, most=999)
    aliases = [
        (user_id, house.keyring.unwrap("alias-hash", app_id.encode() + alias.mac, alias.sealed_hash), alias.plaintext)
        for user_id, alias in await store.scan_aliases(after=b"", most=999)
    ]
    return {
        "application": msgspec.structs.replace(
            application,
            app_id="",
            token_keys=(),
            settings_version=0,
            api_keys=(),
            webhooks=tuple(
                msgspec.structs.replace(each, wrapped_secret=b"", enabled=True) for each in application.webhooks
            ),
        ),
        "keys": {msgspec.structs.replace(key, mac=b"", last_used_at=None) for key in application.api_keys},
        "credentials": credentials,
        "evidence": [await store.find_evidence(each.credential_id) for each in credentials],
        "aliases": sorted(aliases),
        "reports": await store.list_reports(since=None, until=None),
        "events": [
            each
            for each in await store.list_events_after(which=EventFilter(), after=b"", most=999)
            if "import" not in each.message
        ],
    }


# --- there and back -------------------------------------------------------------------------------------------------


async def test_an_application_comes_back_as_it_was(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    lines = await archive_of(house)
    async with elsewhere(template, tmp_path) as other:
        report = await bring(other, lines)
        assert ("made", []) == (report.state, report.refusals)
        assert await dump(house) == await dump(other)


async def test_under_the_same_master_key_every_key_goes_on_working(
    house: HouseInProcess,
    application: Application,
    authenticator: SoftwareAuthenticator,
    template: Path,
    tmp_path: Path,
) -> None:
    lines = await archive_of(house)
    async with elsewhere(template, tmp_path) as other:
        await bring(other, lines)
        there = Application(other.client, "demo", application.public_key, application.secret_key)
        ceremonies = Ceremonies(there, authenticator=authenticator)
        for name in ({"alias": "ann@example.org"}, {"alias": "Bobby"}):
            verified = await ceremonies.verify(await ceremonies.sign_in(**name))
            assert verified["success"]


async def test_under_another_master_key_secrets_are_left_out_or_drawn_anew(
    house: HouseInProcess,
    application: Application,
    authenticator: SoftwareAuthenticator,
    template: Path,
    tmp_path: Path,
) -> None:
    lines = await archive_of(house)
    ledger: Any = Ledger()
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        left = await bring(other, lines, dry_run=True)
        await bring(other, lines, keys="keep-or-new", ledger=ledger)
        secret = ledger.kept["demo", f"secret key instead of ***{application.secret_key[-4:]}"]
        there = Application(other.client, "demo", application.public_key, secret)
        ceremonies = Ceremonies(there, authenticator=authenticator)
        verified = await ceremonies.verify(await ceremonies.sign_in(alias="ann@example.org"))
    assert Tally(4, 2, 0, 2) == left.tallies["api keys"]
    assert ["ann", True] == [verified["userId"], verified["success"]]


async def test_under_another_master_key_the_old_secret_opens_nothing(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    lines = await archive_of(house)
    async with elsewhere(template, tmp_path, master_key=ANOTHER_KEY) as other:
        await bring(other, lines)
        there = Application(other.client, "demo", application.public_key, application.secret_key)
        refused = await there.secret("/register/token", {"userId": "ann", "username": "Ann"})
    assert 401 == refused.status_code


async def test_under_another_id_plain_aliases_come_and_hashed_ones_cannot(
    house: HouseInProcess, application: Application, authenticator: SoftwareAuthenticator
) -> None:
    lines = await archive_of(house, with_events=False)
    ledger: Any = Ledger()

    report = await bring(house, lines, to="copy", keys="keep-or-new", ledger=ledger)

    public = ledger.kept["copy", f"public key instead of ***{application.public_key[-4:]}"]
    secret = ledger.kept["copy", f"secret key instead of ***{application.secret_key[-4:]}"]
    ceremonies = Ceremonies(Application(house.client, "copy", public, secret), authenticator=authenticator)
    verified = await ceremonies.verify(await ceremonies.sign_in(alias="Bobby"))
    assert ("bob", Tally(2, 1, 0, 1)) == (verified["userId"], report.tallies["aliases"])
    # The host of the rp id is answered by the application that was exported.
    assert Tally(1, 0, 0, 1) == report.tallies["rp ids"]
    assert ["example.org"] == list((await record(house, "demo")).related_rp_ids)


async def record(house: HouseInProcess, app_id: str) -> ApplicationRecord:
    found = await house.root.tenant(app_id).find_application()
    assert found is not None
    return found


async def test_a_webhook_comes_without_its_secret_and_switched_off(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    lines = await archive_of(house)
    ledger: Any = Ledger()
    async with elsewhere(template, tmp_path) as other:
        report = await bring(other, lines, ledger=ledger)
        (webhook,) = (await record(other, "demo")).webhooks
        signing = signing_secrets(other.keyring, "demo", webhook, now=NOW)
    (secret,) = ledger.kept.values()
    assert (False, [f"whsec_{b64encode(each).decode()}" for each in signing]) == (webhook.enabled, [secret])
    assert ["webhook `https://hooks.example.org/` is off until its receiver has the new secret"] == report.notes
    assert b"wrapped" not in b"".join(lines)


async def test_what_is_to_be_deleted_is_so_elsewhere_too(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    await house.root.tenant("demo").commit(ScheduleDeletion(NOW))
    lines = await archive_of(house)
    async with elsewhere(template, tmp_path) as other:
        await bring(other, lines)
        assert NOW == (await record(other, "demo")).delete_at


async def test_no_token_key_and_no_secret_is_in_an_archive(house: HouseInProcess, application: Application) -> None:
    text = b"".join(await archive_of(house))
    kinds = {json.loads(line)["kind"] for line in text.splitlines()}
    assert application.secret_key.encode() not in text
    assert {"header", "settings", "api-key", "configuration", "authenticator", "origin", "rp-id", "webhook", "report",
            "credential", "alias", "event", "end"} == kinds  # fmt: skip


async def test_events_are_in_an_archive_only_if_asked_for(house: HouseInProcess, application: Application) -> None:
    assert not any(b'"kind":"event"' in line for line in await archive_of(house, with_events=False))


# --- again ----------------------------------------------------------------------------------------------------------


async def test_a_second_import_brings_nothing_twice_and_nothing_back(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    lines = await archive_of(house)
    async with elsewhere(template, tmp_path) as other:
        await bring(other, lines)
        await other.root.tenant("demo").commit(RemoveUser("ann"))
        before = await dump(other)
        again = await bring(other, lines)
        assert ("completed", before) == (again.state, await dump(other))
    assert all(tally.imported == 0 for tally in again.tallies.values())


async def test_an_import_that_died_behind_a_portion_goes_on_there(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    """The process dies behind each line in turn; then the lines come whole."""

    class Died(BaseException): ...

    def lines_until(stop: int) -> Iterator[bytes]:
        yield from lines[:stop]
        raise Died

    lines = await archive_of(house)
    expected = await dump(house)
    for stop in range(2, len(lines)):
        directory = tmp_path / str(stop)
        directory.mkdir()
        async with elsewhere(template, directory) as other:
            with pytest.raises(ArchiveUnreadable):
                await import_archive(
                    operator_of(other),
                    lines[:stop],
                    verify_archive(lines),
                    app_id=None,
                    keys="keep",
                    ledger=Ledger(),
                    terms=Terms(),
                )
            await bring(other, lines)
            assert expected == await dump(other)


async def test_an_application_that_no_import_made_is_left_alone(
    house: HouseInProcess, application: Application
) -> None:
    report = await bring(house, await archive_of(house))
    assert ("refused", True) == (report.state, "no import made it" in report.notes[0])


async def test_an_archive_may_be_added_to_what_exists(house: HouseInProcess, application: Application) -> None:
    lines = await archive_of(house)
    before = await dump(house)
    await house.root.tenant("demo").commit(RemoveUser("ann"))
    report = await bring(house, lines, into_existing=True)
    assert ("merged", Tally(3, 1, 2), Tally(4, 0, 4)) == (
        report.state,
        report.tallies["credentials"],
        report.tallies["api keys"],
    )
    assert before == await dump(house)


async def test_a_dry_run_writes_nothing(
    house: HouseInProcess, application: Application, template: Path, tmp_path: Path
) -> None:
    lines = await archive_of(house)
    ledger: Any = Ledger()
    async with elsewhere(template, tmp_path) as other:
        report = await bring(other, lines, keys="new", dry_run=True, ledger=ledger)
        assert ([], [], {}) == (
            await other.root.list_applications(),
            list(await other.root.list_job_runs()),
            ledger.kept,
        )
    assert ("checked", 3) == (report.state, report.tallies["credentials"].imported)


# --- an export that goes on -----------------------------------------------------------------------------------------


async def test_an_export_goes_on_behind_any_portion(house: HouseInProcess, application: Application) -> None:
    portions = [
        portion
        async for portion in export_application(
            operator_of(house), "demo", Checker(), server="0", with_events=True, advance=lambda *_: None
        )
    ]
    for kept in range(1, len(portions)):
        checker = Checker()
        for line in b"".join(portions[:kept]).splitlines(keepends=True):
            checker.read(line)
        rest = export_application(
            operator_of(house), "demo", checker, server="0", with_events=True, advance=lambda *_: None
        )
        assert portions[kept:] == [portion async for portion in rest]


async def test_an_export_of_another_application_is_not_gone_on_with(
    house: HouseInProcess, application: Application
) -> None:
    await house.create_application("other")
    checker = Checker()
    for line in (await archive_of(house))[:3]:
        checker.read(line)
    with pytest.raises(ArchiveOfAnother):
        await anext(
            export_application(
                operator_of(house), "other", checker, server="0", with_events=True, advance=lambda *_: None
            )
        )


# --- altered and cut off --------------------------------------------------------------------------------------------


@pytest.fixture
async def lines(sqlite_url: str) -> list[bytes]:
    async with HouseInProcess(sqlite_url) as house:
        await Ceremonies(await house.create_application()).register("ann", aliases=["ann@example.org"])
        return await archive_of(house)


async def test_an_archive_that_was_cut_off_is_refused(lines: list[bytes]) -> None:
    for whole in range(len(lines)):
        with pytest.raises(ArchiveUnreadable):
            verify_archive(lines[:whole])


async def test_an_archive_without_one_of_its_lines_is_refused(lines: list[bytes]) -> None:
    for missing in range(len(lines)):
        with pytest.raises(ArchiveUnreadable):
            verify_archive(lines[:missing] + lines[missing + 1 :])


async def test_an_archive_with_a_line_twice_is_refused(lines: list[bytes]) -> None:
    for twice in range(len(lines)):
        with pytest.raises(ArchiveUnreadable):
            verify_archive(lines[: twice + 1] + lines[twice:])


async def test_an_archive_with_any_byte_altered_is_refused(lines: list[bytes]) -> None:
    for number, line in enumerate(lines):
        for place in range(0, len(line), 7):
            bent = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            with pytest.raises(ArchiveUnreadable):
                verify_archive([*lines[:number], bent, *lines[number + 1 :]])


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"PK\x03\x04\n", "its first line is not the header of one"),
        (b'{"kind":"end","counts":{},"sha256":""}\n', "it begins with something else"),
        (b'{"kind":"header","format":"tar"', "of format `tar`"),
        (b'{"kind":"header","format":"narthex-archive","version":2', "of version 2, and this server reads version 1"),
    ],
)
async def test_what_is_no_archive_is_refused(lines: list[bytes], first: bytes, words: str) -> None:
    if first.startswith(b'{"kind":"header"'):
        rest = b',"version":1' if b"version" not in first else b""
        first += rest + lines[0].partition(b'"version":1')[2]
    with pytest.raises(ArchiveUnreadable, match=words):
        verify_archive([first, *lines[1:]])


async def test_an_archive_that_is_cut_off_between_its_two_readings_is_refused(
    lines: list[bytes], template: Path, tmp_path: Path
) -> None:
    async with elsewhere(template, tmp_path) as other:
        with pytest.raises(ArchiveUnreadable):
            await import_archive(
                operator_of(other),
                lines[:3],
                verify_archive(lines),
                app_id=None,
                keys="keep",
                ledger=Ledger(),
                terms=Terms(),
            )
        assert [] == list(await other.root.list_applications())


async def test_nothing_is_written_of_an_archive_that_was_altered(
    lines: list[bytes], template: Path, tmp_path: Path
) -> None:
    altered = [*lines[:-2], lines[-1]]
    async with elsewhere(template, tmp_path) as other:
        with pytest.raises(ArchiveUnreadable):
            await bring(other, altered)
        assert [] == list(await other.root.list_applications())


# --- archives of earlier versions -----------------------------------------------------------------------------------


async def test_an_archive_that_the_first_version_wrote_is_still_read(template: Path, tmp_path: Path) -> None:
    """`archive-v1.gz` was written when the format was new: what it holds must come for as long as we say version 1."""
    lines = gzip.decompress(FIRST.read_bytes()).splitlines(keepends=True)
    authenticator = SoftwareAuthenticator(seed="archive v1")
    async with elsewhere(template, tmp_path) as other:
        report = await bring(other, lines)
        (ann,) = await other.root.tenant("demo").list_credentials("ann")
        application = await record(other, "demo")
    assert ("made", [], 9, ("example.org",)) == (
        report.state,
        report.refusals,
        application.settings.max_users,
        application.related_rp_ids,
    )
    assert (Tally(3, 3), Tally(2, 2), Tally(4, 4)) == tuple(
        report.tallies[noun] for noun in ("credentials", "aliases", "api keys")
    )
    assert (b"ann", authenticator.aaguid) == (ann.user_handle, ann.aaguid)
