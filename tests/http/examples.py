"""A good request for every route: what the matrices send, so that an answer is about the caller and nothing else.

A route without an example is in no matrix, and `test_endpoint_matrix.py` fails until it has one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec

from narthex.adapters.egress import GuardedEgress
from narthex.http.app import ROUTES, create_app
from narthex.http.routing import RouteSpec
from narthex.ports.changes import ScheduleDeletion
from narthex.ports.mail import Message
from tests.http.test_events import Listener
from tests.support.application import (
    ORIGIN,
    PUBLIC_URL,
    RP_ID,
    Application,
    Ceremonies,
    HouseInProcess,
    accepted,
)
from tests.support.authenticator import Json
from tests.support.metadata import MetadataMaker

Route = tuple[str, str]
"""Method and path: one path may have several routes, and each answers for itself."""

MODEL = bytes.fromhex("2fc0579f811347eab116bb5a8db9202a")
TEMPLATE = "https://shop.example.org/magic?token=$TOKEN"
ALLOWED = {"eventLoggingIsEnabled": True, "magicLinkEmailMonthlyQuota": 100_000, "allowAttestation": True}
PURPOSE = "transfer-money"
PASSING_PURPOSE = "passing"


@dataclass(frozen=True, slots=True)
class Example:
    """The members of a path, a query and a body that go together."""

    members: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    body: Json | None = None


class Mailbox:
    """Takes every mail and keeps it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def check(self) -> None: ...


