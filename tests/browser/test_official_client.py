"""The official JavaScript client, unmodified, in a real browser, against the real server.

Each test says what the page got from the client and what the backend learnt of it. The page's origin is another
than the server's, so that all of it crosses origins. A console error that a test does not expect fails it.
"""

from __future__ import annotations

import re
import sqlite3
from base64 import b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.acceptance.mailbox import Mailbox
from tests.browser.conftest import Backend, Visitor, Visits
from tests.support.postgres import Cluster
from tests.support.server import AppKeys, RunningServer, running_server

pytestmark = pytest.mark.xdist_group("browser")

REFUSED = "Failed to load resource: the server responded with a status of "


def credential_ids(visitor: Visitor) -> list[str]:
    """What the authenticator keeps, as the backend is told of it: in standard base64."""
    return [credential["credentialId"] for credential in visitor.authenticator.credentials()]


def client_error(answer: dict[str, Any], beginning: str) -> bool:
    """Whether the client gave up by itself, for a reason that begins so."""
    error = answer["error"]
    return error["from"] == "client" and error["errorCode"] == "unknown" and error["title"].startswith(beginning)


# --- registration ---------------------------------------------------------------------------------------------------


def test_a_passkey_is_registered_with_its_nickname(visitor: Visitor, backend: Backend) -> None:
    answer = visitor.call("register", backend.register_token("user-1"), "Laptop of Ann")
    verified = backend.verify(answer["token"])
    expected = {
        "success": True,
        "userId": "user-1",
        "type": "passkey_register",
        "nickname": "Laptop of Ann",
        "origin": visitor.origin,
        "rpId": "localhost",
        "purpose": None,
        "credentialId": credential_ids(visitor)[0],
    }
    assert {"token"} == answer.keys()
    assert expected == {name: verified[name] for name in expected}


def test_a_passkey_needs_no_nickname(visitor: Visitor, backend: Backend) -> None:
    answer = visitor.call("register", backend.register_token())
    assert backend.verify(answer["token"])["nickname"] is None


def test_the_authenticator_keeps_the_user_whom_the_backend_named(visitor: Visitor, backend: Backend) -> None:
    visitor.call("register", backend.register_token("user-1", username="ann@example.com", displayName="Ann"))
    [kept] = visitor.authenticator.credentials()
    assert b64decode(kept["userHandle"]) == b"user-1"
    assert (kept["rpId"], kept["userName"], kept["userDisplayName"]) == ("localhost", "ann@example.com", "Ann")


def test_a_second_passkey_on_the_same_authenticator_is_refused_by_it(member: Visitor, backend: Backend) -> None:
    answer = member.call("register", backend.register_token("user-1"), "Again")
    assert client_error(answer, "The user attempted to register an authenticator that contains one of the credentials")
    member.expect_errors("InvalidStateError:", "{from: client")
    assert len(credential_ids(member)) == 1


def test_a_second_user_of_the_same_authenticator_is_not_refused(member: Visitor, backend: Backend) -> None:
    answer = member.call("register", backend.register_token("user-2"))
    assert backend.verify(answer["token"])["userId"] == "user-2"
    assert len(credential_ids(member)) == 2


def test_a_register_token_makes_one_passkey(visit: Visits, backend: Backend) -> None:
    first, second = visit(backend), visit(backend)
    token = backend.register_token()
    assert first.call("register", token).keys() == {"token"}
    error = second.call("register", token)["error"]
    assert ("server", 400, "token_already_used") == (error["from"], error["status"], error["errorCode"])
    second.expect_errors(f"{REFUSED}400", "{type: ")


def test_an_expired_register_token_is_refused_with_its_age(visitor: Visitor, backend: Backend) -> None:
    answer = visitor.call("register", backend.register_token(expiresAt="2026-01-02T03:04:05Z"))
    error = answer["error"]
    assert (error["from"], error["status"], error["errorCode"]) == ("server", 403, "expired_token")
    assert re.fullmatch(r"The token expired .+ ago\.", error["title"])
    assert error["type"].endswith("/errors#expired_token")
    visitor.expect_errors(f"{REFUSED}403", "{type: ")


