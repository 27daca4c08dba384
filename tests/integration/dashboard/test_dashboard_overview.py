"""The overview: what the period cost, how that changed, where it came from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask_llm_cost.ledger.event import Event
from tests.integration.dashboard.page_text import rows_of, text_of

MakeEvent = Callable[..., Event]
Dashboard = Callable[..., FlaskClient]


def test_the_overview_shows_the_periods_figures(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Spend, calls, cost per call, latency, breakdowns and the dearest calls.

    Covers P-DASH-OVR-03, P-DASH-OVR-10, P-DASH-OVR-11.
    """
    html = (
        dashboard(
            recent(
                provider="anthropic", model="claude", total_cost=Decimal(4), latency_ms=100, cache_saved=Decimal("0.5")
            ),
            recent(provider="openai", model="gpt-4o", total_cost=Decimal(1), latency_ms=300, tags={"feature": "chat"}),
        )
        .get("/costs/")
        .text
    )
    text = text_of(html)
    assert "Spend $5.00 nothing to compare with" in text
    assert "Calls 2 nothing to compare with" in text
    assert "Cost per call $2.50" in text
    assert "Saved by caching $0.5000" in text
    assert "claude $4.00 80.0% new" in text
    assert "gpt-4o $1.00 20.0% new" in text
    assert "Total $5.00 100% –" in text
    assert "lower bound" not in text
    assert [row.split()[-1] for row in rows_of(html)] == ["$4.000000", "$1.000000"]


def test_a_total_with_unpriced_calls_says_lower_bound(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """The banner counts them, gives their share, and leads to them. Covers P-DASH-OVR-12."""
    events = [recent() for _ in range(3)]
    unpriced = recent(total_cost=None, cost_status="unknown", model="mystery")
    html = dashboard(*events, unpriced).get("/costs/?range=7d").text
    text = text_of(html)
    assert "1 call has no complete price Totals are a lower bound: 25.0% of calls, 1 model." in text
    assert "Spend lower bound $0.0221" in text
    assert "75.0% of calls priced" in text
    assert 'href="/costs/calls?range=7d&amp;status=unpriced"' in html


def test_the_change_compares_the_same_elapsed_part(
    dashboard: Dashboard, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yesterday's calls of a later minute than now do not count against today so far. Covers P-DASH-OVR-04."""
    now = datetime(2026, 5, 10, 13, 30, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now

    monkeypatch.setattr("flask_llm_cost.dashboard.links.datetime", Clock)
    client = dashboard(
        make_event(tracked_at=now - timedelta(seconds=1), total_cost=Decimal(6)),
        make_event(tracked_at=now - timedelta(days=1, seconds=1), total_cost=Decimal(2)),
        make_event(tracked_at=now - timedelta(days=1), total_cost=Decimal(100)),
    )
    for period in ("range=24h", "from=2026-05-10&to=2026-05-10"):
        assert "Spend $6.00 ▲ up 200.0% vs. previous" in text_of(client.get(f"/costs/?{period}").text)


def test_the_chart_can_be_grouped_and_shows_what_is_untagged(
    dashboard: Dashboard, recent: Callable[..., Event]
) -> None:
    """By model, provider or any configured tag; the group is in the address. Covers P-DASH-OVR-09."""
    client = dashboard(recent(tags={"feature": "chat"}), recent(tags={}), recent(tags={"other": "x"}))
    html = client.get("/costs/?group=tag:feature").text
    assert re.search(r'aria-current="true">feature</a>', html)
    assert "chat $0.0074 33.3%" in text_of(html)
    assert "(untagged) $0.0148 66.7%" in text_of(html)
    assert "Spend by feature" in text_of(html)
    assert 'href="/costs/calls?without=feature&amp;sort=cost"' in html
    assert "other" in re.findall(r">([^<]*)</a>", client.get("/costs/?group=tag:other").text)


def test_seven_dearest_names_are_named_eight_are_six_and_the_others(
    dashboard: Dashboard, recent: Callable[..., Event]
) -> None:
    client = dashboard(*(recent(model=f"m{index}", total_cost=Decimal(10 - index)) for index in range(8)))
    text = text_of(client.get("/costs/").text)
    assert "m5 $5.00 9.6% new 2 others $7.00 13.5% new Total $52.00" in text


def test_the_overview_shows_filters_that_it_has_no_control_for(
    dashboard: Dashboard, recent: Callable[..., Event]
) -> None:
    """Coming from the list, its filters go on to hold, are said, and can be removed."""
    client = dashboard(recent(), recent(status="error", model="broken"))
    html = client.get("/costs/?status=error").text
    assert "Calls 1 " in text_of(html)
    assert 'aria-label="Remove filter status"' in html
    assert '<input type="hidden" name="status" value="error">' in html


def test_spend_is_exported_as_the_chart_has_it(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Day by day and name by name; the rows add up to the total."""
    client = dashboard(
        recent(total_cost=Decimal(1)), recent(tags={}), recent(total_cost=Decimal("0.5"), tags={"feature": "@x"})
    )
    rows = list(csv.reader(io.StringIO(client.get("/costs/spend.csv?group=tag:feature").text)))
    assert rows[0] == ["day", "tag:feature", "total_cost", "calls", "unpriced_calls", "cost_low", "cost_high"]
    assert sorted(row[1:] for row in rows[1:]) == [
        ["'@x", "0.500000000", "1", "0", "0.500000000", "0.500000000"],
        ["(untagged)", "0.007375000", "1", "0", "0.007375000", "0.007375000"],
        ["chat", "1.000000000", "1", "0", "1.000000000", "1.000000000"],
    ]


def test_calls_without_a_price_are_nowhere_0(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Not in a total, a mean, a forecast, a mix, a column of the chart or its export."""
    client = dashboard(recent(total_cost=None, cost_status="unknown", model="mystery"))
    html = client.get("/costs/").text
    text = text_of(html)
    assert "$0.00" not in text.partition("Data table")[0].partition("Spend lower bound unknown")[2]
    for claim in (
        "Spend lower bound unknown",
        "Cost per call unknown",
        "Saved by caching unknown",
        "mystery unknown –",
        "Cost unknown",
        "Input 900 unknown –",
    ):
        assert claim in text, claim
    rows = list(csv.reader(io.StringIO(client.get("/costs/spend.csv").text)))
    assert [row[1:] for row in rows[1:]] == [["mystery", "", "1", "1", "0", ""]]
    (calls,) = csv.DictReader(io.StringIO(client.get("/costs/calls.csv").text))
    assert (calls["total_cost"], calls["cost_status"]) == ("", "unknown")


def test_what_is_known_beside_the_unknown_is_a_lower_bound(dashboard: Dashboard, recent: Callable[..., Event]) -> None:
    """Each figure that adds up says so, the forecast and the chart's own table too; a mean over all calls as well."""
    earlier = datetime.now(UTC) - timedelta(days=2)
    mystery = recent(total_cost=None, cost_status="unknown", model="mystery", tracked_at=earlier)
    html = dashboard(mystery, recent(total_cost=Decimal(4), tracked_at=earlier)).get("/costs/").text
    text = text_of(html)
    assert "Spend lower bound $4.00" in text
    assert "Cost per call ≥ $2.00" in text
    assert re.search(r"Forecast, \w+ lower bound \$", text)
    assert 'aria-label="' + f"{earlier:%a %b} {earlier.day}: ≥ $4.00" in html
    assert "Cost $4.00 (lower bound)" in text
