"""What a sign-in is worth, from the ceremony to the record in `/signin/verify` and in the event log.

The table is NIST SP 800-63B-4's: every row is a real registration and a real sign-in by the software authenticator,
under metadata that was signed for this house.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography import x509
from passwordless.serialization import VerifiedUserSchema

from narthex.ports.records import EventType, Oddity
from narthex.usecases.assurance import record_of, unpacked
from tests.support.application import ORIGIN, RP_ID, START, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json, SoftwareAuthenticator, b64u, maker
from tests.support.metadata import AAGUID, MetadataMaker
from tests.support.statements import U2F_KEY

pytestmark = pytest.mark.anyio

FIDO = MetadataMaker()
SECURITY_KEY = {"attestation": "packed-x5c", "backup_eligible": False, "transports": ("usb",)}
BOUND = {"backup_eligible": False}


@pytest.fixture
async def application(house: HouseInProcess) -> Application:
    return await house.create_application(eventLoggingIsEnabled=True, allowAttestation=True)


def ceremonies_with(application: Application, **authenticator: Any) -> Ceremonies:
    return Ceremonies(application, authenticator=SoftwareAuthenticator(**authenticator))


async def enrolled(application: Application, **authenticator: Any) -> Ceremonies:
    """Ceremonies of a user who has a passkey of such an authenticator, made with attestation asked for."""
    ceremonies = ceremonies_with(application, **authenticator)
    await ceremonies.register(attestation="direct")
    return ceremonies


async def signed_in(ceremonies: Ceremonies, **knobs: Any) -> Json:
    """The assurance of a sign-in."""
    begun = await ceremonies.begin_sign_in(userId="ann")
    token = accepted(await ceremonies.complete_sign_in(begun, knobs=knobs))["token"]
    record: Json = (await ceremonies.verify(token))["assurance"]
    return record


async def load(house: HouseInProcess, *, number: int = 1, **entry: Any) -> None:
    await house.load_metadata(FIDO.blob(FIDO.entry(**entry), number=number))


def shown(record: Json, *names: str) -> tuple[Any, ...]:
    return tuple(record[name] for name in names)


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row: what is done, and what it is worth."""

    aal: int
    acr: str | None
    amr: str
    attested: bool
    hardware: bool = False
    authenticator: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of the sign-in."""
    entry: Mapping[str, Any] = field(default_factory=dict)
    """Of the model's metadata."""
    settings: Mapping[str, Any] = field(default_factory=dict)


