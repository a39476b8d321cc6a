"""The transport of the FIDO conformance tool, and through it the categories of the tool's server tests.

The tool itself is a desktop program that its makers hand out on request, so what stands here is a stand-in: the same
four calls, and for each of its categories a table of what must be refused, with the reason that we give. The formats
have tables of their own in ``tests/webauthn``; here are a few rows of each, to show that refusals come through.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import httpx
import pytest

from narthex.http.app import CONFORMANCE_ROUTES, ROUTES, create_app
from narthex.http.routes.conformance import COOKIE
from narthex.ports.records import Oddity
from narthex.webauthn.authenticator_policy import AuthenticatorPolicy, Mode
from tests.support.application import PUBLIC_URL, Application, HouseInProcess, StrictLimiter, problem_of
from tests.support.authenticator import (
    CertificateFaults,
    Json,
    Lots,
    SoftwareAuthenticator,
    make_key_pair,
    maker,
    unb64u,
)
from tests.support.metadata import MetadataMaker
from tests.support.statements import MAKERS
from tests.webauthn.cases import EXPIRED, NOT_YET, certified, edit_data, edit_map, edit_statement

pytestmark = pytest.mark.anyio

RP_ID = "passkeys.narthex.test"
FORMATS = ("none", "packed-self", "packed-x5c", *MAKERS)
MISSING: Any = object()


class Tool:
    """The conformance tool: a cookie jar, an authenticator, and the four calls."""

    def __init__(self, client: httpx.AsyncClient, authenticator: SoftwareAuthenticator | None = None) -> None:
        self.client = client
        self.authenticator = authenticator or SoftwareAuthenticator()

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def ask_creation(self, username: str = "ann", **members: Any) -> httpx.Response:
        honest = {"username": username, "displayName": "Ann", "attestation": "direct"}
        body = {name: value for name, value in (honest | members).items() if value is not MISSING}
        return await self.post("/attestation/options", body)

    async def begin_registration(self, username: str = "ann", **members: Any) -> Json:
        return ok(await self.ask_creation(username, **members))

    def created(self, options: Json, **knobs: Any) -> Json:
        return self.authenticator.register(options, origin=PUBLIC_URL, **knobs)

    async def register(self, username: str = "ann", *, asked: Mapping[str, Any] | None = None, **knobs: Any) -> None:
        ok(await self.try_registration(username, asked=asked, **knobs))

    async def try_registration(
        self, username: str = "ann", *, asked: Mapping[str, Any] | None = None, **knobs: Any
    ) -> httpx.Response:
        options = await self.begin_registration(username, **(asked or {}))
        return await self.post("/attestation/result", self.created(options, **knobs))

    async def ask_assertion(self, username: str | None = "ann", **members: Any) -> httpx.Response:
        named = {} if username is None else {"username": username}
        return await self.post("/assertion/options", named | members)

    async def begin_sign_in(self, username: str | None = "ann", **members: Any) -> Json:
        return ok(await self.ask_assertion(username, **members))

    def asserted(self, options: Json, **knobs: Any) -> Json:
        return self.authenticator.sign_in(options, origin=PUBLIC_URL, **knobs)

    async def try_sign_in(
        self, username: str | None = "ann", *, asked: Mapping[str, Any] | None = None, **knobs: Any
    ) -> httpx.Response:
        options = await self.begin_sign_in(username, **(asked or {}))
        return await self.post("/assertion/result", self.asserted(options, **knobs))


def ok(response: httpx.Response) -> Json:
    """The members of an answer that must be `ok`."""
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    assert ("ok", "") == (answer["status"], answer["errorMessage"])
    return answer


def failed(response: httpx.Response, code: str, status: int = 400) -> str:
    """The words of an answer that must be `failed` for that reason, in the profile's form and no other."""
    assert (status, "application/json; charset=utf-8") == (response.status_code, response.headers["content-type"])
    answer = response.json()
    assert {"status", "errorMessage"} == answer.keys()
    assert ("failed", True) == (answer["status"], answer["errorMessage"].endswith(f" ({code})")), answer
    message: str = answer["errorMessage"]
    return message


@asynccontextmanager
async def opened_to_tools(house: HouseInProcess) -> AsyncIterator[Callable[[], Tool]]:
    """The house with the profile for the application `demo`; makes tools, each with a cookie jar of its own."""
    app = create_app(replace(house.env, conformance_application="demo"))
    clients: list[httpx.AsyncClient] = []

    def tool() -> Tool:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        clients.append(httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL))
        return Tool(clients[-1])

    try:
        yield tool
    finally:
        for client in clients:
            await client.aclose()


@pytest.fixture
async def tools(house: HouseInProcess, application: Application) -> AsyncIterator[Callable[[], Tool]]:
    await house.change_settings("demo", allow_attestation=True, enterprise_attestation=True)
    async with opened_to_tools(house) as tools:
        yield tools


@pytest.fixture
def tool(tools: Callable[[], Tool]) -> Tool:
    return tools()


# --- off by default ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", CONFORMANCE_ROUTES, ids=lambda spec: spec.name)
async def test_a_server_without_the_setting_has_no_such_path(
    house: HouseInProcess, application: Application, spec: Any
) -> None:
    response = await house.client.post(spec.path, json={"username": "ann", "displayName": "Ann"})

    assert (404, "path_not_found") == (response.status_code, problem_of(response)["errorCode"])


