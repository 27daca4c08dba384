"""Which calls are meant: conditions that add up, each of them giving a new selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Self

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.filters import STATUSES, USAGE_SOURCES, Choice, Fact, Filters, Status
from flask_llm_cost.queries.group import checked_tag_key
from flask_llm_cost.queries.period import DAY, midnight
from flask_llm_cost.tagging import as_values
from flask_llm_cost.usage import UsageSource

Moment = date | datetime
"""A day of ``LLM_COST_TIMEZONE``, or an instant: a ``datetime`` with a time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Calls of the ledger, all of them at first. A condition gives a new selection with fewer; conditions add up.

    Raises:
        InvalidFilterError: a condition makes no sense, or contradicts an earlier one.
    """

    _filters: Filters
    _start: datetime | None = None
    _end: datetime | None = None

    def since(self, moment: Moment) -> Self:
        """From that day or instant on."""
        start = self._instant(moment)
        return replace(self, _start=start if self._start is None else max(start, self._start))

    def until(self, moment: Moment) -> Self:
        """Up to that day and all of it, or before that instant."""
        is_day = not isinstance(moment, datetime)
        end = self._instant(moment + DAY if is_day else moment)
        return replace(self, _end=end if self._end is None else min(end, self._end))

    def between(self, first: Moment, last: Moment) -> Self:
        """From one day to another, both included; or from one instant until before another."""
        return self.since(first).until(last)

    def last_days(self, days: int) -> Self:
        """The last so many days, today included."""
        if days < 1:
            raise InvalidFilterError(f"last_days({days}): at least 1 day is needed.")
        return self.between(self._today - (days - 1) * DAY, self._today)

    def today(self) -> Self:
        return self.last_days(1)

    def this_week(self) -> Self:
        """Since Monday."""
        return self.between(self._today - self._today.weekday() * DAY, self._today)

    def this_month(self) -> Self:
        """Since the first of the month."""
        return self.between(self._today.replace(day=1), self._today)

    def by_provider(self, name: str) -> Self:
        return self._with(provider=name)

    def by_model(self, name: str) -> Self:
        """By the model that answered."""
        return self._with(model=name)

    def by_tags(self, tags: Mapping[str, object] | None = None, /, **more: object) -> Self:
        """With all of these tags. Values are compared as they are recorded: ``user_id=42`` finds "42"."""
        asked = as_values({**(tags or {}), **more})
        pairs = tuple((checked_tag_key(key), value) for key, value in asked.items())
        merged = tuple(dict.fromkeys((*self._filters.tags, *pairs)))
        return replace(self, _filters=replace(self._filters, tags=merged))

    def without_tags(self, *keys: str) -> Self:
        """With none of these tag keys."""
        asked = (*self._filters.without_tags, *map(checked_tag_key, keys))
        return replace(self, _filters=replace(self._filters, without_tags=tuple(dict.fromkeys(asked))))

    def by_status(self, status: Status) -> Self:
        """By "ok", "error" or "cancelled"; "unpriced", "estimated" or "no_usage"."""
        return self._with(status=_one_of(status, STATUSES, "status"))

    def by_usage_source(self, source: UsageSource) -> Self:
        """By where the usage came from: "response", "stream_final", "partial", "manual", "unknown"."""
        return self._with(usage_source=_one_of(source, USAGE_SOURCES, "usage source"))

    def with_cost(self) -> Self:
        """Whose cost is known, at least in part."""
        return self._saying("cost", wanted=True)

    def without_cost(self) -> Self:
        """Without a cost: failed calls that used nothing, unknown prices, estimates between bounds."""
        return self._saying("cost", wanted=False)

    def unknown_pricing(self) -> Self:
        """Whose cost has no known upper bound."""
        return self.by_status("unpriced")

    def streaming(self) -> Self:
        return self._with(stream=True)

    def non_streaming(self) -> Self:
        return self._with(stream=False)

    def streaming_missing_usage(self) -> Self:
        """Streams that never said what they used."""
        return self.streaming().by_status("no_usage")

    def with_latency(self) -> Self:
        return self._saying("latency", wanted=True)

    def with_response_id(self) -> Self:
        return self._saying("response_id", wanted=True)

    def missing_response_id(self) -> Self:
        return self._saying("response_id", wanted=False)

    @property
    def _today(self) -> date:
        period = self._filters.period
        return period.now.astimezone(period.timezone).date()

    def _instant(self, moment: Moment) -> datetime:
        if not isinstance(moment, datetime):
            return midnight(moment, self._filters.period.timezone)
        if moment.tzinfo is None:
            raise InvalidFilterError(f"{moment!r} has no time zone: give it one, or use a date.")
        return moment.astimezone(UTC)

    def _saying(self, fact: Fact, *, wanted: bool) -> Self:
        facts = dict(self._filters.facts)
        _agreeing(fact, facts.get(fact), wanted)
        return replace(self, _filters=replace(self._filters, facts=tuple({**facts, fact: wanted}.items())))

    def _with(self, **condition: str | bool) -> Self:
        for name, value in condition.items():
            _agreeing(name, getattr(self._filters, name), value)
        return replace(self, _filters=replace(self._filters, **condition))  # type: ignore[arg-type]


def _agreeing(name: str, held: object, asked: object) -> None:
    """Two conditions on one column would find nothing, or the wrong thing: most likely a mistake."""
    if held is not None and held != asked:
        raise InvalidFilterError(f"The query is narrowed to {name} {held!r} already: it cannot be {asked!r} too.")


def _one_of(asked: Choice, allowed: tuple[Choice, ...], name: str) -> Choice:
    if asked not in allowed:
        raise InvalidFilterError(f"{str(asked)[:40]!r} is no {name}: choose {', '.join(allowed)}.")
    return asked
