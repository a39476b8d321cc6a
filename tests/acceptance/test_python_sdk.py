"""The official Python SDK, unmodified, as a customer's backend uses it.

It reads answers strictly: a member that it expects and that is null, or not there, ends in an exception.
"""

from __future__ import annotations

import time
import warnings
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import httpx
import pytest
from passwordless import (
    Alias,
    CredentialDescriptor,
    DeleteCredential,
    DeleteUser,
    GenerateAuthenticationTokenOptions,
    PasswordlessClient,
    PasswordlessClientBuilder,
    PasswordlessError,
    PasswordlessOptions,
    PasswordlessProblemDetails,
    RegisterToken,
    SendMagicLinkOptions,
    SetAlias,
    UpdateAppsFeature,
    UserSummary,
    VerifiedUser,
    VerifySignIn,
)

from tests.acceptance.ceremonies import DEVICE, ORIGIN, RP_ID, Page
from tests.acceptance.conftest import MAIL_QUOTA, SENDER
from tests.acceptance.mailbox import URL_TEMPLATE, Mailbox, click, look_at, token_of
from tests.support.authenticator import b64u
from tests.support.server import AppKeys, RunningServer, running_server


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


def app_id_of(sdk: PasswordlessClient) -> str:
    secret: str = sdk.options.api_secret  # type: ignore[attr-defined]
    return secret.partition(":")[0]


def refused(sdk_call: Any, *arguments: Any) -> tuple[int, str]:
    """Status and code of the error that a call of the SDK raises; it finds the code in the type, and nowhere else."""
    with pytest.raises(PasswordlessError) as raised:
        sdk_call(*arguments)
    problem = refusal_of(raised)
    assert problem.title
    assert problem.error_code is None
    return problem.status, problem.type.rpartition("/errors#")[2]


def refused_status(sdk_call: Any, *arguments: Any) -> int:
    with pytest.raises(PasswordlessError) as raised:
        sdk_call(*arguments)
    return refusal_of(raised).status


def wrong_members(sdk_call: Any, *arguments: Any) -> dict[str, list[str]] | None:
    """What an error of validation says of each member."""
    with pytest.raises(PasswordlessError) as raised:
        sdk_call(*arguments)
    assert (400, "One or more validation errors occurred.") == (refusal_of(raised).status, refusal_of(raised).title)
    return refusal_of(raised).errors


def switch(sdk: PasswordlessClient, **features: bool) -> None:
    """Switch features of the application: the SDK has no member for these."""
    options = sdk.options  # type: ignore[attr-defined]
    answer = httpx.post(f"{options.api_url}/apps/features", headers={"ApiSecret": options.api_secret}, json=features)
    assert 204 == answer.status_code, answer.text


# --- passkeys are made and used -------------------------------------------------------------------------------------


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
    assert (ORIGIN, RP_ID, DEVICE, "") == (user.origin, user.rp_id, user.device, user.country)
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


# --- aliases --------------------------------------------------------------------------------------------------------


def alias_of(app: AppKeys, alias: str, *, plaintext: str | None = None) -> Alias:
    """An alias of `user-1` as the compatible API lists it: by the hash of the application's id and the alias."""
    name = b64encode(sha256(f"{app.app_id}{alias}".encode()).digest()).decode()
    return Alias(user_id="user-1", alias=name, tenant=app.app_id, plaintext=plaintext)


def test_aliases_are_listed_by_their_hashes(sdk: PasswordlessClient, app: AppKeys) -> None:
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["ann@example.org"]))
    assert [alias_of(app, "ann@example.org")] == sdk.get_aliases("user-1")


def test_aliases_that_are_not_hashed_are_listed_in_clear(sdk: PasswordlessClient, app: AppKeys) -> None:
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["ann", "ann@example.org"], hashing=False))
    expected = [alias_of(app, name, plaintext=name) for name in ("ann", "ann@example.org")]
    assert expected == sorted(sdk.get_aliases("user-1"), key=lambda alias: alias.plaintext or "")


