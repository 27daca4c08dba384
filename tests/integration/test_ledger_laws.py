"""Rollups equal the calls, whatever is written in whatever order, how often ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, delete, func, select, update

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Base, Call, Daily, Hourly, LatencyDaily, TagDaily, TagKeyDaily, TagMonthly
from flask_llm_cost.ledger.reprice import Selection
from flask_llm_cost.ledger.rows import Entry
from flask_llm_cost.ledger.writer import BATCH
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.settings import Settings
from tests.integration.conftest import EVERYWHERE, fresh_database
from tests.integration.ledger_sums import assert_rollups_are_the_sum, calls_of

START = datetime(2026, 3, 28, tzinfo=UTC)
CAP = 3

events = st.builds(
    Event,
    # Few ids: duplicates within a batch and across batches are the rule.
    event_id=st.integers(1, 25).map(lambda number: UUID(int=number)),
    tracked_at=st.just(START),
    provider=st.sampled_from(["openai", "anthropic"]),
    model=st.sampled_from(["a", "A", "b"]),
    stream=st.booleans(),
    status=st.sampled_from(["ok", "error"]),
    usage_source=st.sampled_from(["unknown", "unknown", "response"]),
    pricing_mode=st.sampled_from([None, "batch"]),
    input_tokens=st.integers(0, 10**6),
    total_tokens=st.integers(0, 10**6),
    total_cost=st.none() | st.integers(0, 10**12).map(lambda count: Decimal(count).scaleb(-9)),
    cost_low=st.none() | st.integers(0, 10**12).map(lambda count: Decimal(count).scaleb(-9)),
    cost_high=st.none() | st.integers(0, 10**12).map(lambda count: Decimal(count).scaleb(-9)),
    cost_status=st.sampled_from(["complete", "unknown", "partial", "estimated"]),
    latency_ms=st.none() | st.integers(0, 10**5),
    tags=st.dictionaries(st.sampled_from(["user", "feature"]), st.sampled_from(list("abcdefg")), max_size=2),
).map(lambda event: replace(event, tracked_at=START + timedelta(hours=event.event_id.int * 3)))


@pytest.fixture(scope="module", params=EVERYWHERE)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for all examples; each empties it first."""
    folder: Path = tmp_path_factory.mktemp("laws")
    for url in fresh_database(request.param, folder):
        ledger = open_one(url, folder)
        yield ledger
        ledger.shutdown()


def open_one(url: URL, folder: Path) -> Ledger:
    chosen = Settings(durability="sync", tag_values_per_day=CAP)
    ledger = Ledger.open(url=url, settings=chosen, spool_dir=folder, testing=True)
    ledger.upgrade()
    return ledger


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(events, min_size=1, max_size=12), min_size=1, max_size=4))
def test_rollups_are_the_sum_of_the_calls(shared: Ledger, batches: list[list[Event]]) -> None:
    """After any batches, with repeats: every rollup = the calls. Covers P-ROLL-01, P-ROLL-10, P-CON-07."""
    with shared.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(delete(table))
    for batch in batches:
        assert len(batch) <= BATCH
        shared.write(batch)
    kept = kept_of(batches)
    with shared.session() as session:
        assert outcomes(session.scalars(select(Call))) == outcomes(kept.values())
        of_calls = session.execute(sums(Call, func.count(Call.id))).one()
        modes = Counter(event.pricing_mode or "standard" for event in kept.values())
        for rollup in (Daily, Hourly):
            held = session.execute(select(rollup.pricing_mode, func.sum(rollup.calls)).group_by(rollup.pricing_mode))
            assert {mode: int(calls) for mode, calls in held} == modes
            assert session.scalar(select(func.count()).where(rollup.calls == 0)) == 0
            assert session.execute(sums(rollup, func.sum(rollup.calls))).one() == of_calls
        assert session.scalar(select(func.sum(Daily.unpriced))) == sum(
            event.cost_status in ("unknown", "partial")
            or (event.cost_status == "estimated" and event.total_cost is None and event.cost_high is None)
            for event in kept.values()
        )
        timed = sum(event.latency_ms is not None for event in kept.values())
        assert (session.scalar(select(func.sum(LatencyDaily.calls))) or 0) == timed
        assert session.scalar(select(func.count()).where(LatencyDaily.calls == 0)) == 0
        for tagged in (TagDaily, TagMonthly, TagKeyDaily):
            found = session.execute(select(tagged.key, func.sum(tagged.calls)).group_by(tagged.key)).all()
            assert {key: int(calls) for key, calls in found} == tag_calls(kept)
        apart = select(TagDaily.key, TagDaily.day, func.count()).where(TagDaily.value != "__other__")
        values = {(key, day): count for key, day, count in session.execute(apart.group_by(TagDaily.key, TagDaily.day))}
        keys = session.execute(select(TagKeyDaily.key, TagKeyDaily.day, TagKeyDaily.distinct_values))
        assert {(key, day): count for key, day, count in keys} == values
        assert all(count <= CAP for count in values.values())
    report = shared.upkeep.verify_rollups()
    assert report.rows == {}, report.as_dict()


