"""``flask llm-cost db`` and ``flush``: one line each, exit code 2 and no traceback when they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import URL, func, select

from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.cli.db import db
from flask_llm_cost.cli.flush import flush
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.settings import Settings
from flask_llm_cost.state import EXTENSION, State

Run = Callable[..., Result]


def app_on(ledger: Ledger) -> Flask:
    app = Flask("host")
    parts: dict[str, Any] = {part.name: None for part in fields(State)}
    app.extensions[EXTENSION] = State(**parts | {"app": app, "settings": Settings(), "ledger": ledger})
    return app


@pytest.fixture
def run() -> Iterator[Callable[[Ledger, Any, list[str]], Result]]:
    def run(ledger: Ledger, command: Any, arguments: list[str]) -> Result:
        return app_on(ledger).test_cli_runner().invoke(command_group, [command.name, *arguments])

    return run


def test_upgrade_says_what_it_did(open_ledger: Any, sqlite_url: URL, run: Run) -> None:
    """One command, whatever the database is at; run again it does nothing. Covers P-MIG-01, P-MIG-15."""
    ledger = open_ledger(sqlite_url, migrate=False)
    assert run(ledger, db, ["current"]).output == (
        "none (newest: 0002). The ledger's tables are missing: run `flask llm-cost db upgrade`.\n"
    )
    assert run(ledger, db, ["upgrade"]).output == "The ledger's tables are upgraded: nothing -> 0002.\n"
    assert run(ledger, db, ["upgrade"]).output == "The ledger's tables are current already (0002).\n"
    assert run(ledger, db, ["current"]).output == "0002 (newest: 0002). The ledger's tables are current.\n"


def test_sql_prints_the_ddl_without_a_database(open_ledger: Any, run: Run) -> None:
    away = URL.create("postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    result = run(open_ledger(away, migrate=False), db, ["sql"])
    assert result.exit_code == 0
    assert "CREATE TABLE llm_cost_calls" in result.output
    assert "USING gin (tags jsonb_path_ops)" in result.output


def test_sql_prints_what_is_new_since_a_revision(open_ledger: Any, sqlite_url: URL, run: Run) -> None:
    ledger = open_ledger(sqlite_url, migrate=False)
    result = run(ledger, db, ["sql", "--from", "0001"])
    assert result.exit_code == 0
    assert "ALTER TABLE llm_cost_tag_daily ADD COLUMN cost_low_nano" in result.output
    assert "UPDATE llm_cost_schema_version SET version_num='0002'" in result.output
    assert "CREATE TABLE" not in result.output
    refused = run(ledger, db, ["sql", "--from", "7"])
    assert refused.exit_code == 2
    assert refused.output == "Error: There is no revision '7': 0001, 0002 are known.\n"


@pytest.mark.parametrize("command", ["upgrade", "current"])
def test_a_database_that_is_away_is_one_line(open_ledger: Any, run: Run, command: str) -> None:
    away = URL.create("postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    result = run(open_ledger(away, migrate=False), db, [command])
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert isinstance(result.exception, SystemExit)


def test_flush_ships_what_a_dead_process_left(
    open_ledger: Any, sqlite_url: URL, make_event: Callable[..., Event], run: Run
) -> None:
    """Also from an app in ``sync`` mode, which has no spool of its own."""
    dead = open_ledger(sqlite_url, durability="spool")
    dead.shutdown()
    left = open_ledger(sqlite_url, durability="spool", migrate=False)
    left._spooled.shipper.stop(0)
    left.record(make_event())
    left.record(make_event())
    left.shutdown(drain=False)
    ledger = open_ledger(sqlite_url, durability="sync")
    assert run(ledger, flush, []).output == "Shipped 2 waiting events; nothing waits any more.\n"
    with ledger.session() as session:
        assert session.scalar(select(func.count(Call.id))) == 2
    assert run(ledger, flush, []).output == "Shipped 0 waiting events; nothing waits any more.\n"


def test_flush_that_cannot_says_why(
    open_ledger: Any, sqlite_url: URL, make_event: Callable[..., Event], run: Run
) -> None:
    ledger = open_ledger(sqlite_url, migrate=False, durability="spool")
    ledger.record(make_event())
    result = run(ledger, flush, ["--timeout", "0.3"])
    assert result.exit_code == 2
    assert result.output.startswith("Error: 1 events still wait after 0.3 s: ")
    assert "flask llm-cost db upgrade" in result.output
    assert result.output.count("\n") == 1


def test_flush_waits_for_a_live_process(
    open_ledger: Any, sqlite_url: URL, make_event: Callable[..., Event], run: Run
) -> None:
    """What another process holds is its own to ship; the command tells when it does not. Covers P-ING-20."""
    other = open_ledger(sqlite_url, durability="spool")
    other._spooled.shipper.stop(0)
    other.record(make_event())
    ledger = open_ledger(sqlite_url, durability="sync")
    result = run(ledger, flush, ["--timeout", "0.2"])
    assert result.exit_code == 2
    assert "other processes of this host still hold them" in result.output


@pytest.mark.parametrize(("command", "arguments"), [(db, ["upgrade"]), (db, ["sql"]), (flush, [])])
def test_an_app_without_the_extension_is_told(command: Any, arguments: list[str]) -> None:
    result = Flask("bare").test_cli_runner().invoke(command_group, [command.name, *arguments])
    assert result.exit_code == 2
    assert "not initialised" in result.output
    assert "Traceback" not in result.output


@pytest.mark.postgres
def test_partitions_are_made_and_undone(
    open_ledger: Any, postgres_url: URL, make_event: Callable[..., Event], run: Run
) -> None:
    """Each says what it did, and that there was nothing to do."""
    ledger = open_ledger(postgres_url, durability="sync")
    ledger.record(make_event())
    made = run(ledger, db, ["partition"]).output
    assert made.startswith("4 partitions made: llm_cost_calls_2026_05, llm_cost_calls_")
    assert run(ledger, db, ["partition"]).output == "Every month has its partition already.\n"
    assert run(ledger, db, ["unpartition"]).output == "Calls are in one table again.\n"
    assert run(ledger, db, ["unpartition"]).output == "Calls are in one table already.\n"


def test_downgrade_asks_first(open_ledger: Any, sqlite_url: URL, run: Run) -> None:
    """Without ``--yes`` it does nothing unless somebody says so; a revision that is none is one line."""
    ledger = open_ledger(sqlite_url)
    assert run(ledger, db, ["downgrade", "base"]).exit_code == 1
    assert ledger.revision() == "0002"
    result = run(ledger, db, ["downgrade", "1234", "--yes"])
    assert (result.exit_code, "1234" in result.output, result.output.count("\n")) == (2, True, 1)
    assert run(ledger, db, ["downgrade", "base", "--yes"]).output == (
        "The ledger's tables are downgraded: 0002 -> nothing.\n"
    )
