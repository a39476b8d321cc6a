"""Whatever is sent, the answer is a problem document with a code: never a 500, never an empty body."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, quote_from_bytes

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from narthex.base.values import from_base64url, to_base64url
from narthex.http.app import ROUTES
from narthex.http.body import MOST_NESTING, MOST_QUERY_MEMBERS, Body
from narthex.http.routing import MOST_BODY_BYTES, RouteSpec
from tests.http.examples import EXAMPLES, Customer, Example, Route, WholeHouse, route_of
from tests.support.application import (
    MANAGEMENT_KEY,
    ORIGIN,
    RP_ID,
    Application,
    Ceremonies,
    accepted,
    problem_of,
    refused,
)
from tests.support.authenticator import Json

pytestmark = pytest.mark.anyio

POSTS = [spec.path for spec in ROUTES if spec.body is not None]
QUERIES = [spec for spec in ROUTES if spec.query is not None]
PATHS = [spec for spec in ROUTES if "{" in spec.path]
JSON_TYPE = {"Content-Type": "application/json"}
HTML_TYPE = "text/html; charset=utf-8"
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class Busy(Ceremonies):
    """One house for many examples: nothing that is refused leaves a trace."""

    def __init__(self, customer: Customer, members: dict[str, str], examples: dict[Route, Example]) -> None:
        super().__init__(customer.application, authenticator=customer.ceremonies.authenticator)
        self.members = members
        self._examples = examples

    def good_members(self, path: str) -> dict[str, bytes]:
        """What the owner would send, member by member."""
        body = self._examples["POST", path].body or {}
        return {name: json.dumps(value).encode() for name, value in body.items()}

    def good_query(self, spec: RouteSpec) -> dict[str, str]:
        return dict(pair.split("=") for pair in self._examples[route_of(spec)].query.split("&") if pair)

    def url(self, path: str, **but: str) -> str:
        """A path, filled in: what an operator does is done to another application, which may come to harm."""
        gone = {"app_id": "leaving"} if path.endswith(("/mark-delete", "/freeze")) else {}
        return path.format(**{**self.members, **gone, **but})


@pytest.fixture(scope="module")
async def busy(_sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Busy]:
    path = tmp_path_factory.mktemp("busy") / "narthex.db"
    path.write_bytes(_sqlite_template.read_bytes())
    async with WholeHouse(f"sqlite:///{path}") as house:
        customer, other = await house.customer("demo"), await house.customer("other")
        await house.create_application("leaving")
        members = {
            "app_id": "other",
            "key_id": other.key_id,
            "webhook_id": await customer.webhook(),
            "delivery_id": await customer.delivery(),
            "ticket": await other.ticket(),
            "name": "nonces",
        }
        filled = [spec for spec in ROUTES if spec.body is not None or spec.query is not None]
        examples = {route_of(spec): await EXAMPLES[route_of(spec)](customer) for spec in filled}
        yield Busy(customer, members, examples)


def keys_of(application: Application) -> dict[str, str]:
    return {
        "ApiKey": application.public_key,
        "ApiSecret": application.secret_key,
        "ManagementKey": MANAGEMENT_KEY,
    }


async def post(busy: Busy, path: str, content: Any, **headers: str) -> Any:
    sent = {**keys_of(busy.application), **JSON_TYPE, **headers}
    raw = {name.encode(): value.encode() for name, value in sent.items()}
    return await busy.application.client.post(busy.url(path), content=content, headers=raw)


def answered(response: httpx.Response) -> None:
    """Whatever came, it was understood or refused, and a refusal is whole."""
    assert response.status_code < 500, (response.request.url, response.text)
    if response.status_code >= 400 and response.headers["content-type"] == HTML_TYPE:
        assert response.text.startswith("<!doctype html>")
        assert response.text.endswith("</html>")
    elif response.status_code >= 400:
        problem_of(response)


# --- bodies ---------------------------------------------------------------------------------------------------------

MALFORMED = {
    "empty": b"",
    "blank": b"  \n",
    "half": b'{"userId": "a',
    "two documents": b"{}{}",
    "trailing comma": b'{"userId":"a",}',
    "comment": b'{/* hello */"userId":"a"}',
    "single quotes": b"{'userId':'a'}",
    "byte order mark": b'\xef\xbb\xbf{"userId":"a"}',
    "utf-16": '{"userId":"a"}'.encode("utf-16"),
    "latin-1": b'{"userId":"\xe9"}',
    "cut utf-8": b'{"userId":"\xf0\x9f\x94"}',
    "surrogate in utf-8": b'{"userId":"\xed\xa0\x80"}',
    "lone surrogate": b'{"userId":"\\ud800","token":"\\ud800","session":"\\ud800","adminEmail":"\\ud800"}',
    "raw control character": b'{"userId":"a\nb"}',
    "array": b"[]",
    "array of arrays": b"[[1]]",
    "text": b'"userId"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "infinity": b'{"userId": Infinity}',
    "not a number": b'{"userId": NaN}',
    "deep arrays": b'{"userId":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "deep and unclosed": b"[" * 60_000,
    "deep in an unknown member": b'{"nobody":' + b"[" * MOST_NESTING + b"]" * MOST_NESTING + b"}",
}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", MALFORMED)
async def test_a_body_that_is_no_json_object_is_malformed(busy: Busy, path: str, body: str) -> None:
    refused(await post(busy, path, MALFORMED[body]), 400, "malformed_body")


@pytest.mark.parametrize("body", [b'{"userId":"a\\u0000b"}', b'{"userId":"\\u0000"}'])
async def test_a_nul_character_is_refused_by_every_database_alike(busy: Busy, body: bytes) -> None:
    refused(await post(busy, "/signin/generate-token", body), 400, "malformed_body")


async def test_what_looks_deep_and_is_not_is_read(busy: Busy) -> None:
    flat = json.dumps({"userId": "[" * 100 + '\\"{{{{' * 10, "nobody": [[]] * 100}).encode()
    accepted(await post(busy, "/signin/generate-token", flat))
    nested = b'{"userId":"a","nobody":' + b"[" * (MOST_NESTING - 1) + b"]" * (MOST_NESTING - 1) + b"}"
    accepted(await post(busy, "/signin/generate-token", nested))


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_that_declares_too_much_is_refused(busy: Busy, path: str) -> None:
    most = next(spec.most_body_bytes for spec in ROUTES if spec.path == path and spec.body is not None)
    padded = b'{"nobody":"' + b"a" * most + b'"}'
    refused(await post(busy, path, padded), 413, "body_too_large")


async def test_a_body_that_grows_too_large_is_refused(busy: Busy) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MOST_BODY_BYTES // 1024 + 2):
            yield b"a" * 1024

    refused(await post(busy, "/signin/verify", endless()), 413, "body_too_large")


async def test_a_body_of_exactly_the_limit_is_read(busy: Busy) -> None:
    body = b'{"userId":"a"'.ljust(MOST_BODY_BYTES - 1) + b"}"
    accepted(await post(busy, "/signin/generate-token", body))


@pytest.mark.parametrize("length", ["-1", "1e9", "٣", "9" * 4_300, ""])
async def test_a_declared_length_that_is_no_number_is_no_server_error(busy: Busy, length: str) -> None:
    response = await post(busy, "/signin/verify", b"{}", **{"Content-Length": length.encode().decode("latin-1")})
    assert response.status_code in (400, 413)
    problem_of(response)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "é"]
)
async def test_a_body_must_be_declared_to_be_json(busy: Busy, path: str, media_type: str) -> None:
    response = await post(busy, path, b"{}", **{"Content-Type": media_type})
    refused(response, 415, "unsupported_media_type")


async def test_a_body_without_a_type_is_refused(busy: Busy) -> None:
    application = busy.application
    response = await application.client.post("/signin/verify", content=b"{}", headers=keys_of(application))
    refused(response, 415, "unsupported_media_type")


# --- members --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (1e14, "100000000000000"),
        (1e300, "1E+300"),
        (2**63 - 1, str(2**63 - 1)),
        (-(2**63), str(-(2**63))),
        (True, "true"),
        ({"a": [1]}, '{"a":[1]}'),
        ([], "[]"),
    ],
)
async def test_any_value_is_taken_where_a_text_is_wanted(busy: Busy, value: Any, text: str) -> None:
    """As the reference takes them: whole numbers in decimal, other numbers as text, the rest as its JSON."""
    token = accepted(await busy.application.secret("/signin/generate-token", {"userId": value}))["token"]
    assert text == (await busy.verify(token))["userId"]


@pytest.mark.parametrize("number", ["1" * 400, "-" + "9" * 5_000, "1e400", "0." + "1" * 5_000])
async def test_a_huge_number_is_no_server_error(busy: Busy, number: str) -> None:
    for path, member in (("/signin/generate-token", "userId"), ("/signin/generate-token", "timeToLive")):
        response = await post(busy, path, f'{{"userId":"a","{member}":{number}}}'.encode())
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            problem_of(response)
    response = await post(busy, "/admin/apps/{app_id}/features", f'{{"maxUsers":{number}}}'.encode())
    refused(response, 400, problem_of(response)["errorCode"])


@pytest.mark.parametrize("value", ["30", 30, "30 ", 30.0])
async def test_a_number_may_be_a_text(busy: Busy, value: Any) -> None:
    response = await busy.application.secret("/signin/generate-token", {"userId": "a", "timeToLive": value})
    if value == "30 ":
        refused(response, 400, "malformed_body")
    else:
        accepted(response)


@pytest.mark.parametrize("value", ["", "x", "0x1f", 1.5, True, [30], {}])
async def test_another_thing_is_no_number(busy: Busy, value: Any) -> None:
    response = await busy.application.secret("/signin/generate-token", {"userId": "a", "timeToLive": value})
    refused(response, 400, "malformed_body")


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        ("/register/token", "aliases", "a"),
        ("/register/token", "aliases", {"a": 1}),
        ("/register/token", "discoverable", "maybe"),
        ("/register/token", "hints", 5),
        ("/register/complete", "response", "text"),
        ("/register/complete", "response", {"response": []}),
        ("/register/complete", "response", {"response": {"transports": "usb"}}),
        ("/register/complete", "response", {"clientExtensionResults": 5}),
        ("/signin/complete", "response", 5),
        ("/signin/complete", "response", {"response": True}),
    ],
)
async def test_a_member_of_the_wrong_type_is_malformed(busy: Busy, path: str, member: str, value: Any) -> None:
    body = json.dumps({"userId": "a", "username": "a", member: value}).encode()
    refused(await post(busy, path, body), 400, "malformed_body")


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/signin/generate-token", {"userId": "a", "TIMETOLIVE": "x"}, "timeToLive"),
        ("/signin/generate-token", {"userId": "a", "timeToLive": [1]}, "timeToLive"),
        ("/register/token", {"userId": "a", "username": "a", "hints": 5}, "hints"),
        ("/signin/complete", {"response": {"response": True}}, "response.response"),
    ],
)
async def test_a_wrong_type_is_told_by_its_place_alone(busy: Busy, path: str, body: Json, place: str) -> None:
    problem = refused(await post(busy, path, json.dumps(body).encode()), 400, "malformed_body")
    assert f"`{place}` has the wrong type." == problem["title"]


@pytest.mark.parametrize(
    ("member", "value", "sentence"),
    [
        ("aliases", [None], "Aliases cannot hold a blank alias."),
        ("aliases", ["a", None], "Aliases cannot hold a blank alias."),
        ("hints", ["hybrid", None], "Hints must be any of security-key, client-device, hybrid."),
    ],
)
async def test_a_null_in_a_list_breaks_the_lists_rule(busy: Busy, member: str, value: list[Any], sentence: str) -> None:
    response = await busy.application.secret("/register/token", {"userId": "a", "username": "a", member: value})
    assert {member: [sentence]} == refused(response, 400, "validation_failed")["errors"]


async def test_a_number_in_a_list_of_texts_is_a_text(busy: Busy) -> None:
    await busy.give_leave("zoe", aliases=[5])


@pytest.mark.parametrize(
    ("path", "body", "place", "sentence"),
    [
        ("/signin/complete", {}, "response.id", "The Response.Id field is required."),
        ("/signin/complete", {"id": "AA"}, "response.rawId", "The Response.RawId field is required."),
        (
            "/signin/complete",
            {"id": "AA", "rawId": "!"},
            "response.rawId",
            "The Response.RawId field is not base64url.",
        ),
        (
            "/register/complete",
            {"id": "AA", "rawId": "AA"},
            "response.response.clientDataJSON",
            "The Response.Response.ClientDataJSON field is required.",
        ),
        (
            "/register/complete",
            {"id": "AA", "type": "password"},
            "response.type",
            "The Response.Type field must be `public-key`.",
        ),
    ],
)
async def test_members_within_the_response_are_spelled_one_way(
    busy: Busy, path: str, body: Json, place: str, sentence: str
) -> None:
    response = await busy.application.public(path, {"response": body})
    assert {place: [sentence]} == refused(response, 400, "validation_failed")["errors"]


def holes(body: Json, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every member at every depth."""
    found = []
    for name, value in body.items():
        found.append((*at, name))
        if isinstance(value, dict):
            found += holes(value, (*at, name))
    return found