def test_the_profile_is_no_part_of_the_product() -> None:
    paths = {"/attestation/options", "/attestation/result", "/assertion/options", "/assertion/result"}

    assert paths == {spec.path for spec in CONFORMANCE_ROUTES}
    assert set() == paths & {spec.path for spec in ROUTES}


async def test_the_document_does_not_show_the_profile(tool: Tool) -> None:
    document = (await tool.client.get("/openapi.json")).text

    assert "/signin/begin" in document
    assert "/attestation/" not in document


# --- whole ceremonies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attestation", FORMATS)
async def test_a_passkey_of_every_format_registers_and_signs_in(
    house: HouseInProcess, tool: Tool, attestation: str
) -> None:
    making = {"made_at": house.clock.now()} if attestation == "android-safetynet" else {}
    await tool.register(attestation=attestation, making=making)

    ok(await tool.try_sign_in())
    assert [(attestation.partition("-")[0] if attestation.startswith("packed") else attestation,)] == await house.rows(
        "select attestation_format from credential"
    )


@pytest.mark.parametrize("algorithm", [-7, -8, -35, -36, -37, -38, -39, -257, -258, -259])
async def test_every_algorithm_that_is_offered_signs_in(tool: Tool, algorithm: int) -> None:
    tool.authenticator.algorithm = algorithm
    await tool.register(attestation="packed-self")

    ok(await tool.try_sign_in())


async def test_a_discoverable_passkey_signs_in_without_a_username(tool: Tool) -> None:
    await tool.register(asked={"authenticatorSelection": {"residentKey": "required"}})
    options = await tool.begin_sign_in(None)

    assert [] == options["allowCredentials"]
    ok(await tool.post("/assertion/result", tool.asserted(options)))


async def test_what_the_tool_does_is_in_the_event_log_as_anything_else(house: HouseInProcess, tool: Tool) -> None:
    await tool.register()
    ok(await tool.try_sign_in())

    messages = {message for (message,) in await house.rows("select message from event where app_id = 'demo'")}
    assert {"leave to register a passkey given", "passkey registered", "signed in for `sign-in`"} <= messages


async def test_passkeys_are_of_the_one_application(house: HouseInProcess, tool: Tool) -> None:
    await house.create_application("other")
    await tool.register()

    assert [("demo", RP_ID)] == await house.rows("select app_id, rp_id from credential")


# --- (a) creation options ---------------------------------------------------------------------------------------------


async def test_creation_options_have_the_profiles_shape(tool: Tool) -> None:
    options = await tool.begin_registration("ann@example.org", displayName="Ann Example")

    assert RP_ID == options["rp"]["id"]
    assert isinstance(options["rp"]["name"], str)
    assert ("ann@example.org", "Ann Example") == (options["user"]["name"], options["user"]["displayName"])
    assert 0 < len(unb64u(options["user"]["id"])) <= 64
    assert 16 <= len(unb64u(options["challenge"])) <= 64
    assert {"public-key"} == {each["type"] for each in options["pubKeyCredParams"]}
    assert {-7, -257} <= {each["alg"] for each in options["pubKeyCredParams"]}
    assert options["timeout"] > 0
    assert ([], {}, "direct") == (options["excludeCredentials"], options["extensions"], options["attestation"])


async def test_every_challenge_is_another(tool: Tool) -> None:
    await tool.register()
    challenges = [(await tool.begin_registration())["challenge"] for _ in range(4)]
    challenges += [(await tool.begin_sign_in())["challenge"] for _ in range(4)]

    assert len(challenges) == len(set(challenges))


async def test_a_user_handle_follows_from_the_name_and_does_not_tell_it(tool: Tool) -> None:
    first, again, other = [(await tool.begin_registration(name))["user"]["id"] for name in ("ann", "ann", "bob")]

    assert first == again != other
    assert b"ann" not in unb64u(first)


async def test_passkeys_that_exist_are_excluded_with_their_transports(tool: Tool) -> None:
    await tool.register(transports=("usb", "nfc"))
    options = await tool.begin_registration()

    identifier = tool.authenticator.credentials[0].credential_id
    [descriptor] = options["excludeCredentials"]
    assert ("public-key", identifier) == (descriptor["type"], unb64u(descriptor["id"]))
    assert ["usb", "nfc"] == descriptor["transports"]
    assert [] == (await tool.begin_registration("bob"))["excludeCredentials"]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({"attestation": "none"}, "none"),
        ({"attestation": "indirect"}, "indirect"),
        ({"attestation": "direct"}, "direct"),
        ({"attestation": "enterprise"}, "enterprise"),
        ({"attestation": MISSING}, "none"),
    ],
)
async def test_the_attestation_that_is_asked_for_is_in_the_options(tool: Tool, asked: Json, answered: str) -> None:
    assert answered == (await tool.begin_registration(**asked))["attestation"]


@pytest.mark.parametrize(
    "selection",
    [
        {"requireResidentKey": False, "authenticatorAttachment": "cross-platform", "userVerification": "preferred"},
        {"requireResidentKey": True, "authenticatorAttachment": "platform", "userVerification": "required"},
        {"residentKey": "preferred", "userVerification": "discouraged"},
        {},
    ],
)
async def test_the_selection_that_is_asked_for_is_in_the_options(tool: Tool, selection: Json) -> None:
    assert selection == (await tool.begin_registration(authenticatorSelection=selection))["authenticatorSelection"]


