"""Spend per day or month of any range of instants, from rollups wherever they can answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from sqlalchemy.orm import Session

from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.period import DAY, MAX_DAYS, Period, midnight, next_midnight, whole_days
from flask_llm_cost.queries.series import spend_over_time
from flask_llm_cost.queries.totals import totals


def spend_by_day(session: Session, filters: Filters, start: datetime, end: datetime) -> dict[date, Spend]:
    """What each day of the filters' time zone cost, in order; days without calls are there too."""
    zone = filters.period.timezone
    first, last = next_midnight(start, zone), midnight(end.astimezone(zone).date(), zone)
    days: dict[date, Spend] = {}
    if start < min(first, end):
        days[start.astimezone(zone).date()] = spend_within(session, filters, start, min(first, end))
    for period in _portions(filters.period, first, last):
        for index, bucket in enumerate(spend_over_time(session, filters, period)):
            days[period.first_day + index * DAY] = bucket.spend
    if first <= last < end:
        days[last.astimezone(zone).date()] = spend_within(session, filters, last, end)
    return days


def spend_by_month(session: Session, filters: Filters, start: datetime, end: datetime) -> dict[date, Spend]:
    """The same per month, named by its first day."""
    months: dict[date, Spend] = {}
    for day, spend in spend_by_day(session, filters, start, end).items():
        month = day.replace(day=1)
        months[month] = months.get(month, Spend()) + spend
    return months


def spend_within(session: Session, filters: Filters, start: datetime, end: datetime) -> Spend:
    """What all of a range cost."""
    summed = totals(session, filters, start, end)
    return Spend(*(getattr(summed, name) for name in Spend.__slots__))


def _portions(period: Period, first: datetime, last: datetime) -> Iterator[Period]:
    """Whole days, a year at a time: SQLite takes no more than 500 days in one statement."""
    while first < last:
        portion = whole_days(period, first, min(last, first + (MAX_DAYS - 1) * DAY))
        yield portion
        first = portion.end
