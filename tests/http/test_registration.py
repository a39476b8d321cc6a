"""Registering a passkey (Passwordless.dev API, sections 6.1, 6.2 and 7.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from narthex.ports.records import EventType
from tests.support.application import (
    ABSENT,
    ORIGIN,
    RP_ID,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
    refused,
)
from tests.support.authenticator import b64u, unb64u

pytestmark = pytest.mark.anyio

ALGORITHMS = (-8, -7, -257, -37, -35, -258, -38, -36, -259, -39)


# --- token ----------------------------------------------------------------------------------------------------------


async def test_a_register_token_is_all_that_is_answered_and_nothing_is_stored(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    answer = accepted(await ceremonies.ask_leave())
    assert ["token"] == list(answer)
    assert answer["token"].startswith("register_")
    assert [(0,)] == await house.rows("select count(*) from credential")


@pytest.mark.parametrize("nothing", [ABSENT, None, "", " \t\n"])
@pytest.mark.parametrize(("member", "sentence"), [("userId", "UserId"), ("username", "Username")])
async def test_user_id_and_username_are_required_in_the_words_of_the_reference(
    house: HouseInProcess, ceremonies: Ceremonies, member: str, sentence: str, nothing: Any
) -> None:
    response = await ceremonies.ask_leave(**{member: nothing})
    problem = refused(response, 400, "validation_failed")
    assert {member: [f"The {sentence} field is required."]} == problem["errors"]
    assert "https://tools.ietf.org/html/rfc9110#section-15.5.1" == problem["type"]
    assert "One or more validation errors occurred." == problem["title"]


async def test_all_broken_rules_are_named_at_once(application: Application) -> None:
    problem = refused(await application.secret("/register/token", {"hints": ["x"]}), 400, "validation_failed")
    assert {"userId", "username", "hints"} == problem["errors"].keys()


@pytest.mark.parametrize("user_id", ["a" * 64, "é" * 32])
async def test_a_user_id_of_64_bytes_is_accepted(ceremonies: Ceremonies, user_id: str) -> None:
    assert user_id == (await ceremonies.verify(await ceremonies.register(user_id)))["userId"]


@pytest.mark.parametrize("user_id", ["a" * 65, "é" * 33])
async def test_a_user_id_that_browsers_would_refuse_is_refused_at_once(ceremonies: Ceremonies, user_id: str) -> None:
    problem = refused(await ceremonies.ask_leave(userId=user_id), 400, "validation_failed")
    assert ["userId"] == list(problem["errors"])


@pytest.mark.parametrize("attestation", [ABSENT, None, "", "none", "None", "NONE"])
async def test_attestation_is_none_unless_asked_for(ceremonies: Ceremonies, attestation: Any) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(attestation=attestation))
    assert "none" == begun.data["attestation"]


@pytest.mark.parametrize("attestation", ["direct", "indirect"])
async def test_attestation_needs_the_application_to_allow_it(house: HouseInProcess, attestation: str) -> None:
    without = Ceremonies(await house.create_application("without"))
    refused(await without.ask_leave(attestation=attestation), 400, "attestation_not_supported_on_plan")
    allowed = Ceremonies(await house.create_application("allowed", allowAttestation=True))
    begun = await allowed.begin_registration(await allowed.give_leave(attestation=attestation))
    assert attestation == begun.data["attestation"]


async def test_attestation_is_checked_again_when_the_registration_begins(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application(allowAttestation=True))
    token = await ceremonies.give_leave(attestation="direct")
    await house.change_settings("demo", allow_attestation=False)
    refused(await ceremonies.ask_registration(token), 400, "attestation_not_supported_on_plan")


@pytest.mark.parametrize("attestation", ["Enterprise", "Direct", "other", 5])
async def test_an_attestation_that_we_do_not_support_is_refused(house: HouseInProcess, attestation: Any) -> None:
    ceremonies = Ceremonies(await house.create_application(allowAttestation=True))
    refused(await ceremonies.ask_leave(attestation=attestation), 400, "invalid_attestation")


async def test_enterprise_attestation_needs_a_leave_of_its_own(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application(allowAttestation=True))
    asked = await ceremonies.ask_leave(attestation="enterprise")
    refused(asked, 400, "enterprise_attestation_not_allowed")
    await house.change_settings("demo", enterprise_attestation=True)
    token = await ceremonies.give_leave(attestation="enterprise")
    assert "enterprise" == (await ceremonies.begin_registration(token)).data["attestation"]
    await house.change_settings("demo", enterprise_attestation=False)
    refused(await ceremonies.ask_registration(token), 400, "enterprise_attestation_not_allowed")
    await house.change_settings("demo", allow_attestation=False, enterprise_attestation=True)
    refused(await ceremonies.ask_leave(attestation="enterprise"), 400, "attestation_not_supported_on_plan")


@pytest.mark.parametrize(
    "aliases",
    [[], ["a"], [f"alias {n}" for n in range(10)], ["same"] * 11, ["a" * 250], [1, "1", 2.5, True]],
)
async def test_aliases_are_a_set_of_at_most_ten(ceremonies: Ceremonies, aliases: list[Any]) -> None:
    await ceremonies.register(aliases=aliases)


@pytest.mark.parametrize("aliases", [[f"alias {n}" for n in range(11)], ["a" * 251], [""], ["a", "  "]])
async def test_aliases_out_of_bounds_are_refused(ceremonies: Ceremonies, aliases: list[str]) -> None:
    problem = refused(await ceremonies.ask_leave(aliases=aliases), 400, "validation_failed")
    assert ["aliases"] == list(problem["errors"])


async def test_a_registration_replaces_the_aliases_of_its_user(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.register(aliases=["old", "kept"])
    await ceremonies.register(aliases=["kept", "new"], aliasHashing=False)
    named = [bool((await ceremonies.begin_sign_in(alias=a)).data["allowCredentials"]) for a in ("old", "kept", "new")]
    assert [False, True, True] == named
    assert [("kept",), ("new",)] == await house.rows("select plaintext from alias order by plaintext")


@pytest.mark.parametrize("aliases", [ABSENT, None, []])
async def test_a_registration_without_aliases_leaves_those_that_are_there(ceremonies: Ceremonies, aliases: Any) -> None:
    await ceremonies.register(aliases=["old"])
    await ceremonies.register(aliases=aliases)
    assert (await ceremonies.begin_sign_in(alias="old")).data["allowCredentials"]


@pytest.mark.parametrize("hashing", [ABSENT, None, True, "true"])
async def test_a_hashed_alias_is_nowhere_in_the_table(
    house: HouseInProcess, ceremonies: Ceremonies, hashing: Any
) -> None:
    await ceremonies.register(aliases=["ann@example.org"], aliasHashing=hashing)
    assert "ann@example.org" not in str(await house.rows("select * from alias"))


async def test_an_alias_of_another_user_is_a_conflict_when_the_token_is_asked_for(ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann", aliases=["a"])
    accepted(await ceremonies.ask_leave(userId="ann", aliases=["a"]))
    refused(await ceremonies.ask_leave(userId="bob", aliases=["b", "a"]), 409, "alias_conflict")


async def test_an_alias_that_was_taken_meanwhile_is_a_conflict_at_completion(
    house: HouseInProcess, application: Application
) -> None:
    ann, bob = Ceremonies(application), Ceremonies(application)
    begun = await bob.begin_registration(await bob.give_leave("bob", aliases=["a"]))
    await ann.register("ann", aliases=["a"])
    refused(await bob.complete_registration(begun), 409, "alias_conflict")
    assert [("ann",)] == await house.rows("select user_id from credential")


@pytest.mark.parametrize("hint", ["security-key", "client-device", "hybrid", "Security-KEY"])
async def test_hints_are_passed_on(ceremonies: Ceremonies, hint: str) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(hints=[hint]))
    assert [hint.lower()] == begun.data["hints"]


@pytest.mark.parametrize("hints", [["SecurityKey"], [""], ["hybrid"] * 4, [None]])
async def test_other_hints_are_refused(ceremonies: Ceremonies, hints: Any) -> None:
    assert 400 == (await ceremonies.ask_leave(hints=hints)).status_code


@pytest.mark.parametrize(
    ("hints", "asked", "attachment"),
    [
        ([], ABSENT, None),
        ([], "any", None),
        ([], "", None),
        ([], "platform", "platform"),
        (None, "Cross-Platform", "cross-platform"),
        (["security-key"], "platform", "cross-platform"),
        (["hybrid", "client-device"], "platform", "cross-platform"),
        (["client-device", "hybrid"], "cross-platform", "platform"),
    ],
)
async def test_the_first_hint_overrides_the_attachment(
    ceremonies: Ceremonies, hints: Any, asked: Any, attachment: str | None
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(hints=hints, authenticatorType=asked))
    assert attachment == begun.data["authenticatorSelection"].get("authenticatorAttachment")
    assert (attachment is None) == ("authenticatorAttachment" not in begun.data["authenticatorSelection"])


@pytest.mark.parametrize(
    ("member", "value"), [("authenticatorType", "phone"), ("userVerification", "optional"), ("userVerification", 1)]
)
async def test_an_unknown_setting_is_refused_when_the_registration_begins(
    ceremonies: Ceremonies, member: str, value: Any
) -> None:
    token = await ceremonies.give_leave(**{member: value})
    refused(await ceremonies.ask_registration(token), 400, "invalid_argument")


@pytest.mark.parametrize(
    ("expires_at", "lives"),
    [
        ("2026-03-04T05:07:07.891011", 60),
        ("2026-03-04T05:07:07.891011Z", 60),
        ("2026-03-04T05:07:07.8910119Z", 60),
        ("2026-03-04T06:07:07.891011+01:00", 60),
        ("2026-03-05T05:06:07.891011", 86_400),
        (None, 120),
        ("", 120),
        (ABSENT, 120),
    ],
)
async def test_a_register_token_lives_until_the_instant_it_was_given(
    house: HouseInProcess, ceremonies: Ceremonies, expires_at: Any, lives: int
) -> None:
    """A date without a zone is UTC, as the Python SDK means it; digits past the microsecond are dropped."""
    token = await ceremonies.give_leave(expiresAt=expires_at)
    house.clock.move(seconds=lives)
    await ceremonies.begin_registration(token)
    house.clock.move(microseconds=1)
    refused(await ceremonies.ask_registration(token), 403, "expired_token")


@pytest.mark.parametrize("expires_at", ["2020-01-01", "0001-01-01T00:00:00Z", "2026-03-04T05:06:07.891010Z"])
async def test_a_register_token_of_the_past_is_made_and_refused_when_it_is_used(
    ceremonies: Ceremonies, expires_at: str
) -> None:
    refused(await ceremonies.ask_registration(await ceremonies.give_leave(expiresAt=expires_at)), 403, "expired_token")


@pytest.mark.parametrize("expires_at", ["9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-12:00"])
async def test_the_end_of_time_is_not_a_server_error(ceremonies: Ceremonies, expires_at: str) -> None:
    response = await ceremonies.ask_leave(expiresAt=expires_at)
    if response.status_code == 200:
        begun = await ceremonies.begin_registration(response.json()["token"])
        accepted(await ceremonies.complete_registration(begun))
    else:
        refused(response, 400, "validation_failed")


@pytest.mark.parametrize(
    "expires_at", ["soon", "1", "2026-13-01", "2026-03-04T25:00:00", True, {"a": 1}, 1e300, "𝟚𝟘𝟚𝟞"]
)
async def test_an_expiry_that_is_no_date_is_refused(ceremonies: Ceremonies, expires_at: Any) -> None:
    problem = refused(await ceremonies.ask_leave(expiresAt=expires_at), 400, "validation_failed")
    assert ["expiresAt"] == list(problem["errors"])


async def test_the_limit_of_users_stops_new_users_and_not_the_old_ones(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application(maxUsers=2))
    await ceremonies.register("ann")
    await ceremonies.register("bob")
    refused(await ceremonies.ask_leave(userId="eve"), 400, "max_users_reached")
    await ceremonies.register("ann")


async def test_an_application_of_no_users_takes_none(house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await house.create_application(maxUsers=0))
    refused(await ceremonies.ask_leave(), 400, "max_users_reached")


# --- begin ----------------------------------------------------------------------------------------------------------


async def test_begin_answers_with_exactly_the_members_that_browsers_take(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    assert {
        "rp": {"id": RP_ID, "name": RP_ID},
        "user": {"name": "ann@example.org", "id": b64u(b"ann"), "displayName": "Ann"},
        "challenge": begun.data["challenge"],
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
        "timeout": 60_000,
        "attestation": "none",
        "attestationFormats": [],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "preferred",
        },
        "hints": [],
        "excludeCredentials": [],
        "extensions": {"credProps": True},
    } == begun.data
    assert 32 == len(unb64u(begun.data["challenge"]))
    assert begun.session.startswith("session_")


@pytest.mark.parametrize("name", [ABSENT, None, ""])
async def test_the_display_name_is_the_user_name_unless_given(ceremonies: Ceremonies, name: Any) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(displayName=name))
    assert "ann@example.org" == begun.data["user"]["displayName"]


@pytest.mark.parametrize(
    ("discoverable", "resident_key", "required"),
    [
        (False, "discouraged", False),
        ("false", "discouraged", False),
        (None, "required", True),
        (True, "required", True),
    ],
)
async def test_discoverable_becomes_a_resident_key(
    ceremonies: Ceremonies, discoverable: Any, resident_key: str, required: bool
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(discoverable=discoverable))
    selection = begun.data["authenticatorSelection"]
    assert (resident_key, required) == (selection["residentKey"], selection["requireResidentKey"])


async def test_all_passkeys_of_the_user_are_excluded_whatever_their_rp_id(application: Application) -> None:
    here, there = (
        Ceremonies(application),
        Ceremonies(application, origin="https://example.net", rp_id="example.net"),
    )
    await here.register("ann")
    await there.register("ann")
    await here.register("bob")
    begun = await here.begin_registration(await here.give_leave("ann"))
    wanted = {b64u(each.authenticator.credentials[0].credential_id) for each in (here, there)}
    assert wanted == {each["id"] for each in begun.data["excludeCredentials"]}


@pytest.mark.parametrize("origin", [ABSENT, None, "", "  "])
@pytest.mark.parametrize("step", ["/register/begin", "/register/complete", "/signin/begin", "/signin/complete"])
async def test_origin_is_required_at_every_step(ceremonies: Ceremonies, step: str, origin: Any) -> None:
    await ceremonies.register()
    match step:
        case "/register/begin":
            response = await ceremonies.ask_registration(await ceremonies.give_leave(), origin=origin)
        case "/register/complete":
            begun = await ceremonies.begin_registration(await ceremonies.give_leave())
            response = await ceremonies.complete_registration(begun, origin=origin)
        case "/signin/begin":
            response = await ceremonies.ask_sign_in(origin=origin)
        case _:
            response = await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), origin=origin)
    assert "Origin is required." == refused(response, 400, "origin_required")["title"]


@pytest.mark.parametrize("origin", ["example.org", "https://", "https://user@example.org", "null", "https://a b", 5])
async def test_an_origin_that_is_none_is_refused(ceremonies: Ceremonies, origin: Any) -> None:
    refused(await ceremonies.ask_sign_in(origin=origin), 400, "origin_malformed")


@pytest.mark.parametrize("rp_id", [ABSENT, None, ""])
async def test_an_rp_id_is_required(ceremonies: Ceremonies, rp_id: Any) -> None:
    refused(await ceremonies.ask_sign_in(rpid=rp_id), 400, "rp_id_required")


@pytest.mark.parametrize("origin", ["https://EXAMPLE.org/products/passkeys/?a=b#c", "https://example.org:443"])
async def test_of_an_origin_only_scheme_host_and_port_count(application: Application, origin: str) -> None:
    ceremonies = Ceremonies(application)
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(), origin=origin)
    accepted(await ceremonies.complete_registration(begun, origin=origin))


@pytest.mark.parametrize("origin", ["android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc", "ios:bundle-id:org.example"])
async def test_the_origin_of_an_app_is_compared_whole(application: Application, origin: str) -> None:
    ceremonies = Ceremonies(application, origin=origin, rp_id=RP_ID)
    await ceremonies.register()
    assert origin == (await ceremonies.verify(await ceremonies.sign_in()))["origin"]


async def test_an_application_with_a_list_of_origins_accepts_no_other(
    house: HouseInProcess, application: Application
) -> None:
    await house.change_settings("demo", origins=(ORIGIN,))
    await Ceremonies(application).register()
    other = Ceremonies(application, origin="https://evil.example", rp_id=RP_ID)
    refused(await other.ask_sign_in(), 400, "origin_not_allowed")
    refused(await other.ask_registration(await other.give_leave()), 400, "origin_not_allowed")
    refused(await Ceremonies(application, rp_id="evil.example").ask_sign_in(), 400, "rp_id_not_allowed")


# --- complete -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nickname", "kept"), [("n" * 64, "n" * 64), ("", None), (None, None), (ABSENT, None)])
async def test_a_nickname_of_64_characters_is_kept(
    house: HouseInProcess, ceremonies: Ceremonies, nickname: Any, kept: str | None
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    accepted(await ceremonies.complete_registration(begun, nickname=nickname))
    assert [(kept,)] == await house.rows("select nickname from credential")


async def test_a_nickname_of_65_characters_is_refused_in_the_words_of_the_reference(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    problem = refused(await ceremonies.complete_registration(begun, nickname="n" * 65), 400, "validation_failed")
    assert {"nickname": ["Nickname cannot be longer than 64 characters."]} == problem["errors"]


async def test_what_was_registered_is_kept(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    knobs = {"cred_props_rk": True, "transports": ("usb", "cable", "nfc", "usb")}
    accepted(await ceremonies.complete_registration(begun, knobs=knobs))
    columns = "user_id, user_handle, sign_count, attestation_format, rp_id, origin, transports, discoverable"
    ((*kept, discoverable),) = await house.rows(f"select {columns} from credential")
    assert ["ann", b"ann", 0, "none", RP_ID, ORIGIN, '["usb","nfc"]'] == kept
    assert discoverable == 1


FORGERIES: dict[str, dict[str, Any]] = {
    "challenge_mismatch": {"challenge": bytes(32)},
    "ceremony_type_mismatch": {"type": "webauthn.get"},
    "rp_id_mismatch": {"rp_id": "example.net"},
    "user_not_present": {"up": False},
    "backup_state_invalid": {"be": False, "bs": True},
    "attested_credential_data_missing": {"at": False},
    "cross_origin_not_allowed": {"cross_origin": True},
    "client_data_malformed": {"bom": True},
    "authenticator_data_malformed": {"trailing": b"\x00"},
    "credential_id_mismatch": {"id": "AAAA"},
    "attestation_signature_invalid": {"attestation": "packed-self", "tampered": True},
    "cbor_malformed": {"edit_attestation_object": lambda raw: raw[:-1]},
}


@pytest.mark.parametrize("reason", FORGERIES)
async def test_a_forged_registration_is_refused_with_its_reason_and_keeps_nothing(
    house: HouseInProcess, ceremonies: Ceremonies, reason: str
) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    response = await ceremonies.complete_registration(begun, knobs=FORGERIES[reason])
    assert reason == refused(response, 400, "fido2_invalid_registration")["reason"]
    assert [] == await house.rows("select * from credential")
    assert (EventType.ApiAuthPasskeyRegistrationRefused, 2) in [event[:2] for event in await house.events()]


async def test_user_verification_that_was_required_is_checked(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(userVerification="Required"))
    assert "required" == begun.data["authenticatorSelection"]["userVerification"]
    response = await ceremonies.complete_registration(begun, knobs={"uv": False})
    assert "user_not_verified" == refused(response, 400, "fido2_invalid_registration")["reason"]


async def test_an_algorithm_that_was_not_offered_is_refused(ceremonies: Ceremonies) -> None:
    ceremonies.authenticator.algorithm = -53
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    response = await ceremonies.complete_registration(begun)
    assert "algorithm_not_allowed" == refused(response, 400, "fido2_invalid_registration")["reason"]


async def test_the_rp_id_of_complete_must_be_that_of_begin(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    response = await ceremonies.complete_registration(begun, rpid="login.example.org")
    assert "rp_id_mismatch" == refused(response, 400, "fido2_invalid_registration")["reason"]


async def test_a_credential_id_is_kept_once_in_an_application(house: HouseInProcess) -> None:
    """The same id in another application is another credential."""
    one, other = await house.create_application("one"), await house.create_application("other")
    same = {"credential_id": bytes(range(32))}
    for application in (one, other):
        ceremonies = Ceremonies(application)
        accepted(
            await ceremonies.complete_registration(
                await ceremonies.begin_registration(await ceremonies.give_leave()), knobs=same
            )
        )
    ceremonies = Ceremonies(one)
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("eve"))
    problem = refused(await ceremonies.complete_registration(begun, knobs=same), 400, "fido2_invalid_registration")
    assert "credential_exists" == problem["reason"]
    assert [("one", "ann"), ("other", "ann")] == await house.rows("select app_id, user_id from credential order by 1")


async def test_a_session_counts_once(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    accepted(await ceremonies.complete_registration(begun))
    refused(await ceremonies.complete_registration(begun), 400, "token_already_used")


async def test_a_refused_answer_spends_its_session_and_not_the_leave(ceremonies: Ceremonies) -> None:
    token = await ceremonies.give_leave()
    begun = await ceremonies.begin_registration(token)
    refused(await ceremonies.complete_registration(begun, knobs={"up": False}), 400, "fido2_invalid_registration")
    refused(await ceremonies.complete_registration(begun), 400, "token_already_used")
    accepted(await ceremonies.complete_registration(await ceremonies.begin_registration(token)))


async def test_one_leave_enrols_one_passkey(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """CVE-2026-37982: an enrolment link that was used adds nobody else's key."""
    token = await ceremonies.give_leave()
    first, second = await ceremonies.begin_registration(token), await ceremonies.begin_registration(token)
    accepted(await ceremonies.complete_registration(first))
    refused(await ceremonies.complete_registration(second), 400, "token_already_used")
    assert [(1,)] == await house.rows("select count(*) from credential")