async def test_without_a_selection_the_options_say_what_holds(tool: Tool) -> None:
    assert {
        "residentKey": "discouraged",
        "requireResidentKey": False,
        "userVerification": "preferred",
    } == (await tool.begin_registration())["authenticatorSelection"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"username": MISSING}, "validation_failed"),
        ({"username": None}, "validation_failed"),
        ({"username": ""}, "validation_failed"),
        ({"displayName": MISSING}, "validation_failed"),
        ({"displayName": " "}, "validation_failed"),
        ({"attestation": "some"}, "invalid_attestation"),
        ({"authenticatorSelection": "platform"}, "malformed_body"),
        ({"authenticatorSelection": {"authenticatorAttachment": "glued"}}, "invalid_argument"),
        ({"authenticatorSelection": {"userVerification": "always"}}, "invalid_argument"),
        ({"authenticatorSelection": {"residentKey": "maybe"}}, "validation_failed"),
        ({"authenticatorSelection": {"requireResidentKey": []}}, "malformed_body"),
        ({"extensions": ["credProps"]}, "malformed_body"),
    ],
)
async def test_a_spoilt_request_for_creation_options_is_refused(tool: Tool, members: Json, code: str) -> None:
    failed(await tool.ask_creation(**members), code)


async def test_attestation_that_the_application_does_not_ask_for_is_refused(house: HouseInProcess, tool: Tool) -> None:
    await house.change_settings("demo", allow_attestation=False)

    failed(await tool.ask_creation(), "attestation_not_supported_on_plan")


@pytest.mark.parametrize(("required", "code"), [("required", "user_not_verified"), ("preferred", None)])
async def test_a_registration_verifies_its_user_where_the_request_says_so(
    tool: Tool, required: str, code: str | None
) -> None:
    asked = {"authenticatorSelection": {"userVerification": required}}
    response = await tool.try_registration(asked=asked, uv=False)

    ok(response) if code is None else failed(response, code)


# --- (f) extensions ---------------------------------------------------------------------------------------------------

EXTENSIONS: list[Json] = [
    {"example.extension": "a test text"},
    {"example.extension.bool": True, "credProps": True},
    {"credentialProtectionPolicy": "userVerificationRequired", "deep": {"list": [1, {"two": None}]}},
    {},
]


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_extensions_come_back_as_they_were_asked_for(tool: Tool, extensions: Json) -> None:
    await tool.register()

    assert extensions == (await tool.begin_registration(extensions=extensions))["extensions"]
    assert extensions == (await tool.begin_sign_in(extensions=extensions))["extensions"]


async def test_outputs_of_extensions_are_taken_and_those_unknown_ignored(tool: Tool) -> None:
    outputs = {"credProtect": 2, "example.extension": "who knows"}
    await tool.register(attestation="packed-self", extensions=outputs)

    ok(await tool.try_sign_in(extensions={"example.extension": True}))


# --- (b) the structure of what comes back -----------------------------------------------------------------------------

FAULTS: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "empty": "",
    "not base64url": "ab+/",
    "another text": "AAAA",
    "number": 5,
    "boolean": True,
    "list": ["AAAA"],
    "object": {"0": 65},
}
BOTH = ("id", "rawId", "type", "response", "response.clientDataJSON")
CREATED = (*BOTH, "response.attestationObject")
ASSERTED = (*BOTH, "response.authenticatorData", "response.signature", "response.userHandle")
# The profile has no `rawId`, and a browser sends no handle where the authenticator gave none.
ACCEPTED = {("rawId", "missing"), ("rawId", "null")} | {
    ("response.userHandle", fault) for fault in ("missing", "null", "empty")
}


def spoilt(message: Json, place: str, fault: str) -> Json:
    """The message with one member left out or replaced."""
    name, _, below = place.partition(".")
    if below:
        return message | {name: spoilt(message[name], below, fault)}
    rest = {other: value for other, value in message.items() if other != name}
    return rest if FAULTS[fault] is MISSING else rest | {name: FAULTS[fault]}


def check(response: httpx.Response, place: str, fault: str) -> None:
    if (place, fault) in ACCEPTED:
        ok(response)
    else:
        assert (400, "failed") == (response.status_code, response.json()["status"]), response.text


@pytest.mark.parametrize("place", CREATED)
async def test_a_registration_with_a_spoilt_member_is_refused(tool: Tool, place: str) -> None:
    for fault in FAULTS:
        created = tool.created(await tool.begin_registration(f"{place} {fault}"))
        check(await tool.post("/attestation/result", spoilt(created, place, fault)), place, fault)


