"""Authentication configurations in the compatible API (its sections 7.12 and 9.5)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from narthex.http.routes.passwordless.configuration import time_span_of
from narthex.ports.changes import ConfigurationExists, ConfigurationNotFound
from narthex.ports.records import EventType, KeyKind
from narthex.usecases.application import within_application
from narthex.usecases.configuration import (
    MOST_CONFIGURATIONS,
    ConfigurationInvalid,
    Demands,
    PresetPermanent,
    add_configuration,
    edit_configuration,
    list_configurations,
    remove_configuration,
)
from tests.http.test_users import operator_call
from tests.support.application import ABSENT, Application, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

START_WITH_OFFSET = "2026-03-04T05:06:07.891011+00:00"
BODY = {
    "purpose": "transfer",
    "userVerificationRequirement": "required",
    "timeToLive": "00:05:00",
    "hints": ["hybrid", "security-key"],
    "performedBy": "ann@example.org",
}


def preset(purpose: str) -> Json:
    return {
        "purpose": purpose,
        "userVerificationRequirement": "preferred",
        "timeToLive": 120,
        "hints": "",
        "createdBy": "System",
        "createdOn": None,
        "editedBy": None,
        "editedOn": None,
        "lastUsedOn": None,
    }


async def ask_list(application: Application, query: str = "") -> httpx.Response:
    return await application.client.get(f"/auth-configs/list{query}", headers={"ApiSecret": application.secret_key})


async def listed(application: Application, query: str = "") -> list[Json]:
    answer = accepted(await ask_list(application, query))
    assert ["configurations"] == list(answer)
    found: list[Json] = answer["configurations"]
    return found


async def purposes(application: Application) -> list[str]:
    return sorted(each["purpose"] for each in await listed(application))


async def add(application: Application, **members: Any) -> httpx.Response:
    return await application.secret("/auth-configs/add", {**BODY, **members})


async def edit(application: Application, **members: Any) -> httpx.Response:
    return await application.secret("/auth-configs", {**BODY, **members})


async def delete(application: Application, purpose: Any = "transfer", by: Any = "ann@example.org") -> httpx.Response:
    return await application.secret("/auth-configs/delete", {"purpose": purpose, "performedBy": by})


def made(response: httpx.Response) -> None:
    assert (201, b"") == (response.status_code, response.content), response.text
    assert "location" not in response.headers


def done(response: httpx.Response) -> None:
    assert (204, b"") == (response.status_code, response.content), response.text


# --- listing --------------------------------------------------------------------------------------------------------


async def test_a_new_application_has_the_two_presets(application: Application) -> None:
    assert [preset("step-up"), preset("sign-in")] == await listed(application)
    assert [preset("sign-in")] == await listed(application, "?purpose=sign-in")
    assert [] == await listed(application, "?purpose=transfer")
    assert [] == await listed(application, "?purpose=Sign-In")
    assert [preset("step-up"), preset("sign-in")] == await listed(application, "?purpose=")


@pytest.mark.parametrize("name", ["purpose", "Purpose", "PURPOSE"])
async def test_a_filter_that_hits_a_row_answers_with_that_alone(application: Application, name: str) -> None:
    made(await add(application))
    done(await edit(application, purpose="sign-in"))
    assert ["transfer"] == [each["purpose"] for each in await listed(application, f"?{name}=transfer")]
    assert ["sign-in"] == [each["purpose"] for each in await listed(application, f"?{name}=sign-in")]
    assert ["sign-in", "step-up", "transfer"] == await purposes(application)


# --- adding ---------------------------------------------------------------------------------------------------------


async def test_a_configuration_is_listed_as_the_console_reads_it(
    house: HouseInProcess, application: Application
) -> None:
    house.clock.move(seconds=1)
    made(await add(application))
    expected = {
        "purpose": "transfer",
        "userVerificationRequirement": "required",
        "timeToLive": 300,
        "hints": "Hybrid, SecurityKey",
        "createdBy": "ann@example.org",
        "createdOn": "2026-03-04T05:06:08.891011+00:00",
        "editedBy": None,
        "editedOn": None,
        "lastUsedOn": None,
    }
    assert [expected] == await listed(application, "?purpose=transfer")
    line = (
        EventType.ApiAuthenticationConfigurationCreated, 3, "ann@example.org", "demo", application.secret_key[-4:],
    )  # fmt: skip
    assert [line] == (await house.events())[-1:]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (ABSENT, "preferred"),
        (None, "preferred"),
        ("Required", "required"),
        ("DISCOURAGED", "discouraged"),
        (0, "required"),
        ("1", "preferred"),
        (2, "discouraged"),
    ],
)
async def test_user_verification_is_named_in_any_case_or_by_number(
    application: Application, sent: Any, kept: str
) -> None:
    made(await add(application, userVerificationRequirement=sent))
    assert [kept] == [each["userVerificationRequirement"] for each in await listed(application, "?purpose=transfer")]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (ABSENT, ""),
        (None, ""),
        ([], ""),
        (["security-key", "client-device", "hybrid"], "SecurityKey, ClientDevice, Hybrid"),
        (["Hybrid", "CLIENT-DEVICE"], "Hybrid, ClientDevice"),
        ([2, 0, "1"], "Hybrid, SecurityKey, ClientDevice"),
        (["hybrid", "HYBRID", 2], "Hybrid"),
    ],
)
async def test_hints_are_named_in_any_case_or_by_number(application: Application, sent: Any, kept: str) -> None:
    made(await add(application, hints=sent))
    assert [kept] == [each["hints"] for each in await listed(application, "?purpose=transfer")]


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("00:00:01", 1),
        ("00:02:00", 120),
        ("23:59:59", 86_399),
        ("1.00:00:00", 86_400),
        ("7.00:00:00", 604_800),
        ("6.23:59:59.0000000", 604_799),
        ("00000001.00:00:00.0", 86_400),
    ],
)
async def test_a_time_span_is_read_exactly(application: Application, span: str, seconds: int) -> None:
    made(await add(application, timeToLive=span))
    assert [seconds] == [each["timeToLive"] for each in await listed(application, "?purpose=transfer")]


@pytest.mark.parametrize(
    "span",
    [
        ABSENT, None, "", "00:00:00", "00:00:00.0000000", "-00:02:00", "7.00:00:01", "8.00:00:00", "99999999.00:00:00",
        "100000000.00:00:00", "24:00:00", "00:60:00", "00:00:60", "120", 120, "2:00", "0:02:00", "00:02", "00:02:00.5",
        "00:02:00.12345678", "00:02:00.", "1:00:00:00", " 00:02:00", "00:02:00 ", "00:02:00\n", "+00:02:00", "PT2M",
        "٠٠:٠٢:٠٠", "00:02:00.0000001", True,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/auth-configs/add", "/auth-configs"])
async def test_what_is_no_time_to_live_is_refused(application: Application, path: str, span: Any) -> None:
    purpose = "new" if path.endswith("add") else "step-up"
    response = await application.secret(path, {**BODY, "purpose": purpose, "timeToLive": span})
    assert ["timeToLive"] == list(refused(response, 400, "validation_failed")["errors"])
    assert [preset("step-up"), preset("sign-in")] == await listed(application)


@pytest.mark.parametrize(
    "purpose", ["a", "a" * 255, "überweisung", "送金", "१२", "a_b-c", "-", "_", "‿", 42, "e\u0301"]
)
async def test_a_purpose_is_word_characters_and_hyphens(application: Application, purpose: Any) -> None:
    made(await add(application, purpose=purpose))
    assert str(purpose) in await purposes(application)


@pytest.mark.parametrize(
    "purpose", [ABSENT, None, "", " ", "a b", "a.b", "a/b", "a\n", "a\u200db", "²", "Ⅷ", "a😀", "a" * 256, "\u0903"]
)
@pytest.mark.parametrize("path", ["/auth-configs/add", "/auth-configs"])
async def test_what_cannot_be_a_purpose_is_refused(application: Application, path: str, purpose: Any) -> None:
    response = await application.secret(path, {**BODY, "purpose": purpose})
    assert ["purpose"] == list(refused(response, 400, "validation_failed")["errors"])


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("userVerificationRequirement", "optional"),
        ("userVerificationRequirement", ""),
        ("userVerificationRequirement", 3),
        ("hints", ["usb"]),
        ("hints", [None]),
        ("hints", [3]),
        ("hints", ["SecurityKey"]),
        ("performedBy", ABSENT),
        ("performedBy", None),
        ("performedBy", " "),
        ("performedBy", "a" * 256),
    ],
)
async def test_what_breaks_a_rule_is_refused(application: Application, member: str, value: Any) -> None:
    for response in (await add(application, **{member: value}), await edit(application, **{member: value})):
        assert [member] == list(refused(response, 400, "validation_failed")["errors"])


@pytest.mark.parametrize("purpose", ["transfer", "sign-in", "step-up"])
async def test_a_purpose_that_is_there_is_not_added(
    house: HouseInProcess, application: Application, purpose: str
) -> None:
    made(await add(application))
    before, logged = await listed(application), await house.events()
    refused(await add(application, purpose=purpose, timeToLive="00:00:09"), 400, "configuration_exists")
    assert (before, logged) == (await listed(application), await house.events())


async def test_purposes_are_compared_exactly(application: Application) -> None:
    for purpose in ("transfer", "Transfer", "é", "e\u0301"):
        made(await add(application, purpose=purpose))
    assert 6 == len(await listed(application))


async def test_purposes_have_an_end(application: Application) -> None:
    for n in range(MOST_CONFIGURATIONS):
        made(await add(application, purpose=f"purpose-{n}"))
    refused(await add(application), 409, "too_many_configurations")
    done(await edit(application, purpose="purpose-0"))
    done(await edit(application, purpose="sign-in"))
    done(await delete(application, "purpose-0"))
    done(await delete(application, "purpose-1"))
    made(await add(application))


# --- editing --------------------------------------------------------------------------------------------------------


async def test_an_edit_replaces_what_is_asked_and_says_by_whom(house: HouseInProcess, application: Application) -> None:
    made(await add(application))
    house.clock.move(seconds=1)
    left_out = {"hints": ABSENT, "userVerificationRequirement": ABSENT}
    done(await edit(application, timeToLive="00:00:30", performedBy="bob", **left_out))
    expected = {
        "purpose": "transfer",
        "userVerificationRequirement": "preferred",
        "timeToLive": 30,
        "hints": "",
        "createdBy": "ann@example.org",
        "createdOn": START_WITH_OFFSET,
        "editedBy": "bob",
        "editedOn": "2026-03-04T05:06:08.891011+00:00",
        "lastUsedOn": None,
    }
    assert [expected] == await listed(application, "?purpose=transfer")
    line = (EventType.ApiAuthenticationConfigurationUpdated, 3, "bob", "demo", application.secret_key[-4:])
    assert [line] == (await house.events())[-1:]


@pytest.mark.parametrize("purpose", ["sign-in", "step-up"])
async def test_a_preset_is_kept_when_it_is_edited(any_house: HouseInProcess, purpose: str) -> None:
    application = await any_house.create_application()
    for by in ("ann", "bob"):
        done(await edit(application, purpose=purpose, performedBy=by))
        expected = preset(purpose) | {
            "userVerificationRequirement": "required",
            "timeToLive": 300,
            "hints": "Hybrid, SecurityKey",
            "editedBy": by,
            "editedOn": START_WITH_OFFSET,
        }
        assert [expected] == await listed(application, f"?purpose={purpose}")
    assert ["sign-in", "step-up"] == await purposes(application)


@pytest.mark.parametrize("ask", [edit, delete])
async def test_an_unknown_purpose_is_not_found(house: HouseInProcess, application: Application, ask: Any) -> None:
    logged = await house.events()
    problem = refused(await ask(application), 404, "configuration_not_found")
    assert f"{house.errors_url}#configuration_not_found" == problem["type"]
    assert logged == await house.events()


# --- what a configuration does --------------------------------------------------------------------------------------


async def test_a_sign_in_asks_what_its_purpose_says(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    """Seen by the next request of the process that changed it."""
    await ceremonies.register("ann")
    made(await add(application))
    house.clock.move(minutes=2)
    begun = await ceremonies.begin_sign_in(userId="ann", purpose="transfer")
    assert ("required", ["hybrid", "security-key"]) == (begun.data["userVerification"], begun.data["hints"])
    token = accepted(await ceremonies.complete_sign_in(begun))["token"]
    verified = await ceremonies.verify(token)
    assert ("transfer", "2026-03-04T05:13:07.891011Z") == (verified["purpose"], verified["expiresAt"])
    (value,) = await listed(application, "?purpose=transfer")
    assert "2026-03-04T05:08:07.891011+00:00" == value["lastUsedOn"]
    done(await edit(application, timeToLive="00:00:10", userVerificationRequirement="discouraged", hints=[]))
    begun = await ceremonies.begin_sign_in(userId="ann", purpose="transfer")
    assert ("discouraged", []) == (begun.data["userVerification"], begun.data["hints"])
    (value,) = await listed(application, "?purpose=transfer")
    assert "2026-03-04T05:08:07.891011+00:00" == value["lastUsedOn"], "an edit keeps it"


async def test_an_edited_preset_is_what_sign_ins_ask(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    done(await edit(application, purpose="sign-in"))
    begun = await ceremonies.begin_sign_in(userId="ann")
    assert ("required", ["hybrid", "security-key"]) == (begun.data["userVerification"], begun.data["hints"])


async def test_a_preset_that_was_used_is_listed_with_its_use(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    await ceremonies.sign_in(userId="ann")
    assert [preset("sign-in") | {"lastUsedOn": START_WITH_OFFSET}] == await listed(application, "?purpose=sign-in")
    assert ["sign-in", "step-up"] == await purposes(application)


async def test_a_deleted_purpose_is_a_sign_in_like_any_other(application: Application, ceremonies: Ceremonies) -> None:
    await ceremonies.register("ann")
    made(await add(application))
    done(await delete(application))
    begun = await ceremonies.begin_sign_in(userId="ann", purpose="transfer")
    assert "preferred" == begun.data["userVerification"]
    token = accepted(await ceremonies.complete_sign_in(begun))["token"]
    assert "sign-in" == (await ceremonies.verify(token))["purpose"]


# --- deleting -------------------------------------------------------------------------------------------------------


async def test_a_configuration_is_deleted(house: HouseInProcess, application: Application) -> None:
    made(await add(application))
    made(await add(application, purpose="other"))
    house.clock.move(seconds=1)
    done(await delete(application, by="bob"))
    assert ["other", "sign-in", "step-up"] == await purposes(application)
    line = (EventType.ApiAuthenticationConfigurationDeleted, 3, "bob", "demo", application.secret_key[-4:])
    assert [line] == (await house.events())[-1:]


@pytest.mark.parametrize("purpose", [ABSENT, None, "", " "])
async def test_an_empty_purpose_deletes_nothing(application: Application, purpose: Any) -> None:
    """In the reference it deletes whichever comes first."""
    made(await add(application))
    problem = refused(await delete(application, purpose), 400, "validation_failed")
    assert ["purpose"] == list(problem["errors"])
    assert ["sign-in", "step-up", "transfer"] == await purposes(application)


@pytest.mark.parametrize("by", [ABSENT, None])
async def test_who_deletes_must_be_sent(application: Application, by: Any) -> None:
    assert ["performedBy"] == list(refused(await delete(application, by=by), 400, "validation_failed")["errors"])


async def test_who_deletes_may_be_blank(house: HouseInProcess, application: Application) -> None:
    made(await add(application))
    house.clock.move(seconds=1)
    done(await delete(application, by=""))
    assert "Unknown User" == (await house.events())[-1][2]


@pytest.mark.parametrize("purpose", ["sign-in", "step-up"])
@pytest.mark.parametrize("edited", [True, False])
async def test_a_preset_is_not_deleted(application: Application, purpose: str, edited: bool) -> None:
    if edited:
        done(await edit(application, purpose=purpose))
    before = await listed(application)
    refused(await delete(application, purpose), 400, "configuration_preset")
    assert before == await listed(application)


# --- at once --------------------------------------------------------------------------------------------------------


async def test_a_purpose_is_added_and_deleted_once(any_house: HouseInProcess) -> None:
    application = await any_house.create_application(eventLoggingIsEnabled=True)
    answers = await asyncio.gather(*(add(application) for _ in range(20)))
    assert {201: 1, 400: 19} == Counter(each.status_code for each in answers)
    answers = await asyncio.gather(*(delete(application) for _ in range(20)))
    assert {204: 1, 404: 19} == Counter(each.status_code for each in answers)
    kinds = Counter(line[0] for line in await any_house.events() if 1400 <= line[0] < 1500)
    assert {1400: 1, 1402: 1} == kinds


async def test_a_preset_is_kept_once(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    for answer in await asyncio.gather(*(edit(application, purpose="sign-in") for _ in range(20))):
        done(answer)
    assert [(1,)] == await any_house.rows("select count(*) from authentication_configuration")


# --- by the operator ------------------------------------------------------------------------------------------------


async def test_an_operator_configures_an_application(house: HouseInProcess, application: Application) -> None:
    call = await within_application(operator_call(house), "demo")
    minute = Demands(time_to_live=timedelta(minutes=1))
    await add_configuration(call, "transfer", minute, by="operator")
    await edit_configuration(call, "transfer", replace(minute, hints=("hybrid",)), by="operator")
    assert [("hybrid",)] == [each.hints for each in await list_configurations(call, purpose="transfer")]
    with pytest.raises(ConfigurationExists):
        await add_configuration(call, "transfer", minute, by="operator")
    for wrong in (
        replace(minute, time_to_live=timedelta()),
        replace(minute, time_to_live=timedelta(days=7, seconds=1)),
        replace(minute, time_to_live=timedelta(seconds=1.5)),
        replace(minute, user_verification="Required"),
        replace(minute, hints=("usb",)),
    ):
        with pytest.raises(ConfigurationInvalid):
            await edit_configuration(call, "transfer", wrong, by="operator")
    with pytest.raises(ConfigurationInvalid):
        await add_configuration(call, "a b", minute, by="operator")
    await remove_configuration(call, "transfer", by="operator")
    with pytest.raises(ConfigurationNotFound):
        await remove_configuration(call, "transfer", by="operator")
    with pytest.raises(PresetPermanent):
        await remove_configuration(call, "sign-in", by="operator")
    # All in one instant of the clock: the log has no order among them.
    assert [1400, 1401, 1402] == sorted(line[0] for line in await house.events() if line[2] == "operator")


def test_a_time_span_has_no_parts_of_a_microsecond() -> None:
    assert timedelta(microseconds=1) == time_span_of("00:00:00.000001")
    assert time_span_of("00:00:00.0000001") is None


# --- who may --------------------------------------------------------------------------------------------------------


async def test_another_tenants_configurations_are_invisible_and_untouchable(
    house: HouseInProcess, application: Application
) -> None:
    other = await house.create_application("other")
    made(await add(application))
    refused(await edit(other), 404, "configuration_not_found")
    refused(await delete(other), 404, "configuration_not_found")
    assert [] == await listed(other, "?purpose=transfer")
    made(await add(other, timeToLive="00:00:10"))
    done(await edit(other, purpose="sign-in"))
    done(await delete(other))
    assert [300] == [each["timeToLive"] for each in await listed(application, "?purpose=transfer")]
    assert [preset("sign-in")] == await listed(application, "?purpose=sign-in")


async def test_a_key_needs_the_scope(house: HouseInProcess, application: Application) -> None:
    legacy = accepted(await house.manage("/admin/apps/demo/secret-keys", {"scopes": [0]}))["apiKey"]
    keys = [
        await house.add_key("demo", KeyKind.SECRET, scopes=frozenset({f"configurations:{each}"}))
        for each in ("read", "write")
    ]
    reader, writer, old = (replace(application, secret_key=key) for key in (*keys, legacy))
    for ask in (add, edit, delete):
        problem = refused(await ask(reader), 403, "forbidden")
        assert problem["detail"].endswith("Required scopes: configurations:write")
    assert 2 == len(await listed(reader))
    problem = refused(await ask_list(writer), 403, "forbidden")
    assert problem["detail"].endswith("Required scopes: configurations:read")
    for may in (writer, old):
        made(await add(may))
        done(await edit(may))
        done(await delete(may))
    assert 2 == len(await listed(old))


async def test_a_sign_in_under_way_does_not_bring_a_deleted_purpose_back(
    house: HouseInProcess, application: Application, ceremonies: Ceremonies
) -> None:
    body = {"purpose": "pay", "timeToLive": "00:01:00", "performedBy": "ann"}
    assert 201 == (await application.secret("/auth-configs/add", body)).status_code
    await ceremonies.register("ann")
    begun = await ceremonies.begin_sign_in(userId="ann", purpose="pay")
    await house.env.directory.find("demo", now=house.clock.now())
    await house.write("delete from authentication_configuration where purpose = :purpose", purpose="pay")
    accepted(await ceremonies.complete_sign_in(begun))
    kept = await house.rows("select purpose from authentication_configuration where app_id = :app_id", app_id="demo")
    assert ("pay",) not in kept