def replaced(body: Json, path: tuple[str, ...], value: Any) -> Json:
    if not path:
        return value  # type: ignore[no-any-return]
    return body | {path[0]: replaced(body[path[0]], path[1:], value)}


@pytest.mark.parametrize("step", ["/register/complete", "/signin/complete"])
async def test_no_member_of_a_ceremonys_answer_breaks_the_server(busy: Busy, step: str) -> None:
    """Every member in turn is null, of every type, empty, and rubbish; those that do not matter may."""
    values: list[Any] = [None, "", "AAAA", "!", "a" * 3_000, 0, 1.5, True, [], [None], {}, {"a": None}]
    if step == "/register/complete":
        body = busy.registration_body(await busy.begin_registration(await busy.give_leave("eve")))
        busy.authenticator.credentials.pop()
    else:
        body = busy.sign_in_body(await busy.begin_sign_in())
    for path in holes(body):
        for value in values:
            response = await busy.application.public(step, replaced(body, path, value))
            assert response.status_code in (200, 400), (path, value, response.text)
            if response.status_code == 400:
                problem_of(response)


@pytest.mark.parametrize("path", POSTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
async def test_any_bytes_are_answered(busy: Busy, path: str, content: bytes) -> None:
    answered(await post(busy, path, content))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def in_any_case(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name, name.lower(), name.upper(), name.swapcase()])


