"""Applications come from the reference server's database: users sign in as before, and so do backends."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from narthex.adapters import reference_database
from narthex.ports.changes import RemoveUser
from narthex.ports.records import ApiKey, ApplicationSettings, Credential, Scope
from narthex.usecases.application import ApplicationNotFound
from narthex.usecases.arrival import Terms
from narthex.usecases.reference_import import chosen_applications, import_reference
from narthex.usecases.transfer_report import ApplicationReport, Tally
from tests.support.application import Application, Ceremonies, HouseInProcess, accepted
from tests.support.authenticator import SoftwareAuthenticator
from tests.transfer.ledger import Ledger, operator_of
from tests.transfer.reference import ReferenceDatabase

pytestmark = pytest.mark.anyio

PUBLIC = f"demo:public:{'1' * 28}aaaa"
SECRET = f"demo:secret:{'2' * 28}bbbb"
LOCKED = f"demo:secret:{'3' * 28}cccc"


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[HouseInProcess]:
    async with HouseInProcess(database_url) as house:
        yield house


@pytest.fixture
def authenticator() -> SoftwareAuthenticator:
    return SoftwareAuthenticator()


@pytest.fixture
async def credential(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path, authenticator: SoftwareAuthenticator
) -> Credential:
    """Of `ann`, made by a real ceremony on some other server."""
    path = shutil.copy(_sqlite_template, tmp_path_factory.mktemp("other"))
    async with HouseInProcess(f"sqlite:///{path}") as other:
        ceremonies = Ceremonies(await other.create_application("demo"), authenticator=authenticator)
        await ceremonies.register("ann", nickname="a key")
        (made,) = await other.root.tenant("demo").list_credentials("ann")
    return made


@pytest.fixture
def reference(tmp_path: Path, credential: Credential) -> Iterator[ReferenceDatabase]:
    """A server with the application `demo`: one user with a passkey and two aliases, and three keys."""
    reference = ReferenceDatabase(tmp_path / "passwordless.db")
    reference.add_application("demo")
    reference.add_key("demo", PUBLIC)
    reference.add_key("demo", SECRET)
    reference.add_key("demo", LOCKED, locked=True)
    reference.add_credential("demo", credential)
    reference.add_alias("demo", "ann", "ann@example.org")
    reference.add_alias("demo", "ann", "Annie", hashing=False)
    yield reference
    reference.close()


async def bring(
    house: HouseInProcess, reference: ReferenceDatabase, app_id: str = "demo", *, keys: Any = "keep", **terms: bool
) -> ApplicationReport:
    ledger = terms.pop("ledger", None) or Ledger()
    with reference_database.ReferenceDatabase(reference.path) as source:
        return await import_reference(
            operator_of(house), source, app_id, keys=keys, ledger=ledger, terms=Terms(**terms)
        )


def customer(house: HouseInProcess, *, public: str = PUBLIC, secret: str = SECRET) -> Application:
    return Application(house.client, "demo", public, secret)


# --- what goes on as before -----------------------------------------------------------------------------------------


async def test_a_user_signs_in_with_the_old_passkey_and_the_old_keys(
    house: HouseInProcess, reference: ReferenceDatabase, authenticator: SoftwareAuthenticator
) -> None:
    report = await bring(house, reference)
    ceremonies = Ceremonies(customer(house), authenticator=authenticator)

    verified = await ceremonies.verify(await ceremonies.sign_in(alias="ann@example.org"))

    assert ("made", [], "ann", True) == (report.state, report.refusals, verified["userId"], verified["success"])
    assert {"credentials": Tally(1, 1), "aliases": Tally(2, 2), "api keys": Tally(3, 3)} == {
        noun: tally for noun, tally in report.tallies.items() if tally.found
    }


async def test_a_secret_key_is_known_by_our_own_mac_after_its_first_use(
    house: HouseInProcess, reference: ReferenceDatabase
) -> None:
    await bring(house, reference)
    assert (await key_of(house, SECRET)).reference_hash is not None
    accepted(await knock(house, SECRET))

    adopted = await key_of(house, SECRET)

    assert (None, house.keyring.mac("api-key", SECRET.encode())) == (adopted.reference_hash, adopted.mac)
    assert 200 == (await knock(house, SECRET)).status_code


async def test_a_wrong_secret_that_ends_like_the_right_one_stays_out(
    house: HouseInProcess, reference: ReferenceDatabase
) -> None:
    await bring(house, reference)
    wrong = f"demo:secret:{'4' * 28}bbbb"

    refused = [(await knock(house, wrong)).status_code for _ in range(2)]

    assert [401, 401] == refused
    assert (await key_of(house, SECRET)).reference_hash is not None
    accepted(await knock(house, SECRET))
    assert 401 == (await knock(house, wrong)).status_code


async def test_a_key_that_was_locked_stays_locked(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    await bring(house, reference)
    assert 401 == (await knock(house, LOCKED)).status_code


async def test_an_old_secret_may_do_what_it_might_there_and_no_more(
    house: HouseInProcess, reference: ReferenceDatabase
) -> None:
    await bring(house, reference)
    key = await key_of(house, SECRET)
    assert (True, True, False) == (
        key.may(Scope.USERS_WRITE),
        key.may(Scope.TOKEN_VERIFY),
        key.may(Scope.WEBHOOKS_READ),
    )


async def knock(house: HouseInProcess, secret: str) -> httpx.Response:
    """Use a secret key."""
    return await customer(house, secret=secret).secret("/register/token", {"userId": "bob", "username": "Bob"})


async def key_of(house: HouseInProcess, text: str) -> ApiKey:
    application = await house.root.tenant("demo").find_application()
    assert application is not None
    return next(key for key in application.api_keys if key.hint == text[-4:])


async def test_a_credential_comes_with_all_that_was_known_of_it(
    house: HouseInProcess, reference: ReferenceDatabase, credential: Credential
) -> None:
    await bring(house, reference)
    (came,) = await house.root.tenant("demo").list_credentials("ann")
    names = ("credential_id", "user_id", "user_handle", "public_key", "sign_count", "aaguid", "rp_id", "origin",
             "backup_eligible", "backup_state", "discoverable", "nickname", "device", "country", "created_at",
             "last_used_at", "alg", "attestation_format")  # fmt: skip
    assert {name: getattr(credential, name) for name in names} == {name: getattr(came, name) for name in names}


async def test_guids_are_read_as_text_and_in_dotnets_order_of_bytes(
    house: HouseInProcess, reference: ReferenceDatabase, credential: Credential
) -> None:
    model = UUID("ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4")
    reference.add_credential("demo", credential, DescriptorId=b"text", AaGuid=str(model).upper())
    reference.add_credential("demo", credential, DescriptorId=b"bytes", AaGuid=model.bytes_le)
    reference.insert(
        "Authenticators", Tenant="demo", AaGuid=model.bytes_le, CreatedAt="2024-01-02 03:04:05", IsAllowed=1
    )
    await bring(house, reference)
    tenant = house.root.tenant("demo")
    found = [await tenant.find_credential(credential_id) for credential_id in (b"text", b"bytes")]
    application = await tenant.find_application()
    assert application is not None
    assert [model.bytes] * 2 == [each.aaguid for each in found if each is not None]
    assert [(model.bytes, True)] == [(each.aaguid, each.is_allowed) for each in application.authenticators]


async def test_features_become_settings(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    reference.add_application("other", delete_at="2030-01-02 00:00:00", MaxUsers=7, AllowAttestation=1)
    await bring(house, reference, "other")
    application = await house.root.tenant("other").find_application()
    assert application is not None
    expected = ApplicationSettings(
        admin_emails=("admin@example.org",),
        event_logging=True,
        event_retention_days=90,
        max_users=7,
        allow_attestation=True,
        magic_link_monthly_quota=2000,
        magic_links=False,
    )
    assert (expected, "2030-01-02", "2024-01-02") == (
        application.settings,
        f"{application.delete_at:%Y-%m-%d}",
        f"{application.created_at:%Y-%m-%d}",
    )


async def test_configurations_come_along(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    reference.insert(
        "AuthenticationConfigurations",
        Tenant="demo",
        Purpose="payment",
        UserVerificationRequirement="Required",
        TimeToLive=300,
        Hints="SecurityKey, Hybrid",
        CreatedBy="ann",
        CreatedOn="2024-01-02 03:04:05.1234567+00:00",
    )
    await bring(house, reference)
    application = await house.root.tenant("demo").find_application()
    assert application is not None
    (came,) = application.configurations
    assert ("payment", "required", 300, ("security-key", "hybrid"), "ann") == (
        came.purpose,
        came.user_verification,
        came.time_to_live_s,
        came.hints,
        came.created_by,
    )


# --- new keys -------------------------------------------------------------------------------------------------------


async def test_keys_may_be_drawn_anew_and_the_old_ones_open_nothing(
    house: HouseInProcess, reference: ReferenceDatabase, authenticator: SoftwareAuthenticator
) -> None:
    ledger: Any = Ledger()
    report = await bring(house, reference, keys="new", ledger=ledger)
    public = ledger.kept["demo", "public key instead of ***aaaa"]
    secret = ledger.kept["demo", "secret key instead of ***bbbb"]
    ceremonies = Ceremonies(customer(house, public=public, secret=secret), authenticator=authenticator)

    verified = await ceremonies.verify(await ceremonies.sign_in(userId="ann"))

    assert "ann" == verified["userId"]
    assert 401 == (await knock(house, SECRET)).status_code
    assert ["keys that were locked are not drawn anew: 1"] == report.notes
    assert 2 == len(ledger.kept)


async def test_keys_that_a_dying_run_wrote_down_are_those_that_come(
    sqlite_url: str, template: Path, tmp_path: Path, reference: ReferenceDatabase
) -> None:
    """It died between the file and the database, so the next run must not draw others."""
    ledger: Any = Ledger()
    other = shutil.copy(template, tmp_path / "died.db")
    async with HouseInProcess(f"sqlite:///{other}") as died:
        await bring(died, reference, keys="new", ledger=ledger)
    written = dict(ledger.kept)
    async with HouseInProcess(sqlite_url) as house:
        await bring(house, reference, keys="new", ledger=ledger)
        assert 200 == (await knock(house, written["demo", "secret key instead of ***bbbb"])).status_code
    assert written == ledger.kept


# --- again ----------------------------------------------------------------------------------------------------------


async def test_a_second_run_brings_nothing_twice_and_nothing_back(
    house: HouseInProcess, reference: ReferenceDatabase
) -> None:
    await bring(house, reference)
    await house.root.tenant("demo").commit(RemoveUser("ann"))
    await house.change_settings("demo", max_users=3)

    report = await bring(house, reference)

    assert ("completed", Tally(1, 0, 1)) == (report.state, report.tallies["credentials"])
    assert [] == list(await house.root.tenant("demo").list_credentials("ann"))
    application = await house.root.tenant("demo").find_application()
    assert application is not None
    assert 3 == application.settings.max_users


async def test_a_newer_copy_is_read_from_its_beginning(
    house: HouseInProcess, reference: ReferenceDatabase, credential: Credential
) -> None:
    await bring(house, reference)
    reference.add_credential("demo", credential, DescriptorId=b"\0 sorts first")
    report = await bring(house, reference)
    assert Tally(2, 1, 1) == report.tallies["credentials"]


async def test_an_application_that_no_import_made_is_left_alone(
    house: HouseInProcess, reference: ReferenceDatabase
) -> None:
    await house.create_application("demo")
    report = await bring(house, reference)
    assert "refused" == report.state
    assert "no import made it" in report.notes[0]
    assert [] == list(await house.root.tenant("demo").list_credentials("ann"))


async def test_an_application_that_exists_may_be_added_to(
    house: HouseInProcess, reference: ReferenceDatabase, authenticator: SoftwareAuthenticator
) -> None:
    own = await house.create_application("demo", maxUsers=9)
    report = await bring(house, reference, into_existing=True)
    ceremonies = Ceremonies(customer(house), authenticator=authenticator)
    await ceremonies.verify(await ceremonies.sign_in(userId="ann"))
    application = await house.root.tenant("demo").find_application()
    assert application is not None
    assert ("merged", 9, 7) == (report.state, application.settings.max_users, len(application.api_keys))
    assert 200 == (await knock(house, own.secret_key)).status_code
    again = await bring(house, reference, into_existing=True)
    assert Tally(3, 0, 3) == again.tallies["api keys"]


async def test_what_belongs_to_another_user_here_is_refused(
    house: HouseInProcess, reference: ReferenceDatabase, credential: Credential
) -> None:
    await bring(house, reference)
    reference.connection.execute("update Credentials set UserId = 'bob'")
    reference.connection.execute("update Aliases set UserId = 'bob'")
    report = await bring(house, reference)
    assert (Tally(1, 0, 0, 1), Tally(2, 0, 0, 2)) == (report.tallies["credentials"], report.tallies["aliases"])
    assert ["ann"] == [user.user_id for user in await house.root.tenant("demo").list_users(after=None, most=9)]


# --- dry ------------------------------------------------------------------------------------------------------------


async def test_a_dry_run_writes_nothing(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    ledger: Any = Ledger()
    report = await bring(house, reference, keys="new", dry_run=True, ledger=ledger)
    assert ("checked", Tally(1, 1), Tally(2, 2)) == (
        report.state,
        report.tallies["credentials"],
        report.tallies["aliases"],
    )
    assert ([], {}, []) == (
        await house.root.list_applications(),
        ledger.kept,
        [run.name for run in await house.root.list_job_runs()],
    )


async def test_a_dry_run_knows_what_is_there_already(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    await bring(house, reference)
    reference.add_alias("demo", "bob", "bob@example.org")
    report = await bring(house, reference, dry_run=True)
    assert (Tally(1, 0, 1), Tally(3, 1, 2)) == (report.tallies["credentials"], report.tallies["aliases"])
    assert 2 == len(await house.root.tenant("demo").scan_aliases(after=b"", most=9))


# --- rows that cannot come ------------------------------------------------------------------------------------------


async def test_what_may_be_empty_may_be_empty(
    sqlite_url: str, reference: ReferenceDatabase, credential: Credential
) -> None:
    names = ("AttestationFmt", "Origin", "Country", "Device", "Nickname", "BackupState", "IsBackupEligible",
             "IsDiscoverable")  # fmt: skip
    reference.add_credential("demo", credential, DescriptorId=b"bare", **dict.fromkeys(names))
    async with HouseInProcess(sqlite_url) as house:
        await bring(house, reference)
        bare = await house.root.tenant("demo").find_credential(b"bare")
    assert bare is not None
    assert ("none", "", "", "", None, False, None, None) == (
        bare.attestation_format,
        bare.origin,
        bare.country,
        bare.device,
        bare.nickname,
        bare.backup_state,
        bare.backup_eligible,
        bare.discoverable,
    )


BAD_CREDENTIALS: list[tuple[dict[str, object], str]] = [
    ({"PublicKey": b"\xa0"}, "its COSE key cannot be used: "),
    ({"PublicKey": "text"}, "`PublicKey` is not bytes"),
    ({"UserId": "ä" * 33}, "its user id is longer than 64 bytes"),
    ({"UserId": ""}, "it names no user"),
    ({"UserId": "a\0b"}, "`UserId` is not text"),
    ({"DescriptorId": b""}, "its id is not 1 to 1023 bytes"),
    ({"UserHandle": bytes(65)}, "its user handle is not 1 to 64 bytes"),
    ({"SignatureCounter": -1}, "`SignatureCounter` is no number"),
    ({"SignatureCounter": 2**32}, "`SignatureCounter` is no number"),
    ({"CreatedAt": "yesterday"}, "`yesterday` is no instant"),
    ({"LastUsedAt": "2024-02-30 00:00:00"}, "`2024-02-30 00:00:00` is no instant"),
    ({"AaGuid": "none"}, "`none` is no GUID"),
    ({"RPID": None}, "`RPID` is not text"),
    ({"RPID": ""}, "it names no relying party id"),
    ({"BackupState": 2}, "`BackupState` is neither 0 nor 1"),
]


@pytest.mark.parametrize(("values", "reason"), BAD_CREDENTIALS, ids=[reason for _, reason in BAD_CREDENTIALS])
async def test_a_credential_that_cannot_be_kept_is_refused_alone(
    sqlite_url: str, reference: ReferenceDatabase, credential: Credential, values: dict[str, object], reason: str
) -> None:
    reference.add_credential("demo", credential, **({"DescriptorId": b"bad"} | values))
    async with HouseInProcess(sqlite_url) as house:
        report = await bring(house, reference)
    assert Tally(2, 1, 0, 1) == report.tallies["credentials"]
    (refused,) = report.refusals
    assert refused.reason.startswith(reason)


async def test_a_row_with_bytes_that_are_no_utf_8_is_refused_alone(
    sqlite_url: str, reference: ReferenceDatabase, credential: Credential
) -> None:
    reference.add_credential("demo", credential, DescriptorId=b"bad")
    reference.connection.execute("update Credentials set Nickname = cast(x'ff' as text) where DescriptorId = x'626164'")
    async with HouseInProcess(sqlite_url) as house:
        report = await bring(house, reference)
    assert ["`Nickname` is not text"] == [refused.reason for refused in report.refusals]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Alias": "no base64!"}, "its hash is not base64"),
        ({"Alias": "AAAA"}, "its hash is not 32 bytes"),
        ({"Plaintext": "another"}, "its hash is not that of its text"),
        ({"UserId": None}, "`UserId` is not text"),
    ],
)
async def test_an_alias_that_cannot_be_kept_is_refused_alone(
    sqlite_url: str, reference: ReferenceDatabase, values: dict[str, object], reason: str
) -> None:
    honest = {"Tenant": "demo", "Alias": "A" * 43 + "=", "UserId": "bob", "Plaintext": None}
    reference.insert("Aliases", **(honest | values))
    async with HouseInProcess(sqlite_url) as house:
        report = await bring(house, reference)
    assert Tally(3, 2, 0, 1) == report.tallies["aliases"]
    assert [reason] == [refused.reason for refused in report.refusals]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ApiKey": "what is this"}, "it is neither a public key of the application nor the hash of a secret one"),
        ({"ApiKey": f"other:public:{'1' * 32}"}, "it is neither a public key of the application"),
        ({"Id": "zzzz"}, "its id is not the last four characters"),
        ({"Scopes": "everything"}, "it has no scope that is known"),
        ({"IsLocked": "no"}, "`IsLocked` is neither 0 nor 1"),
    ],
)
async def test_a_key_that_cannot_be_kept_is_refused_alone(
    sqlite_url: str, reference: ReferenceDatabase, values: dict[str, object], reason: str
) -> None:
    honest = {"Id": "1111", "ApiKey": f"demo:public:{'1' * 32}", "Scopes": "register,login", "IsLocked": 0}
    reference.insert("ApiKeys", Tenant="demo", CreatedAt="2024-01-02 03:04:05", **(honest | values))
    async with HouseInProcess(sqlite_url) as house:
        report = await bring(house, reference)
    assert Tally(4, 3, 0, 1) == report.tallies["api keys"]
    assert report.refusals[0].reason.startswith(reason)


@pytest.mark.parametrize("features", [{"MaxUsers": "many"}, {"AllowAttestation": 2}])
async def test_an_application_whose_settings_cannot_be_read_is_not_made_with_others(
    sqlite_url: str, reference: ReferenceDatabase, features: dict[str, object]
) -> None:
    reference.add_application("other", **features)
    async with HouseInProcess(sqlite_url) as house:
        report = await bring(house, reference, "other")
        assert ("refused", []) == (report.state, await house.root.list_applications())


async def test_an_application_id_that_could_be_no_key_here_is_refused(
    sqlite_url: str, reference: ReferenceDatabase
) -> None:
    reference.add_application("Demo-2")
    async with HouseInProcess(sqlite_url) as house:
        assert "refused" == (await bring(house, reference, "Demo-2")).state


def test_a_report_of_a_million_bad_rows_stays_short() -> None:
    report = ApplicationReport("demo")
    for number in range(1_000):
        report.refuse("credentials", f"row {number}", f"`{number}` is no instant")
    assert (Tally(1_000, 0, 0, 1_000), 101, 900, 20) == (
        report.tallies["credentials"],
        len(report.refusals),
        report.refusals[-1].count,
        len(report.refusals[-1].examples),
    )


# --- which ones, and files ------------------------------------------------------------------------------------------


async def test_some_applications_may_be_chosen(reference: ReferenceDatabase) -> None:
    reference.add_application("other")
    with reference_database.ReferenceDatabase(reference.path) as source:
        assert ["demo", "other"] == chosen_applications(source, [])
        assert ["other"] == chosen_applications(source, ["other"])
        with pytest.raises(ApplicationNotFound, match="no application `third`"):
            chosen_applications(source, ["third"])


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    for wrong in (path, tmp_path / "missing", tmp_path):
        with pytest.raises(reference_database.ReferenceDatabaseUnreadable):
            reference_database.ReferenceDatabase(wrong)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("drop table Aliases", "has no table|no table `Aliases`"),
        ("alter table Credentials drop column IsDiscoverable", "`Credentials` has no `IsDiscoverable`"),
    ],
)
async def test_another_schema_is_refused_by_what_it_lacks(
    reference: ReferenceDatabase, statement: str, words: str
) -> None:
    reference.connection.execute(statement)
    with pytest.raises(reference_database.ReferenceDatabaseUnreadable, match=words):
        reference_database.ReferenceDatabase(reference.path)


async def test_what_stands_in_the_log_only_is_read_too(house: HouseInProcess, reference: ReferenceDatabase) -> None:
    """The server may be running: its last commits are in `-wal`, which an immutable file would not have."""
    reference.connection.execute("pragma journal_mode = wal")
    reference.add_alias("demo", "bob", "bob@example.org")
    assert 3 == (await bring(house, reference)).tallies["aliases"].imported


async def test_a_file_whose_server_died_while_it_wrote_is_refused(reference: ReferenceDatabase) -> None:
    shutil.copy(reference.path, f"{reference.path}-journal")
    with pytest.raises(reference_database.ReferenceDatabaseUnreadable, match="died while it wrote"):
        reference_database.ReferenceDatabase(reference.path)


async def test_a_file_that_changes_while_it_is_read_is_refused(reference: ReferenceDatabase) -> None:
    with reference_database.ReferenceDatabase(reference.path) as source:
        rows = source.rows("Aliases", "demo", most=2_000)
        next(rows)
        reference.add_alias("demo", "bob", "bob@example.org")
        with pytest.raises(reference_database.ReferenceDatabaseUnreadable, match="changed while it was read"):
            next(rows)


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)


async def test_a_damaged_file_is_refused_with_a_sentence(reference: ReferenceDatabase) -> None:
    reference.close()
    damage(reference.path)
    with pytest.raises(reference_database.ReferenceDatabaseUnreadable, match="cannot be"):  # noqa: SIM117
        with reference_database.ReferenceDatabase(reference.path) as source:
            list(source.rows("Credentials", "demo", most=2_000))