@pytest.mark.parametrize("place", ASSERTED)
async def test_an_assertion_with_a_spoilt_member_is_refused(tool: Tool, place: str) -> None:
    await tool.register()
    for fault in FAULTS:
        asserted = tool.asserted(await tool.begin_sign_in())
        check(await tool.post("/assertion/result", spoilt(asserted, place, fault)), place, fault)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff", b'{"extensions":' + b"[" * 1000])
@pytest.mark.parametrize("spec", CONFORMANCE_ROUTES, ids=lambda spec: spec.name)
async def test_what_is_no_object_is_refused(tool: Tool, spec: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    failed(await tool.client.post(spec.path, content=body, headers=headers), "malformed_body")


@pytest.mark.parametrize("spec", CONFORMANCE_ROUTES, ids=lambda spec: spec.name)
async def test_another_method_and_another_media_type_are_refused(tool: Tool, spec: Any) -> None:
    failed(await tool.client.get(spec.path), "method_not_allowed")
    failed(await tool.client.post(spec.path, content=b"{}"), "unsupported_media_type")


@dataclass(frozen=True)
class Case:
    """What an authenticator or its client does wrong, and what we say to it."""

    name: str
    code: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def client_data(**members: Any) -> dict[str, Any]:
    """Client data with members replaced or left out."""

    def edit(raw: bytes) -> bytes:
        replaced = json.loads(raw) | members
        return json.dumps({name: value for name, value in replaced.items() if value is not MISSING}).encode()

    return {"edit_client_data": edit}


CLIENT_DATA = (
    Case("type missing", "client_data_malformed", client_data(type=MISSING)),
    Case("type is no text", "client_data_malformed", client_data(type=["webauthn.create"])),
    Case("type empty", "ceremony_type_mismatch", client_data(type="")),
    Case("type unknown", "ceremony_type_mismatch", client_data(type="webauthn.delete")),
    Case("challenge missing", "client_data_malformed", client_data(challenge=MISSING)),
    Case("challenge is no text", "client_data_malformed", client_data(challenge={"0": 1})),
    Case("challenge empty", "challenge_mismatch", client_data(challenge="")),
    Case("challenge is not base64url", "client_data_malformed", client_data(challenge="ab+/")),
    Case("challenge is another", "challenge_mismatch", {"challenge": bytes(32)}),
    Case("origin missing", "client_data_malformed", client_data(origin=MISSING)),
    Case("origin is no text", "client_data_malformed", client_data(origin=5)),
    Case("origin empty", "origin_malformed", client_data(origin="")),
    Case("origin is another's", "origin_not_allowed", client_data(origin="https://example.org")),
    Case("origin is http", "origin_not_allowed", client_data(origin=PUBLIC_URL.replace("https", "http"))),
    Case("origin has another port", "origin_not_allowed", client_data(origin=f"{PUBLIC_URL}:8443")),
    Case("origin is one below", "origin_not_allowed", client_data(origin=f"https://evil.{RP_ID}")),
    Case("token binding is no object", "client_data_malformed", client_data(tokenBinding="supported")),
    Case("token binding without status", "client_data_malformed", client_data(tokenBinding={"id": "AAAA"})),
    Case("token binding of unknown status", "client_data_malformed", client_data(tokenBinding={"status": "absent"})),
    Case("client data is no JSON", "client_data_malformed", {"edit_client_data": lambda raw: raw[:-1]}),
    Case("client data has a member twice", "client_data_malformed", {"duplicate_member": "origin"}),
)
AUTHENTICATOR_DATA = (
    Case("rp id is another's", "rp_id_mismatch", {"rp_id": "example.org"}),
    Case("user not present", "user_not_present", {"up": False}),
    Case("bytes left over", "authenticator_data_malformed", {"trailing": b"\x00"}),
    Case("ED without extensions", "authenticator_data_malformed", {"ed": True}),
    Case("BS without BE", "backup_state_invalid", {"be": False, "bs": True}),
    Case("cut short", "authenticator_data_malformed", {"edit_authenticator_data": lambda raw: raw[:36]}),
)


def statement(*without: str, **members: Any) -> dict[str, Any]:
    return {"edit_statement": edit_statement(members, *without)}


def attestation_object(*without: str, **members: Any) -> dict[str, Any]:
    return {"edit_attestation_object": edit_map(members, *without)}


ATTESTATION_OBJECT = (
    Case("no CBOR", "cbor_malformed", {"edit_attestation_object": lambda raw: b"\xff" + raw}),
    Case("no map", "attestation_object_malformed", {"edit_attestation_object": lambda raw: b"\x80"}),
    Case("bytes left over", "cbor_malformed", {"edit_attestation_object": lambda raw: raw + b"\x00"}),
    Case("fmt missing", "attestation_object_malformed", attestation_object("fmt")),
    Case("fmt is no text", "attestation_object_malformed", attestation_object(fmt=5)),
    Case("fmt unknown", "attestation_format_unsupported", attestation_object(fmt="waxed")),
    Case("attStmt missing", "attestation_object_malformed", attestation_object("attStmt")),
    Case("attStmt is no map", "attestation_object_malformed", attestation_object(attStmt="none")),
    Case("authData missing", "attestation_object_malformed", attestation_object("authData")),
    Case("authData is no bytes", "attestation_object_malformed", attestation_object(authData="AAAA")),
    Case("authData empty", "authenticator_data_malformed", attestation_object(authData=b"")),
    Case("AT hidden and no credential", "attested_credential_data_missing", {"at": False}),
    Case("AT hidden over a credential", "authenticator_data_malformed", edit_data(32, lambda flags: flags & ~0x40)),
    Case("AT over nothing", "authenticator_data_malformed", {"edit_authenticator_data": lambda raw: raw[:37]}),
    Case("credential id longer than told", "authenticator_data_malformed", edit_data(54, lambda size: size + 1)),
    Case("credential id too long", "authenticator_data_malformed", {"credential_id": bytes(1024)}),
    Case("key is no map", "public_key_malformed", {"public_key": b"\x80"}),
    Case("algorithm was not offered", "algorithm_not_allowed", {"edit_public_key": lambda key: key | {3: -9}}),
)


@pytest.mark.parametrize("case", [*CLIENT_DATA, *AUTHENTICATOR_DATA, *ATTESTATION_OBJECT], ids=str)
async def test_a_faulty_registration_is_refused_with_its_reason(house: HouseInProcess, tool: Tool, case: Case) -> None:
    failed(await tool.try_registration(**case.knobs), case.code)
    assert [(0,)] == await house.rows("select count(*) from credential")


async def test_the_ceremonies_are_told_apart_by_their_type(tool: Tool) -> None:
    failed(await tool.try_registration(type="webauthn.get"), "ceremony_type_mismatch")
    await tool.register()
    failed(await tool.try_sign_in(type="webauthn.create"), "ceremony_type_mismatch")


async def test_the_empty_text_is_refused_by_its_name(tool: Tool) -> None:
    """Sentences about members reach the tool's log."""
    created = tool.created(await tool.begin_registration())
    created["response"]["attestationObject"] = ""

    message = failed(await tool.post("/attestation/result", created), "validation_failed")
    assert "Response.AttestationObject" in message


# --- (c) the formats --------------------------------------------------------------------------------------------------

OTHER_KEY = make_key_pair(-7, Lots("another key"))


def made(fmt: str, *without: str, members: Mapping[str, Any] | None = None, **making: Any) -> dict[str, Any]:
    knobs = {"attestation": fmt, "making": making}
    return knobs | ({"edit_statement": edit_statement(members or {}, *without)} if members or without else {})


def packed(*without: str, **members: Any) -> dict[str, Any]:
    return {"attestation": "packed-x5c"} | statement(*without, **members)


STATEMENTS = (
    Case("none with a statement", "attestation_statement_malformed", {"edit_statement": lambda _: {"sig": b"0"}}),
    Case("none that is packed", "attestation_statement_malformed", {"attestation": "packed-x5c", "fmt": "none"}),
    Case("packed: empty", "attestation_statement_malformed", packed("alg", "sig", "x5c")),
    Case("packed: alg missing", "attestation_statement_malformed", packed("alg")),
    Case("packed: alg is no number", "attestation_statement_malformed", packed(alg="ES256")),
    Case("packed: alg is another", "attestation_algorithm_mismatch", packed(alg=-257)),
    Case("packed: sig missing", "attestation_statement_malformed", packed("sig")),
    Case("packed: sig is no bytes", "attestation_statement_malformed", packed(sig="AAAA")),
    Case("packed: sig empty", "attestation_signature_invalid", packed(sig=b"")),
    Case("packed: sig tampered with", "attestation_signature_invalid", {"attestation": "packed-x5c", "tampered": True}),
    Case("packed: signed by the new key", "attestation_signature_invalid", packed("x5c") | {"sign_with": OTHER_KEY}),
    Case(
        "packed: signed by another",
        "attestation_signature_invalid",
        {"attestation": "packed-x5c", "sign_with": OTHER_KEY},
    ),
    Case("packed: x5c missing", "attestation_algorithm_mismatch", packed("x5c") | {"statement_alg": -257}),
    Case("packed: x5c is no list", "attestation_statement_malformed", packed(x5c=b"0")),
    Case("packed: x5c empty", "attestation_statement_malformed", packed(x5c=[])),
    Case("packed: certificate expired", "trust_path_invalid", certified(EXPIRED)),
    Case("packed: certificate not yet good", "trust_path_invalid", certified(NOT_YET)),
    Case("packed: certificate unreadable", "certificate_malformed", packed(x5c=[b"0"])),
    Case(
        "packed: wrong order",
        "attestation_signature_invalid",
        certified(CertificateFaults(with_root=True))
        | {"edit_statement": lambda members: members | {"x5c": members["x5c"][::-1]}},
    ),
    Case("self: sig tampered with", "attestation_signature_invalid", {"attestation": "packed-self", "tampered": True}),
    Case("self: alg is another", "attestation_algorithm_mismatch", {"attestation": "packed-self", "statement_alg": -8}),
    Case("u2f: signed by another", "attestation_signature_invalid", made("fido-u2f", leaf_key=OTHER_KEY.private)),
    Case(
        "u2f: signed over something else",
        "attestation_signature_invalid",
        made("fido-u2f", edit_signed=lambda raw: raw[1:]),
    ),
    Case("u2f: two certificates", "attestation_statement_malformed", made("fido-u2f", members={"x5c": [b"0", b"0"]})),
    Case("apple: nonce is another", "attestation_nonce_mismatch", made("apple", edit_extension=lambda _: bytes(38))),
    Case("apple: certifies another key", "attestation_key_mismatch", made("apple", leaf_key=OTHER_KEY.private)),
    Case("apple: certificate expired", "trust_path_invalid", made("apple", not_after=EXPIRED.not_after)),
    Case("safetynet: ver empty", "attestation_statement_malformed", made("android-safetynet", ver="")),
    Case(
        "safetynet: nonce is another",
        "attestation_nonce_mismatch",
        made("android-safetynet", changes={"nonce": "AAAA"}),
    ),
    Case("safetynet: signed by another algorithm", "jws_algorithm_not_allowed", made("android-safetynet", alg="HS256")),
    Case("tpm: ver is another", "attestation_statement_malformed", made("tpm", ver="1.2")),
    Case("tpm: alg is another", "attestation_algorithm_mismatch", made("tpm", alg=-257)),
    Case("tpm: extraData is another", "attestation_nonce_mismatch", made("tpm", info={"extra_data": bytes(32)})),
    Case("tpm: certInfo names another key", "attestation_key_mismatch", made("tpm", info={"name": bytes(34)})),
    Case("tpm: pubArea is another key", "attestation_key_mismatch", made("tpm", key=OTHER_KEY.private.public_key())),
    Case("tpm: signed by another", "attestation_signature_invalid", made("tpm", leaf_key=OTHER_KEY.private)),
    Case("tpm: certificate expired", "trust_path_invalid", made("tpm", not_after=EXPIRED.not_after)),
    Case("android-key: challenge is another", "attestation_nonce_mismatch", made("android-key", challenge=bytes(32))),
    Case(
        "android-key: certifies another key",
        "attestation_key_mismatch",
        made("android-key", leaf_key=OTHER_KEY.private, sign_with=OTHER_KEY),
    ),
    Case("android-key: signed by another", "attestation_signature_invalid", made("android-key", sign_with=OTHER_KEY)),
    Case("android-key: alg is another", "attestation_algorithm_mismatch", made("android-key", alg=-257)),
    Case("android-key: certificate expired", "trust_path_invalid", made("android-key", not_after=EXPIRED.not_after)),
    Case("compound: a part is broken", "attestation_statement_malformed", made("compound", tpm={"ver": "1.2"})),
    Case("compound: of one part", "attestation_statement_malformed", made("compound", parts=("packed",))),
)


@pytest.mark.parametrize("case", STATEMENTS, ids=str)
async def test_a_faulty_statement_is_refused_with_its_reason(house: HouseInProcess, tool: Tool, case: Case) -> None:
    failed(await tool.try_registration(**case.knobs), case.code)


# What the tool wants accepted, and we do not (docs/how-to/run-the-conformance-tool.md).
DISLIKED = (
    Case("RS1", "algorithm_unsupported", {"edit_public_key": lambda key: key | {3: -65535}}),
    Case("secp256k1", "algorithm_unsupported", {"edit_public_key": lambda key: key | {3: -47, -1: 8}}),
)


@pytest.mark.parametrize("case", DISLIKED, ids=str)
async def test_what_the_tool_will_not_like(tool: Tool, case: Case) -> None:
    failed(await tool.try_registration(**case.knobs), case.code)


async def test_an_aaguid_that_u2f_does_not_sign_is_let_through(house: HouseInProcess, tool: Tool) -> None:
    """The tool wants a refusal, and the specification's own test vector the opposite (docs/divergences.md)."""
    await tool.register(attestation="fido-u2f", aaguid=bytes([1] * 16))

    assert [(bytes(16),)] == await house.rows("select aaguid from credential")


@pytest.mark.parametrize("fmt", FORMATS[1:])
async def test_an_empty_statement_of_any_format_is_refused(tool: Tool, fmt: str) -> None:
    empty: Any = [] if fmt == "compound" else {}
    failed(
        await tool.try_registration(attestation=fmt, edit_statement=lambda _: empty), "attestation_statement_malformed"
    )


# --- (d) assertions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["required", "preferred", "discouraged", None])
async def test_request_options_have_the_profiles_shape(tool: Tool, asked: str | None) -> None:
    await tool.register(transports=("usb",))
    options = await tool.begin_sign_in(**({} if asked is None else {"userVerification": asked}))

    [descriptor] = options["allowCredentials"]
    assert ("public-key", ["usb"]) == (descriptor["type"], descriptor["transports"])
    assert tool.authenticator.credentials[0].credential_id == unb64u(descriptor["id"])
    assert (RP_ID, asked or "preferred", {}) == (options["rpId"], options["userVerification"], options["extensions"])
    assert 16 <= len(unb64u(options["challenge"])) <= 64
    assert options["timeout"] > 0


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"username": "nobody"}, "validation_failed"),
        ({"username": ""}, "validation_failed"),
        ({"username": "ann", "userVerification": "always"}, "validation_failed"),
        ({"username": "ann", "userVerification": []}, "validation_failed"),
        ({"username": "ann", "extensions": "all"}, "malformed_body"),
    ],
)
async def test_a_spoilt_request_for_an_assertion_is_refused(tool: Tool, members: Json, code: str) -> None:
    await tool.register()

    failed(await tool.post("/assertion/options", members), code)


