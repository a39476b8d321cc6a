"""Ceremonies over HTTP, as a customer's page and its visitor would do them, with the software authenticator."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.authenticator import SoftwareAuthenticator

ORIGIN = "https://shop.example.org"
RP_ID = "shop.example.org"
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
DEVICE = "Chrome, Linux "


class Page:
    """A page that holds the public key, and somebody with an authenticator in front of it."""

    def __init__(self, base_url: str, public_key: str) -> None:
        self.base_url = base_url
        self.public_key = public_key
        self.authenticator = SoftwareAuthenticator()

    def begin_registration(self, token: str) -> dict[str, Any]:
        return self._post("/register/begin", token=token)

    def register(self, token: str, *, nickname: str | None = None) -> str:
        """Make a passkey; gives the token for the backend."""
        begun = self.begin_registration(token)
        response = self.authenticator.register(begun["data"], origin=ORIGIN)
        answer = self._post("/register/complete", session=begun["session"], response=response, nickname=nickname)
        made: str = answer["token"]
        return made

    def begin_sign_in(self, **whom: str) -> dict[str, Any]:
        return self._post("/signin/begin", **whom)

    def sign_in(self, **whom: str) -> str:
        """Use a passkey; gives the token for the backend."""
        begun = self.begin_sign_in(**whom)
        response = self.authenticator.sign_in(begun["data"], origin=ORIGIN)
        signed_in: str = self._post("/signin/complete", session=begun["session"], response=response)["token"]
        return signed_in

    def _post(self, path: str, **members: Any) -> dict[str, Any]:
        answer = httpx.post(
            self.base_url + path,
            headers={"ApiKey": self.public_key, "User-Agent": USER_AGENT},
            json={"origin": ORIGIN, "rpid": RP_ID, **members},
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
