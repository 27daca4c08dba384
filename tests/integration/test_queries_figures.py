"""Every figure a page or a report shows equals a plain recomputation over the same events, on every database."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.queries.breakdown import Spend, breakdown
from flask_llm_cost.queries.choices import choices
from flask_llm_cost.queries.filters import Filters, parse_filters
from flask_llm_cost.queries.forecast import forecast
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group
from flask_llm_cost.queries.latency import latency, mean_latency_ms
from flask_llm_cost.queries.reading import reading
from flask_llm_cost.queries.report import build_report, report_groups
from flask_llm_cost.queries.series import spend_over_time, spends_over_time
from flask_llm_cost.queries.totals import Totals, is_empty, totals

BERLIN = ZoneInfo("Europe/Berlin")
# Half past ten on a day in the week after Berlin's clocks went back, so that the period holds a day of 25 hours.
NOW = datetime(2026, 10, 28, 9, 30, tzinfo=UTC)
MODELS = [("openai", "gpt-a"), ("openai", "gpt-b"), ("azure", "gpt-a"), ("anthropic", "claude"), ("gemini", "flash")]
MakeEvent = Callable[..., Event]

ASKED = {
    "everything": {},
    "a day so far": {"from": ["2026-10-28"], "to": ["2026-10-28"]},
    "24 hours": {"range": ["24h"]},
    "the past": {"from": ["2026-10-20"], "to": ["2026-10-26"]},
    "this month": {"range": ["month"]},
    "a provider": {"provider": ["openai"]},
    "a model": {"model": ["gpt-a"], "range": ["7d"]},
    "a tag": {"tag": ["feature=chat"]},
    "two tags": {"tag": ["feature=chat", "tenant=a/b.c"], "provider": ["openai"]},
    "without a tag": {"without": ["feature"]},
    "errors": {"status": ["error"]},
    "no price": {"status": ["unpriced"], "range": ["7d"]},
    "no usage": {"status": ["no_usage"]},
    "streams": {"stream": ["yes"]},
    "not streamed": {"stream": ["no"], "range": ["24h"]},
    "a usage source": {"usage": ["stream_final"]},
    "dear calls": {"min_cost": ["0.02"]},
    "estimates": {"status": ["estimated"]},
    "a search": {"q": ["PT-A"]},
    "a search for nothing": {"q": ["100%_"]},
}


def history(make_event: MakeEvent, count: int = 700) -> list[Event]:
    """Two months of calls of every kind, at random but always the same."""
    chance = random.Random(20261028)
    return [_event(chance, make_event) for _ in range(count)]


def _event(chance: random.Random, make_event: MakeEvent) -> Event:
    provider, model = chance.choice(MODELS)
    kinds = ["complete", "estimated", "ranged", "open", "free", "partial", "unknown", "error"]
    kind = chance.choices(kinds, [64, 5, 3, 3, 3, 5, 12, 5])[0]
    age = timedelta(seconds=chance.random() ** 2 * 75 * 86_400, microseconds=chance.randrange(1_000_000))
    tokens = [chance.randrange(5_000) for _ in range(4)] if kind != "error" else [0, 0, 0, 0]
    costs = [Decimal(chance.randrange(30_000_000)).scaleb(-9) for _ in range(4)]
    stream = chance.random() < 0.4
    tags = {}
    if chance.random() < 0.8:
        tags["feature"] = chance.choice(["chat", "search", "ümläut", "'; drop--", "<b>"])
    if chance.random() < 0.6:
        tags["tenant"] = chance.choice(["acme", "a/b.c", "globex"])
    known = kind in ("complete", "estimated", "partial")
    return make_event(
        tracked_at=NOW - age,
        provider=provider,
        model=model,
        status="error" if kind == "error" else "ok",
        usage_source="unknown"
        if kind == "error" or chance.random() < 0.05
        else ("stream_final" if stream else "response"),
        stream=stream,
        pricing_mode=chance.choice([None, None, "batch"]),
        input_tokens=tokens[0],
        cache_read_input_tokens=tokens[1],
        cache_write_input_tokens=tokens[2],
        output_tokens=tokens[3],
        hidden_output_tokens=tokens[3] // 3,
        total_tokens=sum(tokens),
        input_cost=costs[0] if known else None,
        cache_read_cost=costs[1] if known else None,
        cache_write_cost=costs[2] if known else None,
        output_cost=None if kind == "partial" or not known else costs[3],
        other_cost=Decimal(0) if known else None,
        total_cost=Decimal(0) if kind == "free" else sum(costs[: 3 if kind == "partial" else 4]) if known else None,
        cache_saved=Decimal(chance.randrange(-1_000_000, 9_000_000)).scaleb(-9) if known else None,
        cost_low=costs[0] if kind in ("ranged", "open") else None,
        cost_high=costs[0] + costs[1] if kind == "ranged" else None,
        cost_status=None if kind == "error" else "estimated" if kind in ("ranged", "open") else kind,
        latency_ms=chance.choice([None, 0, 1, *(int(chance.lognormvariate(6.5, 1)) for _ in range(12))]),
        provider_response_id=f"resp_{chance.randrange(10**9)}",
        tags=tags,
    )


def asked(parameters: dict[str, list[str]]) -> Filters:
    return parse_filters(parameters, timezone=BERLIN, now=NOW)


def has_no_upper_bound(event: Event) -> bool:
    if event.cost_status == "estimated":
        return event.total_cost is None and event.cost_high is None
    return event.cost_status in ("unknown", "partial")


def matches(event: Event, filters: Filters) -> bool:
    """The filters' meaning, in Python."""
    named = {
        "ok": event.status == "ok",
        "error": event.status == "error",
        "cancelled": event.status == "cancelled",
        "unpriced": has_no_upper_bound(event),
        "estimated": event.cost_status == "estimated",
        "no_usage": event.usage_source == "unknown" and event.status != "error",
        None: True,
    }
    searched = (filters.search or "").lower()
    return (
        (filters.provider in (None, event.provider))
        and filters.model in (None, event.model)
        and all(event.tags.get(key) == value for key, value in filters.tags)
        and not any(key in event.tags for key in filters.without_tags)
        and named[filters.status]
        and filters.stream in (None, event.stream)
        and filters.usage_source in (None, event.usage_source)
        and (filters.min_cost is None or (event.total_cost is not None and event.total_cost >= filters.min_cost))
        and (searched in event.model.lower() or searched in (event.provider_response_id or "").lower())
    )