def written_names(shape: type[Body]) -> list[str]:
    return [str(field.encode_name) for field in msgspec.structs.fields(shape)]


def members_of(path: str) -> st.SearchStrategy[Json]:
    (shape,) = (spec.body for spec in ROUTES if spec.path == path and spec.body is not None)
    names = st.sampled_from([*written_names(shape), "nobody"]).flatmap(in_any_case)
    return st.dictionaries(names, JSON_VALUES)


def any_body() -> st.SearchStrategy[tuple[str, Json]]:
    return st.sampled_from(POSTS).flatmap(lambda path: st.tuples(st.just(path), members_of(path)))


@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=any_body())
async def test_any_members_are_answered(busy: Busy, asked: tuple[str, Json]) -> None:
    path, body = asked
    answered(await post(busy, path, json.dumps(body).encode()))


ODD_VALUES = [
    b"null", b'""', b'" "', b'"a"', b"0", b"-1", b"1.5", b"true", b"[]", b"[[]]", b"[null]", b'[""]', b"[1]", b"{}",
    b'{"a":{}}', b"9223372036854775808", b"-9223372036854775809", b"1e300", b"1e400", b"9" * 400,
    b'"' + b"9" * 400 + b'"', b"[" * 20 + b"]" * 20, b'{"a":' * 20 + b"1" + b"}" * 20, b'"' + b"a" * 50_000 + b'"',
    b"[" + b'"a",' * 9_000 + b'"a"]',
    b'"9999-12-31T23:59:59.999999-23:59"', b'"0001-01-01T00:00:00+23:59"', '"\u202e\U0001f511"'.encode(), b'"\x7f"',
]  # fmt: skip
UNREADABLE = {
    "nul": b'"\\u0000"',
    "nul within": b'"a\\u0000b"',
    "lone surrogate": b'"\\ud800"',
    "lone low surrogate": b'"a\\udc00"',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "too deep": b"[" * MOST_NESTING + b"]" * MOST_NESTING,
}
"""No member may hold any of these, whatever its type."""


