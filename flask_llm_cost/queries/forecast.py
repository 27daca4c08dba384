"""What the month will cost: what it has cost so far, and its remaining days at the recent daily mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call, Daily
from flask_llm_cost.queries.conditions import narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.period import DAY, midnight
from flask_llm_cost.queries.totals import Totals, named, totals

WINDOW_DAYS = 28


@dataclass(frozen=True, slots=True)
class Forecast:
    """The current month of the filtered calls, whatever the period that is looked at.

    Attributes:
        month: its first day.
        so_far: USD since it began.
        daily_mean: USD, over the complete days observed; ``None`` before the first complete day.
        days_observed: how many complete days the mean is of, at most 28.
        days_left: days until the month ends, what is left of today included.
        is_lower_bound: whether calls without a price, or whose cost is an estimate, are left out.
    """

    month: date
    so_far: Decimal
    daily_mean: Decimal | None
    days_observed: int
    days_left: Decimal
    is_lower_bound: bool

    @property
    def total(self) -> Decimal | None:
        """USD by the end of the month; ``None`` where there is no complete day to go by."""
        return None if self.daily_mean is None else self.so_far + self.daily_mean * self.days_left


def forecast(session: Session, filters: Filters) -> Forecast:
    """Forecast the month that ``filters.period.now`` falls in."""
    now, timezone = filters.period.now, filters.period.timezone
    today = now.astimezone(timezone).date()
    month = today.replace(day=1)
    month_end = midnight((month + timedelta(days=32)).replace(day=1), timezone)
    so_far = totals(session, filters, midnight(month, timezone), midnight(today + DAY, timezone))
    observed = _days_observed(session, filters, today)
    recent = totals(session, filters, midnight(today - observed * DAY, timezone), midnight(today, timezone))
    return Forecast(
        month=month,
        so_far=so_far.total_cost,
        daily_mean=recent.total_cost / observed if observed else None,
        days_observed=observed,
        days_left=Decimal((month_end - now) // timedelta(seconds=1)) / 86_400,
        is_lower_bound=_leaves_out(so_far) or _leaves_out(recent),
    )


def _leaves_out(sums: Totals) -> bool:
    return sums.is_lower_bound or bool(sums.cost_low or sums.cost_high)


def _days_observed(session: Session, filters: Filters, today: date) -> int:
    first = _first_day(session, filters)
    return 0 if first is None else max(0, min(WINDOW_DAYS, (today - first).days))


def _first_day(session: Session, filters: Filters) -> date | None:
    if not filters.needs_calls:
        return session.scalar(select(func.min(Daily.day)).where(*named(Daily, filters)))
    # Only whether the window is full matters, so nothing before it is read.
    now, timezone = filters.period.now, filters.period.timezone
    window = midnight(now.astimezone(timezone).date() - WINDOW_DAYS * DAY, timezone)
    conditions = (Call.tracked_at >= window, *narrowed(session, filters))
    first = session.scalar(select(func.min(Call.tracked_at)).where(*conditions))
    return None if first is None else first.astimezone(timezone).date()
