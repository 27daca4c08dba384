"""Geometry of the stacked chart: everything in percent, so that the SVG stretches and its text does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

from flask_llm_cost.dashboard import formatting
from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.period import Period
from flask_llm_cost.queries.series import Bucket

PALETTE = 6
"""Colours for names; the one after them is for all others."""
OTHERS_COLOUR = PALETTE
BAR_SHARE = Decimal("0.72")
LABELS = 10
LABELS_IF_NARROW = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a column: its top and height in percent of the plot, and its colour's number."""

    y: Decimal
    height: Decimal
    colour: int


@dataclass(frozen=True, slots=True)
class Column:
    """One bucket.

    Attributes:
        label, long_label: how it is named on the axis and in words.
        iso_day: its day, for links.
        x, bar_x, centre: percent of the width where it, its bar and its middle begin.
        cost, previous: USD; ``None`` where there is none to draw (still to come, or no call has a price).
        spend, previous_spend: all of it, also what has no price; ``None`` where it is still to come.
        values: spend per drawn name, in the legend's order.
        is_partial: whether it is still running.
        on_axis, on_narrow_axis: whether its label is drawn, also where there is little room.
    """

    label: str
    long_label: str
    iso_day: str
    x: Decimal
    bar_x: Decimal
    centre: Decimal
    cost: Decimal | None
    previous: Decimal | None
    spend: Spend | None
    previous_spend: Spend
    values: tuple[Spend, ...]
    segments: tuple[Segment, ...]
    is_partial: bool
    on_axis: bool
    on_narrow_axis: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line: its amount in USD and where it lies, in percent from the top."""

    amount: Decimal
    y: Decimal


@dataclass(frozen=True, slots=True)
class Chart:
    """A stacked column chart with the previous period as lines.

    Attributes:
        width, bar_width: of a column and its bar, in percent.
        previous: one polyline of "x,y x,y" points per unbroken run; a gap is a gap, never zero.
        tick_places, value_places: decimals of the axis and of the data table.
    """

    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    width: Decimal
    bar_width: Decimal
    previous: tuple[str, ...]
    tick_places: int
    value_places: int


def stacked_chart(
    period: Period,
    current: Sequence[Bucket],
    previous: Sequence[Bucket],
    parts: Sequence[tuple[int, Sequence[Spend]]],
) -> Chart:
    """Columns of the period, each stacked from ``parts``: (colour, spend per bucket), first at the bottom."""
    costs = [None if bucket.start > period.now else bucket.spend.cost for bucket in current]
    before = [bucket.spend.cost for bucket in previous]
    amounts = [cost for cost in (*costs, *before) if cost is not None]
    ticks = _ticks(max(amounts, default=Decimal(0)))
    top, width = ticks[0].amount, Decimal(100) / len(current)
    axis, narrow_axis = _labelled(len(current))
    columns = tuple(
        Column(
            **_named(period, bucket),
            x=_rounded(index * width),
            bar_x=_rounded(index * width + width * (1 - BAR_SHARE) / 2),
            centre=_rounded((index + Decimal("0.5")) * width),
            cost=costs[index],
            previous=before[index],
            spend=None if bucket.start > period.now else bucket.spend,
            previous_spend=previous[index].spend,
            values=tuple(values[index] for _, values in parts),
            segments=tuple(_stack([(colour, values[index].total_cost) for colour, values in parts], top)),
            is_partial=_is_partial(period, bucket),
            on_axis=index in axis,
            on_narrow_axis=index in narrow_axis,
        )
        for index, bucket in enumerate(current)
    )
    return Chart(
        columns=columns,
        ticks=ticks,
        width=_rounded(width),
        bar_width=_rounded(width * BAR_SHARE),
        previous=tuple(_lines([(column.centre, column.previous) for column in columns], top)),
        tick_places=_tick_places(ticks),
        value_places=formatting.places_for(amounts),
    )


def colours(names: Sequence[str | None]) -> Mapping[str | None, int]:
    """A colour per name that follows the name, not its rank: two names share one only past six.

    Each name prefers the colour its hash gives; in order of rank, the next free one is taken.
    """
    taken: dict[str | None, int] = {}
    for name in names:
        preferred = int(hashlib.sha256((name or "").encode()).hexdigest(), 16) % PALETTE
        free = [(preferred + step) % PALETTE for step in range(PALETTE)]
        taken[name] = next((colour for colour in free if colour not in taken.values()), preferred)
    return taken


def _named(period: Period, bucket: Bucket) -> dict[str, str]:
    local = bucket.start.astimezone(period.timezone)
    iso_day = local.date().isoformat()
    if period.unit == "hour":
        day = formatting.day(local)
        return {"label": f"{local:%H:%M}", "long_label": f"{day}, {local:%H:%M}", "iso_day": iso_day}
    label = formatting.day(local)
    return {"label": label, "long_label": f"{local:%a} {label}", "iso_day": iso_day}


def _is_partial(period: Period, bucket: Bucket) -> bool:
    width = timedelta(hours=1)
    if period.unit == "hour":
        return bucket.start <= period.now < bucket.start + width
    return bucket.start.astimezone(period.timezone).date() == period.now.astimezone(period.timezone).date()


def _stack(parts: Sequence[tuple[int, Decimal]], top: Decimal) -> Iterator[Segment]:
    foot = Decimal(100)
    for colour, amount in parts:
        if amount <= 0:
            continue
        height = amount / top * 100
        foot -= height
        yield Segment(_rounded(foot), _rounded(height), colour)


def _lines(points: Sequence[tuple[Decimal, Decimal | None]], top: Decimal) -> Iterator[str]:
    run: list[str] = []
    for x, amount in points:
        if amount is None:
            if len(run) > 1:
                yield " ".join(run)
            run = []
        else:
            run.append(f"{x},{_rounded(100 - amount / top * 100)}")
    if len(run) > 1:
        yield " ".join(run)


def _ticks(highest: Decimal) -> tuple[Tick, ...]:
    """Three to six round amounts from the top down to 0."""
    if highest <= 0:
        return Tick(Decimal(1), Decimal(0)), Tick(Decimal(0), Decimal(100))
    raw = highest / 4
    power = Decimal(1).scaleb(raw.adjusted())
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    steps = int((highest / step).to_integral_value(ROUND_CEILING))
    return tuple(
        Tick(step * index, _rounded(Decimal(100) - Decimal(100) * index / steps)) for index in range(steps, -1, -1)
    )


def _tick_places(ticks: Sequence[Tick]) -> int:
    step = min(abs(upper.amount - lower.amount) for upper, lower in pairwise(ticks))
    return 0 if step == step.to_integral_value() else max(2, -step.normalize().adjusted())


def _labelled(count: int) -> tuple[frozenset[int], frozenset[int]]:
    """Which columns have a label; where there is little room, some of the same."""
    step = -(-count // LABELS)
    narrow_step = step * -(-count // (step * LABELS_IF_NARROW))
    return frozenset(range(0, count, step)), frozenset(range(0, count, narrow_step))


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.001"))