def joined(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in members.items()) + b"}"


def names_of(path: str) -> list[str]:
    return [name for spec in ROUTES if spec.path == path and spec.body is not None for name in written_names(spec.body)]


@pytest.mark.parametrize("path", POSTS)
async def test_any_value_of_any_member_is_answered(busy: Busy, path: str) -> None:
    """One member in turn is odd, and the others are good."""
    good = busy.good_members(path)
    for name in names_of(path):
        for value in ODD_VALUES:
            answered(await post(busy, path, joined(good | {name: value})))


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("value", UNREADABLE)
async def test_what_no_member_may_hold_is_malformed(busy: Busy, path: str, value: str) -> None:
    good = busy.good_members(path)
    for name in [*names_of(path), "nobody"]:
        if name == "nobody" and "nul" in value:
            continue  # What nobody knows is not looked at.
        refused(await post(busy, path, joined(good | {name: UNREADABLE[value]})), 400, "malformed_body")


@pytest.mark.parametrize("path", POSTS)
async def test_an_empty_object_is_answered(busy: Busy, path: str) -> None:
    answered(await post(busy, path, b"{}"))


# --- paths and queries ----------------------------------------------------------------------------------------------

ODD_SEGMENTS = [
    "%00", "a%00", "%ff%fe", "%ed%a0%80", "%f0%9f%94%91", "%2e%2e", "%2f", "..%2f..%2fother", "%5c", "%20", "%0d%0a",
    "%", "%zz", "a" * 5_000, "0" * 36, "{}", "'", "%22", "1'%20or%20'1'='1", "%3cscript%3e", "*", "null", "undefined",
    "-1", "9" * 400, "OTHER", "%C5%BFther", UNKNOWN_ID, UNKNOWN_ID.upper(), UNKNOWN_ID.replace("-", ""),
    f"{{{UNKNOWN_ID}}}", f"urn:uuid:{UNKNOWN_ID}", "%D9%A0" * 36,
]  # fmt: skip


