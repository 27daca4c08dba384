"""The chart's geometry says what the figures say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.dashboard.charts import PALETTE, colours, stacked_chart
from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.period import Period, custom_period, preset_period
from flask_llm_cost.queries.series import Bucket

NOW = datetime(2026, 4, 20, 13, 47, tzinfo=UTC)
ZONE = ZoneInfo("UTC")
costs = st.decimals(0, 1000, places=9)


def buckets(period: Period, amounts: list[Decimal], unpriced: frozenset[int] = frozenset()) -> list[Bucket]:
    return [
        Bucket(start, Spend(1, int(index in unpriced), 10, amount))
        for index, (start, amount) in enumerate(zip(period.bounds, amounts, strict=False))
    ]


@given(st.lists(st.tuples(costs, costs, costs), min_size=7, max_size=7))
def test_segments_fill_their_columns_share_of_the_axis(parts: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    """Each column's segments stand on the base line, on each other, and never leave the plot."""
    period = preset_period("7d", timezone=ZONE, now=NOW)
    current = buckets(period, [first + second for first, second, _ in parts])
    previous = buckets(period.previous, [before for _, _, before in parts])
    chart = stacked_chart(
        period,
        current,
        previous,
        [(0, [Spend(total_cost=part[0]) for part in parts]), (1, [Spend(total_cost=part[1]) for part in parts])],
    )
    top = chart.ticks[0].amount
    assert all(top >= (column.cost or 0) and top >= (column.previous or 0) for column in chart.columns)
    for column in chart.columns:
        foot = Decimal(100)
        for segment in column.segments:
            foot -= segment.height
            assert abs(segment.y - foot) <= Decimal("0.01")
        assert foot >= Decimal("-0.01")
        assert abs(100 - foot - (column.cost or 0) / top * 100) <= Decimal("0.01")


@given(st.decimals(Decimal("0.000000001"), 10**9, places=9))
def test_ticks_are_round_evenly_spaced_and_reach_the_highest_value(highest: Decimal) -> None:
    period = preset_period("7d", timezone=ZONE, now=NOW)
    ticks = stacked_chart(period, buckets(period, [highest] * 7), buckets(period, [Decimal(0)] * 7), []).ticks
    steps = {upper.amount - lower.amount for upper, lower in pairwise(ticks)}
    assert len(steps) == 1
    assert steps.pop().normalize().as_tuple().digits in ((1,), (2,), (5,))
    assert 3 <= len(ticks) <= 6
    assert (ticks[0].y, ticks[-1].y, ticks[-1].amount) == (0, 100, 0)
    assert ticks[1].amount < highest <= ticks[0].amount


def test_what_is_unknown_or_still_to_come_is_a_gap_not_zero() -> None:
    """A day whose calls have no price, and days that lie ahead, draw nothing; the line of the past is interrupted."""
    start, end = (NOW + timedelta(days=offset) for offset in (-4, 2))
    period = custom_period(start.date(), end.date(), timezone=ZONE, now=NOW)
    amounts = [Decimal(each) for each in (1, 2, 0, 4, 5, 0, 0)]
    previous = buckets(period.previous, amounts, unpriced=frozenset({2}))
    current = buckets(period, amounts, unpriced=frozenset({2}))
    chart = stacked_chart(period, current, previous, [(0, [bucket.spend for bucket in current])])
    assert [column.cost for column in chart.columns] == [1, 2, None, 4, 5, None, None]
    assert [column.is_partial for column in chart.columns] == [False] * 4 + [True] + [False] * 2
    assert [len(run.split()) for run in chart.previous] == [2, 4]


def test_a_chart_of_nothing_has_an_axis() -> None:
    period = preset_period("24h", timezone=ZONE, now=NOW)
    none = [Bucket(start, Spend()) for start in period.bounds[:-1]]
    chart = stacked_chart(period, none, none, [])
    assert [column.segments for column in chart.columns] == [()] * 24
    assert [tick.amount for tick in chart.ticks] == [1, 0]
    assert chart.columns[0].long_label == "Apr 19, 14:00"


def test_labels_of_a_narrow_chart_are_among_those_of_a_wide_one() -> None:
    for count in (1, 7, 24, 30, 60, 366):
        last = NOW.date()
        period = custom_period(last - timedelta(days=count - 1), last, timezone=ZONE, now=NOW)
        chart = stacked_chart(
            period, buckets(period, [Decimal(1)] * count), buckets(period.previous, [Decimal(1)] * count), []
        )
        wide = sum(column.on_axis for column in chart.columns)
        narrow = [column.on_axis for column in chart.columns if column.on_narrow_axis]
        assert 1 <= wide <= 10
        assert all(narrow)
        assert 1 <= len(narrow) <= 4


@given(st.lists(st.none() | st.text(max_size=20), unique=True, max_size=PALETTE))
def test_six_names_have_six_colours_and_keep_them_in_any_company(names: list[str | None]) -> None:
    """A colour follows its name: whoever comes first keeps the colour it would have alone."""
    taken = colours(names)
    assert len(set(taken.values())) == len(names)
    if names:
        assert taken[names[0]] == colours(names[:1])[names[0]]
