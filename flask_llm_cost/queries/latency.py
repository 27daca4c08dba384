"""How long answers took: percentiles from the log-spaced bins of the rollup, or exactly from the calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call, LatencyDaily
from flask_llm_cost.queries.conditions import during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.totals import named

BIN_RATIO = 1.15


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; ``None`` where no call says how long it took."""

    p50_ms: float | None = None
    p95_ms: float | None = None


def latency(session: Session, filters: Filters) -> Latency:
    """The median and the 95th percentile: within 2% from rollups, exact where only the calls can answer."""
    if filters.needs_calls or filters.period.unit == "hour":
        return exact_latency(session, filters)
    bins = _bins(session, filters)
    return Latency(percentile(bins, 0.50), percentile(bins, 0.95))


def mean_latency_ms(
    session: Session, filters: Filters, start: datetime | None = None, end: datetime | None = None
) -> float | None:
    """The mean over the calls themselves: bins could only estimate it. Of the period, or of a range of instants."""
    mean = session.scalar(select(func.avg(Call.latency_ms)).where(*_timed(session, filters, start, end)))
    return None if mean is None else float(mean)


def mean_latency_by(
    session: Session, filters: Filters, column: Literal["model", "provider"], start: datetime, end: datetime
) -> dict[str, float]:
    """The mean of each model or provider in milliseconds, slowest first."""
    name = getattr(Call, column)
    mean = func.avg(Call.latency_ms)
    statement = select(name, mean).where(*_timed(session, filters, start, end)).group_by(name).order_by(mean.desc())
    return {row[0]: float(row[1]) for row in session.execute(statement)}


def _bins(session: Session, filters: Filters) -> Sequence[tuple[int, int]]:
    period = filters.period
    statement = (
        select(LatencyDaily.bin, func.sum(LatencyDaily.calls))
        .where(LatencyDaily.day >= period.first_day, LatencyDaily.day <= period.last_day, *named(LatencyDaily, filters))
        .group_by(LatencyDaily.bin)
        .order_by(LatencyDaily.bin)
    )
    return [(bin_, int(calls)) for bin_, calls in session.execute(statement)]


def percentile(bins: Sequence[tuple[int, int]], share: float) -> float | None:
    """The latency below which a share of the calls lies; bins are (number, calls), in order.

    Within a bin calls are taken to be spread evenly on the bins' logarithmic scale.
    """
    wanted = share * sum(calls for _, calls in bins)
    if not wanted:
        return None
    seen = 0
    for number, calls in bins:
        if calls and seen + calls >= wanted:
            return _within_bin(number, (wanted - seen) / calls)
        seen += calls
    return None


def _within_bin(number: int, share: float) -> float:
    if number < 0:
        return share
    return math.pow(BIN_RATIO, number + share)


def _timed(
    session: Session, filters: Filters, start: datetime | None = None, end: datetime | None = None
) -> list[ColumnElement[bool]]:
    within = during(start or filters.period.start, end or filters.period.end)
    return [within, Call.latency_ms.is_not(None), *narrowed(session, filters)]


def exact_latency(
    session: Session, filters: Filters, start: datetime | None = None, end: datetime | None = None
) -> Latency:
    """The same percentiles from the calls themselves, of the period or of a range of instants."""
    conditions = _timed(session, filters, start, end)
    count = session.scalar(select(func.count()).select_from(Call).where(*conditions)) or 0
    if not count:
        return Latency()
    in_order = select(Call.latency_ms).where(*conditions).order_by(Call.latency_ms)

    def nearest_rank(share: float) -> float:
        found = session.scalar(in_order.offset(max(0, math.ceil(share * count) - 1)).limit(1))
        return float(found or 0)

    return Latency(nearest_rank(0.50), nearest_rank(0.95))
