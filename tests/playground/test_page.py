"""The playground's page in a real browser: what a person clicks, and what the page then shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import cbor2
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.playground.demo import RunningDemo
from tests.support.browser import VirtualAuthenticator, launch_browser, virtual_authenticator

REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as made:
        yield made


@dataclass
class Visit:
    """A page with an authenticator, and all that its console said."""

    page: Page
    authenticator: VirtualAuthenticator
    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def ceremony(self, title: str) -> Locator:
        """The newest record of this title."""
        heading = self.page.get_by_role("heading", level=3, name=title, exact=True)
        return self.page.locator("article").filter(has=heading).first

    def make_passkey(self) -> str:
        """Make one, and let the autofill, which under automation answers by itself, have its turn."""
        self.press("Make a passkey")
        expect(self.ceremony("Sign in by autofill").locator(".state")).to_have_text("Signed in")
        return self.page.get_by_label("User name").first.input_value()


@pytest.fixture
def visit(context: BrowserContext, demo: RunningDemo) -> Iterator[Visit]:
    """A visit that must end without a complaint, and without a request to anybody else."""
    page = context.new_page()
    visit = Visit(page, virtual_authenticator(page))
    page.on("console", lambda message: visit.said.append(message.text))
    page.on("pageerror", lambda error: visit.said.append(str(error)))
    page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
    page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.blockedURI))")
    page.goto(demo.link)
    yield visit
    assert ([], {f"localhost:{demo.port}"}) == (visit.said, visit.hosts)


def steps(ceremony: Locator) -> list[str]:
    return ceremony.locator("h4").all_inner_texts()


def fact(ceremony: Locator, name: str) -> str:
    return (
        ceremony.locator(".facts > div")
        .filter(has=ceremony.page.locator(f"dt:text-is('{name}')"))
        .locator("dd")
        .inner_text()
    )


def test_making_a_passkey_shows_every_step_and_what_the_device_said(visit: Visit) -> None:
    name = visit.make_passkey()
    made = visit.ceremony("Make a passkey")
    expect(made.locator(".state")).to_have_text("Made")
    expect(made.locator(".lead").first).to_have_text(f"{name} has a passkey.")
    assert ["Device-bound", "User verified"] == made.locator(".badges li").all_inner_texts()
    assert ("passkey_register", "localhost", "My device") == tuple(
        fact(made, each) for each in ("type", "rpId", "nickname")
    )
    made.get_by_text("Step by step").click()
    assert [
        "Your backend asks for a register token",
        "The page exchanges it for options",
        "Your device makes a key pair",
        "Narthex checks the passkey and keeps it",
        "Your backend verifies the token",
    ] == steps(made)
    assert ["UP", "UV", "AT"] == made.locator(".flags li.set b").all_inner_texts()
    for decoded in (
        "webauthn.create",
        "✓ the one that was sent",
        "✓ SHA-256 of “localhost”",
        "01020304-0506-0708",
        "EdDSA (-8)",
    ):
        expect(made).to_contain_text(decoded)


def test_signing_in_by_button_and_stepping_up(visit: Visit) -> None:
    name = visit.make_passkey()
    visit.press("Sign in with a passkey")
    signed_in = visit.ceremony("Sign in with a passkey")
    expect(signed_in.locator(".state")).to_have_text("Signed in")
    expect(signed_in.locator(".lead").first).to_have_text(f"{name} is signed in.")
    expect(visit.page.locator("#plan")).to_have_attribute("data-door", "inner")
    expect(signed_in).to_contain_text("webauthn.get")

    visit.press("Confirm it is you")
    stepped_up = visit.ceremony("Step up")
    expect(stepped_up.locator(".state")).to_have_text("Stepped up")
    assert "step-up" == fact(stepped_up, "purpose")
    assert 3 == stepped_up.locator(".checks .holds").count()
    expect(visit.page.get_by_role("button", name="Confirm it is you")).to_be_focused()


def test_signing_in_by_name_asks_for_that_user_alone(visit: Visit) -> None:
    visit.make_passkey()
    visit.press("Sign in by name")
    by_name = visit.ceremony("Sign in by name")
    expect(by_name.locator(".state")).to_have_text("Signed in")
    by_name.get_by_role("button", name="Options").click()
    expect(by_name.locator("pre:visible")).to_contain_text('"allowCredentials": [\n    {')


def test_somebody_elses_passkey_is_kept_out_by_the_backend(visit: Visit) -> None:
    """For a name that is unknown the browser offers any passkey: it is the backend that must compare."""
    visit.make_passkey()
    visit.page.locator("#alias").fill("somebody else")
    visit.press("Sign in by name")
    kept_out = visit.ceremony("Sign in by name")
    expect(kept_out.locator(".state")).to_have_text("Your backend stops here")
    expect(kept_out.locator(".checks .fails")).to_contain_text("userId should be")
    expect(visit.page.locator("#plan")).to_have_attribute("data-door", "shut")


def test_a_prompt_without_a_passkey_ends_calmly(visit: Visit) -> None:
    visit.make_passkey()
    for credential in visit.authenticator.credentials():
        visit.authenticator.remove_credential(credential["credentialId"])
    visit.press("Sign in by name")
    stopped = visit.ceremony("Sign in by name")
    expect(stopped.locator(".state")).to_have_text("Stopped")
    expect(stopped).to_have_attribute("data-tone", "calm")
    expect(visit.page.locator("#sign-in-status")).to_contain_text("Nothing was changed; try again when you like.")
    expect(visit.page.get_by_role("button", name="Sign in by name")).to_be_focused()


def test_waiting_can_be_stopped_and_begun_again(visit: Visit) -> None:
    visit.authenticator.set_presence(False)
    visit.press("Make a passkey")
    expect(visit.page.locator("#plan [data-room=device]")).to_contain_text("Waiting for you")
    expect(visit.page.get_by_role("button", name="Make a passkey")).to_have_attribute("aria-disabled", "true")
    visit.press("Stop waiting")
    stopped = visit.ceremony("Make a passkey")
    expect(stopped.locator(".state")).to_have_text("Stopped")
    expect(visit.page.get_by_role("button", name="Make a passkey")).to_be_focused()
    visit.authenticator.set_presence(True)
    visit.make_passkey()


def test_a_second_passkey_on_the_same_device_is_no_failure(visit: Visit) -> None:
    visit.make_passkey()
    visit.press("Make a passkey")
    again = visit.ceremony("Make a passkey")
    expect(again.locator(".state")).to_have_text("This device already has one")
    expect(again).to_have_attribute("data-tone", "good")


def test_nobody_steps_up_before_signing_in(visit: Visit) -> None:
    button = visit.page.get_by_role("button", name="Confirm it is you")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    assert 0 == visit.page.locator("article").count()
    expect(visit.page.get_by_text("Nothing yet.")).to_be_visible()


def test_a_refusal_is_explained_and_leads_to_its_page(visit: Visit, demo: RunningDemo) -> None:
    visit.make_passkey()
    visit.page.route(
        "**/signin/complete",
        lambda route: route.continue_(post_data=(route.request.post_data or "").replace("session_", "session_x")),
    )
    visit.press("Sign in with a passkey")
    refused = visit.ceremony("Sign in with a passkey")
    expect(refused.locator(".state")).to_have_text("Refused")
    assert "invalid_token_format" == fact(refused, "errorCode")
    assert fact(refused, "traceId").startswith("00-")
    link = refused.get_by_role("link", name="What this error means")
    expect(link).to_have_attribute("href", f"{demo.origin}/errors#invalid_token_format")
    assert [REFUSED] == visit.said
    visit.said.clear()


def test_an_unknown_passkey_is_told_to_the_device(visit: Visit) -> None:
    visit.make_passkey()
    visit.page.route(
        "**/signin/complete",
        lambda route: route.fulfill(
            status=400,
            content_type="application/problem+json",
            json={"title": "We don't know it.", "errorCode": "unknown_credential", "credentialId": "AAAA"},
        ),
    )
    visit.press("Sign in with a passkey")
    expect(visit.ceremony("Sign in with a passkey")).to_contain_text(
        "The browser was told that this passkey is unknown here"
    )
    visit.said.clear()


def test_a_long_name_in_any_script_is_taken(visit: Visit) -> None:
    name = ("Ångström 🗝 שלום " * 20)[:200].strip()
    visit.page.locator("#username").fill(f"  {name} ")
    visit.make_passkey()
    expect(visit.ceremony("Make a passkey").locator(".lead").first).to_have_text(f"{name} has a passkey.")
    visit.press("Sign in by name")
    expect(visit.ceremony("Sign in by name").locator(".state")).to_have_text("Signed in")
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_backend_call_is_copied_without_the_secret(visit: Visit, demo: RunningDemo) -> None:
    visit.page.locator("#username").fill("o'brien")
    visit.make_passkey()
    made = visit.ceremony("Make a passkey")
    made.get_by_text("Step by step").click()
    made.get_by_role("button", name="curl").first.click()
    made.get_by_role("button", name="Copy command").first.click()
    expect(made.get_by_role("button", name="Copied")).to_be_visible()
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -X POST '{demo.origin}/register/token' \\\n  -H \"ApiSecret: $API_SECRET\" \\\n")
    assert '"username":"o\'\\\'\'brien"' in copied
    assert demo.keys["apiSecret"] not in visit.page.content()


def test_the_snippets_name_this_server_and_are_chosen_by_keyboard(visit: Visit, demo: RunningDemo) -> None:
    visit.page.get_by_role("tab", name="Browser").focus()
    expect(visit.page.get_by_role("tabpanel")).to_contain_text(
        f'apiUrl: "{demo.origin}", apiKey: "{demo.keys["apiKey"]}"'
    )
    visit.page.keyboard.press("ArrowRight")
    expect(visit.page.get_by_role("tab", name="Node.js")).to_be_focused()
    expect(visit.page.get_by_role("tabpanel")).to_contain_text(f'{{ baseUrl: "{demo.origin}" }}')


def test_the_record_can_be_cleared(visit: Visit) -> None:
    visit.make_passkey()
    visit.press("Clear the record")
    expect(visit.page.get_by_text("Nothing yet.")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="What happened")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off_at_any_width(visit: Visit, width: int) -> None:
    """320 CSS pixels are 1280 at 400 % zoom (WCAG 2.2, 1.4.10)."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.make_passkey()
    visit.ceremony("Sign in by autofill").get_by_role("button", name="Request").first.click()
    assert width == visit.page.evaluate("document.documentElement.scrollWidth")