async def ask(busy: Busy, spec: RouteSpec, url: str) -> httpx.Response:
    body = {"json": {}} if spec.body is not None else {}
    return await busy.application.client.request(spec.method, url, headers=keys_of(busy.application), **body)


def members_of_path(spec: RouteSpec) -> list[str]:
    return re.findall(r"\{(\w+)\}", spec.path)


@pytest.mark.parametrize("spec", PATHS, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_any_member_of_a_path_is_answered(busy: Busy, spec: RouteSpec) -> None:
    for name in members_of_path(spec):
        for segment in ODD_SEGMENTS:
            response = await ask(busy, spec, busy.url(spec.path, **{name: segment}))
            answered(response)
            assert response.status_code >= 400 or name == "app_id", (segment, response.text)


def quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def any_path() -> st.SearchStrategy[tuple[RouteSpec, dict[str, str]]]:
    text = st.text(max_size=40).map(quoted)
    return st.sampled_from(PATHS).flatmap(
        lambda spec: st.tuples(st.just(spec), st.dictionaries(st.sampled_from(members_of_path(spec)), text, min_size=1))
    )


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=any_path())
async def test_any_text_in_a_path_is_answered(busy: Busy, asked: tuple[RouteSpec, dict[str, str]]) -> None:
    spec, members = asked
    answered(await ask(busy, spec, busy.url(spec.path, **members)))


