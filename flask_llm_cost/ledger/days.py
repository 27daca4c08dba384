"""Days of ``LLM_COST_TIMEZONE`` in a ledger: which there are, and between which instants they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from flask_llm_cost.ledger.models import Base, Call, Daily, Hourly, LatencyDaily, TagDaily, TagKeyDaily

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
_DAY_ROLLUPS = (Daily, LatencyDaily, TagDaily, TagKeyDaily)


@dataclass(frozen=True, slots=True)
class DaySpan:
    """One day and the whole UTC hours that it touches: two more than 24 where the zone is half an hour off UTC.

    Attributes:
        day: the day.
        start: the instant it begins.
        first_hour, after: the hours, ``after`` exclusive.
    """

    day: date
    start: datetime
    first_hour: datetime
    after: datetime

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> DaySpan:
        start = day_start(day, zone)
        # Where clocks go back over midnight, its second occurrence ends the day; where they skip it, the first does.
        midnight = datetime.combine(day + DAY, time.min, zone)
        end = max(midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC))
        return cls(day, start, _hour(start), _hour(end + HOUR - timedelta(microseconds=1)))


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The UTC instant at which ``day`` begins in ``zone``."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def recorded_days(connection: Connection, zone: ZoneInfo, first: date | None, last: date | None) -> list[date]:
    """Every day from ``first`` to ``last`` that has calls or rows of a rollup, oldest first."""
    since = first or date.min
    until = last or date.max
    found = {day for day in _days_with_calls(connection, zone, first) if day <= until}
    for model in _DAY_ROLLUPS:
        table = Base.metadata.tables[model.__tablename__]
        found.update(connection.scalars(select(table.c.day).where(table.c.day.between(since, until)).distinct()))
    hours = connection.scalars(select(Hourly.hour).distinct())
    found.update(day for hour in hours if since <= (day := hour.astimezone(zone).date()) <= until)
    return sorted(found)


def _days_with_calls(connection: Connection, zone: ZoneInfo, first: date | None) -> Iterator[date]:
    """From one day's first call to the next day's, by the index."""
    after = datetime(1, 1, 2, tzinfo=UTC) if first is None else day_start(first, zone)
    while True:
        moment = connection.scalar(select(func.min(Call.tracked_at)).where(Call.tracked_at >= after))
        if moment is None:
            return
        day = moment.astimezone(zone).date()
        if first is None or day >= first:
            yield day
        # Where clocks go back at midnight, the day goes on after its end was met for the first time.
        after = max(day_start(day + DAY, zone), moment + timedelta(microseconds=1))


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