def test_targets_are_large_enough(visit: Visit) -> None:
    visit.make_passkey()
    small = visit.page.evaluate(
        """[...document.querySelectorAll("button, summary, input:not([type=checkbox]), select, nav a")]
        .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 43.5)
        .map((each) => each.outerHTML)"""
    )
    assert [] == small


def test_under_an_address_it_leads_to_its_name(context: BrowserContext, demo: RunningDemo) -> None:
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{demo.port}/playground")
    expect(page.get_by_role("status").filter(has_text="Open this page under its name.")).to_be_visible()
    expect(page.get_by_role("link", name=f"Go to {demo.link}")).to_have_attribute("href", demo.link)
    expect(page.get_by_role("button", name="Make a passkey")).to_be_disabled()


def test_a_browser_without_passkeys_is_told(context: BrowserContext, demo: RunningDemo) -> None:
    page = context.new_page()
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(demo.link)
    expect(page.get_by_text("This browser has no passkeys.")).to_be_visible()
    expect(page.get_by_role("button", name="Make a passkey")).to_be_disabled()


CBOR = [
    0, 23, 24, 255, 256, 65_536, 2**53, 2**64 - 1, -1, -256, -(2**64), 1.5, 1e300, float("inf"), True, False, None,
    b"", b"\x00\xff", "", "öäü🗝", [], [1, [2, [3]]], {}, {1: 2, 3: -7, -1: 1, -2: b"x"}, {"fmt": "none", "attStmt": {}},
    cbor2.CBORTag(32, "x"),
]  # fmt: skip


