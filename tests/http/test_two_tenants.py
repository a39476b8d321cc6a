"""Two applications with the same ids in every row: what one asks never sees, never changes and never feels the other.

Made from the route table: a route that belongs to an application and has no example in `examples.py` fails there.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from narthex.adapters.sql.schema import metadata
from narthex.http.app import ROUTES
from narthex.http.authenticate import Access
from narthex.http.routing import RouteSpec
from narthex.ports.changes import AddCredential, KeepReport
from tests.http.examples import EXAMPLES, Customer, Example, WholeHouse, ask, route_of
from tests.store.records import make_credential, make_evidence, make_report
from tests.support.application import MANAGEMENT_KEY, Application, HouseInProcess

pytestmark = pytest.mark.anyio

TENANT_TABLES = {
    table.name: [column.name for column in table.columns]
    for table in metadata.tables.values()
    if "app_id" in table.columns
}
MARKED = {
    "authentication_configuration": ("created_by", "edited_by"),
    "credential": ("nickname", "device", "country"),
    "alias": ("plaintext",),
    "event": ("message", "performed_by", "trace_id"),
    "webhook": ("url", "description"),
    "delivery": ("subject", "problem"),
    "dispatched_mail": ("recipient",),
    "settings_revision": ("changed_by",),
    "api_key": ("name",),
}
"""What may hold any text. Who finds the mark of a tenant in an answer has seen a row of that tenant."""

NOT_MIRRORED = ("application", "related_rp_id")
OF_AN_APPLICATION = [spec for spec in ROUTES if spec.scope is not None or "{app_id}" in spec.path]
ABOVE_APPLICATIONS = {
    ("GET", "/apps/list-pending-deletion"),
    ("GET", "/mds/attestation-types"),
    ("GET", "/mds/certification-statuses"),
    ("GET", "/mds/entries"),
    ("GET", "/mds/state"),
    ("GET", "/admin/jobs"),
    ("POST", "/admin/jobs/{name}/run"),
}
"""What the operator asks of the whole server."""

RANDOM = {"traceId", "token", "session", "challenge", "secret", "deliveryId"}
"""Members that are drawn anew for each answer."""


@pytest.fixture
async def house(sqlite_url: str) -> AsyncIterator[WholeHouse]:
    async with WholeHouse(sqlite_url) as house:
        yield house


@pytest.fixture
async def ours(house: WholeHouse) -> Customer:
    """A tenant who has rows in every table."""
    ours = await house.customer("ours")
    await ours.credential()
    await ours.delivery()
    await ours.ticket()
    await house.manage("/admin/apps/ours/settings", {"by": "ann", "maxUsers": 1_000})
    await house.manage("/admin/apps/ours/rp-ids/answer-for", {"rpId": "ours.example"})
    await ours.application.secret("/authenticators/add", {"aaGuids": ["2fc0579f-8113-47ea-b116-bb5a8db9202a"]})
    await ours.ceremonies.verify(await ours.ceremonies.sign_in())
    attested = AddCredential(make_credential(user_id="carl"), evidence=make_evidence())
    await house.root.tenant("ours").commit(KeepReport(make_report()), attested)
    return ours


async def dump(house: HouseInProcess, app_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that the database holds of an application, by table."""
    return {
        table: sorted(await house.rows(f"select * from {table} where app_id = :app_id", app_id=app_id), key=repr)
        for table in TENANT_TABLES
    }


async def mirror(house: WholeHouse, mark: str) -> None:
    """Give the tenant `theirs` the rows of `ours` under the same ids; what may hold any text bears the mark.

    But for the relying party ids, which one application alone may answer for.
    """
    mirrored = {table: columns[1:] for table, columns in TENANT_TABLES.items() if table not in NOT_MIRRORED}
    for table in mirrored:
        await house.write(f"delete from {table} where app_id = :theirs", theirs="theirs")
    for table, columns in mirrored.items():
        marked = [":mark" if column in MARKED.get(table, ()) else column for column in columns]
        values = {"theirs": "theirs", "ours": "ours"} | ({"mark": mark} if ":mark" in marked else {})
        await house.write(
            f"insert into {table} (app_id, {', '.join(columns)}) "
            f"select :theirs, {', '.join(marked)} from {table} where app_id = :ours",
            **values,
        )


