"""Periods: what a page or a report looks at, its buckets, and the period it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from flask_llm_cost.errors import InvalidFilterError

Unit = Literal["day", "hour"]

DEFAULT_PRESET = "30d"
CUSTOM = "custom"
PRESET_DAYS = {"7d": 7, "30d": 30, "60d": 60}
PRESETS = ("24h", "7d", "30d", "month", "60d")
MAX_DAYS = 366
EARLIEST, LATEST = date(2000, 1, 1), date(2199, 12, 31)

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def midnight(day: date, timezone: ZoneInfo) -> datetime:
    """The UTC instant at which a day of the time zone begins."""
    return datetime.combine(day, time.min, timezone).astimezone(UTC)


def whole_hour(moment: datetime) -> datetime:
    """The UTC hour that a moment falls in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Period:
    """A run of whole days of a time zone, or of whole UTC hours.

    Attributes:
        preset: "24h", "7d", "30d", "month", "60d" or "custom".
        unit: what one bucket is.
        start: the UTC instant of its beginning.
        count: how many buckets it has.
        timezone: whose days they are.
        now: the moment it is looked at; a bucket that holds it is partial.
    """

    preset: str
    unit: Unit
    start: datetime
    count: int
    timezone: ZoneInfo
    now: datetime

    @property
    def first_day(self) -> date:
        return self.start.astimezone(self.timezone).date()

    @property
    def last_day(self) -> date:
        return (self.end - timedelta(microseconds=1)).astimezone(self.timezone).date()

    @property
    def bounds(self) -> tuple[datetime, ...]:
        """The beginning of every bucket and the end of the last: ``count + 1`` instants."""
        return tuple(self._bound(index) for index in range(self.count + 1))

    @property
    def end(self) -> datetime:
        """The UTC instant at which it is over (exclusive)."""
        return self._bound(self.count)

    @property
    def is_running(self) -> bool:
        return self.start <= self.now < self.end

    @property
    def previous(self) -> Period:
        """The equally long period before it."""
        return replace(self, start=self._bound(-self.count))

    @property
    def previous_elapsed(self) -> datetime:
        """Where the previous period must be cut to be compared with this one so far: like with like."""
        if not self.is_running:
            return self.start
        if self.unit == "hour":
            return self.now - self.count * HOUR
        wall = self.now.astimezone(self.timezone)
        then = datetime.combine(wall.date() - self.count * DAY, wall.time(), self.timezone)
        return min(then.astimezone(UTC), self.start)

    def _bound(self, index: int) -> datetime:
        if self.unit == "hour":
            return self.start + index * HOUR
        return midnight(self.first_day + index * DAY, self.timezone)


def preset_period(preset: str, *, timezone: ZoneInfo, now: datetime) -> Period:
    """The period of a preset, ending with the current hour or day.

    Raises:
        InvalidFilterError: there is no such preset.
    """
    if preset == "24h":
        return Period(preset, "hour", whole_hour(now) - 23 * HOUR, 24, timezone, now)
    today = now.astimezone(timezone).date()
    if preset == "month":
        return _days(preset, today.replace(day=1), today, timezone, now)
    if preset in PRESET_DAYS:
        return _days(preset, today - (PRESET_DAYS[preset] - 1) * DAY, today, timezone, now)
    raise InvalidFilterError(f"There is no period {preset[:40]!r}: choose {', '.join(PRESETS)}, or two dates.")


def custom_period(first: date | None, last: date | None, *, timezone: ZoneInfo, now: datetime) -> Period:
    """The days from ``first`` to ``last``; a missing end is today, a missing beginning 29 days before the end.

    Raises:
        InvalidFilterError: the range is reversed, longer than 366 days, or outside 2000 to 2199.
    """
    last = last or now.astimezone(timezone).date()
    for day in (first, last):
        if day is not None and not EARLIEST <= day <= LATEST:
            raise InvalidFilterError(f"{day} is out of range: dates from {EARLIEST} to {LATEST} are allowed.")
    first = first or max(EARLIEST, last - 29 * DAY)
    if first > last:
        raise InvalidFilterError(f"The range ends before it begins: {first} is after {last}.")
    if (last - first).days + 1 > MAX_DAYS:
        raise InvalidFilterError(f"{first} to {last} is too long: at most {MAX_DAYS} days are allowed.")
    return _days(CUSTOM, first, last, timezone, now)


def every_day(timezone: ZoneInfo, now: datetime) -> Period:
    """All the days a ledger may hold."""
    return _days(CUSTOM, EARLIEST, LATEST, timezone, now)


def whole_days(period: Period, first: datetime, last: datetime) -> Period:
    """The days of the same time zone that a range touches, however many."""
    day = first.astimezone(period.timezone).date()
    until = next_midnight(last, period.timezone).astimezone(period.timezone).date()
    start = midnight(day, period.timezone)
    return replace(period, preset=CUSTOM, unit="day", start=start, count=(until - day).days)


def _days(preset: str, first: date, last: date, timezone: ZoneInfo, now: datetime) -> Period:
    return Period(preset, "day", midnight(first, timezone), (last - first).days + 1, timezone, now)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a range that one kind of table answers exactly.

    Attributes:
        unit: "day" and "hour" are answered by rollups, "instant" only by the calls themselves.
        start, end: UTC instants, the end exclusive.
    """

    unit: Literal["day", "hour", "instant"]
    start: datetime
    end: datetime

    def days(self, timezone: ZoneInfo) -> tuple[date, date]:
        """The first and the last day of a span of whole days."""
        return self.start.astimezone(timezone).date(), self.end.astimezone(timezone).date() - DAY


def spans(start: datetime, end: datetime, timezone: ZoneInfo) -> tuple[Span, ...]:
    """Split a range into whole days, whole hours around them, and what is left, coarsest possible."""
    if start >= end:
        return ()
    first, last = next_midnight(start, timezone), midnight(end.astimezone(timezone).date(), timezone)
    if first >= last:
        return _hours(start, end)
    return (*_hours(start, first), Span("day", first, last), *_hours(last, end))


def next_midnight(moment: datetime, timezone: ZoneInfo) -> datetime:
    """The first midnight from a moment on, that moment included."""
    day = moment.astimezone(timezone).date()
    today = midnight(day, timezone)
    return today if today == moment else midnight(day + DAY, timezone)


def _hours(start: datetime, end: datetime) -> tuple[Span, ...]:
    first, last = whole_hour(start), whole_hour(end)
    if first < start:
        first += HOUR
    if first >= last:
        parts = [Span("instant", start, end)]
    else:
        parts = [Span("instant", start, first), Span("hour", first, last), Span("instant", last, end)]
    return tuple(part for part in parts if part.start < part.end)
