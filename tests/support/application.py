"""The whole house in process: real store, real keyring, real edge; only the clock is ours to move.

    async with HouseInProcess(sqlite_url) as house:
        application = await house.create_application()
        ceremonies = Ceremonies(application)
        await ceremonies.register("ann")
        verified = await ceremonies.verify(await ceremonies.sign_in(userId="ann"))

Every request goes through the front door (HTTP over ASGI), so a test sees what a client sees. What has no endpoint yet
(locking a key, an application's own settings) is written into the store, and rows are read from the database.

`Application` and `Ceremonies` need only an `httpx.AsyncClient`, so they drive a server in another process as well.
A whole ceremony (`register`, `sign_in`) fails the test when a step is refused; the steps take members that replace the
honest ones, `None` for null and `ABSENT` for none, and the `complete` steps answer with the response as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from narthex import __version__
from narthex.adapters.keyring import MasterKeyring
from narthex.adapters.sql import open_store
from narthex.adapters.sql.statement import RootStatement
from narthex.adapters.sql.store import SqlRootStore
from narthex.adapters.system import system_random
from narthex.http.app import create_app
from narthex.http.client import Network
from narthex.http.environment import Environment
from narthex.ports.changes import AddApiKey, SetSettings
from narthex.ports.egress import Egress
from narthex.ports.limits import Limit, Limiter
from narthex.ports.mail import Mail
from narthex.ports.records import ApiKey, KeyKind
from narthex.usecases.api_key import keep_key
from narthex.usecases.call import Facilities
from narthex.usecases.metadata import MetadataCatalog, MetadataSigner
from narthex.usecases.tenant import STALENESS, Directory
from tests.support.authenticator import Json, SoftwareAuthenticator, SoftwareCredential
from tests.support.metadata import MetadataMaker

START = datetime(2026, 3, 4, 5, 6, 7, 891_011, tzinfo=UTC)
MANAGEMENT_KEY = "a management key that is long enough"
MASTER_KEY = b"a master key for tests, long enough"
PUBLIC_URL = "https://passkeys.narthex.test"
ORIGIN = "https://example.org"
RP_ID = "example.org"
PROBLEM_TYPE = "application/problem+json"

ABSENT: Any = object()
"""In place of a member's value: the member is not sent."""