def test_cbor_is_read_as_it_was_written(visit: Visit) -> None:
    """Against an encoder of others: the page shows each item in diagnostic notation."""
    shown = visit.page.evaluate(
        """async (items) => {
          const { decode } = await import("/playground/assets/cbor.js");
          const { shown } = await import("/playground/assets/inspection.js");
          return items.map((bytes) => shown(decode(Uint8Array.from(bytes)).value));
        }""",
        [list(cbor2.dumps(item)) for item in CBOR],
    )
    assert [diagnostic(item) for item in CBOR] == shown


def diagnostic(item: object) -> str:
    """RFC 8949, section 8."""
    match item:
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[item]
        case float():
            return {float("inf"): "Infinity", 1e300: "1e+300"}.get(item, str(item))
        case bytes():
            return f"h'{item.hex()}'"
        case str():
            return f'"{item}"'
        case list():
            return f"[{', '.join(map(diagnostic, item))}]"
        case dict():
            return "{" + ", ".join(f"{diagnostic(key)}: {diagnostic(value)}" for key, value in item.items()) + "}"
        case cbor2.CBORTag():
            return f"{item.tag}({diagnostic(item.value)})"
    return str(item)


def test_broken_cbor_is_no_endless_loop(visit: Visit) -> None:
    broken = [b"", b"\x18", b"\x5f\x41", b"\x9b" + b"\xff" * 8, b"\x81" * 100, b"\x1c", b"\x59\xff\xff\x00"]
    names = visit.page.evaluate(
        """async (items) => {
          const { decode } = await import("/playground/assets/cbor.js");
          const ending = (bytes) => {
            try { decode(Uint8Array.from(bytes)); return "read"; } catch (error) { return error.name; }
          };
          return items.map(ending);
        }""",
        [list(item) for item in broken],
    )
    assert ["Error"] * len(broken) == names
