"""Calls to models that are not recorded, by host: money that leaks past the ledger."""

from __future__ import annotations

from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.leaks import META_PREFIX, Leak
from flask_llm_cost.ledger.models import Meta

__all__ = ["Leak", "leaks_since"]


def leaks_since(session: Session, day: date) -> tuple[Leak, ...]:
    """Hosts with unrecorded calls, most calls first, without those that had none since ``day`` (UTC).

    The counts are of all time: no more than a host's total, its first and its last day is kept.
    """
    found = session.scalars(select(Meta.value).where(Meta.name.startswith(META_PREFIX)))
    leaks = [leak for leak in map(Leak.from_json, found) if leak.last_day >= day]
    return tuple(sorted(leaks, key=lambda leak: (-leak.calls, leak.host)))
