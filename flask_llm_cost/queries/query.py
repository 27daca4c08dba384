"""``llm_cost.query``: the ledger's figures for the app's own code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.breakdown import Breakdown, Spend, breakdown
from flask_llm_cost.queries.conditions import during, narrowed
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group, checked_tag_key
from flask_llm_cost.queries.latency import Latency, exact_latency, latency, mean_latency_by, mean_latency_ms
from flask_llm_cost.queries.period import DAY, every_day, midnight, whole_days
from flask_llm_cost.queries.reading import Explainable, answering
from flask_llm_cost.queries.selection import Selection
from flask_llm_cost.queries.spend import spend_by_day, spend_by_month
from flask_llm_cost.queries.totals import CostSpan, Totals, totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Selection):
    """What the selected calls cost: ``llm_cost.query.this_month().by_tags(feature="chat").cost_by_model()``.

    Answers read the ledger in a session of their own, rollups where those can answer. Costs are exact USD. A call
    of unknown cost adds nothing to ``total_cost``: it is counted in ``unpriced``, and ``span`` has no upper end then.

    Raises:
        InvalidFilterError: a condition makes no sense, or contradicts an earlier one.
        SchemaMissingError: the ledger's tables are missing, or older than the answer needs.
        StorageError: the database did not answer.
    """

    _ledger: Explainable

    @classmethod
    def of(cls, ledger: Explainable, timezone: ZoneInfo, now: datetime | None = None) -> Query:
        """Every call of a ledger whose days are those of ``timezone``."""
        return cls(_ledger=ledger, _filters=Filters(period=every_day(timezone, now or datetime.now(UTC))))

    def totals(self) -> Totals:
        """Calls, tokens and costs, each kind apart."""
        with self._answering() as session:
            return totals(session, self._filters, *self._range)

    def count(self) -> int:
        return self.totals().calls

    def total_cost(self) -> CostSpan:
        """Between what and what all of it cost; both are the same where every cost is known."""
        return self.totals().span

    def total_tokens(self) -> int:
        return self.totals().total_tokens

    def cost_by_model(self) -> Breakdown:
        """Model → spend, dearest first."""
        return self._by(MODEL)

    def cost_by_provider(self) -> Breakdown:
        """Provider → spend, dearest first."""
        return self._by(PROVIDER)

    def cost_by_tag(self, key: str) -> Breakdown:
        """Value of the tag → spend, dearest first; ``None`` is what does not carry it."""
        return self._by(Group("tag", checked_tag_key(key)))

    def daily_costs(self) -> Mapping[date, Spend]:
        """Day → spend, in order and without gaps; of the last 30 days where the query does not say since when."""
        start, end = self._range_since(self._last_day - 29 * DAY)
        with self._answering() as session:
            return spend_by_day(session, self._filters, start, end)

    def monthly_costs(self) -> Mapping[date, Spend]:
        """First day of the month → spend; of the last 12 months where the query does not say since when."""
        year, month = divmod(self._last_day.year * 12 + self._last_day.month - 12, 12)
        start, end = self._range_since(date(year, month + 1, 1))
        with self._answering() as session:
            return spend_by_month(session, self._filters, start, end)

    def average_latency_ms(self) -> float | None:
        """The mean over the calls that were timed; ``None`` without any."""
        with self._answering() as session:
            return mean_latency_ms(session, self._filters, *self._range)

    def latency_by_model(self) -> Mapping[str, float]:
        """Model → mean latency in milliseconds, slowest first."""
        with self._answering() as session:
            return mean_latency_by(session, self._filters, "model", *self._range)

    def latency_by_provider(self) -> Mapping[str, float]:
        """Provider → mean latency in milliseconds, slowest first."""
        with self._answering() as session:
            return mean_latency_by(session, self._filters, "provider", *self._range)

    def latency(self) -> Latency:
        """Median and 95th percentile: within 2% for whole days, else exact."""
        start, end = self._range
        period = whole_days(self._filters.period, start, end)
        with self._answering() as session:
            if (period.start, period.end) == (start, end):
                return latency(session, replace(self._filters, period=period))
            return exact_latency(session, self._filters, start, end)

    def calls(self) -> Select[Call]:
        """The calls as a SQLAlchemy statement, to add to and run in ``llm_cost.session()``."""
        with self._ledger.session() as session:
            return select(Call).where(during(*self._range), *narrowed(session, self._filters))

    @property
    def _last_day(self) -> date:
        if self._end is None:
            return self._today
        return (self._end - datetime.resolution).astimezone(self._filters.period.timezone).date()

    @property
    def _range(self) -> tuple[datetime, datetime]:
        period = self._filters.period
        return self._start or period.start, self._end or period.end

    def _range_since(self, day: date) -> tuple[datetime, datetime]:
        timezone = self._filters.period.timezone
        return self._start or midnight(day, timezone), self._end or midnight(self._today + DAY, timezone)

    def _by(self, group: Group) -> Breakdown:
        with self._answering() as session:
            return breakdown(session, self._filters, group, *self._range)

    def _answering(self) -> AbstractContextManager[Session]:
        return answering(self._ledger)
