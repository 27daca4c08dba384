"""``llm_cost.reprice``: what the command does, from the app's own code."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flask_llm_cost import LLMCost
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.ledger.models import Call

# 23:30 in Berlin, and 00:30 of the next day.
EVENING = datetime(2026, 7, 10, 21, 30, tzinfo=UTC)
NIGHT = EVENING + timedelta(hours=1)
PRICE = {"acme/mystery": {"input": "2", "output": "8"}}


@pytest.fixture
def llm_cost(make_app: Any, tmp_path: Path) -> LLMCost:
    """Two unknown calls of two days in Berlin, and an app that has learned their price."""
    shared = {
        "LLM_COST_DATABASE_URI": f"sqlite:///{tmp_path / 'shared.db'}",
        "LLM_COST_TIMEZONE": "Europe/Berlin",
        "LLM_COST_UNKNOWN_PRICING": "ignore",
    }
    _app, before = make_app(**shared)
    for at in (EVENING, NIGHT):
        before.track(provider="acme", model="mystery", input_tokens=1_000_000, output_tokens=0, tracked_at=at)
    _app, after = make_app(**shared, LLM_COST_PRICING_OVERRIDES=PRICE)
    assert isinstance(after, LLMCost)
    return after


def costs(llm_cost: LLMCost) -> list[Decimal | None]:
    with llm_cost.session() as session:
        return [cost for (cost,) in session.query(Call.total_cost).order_by(Call.tracked_at)]


def test_it_returns_the_tally_and_changes_what_was_asked_for(llm_cost: LLMCost) -> None:
    """A dry run writes nothing; the second run finds nothing more."""
    would = llm_cost.reprice(unknown_only=True, dry_run=True)
    assert (would.run, would.looked_at, would.calls, would.difference) == (None, 2, 2, Decimal(4))
    assert costs(llm_cost) == [None, None]
    done = llm_cost.reprice(unknown_only=True)
    assert (done.calls, done.after.total, [change.model for change in done.changes]) == (2, Decimal(4), ["mystery"])
    assert done.run is not None
    assert costs(llm_cost) == [Decimal(2), Decimal(2)]
    assert llm_cost.reprice(unknown_only=True).looked_at == 0
    assert llm_cost.reprice().calls == 0


@pytest.mark.parametrize(
    ("since", "until", "priced"),
    [
        (None, date(2026, 7, 10), [True, False]),
        (date(2026, 7, 11), None, [False, True]),
        (date(2026, 7, 10), date(2026, 7, 11), [True, True]),
        (EVENING, NIGHT, [True, False]),
    ],
)
def test_days_are_those_of_the_time_zone_and_instants_end_before(
    since: Any, until: Any, priced: list[bool], llm_cost: LLMCost
) -> None:
    assert llm_cost.reprice(since=since, until=until).calls == sum(priced)
    assert [cost is not None for cost in costs(llm_cost)] == priced


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (datetime(2026, 7, 10), None, "has no time zone"),  # noqa: DTZ001
        (date(2026, 7, 12), date(2026, 7, 11), "is not before"),
        (NIGHT, NIGHT, "is not before"),
    ],
)
def test_what_makes_no_sense_is_refused(since: Any, until: Any, message: str, llm_cost: LLMCost) -> None:
    with pytest.raises(InvalidFilterError, match=message):
        llm_cost.reprice(since=since, until=until)
