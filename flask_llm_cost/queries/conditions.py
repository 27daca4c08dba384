"""SQL conditions: filters as what the tables understand. Dialect differences of tags end here."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, not_, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call, CallTag, Tag
from flask_llm_cost.queries.filters import Filters, Status

UNPRICED = Call.cost_status.in_(("unknown", "partial"))
"""Whose cost is unknown or a part of it: what the rollups count as ``unpriced``."""


def during(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Calls made from ``start`` on and before ``end``."""
    return (Call.tracked_at >= start) & (Call.tracked_at < end)


def narrowed(session: Session, filters: Filters) -> list[ColumnElement[bool]]:
    """The conditions on ``calls`` of everything but the period."""
    conditions = [filter_tag(session, key, value) for key, value in filters.tags]
    conditions += [not_(carries_tag_key(session, key)) for key in filters.without_tags]
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


def tag_digest(key: str, value: str) -> str:
    """What identifies a (key, value) in the tag tables."""
    return hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()


def _has_json_index(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def filter_tag(session: Session, key: str, value: str) -> ColumnElement[bool]:
    """Calls that carry the tag: through the GIN index on PostgreSQL, through the tag tables elsewhere."""
    if _has_json_index(session):
        return type_coerce(Call.tags, JSONB()).contains({key: value})
    carriers = select(CallTag.call_id).join(Tag, Tag.id == CallTag.tag_id).where(Tag.digest == tag_digest(key, value))
    return Call.id.in_(carriers)


def carries_tag_key(session: Session, key: str) -> ColumnElement[bool]:
    """Calls that carry the key, whatever its value."""
    if _has_json_index(session):
        return func.jsonb_extract_path_text(Call.tags, key).is_not(None)
    return exists().where(CallTag.call_id == Call.id, Tag.id == CallTag.tag_id, Tag.key == key).correlate(Call)


def tag_value(session: Session, key: str) -> ColumnElement[str | None]:
    """The value of a tag key on each call; NULL where it has none."""
    if _has_json_index(session):
        return func.jsonb_extract_path_text(Call.tags, key)
    return (
        select(Tag.value)
        .join(CallTag, CallTag.tag_id == Tag.id)
        .where(CallTag.call_id == Call.id, Tag.key == key)
        .correlate(Call)
        .scalar_subquery()
    )
