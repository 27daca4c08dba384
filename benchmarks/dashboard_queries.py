"""Every query behind a page of the dashboard and behind ``report``, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_llm_cost.ledger.models import Call
from flask_llm_cost.queries.breakdown import breakdown
from flask_llm_cost.queries.call import call_detail
from flask_llm_cost.queries.calls import dearest_calls, page_of_calls, sum_calls
from flask_llm_cost.queries.choices import choices
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.forecast import forecast
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group
from flask_llm_cost.queries.keyset import Cursor, Order, cursor_of
from flask_llm_cost.queries.latency import latency
from flask_llm_cost.queries.leaks import leaks_since
from flask_llm_cost.queries.period import custom_period, preset_period
from flask_llm_cost.queries.report import build_report
from flask_llm_cost.queries.series import spend_over_time, spends_over_time
from flask_llm_cost.queries.totals import totals

Query = Callable[[Session], object]

UTC_ZONE = ZoneInfo("UTC")
PAGE = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """What of a ledger is asked for.

    Attributes:
        now: just after its newest call.
        detail: the id of a call.
        model, provider: the most used ones.
        wide, narrow: tags (key, value) that many calls carry, and few.
        deep: where a page far back begins.
    """

    now: datetime
    detail: int
    model: str
    provider: str
    wide: tuple[str, str]
    narrow: tuple[str, str]
    deep: Cursor


def sample(session: Session) -> Sample:
    """Choose from what is there."""
    newest = session.scalars(select(Call).order_by(Call.tracked_at.desc(), Call.id.desc()).limit(1)).one()
    oldest = session.scalars(select(Call).order_by(Call.tracked_at, Call.id).limit(1)).one()
    # Between the two in time: a page that no one reaches by leafing.
    middle = oldest.tracked_at + (newest.tracked_at - oldest.tracked_at) / 2
    at = select(Call).where(Call.tracked_at <= middle).order_by(Call.tracked_at.desc(), Call.id.desc()).limit(1)
    deep = session.scalars(at).one()
    return Sample(
        now=newest.tracked_at + timedelta(seconds=1),
        detail=deep.id,
        model="openai-1",
        provider="openai",
        wide=("environment", "environment-0"),
        narrow=("user", "user-4242"),
        deep=cursor_of(Order(), deep, backwards=False),
    )


def queries(chosen: Sample) -> Mapping[str, Query]:
    """Name → what runs it. "month" is 30 days, "year" 366, as far as a period may reach."""
    month = Filters(period=preset_period("30d", timezone=UTC_ZONE, now=chosen.now))
    last = chosen.now.date()
    year = Filters(
        period=custom_period(last - timedelta(days=365), last, timezone=UTC_ZONE, now=chosen.now),
    )
    return {**_overview(month, year), **_tags(chosen, month, year), **_calls(chosen, month, year)}


def _overview(month: Filters, year: Filters) -> Mapping[str, Query]:
    previous = month.period.previous.start, month.period.previous_elapsed
    groups = (PROVIDER, MODEL, Group("tag", "feature"))
    names = tuple(f"openai-{number}" for number in range(1, 6))
    return {
        "totals, month": lambda session: totals(session, month),
        "totals, month before": lambda session: totals(session, month, *previous),
        "totals, year": lambda session: totals(session, year),
        "series, month": lambda session: spend_over_time(session, month, month.period),
        "series, year": lambda session: spend_over_time(session, year, year.period),
        "series by model, month": lambda session: spends_over_time(session, month, MODEL, names),
        "series by model, year": lambda session: spends_over_time(session, year, MODEL, names),
        "by model, month": lambda session: breakdown(session, month, MODEL),
        "by model, year": lambda session: breakdown(session, year, MODEL),
        "by provider, year": lambda session: breakdown(session, year, PROVIDER),
        "latency, month": lambda session: latency(session, month),
        "latency, year": lambda session: latency(session, year),
        "forecast": lambda session: forecast(session, month),
        "choices of models": lambda session: choices(session, month, "model"),
        "leaks": lambda session: leaks_since(session, month.period.first_day),
        "dearest calls, month": lambda session: dearest_calls(session, month),
        "report, month": lambda session: build_report(session, month, groups),
    }


def _tags(chosen: Sample, month: Filters, year: Filters) -> Mapping[str, Query]:
    feature, user = Group("tag", "feature"), Group("tag", "user")
    names = tuple(f"feature-{number}" for number in range(8))
    tagged = replace(month, tags=(chosen.narrow,))
    common = replace(month, tags=(chosen.wide,))
    return {
        "by tag of 100 values, month": lambda session: breakdown(session, month, feature),
        "by tag of 100 values, year": lambda session: breakdown(session, year, feature),
        "by tag of 100,000 values, month": lambda session: breakdown(session, month, user),
        "series by tag, month": lambda session: spends_over_time(session, month, feature, names),
        "one user's totals, month": lambda session: totals(session, tagged),
        "one user's spend by model, month": lambda session: breakdown(session, tagged, MODEL),
        "a common tag's spend by model, month": lambda session: breakdown(session, common, MODEL),
        "a common tag's latency, month": lambda session: latency(session, common),
    }


def _calls(chosen: Sample, month: Filters, year: Filters) -> Mapping[str, Query]:
    of_model, of_provider = replace(month, model=chosen.model), replace(month, provider=chosen.provider)
    of_user, of_tag = replace(year, tags=(chosen.narrow,)), replace(month, tags=(chosen.wide,))
    by_cost = Order("cost")
    unpriced = replace(month, status="unpriced")

    def page(filters: Filters, order: Order | None = None, cursor: Cursor | None = None) -> Query:
        return lambda session: page_of_calls(session, filters, order or Order(), PAGE, cursor)

    return {
        "calls, first page": page(month),
        "calls, deep page": page(year, cursor=chosen.deep),
        "calls, dearest first": page(month, by_cost),
        "calls of a model": page(of_model),
        "calls of a provider": page(of_provider),
        "calls of a user, year": page(of_user),
        "calls of a common tag": page(of_tag),
        "calls without a price": page(unpriced),
        "sum of calls, month": lambda session: sum_calls(session, month),
        "sum of a model's calls": lambda session: sum_calls(session, of_model),
        "sum of a user's calls, year": lambda session: sum_calls(session, of_user),
        "sum of a common tag's calls": lambda session: sum_calls(session, of_tag),
        "call detail": lambda session: call_detail(session, chosen.detail),
    }