async def test_an_unknown_user_is_refused_even_where_others_are_concealed(house: HouseInProcess, tool: Tool) -> None:
    await house.change_settings("demo", conceal_unknown_users=True)

    assert "No user of this name has a passkey here." in failed(await tool.ask_assertion("nobody"), "validation_failed")


ASSERTIONS = (
    Case("user not verified", "user_not_verified", {"uv": False}, {"userVerification": "required"}),
    Case("signature tampered with", "signature_invalid", {"tampered": True}),
    Case("signature by another key", "signature_invalid", {"sign_with": OTHER_KEY}),
    Case("signed over other client data", "signature_invalid", {"sign_over": lambda raw: raw[:-32] + bytes(32)}),
    Case("signed over other authenticator data", "signature_invalid", {"sign_over": lambda raw: bytes(37) + raw[37:]}),
    Case(
        "hash of another challenge signed", "signature_invalid", {"sign_over": lambda raw: raw + sha256(b"").digest()}
    ),
    Case("user handle is another's", "user_handle_mismatch", {"user_handle": b"bob"}),
    Case("credential is unknown", "unknown_credential", {"raw_id": b"other", "id": "b3RoZXI"}),
    Case("carries a new credential", "attested_credential_data_unexpected", {"at": True}),
    Case("backup eligibility changed", "backup_eligibility_changed", {"be": False, "bs": False}),
)