class BriefTransport(httpx.ASGITransport):
    """Hangs up on an event stream after its first words: httpx would wait for an end that never comes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.rstrip("/").endswith("/events/stream"):
            return await super().handle_async_request(request)
        listener = Listener()
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self.client,
        }
        serving = asyncio.ensure_future(self.app(scope, listener.receive, listener.send))
        try:
            await listener.begun()
        finally:
            listener.hung_up.set()
            await asyncio.gather(serving)
        said = httpx.ByteStream(listener.received.encode())
        return httpx.Response(listener.status, headers=listener.headers, stream=said)


class WholeHouse(HouseInProcess):
    """A house in which nothing is switched off: mail goes out, webhooks may be made, metadata is there."""

    def __init__(self, database_url: str) -> None:
        self.mailbox = Mailbox()
        super().__init__(
            database_url, mail=self.mailbox, egress=GuardedEgress(), new_application_hold=timedelta(0), peer="192.0.2.1"
        )

    async def __aenter__(self) -> WholeHouse:
        await super().__aenter__()
        await self.client.aclose()
        transport = BriefTransport(create_app(self.env), client=("192.0.2.1", 50_000))
        self.client = httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL)
        fido = MetadataMaker()
        await self.load_metadata(fido.blob(fido.entry(aaguid=MODEL)))
        return self

    async def customer(self, app_id: str) -> Customer:
        """An application with the user `ann` and one of everything."""
        customer = Customer(self, await self.create_application(app_id, **ALLOWED))
        await customer.ceremonies.register("ann", aliases=["ann@example.org"], aliasHashing=False)
        await customer.purpose(PURPOSE)
        return customer


class Customer:
    """One application, its users and its backend."""

    def __init__(self, house: WholeHouse, application: Application) -> None:
        self.house = house
        self.application = application
        self.ceremonies = Ceremonies(application)
        self._purposes = 0

    async def credential(self) -> str:
        """The id of a new credential, of the user `bob`."""
        await self.ceremonies.register("bob")
        listed = accepted(await self.application.secret("/credentials/list", {"userId": "bob"}))["values"]
        return str(listed[-1]["descriptor"]["id"])

    async def purpose(self, purpose: str = PASSING_PURPOSE) -> str:
        """A purpose that has a configuration."""
        added = await self.application.secret("/auth-configs/add", _configuration(purpose))
        assert added.status_code == 201 or "configuration_exists" in added.text, added.text
        return purpose

    def new_purpose(self) -> str:
        self._purposes += 1
        return f"purpose-{self._purposes}"

    async def webhook(self, description: str = "kept") -> str:
        """The id of a webhook that is described so."""
        headers = {"ApiSecret": self.application.secret_key}
        listed: list[Json] = (await self.application.client.get("/webhooks", headers=headers)).json()
        for each in listed:
            if each["description"] == description:
                return str(each["id"])
        made = await self.application.secret("/webhooks", _webhook(description))
        assert 201 == made.status_code, made.text
        return str(made.json()["id"])

    async def delivery(self) -> str:
        """The id of a delivery to the webhook that is kept."""
        queued = await self.application.secret(f"/webhooks/{await self.webhook()}/test", {})
        assert 202 == queued.status_code, queued.text
        return str(queued.json()["deliveryId"])

    async def ticket(self) -> str:
        """What stands at the end of a magic link that nobody has used."""
        sent = await self.application.secret("/magic-links/send", _magic_link())
        assert 204 == sent.status_code, sent.text
        found = re.search(r"/magic-link/\w+/(\S+)", self.house.mailbox.messages[-1].text)
        assert found is not None
        return found[1]

    @property
    def key_id(self) -> str:
        """Names a key that nobody needs."""
        return self.application.other_secret_key[-4:]


Prepare = Callable[[Customer], Awaitable[Example]]


def just(body: Json | None = None, *, query: str = "") -> Prepare:
    """A request that needs nothing to be there beforehand."""

    async def prepare(customer: Customer) -> Example:
        return Example({"app_id": customer.application.app_id}, query, body)

    return prepare


def on_key(body: Json | None = None) -> Prepare:
    async def prepare(customer: Customer) -> Example:
        return Example({"app_id": customer.application.app_id, "key_id": customer.key_id}, body=body)

    return prepare


def on_webhook(body: Json | None = None, *, description: str = "kept") -> Prepare:
    async def prepare(customer: Customer) -> Example:
        return Example({"webhook_id": await customer.webhook(description)}, body=body)

    return prepare


def _configuration(purpose: str) -> Json:
    return {"purpose": purpose, "timeToLive": "00:02:00", "performedBy": "ann"}


def _webhook(description: str) -> Json:
    return {"url": "https://shop.example.org/hook", "description": description}


def _magic_link() -> Json:
    return {"emailAddress": "ann@example.org", "urlTemplate": TEMPLATE, "userId": "ann"}


async def _register_begin(customer: Customer) -> Example:
    return Example(body={"token": await customer.ceremonies.give_leave("new"), "origin": ORIGIN, "rpid": RP_ID})


async def _register_complete(customer: Customer) -> Example:
    ceremonies = customer.ceremonies
    begun = await ceremonies.begin_registration(await ceremonies.give_leave("new"))
    return Example(body=ceremonies.registration_body(begun))


async def _signin_complete(customer: Customer) -> Example:
    return Example(body=customer.ceremonies.sign_in_body(await customer.ceremonies.begin_sign_in()))


async def _signin_verify(customer: Customer) -> Example:
    return Example(body={"token": await customer.ceremonies.sign_in()})


async def _credentials_delete(customer: Customer) -> Example:
    return Example(body={"credentialId": await customer.credential()})


async def _credentials_rename(customer: Customer) -> Example:
    return Example(body={"credentialId": await customer.credential(), "nickname": "My laptop"})


async def _users_delete(customer: Customer) -> Example:
    await customer.credential()
    return Example(body={"userId": "bob"})


async def _auth_configs_add(customer: Customer) -> Example:
    return Example(body=_configuration(customer.new_purpose()))


async def _auth_configs_delete(customer: Customer) -> Example:
    return Example(body={"purpose": await customer.purpose(), "performedBy": "ann"})


async def _webhooks_retry(customer: Customer) -> Example:
    return Example({"webhook_id": await customer.webhook(), "delivery_id": await customer.delivery()})


async def _magic_link_page(customer: Customer) -> Example:
    return Example({"app_id": customer.application.app_id, "ticket": await customer.ticket()})


async def _delete_application(customer: Customer) -> Example:
    app_id = customer.application.app_id
    await customer.house.root.tenant(app_id).commit(ScheduleDeletion(customer.house.clock.now()))
    customer.house.env.directory.forget(app_id)
    return Example({"app_id": app_id})


async def _create(customer: Customer) -> Example:
    return Example({"app_id": f"another{customer.house.env.random(8).hex()}"}, body={})


async def _jobs_run(customer: Customer) -> Example:
    return Example({"name": "nonces"})


_MODELS = {"aaGuids": [str(UUID(bytes=MODEL))]}
_ANN = {"userId": "ann"}

EXAMPLES: dict[Route, Prepare] = {
    ("POST", "/signin/begin"): just({"userId": "ann", "origin": ORIGIN, "rpid": RP_ID}),
    ("POST", "/signin/complete"): _signin_complete,
    ("POST", "/signin/verify"): _signin_verify,
    ("POST", "/signin/generate-token"): just(_ANN),
    ("POST", "/register/token"): just({"userId": "new", "username": "new"}),
    ("POST", "/register/begin"): _register_begin,
    ("POST", "/register/complete"): _register_complete,
    ("POST", "/alias"): just({"userId": "ann", "aliases": ["ann@example.org"], "hashing": False}),
    ("GET", "/alias/list"): just(query="userId=ann"),
    ("GET", "/credentials/list"): just(query="userId=ann"),
    ("POST", "/credentials/list"): just(_ANN),
    ("POST", "/credentials/delete"): _credentials_delete,
    ("POST", "/credentials/rename"): _credentials_rename,
    ("GET", "/credentials/accepted"): just(query=f"userId=ann&rpid={RP_ID}"),
    ("GET", "/users/list"): just(),
    ("GET", "/users/count"): just(),
    ("GET", "/users/get"): just(query="userId=ann"),
    ("POST", "/users/delete"): _users_delete,
    ("GET", "/auth-configs/list"): just(),
    ("POST", "/auth-configs/add"): _auth_configs_add,
    ("POST", "/auth-configs"): just(_configuration(PURPOSE)),
    ("POST", "/auth-configs/delete"): _auth_configs_delete,
    ("GET", "/authenticators/list"): just(query="isAllowed=true"),
    ("POST", "/authenticators/add"): just(_MODELS),
    ("POST", "/authenticators/remove"): just(_MODELS),
    ("GET", "/events"): just(query="pageNumber=1"),
    ("GET", "/events/export"): just(),
    ("GET", "/events/stream"): just(),
    ("GET", "/reporting/credentials/periodic"): just(),
    ("GET", "/reporting/active-users/periodic"): just(),
    ("POST", "/magic-links/send"): just(_magic_link()),
    ("POST", "/apps/features"): just({"performedBy": "ann", "eventLoggingRetentionPeriod": 30}),
    ("GET", "/webhooks"): just(),
    ("POST", "/webhooks"): just(_webhook("another")),
    ("POST", "/webhooks/{webhook_id}"): on_webhook({"eventTypes": ["ApiUser*"]}),
    ("DELETE", "/webhooks/{webhook_id}"): on_webhook(description="passing"),
    ("POST", "/webhooks/{webhook_id}/rotate"): on_webhook({}),
    ("POST", "/webhooks/{webhook_id}/test"): on_webhook(),
    ("GET", "/webhooks/{webhook_id}/deliveries"): on_webhook(),
    ("POST", "/webhooks/{webhook_id}/deliveries/{delivery_id}/retry"): _webhooks_retry,
    ("GET", "/magic-link/{app_id}/{ticket}"): _magic_link_page,
    ("POST", "/magic-link/{app_id}/{ticket}"): _magic_link_page,
    ("POST", "/admin/apps/{app_id}/create"): _create,
    ("GET", "/admin/apps/{app_id}/available"): just(),
    ("POST", "/admin/apps/{app_id}/freeze"): just(),
    ("POST", "/admin/apps/{app_id}/unfreeze"): just(),
    ("GET", "/admin/apps/{app_id}/features"): just(),
    ("POST", "/admin/apps/{app_id}/features"): just(ALLOWED),
    ("GET", "/admin/apps/{app_id}/can-delete-immediately"): just(),
    ("POST", "/admin/apps/{app_id}/mark-delete"): just({"deletedBy": "ann"}),
    ("POST", "/admin/apps/{app_id}/cancel-delete"): just(),
    ("DELETE", "/admin/apps/{app_id}"): _delete_application,
    ("GET", "/apps/list-pending-deletion"): just(),
    ("POST", "/admin/apps/{app_id}/public-keys"): just({"scopes": ["login"]}),
    ("POST", "/admin/apps/{app_id}/secret-keys"): just({"scopes": ["users:read"]}),
    ("GET", "/admin/apps/{app_id}/api-keys"): just(),
    ("POST", "/admin/apps/{app_id}/api-keys/{key_id}"): on_key({"scopes": ["users:read"]}),
    ("POST", "/admin/apps/{app_id}/api-keys/{key_id}/lock"): on_key(),
    ("POST", "/admin/apps/{app_id}/api-keys/{key_id}/unlock"): on_key(),
    ("POST", "/admin/apps/{app_id}/api-keys/{key_id}/rotate"): on_key({}),
    ("DELETE", "/admin/apps/{app_id}/api-keys/{key_id}"): on_key(),
    ("GET", "/mds/attestation-types"): just(),
    ("GET", "/mds/certification-statuses"): just(),
    ("GET", "/mds/entries"): just(),
    ("GET", "/mds/state"): just(),
    ("GET", "/admin/apps/{app_id}/settings"): just(),
    ("POST", "/admin/apps/{app_id}/settings"): just({"by": "ann", "maxUsers": 1_000}),
    ("GET", "/admin/apps/{app_id}/settings/history"): just(),
    ("GET", "/admin/apps/{app_id}/authenticator-policy"): just(),
    ("POST", "/admin/apps/{app_id}/authenticator-policy"): just({}),
    ("POST", "/admin/apps/{app_id}/authenticator-policy/report"): just({}),
    ("GET", "/admin/apps/{app_id}/trust-anchors"): just(),
    ("POST", "/admin/apps/{app_id}/trust-anchors"): just({"anchors": []}),
    ("GET", "/admin/apps/{app_id}/origins"): just(),
    ("POST", "/admin/apps/{app_id}/origins"): just({}),
    ("POST", "/admin/apps/{app_id}/origins/lock"): just({}),
    ("POST", "/admin/apps/{app_id}/origins/forget"): just(),
    ("GET", "/admin/apps/{app_id}/rp-ids"): just(),
    ("POST", "/admin/apps/{app_id}/rp-ids/migrate"): just({}),
    ("POST", "/admin/apps/{app_id}/rp-ids/answer-for"): just({"rpId": RP_ID}),
    ("POST", "/admin/apps/{app_id}/rp-ids/leave"): just({"rpId": RP_ID}),
    ("GET", "/admin/jobs"): just(),
    ("POST", "/admin/jobs/{name}/run"): _jobs_run,
} | {(spec.method, spec.path): just() for spec in ROUTES if spec.path.startswith(("/health/", "/assets/"))} | {
    ("GET", path): just()
    for path in (
        "/.well-known/webauthn",
        "/",
        "/errors",
        "/docs",
        "/swagger/index.html",
        "/openapi.json",
        "/swagger/v4/swagger.json",
    )
}  # fmt: skip
"""What the owner would send."""


def route_of(spec: RouteSpec) -> Route:
    return spec.method, spec.path


async def ask(
    client: httpx.AsyncClient, spec: RouteSpec, example: Example, headers: Mapping[str, str], **but: Any
) -> httpx.Response:
    """Send an example; `but` are other members of its path."""
    path = spec.path.format(**{**example.members, **but})
    sent: dict[str, Any] = {"headers": dict(headers)}
    if spec.body is not None:
        sent = {
            "content": msgspec.json.encode(example.body),
            "headers": {**headers, "Content-Type": "application/json"},
        }
    return await client.request(spec.method, f"{path}?{example.query}" if example.query else path, **sent)