def test_aliases_replace_those_of_before(sdk: PasswordlessClient, app: AppKeys) -> None:
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["ann", "annie"]))
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["anna"]))
    assert [alias_of(app, "anna")] == sdk.get_aliases("user-1")
    sdk.set_alias(SetAlias(user_id="user-1", aliases=[]))
    assert [] == sdk.get_aliases("user-1")


def test_an_alias_of_a_token_is_listed_as_one_that_was_set(sdk: PasswordlessClient, app: AppKeys, page: Page) -> None:
    enrolled(sdk, page, aliases=["ann"], alias_hashing=False)
    assert [alias_of(app, "ann", plaintext="ann")] == sdk.get_aliases("user-1")


def test_a_new_alias_signs_in_and_the_old_one_does_not(sdk: PasswordlessClient, page: Page) -> None:
    """An alias that nobody has names no credential, which a page sees as a request for any passkey."""
    made = enrolled(sdk, page, aliases=["ann"])
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["anna"]))
    assert made.credential_id == sdk.sign_in(VerifySignIn(page.sign_in(alias="anna"))).credential_id
    assert 1 == len(page.begin_sign_in(alias="anna")["data"]["allowCredentials"])
    assert [] == page.begin_sign_in(alias="ann")["data"]["allowCredentials"]


def test_a_user_id_with_any_characters_has_aliases(sdk: PasswordlessClient) -> None:
    for user_id in ("a+b&c=d", "ann@example.org", "Åsa /?#%41"):
        sdk.set_alias(SetAlias(user_id=user_id, aliases=[f"alias of {user_id}"]))
        assert [user_id] == [alias.user_id for alias in sdk.get_aliases(user_id)]


def test_an_alias_that_somebody_else_has_is_a_conflict_and_changes_nothing(
    sdk: PasswordlessClient, app: AppKeys
) -> None:
    sdk.set_alias(SetAlias(user_id="user-2", aliases=["ann"]))
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["anna"]))
    taken = SetAlias(user_id="user-1", aliases=["annie", "ann"])
    assert (409, "alias_conflict") == refused(sdk.set_alias, taken)
    assert [alias_of(app, "anna")] == sdk.get_aliases("user-1")


def test_aliases_of_another_application_are_no_conflict(sdk: PasswordlessClient, server: RunningServer) -> None:
    other = server.create_app("neighbour" + app_id_of(sdk))
    sdk.set_alias(SetAlias(user_id="user-1", aliases=["ann"]))
    client_of(server, other.secret).set_alias(SetAlias(user_id="user-2", aliases=["ann"]))
    assert [] == sdk.get_aliases("user-2")


@pytest.mark.parametrize("aliases", [[f"alias {number}" for number in range(11)], ["a" * 251], [" "]])
def test_aliases_that_are_too_many_too_long_or_blank_are_refused(sdk: PasswordlessClient, aliases: list[str]) -> None:
    assert ["aliases"] == list(wrong_members(sdk.set_alias, SetAlias(user_id="user-1", aliases=aliases)) or {})
    assert [] == sdk.get_aliases("user-1")


@pytest.mark.parametrize(
    ("alias", "code"),
    [
        ("p\u0430ypal", "alias_confusable"),
        ("an\u200bn", "alias_invisible_characters"),
        ("ann ", "alias_whitespace"),
        ("a\u030asa", "alias_not_normalized"),
    ],
)
def test_an_alias_that_looks_like_another_is_refused(sdk: PasswordlessClient, alias: str, code: str) -> None:
    assert (400, code) == refused(sdk.set_alias, SetAlias(user_id="user-1", aliases=["anna", alias]))
    assert [] == sdk.get_aliases("user-1")


def test_whose_aliases_must_be_said(sdk: PasswordlessClient) -> None:
    missing = {"userId": ["The UserId field is required."]}
    assert missing == wrong_members(sdk.set_alias, SetAlias(user_id="", aliases=["ann"]))
    assert 400 == refused(sdk.get_aliases, "")[0]


# --- credentials ----------------------------------------------------------------------------------------------------


