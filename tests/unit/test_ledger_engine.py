"""Where the ledger lives, and which errors are whose."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.ledger.dialects import dialect_of
from flask_llm_cost.ledger.engine import Engines, is_memory, resolve_url
from flask_llm_cost.ledger.schema import exclude_from_host


@pytest.mark.parametrize(
    ("database_uri", "bind", "app", "url"),
    [
        (None, None, None, "sqlite:////i/llm_cost.db"),
        (None, None, "sqlite:////i/app.db", "sqlite:////i/llm_cost.db"),
        (None, None, "sqlite://", "sqlite:////i/llm_cost.db"),
        (None, None, "postgresql+psycopg://u@h/app", "postgresql+psycopg://u@h/app"),
        (None, None, "postgresql+asyncpg://u@h/app", "postgresql+psycopg://u@h/app"),
        (None, None, "postgresql://u@h/app", "postgresql+psycopg://u@h/app"),
        (None, None, "mysql://u@h/app", "mysql+pymysql://u@h/app"),
        (None, "sqlite:////i/bind.db", "postgresql+psycopg://u@h/app", "sqlite:////i/bind.db"),
        (None, "sqlite:///bind.db", None, "sqlite:////i/bind.db"),
        ("postgres://u@h/own", None, "sqlite://", "postgresql+psycopg://u@h/own"),
        ("sqlite://", None, "postgresql+psycopg://u@h/app", "sqlite://"),
        ("sqlite:///own.db", None, None, "sqlite:////i/own.db"),
        ("sqlite+aiosqlite:////i/own.db", None, None, "sqlite:////i/own.db"),
    ],
)
def test_where_the_ledger_lives(database_uri: str | None, bind: str | None, app: str | None, url: str) -> None:
    """Its own URI, else the bind, else the app's database; never the app's own SQLite file."""
    found = resolve_url(
        database_uri=database_uri,
        bind_url=make_url(bind) if bind else None,
        app_url=make_url(app) if app else None,
        instance_path="/i",
    )
    assert found == make_url(url)


def test_a_wrong_uri_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="LLM_COST_DATABASE_URI") as caught:
        resolve_url(database_uri="not a url :secret", instance_path="/i")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["oracle://u@h/x", "nosuch://u@h/x", "mssql+pyodbc://u@h/x"])
def test_a_database_that_cannot_hold_it_is_told(url: str) -> None:
    with pytest.raises(ConfigurationError):
        dialect_of(Engines.create(make_url(url)).write.dialect.name)


@pytest.mark.parametrize(
    ("url", "memory"),
    [
        ("sqlite://", True),
        ("sqlite:///:memory:", True),
        ("sqlite:///file:x?mode=memory&uri=true", True),
        ("sqlite:///x.db", False),
        ("postgresql://u@h/x", False),
    ],
)
def test_memory_databases_are_told_apart(url: str, memory: bool) -> None:
    assert is_memory(make_url(url)) is memory


class _PostgreSQLError(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("dialect", "error", "data", "conflict"),
    [
        ("sqlite", OverflowError("int too large"), True, False),
        ("sqlite", OperationalError("", {}, Exception("database is locked")), False, False),
        ("postgresql", DataError("", {}, Exception("out of range")), True, False),
        ("postgresql", IntegrityError("", {}, Exception("not null")), True, False),
        ("postgresql", OperationalError("", {}, _PostgreSQLError("40P01")), False, True),
        ("postgresql", OperationalError("", {}, _PostgreSQLError("54000")), True, False),
        ("postgresql", OperationalError("", {}, Exception("server closed the connection")), False, False),
        ("mysql", OperationalError("", {}, Exception(1366, "incorrect value")), True, False),
        ("mysql", IntegrityError("", {}, Exception(1062, "duplicate")), False, True),
        ("mysql", OperationalError("", {}, Exception(1213, "deadlock")), False, True),
        ("mysql", OperationalError("", {}, Exception(2003, "cannot connect")), False, False),
        ("mariadb", KeyError("provider"), True, False),
    ],
)
def test_whose_fault_an_error_is(dialect: str, error: Exception, data: bool, conflict: bool) -> None:
    """The event's (no retry helps), a neighbour's (an immediate one does), or the database's (a later one does)."""
    ours = dialect_of(dialect)
    assert (ours.is_data_error(error), ours.is_conflict(error)) == (data, conflict)


def test_the_hosts_own_filter_goes_on_deciding() -> None:
    """Ours are hidden whatever the host says; about all else the host's own function decides."""
    asked: list[str | None] = []

    def theirs(name: str | None, kind: str, parents: object) -> bool:
        asked.append(name)
        return name != "hidden"

    arguments = {"include_name": theirs, "compare_type": True}
    exclude_from_host(arguments)
    include_name = arguments["include_name"]
    assert callable(include_name)
    names = ["llm_cost_calls", "llm_cost_schema_version", "users", "hidden", None]
    assert [include_name(name, "table", {}) for name in names] == [False, False, True, False, True]
    assert include_name("llm_cost_x", "index", {}) is True
    assert asked == ["users", "hidden", None, "llm_cost_x"]