@pytest.mark.parametrize("case", [*CLIENT_DATA, *AUTHENTICATOR_DATA, *ASSERTIONS], ids=str)
async def test_a_faulty_assertion_is_refused_with_its_reason(tool: Tool, case: Case) -> None:
    await tool.register()

    failed(await tool.try_sign_in(asked=case.asked, **case.knobs), case.code)


@pytest.mark.parametrize(
    ("asked", "flags"),
    [("required", {"uv": True}), ("preferred", {"uv": False}), ("discouraged", {"uv": False}), ("discouraged", {})],
)
async def test_user_verification_is_demanded_as_the_request_says(tool: Tool, asked: str, flags: Json) -> None:
    await tool.register()

    ok(await tool.try_sign_in(asked={"userVerification": asked}, **flags))


@pytest.mark.parametrize(
    ("counts", "code"),
    [((0, 0), None), ((1, 2), None), ((5, 5), "sign_count_decreased"), ((5, 4), "sign_count_decreased")],
)
async def test_a_counter_that_does_not_rise_is_refused(tool: Tool, counts: tuple[int, int], code: str | None) -> None:
    await tool.register()
    ok(await tool.try_sign_in(sign_count=counts[0]))
    response = await tool.try_sign_in(sign_count=counts[1])

    ok(response) if code is None else failed(response, code)