class MovableClock:
    """Stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def move(self, **span: float) -> None:
        """Move by `timedelta(**span)`: `clock.move(days=7)`, `clock.move(microseconds=-1)`."""
        self.at += timedelta(**span)


class StrictLimiter:
    """Lets nobody through, and remembers who asked."""

    def __init__(self, *, wait_s: int) -> None:
        self.wait_s = wait_s
        self.counted: list[tuple[str, str]] = []

    async def hit(self, *counted: tuple[Limit, str]) -> int | None:
        self.counted += [(limit.name, of) for limit, of in counted]
        return self.wait_s

    async def close(self) -> None: ...


class HouseInProcess:
    """A server without a socket. Belongs to the event loop in which it is entered."""

    def __init__(
        self,
        database_url: str,
        *,
        public_url: str = PUBLIC_URL,
        management_key: str | None = MANAGEMENT_KEY,
        master_key: bytes = MASTER_KEY,
        trusted_proxies: tuple[Network, ...] = (),
        limiter: Limiter | None = None,
        mail: Mail | None = None,
        egress: Egress | None = None,
        new_application_hold: timedelta = timedelta(hours=24),
        peer: str = "192.0.2.1",
    ) -> None:
        self._database_url = database_url
        self._public_url = public_url
        self._management_key = management_key
        self._trusted_proxies = trusted_proxies
        self._facilities = Facilities(
            public_url=public_url, mail=mail, egress=egress, limiter=limiter, new_application_hold=new_application_hold
        )
        self._peer = peer
        self.keyring = MasterKeyring(master_key)
        self.clock = MovableClock()
        self.catalog = MetadataCatalog(MetadataSigner(roots=(MetadataMaker().root,), name=None))
        self.root: SqlRootStore
        self.env: Environment
        self.client: httpx.AsyncClient

    async def __aenter__(self) -> HouseInProcess:
        self.root = await open_store(self._database_url)
        self.env = Environment(
            root=self.root,
            directory=Directory(self.root, self.keyring),
            keyring=self.keyring,
            clock=self.clock,
            random=system_random,
            management_key=self._management_key,
            trusted_proxies=self._trusted_proxies,
            version=__version__,
            catalog=self.catalog,
            facilities=self._facilities,
        )
        transport = httpx.ASGITransport(create_app(self.env), client=(self._peer, 50_000))
        self.client = httpx.AsyncClient(transport=transport, base_url=self._public_url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.root.close()

    @property
    def errors_url(self) -> str:
        return f"{self._public_url}/errors"

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def manage(self, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Call what operators call: with a body to change something, without one to read it."""
        method, headers = ("GET" if body is None else "POST"), {"ManagementKey": self._management_key or ""}
        return await self.client.request(method, path, json=body, headers=headers)

    async def create_application(self, app_id: str = "demo", **members: Any) -> Application:
        """Make an application through the management API; members are those of its body."""
        return await create_application(self.client, app_id, **members)

    async def load_metadata(self, blob: bytes) -> None:
        """Judge by a BLOB from now on; `MetadataMaker().blob(…)` makes one that this house believes."""
        metadata = await self.catalog.verify(blob, now=self.clock.now())
        await self.root.keep_metadata(number=metadata.number, blob=blob, at=self.clock.now(), replace=True)
        await self.catalog.refresh(self.root, now=self.clock.now())

    async def change_settings(self, app_id: str, **settings: Any) -> None:
        """Decide for an application what no endpoint decides yet, such as `origins` or `manual_tokens`."""
        tenant = self.root.tenant(app_id)
        application = await tenant.find_application()
        assert application is not None
        await tenant.commit(SetSettings(settings=msgspec.structs.replace(application.settings, **settings)))
        self.env.directory.forget(app_id)

    async def add_key(self, app_id: str, kind: KeyKind, *, scopes: frozenset[str]) -> str:
        """Give an application another key with these scopes only."""
        text = f"{app_id}:{kind}:{system_random(16).hex()}"
        key = keep_key(kind, text, self.keyring, system_random, self.clock.now())
        await self.root.tenant(app_id).commit(AddApiKey(key=msgspec.structs.replace(key, scopes=scopes)))
        self.env.directory.forget(app_id)
        return text

    async def lock_key(self, app_id: str, key: str) -> None:
        """Lock a key as another process would: seen once what is remembered grew stale."""
        found = await self.find_key(app_id, key)
        await self.write(
            "update api_key set locked = :locked where app_id = :app_id and key_id = :key_id",
            locked=True,
            app_id=app_id,
            key_id=found.key_id,
        )
        self.clock.move(seconds=STALENESS.total_seconds())

    async def find_key(self, app_id: str, key: str) -> ApiKey:
        application = await self.root.tenant(app_id).find_application()
        assert application is not None
        return next(kept for kept in application.api_keys if kept.mac == self.keyring.mac("api-key", key.encode()))

    async def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """What the database holds, past every room of the house."""
        statement = RootStatement(query)
        return [tuple(row) for row in await self.root._engine.fetch(statement, statement.bind(**values))]

    async def write(self, query: str, **values: object) -> None:
        """Change the database behind the house's back."""
        statement = RootStatement(query)
        await self.root._engine.execute(statement, statement.bind(**values))

    async def events(self, app_id: str = "demo") -> list[tuple[Any, ...]]:
        """The event log, oldest first: number, severity, who, about what, key hint."""
        return await self.rows(
            "select event_type, severity, performed_by, subject, api_key_hint from event where app_id = :app_id "
            "order by performed_at, event_id",
            app_id=app_id,
        )


