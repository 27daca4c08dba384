"""``llm_cost.query``: every condition and every answer equals a plain recomputation, on every database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import URL

from flask_llm_cost import LLMCost
from flask_llm_cost.errors import InvalidFilterError, SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.models import Call
from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.query import Query
from flask_llm_cost.queries.totals import CostSpan
from tests.integration.test_queries_figures import BERLIN, NOW, filled, has_no_upper_bound, spent, summed

__all__ = ["filled"]

Narrow = Callable[[Query], Query]
Filled = tuple[Ledger, list[Event]]
TODAY = NOW.astimezone(BERLIN).date()

# How the query says it, and what it means.
CONDITIONS: Mapping[str, tuple[Narrow, Callable[[Event], object]]] = {
    "everything": (lambda query: query, lambda event: True),
    "a provider": (lambda query: query.by_provider("openai"), lambda event: event.provider == "openai"),
    "a model": (lambda query: query.by_model("gpt-a"), lambda event: event.model == "gpt-a"),
    "tags": (
        lambda query: query.by_tags({"feature": "chat"}, tenant="a/b.c"),
        lambda event: (event.tags.get("feature"), event.tags.get("tenant")) == ("chat", "a/b.c"),
    ),
    "tags in two steps": (
        lambda query: query.by_tags(feature="chat").by_tags(tenant="acme"),
        lambda event: (event.tags.get("feature"), event.tags.get("tenant")) == ("chat", "acme"),
    ),
    "two values of one tag": (lambda query: query.by_tags(tenant="acme").by_tags(tenant="globex"), lambda event: False),
    "without tags": (
        lambda query: query.without_tags("feature", "tenant"),
        lambda event: not {"feature", "tenant"} & event.tags.keys(),
    ),
    "with cost": (Query.with_cost, lambda event: event.total_cost is not None),
    "without cost": (Query.without_cost, lambda event: event.total_cost is None),
    "unknown pricing": (Query.unknown_pricing, has_no_upper_bound),
    "streaming": (Query.streaming, lambda event: event.stream),
    "not streaming": (Query.non_streaming, lambda event: not event.stream),
    "usage source": (
        lambda query: query.by_usage_source("stream_final"),
        lambda event: event.usage_source == "stream_final",
    ),
    "streams without usage": (
        Query.streaming_missing_usage,
        lambda event: event.stream and event.usage_source == "unknown" and event.status != "error",
    ),
    "errors": (lambda query: query.by_status("error"), lambda event: event.status == "error"),
    "timed": (Query.with_latency, lambda event: event.latency_ms is not None),
    "with an id": (Query.with_response_id, lambda event: event.provider_response_id is not None),
    "without an id": (Query.missing_response_id, lambda event: event.provider_response_id is None),
    "several": (
        lambda query: query.by_provider("openai").streaming().with_latency().with_cost(),
        lambda event: (
            event.provider == "openai"
            and event.stream
            and event.latency_ms is not None
            and event.total_cost is not None
        ),
    ),
}

HALF_PAST = datetime(2026, 10, 23, 13, 30, tzinfo=UTC)
# How the query says it, and the instants it means; Berlin's days, in summer and in winter time.
TIMES: Mapping[str, tuple[Narrow, datetime, datetime]] = {
    "today": (Query.today, datetime(2026, 10, 27, 23, tzinfo=UTC), datetime(2026, 10, 28, 23, tzinfo=UTC)),
    "this week": (Query.this_week, datetime(2026, 10, 25, 23, tzinfo=UTC), datetime(2026, 10, 28, 23, tzinfo=UTC)),
    "this month": (Query.this_month, datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 28, 23, tzinfo=UTC)),
    "10 days": (
        lambda query: query.last_days(10),
        datetime(2026, 10, 18, 22, tzinfo=UTC),
        datetime(2026, 10, 28, 23, tzinfo=UTC),
    ),
    "two days": (
        lambda query: query.between(date(2026, 10, 24), date(2026, 10, 25)),
        datetime(2026, 10, 23, 22, tzinfo=UTC),
        datetime(2026, 10, 25, 23, tzinfo=UTC),
    ),
    "two instants": (
        lambda query: query.between(HALF_PAST, NOW - timedelta(minutes=7)),
        HALF_PAST,
        NOW - timedelta(minutes=7),
    ),
    "instants of one day": (
        lambda query: query.between(HALF_PAST, HALF_PAST + timedelta(hours=5)),
        HALF_PAST,
        HALF_PAST + timedelta(hours=5),
    ),
    "since, until, since again": (
        lambda query: query.since(date(2026, 1, 1)).until(HALF_PAST).since(date(2026, 10, 20)).until(TODAY),
        datetime(2026, 10, 19, 22, tzinfo=UTC),
        HALF_PAST,
    ),
    "the other way round": (lambda query: query.since(NOW).until(HALF_PAST), NOW, HALF_PAST),
}


def of(ledger: Ledger) -> Query:
    return Query.of(ledger, BERLIN, NOW)


def chosen(events: list[Event], start: datetime, end: datetime) -> list[Event]:
    return [event for event in events if start <= event.tracked_at < end]


def by_name(events: list[Event], name: Callable[[Event], Any]) -> dict[Any, Spend]:
    held = defaultdict(list)
    for event in events:
        held[name(event)].append(event)
    return {key: spent(part) for key, part in held.items()}


def test_conditions_mean_what_they_say(filled: Filled) -> None:
    """Each, over all the ledger's time: its totals, its calls and its breakdowns.

    Covers P-QRY-01, P-QRY-02, P-QRY-04, P-TAG-37, P-TAG-48.
    """
    ledger, events = filled
    for name, (narrow, means) in CONDITIONS.items():
        query, mine = narrow(of(ledger)), [event for event in events if means(event)]
        assert query.totals() == summed(mine), name
        assert (query.count(), query.total_tokens()) == (len(mine), sum(event.total_tokens for event in mine)), name
        assert query.cost_by_model() == by_name(mine, lambda event: event.model), name
        assert query.cost_by_provider() == by_name(mine, lambda event: event.provider), name
        assert query.cost_by_tag("feature") == by_name(mine, lambda event: event.tags.get("feature")), name
        with ledger.session() as session:
            found = {call.event_id for call in session.scalars(query.calls())}
        assert found == {event.event_id for event in mine}, name


def test_times_are_days_of_the_time_zone_or_instants(filled: Filled) -> None:
    """Days are whole, an instant's end is exclusive, conditions add up; answers of a part of a day are exact.

    Covers P-QRY-02, P-QRY-09.
    """
    ledger, events = filled
    for name, (narrow, start, end) in TIMES.items():
        for narrower in ("everything", "a provider", "tags"):
            also, means = CONDITIONS[narrower]
            query = narrow(also(of(ledger)))
            mine = [event for event in chosen(events, start, end) if means(event)]
            assert query.totals() == summed(mine), (name, narrower)
            assert query.cost_by_tag("tenant") == by_name(mine, lambda event: event.tags.get("tenant"))
            days = query.daily_costs()
            assert {day: spend for day, spend in days.items() if spend.calls} == by_name(
                mine, lambda event: event.tracked_at.astimezone(BERLIN).date()
            ), (name, narrower)
            without_gaps = [min(days) + timedelta(days=index) for index in range(len(days))] if days else []
            assert list(days) == without_gaps, name


def test_a_series_without_a_beginning_has_one(filled: Filled) -> None:
    """30 days and 12 months, zeros included, by days that are the same on every database, also of filtered calls.

    Covers P-QRY-05, P-QRY-06, P-QRY-08.
    """
    ledger, events = filled
    for narrower in ("everything", "tags"):
        narrow, means = CONDITIONS[narrower]
        query, mine = narrow(of(ledger)), [event for event in events if means(event)]
        days = query.daily_costs()
        assert list(days) == [TODAY - timedelta(days=29 - index) for index in range(30)]
        expected = by_name(mine, lambda event: event.tracked_at.astimezone(BERLIN).date())
        assert days == {day: expected.get(day, Spend()) for day in days}
        months = query.monthly_costs()
        names = [date(2025 + (10 + index) // 12, (10 + index) % 12 + 1, 1) for index in range(12)]
        assert list(months) == names
        expected = by_name(mine, lambda event: event.tracked_at.astimezone(BERLIN).date().replace(day=1))
        assert months == {month: expected.get(month, Spend()) for month in months}
        # SQLite takes 500 days of filtered calls at once.
        two_years = query.since(date(2024, 1, 1)).daily_costs()
        assert len(two_years) == (TODAY - date(2024, 1, 1)).days + 1
        assert sum(two_years.values(), Spend()) == spent(mine)


def test_days_of_a_zone_half_an_hour_off_hold_their_own_calls(ledger: Ledger, make_event: Any) -> None:
    """India's midnight is in the middle of a UTC hour: neither half may count for both days."""
    india, noon = ZoneInfo("Asia/Kolkata"), datetime(2026, 11, 10, 6, 30, tzinfo=UTC)
    midnight = datetime(2026, 11, 9, 18, 30, tzinfo=UTC)
    events = [make_event(tracked_at=midnight + timedelta(minutes=minutes)) for minutes in (-40, -20, 10, 40)]
    ledger.write(events)
    query = Query.of(ledger, india, noon).between(midnight - timedelta(hours=2), noon)
    assert {day: spend.calls for day, spend in query.daily_costs().items()} == {
        date(2026, 11, 9): 2,
        date(2026, 11, 10): 2,
    }