async def mark_rows(house: WholeHouse, app_id: str, mark: str) -> None:
    for table, columns in MARKED.items():
        changes = ", ".join(f"{column} = :mark" for column in columns)
        await house.write(f"update {table} set {changes} where app_id = :app_id", mark=mark, app_id=app_id)


def keys_of(application: Application) -> dict[str, str]:
    return {"ApiKey": application.public_key, "ApiSecret": application.secret_key, "ManagementKey": MANAGEMENT_KEY}


async def example_of(spec: RouteSpec, customer: Customer) -> Example:
    return await EXAMPLES[route_of(spec)](customer)


def whole(response: httpx.Response) -> str:
    return f"{response.headers} {response.text}"


@pytest.mark.parametrize("spec", OF_AN_APPLICATION, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_what_one_tenant_does_leaves_the_other_as_it_was(
    house: WholeHouse, ours: Customer, spec: RouteSpec
) -> None:
    await house.create_application("theirs")
    example = await example_of(spec, ours)
    await mirror(house, "of-the-others")
    before = await dump(house, "theirs")
    assert ["related_rp_id"] == [table for table, rows in before.items() if not rows], "give them more"
    response = await ask(house.client, spec, example, keys_of(ours.application))
    assert response.status_code < 400, response.text
    assert "of-the-others" not in whole(response)
    assert before == await dump(house, "theirs")


@pytest.mark.parametrize(
    "spec",
    [spec for spec in OF_AN_APPLICATION if spec.access is not Access.MANAGEMENT_KEY],
    ids=lambda spec: f"{spec.method} {spec.path}",
)
async def test_a_tenant_cannot_tell_whether_there_is_another(
    house: WholeHouse, ours: Customer, sqlite_url: str, tmp_path: Path, spec: RouteSpec
) -> None:
    """They ask by the ids and tokens of ours, here and in a house that has no such tenant: they get the same answer."""
    theirs = (await house.customer("theirs")).application
    example = await example_of(spec, ours)
    await mark_rows(house, "ours", "of-the-others")
    async with WholeHouse(f"sqlite:///{copied(sqlite_url, tmp_path / 'without.db')}") as without:
        without.clock.at = house.clock.at
        await without.root.erase_application("ours")
        alone = await ask(without.client, spec, example, keys_of(theirs), app_id="theirs")
    before = await dump(house, "ours")
    response = await ask(house.client, spec, example, keys_of(theirs), app_id="theirs")
    assert before == await dump(house, "ours")
    assert "of-the-others" not in whole(response)
    assert told(alone) == told(response)


def copied(database_url: str, path: Path) -> Path:
    here = database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(here)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return path


def told(response: httpx.Response) -> tuple[int, Any]:
    """What an answer says, but for what is drawn anew each time."""
    if "json" not in response.headers.get("content-type", ""):
        return response.status_code, re.sub(r"verify_[\w-]+", "…", whole(response))
    if "ndjson" in response.headers["content-type"]:
        return response.status_code, response.text
    answer = response.json()
    if response.status_code == 201 and isinstance(answer, dict):
        del answer["id"]
    return response.status_code, _less_random(answer)


def _less_random(value: Any) -> Any:
    match value:
        case dict():
            return {name: "…" if name in RANDOM else _less_random(inner) for name, inner in value.items()}
        case list():
            return [_less_random(each) for each in value]
        case _:
            return value


def test_every_private_route_is_of_an_application_or_above_them() -> None:
    private = {route_of(spec) for spec in ROUTES if spec.access is not Access.ANONYMOUS}
    assert set() == private - {route_of(spec) for spec in OF_AN_APPLICATION} - ABOVE_APPLICATIONS
    assert set() == ABOVE_APPLICATIONS - private


def test_every_mark_is_a_column_of_a_table() -> None:
    assert [] == [table for table, columns in MARKED.items() if not {*columns} <= {*TENANT_TABLES[table]}]