# --- sign-in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("signinWithId", ["user-1"]),
        ("signinWithAlias", ["ann@example.com"]),
        ("signinWithDiscoverable", []),
        ("signinWithAutofill", []),
    ],
)
def test_a_member_signs_in(member: Visitor, backend: Backend, method: str, arguments: list[str]) -> None:
    answer = member.call(method, *arguments)
    verified = backend.verify(answer["token"])
    expected = {
        "success": True,
        "userId": "user-1",
        "type": "passkey_signin",
        "purpose": "sign-in",
        "nickname": "Laptop",
        "origin": member.origin,
        "rpId": "localhost",
        "credentialId": credential_ids(member)[0],
    }
    assert {"token"} == answer.keys()
    assert expected == {name: verified[name] for name in expected}


def test_a_button_ends_the_wait_of_autofill(member: Visitor, backend: Backend) -> None:
    """Login pages start autofill at once, and offer a button: the client gives up the one for the other."""
    member.authenticator.set_presence(False)
    member.start("signinWithAutofill")
    assert member.is_waiting()
    member.authenticator.set_presence(True)
    answer = member.call("signinWithId", "user-1")
    assert backend.verify(answer["token"])["userId"] == "user-1"
    assert client_error(member.finish(), "signal is aborted")
    member.expect_errors("AbortError:", "{from: client")


def test_an_alias_that_nobody_has_signs_in_whoever_holds_a_passkey(member: Visitor, backend: Backend) -> None:
    """An unknown alias is no error: it becomes a discoverable sign-in, and the backend learns whose passkey it was."""
    answer = member.call("signinWithAlias", "nobody@example.com")
    assert backend.verify(answer["token"])["userId"] == "user-1"


def test_an_authenticator_without_the_passkey_does_not_sign_in(
    member: Visitor, visit: Visits, backend: Backend
) -> None:
    stranger = visit(backend)
    stranger.start("signinWithId", "user-1")
    if stranger.is_waiting():
        stranger.call("abort")
    assert "client" == stranger.finish()["error"]["from"]
    stranger.expect_errors("", "{from: client")


# --- step-up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [{"userId": "user-1"}, {"alias": "ann@example.com"}, {"discoverable": True}])
def test_a_step_up_says_that_it_is_one(member: Visitor, backend: Backend, method: dict[str, Any]) -> None:
    answer = member.call("stepup", {"signinMethod": method})
    verified = backend.verify(answer["token"])
    assert {"token"} == answer.keys()
    assert ("step-up", "passkey_signin", "user-1") == (verified["purpose"], verified["type"], verified["userId"])


def test_a_purpose_that_the_server_does_not_know_is_a_sign_in(member: Visitor, backend: Backend) -> None:
    """Whoever asks for `pay` without having set it up must not see `pay` in the answer."""
    answer = member.call("stepup", {"signinMethod": {"userId": "user-1"}, "purpose": "pay"})
    assert "sign-in" == backend.verify(answer["token"])["purpose"]


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_finger_that_is_not_known_makes_no_passkey(visitor: Visitor, backend: Backend) -> None:
    visitor.authenticator.set_user_verified(False)
    answer = visitor.call("register", backend.register_token(userVerification="required"))
    assert client_error(answer, "The operation either timed out or was not allowed")
    visitor.expect_errors("NotAllowedError:", "{from: client")
    assert credential_ids(visitor) == []


def test_a_finger_that_is_not_known_does_not_step_up(member: Visitor, backend: Backend) -> None:
    member.authenticator.set_user_verified(False)
    answer = member.call("stepup", {"signinMethod": {"userId": "user-1"}})
    assert client_error(answer, "The operation either timed out or was not allowed")
    member.expect_errors("NotAllowedError:", "{from: client")


def test_a_cancelled_prompt_is_an_error_and_may_be_tried_again(member: Visitor, backend: Backend) -> None:
    member.authenticator.set_presence(False)
    member.start("signinWithId", "user-1")
    assert member.is_waiting()
    member.call("abort")
    assert client_error(member.finish(), "signal is aborted")
    member.expect_errors("AbortError:", "{from: client")
    member.authenticator.set_presence(True)
    assert backend.verify(member.call("signinWithId", "user-1")["token"])["userId"] == "user-1"