def test_a_credential_is_listed_whole(sdk: PasswordlessClient, page: Page) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    made = enrolled(sdk, page)
    [kept] = page.authenticator.credentials
    [listed] = sdk.get_credentials("user-1")
    assert CredentialDescriptor("public-key", b64u(kept.credential_id)) == listed.descriptor
    assert b64decode(made.credential_id) == kept.credential_id
    assert kept.key.cose() == cbor2.loads(b64decode(listed.public_key))
    assert b"user-1" == b64decode(listed.user_handle)
    assert (0, "none", str(UUID(listed.aa_guid))) == (
        listed.signature_counter,
        listed.attestation_fmt,
        listed.aa_guid,
    )
    assert (RP_ID, ORIGIN, "", DEVICE) == (listed.rp_id, listed.origin, listed.country, listed.device)
    assert "user-1" == listed.user_id
    assert before <= listed.created_at <= listed.last_user_at <= datetime.now(UTC).replace(tzinfo=None)


def test_using_a_credential_is_noted_in_the_list(sdk: PasswordlessClient, page: Page) -> None:
    enrolled(sdk, page)
    [made] = sdk.get_credentials("user-1")
    page.sign_in(userId="user-1")
    [used] = sdk.get_credentials("user-1")
    assert made.created_at == used.created_at
    assert made.last_user_at < used.last_user_at


def test_a_deleted_credential_is_gone_and_signs_nobody_in(sdk: PasswordlessClient, page: Page) -> None:
    enrolled(sdk, page)
    [listed] = sdk.get_credentials("user-1")
    sdk.delete_credential(DeleteCredential(listed.descriptor.id))
    assert [] == sdk.get_credentials("user-1")
    with pytest.raises(AssertionError, match="unknown_credential"):
        page.sign_in()


def test_only_the_credential_that_was_named_is_deleted(sdk: PasswordlessClient, page: Page) -> None:
    first, second = enrolled(sdk, page), enrolled(sdk, page, user_id="user-2")
    sdk.delete_credential(DeleteCredential(b64u(b64decode(first.credential_id))))
    [left] = sdk.get_credentials("user-2")
    assert b64u(b64decode(second.credential_id)) == left.descriptor.id


def test_a_credential_that_is_not_there_cannot_be_deleted(
    sdk: PasswordlessClient, server: RunningServer, page: Page
) -> None:
    """Nor that of another application."""
    enrolled(sdk, page)
    [kept] = sdk.get_credentials("user-1")
    assert (404, "credential_not_found") == refused(sdk.delete_credential, DeleteCredential("q1w2e3r4"))
    stranger = client_of(server, server.create_app("stranger" + app_id_of(sdk)).secret)
    assert (404, "credential_not_found") == refused(stranger.delete_credential, DeleteCredential(kept.descriptor.id))
    assert [kept] == sdk.get_credentials("user-1")


@pytest.mark.parametrize("credential_id", ["", "not base64url!"])
def test_what_names_no_credential_is_refused(sdk: PasswordlessClient, credential_id: str) -> None:
    assert 400 == refused_status(sdk.delete_credential, DeleteCredential(credential_id))


def test_whose_credentials_must_be_said(sdk: PasswordlessClient) -> None:
    assert [] == sdk.get_credentials("nobody")
    assert (400, "missing_userid") == refused(sdk.get_credentials, "")


# --- users ----------------------------------------------------------------------------------------------------------


def test_users_are_listed_with_what_they_have(sdk: PasswordlessClient, page: Page) -> None:
    """Hashed aliases are counted, and listed as null."""
    enrolled(sdk, page, user_id="ann", aliases=["Ann"], alias_hashing=False)
    enrolled(sdk, page, user_id="ann", aliases=["Ann"], alias_hashing=False)
    enrolled(sdk, page, user_id="ben")
    sdk.set_alias(SetAlias(user_id="cho", aliases=["Cho"]))
    last_used = {user_id: sdk.get_credentials(user_id)[-1].last_user_at for user_id in ("ann", "ben")}
    assert [
        UserSummary("ann", 1, ["Ann"], 2, last_used["ann"]),
        UserSummary("ben", 0, [], 1, last_used["ben"]),
        UserSummary("cho", 1, [None], 0, None),  # type: ignore[arg-type]
    ] == sorted(sdk.get_users(), key=lambda user: user.user_id)


