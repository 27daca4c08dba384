"""What the drop-downs offer: the providers and models that the other filters leave."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.totals import slices

MAX_CHOICES = 100


def choices(session: Session, filters: Filters, name: Literal["provider", "model"]) -> tuple[str, ...]:
    """At most 100 names in order; the chosen one comes first if it would be cut off."""
    found: set[str] = set()
    period = filters.period
    for part in slices(session, filters.without(name), period.start, period.end):
        column = getattr(part.source, name)
        statement = select(column).where(*part.conditions).group_by(column).order_by(column).limit(MAX_CHOICES + 1)
        found.update(session.scalars(statement))
    offered = tuple(sorted(found)[:MAX_CHOICES])
    chosen = filters.provider if name == "provider" else filters.model
    return offered if chosen is None or chosen in offered else (chosen, *offered)
