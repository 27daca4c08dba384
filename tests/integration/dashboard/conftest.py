"""An app with its dashboard at /costs and given events in its ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.state import current_state

MakeEvent = Callable[..., Event]
Dashboard = Callable[..., FlaskClient]


@pytest.fixture
def dashboard(make_app: Callable[..., tuple[Flask, LLMCost]]) -> Dashboard:
    """A client of an app whose ledger holds the given events."""

    def dashboard(*events: Event, **config: Any) -> FlaskClient:
        app, llm_cost = make_app(**{"LLM_COST_REPORT_TAGS": ["feature"], **config})
        app.register_blueprint(llm_cost.dashboard, url_prefix="/costs")
        with app.app_context():
            current_state().ledger.write(events)
        return app.test_client()

    return dashboard


@pytest.fixture
def recent(make_event: MakeEvent) -> Callable[..., Event]:
    """Events of a minute ago."""

    def recent(**changes: Any) -> Event:
        return make_event(**{"tracked_at": datetime.now(UTC) - timedelta(minutes=1), **changes})

    return recent
