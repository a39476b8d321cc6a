"""A real browser with an authenticator that needs no finger: Chromium, driven through its DevTools protocol.

    with launch_browser() as browser:
        page = browser.new_page()
        authenticator = virtual_authenticator(page)
        …
        authenticator.set_user_verified(False)

Playwright's own browsers are not used: the system's Chromium is. An authenticator belongs to one page, and sees the
ceremonies of that page alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def launch_browser(*arguments: str) -> Iterator[Browser]:
    """Start a headless Chromium, with more arguments than the usual ones.

    Nothing in the block may run an asyncio loop: Playwright's own runs in this thread.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()


def find_chromium() -> str:
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    raise RuntimeError("these tests need Chromium (`apt install chromium`), and found none")


class VirtualAuthenticator:
    """One authenticator of one page (WebAuthn L3 #sctn-automation-virtual-authenticators)."""

    def __init__(self, session: CDPSession, **options: Any) -> None:
        self._session = session
        self._id = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def credentials(self) -> list[dict[str, Any]]:
        """What it keeps, with `credentialId`, `userHandle`, `signCount` and more, in standard base64."""
        found: list[dict[str, Any]] = self._send("getCredentials")["credentials"]
        return found

    def add_credential(self, credential: dict[str, Any]) -> None:
        """Let it keep what another one keeps."""
        self._send("addCredential", credential=credential)

    def remove_credential(self, credential_id: str) -> None:
        self._send("removeCredential", credentialId=credential_id)

    def set_user_verified(self, verified: bool) -> None:
        """Whether its user is whom it knows: the finger is right, or wrong."""
        self._send("setUserVerified", isUserVerified=verified)

    def set_presence(self, present: bool) -> None:
        """Whether somebody touches it when asked. Without, a ceremony waits."""
        self._send("setAutomaticPresenceSimulation", enabled=present)

    def remove(self) -> None:
        self._send("removeVirtualAuthenticator")

    def _send(self, command: str, **parameters: Any) -> Any:
        return self._session.send(f"WebAuthn.{command}", {"authenticatorId": self._id, **parameters})


def virtual_authenticator(page: Page, **options: Any) -> VirtualAuthenticator:
    """Give the page an authenticator: by default one built into the device, whose user touches and is verified.

    Args:
        **options: of the protocol's WebAuthn.VirtualAuthenticatorOptions, as `hasUserVerification=False`.
    """
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable", {"enableUI": False})
    defaults = {
        "protocol": "ctap2",
        "ctap2Version": "ctap2_1",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    return VirtualAuthenticator(session, **{**defaults, **options})
