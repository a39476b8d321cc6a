"""The official Python SDK, unmodified, as a customer's backend uses it.

It reads answers strictly: a member that it expects and that is null, or not there, ends in an exception.
"""

from __future__ import annotations

import warnings
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from passwordless import (
    GenerateAuthenticationTokenOptions,
    PasswordlessClient,
    PasswordlessClientBuilder,
    PasswordlessError,
    PasswordlessOptions,
    PasswordlessProblemDetails,
    RegisterToken,
    VerifiedUser,
    VerifySignIn,
)

from tests.acceptance.ceremonies import ORIGIN, RP_ID, Page
from tests.support.server import AppKeys, RunningServer


def client_of(server: RunningServer, secret: str) -> PasswordlessClient:
    return PasswordlessClientBuilder(PasswordlessOptions(api_secret=secret, api_url=server.base_url)).build()


@pytest.fixture
def sdk(server: RunningServer, app: AppKeys) -> PasswordlessClient:
    return client_of(server, app.secret)


def register_options(**options: Any) -> RegisterToken:
    """What a backend asks for; the SDK's own default for the expiry is a naive instant in UTC, and so is ours."""
    in_two_minutes = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=2)
    return RegisterToken(**{"user_id": "user-1", "username": "ann", "expires_at": in_two_minutes, **options})


def enrolled(sdk: PasswordlessClient, page: Page, **options: Any) -> VerifiedUser:
    return sdk.sign_in(VerifySignIn(page.register(sdk.register_token(register_options(**options)).token)))


def refusal_of(problem: pytest.ExceptionInfo[PasswordlessError]) -> PasswordlessProblemDetails:
    return problem.value.problem_details


def test_a_registration_with_the_fewest_options(sdk: PasswordlessClient, page: Page) -> None:
    with warnings.catch_warnings():
        # Its default for the expiry calls `datetime.utcnow`, which newer Pythons warn of.
        warnings.simplefilter("ignore", DeprecationWarning)
        token = sdk.register_token(RegisterToken(user_id="user-1", username="ann")).token
    assert token.startswith("register_")
    assert sdk.sign_in(VerifySignIn(page.register(token))).user_id == "user-1"


def test_a_registration_with_every_option(sdk: PasswordlessClient, page: Page) -> None:
    options = register_options(
        display_name="Ann",
        attestation="none",
        authenticator_type="cross-platform",
        discoverable=False,
        user_verification="required",
        aliases=["ann@example.org", "ann"],
        alias_hashing=False,
    )
    begun = page.begin_registration(sdk.register_token(options).token)["data"]
    assert {"name": "ann", "displayName": "Ann", "id": "dXNlci0x"} == begun["user"]
    assert {
        "authenticatorAttachment": "cross-platform",
        "residentKey": "discouraged",
        "requireResidentKey": False,
        "userVerification": "required",
    } == begun["authenticatorSelection"]


def test_a_registered_passkey_is_read_whole(sdk: PasswordlessClient, page: Page) -> None:
    token = sdk.register_token(register_options()).token
    user = sdk.sign_in(VerifySignIn(page.register(token, nickname="Laptop")))
    assert (True, "user-1", "passkey_register", "Laptop") == (user.success, user.user_id, user.type, user.nickname)
    assert (ORIGIN, RP_ID, "") == (user.origin, user.rp_id, user.country)
    assert page.authenticator.credentials[0].credential_id == b64decode(user.credential_id)
    assert timedelta(seconds=120) == user.expires_at - user.timestamp
    assert UUID(user.token_id).version == 7


@pytest.mark.parametrize("whom", [{"userId": "user-1"}, {"alias": "ann@example.org"}, {}])
def test_a_sign_in_is_read_whole(sdk: PasswordlessClient, page: Page, whom: dict[str, str]) -> None:
    made = enrolled(sdk, page, aliases=["ann@example.org"])
    user = sdk.sign_in(VerifySignIn(page.sign_in(**whom)))
    assert (True, "user-1", "passkey_signin") == (user.success, user.user_id, user.type)
    assert (ORIGIN, RP_ID, made.credential_id) == (user.origin, user.rp_id, user.credential_id)


@pytest.mark.parametrize(("asked_s", "lives_s"), [(None, 120), (30, 30), (604_800, 604_800)])
def test_a_token_made_by_hand_is_read_whole(sdk: PasswordlessClient, asked_s: int | None, lives_s: int) -> None:
    """No passkey, so no origin, device or credential; the SDK cannot read null for them."""
    options = GenerateAuthenticationTokenOptions(user_id="user-1", time_to_live=asked_s)
    user = sdk.sign_in(VerifySignIn(sdk.generate_authentication_token(options).token))
    assert (True, "user-1", "generated_signin") == (user.success, user.user_id, user.type)
    assert ("", "", "", "") == (user.origin, user.device, user.country, user.credential_id)
    assert timedelta(seconds=lives_s) == user.expires_at - user.timestamp


def test_a_wrong_secret_raises_the_sdks_error(server: RunningServer, app: AppKeys) -> None:
    stranger = client_of(server, f"{app.app_id}:secret:{'0' * 32}")
    with pytest.raises(PasswordlessError) as raised:
        stranger.register_token(register_options())
    problem = refusal_of(raised)
    assert (401, "A valid 'ApiSecret' header is required.") == (problem.status, problem.title)
    assert "The value of your 'ApiSecret' is not valid." == problem.detail
    assert problem.type.endswith("/errors#ApiSecret")


def test_a_bad_token_raises_the_sdks_error(sdk: PasswordlessClient) -> None:
    with pytest.raises(PasswordlessError) as raised:
        sdk.sign_in(VerifySignIn("verify_something!"))
    problem = refusal_of(raised)
    assert (400, True) == (problem.status, problem.type.endswith("/errors#invalid_token_format"))
    assert problem.title
    assert problem.detail


def test_a_spent_token_raises_the_sdks_error(sdk: PasswordlessClient, page: Page) -> None:
    enrolled(sdk, page)
    token = VerifySignIn(page.sign_in())
    sdk.sign_in(token)
    with pytest.raises(PasswordlessError) as raised:
        sdk.sign_in(token)
    assert 400 == refusal_of(raised).status


def test_an_expired_register_token_raises_nothing_until_it_is_used(sdk: PasswordlessClient, page: Page) -> None:
    """The past is accepted here, as by the reference: the page learns of it."""
    token = sdk.register_token(register_options(expires_at=datetime(2026, 1, 2))).token  # noqa: DTZ001 - as the SDK does
    with pytest.raises(AssertionError, match="expired_token"):
        page.begin_registration(token)


def test_what_fails_validation_names_the_members(sdk: PasswordlessClient) -> None:
    with pytest.raises(PasswordlessError) as raised:
        sdk.register_token(register_options(user_id=" "))
    problem = refusal_of(raised)
    assert (400, {"userId": ["The UserId field is required."]}) == (problem.status, problem.errors)


def test_an_alias_of_somebody_else_is_a_conflict(sdk: PasswordlessClient, page: Page) -> None:
    enrolled(sdk, page, aliases=["ann"])
    with pytest.raises(PasswordlessError) as raised:
        sdk.register_token(register_options(user_id="user-2", aliases=["ann"]))
    assert (409, True) == (refusal_of(raised).status, refusal_of(raised).type.endswith("/errors#alias_conflict"))
