"""Shared by all suites: an app with the extension, its ledger in a fresh SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import ProviderServer

# Speed is measured in benchmarks/; a busy machine fails no test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


MakeApp = Callable[..., tuple[Flask, LLMCost]]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Apps with ``LLMCost`` on them and the ledger's tables in place; shut down and uninstrumented afterwards."""
    made: list[tuple[Flask, LLMCost]] = []

    def make(**config: Any) -> tuple[Flask, LLMCost]:
        folder = tmp_path / f"app{len(made)}"
        folder.mkdir()
        app = Flask(f"host{len(made)}", instance_path=str(folder))
        app.config.update({"TESTING": True, **config})
        llm_cost = LLMCost(app)
        with app.app_context():
            llm_cost.upgrade()
        made.append((app, llm_cost))
        return app, llm_cost

    yield make
    for app, llm_cost in made:
        llm_cost.uninstrument()
        with app.app_context():
            llm_cost.shutdown(timeout=5)


@pytest.fixture
def app_and_costs(make_app: MakeApp) -> tuple[Flask, LLMCost]:
    return make_app()


@pytest.fixture
def app(app_and_costs: tuple[Flask, LLMCost]) -> Iterator[Flask]:
    app, _ = app_and_costs
    with app.app_context():
        yield app


@pytest.fixture
def llm_cost(app_and_costs: tuple[Flask, LLMCost], app: Flask) -> LLMCost:
    return app_and_costs[1]


@pytest.fixture
def calls(llm_cost: LLMCost) -> Callable[[], list[Call]]:
    """What the ledger holds, oldest first."""

    def read() -> list[Call]:
        assert llm_cost.flush(timeout=10)
        with llm_cost.session() as session:
            return list(session.query(Call).order_by(Call.tracked_at, Call.id))

    return read


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """A local provider server speaking the real wire formats over a real socket."""
    with ProviderServer() as server:
        yield server
