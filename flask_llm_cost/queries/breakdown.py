"""Where spend comes from: by model, by provider, or by the values of a tag key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from operator import add, attrgetter, sub
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.dialects import dialect_in
from flask_llm_cost.ledger.models import Call, TagDaily, TagKeyDaily
from flask_llm_cost.queries.conditions import UNPRICED, during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import Group
from flask_llm_cost.queries.period import Span, spans
from flask_llm_cost.queries.totals import ZERO, CostSpan, measure_of, slices, totals


@dataclass(frozen=True, slots=True)
class Spend:
    """What one model, provider or tag value used.

    Attributes:
        unpriced: calls whose cost has no known upper bound.
        total_cost: USD of the calls with a known cost.
        cost_low, cost_high: USD that calls with an estimate cost beside that, at least and at most.
    """

    calls: int = 0
    unpriced: int = 0
    total_tokens: int = 0
    total_cost: Decimal = ZERO
    cost_low: Decimal = ZERO
    cost_high: Decimal = ZERO

    def __add__(self, other: Spend) -> Spend:
        return Spend(*map(add, _values(self), _values(other)))

    def __sub__(self, other: Spend) -> Spend:
        return Spend(*map(sub, _values(self), _values(other)))

    @property
    def cost(self) -> Decimal | None:
        """The known cost; ``None`` where nothing is known of it. Failed calls that used nothing know nothing of it."""
        return None if (self.unpriced or self.cost_high) and not self.total_cost else self.total_cost

    @property
    def span(self) -> CostSpan:
        """Between what and what all of it cost."""
        return CostSpan.of(self)


SUMMED = ("total_tokens", "total_cost", "cost_low", "cost_high")
"""What of a call a ``Spend`` adds up, after its counts."""

Breakdown = Mapping[str | None, Spend]
"""Name → spend, dearest first. ``None`` names the calls that do not carry the tag key."""

MEASURES = tuple(field.name for field in fields(Spend))
_values = attrgetter(*MEASURES)


def breakdown(
    session: Session, filters: Filters, group: Group, start: datetime | None = None, end: datetime | None = None
) -> Breakdown:
    """Spend per name over the period, or over the range given instead (UTC instants, end exclusive)."""
    first, last = start or filters.period.start, end or filters.period.end
    if group.dimension == "tag":
        rows = list(_by_tag(session, filters, group.key, first, last))
    else:
        rows = list(_by_column(session, filters, group.dimension, first, last))
    return ranked(rows)


def ranked(rows: Iterable[tuple[str | None, Spend]]) -> Breakdown:
    """Add up rows of the same name, dearest first, then most called, then by name; drop what had no calls."""
    added: dict[str | None, Spend] = {}
    for name, spend in rows:
        added[name] = added.get(name, Spend()) + spend
    present = [(name, spend) for name, spend in added.items() if spend.calls]
    return dict(sorted(present, key=lambda item: (-item[1].total_cost, -item[1].calls, item[0] or "")))


def spend_of(values: Iterable[Any]) -> Spend:
    """``Spend`` from a row of sums in its order."""
    calls, unpriced, tokens, *costs = values
    return Spend(int(calls or 0), int(unpriced or 0), int(tokens or 0), *(cost or ZERO for cost in costs))


def _by_column(
    session: Session, filters: Filters, column: str, start: datetime, end: datetime
) -> Iterable[tuple[str, Spend]]:
    for part in slices(session, filters, start, end):
        name = getattr(part.source, column)
        columns = [measure_of(part.source, measure) for measure in MEASURES]
        for row in session.execute(select(name, *columns).where(*part.conditions).group_by(name)):
            yield row[0], spend_of(row[1:])


def _by_tag(
    session: Session, filters: Filters, key: str, start: datetime, end: datetime
) -> Iterable[tuple[str | None, Spend]]:
    if filters.is_narrowed:
        yield from _tagged_calls(session, filters, key, start, end)
        return
    for span in spans(start, end, filters.period.timezone):
        if span.unit == "day":
            yield from _tagged_days(session, filters, key, span)
        else:
            yield from _tagged_calls(session, filters, key, span.start, span.end)


def _tagged_days(session: Session, filters: Filters, key: str, span: Span) -> Iterable[tuple[str | None, Spend]]:
    first, last = span.days(filters.period.timezone)
    columns = [func.sum(getattr(TagDaily, measure)) for measure in MEASURES]
    on_days = (TagDaily.key == key, TagDaily.day >= first, TagDaily.day <= last)
    statement = select(func.min(TagDaily.value), *columns).where(*on_days).group_by(TagDaily.digest)
    for row in session.execute(statement):
        yield row[0], spend_of(row[1:])
    everything = totals(session, filters, span.start, span.end)
    yield None, Spend(*_values(everything)) - _covered(session, key, first, last)


def _covered(session: Session, key: str, first: date, last: date) -> Spend:
    columns = [func.sum(getattr(TagKeyDaily, measure)) for measure in MEASURES]
    on_days = (TagKeyDaily.key == key, TagKeyDaily.day >= first, TagKeyDaily.day <= last)
    return spend_of(session.execute(select(*columns).where(*on_days)).one())


def _tagged_calls(
    session: Session, filters: Filters, key: str, start: datetime, end: datetime
) -> Iterable[tuple[str | None, Spend]]:
    name = dialect_in(session).tag_value(key)
    calls = (
        select(name.label("name"), UNPRICED.label("is_unpriced"), *(getattr(Call, each) for each in SUMMED))
        .where(during(start, end), *narrowed(session, filters))
        .subquery()
    )
    unpriced = func.sum(case((calls.c.is_unpriced, 1), else_=0))
    columns = (func.count(), unpriced, *(func.sum(calls.c[each]) for each in SUMMED))
    for row in session.execute(select(calls.c.name, *columns).group_by(calls.c.name)):
        yield row[0], spend_of(row[1:])