def test_a_passkey_that_the_server_forgot_is_named_in_the_refusal(
    member: Visitor, server: RunningServer, backend: Backend
) -> None:
    """So that a page can tell the browser to forget it too (L3 #sctn-signalMethods)."""
    kept = b64decode(credential_ids(member)[0])
    database = sqlite3.connect(server.data_dir / "narthex.db")
    with database:
        assert database.execute("delete from credential where credential_id = ?", [kept]).rowcount == 1
    database.close()
    error = member.call("signinWithDiscoverable")["error"]
    assert (error["from"], error["status"], error["errorCode"]) == ("server", 400, "unknown_credential")
    assert "We don't recognize the passkey you sent us." == error["title"]
    assert urlsafe_b64encode(kept).rstrip(b"=").decode() == error["credentialId"]
    member.expect_errors(f"{REFUSED}400")


def test_a_passkey_of_one_application_is_unknown_to_another(
    member: Visitor, server: RunningServer, backend: Backend
) -> None:
    other = server.create_app(f"{backend.keys.app_id}other")
    member.configure(apiKey=other.public)
    assert "unknown_credential" == member.call("signinWithDiscoverable")["error"]["errorCode"]
    member.expect_errors(f"{REFUSED}400")


def test_a_wrong_key_is_explained_across_origins(visitor: Visitor, backend: Backend) -> None:
    visitor.configure(apiKey=f"{backend.keys.app_id}:public:{'0' * 32}")
    error = visitor.call("signinWithDiscoverable")["error"]
    assert {
        "from": "server",
        "status": 401,
        "title": "A valid 'ApiKey' header is required.",
        "detail": "The value of your 'ApiKey' is not valid.",
        "errorCode": "key_required",
    } == {name: error[name] for name in ("from", "status", "title", "detail", "errorCode")}
    visitor.expect_errors(f"{REFUSED}401")


def test_a_secret_key_in_a_page_is_called_what_it_is(visitor: Visitor, backend: Backend) -> None:
    visitor.configure(apiKey=backend.keys.secret)
    error = visitor.call("register", backend.register_token())["error"]
    assert (401, "Your ApiKey header contained a ApiSecret instead of your 'ApiKey'.") == (
        error["status"],
        error["detail"],
    )
    visitor.expect_errors(f"{REFUSED}401", "{type: ")


# --- where the page and the server are ------------------------------------------------------------------------------


def test_pages_at_a_listed_origin_get_in_and_others_do_not(
    server: RunningServer, visit: Visits, site: str, other_site: str
) -> None:
    printed = server.run_command("app", "create", "listed", "--origin", site)
    public, secret, *_ = re.findall(r"listed:\w+:[0-9a-f]{32}", printed)
    backend = Backend(server.base_url, AppKeys("listed", public, secret, "", ""))
    at_home, elsewhere = visit(backend), visit(backend, origin=other_site)
    assert backend.verify(at_home.call("register", backend.register_token())["token"])["origin"] == site
    for error in (
        elsewhere.call("register", backend.register_token())["error"],
        elsewhere.call("signinWithDiscoverable")["error"],
    ):
        assert ("server", 400, "origin_not_allowed") == (error["from"], error["status"], error["errorCode"])
        assert other_site in error["title"]
    elsewhere.expect_errors(f"{REFUSED}400", "{type: ", f"{REFUSED}400")


@pytest.mark.parametrize("suffix", ["/", "/api", "/api/"])
def test_the_address_may_end_in_a_slash_or_in_api(
    visit: Visits, server: RunningServer, backend: Backend, suffix: str
) -> None:
    """The client joins with a slash of its own, and self-hosted references live under `/api`."""
    visitor = visit(backend, apiUrl=server.base_url + suffix)
    visitor.call("register", backend.register_token())
    assert backend.verify(visitor.call("signinWithId", "user-1")["token"])["userId"] == "user-1"


def test_ceremonies_at_once_do_not_disturb_each_other(visit: Visits, backend: Backend) -> None:
    """One user with a passkey for each window: all registered at once, then all signed in at once."""
    windows = [visit(backend) for _ in range(4)]
    for number, window in enumerate(windows):
        window.start("register", backend.register_token("user-1"), f"Window {number}")
    registered = [backend.verify(window.finish()["token"]) for window in windows]
    for window in windows:
        window.start("signinWithId", "user-1")
    signed_in = [backend.verify(window.finish()["token"]) for window in windows]
    nicknames = [f"Window {number}" for number in range(4)]
    assert nicknames == [verified["nickname"] for verified in registered]
    assert nicknames == [verified["nickname"] for verified in signed_in]


