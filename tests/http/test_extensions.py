"""Extensions: what a backend asks of a new passkey, what is kept of the answer, and what must never be.

WebAuthn L3 #sctn-extensions.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.application import ABSENT, Ceremonies, HouseInProcess, accepted, refused
from tests.support.authenticator import b64u

pytestmark = pytest.mark.anyio

SECRET, OTHER_SECRET = bytes(range(100, 132)), bytes(range(200, 232))
"""What `prf` gives to a page, and must not leave it."""


async def offered(ceremonies: Ceremonies, extensions: Any) -> dict[str, Any]:
    """The inputs that the browser is told."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(extensions=extensions))
    inputs: dict[str, Any] = begun.data["extensions"]
    return inputs


async def kept(house: HouseInProcess) -> dict[str, Any]:
    ((text,),) = await house.rows("select extensions from credential")
    recorded: dict[str, Any] = json.loads(text or "{}")
    return recorded


async def complete(
    ceremonies: Ceremonies, *, results: Any = ABSENT, outputs: dict[str, Any] | None = None, asked: Any = ABSENT
) -> str:
    """Register, with the client's extension results and the authenticator's signed outputs."""
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(extensions=asked))
    body = ceremonies.registration_body(begun, extensions=outputs)
    if results is ABSENT:
        del body["response"]["clientExtensionResults"]
    else:
        body["response"]["clientExtensionResults"] = results
    token: str = accepted(await ceremonies.application.public("/register/complete", body))["token"]
    return token


# --- inputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (ABSENT, {}),
        (None, {}),
        ({}, {}),
        ({"prf": {}}, {"prf": {}}),
        ({"prf": {"eval": {"first": "AAAA"}}}, {"prf": {}}),
        ({"prf": None, "largeBlob": None, "minPinLength": None, "credentialProtectionPolicy": None}, {}),
        ({"largeBlob": {"support": "preferred"}}, {"largeBlob": {"support": "preferred"}}),
        ({"largeBlob": {"support": "required"}}, {"largeBlob": {"support": "required"}}),
        (
            {"credentialProtectionPolicy": "userVerificationRequired", "enforceCredentialProtectionPolicy": True},
            {"credentialProtectionPolicy": "userVerificationRequired", "enforceCredentialProtectionPolicy": True},
        ),
        (
            {"credentialProtectionPolicy": "userVerificationOptionalWithCredentialIDList"},
            {
                "credentialProtectionPolicy": "userVerificationOptionalWithCredentialIDList",
                "enforceCredentialProtectionPolicy": False,
            },
        ),
        ({"enforceCredentialProtectionPolicy": True}, {}),
        ({"minPinLength": True}, {"minPinLength": True}),
        ({"minPinLength": False}, {}),
        ({"PRF": {}, "LARGEBLOB": {"SUPPORT": "required"}}, {"prf": {}, "largeBlob": {"support": "required"}}),
        ({"credProps": False, "uvm": True, "appid": "https://evil.example", "hmacCreateSecret": True, "x": [[]]}, {}),
    ],
)
async def test_the_browser_is_told_what_the_backend_asked_for(ceremonies: Ceremonies, asked: Any, told: Any) -> None:
    """`credProps` always; what we do not know never."""
    assert {"credProps": True, **told} == await offered(ceremonies, asked)


async def test_a_page_asks_for_nothing(ceremonies: Ceremonies) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave(), extensions={"prf": {}})
    assert {"credProps": True} == begun.data["extensions"]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"largeBlob": {}}, "largeBlob"),
        ({"largeBlob": {"support": None}}, "largeBlob"),
        ({"largeBlob": {"support": ""}}, "largeBlob"),
        ({"largeBlob": {"support": "Required"}}, "largeBlob"),
        ({"largeBlob": {"support": "maybe", "write": "AAAA"}}, "largeBlob"),
        ({"credentialProtectionPolicy": ""}, "credentialProtectionPolicy"),
        ({"credentialProtectionPolicy": "none"}, "credentialProtectionPolicy"),
        ({"credentialProtectionPolicy": 3}, "credentialProtectionPolicy"),
        ({"credentialProtectionPolicy": "userverificationrequired"}, "credentialProtectionPolicy"),
    ],
)
async def test_a_value_that_is_none_of_the_known_is_explained(ceremonies: Ceremonies, asked: Any, named: str) -> None:
    """In the compatible API's shape of a failed validation: sentences by member."""
    answer = await ceremonies.ask_leave(extensions=asked)
    problem = answer.json()
    assert (400, "One or more validation errors occurred.") == (answer.status_code, problem["title"])
    ((member, (sentence,)),) = problem["errors"].items()
    assert "extensions" == member
    assert named.lower() in sentence.lower()
    assert "must be any of" in sentence


@pytest.mark.parametrize(
    "asked",
    ["prf", [], 1, {"prf": True}, {"prf": "on"}, {"prf": []}, {"largeBlob": "required"}, {"minPinLength": "x"}],
)
async def test_a_value_of_another_type_is_refused(ceremonies: Ceremonies, asked: Any) -> None:
    refused(await ceremonies.ask_leave(extensions=asked), 400, "malformed_body")


