"""How much: calls, tokens and cost of a range, from rollups wherever they can answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call, Daily, Hourly
from flask_llm_cost.queries.conditions import ESTIMATED, UNPRICED, during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.period import Span, spans

ZERO = Decimal(0)
Source = type[Daily] | type[Hourly] | type[Call]


class Summed(Protocol):
    """What has a cost with estimates beside it."""

    @property
    def unpriced(self) -> int: ...
    @property
    def total_cost(self) -> Decimal: ...
    @property
    def cost_low(self) -> Decimal: ...
    @property
    def cost_high(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class CostSpan:
    """Between what and what something cost: USD. ``high`` is ``None`` where a part of it has no upper bound.

    The two are equal where every cost is known.
    """

    low: Decimal
    high: Decimal | None

    @classmethod
    def of(cls, summed: Summed) -> CostSpan:
        high = None if summed.unpriced else summed.total_cost + summed.cost_high
        return cls(summed.total_cost + summed.cost_low, high)

    @property
    def is_exact(self) -> bool:
        """Whether every part of it is known."""
        return self.low == self.high

    def per(self, calls: int) -> CostSpan:
        """The mean over that many calls, at least one."""
        return CostSpan(self.low / calls, None if self.high is None else self.high / calls)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a range. Costs are USD; calls of unknown cost add nothing and are counted in ``unpriced``, as are
    estimates with an open end. What estimates add to ``total_cost`` lies between ``cost_low`` and ``cost_high``.

    ``input_tokens`` are fresh ones; cache reads and writes are beside them, hidden (reasoning) tokens
    within ``output_tokens``.
    """

    calls: int = 0
    errors: int = 0
    unpriced: int = 0
    estimated: int = 0
    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    hidden_output_tokens: int = 0
    total_tokens: int = 0
    input_cost: Decimal = ZERO
    cache_read_cost: Decimal = ZERO
    cache_write_cost: Decimal = ZERO
    output_cost: Decimal = ZERO
    other_cost: Decimal = ZERO
    total_cost: Decimal = ZERO
    cache_saved: Decimal = ZERO
    cost_low: Decimal = ZERO
    cost_high: Decimal = ZERO

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in MEASURES))

    @property
    def is_lower_bound(self) -> bool:
        """Whether the cost leaves something out."""
        return self.unpriced > 0

    @property
    def cost(self) -> Decimal | None:
        """The known cost; ``None`` where there were calls and none of them has a price."""
        nothing_known = self.cost_high or (self.calls and self.unpriced == self.calls)
        return None if nothing_known and not self.total_cost else self.total_cost

    @property
    def span(self) -> CostSpan:
        """Between what and what all of it cost."""
        return CostSpan.of(self)

    @property
    def cost_per_call(self) -> Decimal | None:
        """The mean over all calls; ``None`` without any, and where the cost of some is not known for certain."""
        certain = self.calls and not (self.unpriced or self.cost_low or self.cost_high)
        return self.total_cost / self.calls if certain else None

    @property
    def span_per_call(self) -> CostSpan | None:
        """Between what and what a call cost in the mean; ``None`` without calls."""
        return self.span.per(self.calls) if self.calls else None

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached ones included."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens


MEASURES = tuple(field.name for field in fields(Totals))
_MONEY = frozenset(field.name for field in fields(Totals) if field.type == "Decimal")


def sums(source: Source) -> list[ColumnElement[Any]]:
    """One aggregate per measure of ``Totals``, in its order."""
    return [measure_of(source, name).label(name) for name in MEASURES]


def measure_of(source: Source, name: str) -> ColumnElement[Any]:
    """The aggregate of one measure on a rollup or on the calls themselves."""
    if not issubclass(source, Call):
        return func.sum(getattr(source, name))
    counted: dict[str, ColumnElement[bool]] = {
        "errors": Call.status == "error",
        "unpriced": UNPRICED,
        "estimated": ESTIMATED,
    }
    if name == "calls":
        return func.count()
    if name in counted:
        return func.sum(case((counted[name], 1), else_=0))
    return func.sum(getattr(Call, name))


def totals_of(values: Sequence[Any]) -> Totals:
    """``Totals`` from a row of ``sums``: an empty sum is 0, MySQL's decimals become ints."""
    named_values = zip(MEASURES, values, strict=True)
    added: dict[str, Any] = {name: _number(name, value) for name, value in named_values}
    return Totals(**added)


def _number(name: str, value: Any) -> int | Decimal:
    if name in _MONEY:
        return ZERO if value is None else Decimal(value)
    return int(value or 0)


@dataclass(frozen=True, slots=True)
class Slice:
    """One table and the conditions under which it answers a part of a question."""

    source: Source
    conditions: tuple[ColumnElement[bool], ...]


def slices(session: Session, filters: Filters, start: datetime, end: datetime) -> Iterator[Slice]:
    """Where to read a range from, each part from the coarsest table that answers it exactly."""
    if filters.needs_calls:
        yield _calls_slice(session, filters, start, end)
        return
    for span in spans(start, end, filters.period.timezone):
        if span.unit == "instant":
            yield _calls_slice(session, filters, span.start, span.end)
        else:
            source = Daily if span.unit == "day" else Hourly
            yield Slice(source, (*_within(span, filters), *named(source, filters)))


def _calls_slice(session: Session, filters: Filters, start: datetime, end: datetime) -> Slice:
    return Slice(Call, (during(start, end), *narrowed(session, filters)))


def _within(span: Span, filters: Filters) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    if span.unit == "hour":
        return Hourly.hour >= span.start, Hourly.hour < span.end
    first, last = span.days(filters.period.timezone)
    return Daily.day >= first, Daily.day <= last


def named(source: Any, filters: Filters) -> list[ColumnElement[bool]]:
    """The provider's and the model's conditions on a table that has both."""
    conditions: list[ColumnElement[bool]] = []
    if filters.provider is not None:
        conditions.append(source.provider == filters.provider)
    if filters.model is not None:
        conditions.append(source.model == filters.model)
    return conditions


def totals(session: Session, filters: Filters, start: datetime | None = None, end: datetime | None = None) -> Totals:
    """The sums of the filtered calls of the period, or of the range given instead (UTC instants, end exclusive)."""
    added = Totals()
    for part in slices(session, filters, start or filters.period.start, end or filters.period.end):
        added += totals_of(session.execute(select(*sums(part.source)).where(*part.conditions)).one())
    return added


def is_empty(session: Session) -> bool:
    """Whether the ledger has never held a call."""
    return session.execute(select(Daily.day).limit(1)).first() is None


def change(now: Decimal | int | None, before: Decimal | int | None) -> Decimal | None:
    """By how many percent a figure grew; ``None`` where there is nothing to compare it with."""
    if now is None or not before:
        return None
    return (Decimal(now) - Decimal(before)) / abs(Decimal(before)) * 100