ODD_QUERY_VALUES = [
    "", "%00", "a%00b", "%F0%9F%94%91", "%20", "a", "*", "0", "-1", "1", "1.5", "true", "null", "[]", "{}", "1e400",
    "9" * 5_000, "-" + "9" * 30, "%2B1", "1_000", "%D9%A1", "9223372036854775808", "2026-01-01", "0000-00-00",
    "2026-02-30T00:00:00", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00%2B23:59", "2026-W01-1", UNKNOWN_ID,
    "a" * 20_000, "%27%20or%201=1--", "Api*", "A" * 3_000, "a,b,,c",
]  # fmt: skip
UNREADABLE_QUERIES = {
    "not utf-8": "{}=%FF",
    "surrogate": "{}=%ED%A0%80",
    "cut utf-8": "{}=%F0%9F%94",
    "not utf-8 in an unknown name": "%FF=a",
    "too many": "&".join(f"n{at}=" for at in range(MOST_QUERY_MEMBERS + 1)),
    "one too often": "&".join(["{0}=a"] * (MOST_QUERY_MEMBERS + 1)),
}


def with_query(busy: Busy, spec: RouteSpec, members: dict[str, str]) -> str:
    return busy.url(spec.path) + "?" + "&".join(f"{name}={value}" for name, value in members.items())


def names_in_query(spec: RouteSpec) -> list[str]:
    assert spec.query is not None
    return written_names(spec.query)


@pytest.mark.parametrize("spec", QUERIES, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_any_value_in_a_query_is_answered(busy: Busy, spec: RouteSpec) -> None:
    good = busy.good_query(spec)
    for name in names_in_query(spec):
        for value in ODD_QUERY_VALUES:
            for spelled in (name, name.upper()):
                members = {other: kept for other, kept in good.items() if other != name}
                answered(await ask(busy, spec, with_query(busy, spec, members | {spelled: value})))


@pytest.mark.parametrize("spec", QUERIES, ids=lambda spec: f"{spec.method} {spec.path}")
@pytest.mark.parametrize("query", UNREADABLE_QUERIES)
async def test_a_query_that_cannot_be_read_is_malformed(busy: Busy, spec: RouteSpec, query: str) -> None:
    for name in names_in_query(spec):
        url = busy.url(spec.path) + "?" + UNREADABLE_QUERIES[query].format(name)
        refused(await ask(busy, spec, url), 400, "malformed_query")


@pytest.mark.parametrize("spec", QUERIES, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_a_nul_character_in_a_query_is_malformed(busy: Busy, spec: RouteSpec) -> None:
    for name in names_in_query(spec):
        refused(await ask(busy, spec, f"{busy.url(spec.path)}?{name}=a%00"), 400, "malformed_query")


@pytest.mark.parametrize("spec", QUERIES, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_a_member_that_a_query_repeats_is_answered(busy: Busy, spec: RouteSpec) -> None:
    for name in names_in_query(spec):
        for first in ODD_QUERY_VALUES[:12]:
            answered(await ask(busy, spec, f"{busy.url(spec.path)}?{name}={first}&{name.lower()}=a&{name}=1"))


def any_pairs(spec: RouteSpec) -> st.SearchStrategy[list[tuple[str, str, str]]]:
    name = st.sampled_from(names_in_query(spec)) | st.text(max_size=5).map(quoted)
    value = st.binary(max_size=20).map(quote_from_bytes) | st.text(max_size=20).map(quoted)
    return st.lists(st.tuples(name, st.sampled_from(["=", "", "[]=", "==", ";"]), value), max_size=6)


def any_query() -> st.SearchStrategy[tuple[RouteSpec, list[tuple[str, str, str]]]]:
    return st.sampled_from(QUERIES).flatmap(lambda spec: st.tuples(st.just(spec), any_pairs(spec)))


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=any_query())
async def test_any_query_is_answered(busy: Busy, asked: tuple[RouteSpec, list[tuple[str, str, str]]]) -> None:
    spec, pairs = asked
    answered(await ask(busy, spec, f"{busy.url(spec.path)}?{'&'.join(map(''.join, pairs))}"))


# --- headers and keys -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["ApiKey", "ApiSecret", "ManagementKey"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.binary(max_size=300) | st.text(alphabet="demo:pulicsrt0", max_size=60).map(str.encode))
async def test_any_key_is_answered(busy: Busy, header: str, key: bytes) -> None:
    path = {"ApiKey": "/signin/begin", "ApiSecret": "/signin/verify", "ManagementKey": "/admin/apps/x/create"}[header]
    response = await busy.application.client.post(path, json={}, headers=[(header.encode(), key)])
    refused(response, 401, "key_required")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=100))