def test_unknown_costs_are_told_and_never_zero(ledger: Ledger, make_event: Any) -> None:
    """A sum with an unknown part is a lower bound; one with estimates a range; one of nothing is exactly 0.

    Covers P-QRY-01.
    """
    known = make_event(tracked_at=NOW, total_cost=Decimal("1.5"))
    unknown = make_event(tracked_at=NOW, model="gpt-9", total_cost=None, cost_status="unknown")
    bounds = {"cost_low": Decimal("0.1"), "cost_high": Decimal("0.4"), "total_cost": None, "cost_status": "estimated"}
    ledger.write([known, unknown, make_event(tracked_at=NOW, model="gpt-8", **bounds)])
    query = of(ledger)
    assert query.total_cost() == CostSpan(Decimal("1.6"), None)
    assert not query.total_cost().is_exact
    assert query.by_model("gpt-4o").total_cost() == CostSpan(Decimal("1.5"), Decimal("1.5"))
    assert query.by_model("gpt-4o").total_cost().is_exact
    by_model = query.cost_by_model()
    assert (by_model["gpt-9"].cost, by_model["gpt-9"].unpriced) == (None, 1)
    assert by_model["gpt-8"].span == CostSpan(Decimal("0.1"), Decimal("0.4"))
    assert by_model["gpt-4o"].cost == Decimal("1.5")
    with ledger.session() as session:
        assert [call.model for call in session.scalars(query.unknown_pricing().calls())] == ["gpt-9"]
    assert query.by_model("never called").total_cost() == CostSpan(Decimal(0), Decimal(0))