@dataclass(frozen=True, slots=True)
class Application:
    """One application as its customer sees it: a base URL and keys."""

    client: httpx.AsyncClient
    app_id: str
    public_key: str
    secret_key: str
    other_public_key: str = ""
    other_secret_key: str = ""

    async def public(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Call what pages call."""
        return await self.client.post(path, json=sent(body), headers={"ApiKey": self.public_key, **headers})

    async def secret(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Call what backends call."""
        return await self.client.post(path, json=sent(body), headers={"ApiSecret": self.secret_key, **headers})


async def create_application(
    client: httpx.AsyncClient, app_id: str, *, management_key: str = MANAGEMENT_KEY, **members: Any
) -> Application:
    """Make an application through the management API of any server."""
    headers = {"ManagementKey": management_key}
    keys = accepted(await client.post(f"/admin/apps/{app_id}/create", json=sent(members), headers=headers))
    return Application(client, app_id, keys["apiKey1"], keys["apiSecret1"], keys["apiKey2"], keys["apiSecret2"])


@dataclass(frozen=True, slots=True)
class Begun:
    """A ceremony under way: what the browser is told, and the session that goes back with the answer."""

    data: Json
    session: str


class Ceremonies:
    """A user's browser and authenticator, and the customer's backend, at one application."""

    def __init__(
        self,
        application: Application,
        *,
        authenticator: SoftwareAuthenticator | None = None,
        origin: str = ORIGIN,
        rp_id: str = RP_ID,
    ) -> None:
        self.application = application
        self.authenticator = authenticator or SoftwareAuthenticator()
        self.origin = origin
        self.rp_id = rp_id

    # --- whole ceremonies: every step must be accepted

    async def register(self, user_id: str = "ann", *, nickname: str | None = None, **leave: Any) -> str:
        """Enrol a passkey; answers with a sign-in token."""
        begun = await self.begin_registration(await self.give_leave(user_id, **leave))
        token: str = accepted(await self.complete_registration(begun, nickname=nickname))["token"]
        return token

    async def sign_in(self, *, credential: SoftwareCredential | None = None, **begin: Any) -> str:
        """Sign in with `userId`, `alias`, both or neither; answers with a sign-in token."""
        begun = await self.begin_sign_in(**begin)
        token: str = accepted(await self.complete_sign_in(begun, credential=credential))["token"]
        return token

    async def verify(self, token: str) -> Json:
        """What the backend learns from a sign-in token."""
        return accepted(await self.ask_verify(token))

    # --- steps

    async def give_leave(self, user_id: str = "ann", **members: Any) -> str:
        """The backend's register token."""
        token: str = accepted(await self.ask_leave(userId=user_id, **members))["token"]
        return token

    async def ask_leave(self, **members: Any) -> httpx.Response:
        honest = {"userId": "ann", "username": "ann@example.org", "displayName": "Ann"}
        return await self.application.secret("/register/token", honest | members)

    async def begin_registration(self, token: str, **members: Any) -> Begun:
        return begun(await self.ask_registration(token, **members))

    async def ask_registration(self, token: Any, **members: Any) -> httpx.Response:
        return await self.application.public("/register/begin", {"token": token, **self._page, **members})

    def registration_body(self, begun: Begun, **knobs: Any) -> Json:
        """What the browser would send to complete; knobs are those of `SoftwareAuthenticator.register`."""
        response = self.authenticator.register(begun.data, origin=self.origin, **knobs)
        return {"session": begun.session, "response": response, **self._page}

    async def complete_registration(
        self, begun: Begun, *, knobs: Mapping[str, Any] | None = None, **members: Any
    ) -> httpx.Response:
        body = self.registration_body(begun, **(knobs or {}))
        return await self.application.public("/register/complete", body | members)

    async def begin_sign_in(self, **members: Any) -> Begun:
        return begun(await self.ask_sign_in(**members))

    async def ask_sign_in(self, **members: Any) -> httpx.Response:
        return await self.application.public("/signin/begin", {**self._page, **members})

    def sign_in_body(self, begun: Begun, *, credential: SoftwareCredential | None = None, **knobs: Any) -> Json:
        """What the browser would send to complete; knobs are those of `SoftwareAuthenticator.sign_in`."""
        response = self.authenticator.sign_in(begun.data, origin=self.origin, credential=credential, **knobs)
        return {"session": begun.session, "response": response, **self._page}

    async def complete_sign_in(
        self,
        begun: Begun,
        *,
        credential: SoftwareCredential | None = None,
        knobs: Mapping[str, Any] | None = None,
        **members: Any,
    ) -> httpx.Response:
        body = self.sign_in_body(begun, credential=credential, **(knobs or {}))
        return await self.application.public("/signin/complete", body | members)

    async def ask_verify(self, token: Any) -> httpx.Response:
        return await self.application.secret("/signin/verify", {"token": token})

    @property
    def _page(self) -> Json:
        return {"origin": self.origin, "rpid": self.rp_id}


def sent(body: Mapping[str, Any]) -> Json:
    """The members that are sent at all."""
    return {name: value for name, value in body.items() if value is not ABSENT}


def begun(response: httpx.Response) -> Begun:
    answer = accepted(response)
    return Begun(answer["data"], answer["session"])


def accepted(response: httpx.Response) -> Json:
    """The answer of a request that must succeed."""
    assert response.status_code == 200, f"{response.request.url.path}: {response.status_code} {response.text}"
    answer: Json = response.json()
    return answer


def refused(response: httpx.Response, status: int, code: str) -> Json:
    """The problem document of a request that must be refused so."""
    problem = problem_of(response)
    assert (status, code) == (response.status_code, problem["errorCode"]), response.text
    return problem


def problem_of(response: httpx.Response) -> Json:
    """The problem document that an answer is; fails where it is not a whole one."""
    assert response.headers["content-type"] == PROBLEM_TYPE, f"{response.status_code} {response.text!r}"
    problem: Json = response.json()
    assert problem["status"] == response.status_code
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "errorCode", "traceId"))
    return problem
