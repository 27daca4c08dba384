"""Tables of an older version, or none: commands, queries and recording name the one command that helps."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import URL, make_url

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.errors import ConfigurationError, SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger, resolve_url
from flask_llm_cost.ledger.dialects import dialect_of
from flask_llm_cost.ledger.dialects.mysql import MySQL
from flask_llm_cost.ledger.dialects.postgresql import PostgreSQL
from flask_llm_cost.ledger.dialects.sqlite import SQLite
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.models import Call

MakeEvent = Callable[..., Event]
OLDER = "The ledger's tables are older than this version of flask-llm-cost needs: run `flask llm-cost db upgrade`."


def test_recording_says_it_and_the_spool_keeps_the_event(
    open_ledger: Any, database_url: URL, make_event: MakeEvent, rows: Any
) -> None:
    """Nothing half-written, nothing skipped in silence: after the upgrade the spooled event goes in.

    Covers P-DB-04, P-DB-05: what the gem skips when a column is missing, and remembers of columns, is one answer here.
    """
    ledger = open_ledger(database_url, durability="sync")
    ledger.downgrade("0001")
    with pytest.raises(SchemaMissingError) as caught:
        ledger.record(make_event())
    assert str(caught.value) == OLDER
    assert rows(ledger, "SELECT id FROM llm_cost_calls") == []
    waiting = open_ledger(database_url, durability="spool", migrate=False)
    waiting.record(make_event())
    assert waiting.flush(0.4) is False
    assert OLDER in str(waiting.last_error)
    ledger.upgrade()
    assert waiting.flush(10) is True
    assert len(rows(ledger, "SELECT id FROM llm_cost_calls")) == 1
    ledger.record(make_event())


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["report", "--by", "tag:feature"], 2),
        (["db", "current"], 0),
        (["db", "partition"], 2),
        (["flush", "--timeout", "0.3"], 2),
    ],
    ids=["report", "current", "partition", "flush"],
)
def test_commands_say_it_in_one_line(tmp_path: Path, arguments: list[str], exit_code: int) -> None:
    """Those that need what is missing; no traceback. The report needs the tags' new columns for tags only."""
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(LLM_COST_DURABILITY="spool")
    llm_cost = LLMCost(app)
    with app.app_context():
        llm_cost.upgrade()
        llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, tags={"feature": "chat"})
        assert llm_cost.flush()
    run = app.test_cli_runner().invoke
    assert run(command_group, ["db", "downgrade", "0001", "--yes"]).output == (
        "The ledger's tables are downgraded: 0002 -> 0001.\n"
    )
    with app.app_context():
        llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, tags={"feature": "chat"})
    result = run(command_group, arguments)
    told = "on PostgreSQL only" if arguments == ["db", "partition"] else OLDER
    assert (result.exit_code, told in result.output, result.output.count("\n")) == (exit_code, True, 1)
    assert run(command_group, ["report"]).exit_code == 0
    with app.app_context():
        assert run(command_group, ["db", "upgrade"]).exit_code == 0
        assert llm_cost.flush()
        assert llm_cost.query.count() == 2
        llm_cost.shutdown()


def test_an_app_on_an_older_schema_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``track`` raises nothing, the log names the command; ``llm_cost.query`` raises with it."""
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(TESTING=True)
    llm_cost = LLMCost(app)
    with app.app_context():
        llm_cost.upgrade()
        app.extensions["llm_cost"].ledger.downgrade("0001")
        llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, tags={"feature": "chat"})
        assert OLDER in caplog.text
        with pytest.raises(SchemaMissingError) as caught:
            llm_cost.query.cost_by_tag("feature")
        assert str(caught.value) == OLDER
        llm_cost.shutdown()


def test_money_is_exact_and_tags_are_json_in_the_databases_own_way(
    ledger: Ledger, make_event: MakeEvent, rows: Any
) -> None:
    """Whole nano-USD, tokens of 64 bits; tags as JSONB, JSON or text, read back the same. Covers P-DB-06, P-DB-08."""
    tokens = 3_000_000_000
    ledger.record(make_event(total_cost=Decimal("0.000000001"), input_tokens=tokens, tags={"ü": "'1'"}))
    (row,) = rows(ledger, "SELECT total_cost_nano, input_tokens FROM llm_cost_calls")
    assert row == {"total_cost_nano": 1, "input_tokens": tokens}
    with ledger.session() as session:
        assert session.query(Call.tags).scalar() == {"ü": "'1'"}
    with pytest.raises(StorageError, match="is not an amount"):
        ledger.record(make_event(total_cost=Decimal("1E12")))


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("mysql+pymysql://h/d", MySQL),
        ("mariadb+pymysql://h/d", MySQL),
        ("postgresql+psycopg://h/d", PostgreSQL),
        ("postgres://h/d", PostgreSQL),
        ("sqlite:///file.db", SQLite),
    ],
)
def test_databases_are_told_by_their_dialect(url: str, dialect: type) -> None:
    """Not by the driver's name, nor by a name that merely sounds like one. Covers P-DB-09."""
    found = resolve_url(database_uri=url, instance_path="/")
    assert type(dialect_of(found.get_backend_name())) is dialect
    with pytest.raises(ConfigurationError, match="cannot live in 'postgis'"):
        dialect_of(make_url("postgis://h/d").get_backend_name())


def test_a_call_is_one_transaction_and_a_lost_race_adds_nothing(
    ledger: Ledger, open_ledger: Any, make_event: MakeEvent, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollup that fails takes the call with it; who comes second with an event finds it there.

    Covers P-DB-10, P-DB-12. Nothing is raised for the second one: the event is in the ledger, once.
    """
    first = make_event()
    with monkeypatch.context() as broken:
        broken.setattr("flask_llm_cost.ledger.writer.Writer._add_rollups", lambda *_: 1 / 0)
        with pytest.raises((StorageError, ZeroDivisionError)):
            ledger.record(first)
    assert rows(ledger, "SELECT id FROM llm_cost_calls") == []
    ledger.record(first)
    other = open_ledger(ledger.engine.url, durability="sync", migrate=False)
    other.record(first)
    assert rows(ledger, "SELECT COUNT(*) AS n FROM llm_cost_calls") == [{"n": 1}]
    assert [int(row["n"]) for row in rows(ledger, "SELECT SUM(calls) AS n FROM llm_cost_daily")] == [1]
