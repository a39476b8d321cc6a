"""Every refusal can be explained: it has a cause, a code of its own, and an entry on the page of errors."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import pytest

import narthex
from narthex.base.errors import FAMILIES, Refusal
from narthex.http.openapi import Documented
from narthex.http.problems import STATUS, status_of, wire_code
from narthex.http.routes.pages import rendered

SHARED_CODES = {
    "attestation-not-supported-on-plan": "400 at registration, 403 at the lists of models: the compatible API",
    "forbidden": "the family's own code: a key without the scope",
    "invalid-token": "not one of ours; a key that we do not hold is one way",
}
"""Codes that several classes bear because to a client they mean the same. It only shrinks."""

STOP_THE_START = {
    "AddressTaken",
    "ArchiveExists",
    "ArchiveUnwritable",
    "DataDirUnusable",
    "DatabaseUrlMalformed",
    "KeyFileUnusable",
    "MailSettingRefused",
    "MasterKeyDiffers",
    "MasterKeyMissing",
    "MasterKeyUnusable",
    "MetadataRootUnusable",
    "RedisMissing",
    "RedisUrlMalformed",
    "ReferenceDatabaseUnreadable",
    "SchemaOutdated",
    "SecretFileUnusable",
    "SettingRefused",
}
"""An operator reads these on the terminal; no request meets them, so the page for clients leaves them out."""

MET_BY_THEIR_WORDS = {
    "AddressTaken": "cannot be listened on",
    "ApplicationNotImported": "no import made it",
    "ArchiveExists": "There is a file `demo.archive` already",
    "ArchiveUnwritable": "cannot be written",
    "DataDirUnusable": "Nothing can be kept in",
    "InvalidApplicationId": "3 to 62 lower-case letters and digits",
    "KeyFileUnusable": "The demo's keys in",
    "MasterKeyDiffers": "The master key is not the one that this database was set up with",
    "MasterKeyMissing": "is gone, and this database was set up with it",
    "MetadataRootUnusable": "holds no certificate",
    "RecordUnreadable": "it has no scope that is known",
    "SchemaOutdated": "narthex migrate",
    "UrlTemplateInvalid": "You have provided a UrlTemplate that cannot be converted to a URL.",
    "UrlTemplateWithoutToken": "You have provided a UrlTemplate without a $TOKEN template.",
}
"""Nobody sees the codes of these: the tests look for what is said on the terminal, or in the compatible API's words."""

TESTS = Path(__file__).parents[1]


def every_refusal() -> list[type[Refusal]]:
    for module in pkgutil.walk_packages(narthex.__path__, "narthex."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)
    found: list[type[Refusal]] = []
    waiting = [Refusal]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__.startswith("narthex.") and kind not in found:
                found.append(kind)
                waiting.append(kind)
    return sorted((kind for kind in found if kind not in FAMILIES), key=lambda kind: (kind.code, kind.__name__))


REFUSALS = every_refusal()


@pytest.fixture(scope="module")
def errors_page() -> str:
    documented = Documented(specs=[], version="0", public_url="https://narthex.test")
    return rendered(documented, errors_url="https://narthex.test/errors")["/errors"].content.decode()


@pytest.fixture(scope="module")
def tests() -> str:
    """What all other tests say."""
    return "\n".join(path.read_text() for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__))


def test_there_are_refusals_at_all() -> None:
    assert len(REFUSALS) > 50


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_a_refusal_says_its_cause_in_a_sentence(kind: type[Refusal]) -> None:
    first = (kind.__doc__ or "").strip().partition("\n")[0]
    assert re.fullmatch(r"[A-Z`].{10,}[.;,]?.*", first), kind
    assert kind.__doc__ != Refusal.__doc__


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_a_refusal_has_a_code_of_small_words_and_a_status(kind: type[Refusal]) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.code)
    assert 400 <= status_of(kind) < 600


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_a_refusal_that_a_request_can_meet_is_on_the_page_of_errors(errors_page: str, kind: type[Refusal]) -> None:
    assert (kind.__name__ not in STOP_THE_START) == (f"id='{wire_code(kind.code)}'" in errors_page)


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_a_refusal_is_met_by_a_test(tests: str, kind: type[Refusal]) -> None:
    """By its name, by its code, or by its words; a refusal that no test names may be one that nothing raises."""
    if kind.__name__ in MET_BY_THEIR_WORDS:
        assert MET_BY_THEIR_WORDS[kind.__name__] in tests
    else:
        assert re.search(rf"\b{kind.__name__}\b|[\"'`]({kind.code}|{wire_code(kind.code)})[\"'`]", tests)


def test_whoever_is_met_by_its_words_is_a_refusal_still() -> None:
    assert set() == MET_BY_THEIR_WORDS.keys() - {kind.__name__ for kind in REFUSALS}
    assert set() == STOP_THE_START - {kind.__name__ for kind in REFUSALS}


def test_a_code_has_one_meaning() -> None:
    bearers: dict[str, list[str]] = defaultdict(list)
    for kind in REFUSALS:
        bearers[kind.code].append(kind.__name__)
    for family in FAMILIES:
        if family.code in bearers:
            bearers[family.code].append(family.__name__)
    shared = {code for code, names in bearers.items() if len(names) > 1}
    assert set(SHARED_CODES) == shared


def test_every_family_has_a_status() -> None:
    assert set(FAMILIES) == set(STATUS)
