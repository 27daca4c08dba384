"""The law of the ledger: what every rollup holds is the sum of the calls, to the last unit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.models import Call, Daily, Hourly, LatencyDaily, TagDaily, TagKeyDaily, TagMonthly
from flask_llm_cost.ledger.rollups import SUMS, TAG_SUMS, Summary, summarise
from flask_llm_cost.ledger.rows import Entry, utc_text
from flask_llm_cost.ledger.succession import held_entry
from flask_llm_cost.ledger.types import Money
from flask_llm_cost.settings import Settings

ROLLUPS: tuple[Any, ...] = (Daily, Hourly, LatencyDaily, TagDaily, TagMonthly, TagKeyDaily)


def calls_of(ledger: Ledger) -> list[Entry]:
    """All calls as they are counted."""
    with ledger.session() as session:
        return [held_entry(dict(row)) for row in session.execute(select(Call.__table__)).mappings()]


def assert_rollups_are_the_sum(ledger: Ledger, pruned: Iterable[Entry] = (), settings: Settings | None = None) -> None:
    """Every rollup is what the calls, and those ``pruned`` since, add up to. Values in ``__other__`` count by key."""
    chosen = settings or Settings()
    expected = summarise([*calls_of(ledger), *pruned], chosen.timezone, chosen.rollup_exclude_tags)
    held = {model: _held(ledger, model) for model in ROLLUPS}
    assert held[Daily] == expected.daily
    assert held[Hourly] == expected.hourly
    assert held[LatencyDaily] == expected.latency
    assert held[TagKeyDaily] == expected.tag_keys
    assert _by_key(held[TagDaily]) == expected.tag_keys
    assert _by_key(held[TagMonthly]) == _by_key(_monthly(expected))
    apart = {key: sums for key, sums in held[TagDaily].items() if key[2] != "__other__"}
    folded = {key[:2] for key in held[TagDaily] if key[2] == "__other__"}
    for key, sums in apart.items():
        # Where others are folded, a value may have been so before it got a row: its sums are then a part.
        if key[:2] not in folded:
            assert sums == expected.tags[key]
    values = Counter(key[:2] for key in apart)
    with ledger.session() as session:
        counted = session.execute(select(TagKeyDaily.key, TagKeyDaily.day, TagKeyDaily.distinct_values))
        assert {(key, str(day)): count for key, day, count in counted if count} == values


def _held(ledger: Ledger, model: Any) -> dict[Any, list[int]]:
    columns = model.__table__.columns
    names = {Daily: SUMS, Hourly: SUMS, LatencyDaily: ("calls",)}.get(model, TAG_SUMS)
    keys = {
        TagDaily: ("key", "day", "value"),
        TagMonthly: ("key", "month", "value"),
        TagKeyDaily: ("key", "day"),
        LatencyDaily: ("day", "provider", "model", "bin"),
        Daily: ("day", "provider", "model", "pricing_mode"),
        Hourly: ("hour", "provider", "model", "pricing_mode"),
    }[model]
    with ledger.session() as session:
        rows = session.execute(select(model.__table__)).mappings().all()
    held = {}
    for row in rows:
        key = tuple(utc_text(row[name]) if name == "hour" else _plain(row[name]) for name in keys)
        held[key] = [int(row[name].scaleb(9)) if isinstance(columns[name].type, Money) else row[name] for name in names]
    return held


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int) else str(value)


def _by_key(values: dict[Any, list[int]]) -> dict[Any, list[int]]:
    sums: defaultdict[Any, list[int]] = defaultdict(lambda: [0] * len(TAG_SUMS))
    for key, addends in values.items():
        sums[key[:2]] = [held + each for held, each in zip(sums[key[:2]], addends, strict=True)]
    return dict(sums)


def _monthly(expected: Summary) -> dict[Any, list[int]]:
    found: defaultdict[Any, list[int]] = defaultdict(lambda: [0] * len(TAG_SUMS))
    for (key, day, value), addends in expected.tags.items():
        month = (key, f"{day[:7]}-01", value)
        found[month] = [held + each for held, each in zip(found[month], addends, strict=True)]
    return dict(found)