async def test_the_settings_of_the_application_hold_here_too(house: HouseInProcess, tool: Tool) -> None:
    await house.change_settings("demo", sign_count_stalled=Oddity.FLAG)
    await tool.register()
    ok(await tool.try_sign_in(sign_count=5))

    ok(await tool.try_sign_in(sign_count=5))


# --- (e) metadata -----------------------------------------------------------------------------------------------------

STRICT = AuthenticatorPolicy(attestation=Mode.ENFORCE, bad_status=Mode.ENFORCE)
FIDO = MetadataMaker()


@pytest.fixture
async def strict(house: HouseInProcess, tool: Tool) -> Tool:
    """As the how-to page sets it up: metadata decides."""
    await house.change_settings("demo", authenticator_policy=STRICT)
    tool.authenticator.attestation = "packed-x5c"
    return tool


async def test_a_model_that_the_metadata_vouches_for_registers_and_signs_in(
    house: HouseInProcess, strict: Tool
) -> None:
    await house.load_metadata(FIDO.blob())
    await strict.register()

    ok(await strict.try_sign_in())


OTHER_ROOT = maker("Another Root").der
METADATA: dict[str, tuple[str, Mapping[str, Any]]] = {
    "model is unknown": ("attestation_required", {"aaguid": bytes([9] * 16)}),
    "chain leads elsewhere": ("attestation_required", {"roots": [OTHER_ROOT]}),
    "no root at all": ("attestation_required", {"roots": []}),
    "only self attestation is listed": ("attestation_required", {"attestation_types": ["basic_surrogate"]}),
    "algorithm is not listed": ("attestation_required", {"algorithms": ["rsassa_pss_sha256_raw"]}),
    "revoked": ("authenticator_compromised", {"statuses": ["REVOKED"]}),
    "user verification bypassed": ("authenticator_compromised", {"statuses": ["USER_VERIFICATION_BYPASS"]}),
    "attestation keys out": ("authenticator_compromised", {"statuses": ["ATTESTATION_KEY_COMPROMISE"]}),
    "keys out from afar": ("authenticator_compromised", {"statuses": ["USER_KEY_REMOTE_COMPROMISE"]}),
    "keys out at hand": ("authenticator_compromised", {"statuses": ["USER_KEY_PHYSICAL_COMPROMISE"]}),
}


@pytest.mark.parametrize("name", METADATA)
async def test_a_model_that_the_metadata_does_not_vouch_for_is_refused(
    house: HouseInProcess, strict: Tool, name: str
) -> None:
    code, entry = METADATA[name]
    await house.load_metadata(FIDO.blob(FIDO.entry(**entry)))

    failed(await strict.try_registration(), code)


@pytest.mark.parametrize("attestation", ["none", "packed-self"])
async def test_a_model_that_does_not_prove_itself_is_refused(
    house: HouseInProcess, strict: Tool, attestation: str
) -> None:
    await house.load_metadata(FIDO.blob())

    failed(await strict.try_registration(attestation=attestation), "attestation_required")


async def test_a_model_that_is_revoked_later_signs_in_no_more(house: HouseInProcess, strict: Tool) -> None:
    await house.load_metadata(FIDO.blob())
    await strict.register()
    await house.load_metadata(FIDO.blob(FIDO.entry(statuses=["REVOKED"]), number=2))

    failed(await strict.try_sign_in(), "authenticator_compromised")


async def test_where_attestation_must_be_the_options_ask_for_it(strict: Tool) -> None:
    """What the options say is what holds: the product asks for `direct` as well, whatever a backend wished."""
    assert "direct" == (await strict.begin_registration(attestation="none"))["attestation"]


# --- the session ------------------------------------------------------------------------------------------------------


async def test_the_session_is_a_sealed_cookie_that_scripts_do_not_see(tool: Tool) -> None:
    response = await tool.ask_creation()

    value, *attributes = response.headers["set-cookie"].split("; ")
    assert value.startswith(f"{COOKIE}=session_")
    assert ["Path=/", "HttpOnly", "SameSite=Strict", "Secure"] == attributes


async def test_without_a_session_nothing_is_verified(tools: Callable[[], Tool]) -> None:
    tool, stranger = tools(), tools()
    created = tool.created(await tool.begin_registration())
    failed(await stranger.post("/attestation/result", created), "missing_token")
    ok(await tool.post("/attestation/result", created))

    asserted = tool.asserted(await tool.begin_sign_in())
    failed(await stranger.post("/assertion/result", asserted), "missing_token")


