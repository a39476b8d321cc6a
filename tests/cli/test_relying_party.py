"""Where ceremonies take place, at the command line: look, lock, move, and answer for a host.

The passkeys are made by a house in this process, on the database that the commands then work on.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import Any

import pytest

from tests.cli.test_cli import KEY, Operator
from tests.cli.test_cli import operator as operator
from tests.support.application import Application, Ceremonies, HouseInProcess

# `main` reads `sys.argv`, as it does in a process of its own; cyclopts suspects a slip when it sees a test do that.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

OLD, NEW, EVIL = "old.example", "new.example", "evil.example"


class Customers:
    """Users who make passkeys at an application that a command made."""

    def __init__(self, operator: Operator, *options: str) -> None:
        self._operator = operator
        self._made = json.loads(operator.does("app", "create", "demo", "--json", *options))

    def register(self, *users: tuple[str, str]) -> None:
        """Make a passkey for each user and rp id, on the page of that host."""

        async def act(application: Application) -> None:
            for user, rp_id in users:
                await Ceremonies(application, origin=f"https://{rp_id}", rp_id=rp_id).register(user)

        self.do(act)

    def do(self, act: Callable[[Application], Awaitable[None]]) -> None:
        async def visit() -> None:
            url = f"sqlite:///{self._operator.database}"
            async with HouseInProcess(url, master_key=KEY.encode()) as house:
                house.clock.move(days=1)
                await act(Application(house.client, "demo", self._made["apiKeys"][0], self._made["apiSecrets"][0]))

        asyncio.run(visit())


@pytest.fixture
def customers(operator: Operator) -> Customers:
    return Customers(operator)


def said_as_json(operator: Operator, *command: str) -> Any:
    return json.loads(operator.does("app", *command, "--json"))


def one_sentence(text: str) -> bool:
    """Lines for a person: what is wrong, and what to do; no code, no class, no trace."""
    return 1 <= len(text.strip().splitlines()) <= 2 and "Error" not in text and "_" not in text


def decided(operator: Operator) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(operator.does("app", "show", "demo", "--json"))
    return document


# --- origins --------------------------------------------------------------------------------------------------------


def test_an_open_application_says_so_and_what_it_saw(operator: Operator, customers: Customers) -> None:
    said = operator.does("app", "origins", "demo")
    assert "Ceremonies may come from any page. `narthex app lock demo` makes the list" in said
    assert "No ceremony has been seen yet." in said
    customers.register(("ann", OLD))
    said = operator.does("app", "origins", "demo")
    assert re.search(r"^ORIGIN +RP ID +FIRST SEEN +LAST SEEN$", said, re.MULTILINE)
    assert re.search(rf"^https://{OLD} +{OLD} +2026-03-05 05:06 +2026-03-05 05:06$", said, re.MULTILINE)


def test_origins_as_json(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD))
    document = said_as_json(operator, "origins", "demo")
    assert ([], [], []) == (document["origins"], document["topOrigins"], document["rpIds"])
    assert [(f"https://{OLD}", OLD)] == [(each["origin"], each["rpId"]) for each in document["seen"]]


# --- lock -----------------------------------------------------------------------------------------------------------


def test_a_lock_asks_and_nobody_there_means_no(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD))
    said = operator.fails("app", "lock", "demo")
    assert "Say --yes to do it." in said
    assert [] == decided(operator)["origins"]


def test_a_lock_shows_what_it_allows_and_allows_it(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD), ("bob", NEW))
    said = operator.does("app", "lock", "demo", "--yes")
    assert re.search(rf"^https://{OLD} +{OLD} ", said, re.MULTILINE)
    assert f"origins: https://{NEW}, https://{OLD}\nrp ids: {NEW}, {OLD}\n" in said
    assert "left out" not in said
    assert "any page" not in operator.does("app", "origins", "demo")


def test_a_lock_leaves_out_what_it_is_told_to(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD), ("mallory", EVIL))
    said = operator.does("app", "lock", "demo", "--without", f"https://{EVIL}", "--yes")
    assert f"origins: https://{OLD}\nrp ids: {OLD}\nleft out: https://{EVIL}\n" in said
    assert ([f"https://{OLD}"], [OLD]) == (decided(operator)["origins"], decided(operator)["rpIds"])


def test_a_lock_asks_about_what_it_will_allow(operator: Operator, customers: Customers) -> None:
    """What is left out does not stand in the list that the question is about."""
    customers.register(("ann", OLD), ("mallory", EVIL))
    done = operator.run("app", "lock", "demo", "--without", f"https://{EVIL}")
    assert OLD in done.stdout
    assert EVIL not in done.stdout


class Asked(StringIO):
    """Somebody at a terminal, who takes a while to say yes."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        self.meanwhile()
        return "yes\n"