async def test_any_header_is_answered(busy: Busy, value: bytes) -> None:
    names = ("traceparent", "user-agent", "cf-ipcountry", "x-forwarded-for", "accept", "origin", "cookie", "host")
    headers = [(name.encode(), value) for name in names]
    headers.append((b"apikey", busy.application.public_key.encode()))
    body = {"origin": ORIGIN, "rpid": RP_ID}
    accepted(await busy.application.client.post("/signin/begin", json=body, headers=headers))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(max_size=40))
async def test_any_path_is_answered(busy: Busy, path: str) -> None:
    response = await busy.application.client.get("http://narthex.test/x" + path.encode("utf-8", "ignore").hex())
    refused(response, 404, "path_not_found")
    transport = busy.application.client._transport
    sent: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": "/" + path, "headers": [], "query_string": b""}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await transport.app(scope, receive, send)  # type: ignore[attr-defined]
    assert sent[0]["status"] in (200, 400, 404, 405, 500 if "throw/exception" in path else 400)
    assert sent[1]["body"]


# --- tokens ---------------------------------------------------------------------------------------------------------

USES = [
    ("/register/begin", "token", "register_"),
    ("/register/complete", "session", "session_"),
    ("/signin/complete", "session", "session_"),
    ("/signin/verify", "token", "verify_"),
]


async def body_with(busy: Busy, path: str, token: Any) -> Json:
    """A body that is good but for its token."""
    page = {"origin": ORIGIN, "rpid": RP_ID}
    match path:
        case "/register/complete":
            options = {"challenge": "AAAA", "user": {"id": "AAAA"}, "rp": {"id": RP_ID}}
            response = busy.authenticator.register(options, origin=ORIGIN)
            busy.authenticator.credentials.pop()
            return {"session": token, "response": response, **page}
        case "/signin/complete":
            return {
                "session": token,
                "response": busy.authenticator.sign_in({"challenge": "AAAA", "rpId": RP_ID}, origin=ORIGIN),
                **page,
            }
        case _:
            return {"token": token, **page}


async def use(busy: Busy, path: str, token: Any) -> Any:
    body = await body_with(busy, path, token)
    return await post(busy, path, json.dumps(body).encode())


async def good_token(busy: Busy, path: str) -> str:
    match path:
        case "/register/begin":
            return await busy.give_leave("eve")
        case "/register/complete":
            return (await busy.begin_registration(await busy.give_leave("eve"))).session
        case "/signin/complete":
            return (await busy.begin_sign_in()).session
        case _:
            return await busy.sign_in()