TWO_FACTORS, HARDWARE = "pop user mfa", "hwk pop user mfa"
STRICT = {"fips_for_aal3": True}
ROWS = {
    "present only": Row(1, "phr", "pop user", attested=False, knobs={"uv": False}),
    "verified, may be synced": Row(2, "phr", TWO_FACTORS, attested=False),
    "verified, is synced": Row(2, "phr", TWO_FACTORS, attested=False, knobs={"bs": True}),
    "verified, says that it is bound": Row(2, "phr", TWO_FACTORS, attested=False, authenticator=BOUND),
    "verified, vouches for itself": Row(
        2, "phr", TWO_FACTORS, attested=False, authenticator=SECURITY_KEY | {"attestation": "packed-self"}
    ),
    "verified, by an unknown maker": Row(
        2,
        "phr",
        TWO_FACTORS,
        attested=False,
        authenticator=SECURITY_KEY,
        entry={"roots": [maker("another").der]},
    ),
    "verified, attested, in hardware": Row(
        3, "phrh", HARDWARE, attested=True, hardware=True, authenticator=SECURITY_KEY
    ),
    "verified, attested, in a tee": Row(
        3,
        "phrh",
        HARDWARE,
        attested=True,
        hardware=True,
        authenticator=SECURITY_KEY,
        entry={"key_protection": ("hardware", "tee")},
    ),
    "present only, attested, in hardware": Row(
        1, "phr", "pop user", attested=True, hardware=False, authenticator=SECURITY_KEY, knobs={"uv": False}
    ),
    "verified, attested, may be synced": Row(
        2, "phr", TWO_FACTORS, attested=True, hardware=False, authenticator=SECURITY_KEY | {"backup_eligible": True}
    ),
    "verified, attested, in software": Row(
        2,
        "phr",
        f"swk {TWO_FACTORS}",
        attested=True,
        authenticator=SECURITY_KEY,
        entry={"key_protection": ("software",)},
    ),
    "verified, attested, keys held remotely": Row(
        2,
        "phr",
        TWO_FACTORS,
        attested=True,
        authenticator=SECURITY_KEY,
        entry={"key_protection": ("hardware", "secure_element", "remote_handle")},
    ),
    "verified, attested, in hardware of no kind": Row(
        2, "phr", TWO_FACTORS, attested=True, authenticator=SECURITY_KEY, entry={"key_protection": ("hardware",)}
    ),
    "strict, without FIPS": Row(
        2, "phrh", HARDWARE, attested=True, hardware=True, authenticator=SECURITY_KEY, settings=STRICT
    ),
    "strict, with FIPS": Row(
        3,
        "phrh",
        HARDWARE,
        attested=True,
        hardware=True,
        authenticator=SECURITY_KEY,
        settings=STRICT,
        entry={"statuses": ["FIDO_CERTIFIED_L2", "FIPS140_CERTIFIED_L3"]},
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_a_sign_in_is_worth_what_its_row_says(house: HouseInProcess, application: Application, name: str) -> None:
    row = ROWS[name]
    await house.change_settings("demo", **row.settings)
    await load(house, **row.entry)
    record = await signed_in(await enrolled(application, **row.authenticator), **row.knobs)
    assert (row.aal, row.acr, row.amr.split(), row.attested, row.hardware) == shown(
        record, "aal", "acr", "amr", "attested", "hardware"
    )
    assert record["phishingResistant"]


BAD_STATUSES: dict[str, tuple[int, str | None, str, bool]] = {
    "USER_VERIFICATION_BYPASS": (1, "phr", "pop user", True),
    "USER_KEY_PHYSICAL_COMPROMISE": (1, "phr", "pop user", True),
    "USER_KEY_REMOTE_COMPROMISE": (0, None, "", True),
    "REVOKED": (0, None, "", True),
    "ATTESTATION_KEY_COMPROMISE": (2, "phr", TWO_FACTORS, False),
}
"""Status → aal, acr, amr and whether it is still attested."""


@pytest.mark.parametrize("status", BAD_STATUSES)
async def test_a_status_in_newer_metadata_lowers_the_next_sign_in(
    house: HouseInProcess, application: Application, status: str
) -> None:
    await load(house, statuses=["FIDO_CERTIFIED_L1"])
    ceremonies = await enrolled(application, **SECURITY_KEY)
    before = await signed_in(ceremonies)
    await load(house, number=2, statuses=["FIDO_CERTIFIED_L1", status])
    after = await signed_in(ceremonies)

    assert (3, [], 1) == shown(before, "aal", "statuses", "metadataNumber")
    assert ([status], 2) == shown(after, "statuses", "metadataNumber")
    aal, acr, amr, attested = BAD_STATUSES[status]
    assert (aal, acr, amr.split(), attested) == shown(after, "aal", "acr", "amr", "attested")
    assert ("FIDO_CERTIFIED_L1" if attested else None) == after["certified"]
    assert ["bad-status"] == after["findings"]


@pytest.mark.parametrize("status", ["REVOKED", "USER_VERIFICATION_BYPASS"])
async def test_a_bad_status_counts_on_the_mere_claim(
    house: HouseInProcess, application: Application, status: str
) -> None:
    """Who pretends to be a broken model gains nothing by it."""
    ceremonies = await enrolled(application)
    await load(house, statuses=[status])
    aal, acr, _, _ = BAD_STATUSES[status]
    assert (aal, acr, False, [status]) == shown(await signed_in(ceremonies), "aal", "acr", "attested", "statuses")


async def test_a_status_begins_on_its_day(house: HouseInProcess, application: Application) -> None:
    await load(house, statuses=["FIDO_CERTIFIED_L1", ("REVOKED", "2026-03-05")])
    ceremonies = await enrolled(application, **SECURITY_KEY)
    today = await signed_in(ceremonies)
    house.clock.move(days=1)
    assert (3, 0) == (today["aal"], (await signed_in(ceremonies))["aal"])


# --- the record, whole ----------------------------------------------------------------------------------------------


async def test_the_record_says_all_that_is_known(house: HouseInProcess, application: Application) -> None:
    await house.load_metadata(
        FIDO.blob(
            FIDO.entry(name="Key 5", statuses=["FIDO_CERTIFIED_L2", "FIPS140_CERTIFIED_L2"]),
            number=7,
            next_update="2026-03-01",
        )
    )
    ceremonies = await enrolled(application, **SECURITY_KEY)
    house.clock.move(seconds=1)
    record = await signed_in(ceremonies)
    assert {
        "id": record["id"],
        "method": "passkey",
        "aal": 3,
        "acr": "phrh",
        "amr": ["hwk", "pop", "user", "mfa"],
        "phishingResistant": True,
        "hardware": True,
        "userPresent": True,
        "userVerified": True,
        "backupEligible": False,
        "backupState": False,
        "attested": True,
        "aaguid": str(UUID(bytes=AAGUID)),
        "model": "Key 5",
        "keyProtection": ["hardware", "secure_element"],
        "certified": "FIDO_CERTIFIED_L2",
        "fips": 2,
        "statuses": [],
        "credentialId": b64u(ceremonies.authenticator.credentials[0].credential_id),
        "credentialCreatedAt": "2026-03-04T05:06:07.891011Z",
        "rpId": RP_ID,
        "origin": ORIGIN,
        "transports": ["usb"],
        "attachment": "platform",
        "authTime": "2026-03-04T05:06:08.891011Z",
        "ip": "192.0.2.1",
        "device": "Other, Other ",
        "metadataNumber": 7,
        "metadataStale": True,
        "findings": [],
    } == record
    assert 7 == UUID(record["id"]).version


NOBODY_PROVED: Json = {"aal": 0, "acr": None, "amr": [], "phishingResistant": False, "hardware": False}


async def test_a_registration_proves_nobody_yet(house: HouseInProcess, application: Application) -> None:
    await load(house)
    ceremonies = ceremonies_with(application, **SECURITY_KEY)
    record = (await ceremonies.verify(await ceremonies.register(attestation="direct")))["assurance"]
    assert NOBODY_PROVED | {"method": "registration", "attested": True, "userVerified": True} == {
        name: record[name] for name in (*NOBODY_PROVED, "method", "attested", "userVerified")
    }


async def test_a_token_made_by_hand_proves_nobody(house: HouseInProcess, application: Application) -> None:
    body = {"userId": "ann", "rpid": RP_ID, "origin": ORIGIN}
    token = accepted(await application.secret("/signin/generate-token", body))["token"]
    record = (await Ceremonies(application).verify(token))["assurance"]
    nothing = dict.fromkeys(
        ("backupEligible", "backupState", "aaguid", "model", "certified", "fips", "credentialId"), None
    )
    expected = NOBODY_PROVED | nothing | {"method": "manual", "userPresent": False, "userVerified": False}
    assert expected == {name: record[name] for name in expected}


async def test_nobody_at_the_authenticator_is_no_sign_in(house: HouseInProcess, application: Application) -> None:
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    begun = await ceremonies.begin_sign_in(userId="ann")
    problem = refused(await ceremonies.complete_sign_in(begun, knobs={"up": False}), 400, "signin_complete_error")
    assert "user_not_present" == problem["reason"]


async def test_every_authentication_has_a_record_of_its_own(house: HouseInProcess, application: Application) -> None:
    ceremonies = await enrolled(application)
    assert 5 == len({(await signed_in(ceremonies))["id"] for _ in range(5)})


async def test_the_official_python_sdk_reads_the_answer(house: HouseInProcess, application: Application) -> None:
    """The record is a member that it does not know; it must neither break nor shadow those that it does."""
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    by_hand = accepted(await application.secret("/signin/generate-token", {"userId": "ann"}))["token"]
    kinds = {}
    for token in (await ceremonies.sign_in(), await ceremonies.register("bob"), by_hand):
        user = VerifiedUserSchema().loads((await ceremonies.ask_verify(token)).text)
        kinds[user.type] = (user.success, user.user_id)
    assert {
        "passkey_signin": (True, "ann"),
        "passkey_register": (True, "bob"),
        "generated_signin": (True, "ann"),
    } == kinds


# --- the record is written once -------------------------------------------------------------------------------------


async def records_of(house: HouseInProcess, kind: EventType) -> list[Json]:
    rows = await house.rows(
        "select assurance from event where app_id = 'demo' and event_type = :kind order by performed_at, event_id",
        kind=int(kind),
    )
    records = [unpacked(kept) for (kept,) in rows]
    return [json.loads(msgspec.json.encode(record_of(record))) for record in records if record is not None]


async def test_the_event_log_keeps_the_record_as_it_was(house: HouseInProcess, application: Application) -> None:
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    token = await ceremonies.sign_in()
    await load(house, number=2, statuses=["REVOKED"])
    house.clock.move(seconds=60)
    verified = (await ceremonies.verify(token))["assurance"]

    assert (3, 1) == shown(verified, "aal", "metadataNumber"), "the token tells of the instant of the sign-in"
    assert [verified] == await records_of(house, EventType.ApiUserSignInCompleted)
    later = await signed_in(ceremonies)
    assert [verified, later] == await records_of(house, EventType.ApiUserSignInCompleted)
    assert (0, 2) == shown(later, "aal", "metadataNumber")


async def test_the_event_log_keeps_the_record_of_a_registration(
    house: HouseInProcess, application: Application
) -> None:
    await load(house)
    ceremonies = ceremonies_with(application, **SECURITY_KEY)
    verified = await ceremonies.verify(await ceremonies.register(attestation="direct"))
    assert [verified["assurance"]] == await records_of(house, EventType.ApiAuthPasskeyRegistrationCompleted)


# --- trust is asked for at every use --------------------------------------------------------------------------------

KEPT = "select trust, anchor is not null, judged_with from credential"


async def test_an_anchor_that_is_removed_no_longer_vouches(house: HouseInProcess, application: Application) -> None:
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    levels = []
    for number, roots in ((1, [maker().der]), (2, [maker("another").der]), (3, [maker().der])):
        await load(house, number=number, roots=roots)
        levels.append(shown(await signed_in(ceremonies), "aal", "acr", "attested", "certified"))
    assert [(3, "phrh", True, None), (2, "phr", False, None), (3, "phrh", True, None)] == levels


async def test_a_model_that_leaves_the_metadata_is_no_longer_attested(
    house: HouseInProcess, application: Application
) -> None:
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    await load(house, number=2, aaguid=bytes(15) + b"\x01")
    assert (2, False, None) == shown(await signed_in(ceremonies), "aal", "attested", "model")


async def test_metadata_that_comes_later_attests_from_the_next_use_on(
    any_house: HouseInProcess,
) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True, allowAttestation=True)
    ceremonies = await enrolled(application, **SECURITY_KEY)
    before = await signed_in(ceremonies)
    assert [("uncertain", False, "0")] == [(t, bool(a), j) for t, a, j in await any_house.rows(KEPT)]
    await load(any_house, number=5)
    after = [await signed_in(ceremonies) for _ in range(2)]

    assert (2, False, True, 0) == shown(before, "aal", "attested", "metadataStale", "metadataNumber")
    assert [(3, True, False, 5)] * 2 == [
        shown(record, "aal", "attested", "metadataStale", "metadataNumber") for record in after
    ]
    assert [("anchored", True, "5")] == [(t, bool(a), j) for t, a, j in await any_house.rows(KEPT)]


async def test_a_refused_sign_in_writes_no_judgement(house: HouseInProcess, application: Application) -> None:
    """CVE-2026-31835: no state changes before the signature."""
    ceremonies = await enrolled(application, **SECURITY_KEY)
    before = await house.rows(KEPT)
    await load(house, number=5)
    begun = await ceremonies.begin_sign_in(userId="ann")
    refused(await ceremonies.complete_sign_in(begun, knobs={"tampered": True}), 400, "signin_complete_error")
    assert before == await house.rows(KEPT)


async def test_what_vouched_is_kept_only_where_it_can_be_judged_again(
    house: HouseInProcess, application: Application
) -> None:
    for kind in ("none", "packed-self"):
        await enrolled(application, attestation=kind)
    assert [(0,)] == await house.rows("select count(*) from attestation")
    await enrolled(application, **SECURITY_KEY)
    assert [(1,)] == await house.rows("select count(*) from attestation")


async def test_a_certificate_of_another_algorithm_than_the_model_has_vouches_for_nothing(
    house: HouseInProcess, application: Application
) -> None:
    await load(house, algorithms=("ed25519_eddsa_sha512_raw",))
    record = await signed_in(await enrolled(application, **SECURITY_KEY))
    assert (False, 2) == shown(record, "attested", "aal")


async def test_a_model_that_only_vouches_for_itself_is_not_attested_by_certificates(
    house: HouseInProcess, application: Application
) -> None:
    await load(house, attestation_types=("basic_surrogate",))
    record = await signed_in(await enrolled(application, **SECURITY_KEY))
    assert (False, 2) == shown(record, "attested", "aal")


async def test_a_passkey_that_once_could_be_copied_stays_exportable(
    house: HouseInProcess, application: Application
) -> None:
    """What left its device stays outside, whatever the flag says today."""
    await house.change_settings("demo", backup_eligibility_changed=Oddity.FLAG)
    await load(house)
    ceremonies = await enrolled(application, **SECURITY_KEY | {"backup_eligible": True})
    record = await signed_in(ceremonies, be=False, bs=False)
    assert (2, "phr", False, ["backup-eligibility"]) == shown(record, "aal", "acr", "backupEligible", "findings")
    bound = ceremonies_with(application, **SECURITY_KEY)
    await bound.register("bob", attestation="direct")
    (credential,) = bound.authenticator.credentials
    worth = []
    for flag in (False, True, False):
        begun = await bound.begin_sign_in(userId="bob")
        answer = await bound.complete_sign_in(begun, credential=credential, knobs={"be": flag, "bs": flag})
        worth.append((await bound.verify(accepted(answer)["token"]))["assurance"]["aal"])
    assert [3, 2, 2] == worth


# --- formats --------------------------------------------------------------------------------------------------------

U2F_MODEL = x509.SubjectKeyIdentifier.from_public_key(U2F_KEY.private.public_key()).digest
FORMATS: dict[str, tuple[bool, Json]] = {
    "none": (False, {}),
    "packed-self": (False, {}),
    "packed-x5c": (True, {}),
    "tpm": (True, {"attestation_types": ("attca",)}),
    "android-key": (True, {"key_protection": ("hardware", "tee")}),
    "apple": (True, {"attestation_types": ("anonca",)}),
    "fido-u2f": (True, {"aaguid": None, "key_identifiers": [U2F_MODEL]}),
    "android-safetynet": (True, {}),
    "compound": (True, {}),
}
"""Kind of attestation → whether it proves the model, and what the metadata says of the model."""
AAGUID_OF_U2F = bytes(16)


@pytest.mark.parametrize("kind", FORMATS)
async def test_every_format_registers_with_attestation_asked_for(
    house: HouseInProcess, application: Application, kind: str
) -> None:
    attested, entry = FORMATS[kind]
    await load(house, **entry)
    ceremonies = ceremonies_with(application, **SECURITY_KEY | {"attestation": kind})
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(attestation="direct"))
    assert "direct" == begun.data["attestation"]
    # Google's service says when it looked, and that must be now: by the clock of this house.
    knobs = {"making": {"made_at": START}} if kind == "android-safetynet" else {}
    accepted(await ceremonies.complete_registration(begun, knobs=knobs))
    record = await signed_in(ceremonies)

    assert (attested, 3 if attested else 2) == shown(record, "attested", "aal")
    assert str(UUID(bytes=AAGUID_OF_U2F if kind == "fido-u2f" else AAGUID)) == record["aaguid"]
    kept = [("packed" if kind.startswith("packed") else kind,)]
    assert kept == await house.rows("select attestation_format from credential")


@pytest.mark.parametrize("kind", ["none", "packed-self"])
async def test_a_famous_model_that_nobody_vouches_for_is_display_data(
    house: HouseInProcess, application: Application, kind: str
) -> None:
    await load(house, name="Famous Key", statuses=["FIDO_CERTIFIED_L3", "FIPS140_CERTIFIED_L3"])
    record = await signed_in(await enrolled(application, **SECURITY_KEY | {"attestation": kind}))
    names = ("attested", "model", "certified", "fips", "keyProtection", "hardware", "aal")
    assert (False, "Famous Key", None, None, [], False, 2) == shown(record, *names)


async def test_a_model_may_not_be_vouched_for_by_the_maker_of_another(
    house: HouseInProcess, application: Application
) -> None:
    """An anchor stands for its own models: the root of one maker must not attest the keys of all."""
    await house.load_metadata(
        FIDO.blob(
            FIDO.entry(name="Dear", aaguid=AAGUID, roots=[maker("dear").der]),
            FIDO.entry(name="Cheap", aaguid=bytes(15) + b"\x02", roots=[maker().der]),
        )
    )
    record = await signed_in(await enrolled(application, **SECURITY_KEY))
    assert (False, "Dear", 2) == shown(record, "attested", "model", "aal")