def test_a_passkey_lives_on_postgresql_too(postgres_cluster: Cluster, visit: Visits) -> None:
    with running_server(postgres_cluster.create_database("browser")) as server:
        backend = Backend(server.base_url, server.create_app("demo"))
        visitor = visit(backend)
        made = backend.verify(visitor.call("register", backend.register_token(aliases=["ann"]), "Laptop")["token"])
        used = [
            backend.verify(visitor.call(method, *arguments)["token"])
            for method, arguments in (
                ("signinWithId", ["user-1"]),
                ("signinWithAlias", ["ann"]),
                ("signinWithDiscoverable", []),
                ("signinWithAutofill", []),
                ("stepup", [{"signinMethod": {"userId": "user-1"}}]),
            )
        ]
        assert {made["credentialId"]} == {verified["credentialId"] for verified in used}
        assert ["sign-in"] * 4 + ["step-up"] == [verified["purpose"] for verified in used]
    postgres_cluster.drop_database("browser")


# --- what the backend changes, and the page then meets ---------------------------------------------------------------


def manage(backend: Backend, path: str, **members: Any) -> None:
    """Let the customer's backend change something."""
    answer = httpx.post(backend.base_url + path, headers={"ApiSecret": backend.keys.secret}, json=members)
    assert answer.is_success, answer.text


def lock(server: RunningServer, app_id: str, key: str) -> None:
    """Let the operator lock a key."""
    path = f"{server.base_url}/admin/apps/{app_id}/api-keys/{key[-4:]}/lock"
    assert httpx.post(path, headers={"ManagementKey": server.management_key}).is_success


def test_a_passkey_that_the_backend_deleted_is_named_in_the_refusal(member: Visitor, backend: Backend) -> None:
    [kept] = [urlsafe_b64encode(b64decode(text)).rstrip(b"=").decode() for text in credential_ids(member)]
    manage(backend, "/credentials/delete", credentialId=kept)
    error = member.call("signinWithDiscoverable")["error"]
    assert ("server", "unknown_credential", kept) == (error["from"], error["errorCode"], error["credentialId"])
    member.expect_errors(f"{REFUSED}400")


def test_a_user_whom_the_backend_deleted_signs_in_no_more_and_may_come_again(member: Visitor, backend: Backend) -> None:
    """The old passkey stays with the authenticator, and is no reason for it to make no new one."""
    manage(backend, "/users/delete", userId="user-1")
    assert "unknown_credential" == member.call("signinWithId", "user-1")["error"]["errorCode"]
    member.expect_errors(f"{REFUSED}400")
    made = backend.verify(member.call("register", backend.register_token(), "Anew")["token"])
    used = backend.verify(member.call("signinWithId", "user-1")["token"])
    assert (made["credentialId"], "Anew") == (used["credentialId"], used["nickname"])


def test_an_alias_that_the_backend_moved_names_the_other_user(member: Visitor, backend: Backend) -> None:
    member.call("register", backend.register_token("user-2"))
    manage(backend, "/alias", userId="user-1", aliases=[])
    manage(backend, "/alias", userId="user-2", aliases=["ann@example.com"])
    answer = member.call("signinWithAlias", "ann@example.com")
    assert "user-2" == backend.verify(answer["token"])["userId"]


def test_a_step_up_for_a_purpose_that_was_configured_says_so(member: Visitor, backend: Backend) -> None:
    manage(
        backend,
        "/auth-configs/add",
        purpose="pay",
        userVerificationRequirement="required",
        timeToLive="00:00:30",
        performedBy="ann",
    )
    step_up = {"signinMethod": {"alias": "ann@example.com"}, "purpose": "pay"}
    assert "pay" == backend.verify(member.call("stepup", step_up)["token"])["purpose"]
    member.authenticator.set_user_verified(False)
    assert client_error(member.call("stepup", step_up), "The operation either timed out or was not allowed")
    member.expect_errors("NotAllowedError:", "{from: client")


def test_a_step_up_may_come_from_autofill(member: Visitor, backend: Backend) -> None:
    answer = member.call("stepup", {"signinMethod": {"autofill": True}})
    assert "step-up" == backend.verify(answer["token"])["purpose"]


def test_a_step_up_without_a_method_is_the_clients_own_error(member: Visitor) -> None:
    assert client_error(member.call("stepup", {}), "You need to provide the signinMethod")
    member.expect_errors("Error: You need to provide the signinMethod", "{from: client")