@pytest.mark.parametrize(("path", "member", "prefix"), USES)
@pytest.mark.parametrize("token", [None, "", [], {}])
async def test_a_token_is_asked_for_by_its_prefix(busy: Busy, path: str, member: str, prefix: str, token: Any) -> None:
    response = await use(busy, path, token)
    if token in ([], {}):
        refused(response, 400, "invalid_token")
    else:
        assert prefix in refused(response, 400, "missing_token")["title"]


@pytest.mark.parametrize(("path", "member", "prefix"), USES)
async def test_a_token_of_another_kind_is_refused(busy: Busy, path: str, member: str, prefix: str) -> None:
    """By its prefix, and by what was sealed when the prefix is exchanged."""
    for other, _, other_prefix in USES:
        if other == path:
            continue
        token = await good_token(busy, other)
        refused(await use(busy, path, token), 400, "invalid_token")
        refused(await use(busy, path, prefix + token.removeprefix(other_prefix)), 400, "invalid_token")


@pytest.mark.parametrize(("path", "member", "prefix"), USES)
@pytest.mark.parametrize("rest", ["", "A", "AAAA", "!", "a+b/", "é", "AAA=", "\U0001f511", "A" * 20_000])
async def test_rubbish_behind_a_prefix_has_its_own_code(
    busy: Busy, path: str, member: str, prefix: str, rest: str
) -> None:
    refused(await use(busy, path, prefix + rest), 400, "invalid_token_format")


@pytest.mark.parametrize("text", ["x", "register", "verify-abc", " verify_abc", "0123456789abcdef", "é"])
async def test_a_token_without_the_prefix_is_quoted_by_its_first_ten_characters(busy: Busy, text: str) -> None:
    title = refused(await use(busy, "/signin/verify", text), 400, "invalid_token")["title"]
    assert text[:10] in title
    assert "abcdef" not in title


async def test_the_prefix_counts_in_any_case(busy: Busy) -> None:
    token = await busy.sign_in()
    await busy.verify("VERIFY_" + token.removeprefix("verify_"))
    refused(await busy.ask_verify(token), 400, "token_already_used")


@pytest.mark.parametrize(("path", "member", "prefix"), USES)
async def test_a_token_altered_at_any_byte_is_refused(busy: Busy, path: str, member: str, prefix: str) -> None:
    """CVE-2026-27840: nor does one that was cut short or made longer count."""
    token = await good_token(busy, path)
    raw = from_base64url(token.removeprefix(prefix))
    altered = [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(len(raw))]
    altered += [raw[:length] for length in range(len(raw))]
    altered += [raw + b"\0", b"\0" + raw, raw + raw]
    for each in altered:
        response = await use(busy, path, prefix + to_base64url(each))
        assert 400 == response.status_code
        assert problem_of(response)["errorCode"] in ("invalid_token", "invalid_token_format")


@pytest.mark.parametrize("extra", ["=", "A", "\n", " ", "\\u0000"])
async def test_a_token_has_one_spelling(busy: Busy, extra: str) -> None:
    token = await busy.sign_in()
    response = await post(busy, "/signin/verify", f'{{"token":"{token}{extra}"}}'.encode())
    assert 400 == response.status_code
    problem_of(response)
    await busy.verify(token)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(["verify_", "register_", "session_", "VERIFY_", ""]),
    rest=st.text(max_size=60) | st.binary(max_size=80).map(to_base64url),
)
async def test_any_text_is_a_token_of_nobody(busy: Busy, prefix: str, rest: str) -> None:
    response = await busy.ask_verify(prefix + rest)
    assert 400 == response.status_code
    assert problem_of(response)["errorCode"] in (
        "invalid_token",
        "invalid_token_format",
        "missing_token",
        "malformed_body",
    )
