"""Spend over time as a chart with its legend: the dearest names, and all others together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from flask_llm_cost.dashboard.charts import OTHERS_COLOUR, Chart, colours, stacked_chart
from flask_llm_cost.queries.breakdown import Breakdown, Spend, breakdown
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import Group
from flask_llm_cost.queries.reading import LedgerSession
from flask_llm_cost.queries.series import spend_over_time, spends_over_time
from flask_llm_cost.queries.totals import change

TOP_NAMES = 6


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A name of the chart, or all others (``is_others``). A name of ``None`` is "without this tag"."""

    name: str | None
    label: str
    colour: int
    spend: Spend
    share: Decimal
    change: Decimal | None
    is_others: bool = False


@dataclass(frozen=True, slots=True)
class SpendChart:
    """The daily spend with its legend."""

    group: Group
    chart: Chart
    legend: tuple[LegendRow, ...]
    total: Spend
    change: Decimal | None


def spend_chart(session: LedgerSession, filters: Filters, group: Group) -> SpendChart:
    """The period's spend by day (or hour), stacked by its dearest names."""
    period = filters.period
    found = breakdown(session, filters, group)
    before = breakdown(session, filters, group, period.previous.start, period.previous_elapsed)
    # One name more than the top is named itself: "1 other" would take as much room and say less.
    names = tuple(found)[: TOP_NAMES + 1 if len(found) == TOP_NAMES + 1 else TOP_NAMES]
    current = spend_over_time(session, filters, period)
    spends = spends_over_time(session, filters, group, names)
    legend = _legend(found, before, names)
    parts = [(row.colour, spends[row.name]) for row in legend if not row.is_others]
    if legend and legend[-1].is_others:
        named = [sum(held, Spend()) for held in zip(*spends.values(), strict=True)]
        rest = [bucket.spend - known for bucket, known in zip(current, named, strict=True)]
        parts.append((OTHERS_COLOUR, tuple(rest)))
    total, previous = sum(found.values(), Spend()), sum(before.values(), Spend())
    return SpendChart(
        group=group,
        chart=stacked_chart(period, current, spend_over_time(session, filters, period.previous), parts),
        legend=legend,
        total=total,
        change=change(total.cost, previous.cost),
    )


def _legend(found: Breakdown, before: Breakdown, names: Sequence[str | None]) -> tuple[LegendRow, ...]:
    total = sum((spend.total_cost for spend in found.values()), Decimal(0))
    colour = colours(names[:TOP_NAMES])
    rows = [
        LegendRow(
            name=name,
            label="(untagged)" if name is None else name,
            colour=colour.get(name, OTHERS_COLOUR),
            spend=found[name],
            share=share_of(found[name].total_cost, total),
            change=change(found[name].cost, before[name].cost if name in before else None),
        )
        for name in names
    ]
    others = [name for name in found if name not in names]
    if others:
        rows.append(_others(found, before, others, names, total))
    return tuple(rows)


def _others(
    found: Breakdown, before: Breakdown, others: Sequence[str | None], names: Sequence[str | None], total: Decimal
) -> LegendRow:
    spend = sum((found[name] for name in others), Spend())
    earlier = sum((spend for name, spend in before.items() if name not in names), Spend())
    label = f"{len(others):,} others"
    return LegendRow(
        None,
        label,
        OTHERS_COLOUR,
        spend,
        share_of(spend.total_cost, total),
        change(spend.cost, earlier.cost),
        is_others=True,
    )


def share_of(part: Decimal, whole: Decimal) -> Decimal:
    """What percentage of the whole a part is; 0 of nothing."""
    return part / whole * 100 if whole else Decimal(0)
