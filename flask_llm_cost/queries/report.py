"""The report of the command line: a period in figures, with what changed since the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from flask_llm_cost.queries.breakdown import Spend, breakdown
from flask_llm_cost.queries.calls import CallRow, dearest_calls
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group
from flask_llm_cost.queries.latency import latency, mean_latency_ms
from flask_llm_cost.queries.leaks import Leak, leaks_since
from flask_llm_cost.queries.series import Spends, spends_over_time
from flask_llm_cost.queries.totals import Totals, totals


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One model, provider or tag value (``None``: without the tag).

    Attributes:
        previous_cost: USD in the previous period, cut at the same elapsed part.
        spends: per day of the period.
    """

    name: str | None
    spend: Spend
    previous_cost: Decimal | None
    spends: Spends


@dataclass(frozen=True, slots=True)
class Section:
    """A breakdown, dearest first, complete."""

    group: Group
    rows: tuple[ReportRow, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a period."""

    filters: Filters
    totals: Totals
    previous: Totals
    mean_latency_ms: float | None
    p95_latency_ms: float | None
    sections: tuple[Section, ...]
    dearest: tuple[CallRow, ...]
    leaks: tuple[Leak, ...]


def report_groups(by: Group | None, tag_keys: Sequence[str]) -> tuple[Group, ...]:
    """What a report breaks down by: the one asked for, else provider, model and the configured tags."""
    return (by,) if by else (PROVIDER, MODEL, *(Group("tag", key) for key in tag_keys))


def build_report(session: Session, filters: Filters, groups: Sequence[Group], *, dearest: int = 5) -> Report:
    """Read everything of a report."""
    period = filters.period
    return Report(
        filters=filters,
        totals=totals(session, filters),
        previous=totals(session, filters, period.previous.start, period.previous_elapsed),
        mean_latency_ms=mean_latency_ms(session, filters),
        p95_latency_ms=latency(session, filters).p95_ms,
        sections=tuple(_section(session, filters, group) for group in groups),
        dearest=dearest_calls(session, filters, dearest),
        leaks=leaks_since(session, period.first_day),
    )


def _section(session: Session, filters: Filters, group: Group) -> Section:
    period = filters.period
    now = breakdown(session, filters, group)
    before: Mapping[str | None, Spend] = breakdown(
        session, filters, group, period.previous.start, period.previous_elapsed
    )
    spends = spends_over_time(session, filters, group, tuple(now))
    rows = (
        ReportRow(name, spend, before[name].cost if name in before else None, spends[name])
        for name, spend in now.items()
    )
    return Section(group, tuple(rows))