async def test_an_answer_counts_once(tool: Tool) -> None:
    created = tool.created(await tool.begin_registration())
    ok(await tool.post("/attestation/result", created))
    failed(await tool.post("/attestation/result", created), "token_already_used")

    asserted = tool.asserted(await tool.begin_sign_in())
    ok(await tool.post("/assertion/result", asserted))
    failed(await tool.post("/assertion/result", asserted), "token_already_used")


async def test_a_session_that_was_refused_is_spent(tool: Tool) -> None:
    options = await tool.begin_registration()
    failed(await tool.post("/attestation/result", tool.created(options, challenge=bytes(32))), "challenge_mismatch")

    failed(await tool.post("/attestation/result", tool.created(options)), "token_already_used")


async def test_a_session_of_one_ceremony_is_none_of_the_other(tool: Tool) -> None:
    await tool.register()
    asserted = tool.asserted(await tool.begin_sign_in())
    await tool.begin_registration()

    failed(await tool.post("/assertion/result", asserted), "invalid_token")


async def test_a_session_is_good_for_its_own_ceremony(tools: Callable[[], Tool]) -> None:
    """The tool of another user, in the middle of a ceremony of its own, cannot finish this one."""
    ann, bob = tools(), tools()
    for_ann = ann.created(await ann.begin_registration("ann"))
    await bob.begin_registration("bob")

    failed(await bob.post("/attestation/result", for_ann), "challenge_mismatch")
    ok(await ann.post("/attestation/result", for_ann))


async def test_another_users_passkey_does_not_answer(tools: Callable[[], Tool]) -> None:
    ann, bob = tools(), tools()
    await ann.register("ann")
    await bob.register("bob")
    options = await ann.begin_sign_in("ann")
    theirs = bob.authenticator.credentials[0]

    answer = ann.asserted(options, credential=theirs)
    failed(await ann.post("/assertion/result", answer), "credential_not_allowed")


async def test_two_ceremonies_side_by_side_do_not_meet(tools: Callable[[], Tool]) -> None:
    ann, bob = tools(), tools()
    for_ann, for_bob = await ann.begin_registration("ann"), await bob.begin_registration("bob")
    ok(await bob.post("/attestation/result", bob.created(for_bob)))
    ok(await ann.post("/attestation/result", ann.created(for_ann)))
    for_ann, for_bob = await ann.begin_sign_in("ann"), await bob.begin_sign_in("bob")

    ok(await bob.post("/assertion/result", bob.asserted(for_bob)))
    ok(await ann.post("/assertion/result", ann.asserted(for_ann)))


async def test_a_new_ceremony_takes_the_place_of_the_one_before(tool: Tool) -> None:
    first = tool.created(await tool.begin_registration())
    second = tool.created(await tool.begin_registration())

    failed(await tool.post("/attestation/result", first), "challenge_mismatch")
    failed(await tool.post("/attestation/result", second), "token_already_used")


async def test_a_session_of_the_public_api_is_none_of_ours(tool: Tool, application: Application) -> None:
    """One kind of token, so this is the sealed content speaking: the relying party is another."""
    page = {"origin": "https://example.org", "rpid": "example.org"}
    session = (await application.public("/signin/begin", page)).json()["session"]
    await tool.register()
    asserted = tool.asserted(await tool.begin_sign_in())

    tool.client.cookies.clear()
    tool.client.cookies.set(COOKIE, session)
    failed(await tool.post("/assertion/result", asserted), "rp_id_mismatch")


async def test_a_session_expires(house: HouseInProcess, tool: Tool) -> None:
    created = tool.created(await tool.begin_registration())
    house.clock.move(minutes=10, seconds=1)

    failed(await tool.post("/attestation/result", created), "expired_token")


# --- what goes wrong with us ------------------------------------------------------------------------------------------


async def test_what_nobody_foresaw_is_500_without_a_word_of_it(house: HouseInProcess, application: Application) -> None:
    def broken(size_bytes: int) -> bytes:
        if size_bytes == 32:
            raise RuntimeError("secret words")
        return house.env.random(size_bytes)

    env = replace(house.env, conformance_application="demo", random=broken)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(env)), base_url=PUBLIC_URL) as client:
        response = await Tool(client).ask_creation(attestation="none")

    assert "secret" not in failed(response, "internal_error", status=500)


async def test_an_application_that_was_deleted_is_refused(house: HouseInProcess) -> None:
    async with opened_to_tools(house) as tools:
        failed(await tools().ask_creation(), "path_not_found")


async def test_a_flood_is_held_back(house: HouseInProcess, application: Application) -> None:
    env = replace(
        house.env,
        conformance_application="demo",
        facilities=replace(house.env.facilities, limiter=StrictLimiter(wait_s=7)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(env)), base_url=PUBLIC_URL) as client:
        response = await Tool(client).ask_creation()

    failed(response, "rate_limited")
    assert "7" == response.headers["retry-after"]


async def test_a_client_of_the_public_api_cannot_choose_its_user_verification(
    house: HouseInProcess, application: Application
) -> None:
    page = {"origin": "https://example.org", "rpid": "example.org"}
    begun = (await application.public("/signin/begin", {**page, "userVerification": "discouraged"})).json()

    assert "preferred" == begun["data"]["userVerification"]
