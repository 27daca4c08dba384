"""The calls themselves, a page at a time: keyset paging, so that a deep page is as fast as the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.conditions import ESTIMATED, UNPRICED, during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.keyset import Cursor, Order, cursor_of, in_order, past, reach
from flask_llm_cost.queries.totals import Totals, totals

COUNT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call in a list. ``total_cost`` is USD, ``None`` where unknown; ``latency_ms`` ``None`` where not measured.

    An estimated call costs at least ``cost_low`` and at most ``cost_high`` (``None``: nobody knows).
    """

    id: int
    tracked_at: datetime
    provider: str
    model: str
    status: str
    error_type: str | None
    stream: bool
    usage_source: str
    input_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    output_tokens: int
    total_cost: Decimal | None
    cost_low: Decimal | None
    cost_high: Decimal | None
    cost_status: str | None
    latency_ms: int | None
    tags: Mapping[str, str]

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached ones included."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens


@dataclass(frozen=True, slots=True)
class CallPage:
    """Rows in order, and where the neighbouring pages begin (``None``: there is none)."""

    rows: tuple[CallRow, ...]
    before: Cursor | None
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class CallSums:
    """The sums over all filtered calls, or over the newest 10,000 where no rollup answers and there are more."""

    totals: Totals
    is_cut: bool


_SUMMED = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "total_tokens",
    "total_cost",
    "cost_low",
    "cost_high",
)
_COLUMNS = tuple(getattr(Call, field.name) for field in fields(CallRow))


def page_of_calls(session: Session, filters: Filters, order: Order, per: int, cursor: Cursor | None = None) -> CallPage:
    """``per`` calls after (or before) the cursor in the given order, from the beginning without one."""
    backwards = cursor is not None and cursor.backwards
    direction = replace(order, ascending=not order.ascending) if backwards else order
    part = during(*reach(order, cursor, filters.period.start, filters.period.end))
    conditions = (part, *narrowed(session, filters))
    ordered = in_order(direction, reverse_nulls=backwards)
    statement = select(*_COLUMNS).where(*conditions).order_by(*ordered).limit(per + 1)
    if cursor is not None:
        statement = statement.where(past(order, cursor))
    rows = [CallRow(*row) for row in session.execute(statement)]
    has_more, rows = len(rows) > per, rows[:per]
    if backwards:
        rows.reverse()
    return _page(
        tuple(rows), order, has_before=has_more if backwards else cursor is not None, has_after=has_more or backwards
    )


def _page(rows: tuple[CallRow, ...], order: Order, *, has_before: bool, has_after: bool) -> CallPage:
    if not rows:
        return CallPage((), None, None)
    return CallPage(
        rows,
        cursor_of(order, rows[0], backwards=True) if has_before else None,
        cursor_of(order, rows[-1], backwards=False) if has_after else None,
    )


def sum_calls(session: Session, filters: Filters) -> CallSums:
    """Count and add up what the filters leave. Never reads more than 10,001 calls."""
    if not filters.needs_calls:
        return CallSums(totals(session, filters), is_cut=False)
    period = filters.period
    calls = (
        select(
            UNPRICED.label("is_unpriced"), ESTIMATED.label("is_estimated"), *(getattr(Call, name) for name in _SUMMED)
        )
        .where(during(period.start, period.end), *narrowed(session, filters))
        .order_by(*in_order(Order("time")))
        .limit(COUNT_LIMIT + 1)
        .subquery()
    )
    unpriced = func.sum(case((calls.c.is_unpriced, 1), else_=0))
    estimated = func.sum(case((calls.c.is_estimated, 1), else_=0))
    sums = (func.sum(calls.c[name]) for name in _SUMMED)
    count, missing, guessed, *values = session.execute(select(func.count(), unpriced, estimated, *sums)).one()
    added: dict[str, Any] = {
        name: Decimal(value or 0) if "cost" in name else int(value or 0)
        for name, value in zip(_SUMMED, values, strict=True)
    }
    summed = Totals(calls=min(count, COUNT_LIMIT), unpriced=int(missing or 0), estimated=int(guessed or 0), **added)
    return CallSums(summed, is_cut=count > COUNT_LIMIT)


def dearest_calls(session: Session, filters: Filters, limit: int = 5) -> tuple[CallRow, ...]:
    """The calls of the highest known cost, dearest first."""
    order = Order("cost")
    conditions = (during(filters.period.start, filters.period.end), *narrowed(session, filters))
    known = select(*_COLUMNS).where(*conditions, Call.total_cost.is_not(None))
    statement = known.order_by(*in_order(order)).limit(limit)
    return tuple(CallRow(*row) for row in session.execute(statement))