# --- outputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "outputs", "recorded"),
    [
        (ABSENT, None, {}),
        (None, None, {}),
        ({}, None, {}),
        ({"prf": {"enabled": True}}, {"hmac-secret": True}, {"prf": True, "hmac_secret": True}),
        ({"prf": {"enabled": False}}, {"hmac-secret": False}, {"prf": False, "hmac_secret": False}),
        ({"largeBlob": {"supported": True}}, None, {"large_blob": True}),
        ({"largeBlob": {"supported": False}}, None, {"large_blob": False}),
        ({}, {"credProtect": 1}, {"cred_protect": 1}),
        ({}, {"credProtect": 3, "minPinLength": 6}, {"cred_protect": 3, "min_pin_length": 6}),
        ({}, {"minPinLength": 63}, {"min_pin_length": 63}),
    ],
)
async def test_what_they_said_is_kept(
    house: HouseInProcess, ceremonies: Ceremonies, results: Any, outputs: Any, recorded: dict[str, Any]
) -> None:
    await complete(ceremonies, results=results, outputs=outputs)
    assert recorded == await kept(house)


@pytest.mark.parametrize(
    ("results", "outputs"),
    [
        ({"prf": True, "largeBlob": True}, None),
        ({"prf": [], "largeBlob": "supported"}, None),
        ({"prf": {"enabled": 1}, "largeBlob": {"supported": "true"}}, None),
        ({"prf": {}, "largeBlob": {}}, None),
        ({"credProtect": 3, "minPinLength": 6, "hmac-secret": True}, None),  # Signed or not at all.
        ({}, {"credProtect": 0, "minPinLength": 0, "hmac-secret": 1}),
        ({}, {"credProtect": 4, "minPinLength": 64, "hmac-secret": b"\1"}),
        ({}, {"credProtect": True, "minPinLength": True, "hmac-secret": None}),
        ({}, {"credProtect": "3", "minPinLength": -1, "prf": True, "largeBlob": True}),
        ({}, {"credProtect": 2.0, "minPinLength": 6.5}),
        ({"unknown": {"deep": [{}]}, "__proto__": {}}, {"unknown": {"deep": [b"\0", {}]}}),
    ],
)
async def test_what_says_nothing_is_ignored_and_refuses_nobody(
    house: HouseInProcess, ceremonies: Ceremonies, results: Any, outputs: Any
) -> None:
    await complete(ceremonies, results=results, outputs=outputs, asked={"prf": {}, "minPinLength": True})
    assert {} == await kept(house)


async def test_results_need_not_have_been_asked_for(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """L3 #sctn-extensions: clients and authenticators may add their own; the relying party must not fall over them."""
    await complete(ceremonies, results={"prf": {"enabled": True}}, outputs={"credProtect": 2})
    assert {"prf": True, "cred_protect": 2} == await kept(house)


@pytest.mark.parametrize("results", ["x", [], 1])
async def test_results_that_are_no_object_are_refused(ceremonies: Ceremonies, results: Any) -> None:
    begun = await ceremonies.begin_registration(await ceremonies.give_leave())
    body = ceremonies.registration_body(begun)
    body["response"]["clientExtensionResults"] = results
    refused(await ceremonies.application.public("/register/complete", body), 400, "malformed_body")


# --- secrets --------------------------------------------------------------------------------------------------------


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), b64u(secret).encode(), b64encode(secret), json.dumps(list(secret)).encode()]


async def everything(house: HouseInProcess) -> bytes:
    """Every value of every row, as text and as bytes."""
    tables = await house.rows("select name from sqlite_master where type = 'table'")
    cells = [cell for (table,) in tables for row in await house.rows(f"select * from {table}") for cell in row]
    return b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in cells)


async def test_secrets_of_prf_stay_in_the_page(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """A page that sends us what `toJSON` gives sends its secrets along: they are worth as much as the passkey."""
    prf = {"enabled": True, "results": {"first": b64u(SECRET), "second": b64u(OTHER_SECRET)}}
    results = {"prf": prf, "largeBlob": {"supported": True, "blob": b64u(SECRET), "written": True}}
    with capture_logs() as logged:
        token = await complete(ceremonies, results=results, asked={"prf": {}})
        verified = str(await ceremonies.verify(token))
        body = ceremonies.sign_in_body(await ceremonies.begin_sign_in())
        body["response"]["clientExtensionResults"] = results
        token = accepted(await ceremonies.application.public("/signin/complete", body))["token"]
        verified += str(await ceremonies.verify(token))
        again = await ceremonies.application.public("/signin/complete", body)
        faulty = ceremonies.sign_in_body(await ceremonies.begin_sign_in(), tampered=True)
        faulty["response"]["clientExtensionResults"] = results
        refusal = await ceremonies.application.public("/signin/complete", faulty)
    said = f"{verified}{again.text}{refusal.text}{logged}".encode()
    said += b64decode(token.partition("_")[2] + "==", altchars=b"-_")
    found = await everything(house)

    assert b"passkey registered" in found
    assert [] == [text for secret in (SECRET, OTHER_SECRET) for text in spellings(secret) if text in found + said]


async def test_secrets_in_a_refused_registration_are_not_kept_either(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    with capture_logs() as logged:
        begun = await ceremonies.begin_registration(await ceremonies.give_leave())
        body = ceremonies.registration_body(begun, challenge=bytes(32))
        body["response"]["clientExtensionResults"] = {"prf": {"results": {"first": b64u(SECRET)}}}
        answer = await ceremonies.application.public("/register/complete", body)
        refused(answer, 400, "fido2_invalid_registration")
    found = await everything(house) + f"{answer.text}{logged}".encode()
    assert [] == [text for text in spellings(SECRET) if text in found]
