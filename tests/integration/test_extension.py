"""Wiring: one state per app, clear errors at start-up, verbs inside and outside an app context."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from flask_llm_cost import ConfigurationError, LLMCost, NotInitializedError
from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.state import state_of


def test_initialising_twice_is_refused() -> None:
    app = Flask(__name__)
    LLMCost(app)
    with pytest.raises(ConfigurationError, match="already initialised"):
        LLMCost().init_app(app)


def test_a_wrong_setting_stops_start_up_and_leaves_the_app_without_us() -> None:
    """Covers P-CFG-32, P-CFG-33, P-CFG-35."""
    app = Flask(__name__)
    app.config["LLM_COST_STORAGE_ERROR"] = "explode"
    with pytest.raises(ConfigurationError, match="LLM_COST_STORAGE_ERROR = 'explode': allowed are"):
        LLMCost(app)
    assert state_of(app) is None

    app.config["LLM_COST_STORAGE_ERROR"] = "warn"
    app.config["LLM_COST_PRICES_FILE"] = "nowhere.yml"
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml"):
        LLMCost(app)
    assert state_of(app) is None


def test_the_verbs_work_without_a_context_when_one_app_is_meant(make_app: Any) -> None:
    _app, llm_cost = make_app()
    thread = threading.Thread(
        target=lambda: llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)
    )
    thread.start()
    thread.join()
    with llm_cost.session() as session:
        assert session.query(Call).count() == 1


def test_without_an_app_or_with_two_the_verbs_say_what_is_missing(tmp_path: Path) -> None:
    llm_cost = LLMCost()
    with pytest.raises(NotInitializedError, match="no app is initialised yet"):
        llm_cost.flush()
    apps = [Flask("one", instance_path=str(tmp_path)), Flask("two", instance_path=str(tmp_path))]
    for app in apps:
        app.config["TESTING"] = True
        llm_cost.init_app(app)
    with pytest.raises(NotInitializedError, match="2 apps are initialised: which one is meant"):
        llm_cost.flush()
    with apps[0].app_context():
        assert llm_cost.flush()
    with Flask("three").app_context(), pytest.raises(NotInitializedError, match="not initialised on the app 'three'"):
        llm_cost.flush()


def test_two_apps_of_one_extension_keep_their_calls_apart(tmp_path: Path) -> None:
    llm_cost = LLMCost()
    counts = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        app = Flask(name, instance_path=str(tmp_path / name))
        app.config["TESTING"] = True
        llm_cost.init_app(app)
        with app.app_context():
            llm_cost.upgrade()
            for _ in range(len(counts) + 1):
                llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)
            with llm_cost.session() as session:
                counts[name] = session.query(Call).count()
    assert counts == {"one": 1, "two": 2}


def make_host(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite:///host.db", **config)
    SQLAlchemy(app)
    return app


def test_beside_a_sqlite_app_the_ledger_is_a_file_of_its_own(tmp_path: Path) -> None:
    app = make_host(tmp_path)
    llm_cost = LLMCost(app)
    with app.app_context():
        llm_cost.upgrade()
    assert (tmp_path / "llm_cost.db").exists()
    assert not (tmp_path / "host.db").exists()


def test_a_bind_or_a_database_of_its_own_can_be_chosen(tmp_path: Path) -> None:
    app = make_host(
        tmp_path,
        SQLALCHEMY_BINDS={"costs": f"sqlite:///{tmp_path}/bound.db"},
        LLM_COST_BIND_KEY="costs",
    )
    llm_cost = LLMCost(app)
    with app.app_context():
        llm_cost.upgrade()
    assert (tmp_path / "bound.db").exists()

    other = make_host(tmp_path, LLM_COST_DATABASE_URI=f"sqlite:///{tmp_path}/own.db")
    llm_cost = LLMCost(other)
    with other.app_context():
        llm_cost.upgrade()
    assert (tmp_path / "own.db").exists()


def test_an_unknown_bind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    app = make_host(tmp_path, SQLALCHEMY_BINDS={"other": "sqlite://"}, LLM_COST_BIND_KEY="costs")
    with pytest.raises(ConfigurationError, match="LLM_COST_BIND_KEY = 'costs': SQLALCHEMY_BINDS has 'other'"):
        LLMCost(app)


@pytest.mark.parametrize("ours_first", [False, True], ids=["Migrate, LLMCost", "LLMCost, Migrate"])
def test_the_hosts_migrations_are_told_to_leave_our_tables_alone(tmp_path: Path, ours_first: bool) -> None:
    app = make_host(tmp_path)
    if ours_first:
        LLMCost(app)
    Migrate(app, app.extensions["sqlalchemy"])
    if not ours_first:
        LLMCost(app)
    for _ in range(2):
        with app.app_context():
            include_name = app.extensions["migrate"].configure_args["include_name"]
    assert include_name("llm_cost_calls", "table", {}) is False
    assert include_name("users", "table", {}) is True


def test_the_command_line_says_what_is_missing_on_an_app_without_us() -> None:
    """Covers P-CLI-05."""
    app = Flask(__name__)
    result = app.test_cli_runner().invoke(command_group, ["report"])
    assert result.exit_code == 2
    assert "flask-llm-cost is not initialised on the app" in result.output
    assert "Traceback" not in result.output


def test_a_missing_table_never_reaches_the_apps_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    app.config["TESTING"] = True
    llm_cost = LLMCost(app)
    with app.app_context():
        for _ in range(2):
            assert llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1) is not None
    told = [record.getMessage() for record in caplog.records if record.name.startswith("flask_llm_cost")]
    assert len(told) == 1
    assert "llm-cost db upgrade" in told[0]


@pytest.mark.parametrize("arguments", [["report"], ["db", "current"], ["flush"]], ids=" ".join)
def test_commands_in_a_fresh_folder_name_the_migration_command(tmp_path: Path, arguments: list[str]) -> None:
    """No instance folder, no database file: what a newcomer has."""
    app = Flask("fresh", instance_path=str(tmp_path / "not yet there"))
    LLMCost(app)
    result = app.test_cli_runner().invoke(command_group, arguments)
    assert "Traceback" not in result.output
    if arguments == ["flush"]:
        assert (result.exit_code, result.output) == (0, "Shipped 0 waiting events; nothing waits any more.\n")
    else:
        assert "run `flask llm-cost db upgrade`" in result.output