def chosen(events: Iterable[Event], filters: Filters, start: datetime, end: datetime) -> list[Event]:
    return [event for event in events if start <= event.tracked_at < end and matches(event, filters)]


def summed(events: Sequence[Event]) -> Totals:
    names = [name for name in Totals.__slots__ if hasattr(Event, name)]
    sums: dict[str, Any] = {
        name: sum((getattr(event, name) or 0 for event in events), 0 if name.endswith("tokens") else Decimal(0))
        for name in names
    }
    statuses = Counter(event.cost_status for event in events)
    return Totals(
        calls=len(events),
        errors=sum(event.status == "error" for event in events),
        unpriced=sum(map(has_no_upper_bound, events)),
        estimated=statuses["estimated"],
        **sums,
    )


def spent(events: Sequence[Event]) -> Spend:
    all_of_it = summed(events)
    return Spend(*(getattr(all_of_it, name) for name in Spend.__slots__))


def name_of(event: Event, group: Group) -> str | None:
    return event.tags.get(group.key) if group.dimension == "tag" else getattr(event, group.dimension)


@pytest.fixture
def filled(open_ledger: Callable[..., Ledger], database_url: URL, make_event: MakeEvent) -> tuple[Ledger, list[Event]]:
    """A ledger whose days are Berlin's, and what is in it."""
    ledger = open_ledger(database_url, durability="sync", timezone=BERLIN)
    events = history(make_event)
    assert ledger.write(events) == len(events)
    return ledger, events


def test_totals_equal_the_sum_of_the_calls(filled: tuple[Ledger, list[Event]]) -> None:
    """Whatever is filtered, rollups and calls give the same totals. Covers P-DASH-OVR-03, P-DASH-OVR-18, P-QRY-04."""
    ledger, events = filled
    with reading(ledger) as session:
        assert not is_empty(session)
        for name, parameters in ASKED.items():
            filters = asked(parameters)
            period = filters.period
            assert totals(session, filters) == summed(chosen(events, filters, period.start, period.end)), name


def test_the_previous_period_is_cut_at_the_same_elapsed_part(filled: tuple[Ledger, list[Event]]) -> None:
    """Days, hours and the odd minutes of the previous period add up to exactly its calls until the same time."""
    ledger, events = filled
    with reading(ledger) as session:
        for name, parameters in ASKED.items():
            filters = asked(parameters)
            start, end = filters.period.previous.start, filters.period.previous_elapsed
            assert totals(session, filters, start, end) == summed(chosen(events, filters, start, end)), name


