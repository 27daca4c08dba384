"""SQL conditions: filters as what the tables understand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, not_, or_
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.dialects import dialect_in
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.filters import Filters, Status

UNPRICED = Call.cost_status.in_(("unknown", "partial"))
"""Whose cost is unknown or a part of it: what the rollups count as ``unpriced``."""


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
    return conditions


def _status(status: Status) -> ColumnElement[bool]:
    if status == "unpriced":
        return UNPRICED
    if status == "no_usage":
        return (Call.usage_source == "unknown") & (Call.status != "error")
    return Call.status == status


def _contains(text: str) -> ColumnElement[bool]:
    return or_(
        Call.model.icontains(text, autoescape=True),
        Call.provider_response_id.icontains(text, autoescape=True),
    )
