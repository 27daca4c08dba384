"""The ledger's models in ``db.session``: on the app's own database, and on the bind that the ledger is on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, mapped_column

from flask_llm_cost import LLMCost
from flask_llm_cost.models import Call, Daily


def make_host(folder: Path, *, ours_first: bool = False, **config: Any) -> tuple[Flask, SQLAlchemy, LLMCost]:
    app = Flask("host", instance_path=str(folder))
    app.config.update({"TESTING": True, **config})
    db, llm_cost = SQLAlchemy(), LLMCost()
    for extension in (llm_cost, db) if ours_first else (db, llm_cost):
        extension.init_app(app)
    return app, db, llm_cost


def record_one(llm_cost: LLMCost, model: str = "gpt-4o") -> None:
    llm_cost.upgrade()
    llm_cost.track(provider="openai", model=model, input_tokens=10, output_tokens=5)


@pytest.mark.parametrize("ours_first", [False, True], ids=["SQLAlchemy, LLMCost", "LLMCost, SQLAlchemy"])
def test_on_a_bind(tmp_path: Path, ours_first: bool) -> None:
    """Selects, counts, lookups by id and refreshes go to the ledger's bind; the app's own models to theirs."""
    binds = {"costs": f"sqlite:///{tmp_path}/costs.db"}
    config = {"SQLALCHEMY_DATABASE_URI": "sqlite://", "SQLALCHEMY_BINDS": binds, "LLM_COST_BIND_KEY": "costs"}
    app, db, llm_cost = make_host(tmp_path, ours_first=ours_first, **config)

    class User(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        record_one(llm_cost)
        db.session.add(User(id=7))
        db.session.commit()
        call = db.session.execute(select(Call)).scalar_one()
        assert (call.model, call.total_tokens) == ("gpt-4o", 15)
        assert db.session.get(Call, call.id) is call
        db.session.expire_all()
        assert call.model == "gpt-4o"
        assert db.session.scalar(select(func.sum(Daily.calls))) == 1
        assert db.session.scalars(llm_cost.query.by_model("gpt-4o").calls()).all() == [call]
        assert db.session.scalars(select(User.id)).all() == [7]
        db.session.remove()
        llm_cost.shutdown()


def test_two_apps_of_one_db_each_have_their_own(tmp_path: Path) -> None:
    """The bind is looked up in the app that asks."""
    db, apps = SQLAlchemy(), []
    for name in ("one", "two"):
        app = Flask(name, instance_path=str(tmp_path / name))
        binds = {name: f"sqlite:///{tmp_path}/{name}.db"}
        app.config.update(TESTING=True, SQLALCHEMY_BINDS=binds, LLM_COST_BIND_KEY=name)
        db.init_app(app)
        apps.append((app, LLMCost(app)))
    for app, llm_cost in apps:
        with app.app_context():
            record_one(llm_cost, model=app.name)
    for app, llm_cost in apps:
        with app.app_context():
            assert db.session.scalars(select(Call.model)).all() == [app.name]
            db.session.remove()
            llm_cost.shutdown()


@pytest.mark.parametrize(
    "kind",
    [pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("mariadb", marks=pytest.mark.mariadb)],
)
def test_in_the_apps_own_database(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Nothing is needed there; a call can be joined with the app's own rows."""
    url: URL = request.getfixturevalue(f"{kind}_url")
    app, db, llm_cost = make_host(tmp_path, SQLALCHEMY_DATABASE_URI=url)

    class Plan(db.Model):  # type: ignore[name-defined,misc]
        model: Mapped[str] = mapped_column(db.String(64), primary_key=True)

    with app.app_context():
        db.create_all()
        record_one(llm_cost)
        db.session.add(Plan(model="gpt-4o"))
        joined = select(Plan.model, Call.total_tokens).join(Call, Call.model == Plan.model)
        assert db.session.execute(joined).all() == [("gpt-4o", 15)]
        db.session.rollback()
        db.session.remove()
        db.engine.dispose()
        llm_cost.shutdown()


def test_a_ledger_in_a_file_of_its_own_has_its_own_session(tmp_path: Path) -> None:
    """``db.session`` knows nothing of that file; ``llm_cost.session()`` always works."""
    app, db, llm_cost = make_host(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite:///app.db")
    with app.app_context():
        record_one(llm_cost)
        with pytest.raises(OperationalError, match="no such table: llm_cost_calls"):
            db.session.execute(select(Call))
        with llm_cost.session() as session:
            assert session.scalars(select(Call.model)).all() == ["gpt-4o"]
        db.session.remove()
        llm_cost.shutdown()