def test_latency_by_model_and_by_provider(ledger: Ledger, make_event: Any) -> None:
    """Covers P-QRY-03."""
    timed = [("openai", "a", 100), ("openai", "b", 300), ("anthropic", "c", 900), ("anthropic", "c", None)]
    ledger.write([make_event(tracked_at=NOW, provider=p, model=m, latency_ms=each) for p, m, each in timed])
    query = of(ledger)
    assert query.by_provider("openai").average_latency_ms() == 200.0
    assert list(query.latency_by_model().items()) == [("c", 900.0), ("b", 300.0), ("a", 100.0)]
    assert list(query.latency_by_provider().items()) == [("anthropic", 900.0), ("openai", 200.0)]
    assert query.by_model("none").average_latency_ms() is None
    assert query.since(NOW).latency().p95_ms == 900.0
    assert query.today().latency().p50_ms == pytest.approx(300, rel=0.15)


@pytest.mark.parametrize(
    ("narrow", "told"),
    [
        (lambda query: query.since(datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda query: query.last_days(0), "at least 1 day"),
        (lambda query: query.by_status("broken"), "'broken' is no status: choose ok, error"),
        (lambda query: query.by_usage_source("guess"), "'guess' is no usage source: choose"),
        (lambda query: query.by_tags({"a b": 1}), "'a b' is not a tag key"),
        (lambda query: query.cost_by_tag("a b"), "'a b' is not a tag key"),
        (lambda query: query.streaming().non_streaming(), "narrowed to stream True already"),
        (lambda query: query.with_cost().without_cost(), "narrowed to cost True already"),
        (lambda query: query.unknown_pricing().streaming_missing_usage(), "narrowed to status 'unpriced' already"),
    ],
)
def test_a_condition_without_sense_is_refused_before_any_sql(
    open_ledger: Any, narrow: Callable[[Query], object], told: str
) -> None:
    """Covers P-QRY-07, P-TAG-47."""
    away = URL.create("postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    with pytest.raises(InvalidFilterError, match=told):
        narrow(of(open_ledger(away, migrate=False)))


def test_a_ledger_that_cannot_answer_says_why(open_ledger: Any, sqlite_url: URL) -> None:
    """Missing tables name the command; a database that is away does not. Covers P-DB-04."""
    missing = of(open_ledger(sqlite_url, migrate=False))
    for ask in (Query.totals, Query.cost_by_model, Query.daily_costs, Query.average_latency_ms, Query.latency):
        with pytest.raises(SchemaMissingError, match="run `flask llm-cost db upgrade`"):
            ask(missing)
    away = of(open_ledger(sqlite_url.set(database="/proc/no/such/ledger.db"), migrate=False))
    with pytest.raises(StorageError, match=r"cannot be reached") as caught:
        away.totals()
    assert not isinstance(caught.value, SchemaMissingError)


def test_the_extension_asks_the_current_apps_ledger(llm_cost: LLMCost, app: Flask) -> None:
    """Tags are compared as they are recorded, whatever their type was. Covers P-TAG-36."""
    llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=500, tags={"user_id": 42})
    llm_cost.track(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=500)
    assert llm_cost.query.today().by_tags(user_id=42).total_cost() == CostSpan(Decimal("0.0075"), Decimal("0.0075"))
    assert llm_cost.query.by_tags(user_id="42").count() == 1
    assert llm_cost.query.cost_by_tag("user_id") == {
        "42": Spend(1, 0, 1500, Decimal("0.0075")),
        None: Spend(1, 0, 1500, Decimal("0.0075")),
    }
    with llm_cost.session() as session:
        assert session.scalars(llm_cost.query.by_tags(user_id=42).calls()).one().total_cost == Decimal("0.0075")
        assert session.query(Call).count() == 2
