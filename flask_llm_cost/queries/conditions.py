"""SQL conditions: filters as what the tables understand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, not_, or_
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.dialects import dialect_in
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.filters import Fact, Filters, Status

# The first term is that of the index, word for word.
UNPRICED = and_(
    Call.cost_status.in_(("unknown", "partial", "estimated")),
    or_(Call.cost_status != "estimated", and_(Call.total_cost.is_(None), Call.cost_high.is_(None))),
)
"""Whose cost has no known upper bound: unknown, known in part, or estimated with an open end. What the rollups
count as ``unpriced``."""

ESTIMATED = Call.cost_status == "estimated"


def during(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Calls made from ``start`` on and before ``end``."""
    return (Call.tracked_at >= start) & (Call.tracked_at < end)


def narrowed(session: Session, filters: Filters) -> list[ColumnElement[bool]]:
    """The conditions on ``calls`` of everything but the period."""
    dialect = dialect_in(session)
    conditions = [dialect.filter_tag(key, value) for key, value in filters.tags]
    conditions += [not_(dialect.carries_tag_key(key)) for key in filters.without_tags]
    if filters.provider is not None:
        conditions.append(Call.provider == filters.provider)
    if filters.model is not None:
        conditions.append(Call.model == filters.model)
    if filters.status is not None:
        conditions.append(_status(filters.status))
    if filters.stream is not None:
        conditions.append(Call.stream.is_(filters.stream))
    if filters.usage_source is not None:
        conditions.append(Call.usage_source == filters.usage_source)
    if filters.min_cost is not None:
        conditions.append(Call.total_cost >= filters.min_cost)
    if filters.search is not None:
        conditions.append(_contains(filters.search))
    conditions += [_says(fact) if wanted else not_(_says(fact)) for fact, wanted in filters.facts]
    return conditions


def _status(status: Status) -> ColumnElement[bool]:
    if status == "unpriced":
        return UNPRICED
    if status == "estimated":
        return ESTIMATED
    if status == "no_usage":
        return (Call.usage_source == "unknown") & (Call.status != "error")
    return Call.status == status


def _contains(text: str) -> ColumnElement[bool]:
    return or_(
        Call.model.icontains(text, autoescape=True),
        Call.provider_response_id.icontains(text, autoescape=True),
    )


def _says(fact: Fact) -> ColumnElement[bool]:
    columns: dict[Fact, ColumnElement[Any]] = {
        "cost": Call.total_cost.expression,
        "latency": Call.latency_ms.expression,
        "response_id": Call.provider_response_id.expression,
    }
    return columns[fact].is_not(None)