@pytest.mark.parametrize("lives", [timedelta(minutes=2), timedelta(days=2), timedelta(days=29), timedelta(days=34)])
async def test_a_used_leave_stays_used_for_as_long_as_it_would_have_lived(
    house: HouseInProcess, ceremonies: Ceremonies, lives: timedelta
) -> None:
    """What is remembered of spent tokens is purged in the end, and a leave may outlive its session by days."""
    end = house.clock.now() + lives
    token = await ceremonies.give_leave(expiresAt=end.isoformat())
    accepted(await ceremonies.complete_registration(await ceremonies.begin_registration(token)))
    house.clock.at = end
    await house.root.purge_nonces(expired_before=house.clock.now() - timedelta(minutes=5))

    died_with_its_key = lives > timedelta(days=30)
    refused(
        await ceremonies.ask_registration(token), 400, "invalid_token" if died_with_its_key else "token_already_used"
    )


async def test_a_member_that_was_forgotten_does_not_spend_the_session(ceremonies: Ceremonies) -> None:
    """A client that left its origin out may send the same answer again with it."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    body = ceremonies.registration_body(begun)

    refused(
        await ceremonies.application.public("/register/complete", body | {"origin": ABSENT}), 400, "origin_required"
    )
    accepted(await ceremonies.application.public("/register/complete", body))


async def test_a_used_leave_begins_nothing(ceremonies: Ceremonies) -> None:
    """An authenticator must not be asked for a passkey that nobody will keep."""
    token = await ceremonies.give_leave()
    accepted(await ceremonies.complete_registration(await ceremonies.begin_registration(token)))

    refused(await ceremonies.ask_registration(token), 400, "token_already_used")


async def test_a_registration_lives_ten_minutes(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    at_the_end, after_it = [
        await ceremonies.begin_registration(await ceremonies.give_leave(user)) for user in ("ann", "bob")
    ]
    house.clock.move(minutes=10)
    accepted(await ceremonies.complete_registration(at_the_end))
    house.clock.move(microseconds=1)
    refused(await ceremonies.complete_registration(after_it), 403, "expired_token")


# --- spelling -------------------------------------------------------------------------------------------------------


async def test_the_javascript_client_spells_members_in_its_own_way(application: Application) -> None:
    ceremonies = Ceremonies(application)
    page = {"RPID": RP_ID, "Origin": ORIGIN}
    token = await ceremonies.give_leave()
    begun = accepted(await application.public("/register/begin", {"token": token, **page}))
    made = ceremonies.authenticator.register(begun["data"], origin=ORIGIN)
    response = {
        "id": made["id"],
        "rawId": made["rawId"],
        "type": made["type"],
        "clientExtensionResults": {},
        "response": {
            "AttestationObject": made["response"]["attestationObject"],
            "clientDataJson": made["response"]["clientDataJSON"],
            "transports": [],
        },
    }
    body = {"session": begun["session"], "response": response, "nickname": None, **page}
    accepted(await application.public("/register/complete", body))
    begun = accepted(await application.public("/signin/begin", {"userId": None, "alias": None, **page}))
    signed = ceremonies.authenticator.sign_in(begun["data"], origin=ORIGIN)
    response = {
        "id": signed["id"],
        "rawId": signed["rawId"],
        "type": signed["type"],
        "clientExtensionResults": {},
        "response": {
            "authenticatorData": signed["response"]["authenticatorData"],
            "clientDataJson": signed["response"]["clientDataJSON"],
            "signature": signed["response"]["signature"],
        },
    }
    accepted(await application.public("/signin/complete", {"session": begun["session"], "response": response, **page}))


async def test_the_ios_client_spells_members_in_its_own_way(application: Application) -> None:
    ceremonies = Ceremonies(application)
    page = {"rpId": RP_ID, "origin": ORIGIN}
    begun = accepted(await application.public("/register/begin", {"token": await ceremonies.give_leave(), **page}))
    made = ceremonies.authenticator.register(begun["data"], origin=ORIGIN)
    del made["clientExtensionResults"], made["authenticatorAttachment"], made["response"]["transports"]
    body = {"session": begun["session"], "response": made | {"extensions": {}}, **page}
    accepted(await application.public("/register/complete", body))


async def test_member_names_are_matched_in_any_case(application: Application) -> None:
    body = {"USERID": "ann", "UserName": "ann", "displayname": "Ann", "ALIASES": ["a"]}
    token = accepted(await application.secret("/register/token", body))["token"]
    begun = accepted(await application.public("/register/begin", {"TOKEN": token, "oRiGiN": ORIGIN, "rpID": RP_ID}))
    assert "Ann" == begun["data"]["user"]["displayName"]


async def test_padded_base64url_is_tolerated_from_clients(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    accepted(await ceremonies.complete_registration(begun, knobs={"padded": True}))
    accepted(await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), knobs={"padded": True}))


@pytest.mark.parametrize("text", ["a+b/", "a b", "é", "a===", "="])
@pytest.mark.parametrize("member", ["attestationObject", "clientDataJSON"])
async def test_other_base64_is_not(ceremonies: Ceremonies, member: str, text: str) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    body = ceremonies.registration_body(begun)
    body["response"]["response"][member] = text
    response = await ceremonies.application.public("/register/complete", body)
    assert [f"response.response.{member}"] == list(refused(response, 400, "validation_failed")["errors"])


# --- token keys -----------------------------------------------------------------------------------------------------


async def token_keys(house: HouseInProcess) -> int:
    ((count,),) = await house.rows("select count(*) from token_key")
    return int(count)


async def test_a_token_key_is_renewed_after_seven_days(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    house.clock.move(days=7, microseconds=-1)
    await ceremonies.give_leave()
    assert 1 == await token_keys(house)
    old = await ceremonies.give_leave(expiresAt="2027-01-01")
    house.clock.move(microseconds=1)
    await ceremonies.give_leave()
    assert 2 == await token_keys(house)
    await ceremonies.begin_registration(old)


async def test_a_token_dies_with_its_key_after_thirty_days(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    old = await ceremonies.give_leave(expiresAt="2027-01-01")
    house.clock.move(days=30)
    await ceremonies.begin_registration(old)
    house.clock.move(microseconds=1)
    refused(await ceremonies.ask_registration(old), 400, "invalid_token")


async def test_dead_token_keys_are_dropped_when_one_is_renewed(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    for days in (7, 7, 7, 7):
        house.clock.move(days=days)
        await ceremonies.give_leave()
    assert 5 == await token_keys(house)
    house.clock.move(days=7)
    await ceremonies.give_leave()
    assert 5 == await token_keys(house)
