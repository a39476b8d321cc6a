"""What every answer has in common: paths, headers, CORS, error shapes, pages (sections 2, 4, 8 and 11)."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest

from narthex.http.app import ROUTES
from narthex.http.authenticate import Access
from narthex.ports.records import EventType
from tests.support.application import (
    MANAGEMENT_KEY,
    PUBLIC_URL,
    Application,
    Ceremonies,
    HouseInProcess,
    StrictLimiter,
    accepted,
    problem_of,
    refused,
)

pytestmark = pytest.mark.anyio

TRACE = r"00-[0-9a-f]{32}-[0-9a-f]{16}-01"


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/signin/begin",
        "/signin/begin/",
        "/SignIn/BEGIN",
        "//signin/begin",
        "//signin//begin//",
        "/api/signin/begin",
        "/API/signin/begin/",
        "//api//signin/begin",
    ],
)
async def test_a_path_may_be_spelt_as_clients_join_it(
    house: HouseInProcess, application: Application, path: str
) -> None:
    body = {"origin": "https://example.org", "rpid": "example.org"}
    headers = {"ApiKey": application.public_key}
    accepted(await house.client.post(f"{PUBLIC_URL}{path}", json=body, headers=headers))


@pytest.mark.parametrize("path", ["/nothing", "/api", "/signin", "/signin/begin/more", "/signin.begin", "/%00", "/%ff"])
@pytest.mark.parametrize("headers", [{}, {"ApiKey": "malformed"}])
async def test_an_unknown_path_is_a_404_whatever_the_keys(
    house: HouseInProcess, path: str, headers: dict[str, str]
) -> None:
    refused(await house.client.get(path, headers=headers), 404, "path_not_found")
    refused(await house.client.post(path, headers=headers, content=b"{"), 404, "path_not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_another_method_is_refused_and_told_which_would_do(house: HouseInProcess, method: str) -> None:
    response = await house.client.request(method, "/signin/begin")
    refused(response, 405, "method_not_allowed")
    assert "POST" == response.headers["allow"]


async def test_head_answers_like_get(house: HouseInProcess) -> None:
    assert 200 == (await house.client.head("/health/http")).status_code


# --- headers --------------------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "page": ("GET", "/errors", {}),
    "health": ("GET", "/health/storage", {}),
    "401": ("POST", "/signin/begin", {}),
    "404": ("GET", "/nothing", {}),
    "405": ("PUT", "/signin/begin", {}),
    "400": ("GET", "/health/throw/api", {}),
    "500": ("GET", "/health/throw/exception", {}),
    "preflight": ("OPTIONS", "/signin/begin", {"Access-Control-Request-Method": "POST", "Origin": "https://a.example"}),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_answer_carries_the_security_headers(house: HouseInProcess, kind: str) -> None:
    method, path, headers = ANSWERS[kind]
    response = await house.client.request(method, path, headers=headers)
    assert {
        "content-security-policy": "default-src 'self';",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "access-control-allow-origin": "*",
        "strict-transport-security": "max-age=31536000",
    }.items() <= dict(response.headers).items()
    assert not {"server", "set-cookie", "access-control-allow-credentials"} & response.headers.keys()
    assert 1 == len(response.headers.get_list("access-control-allow-origin"))


async def test_https_is_not_insisted_on_where_the_public_url_has_none(sqlite_url: str) -> None:
    async with HouseInProcess(sqlite_url, public_url="http://localhost:8470") as house:
        assert "strict-transport-security" not in (await house.get("/")).headers


@pytest.mark.parametrize("path", ["/signin/begin", "/admin/apps/demo/create", "/nothing"])
@pytest.mark.parametrize("asked", ["apikey,content-type,client-version", "X-Anything", None])
async def test_any_page_may_call_any_route(house: HouseInProcess, path: str, asked: str | None) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    if asked is not None:
        headers["Access-Control-Request-Headers"] = asked
    response = await house.client.options(path, headers=headers)
    assert (204, b"") == (response.status_code, response.content)
    assert "POST" == response.headers["access-control-allow-methods"]
    assert asked == response.headers.get("access-control-allow-headers")
    assert "content-type" not in response.headers


async def test_success_is_json_with_a_charset(ceremonies: Ceremonies) -> None:
    assert "application/json; charset=utf-8" == (await ceremonies.ask_sign_in()).headers["content-type"]


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=UTF-8", "Application/JSON;x=y"])
async def test_a_body_is_json_with_or_without_a_charset(application: Application, media_type: str) -> None:
    response = await application.secret("/signin/generate-token", {"userId": "a"}, **{"Content-Type": media_type})
    accepted(response)


async def test_what_a_client_accepts_does_not_matter(ceremonies: Ceremonies) -> None:
    response = await ceremonies.application.public("/signin/begin", {}, Accept="image/png")
    assert "Origin is required." == problem_of(response)["title"]


@pytest.mark.parametrize("name", ["HOST", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Forwarded-Prefix"])
async def test_no_header_decides_the_servers_own_address(house: HouseInProcess, name: str) -> None:
    """CVE-2025-64101: a forged host must not reach any link that we hand out."""
    response = await house.client.get("/nothing", headers={name: "evil.example"})
    assert "evil" not in response.text
    assert f"{PUBLIC_URL}/errors#path_not_found" == problem_of(response)["type"]


# --- error shapes ---------------------------------------------------------------------------------------------------


async def test_an_application_error_has_these_members(house: HouseInProcess) -> None:
    problem = problem_of(await house.get("/health/throw/api"))
    assert {"type", "title", "status", "detail", "errorCode", "traceId"} >= problem.keys()
    assert (f"{PUBLIC_URL}/errors#test_error", "test_error") == (problem["type"], problem["errorCode"])
    assert re.fullmatch(TRACE, problem["traceId"])


async def test_a_validation_error_has_these_members(application: Application) -> None:
    problem = problem_of(await application.secret("/signin/generate-token", {}))
    assert {"type", "title", "status", "errors", "errorCode", "traceId"} == problem.keys()
    assert {"userId": ["The UserId field is required."]} == problem["errors"]


async def test_an_unforeseen_error_says_nothing_of_itself(house: HouseInProcess) -> None:
    response = await house.get("/health/throw/exception")
    problem = refused(response, 500, "internal_error")
    assert "somebody asked" not in response.text
    assert "Traceback" not in response.text
    assert problem["title"] == "An error occurred while processing your request."


async def test_a_trace_that_the_caller_began_is_kept(house: HouseInProcess) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    problem = problem_of(await house.get("/health/throw/api", traceparent=f"00-{trace}-00f067aa0ba902b7-01"))
    assert problem["traceId"].startswith(f"00-{trace}-")
    assert "00f067aa0ba902b7" not in problem["traceId"]


@pytest.mark.parametrize(
    "given", ["", "00-0-0-00", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{'Z' * 32}-{'1' * 16}-01"]
)
async def test_a_trace_that_is_none_is_replaced(house: HouseInProcess, given: str) -> None:
    assert re.fullmatch(TRACE, problem_of(await house.get("/health/throw/api", traceparent=given))["traceId"])


# --- health and pages -----------------------------------------------------------------------------------------------


async def test_the_root_says_in_one_sentence_what_this_is(house: HouseInProcess) -> None:
    response = await house.get("/")
    assert (200, "text/plain; charset=utf-8") == (response.status_code, response.headers["content-type"])
    assert "Narthex" in response.text


async def test_health_of_the_process(house: HouseInProcess) -> None:
    response = await house.get("/health/http")
    assert (200, "Healthy") == (response.status_code, response.text)


@pytest.mark.parametrize(("path", "entry"), [("/health/storage", "db"), ("/health/version", "version")])
async def test_health_reports(house: HouseInProcess, path: str, entry: str) -> None:
    response = await house.get(path)
    report = accepted(response)
    assert "application/json; charset=utf-8" == response.headers["content-type"]
    assert ["status", "elapsedMilliseconds", "results"] == list(report)
    assert [entry] == list(report["results"])
    assert {"status", "elapsedMilliseconds", "data"} == report["results"][entry].keys()
    assert "\n  " in response.text, "the report is indented, for people"


async def test_health_of_mail_that_is_not_configured_has_no_results(house: HouseInProcess) -> None:
    response = await house.get("/health/mail")
    report = accepted(response)
    assert "application/json; charset=utf-8" == response.headers["content-type"]
    assert ["status", "elapsedMilliseconds", "results"] == list(report)
    assert ("Healthy", {}) == (report["status"], report["results"])


async def test_health_of_a_database_that_is_away(house: HouseInProcess) -> None:
    await house.root.close()
    response = await house.get("/health/storage")
    assert (503, "Unhealthy") == (response.status_code, response.json()["status"])
    assert int(response.headers["retry-after"]) >= 1


async def test_a_request_while_the_database_is_away_is_told_when_to_come_back(ceremonies: Ceremonies) -> None:
    token = await ceremonies.register()
    await ceremonies.application.client._transport.app._env.root.close()  # type: ignore[attr-defined]
    response = await ceremonies.ask_verify(token)
    refused(response, 503, "storage_unavailable")
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["/swagger/index.html", "/docs", "/errors"])
async def test_pages_need_nothing_inline(house: HouseInProcess, path: str) -> None:
    page = (await house.get(path)).text
    assert not re.search(r"<script|<style|style=|javascript:| on\w+=", page)
    assert "http" not in {link.split(":")[0] for link in re.findall(r"src=['\"]([^'\"]+)", page)}


async def test_links_on_pages_lead_to_pages(house: HouseInProcess) -> None:
    for path in ("/errors", "/docs"):
        for link in re.findall(r"href=['\"](/[^'\"]*)", (await house.get(path)).text):
            assert 200 == (await house.get(link)).status_code, link


async def test_both_paths_of_the_document_give_the_same(house: HouseInProcess) -> None:
    documents = [await house.get(path) for path in ("/openapi.json", "/swagger/v4/swagger.json")]
    assert documents[0].content == documents[1].content
    assert "*" == documents[1].headers["access-control-allow-origin"]


# --- the management API ---------------------------------------------------------------------------------------------


async def create(house: HouseInProcess, app_id: str, body: Any = None) -> Any:
    headers = {"ManagementKey": MANAGEMENT_KEY}
    return await house.client.post(f"/admin/apps/{app_id}/create", json={} if body is None else body, headers=headers)


async def test_a_new_application_gets_two_pairs_of_keys(house: HouseInProcess) -> None:
    keys = accepted(await create(house, "demo"))
    assert ["message", "apiKey1", "apiKey2", "apiSecret1", "apiSecret2"] == list(keys)
    assert "Store keys safely. They will only be shown to you once." == keys["message"]
    for name, kind in (("apiKey", "public"), ("apiSecret", "secret")):
        for number in "12":
            assert re.fullmatch(rf"demo:{kind}:[0-9a-f]{{32}}", keys[name + number])
    assert 4 == len({keys[name][-4:] for name in ("apiKey1", "apiKey2", "apiSecret1", "apiSecret2")})


async def test_both_pairs_work(house: HouseInProcess) -> None:
    application = await house.create_application()
    for public, secret in (
        (application.public_key, application.secret_key),
        (application.other_public_key, application.other_secret_key),
    ):
        await Ceremonies(Application(house.client, "demo", public, secret)).register()


async def test_secret_keys_are_nowhere_in_the_database(house: HouseInProcess) -> None:
    application = await house.create_application()
    kept = str(await house.rows("select key_id, kind, mac, hint, value, scopes from api_key"))
    assert application.public_key in kept
    assert application.secret_key.rpartition(":")[2] not in kept


@pytest.mark.parametrize("app_id", ["abc", "a" * 62, "demo123"])
async def test_an_application_id_is_3_to_62_letters_and_digits(house: HouseInProcess, app_id: str) -> None:
    accepted(await create(house, app_id))


@pytest.mark.parametrize(
    "app_id", ["a", "1", "ab", "1ab", "a" * 63, "Demo", "de-mo", "de_mo", "démo", "a%00bc", "abc%0A", "a%20bc", "a:bc"]
)
async def test_another_application_id_is_a_validation_error(house: HouseInProcess, app_id: str) -> None:
    assert ["appId"] == list(refused(await create(house, app_id), 400, "validation_failed")["errors"])


async def test_an_application_id_is_taken_once_and_the_first_keeps_its_keys(house: HouseInProcess) -> None:
    """CVE-2026-55670: a second tenant never comes to bear the id of the first."""
    application = await house.create_application()
    refused(await create(house, "demo"), 409, "application_exists")
    await Ceremonies(application).register()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("eventLoggingRetentionPeriod", -1),
        ("eventLoggingRetentionPeriod", 366),
        ("magicLinkEmailMonthlyQuota", -1),
        ("maxUsers", -1),
        ("maxUsers", 2**31),
    ],
)
async def test_a_limit_out_of_bounds_is_a_validation_error(house: HouseInProcess, member: str, value: int) -> None:
    assert [member] == list(refused(await create(house, "demo", {member: value}), 400, "validation_failed")["errors"])


async def test_the_making_of_an_application_is_its_first_event(house: HouseInProcess) -> None:
    body = {"adminEmail": "ann@example.org; bob@example.org", "eventLoggingIsEnabled": "true"}
    accepted(await create(house, "demo", body))
    assert [(EventType.ApiManagementAppCreated, 3, "ann@example.org", "demo", "")] == await house.events()


async def test_settings_of_a_new_application_are_those_of_the_body(house: HouseInProcess) -> None:
    body = {
        "ADMINEMAIL": "a@example.org",
        "eventLoggingRetentionPeriod": "30",
        "maxUsers": "5",
        "allowAttestation": True,
        "magicLinkEmailMonthlyQuota": None,
    }
    accepted(await create(house, "demo", body))
    kept = await house.root.tenant("demo").find_application()
    assert kept is not None
    assert (("a@example.org",), 30, 5, True, 0, False) == (
        kept.settings.admin_emails,
        kept.settings.event_retention_days,
        kept.settings.max_users,
        kept.settings.allow_attestation,
        kept.settings.magic_link_monthly_quota,
        kept.settings.event_logging,
    )


# --- tenants --------------------------------------------------------------------------------------------------------


async def test_two_tenants_with_the_same_ids_never_meet(house: HouseInProcess) -> None:
    """Same users, aliases, credential ids and purposes; every token of one is worth nothing to the other."""
    ours, theirs = [Ceremonies(await house.create_application(name)) for name in ("ours", "theirs")]
    same = {"credential_id": bytes(range(32))}
    tokens: dict[str, list[str]] = {"ours": [], "theirs": []}
    for ceremonies in (ours, theirs):
        app_id = ceremonies.application.app_id
        leave = await ceremonies.give_leave("ann", aliases=["a"])
        begun = await ceremonies.begin_registration(leave)
        tokens[app_id] += [await ceremonies.give_leave("ann"), begun.session]
        tokens[app_id].append(accepted(await ceremonies.complete_registration(begun, knobs=same))["token"])
        tokens[app_id].append((await ceremonies.begin_sign_in(alias="a")).session)
    leave, registration, verify, sign_in = tokens["theirs"]
    refused(await ours.ask_registration(leave), 400, "invalid_token")
    refused(await ours.ask_verify(verify), 400, "invalid_token")
    answer = ours.sign_in_body(await ours.begin_sign_in())
    refused(await ours.application.public("/signin/complete", answer | {"session": sign_in}), 400, "invalid_token")
    answer = ours.registration_body(await ours.begin_registration(await ours.give_leave()))
    refused(
        await ours.application.public("/register/complete", answer | {"session": registration}), 400, "invalid_token"
    )
    # Their key made their credential: the same id under our application has our key.
    begun = await ours.begin_sign_in(userId="ann")
    response = await ours.complete_sign_in(begun, credential=theirs.authenticator.credentials[0])
    assert "signature_invalid" == refused(response, 400, "signin_complete_error")["reason"]
    assert "ann" == (await ours.verify(await ours.sign_in(alias="a")))["userId"]
    await theirs.verify(verify)


async def test_an_alias_of_one_tenant_is_free_in_another(house: HouseInProcess) -> None:
    ours, theirs = [Ceremonies(await house.create_application(name)) for name in ("ours", "theirs")]
    await ours.register("ann", aliases=["a"])
    await theirs.register("bob", aliases=["a"])
    assert "bob" == (await theirs.verify(await theirs.sign_in(alias="a")))["userId"]


async def test_no_body_names_the_tenant(house: HouseInProcess) -> None:
    """CVE-2025-61928: who is meant follows from the key alone."""
    ours, theirs = [await house.create_application(name) for name in ("ours", "theirs")]
    body = {"userId": "ann", "username": "ann", "tenant": "theirs", "appId": "theirs", "app_id": "theirs"}
    token = accepted(await ours.secret("/register/token", body))["token"]
    refused(await Ceremonies(theirs).ask_registration(token), 400, "invalid_token")
    await Ceremonies(ours).begin_registration(token)


def test_every_route_that_needs_a_key_has_a_scope() -> None:
    keyed = [spec for spec in ROUTES if spec.access in (Access.PUBLIC_KEY, Access.SECRET_KEY)]
    assert [] == [spec.path for spec in keyed if spec.scope is None]


# --- whom a request comes from --------------------------------------------------------------------------------------


async def test_the_country_is_believed_from_trusted_proxies_only(sqlite_url: str) -> None:
    for trusted, country in (((ip_network("192.0.2.0/24"),), "SE"), ((ip_network("10.0.0.0/8"),), "")):
        async with HouseInProcess(sqlite_url, trusted_proxies=trusted) as house:
            ceremonies = Ceremonies(await house.create_application(f"app{country.lower()}x"))
            begun = await ceremonies.begin_registration(await ceremonies.give_leave())
            body = ceremonies.registration_body(begun)
            token = accepted(await ceremonies.application.public("/register/complete", body, **{"CF-IPCountry": "SE"}))
            assert country == (await ceremonies.verify(token["token"]))["country"]


@pytest.mark.parametrize(
    ("trusted", "forwarded", "group"),
    [
        ([], "203.0.113.9", "192.0.2.1"),
        (["10.0.0.0/8"], "203.0.113.9", "192.0.2.1"),
        (["192.0.2.0/24"], "203.0.113.9", "203.0.113.9"),
        (["192.0.2.0/24"], "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (["192.0.2.0/24", "203.0.113.0/24"], "1.1.1.1, 203.0.113.9", "1.1.1.1"),
        (["192.0.2.0/24"], "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (["192.0.2.0/24"], "not an address", "192.0.2.1"),
        (["192.0.2.0/24"], "", "192.0.2.1"),
        (["192.0.2.0/24"], "::ffff:203.0.113.9", "203.0.113.9"),
        (["192.0.2.0/24", "203.0.113.0/24"], "1.1.1.1, ::ffff:203.0.113.9", "1.1.1.1"),
    ],
)
@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1"])
async def test_limits_count_by_the_address_that_trusted_proxies_saw(
    sqlite_url: str, trusted: list[str], forwarded: str, group: str, peer: str
) -> None:
    """CVE-2026-45364: a header that anybody can write must not choose the bucket, nor one customer's /64 be many."""
    limiter = StrictLimiter(wait_s=7)
    networks = tuple(ip_network(each) for each in trusted)
    async with HouseInProcess(sqlite_url, trusted_proxies=networks, limiter=limiter, peer=peer) as house:
        response = await house.client.post("/signin/begin", json={}, headers={"X-Forwarded-For": forwarded})
        refused(response, 429, "rate_limited")
        assert "7" == response.headers["retry-after"]
    assert [("public-key-calls-of-address", group)] == limiter.counted