@pytest.mark.parametrize("group", [MODEL, PROVIDER, Group("tag", "feature"), Group("tag", "tenant")], ids=str)
def test_a_breakdown_names_everything_once(filled: tuple[Ledger, list[Event]], group: Group) -> None:
    """Each name has its own calls and cost, dearest first, the untagged among them.

    Covers P-DASH-OVR-10, P-DASH-OVR-11, P-TAG-42, P-TAG-43.
    """
    ledger, events = filled
    with reading(ledger) as session:
        for name, parameters in ASKED.items():
            filters = asked(parameters)
            held: dict[str | None, list[Event]] = defaultdict(list)
            for event in chosen(events, filters, filters.period.start, filters.period.end):
                held[name_of(event, group)].append(event)
            found = breakdown(session, filters, group)
            assert found == {key: spent(part) for key, part in held.items()}, name
            costs = [spend.total_cost for spend in found.values()]
            assert costs == sorted(costs, reverse=True), name


@pytest.mark.parametrize("group", [MODEL, Group("tag", "feature")], ids=str)
def test_a_series_has_every_bucket_and_adds_up(filled: tuple[Ledger, list[Event]], group: Group) -> None:
    """Each day (or hour) has its own sums, days without calls are there as 0.

    Covers P-DASH-OVR-09, P-QRY-05, P-QRY-09.
    """
    ledger, events = filled
    with reading(ledger) as session:
        for name, parameters in ASKED.items():
            filters = asked(parameters)
            bounds = filters.period.bounds
            parts = [chosen(events, filters, start, end) for start, end in pairwise(bounds)]
            buckets = spend_over_time(session, filters, filters.period)
            assert [bucket.spend for bucket in buckets] == [spent(part) for part in parts], name
            names = tuple(breakdown(session, filters, group))
            expected = {
                each: tuple(spent([e for e in part if name_of(e, group) == each]) for part in parts) for each in names
            }
            assert spends_over_time(session, filters, group, names) == expected, name