def test_a_lock_allows_what_was_agreed_to_and_nothing_since(
    operator: Operator, customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the operator reads the list, somebody signs in on a page of their own."""
    customers.register(("ann", OLD))
    monkeypatch.setattr("sys.stdin", Asked(lambda: customers.register(("mallory", EVIL))))
    done = operator.run("app", "lock", "demo")
    said = done.stdout
    assert "Allow these, and nothing else? [y/N]" in done.stderr
    assert f"left out: https://{EVIL}\n" in said
    assert ([f"https://{OLD}"], [OLD]) == (decided(operator)["origins"], decided(operator)["rpIds"])


def test_nothing_seen_is_nothing_to_lock(operator: Operator, customers: Customers) -> None:
    said = operator.fails("app", "lock", "demo", "--yes")
    assert "No origin was seen for `demo` that could be kept." in said
    assert "narthex app set" in said
    assert one_sentence(said)
    customers.register(("mallory", EVIL))
    assert "could be kept" in operator.fails("app", "lock", "demo", "--without", f"https://{EVIL}", "--yes")


def test_a_second_lock_is_a_sentence_and_changes_nothing(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD))
    operator.does("app", "lock", "demo", "--yes")
    before = decided(operator)
    said = operator.fails("app", "lock", "demo", "--yes")
    assert "Ceremonies of `demo` come from a list of origins already." in said
    assert one_sentence(said)
    assert before == decided(operator)


def test_what_was_seen_is_forgotten(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD), ("mallory", EVIL))
    assert "Forgotten.\n" == operator.does("app", "forget-origins", "demo")
    assert "No ceremony has been seen yet." in operator.does("app", "origins", "demo")
    customers.register(("bob", OLD))
    assert [f"https://{OLD}"] == [each["origin"] for each in said_as_json(operator, "origins", "demo")["seen"]]


def test_a_lock_forgets_what_it_left_out(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD), ("mallory", EVIL))
    operator.does("app", "lock", "demo", "--without", f"https://{EVIL}", "--yes")
    assert [] == said_as_json(operator, "origins", "demo")["seen"]


# --- rp ids and a move ----------------------------------------------------------------------------------------------


def test_rp_ids_before_the_first_passkey(operator: Operator, customers: Customers) -> None:
    assert "There are no passkeys yet.\n" == operator.does("app", "rp-ids", "demo")
    assert {"users": 0, "moved": 0, "notMoved": 0, "move": None, "rpIds": []} == said_as_json(
        operator, "rp-ids", "demo"
    )


def test_a_move_is_followed_to_its_end(operator: Operator, customers: Customers) -> None:
    customers.register(("ann", OLD), ("bob", OLD))
    said = operator.does("app", "move", "demo", "--from", OLD, "--to", NEW)
    assert f"Users who are named at {NEW} are asked for their passkeys of {OLD}" in said
    assert f"narthex app answer-for demo {OLD}" in said
    assert f"narthex app set demo --origin https://{NEW}" in said
    assert "narthex app move demo --end" in said

    said = operator.does("app", "rp-ids", "demo")
    assert re.search(rf"^RP ID +PASSKEYS +USERS\n{OLD} +2 +2$", said, re.MULTILINE)
    assert f"Moving from {OLD} to {NEW}: 0 of 2 users have a passkey for\n{NEW}, 2 have only those for {OLD}.\n" in said

    customers.register(("ann", NEW))
    assert f"1 of 2 users have a passkey for\n{NEW}, 1 have only" in operator.does("app", "rp-ids", "demo")
    document = said_as_json(operator, "rp-ids", "demo")
    assert (2, 1, 1) == (document["users"], document["moved"], document["notMoved"])
    assert {"old": OLD, "new": NEW} == document["move"]
    assert [(OLD, 2, 2), (NEW, 1, 1)] == sorted(
        ((each["rpId"], each["credentials"], each["users"]) for each in document["rpIds"]), reverse=True
    )

    operator.does("app", "set", "demo", "--rp-id", OLD, "--rp-id", NEW)
    assert "The move has ended.\n" == operator.does("app", "move", "demo", "--end")
    assert [NEW] == decided(operator)["rpIds"]
    assert "Moving" not in operator.does("app", "rp-ids", "demo")
    assert decided(operator)["rpIdMigration"] is None


def test_a_move_names_the_origins_that_stay(operator: Operator) -> None:
    """A list that is set replaces the old one, so what is to be typed is all of it."""
    operator.does("app", "create", "demo", "--origin", f"https://{OLD}", "--origin", f"https://login.{OLD}")
    said = operator.does("app", "move", "demo", "--from", OLD, "--to", NEW)
    options = f"--origin https://{OLD} --origin https://login.{OLD} --origin https://{NEW}"
    assert f"narthex app set demo {options}\n" in said


@pytest.mark.parametrize(
    "options",
    [(), ("--from", OLD), ("--to", NEW), ("--from", OLD, "--to", NEW, "--end")],
    ids=["none", "from", "to", "all"],
)
def test_a_move_is_begun_or_ended(operator: Operator, customers: Customers, options: tuple[str, ...]) -> None:
    said = operator.fails("app", "move", "demo", *options)
    assert "Say --from and --to to begin a move, or --end to end it.\n" == said
    assert decided(operator)["rpIdMigration"] is None


# --- answer for a host ----------------------------------------------------------------------------------------------


def test_a_host_is_answered_for_and_left(operator: Operator, customers: Customers) -> None:
    url = f"https://{OLD}/.well-known/webauthn"
    assert f"{url} is answered with the origins of demo.\n" == operator.does("app", "answer-for", "demo", OLD)
    assert f"Answers {url}\n" in operator.does("app", "rp-ids", "demo")
    assert f"{url} is left alone.\n" == operator.does("app", "answer-for", "demo", OLD, "--leave")
    assert "Answers" not in operator.does("app", "rp-ids", "demo")


def test_a_host_that_another_answers_for_stays_with_it(operator: Operator, customers: Customers) -> None:
    operator.does("app", "create", "other")
    operator.does("app", "answer-for", "other", OLD)
    said = operator.fails("app", "answer-for", "demo", OLD)
    assert "Another application answers for the relying party id" in said
    assert one_sentence(said)
    operator.does("app", "answer-for", "demo", OLD, "--leave")
    assert "Answers" in operator.does("app", "rp-ids", "other")


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSED = {
    "lock demo --without nonsense --yes": "is neither a web origin nor one of an app",
    "lock nobody --yes": "There is no application `nobody`",
    "forget-origins nobody": "There is no application `nobody`",
    "origins nobody": "There is no application `nobody`",
    "rp-ids nobody": "There is no application `nobody`",
    "move nobody --end": "There is no application `nobody`",
    "answer-for nobody old.example": "There is no application `nobody`",
    "move demo --from old.example --to old.example": "cannot move from `old.example` to itself",
    "move demo --from https://old.example --to new.example": "is not a domain in lower case",
    "move demo --from old.example --to New.example": "is not a domain in lower case",
    "answer-for demo Old.example": "is not a domain in lower case",
    "answer-for demo 192.0.2.7": "is an address, not a domain",
    "answer-for demo https://old.example": "is not a domain in lower case",
    "answer-for demo old.example. --leave": "is not a domain in lower case",
    "set demo --rp-id Old.example": "is not a domain in lower case",
    "set demo --origin old.example": "is neither a web origin nor one of an app",
}


def test_every_refusal_is_a_sentence_and_changes_nothing(operator: Operator, customers: Customers) -> None:
    before = decided(operator)
    for command, sentence in REFUSED.items():
        said = operator.fails("app", *command.split())
        assert sentence in said, command
        assert one_sentence(said), said
    assert before == decided(operator)