def test_an_application_without_users_lists_none(sdk: PasswordlessClient) -> None:
    assert [] == sdk.get_users()


def test_a_deleted_user_leaves_nothing_behind(sdk: PasswordlessClient, page: Page) -> None:
    enrolled(sdk, page, user_id="ann", aliases=["Ann"])
    enrolled(sdk, page, user_id="ben")
    sdk.delete_user(DeleteUser("ann"))
    assert ["ben"] == [user.user_id for user in sdk.get_users()]
    assert ([], []) == (sdk.get_credentials("ann"), sdk.get_aliases("ann"))
    sdk.set_alias(SetAlias(user_id="ben", aliases=["Ann"]))


def test_deleting_nobody_is_no_error_but_naming_nobody_is(sdk: PasswordlessClient) -> None:
    sdk.delete_user(DeleteUser("nobody"))
    assert {"userId": ["The UserId field is required."]} == wrong_members(sdk.delete_user, DeleteUser(""))


def test_users_of_another_application_are_neither_listed_nor_deleted(
    sdk: PasswordlessClient, server: RunningServer, page: Page
) -> None:
    enrolled(sdk, page)
    stranger = client_of(server, server.create_app("stranger" + app_id_of(sdk)).secret)
    assert ([], [], []) == (stranger.get_users(), stranger.get_credentials("user-1"), stranger.get_aliases("user-1"))
    stranger.delete_user(DeleteUser("user-1"))
    assert ["user-1"] == [user.user_id for user in sdk.get_users()]


# --- features and keys ----------------------------------------------------------------------------------------------


def features_of(server: RunningServer, app: AppKeys) -> dict[str, Any]:
    answer = httpx.get(
        f"{server.base_url}/admin/apps/{app.app_id}/features", headers={"ManagementKey": server.management_key}
    )
    features: dict[str, Any] = answer.json()
    return features


def test_the_features_of_this_sdk_change_nothing(sdk: PasswordlessClient, server: RunningServer, app: AppKeys) -> None:
    """Its only member has an older name, which the compatible API passes over without a word."""
    before = features_of(server, app)
    sdk.update_apps_feature(UpdateAppsFeature(audit_logging_retention_period=7))
    assert before == features_of(server, app)


def test_a_locked_key_raises_the_sdks_error(sdk: PasswordlessClient, server: RunningServer, app: AppKeys) -> None:
    key = f"{server.base_url}/admin/apps/{app.app_id}/api-keys/{app.secret[-4:]}"
    assert 204 == httpx.post(f"{key}/lock", headers={"ManagementKey": server.management_key}).status_code
    assert (401, "ApiSecret") == refused(sdk.get_users)
    assert [] == client_of(server, app.second_secret).get_users()


def test_a_public_key_does_not_do_for_a_backend(server: RunningServer, app: AppKeys) -> None:
    with pytest.raises(PasswordlessError) as raised:
        client_of(server, app.public).get_users()
    assert "Your ApiSecret header contained a public ApiKey instead of your 'ApiSecret'." == refusal_of(raised).detail


# --- tokens without a passkey ---------------------------------------------------------------------------------------


def test_tokens_made_by_hand_can_be_switched_off(sdk: PasswordlessClient) -> None:
    switch(sdk, enableManuallyGeneratedAuthenticationTokens=False)
    options = GenerateAuthenticationTokenOptions(user_id="user-1")
    assert 403 == refused_status(sdk.generate_authentication_token, options)
    switch(sdk, enableManuallyGeneratedAuthenticationTokens=True)
    assert sdk.generate_authentication_token(options).token.startswith("verify_")


@pytest.mark.parametrize("time_to_live", [0, -1, 604_801])
def test_a_token_lives_for_a_week_at_most(sdk: PasswordlessClient, time_to_live: int) -> None:
    options = GenerateAuthenticationTokenOptions(user_id="user-1", time_to_live=time_to_live)
    assert ["timeToLiveSeconds"] == list(wrong_members(sdk.generate_authentication_token, options) or {})


