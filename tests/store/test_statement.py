"""The one door for SQL: what it translates, and what it does not let through."""

from __future__ import annotations

import doctest
import importlib

import pytest

from narthex.adapters.sql.statement import RootStatement, TenantStatement


@pytest.mark.parametrize(
    "text",
    [
        "select 1 from credential",
        "select 1 from credential where user_id = :user_id",
        "select 1 from credential where :app_id = :app_id",
        "select 1 from credential where app_id = :user_id",
        "select 1 from credential join alias on true where credential.app_id = :app_id",
        "select 1 from credential where app_id = :app_id union all select 1 from alias",
        "update credential set device = :device",
        "delete from credential where credential_id = :credential_id",
        "delete from alias where app_id = :app_id and mac in (select mac from alias)",
        "insert into alias (mac, app_id) values (:mac, :app_id)",
        "insert into alias (app_id, mac) values (:user_id, :app_id)",
        "insert into alias (app_id, mac) select app_id, mac from alias",
        "select 1",
    ],
)
def test_a_statement_that_could_reach_another_tenant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="app"):
        TenantStatement(text)


def test_a_name_used_twice_is_bound_once() -> None:
    statement = TenantStatement("select :a from t where app_id = :app_id and x::text = :b or :a = :b")
    assert statement.postgres == "select $1 from t where app_id = $2 and x::text = $3 or $1 = $3"
    assert statement.sqlite == "select ?1 from t where app_id = ?2 and x::text = ?3 or ?1 = ?3"
    assert statement.bind("app", b=2, a=1) == (1, "app", 2)
    assert statement.shifted(10) == "select $11 from t where app_id = $12 and x::text = $13 or $11 = $13"


def test_a_value_that_is_not_given_is_noticed() -> None:
    with pytest.raises(KeyError):
        RootStatement("select 1 from t where a = :a and b = :b").bind(a=1)


@pytest.mark.parametrize(
    "module", ["statement", "encoding", "event", "span", "daily_report", "request_count", "database_url"]
)
def test_the_examples_in_docstrings_hold(module: str) -> None:
    found = importlib.import_module(f"narthex.adapters.sql.{module}")
    outcome = doctest.testmod(found, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_sqlite_is_not_shown_the_clause_that_it_has_no_word_for() -> None:
    statement = RootStatement("select name from t order by name limit :most\n        for update skip locked")
    assert statement.postgres == "select name from t order by name limit $1 for update skip locked"
    assert statement.sqlite == "select name from t order by name limit ?1"