def test_latency_is_exact_from_calls_and_within_two_percent_from_rollups(filled: tuple[Ledger, list[Event]]) -> None:
    """Bins err by a few percent at most; where only calls can answer, the answer is exact. Covers P-QRY-03."""
    ledger, events = filled
    with reading(ledger) as session:
        for name, parameters in ASKED.items():
            filters = asked(parameters)
            period = filters.period
            part = chosen(events, filters, period.start, period.end)
            known = sorted(event.latency_ms for event in part if event.latency_ms is not None)
            found = latency(session, filters)
            if not known:
                assert (found.p50_ms, found.p95_ms, mean_latency_ms(session, filters)) == (None, None, None), name
                continue
            p50, p95 = (known[max(0, -(-len(known) * share // 100) - 1)] for share in (50, 95))
            if filters.needs_calls or period.unit == "hour":
                assert (found.p50_ms, found.p95_ms) == (p50, p95), name
            else:
                assert found.p50_ms == pytest.approx(p50, rel=0.15, abs=1), name
                assert found.p95_ms == pytest.approx(p95, rel=0.15, abs=1), name
            assert mean_latency_ms(session, filters) == pytest.approx(sum(known) / len(known)), name


def test_the_mean_of_100_and_300_is_200(ledger: Ledger, make_event: MakeEvent) -> None:
    """Covers P-QRY-03, P-DASH-OVR-03."""
    ledger.write([make_event(tracked_at=NOW, latency_ms=each) for each in (100, 300)])
    with reading(ledger) as session:
        assert mean_latency_ms(session, parse_filters({}, timezone=ZoneInfo("UTC"), now=NOW)) == 200.0


def test_the_forecast_is_the_month_so_far_and_the_mean_for_what_is_left(filled: tuple[Ledger, list[Event]]) -> None:
    """28 complete days, the rest of today included in what is left, whatever period is looked at."""
    ledger, events = filled
    with reading(ledger) as session:
        for name in ("everything", "the past", "a provider", "a tag", "a search"):
            filters = asked(ASKED[name])
            made = forecast(session, filters)
            so_far = summed(chosen(events, filters, datetime(2026, 9, 30, 22, tzinfo=UTC), NOW + timedelta(days=1)))
            window = chosen(
                events, filters, datetime(2026, 9, 29, 22, tzinfo=UTC), datetime(2026, 10, 27, 23, tzinfo=UTC)
            )
            assert (made.month, made.days_observed) == (date(2026, 10, 1), 28), name
            assert made.so_far == so_far.total_cost, name
            assert made.daily_mean == summed(window).total_cost / 28, name
            # 13.5 hours of the 28th, then three days, until midnight of 1 November in Berlin.
            assert made.days_left == Decimal("3.5625"), name
            assert made.total == made.so_far + made.daily_mean * Decimal("3.5625"), name


def test_a_forecast_needs_a_complete_day(ledger: Ledger, make_event: MakeEvent) -> None:
    """On the first day there is nothing to go by; on the second, one day's mean."""
    utc = ZoneInfo("UTC")
    with reading(ledger) as session:
        assert forecast(session, parse_filters({}, timezone=utc, now=NOW)).total is None
    ledger.write([make_event(tracked_at=NOW - timedelta(hours=1), total_cost=Decimal("1.5"))])
    with reading(ledger) as session:
        first_day = forecast(session, parse_filters({}, timezone=utc, now=NOW))
        second_day = forecast(session, parse_filters({}, timezone=utc, now=NOW + timedelta(days=1)))
    assert (first_day.total, first_day.so_far) == (None, Decimal("1.5"))
    assert (second_day.days_observed, second_day.daily_mean) == (1, Decimal("1.5"))


def test_drop_downs_offer_what_the_other_filters_leave(filled: tuple[Ledger, list[Event]]) -> None:
    """The slice without the drop-down's own filter, in order. Covers P-DASH-GEN-13."""
    ledger, events = filled
    with reading(ledger) as session:
        for name in ("everything", "a provider", "a model", "a tag", "24 hours", "a search for nothing"):
            filters = asked(ASKED[name])
            for field in ("provider", "model"):
                others = replace(filters, **{field: None})
                left = chosen(events, others, filters.period.start, filters.period.end)
                expected = sorted({getattr(event, field) for event in left})
                mine = getattr(filters, field)
                if mine is not None and mine not in expected:
                    expected = [mine, *expected]
                assert list(choices(session, filters, field)) == expected, (name, field)


def test_a_drop_down_has_at_most_a_hundred_names_and_the_chosen_one(ledger: Ledger, make_event: MakeEvent) -> None:
    """105 models, the 105th chosen: 100 in order after the chosen one. Covers P-DASH-GEN-14."""
    ledger.write([make_event(tracked_at=NOW, model=f"m{index:03}") for index in range(105)])
    with reading(ledger) as session:
        filters = parse_filters({"model": ["m104"]}, timezone=ZoneInfo("UTC"), now=NOW)
        assert choices(session, filters, "model") == ("m104", *(f"m{index:03}" for index in range(100)))


def test_values_past_the_daily_limit_are_added_up_as_others(
    open_ledger: Callable[..., Ledger], database_url: URL, make_event: MakeEvent
) -> None:
    """Nothing is lost of a key with too many values: the breakdown still adds up to the total."""
    ledger = open_ledger(database_url, durability="sync", tag_values_per_day=2)
    ledger.write(
        [make_event(tracked_at=NOW, tags={"user": str(index)}, total_cost=Decimal(index)) for index in range(5)]
    )
    with reading(ledger) as session:
        found = breakdown(session, parse_filters({}, timezone=ZoneInfo("UTC"), now=NOW), Group("tag", "user"))
    assert "__other__" in found
    assert sum((spend for spend in found.values()), Spend()) == Spend(5, 0, 7500, Decimal(10))


def test_the_report_is_complete_and_compares_like_with_like(filled: tuple[Ledger, list[Event]]) -> None:
    """Every row of every section, dearest first, with its own past. Covers P-REP-04, P-REP-05, P-REP-06."""
    ledger, events = filled
    filters = asked({})
    period = filters.period
    now = chosen(events, filters, period.start, period.end)
    before = chosen(events, filters, period.previous.start, period.previous_elapsed)
    with reading(ledger) as session:
        report = build_report(session, filters, report_groups(None, ["feature"]))
    assert [str(section.group) for section in report.sections] == ["provider", "model", "tag:feature"]
    assert (report.totals, report.previous) == (summed(now), summed(before))
    for section in report.sections:
        for row in section.rows:
            mine = [event for event in before if name_of(event, section.group) == row.name]
            assert row.previous_cost == (spent(mine).cost if mine else None)
            assert sum(row.spends, Spend()) == row.spend
        assert sum(row.spend.calls for row in section.rows) == len(now)
    known = sorted((event.total_cost for event in now if event.total_cost is not None), reverse=True)
    assert [call.total_cost for call in report.dearest] == known[:5]