def test_an_expired_token_raises_the_sdks_error(sdk: PasswordlessClient) -> None:
    made = sdk.generate_authentication_token(GenerateAuthenticationTokenOptions(user_id="user-1", time_to_live=1))
    time.sleep(1.1)
    assert (403, "expired_token") == refused(sdk.sign_in, VerifySignIn(made.token))


def test_a_token_of_another_application_raises_the_sdks_error(sdk: PasswordlessClient, server: RunningServer) -> None:
    stranger = client_of(server, server.create_app("stranger" + app_id_of(sdk)).secret)
    made = stranger.generate_authentication_token(GenerateAuthenticationTokenOptions(user_id="user-1"))
    assert (400, "invalid_token") == refused(sdk.sign_in, VerifySignIn(made.token))


def test_a_token_for_registration_does_not_sign_in(sdk: PasswordlessClient) -> None:
    token = sdk.register_token(register_options()).token
    assert (400, "invalid_token") == refused(sdk.sign_in, VerifySignIn(token))


# --- magic links ----------------------------------------------------------------------------------------------------


def link_options(address: str, **options: Any) -> SendMagicLinkOptions:
    return SendMagicLinkOptions(
        **{"email_address": address, "url_template": URL_TEMPLATE, "user_id": "user-1", **options}
    )


@pytest.fixture
def address(app: AppKeys) -> str:
    """A mail address that no other test has."""
    return f"{app.app_id}@shop.example.org"


def test_a_magic_link_signs_in_and_is_read_whole(sdk: PasswordlessClient, mailbox: Mailbox, address: str) -> None:
    """The token of the page behind the link lives as one of a passkey, however long the link did."""
    sdk.send_magic_link(link_options(address))
    user = sdk.sign_in(VerifySignIn(token_of(click(mailbox.link_to(address)))))
    assert (True, "user-1", "magic_link") == (user.success, user.user_id, user.type)
    assert ("", "", "", "", None) == (user.origin, user.device, user.country, user.credential_id, user.nickname)
    assert "" == user.rp_id
    assert timedelta(seconds=120) == user.expires_at - user.timestamp
    assert UUID(user.token_id).version == 7


def test_the_mail_of_a_magic_link_names_the_page_that_it_leads_to(
    sdk: PasswordlessClient, mailbox: Mailbox, address: str
) -> None:
    sdk.send_magic_link(link_options(address))
    [mail] = mailbox.to(address)
    [sender] = mail["From"].addresses
    assert "Sign in to shop.example.org" == mail["Subject"]
    assert SENDER == sender.addr_spec
    assert RP_ID in sender.display_name


def test_who_only_looks_at_a_magic_link_does_not_use_it_up(
    sdk: PasswordlessClient, mailbox: Mailbox, address: str
) -> None:
    sdk.send_magic_link(link_options(address))
    link = mailbox.link_to(address)
    assert [200] * 3 == [look_at(link).status_code for _ in range(3)]
    assert "user-1" == sdk.sign_in(VerifySignIn(token_of(click(link)))).user_id


def test_a_magic_link_works_once(sdk: PasswordlessClient, mailbox: Mailbox, address: str) -> None:
    sdk.send_magic_link(link_options(address))
    link = mailbox.link_to(address)
    token = VerifySignIn(token_of(click(link)))
    assert (410, 410) == (look_at(link).status_code, httpx.post(link).status_code)
    assert "user-1" == sdk.sign_in(token).user_id
    assert (400, "token_already_used") == refused(sdk.sign_in, token)


def test_a_magic_link_lives_as_long_as_was_asked(sdk: PasswordlessClient, mailbox: Mailbox, address: str) -> None:
    sdk.send_magic_link(link_options(address, time_to_live=1))
    link = mailbox.link_to(address)
    time.sleep(1.1)
    assert (410, 410) == (look_at(link).status_code, httpx.post(link).status_code)