def test_a_locked_key_is_explained_across_origins(member: Visitor, server: RunningServer, backend: Backend) -> None:
    lock(server, backend.keys.app_id, backend.keys.public)
    error = member.call("signinWithId", "user-1")["error"]
    assert ("server", 401, "A valid 'ApiKey' header is required.") == (error["from"], error["status"], error["title"])
    member.expect_errors(f"{REFUSED}401")
    member.configure(apiKey=backend.keys.second_public)
    assert "user-1" == backend.verify(member.call("signinWithId", "user-1")["token"])["userId"]


@pytest.mark.parametrize(
    ("token", "code"),
    [("register_something!", "invalid_token_format"), ("verify_k8QgAAAA", "invalid_token"), (None, "missing_token")],
)
def test_what_is_no_register_token_is_refused_by_name(visitor: Visitor, token: str | None, code: str) -> None:
    error = visitor.call("register", token)["error"]
    assert ("server", 400, code) == (error["from"], error["status"], error["errorCode"])
    assert error["title"]
    visitor.expect_errors(f"{REFUSED}400", "{type: ")


def test_a_nickname_that_is_too_long_is_refused_with_the_sentence_to_show(visitor: Visitor, backend: Backend) -> None:
    error = visitor.call("register", backend.register_token(), "n" * 65)["error"]
    assert ("server", 400) == (error["from"], error["status"])
    assert {"nickname": ["Nickname cannot be longer than 64 characters."]} == error["errors"]
    visitor.expect_errors(f"{REFUSED}400")


def test_a_wrapper_may_put_its_version_before_the_clients(member: Visitor, backend: Backend) -> None:
    """The header is one that browsers ask leave for, whatever it says."""
    member.page.evaluate("() => { client.clientVersion = 'blazor-1.2.3' }")
    assert "blazor-1.2.3+js-1.1.0" == member.page.evaluate("() => client.clientVersion")
    assert "user-1" == backend.verify(member.call("signinWithId", "user-1")["token"])["userId"]


def test_the_client_knows_what_the_browser_can_do(visitor: Visitor) -> None:
    assert [True, True, True] == [
        visitor.call(method) for method in ("isBrowserSupported", "isPlatformSupported", "isAutofillSupported")
    ]


def test_a_magic_link_is_clicked_and_leads_to_the_customers_page(browser: Browser, site: str, tmp_path: Path) -> None:
    """From the mail to the token, under the policy that the server's page has in a real browser."""
    with running_server(mail=tmp_path, mail_from="passkeys@shop.example.org", new_application_hold=0) as server:
        backend = Backend(server.base_url, server.create_app("demo", magicLinkEmailMonthlyQuota=100))
        manage(
            backend, "/magic-links/send", emailAddress="ann@example.com", urlTemplate=f"{site}/#$TOKEN", userId="user-1"
        )
        page = browser.new_page()
        shown: list[str] = []
        page.on("console", lambda message: shown.append(message.text))
        page.on("pageerror", lambda error: shown.append(str(error)))
        page.goto(Mailbox(tmp_path).link_to("ann@example.com"))
        assert "Sign in to localhost" == page.get_by_role("heading").inner_text()
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site}/#verify_*")
        verified = backend.verify(page.url.partition("#")[2])
        assert ("user-1", "magic_link") == (verified["userId"], verified["type"])
        assert [] == shown
        page.close()


def test_refusals_are_the_same_on_postgresql(postgres_cluster: Cluster, visit: Visits) -> None:
    with running_server(postgres_cluster.create_database("browser_refusals")) as server:
        backend = Backend(server.base_url, server.create_app("demo"))
        visitor = visit(backend)
        made = backend.verify(visitor.call("register", backend.register_token(aliases=["ann"]))["token"])
        kept = urlsafe_b64encode(b64decode(made["credentialId"])).rstrip(b"=").decode()
        manage(backend, "/credentials/delete", credentialId=kept)
        unknown = visitor.call("signinWithAlias", "ann")["error"]
        assert (400, "unknown_credential", kept) == (
            unknown["status"],
            unknown["errorCode"],
            unknown["credentialId"],
        )
        lock(server, "demo", backend.keys.public)
        assert 401 == visitor.call("signinWithId", "user-1")["error"]["status"]
        visitor.expect_errors(f"{REFUSED}400", f"{REFUSED}401")
    postgres_cluster.drop_database("browser_refusals")