DAMAGES = [
    delete(Daily),
    delete(Hourly).where(Hourly.provider == "openai"),
    delete(LatencyDaily),
    delete(TagDaily).where(TagDaily.key == "user"),
    delete(TagMonthly),
    delete(TagKeyDaily),
    update(Daily).values(total_cost=Daily.total_cost + Decimal("0.000000001")),
    update(Hourly).values(calls=Hourly.calls + 1, errors=Hourly.errors + 1),
    update(TagDaily).values(cost_low=Decimal(0), cost_high=Decimal(7)),
    update(TagKeyDaily).values(distinct_values=17),
    update(LatencyDaily).values(bin=LatencyDaily.bin + 500),
    update(TagMonthly).values(unpriced=TagMonthly.unpriced - 3),
]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(events, min_size=1, max_size=12), min_size=1, max_size=3),
    damages=st.lists(st.integers(0, len(DAMAGES) - 1), min_size=1, max_size=3, unique=True),
)
def test_a_rebuild_repairs_whatever_is_wrong(shared: Ledger, batches: list[list[Event]], damages: list[int]) -> None:
    """To the last unit, rows that stand for no call included; a second one finds nothing."""
    with shared.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(delete(table))
    for batch in batches:
        shared.write(batch)
    with shared.engine.begin() as connection:
        for damage in damages:
            connection.execute(DAMAGES[damage])
    found = shared.upkeep.verify_rollups()
    assert found.differences == sum(found.rows.values())
    shared.upkeep.rebuild_rollups()
    after = shared.upkeep.verify_rollups()
    assert after.rows == {}, after.as_dict()
    assert shared.upkeep.rebuild_rollups().rows == {}
    with shared.session() as session:
        for rollup in (Daily, Hourly, LatencyDaily, TagDaily, TagMonthly, TagKeyDaily):
            assert session.scalar(select(func.count()).where(rollup.calls == 0)) == 0


RATES: tuple[dict[str, Any], ...] = (
    {},
    {"openai/a": {"input": "1", "batch_input": "0.5"}, "anthropic/b": {"input": "0"}},
    {"openai/a": {"input": "7", "output": "0.123456789"}, "openai/b": {"input": "2"}, "anthropic/a": {"output": "1"}},
)
BOUNDS = {"bounds": {"told": {}, "low": {"input": 1000}, "high": {"input": 2000, "output": 3}}}
receipts = st.sampled_from([{}, {}, BOUNDS, {"lines": [{"meter": "input", "quantity": 9}]}, {"lines": "none"}])
recorded = st.lists(
    st.builds(lambda event, receipt: replace(event, receipt=receipt), events, receipts), min_size=1, max_size=12
)
repriced = st.builds(
    lambda rates, unknown_only, model, batch_size: (
        rates,
        Selection(unknown_only=unknown_only, model=model),
        batch_size,
    ),
    st.sampled_from(RATES),
    st.booleans(),
    st.sampled_from([None, None, "a"]),
    st.integers(1, 12),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(recorded | repriced | st.integers(1, 25), min_size=2, max_size=7))
def test_rollups_are_the_sum_through_reprices_and_prunes(shared: Ledger, steps: list[Any]) -> None:
    """Recorded, recorded again with more knowledge, priced again, pruned, in any order: every rollup is the sum of
    the calls and of those pruned, and what was priced last has nothing to change. Covers P-ROLL-01, P-PRC-41."""
    with shared.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(delete(table))
    chosen = Settings(tag_values_per_day=CAP)
    pruned: list[Entry] = []
    for step in steps:
        if isinstance(step, int):
            pruned += [entry for entry in calls_of(shared) if entry.row["event_id"] == UUID(int=step)]
            with shared._engines.writing() as connection:
                connection.execute(delete(Call).where(Call.event_id == UUID(int=step)))
        elif isinstance(step, list):
            shared.write(step)
        else:
            rates, selection, batch_size = step
            prices = PriceBook.open(overrides=rates, prices_file=None, model_aliases={})
            shared.reprice(prices, selection, batch_size=batch_size)
            assert shared.reprice(prices, selection, batch_size=batch_size).calls == 0
        assert_rollups_are_the_sum(shared, pruned, chosen)


def kept_of(batches: list[list[Event]]) -> dict[UUID, Event]:
    """What the ledger is to hold: of records with one id whose call it was from the first, and the best outcome."""
    kept: dict[UUID, Event] = {}
    for event in (event for batch in batches for event in batch):
        held = kept.setdefault(event.event_id, event)
        if knowledge(event) > knowledge(held):
            mine = {"provider": held.provider, "stream": held.stream, "tags": held.tags}
            kept[event.event_id] = replace(event, **mine)
    return kept


def knowledge(event: Event) -> int:
    return 2 if event.usage_source != "unknown" else int(event.status != "ok")


def outcomes(calls: Iterable[Any]) -> dict[UUID, tuple[Any, ...]]:
    names = ("provider", "model", "status", "usage_source", "pricing_mode", "total_tokens", "total_cost", "latency_ms")
    return {call.event_id: tuple(getattr(call, name) for name in (*names, "stream", "tags")) for call in calls}


def sums(model: Any, calls: Any) -> Any:
    return select(
        calls,
        func.coalesce(func.sum(model.total_cost), 0),
        func.coalesce(func.sum(model.cost_low), 0),
        func.coalesce(func.sum(model.cost_high), 0),
        func.sum(model.input_tokens),
        func.sum(model.total_tokens),
    )


def tag_calls(kept: dict[UUID, Event]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for event in kept.values():
        for key in event.tags:
            counted[key] = counted.get(key, 0) + 1
    return counted