@pytest.mark.parametrize(
    "template", ["https://shop.example.org/in/$TOKEN/now?next=%2Fcart", "http://localhost:3000/#$TOKEN"]
)
def test_a_template_is_kept_as_it_is_around_the_token(
    sdk: PasswordlessClient, mailbox: Mailbox, address: str, template: str
) -> None:
    sdk.send_magic_link(link_options(address, url_template=template))
    before, after = template.split("$TOKEN")
    leads_to = click(mailbox.link_to(address)).headers["Location"]
    assert (before, after) == (leads_to[: len(before)], leads_to[len(leads_to) - len(after) :])
    token = leads_to[len(before) : len(leads_to) - len(after)]
    assert "user-1" == sdk.sign_in(VerifySignIn(token)).user_id


def test_a_template_without_a_token_or_a_url_is_refused_as_documented(
    sdk: PasswordlessClient, mailbox: Mailbox, address: str
) -> None:
    for template, beginning in (
        ("https://shop.example.org/in", "You have provided a UrlTemplate without a $TOKEN template."),
        ("shop $TOKEN", "You have provided a UrlTemplate that cannot be converted to a URL."),
        ("javascript:alert('$TOKEN')", "You have provided a UrlTemplate that cannot be converted to a URL."),
    ):
        errors = wrong_members(sdk.send_magic_link, link_options(address, url_template=template)) or {}
        assert ["urlTemplate"] == list(errors)
        assert errors["urlTemplate"][0].startswith(beginning)
    assert [] == mailbox.to(address)


@pytest.mark.parametrize(
    ("options", "member"),
    [
        ({"email_address": "ann"}, "emailAddress"),
        ({"email_address": "ann@example.org\r\nBcc: eve@example.org"}, "emailAddress"),
        ({"user_id": " "}, "userId"),
        ({"time_to_live": 0}, "timeToLive"),
        ({"time_to_live": 604_801}, "timeToLive"),
    ],
)
def test_what_makes_no_magic_link_is_refused(
    sdk: PasswordlessClient, address: str, options: dict[str, Any], member: str
) -> None:
    errors = wrong_members(sdk.send_magic_link, link_options(address, **options)) or {}
    assert [member] == list(errors)


def test_magic_links_can_be_switched_off(sdk: PasswordlessClient, mailbox: Mailbox, address: str) -> None:
    """A link of before does not sign in either, until they are on again."""
    sdk.send_magic_link(link_options(address))
    link = mailbox.link_to(address)
    switch(sdk, enableMagicLinks=False)
    assert 403 == refused_status(sdk.send_magic_link, link_options(address))
    assert (403, 403) == (look_at(link).status_code, httpx.post(link).status_code)
    switch(sdk, enableMagicLinks=True)
    assert "user-1" == sdk.sign_in(VerifySignIn(token_of(click(link)))).user_id


def test_no_more_magic_links_go_than_the_quota_has(server: RunningServer, mailbox: Mailbox, app: AppKeys) -> None:
    """Of an application that is as young as this one, a fifth; what has none sends none."""
    keys = server.create_app(f"{app.app_id}quota", magicLinkEmailMonthlyQuota=10)
    sdk, address = client_of(server, keys.secret), f"{keys.app_id}@shop.example.org"
    for _ in range(2):
        sdk.send_magic_link(link_options(address))
    assert (429, "magic_link_email_quota_exceeded") == refused(sdk.send_magic_link, link_options(address))
    assert 2 == len(mailbox.to(address))

    none = client_of(server, server.create_app(f"{app.app_id}none").secret)
    assert (429, "magic_link_email_quota_exceeded") == refused(none.send_magic_link, link_options(address))


def test_a_new_application_mails_its_administrators_only(tmp_path: Path) -> None:
    """For a day, unless the operator has decided otherwise, as for the other tests."""
    with running_server(mail=tmp_path, mail_from=SENDER) as server:
        keys = server.create_app("young", adminEmail="ann@shop.example.org", magicLinkEmailMonthlyQuota=MAIL_QUOTA)
        sdk = client_of(server, keys.secret)
        stranger = link_options("eve@shop.example.org")
        assert (403, "magic_link_email_admin_address_only") == refused(sdk.send_magic_link, stranger)
        sdk.send_magic_link(link_options("Ann@shop.example.org"))
        assert [1, 0] == [
            len(Mailbox(tmp_path).to(address)) for address in ("Ann@shop.example.org", "eve@shop.example.org")
        ]
