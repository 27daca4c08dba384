"""The overview: what the period cost, how that changed, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from flask import Response

from flask_llm_cost.dashboard import exports
from flask_llm_cost.dashboard.links import Links, page_parameters, read_filters
from flask_llm_cost.dashboard.rendering import render
from flask_llm_cost.dashboard.spend_chart import SpendChart, share_of, spend_chart
from flask_llm_cost.queries.breakdown import Breakdown, Spend, breakdown
from flask_llm_cost.queries.calls import CallRow, dearest_calls
from flask_llm_cost.queries.choices import choices
from flask_llm_cost.queries.filters import Filters, single
from flask_llm_cost.queries.forecast import Forecast, forecast
from flask_llm_cost.queries.group import MODEL, PROVIDER, Group
from flask_llm_cost.queries.latency import Latency, latency
from flask_llm_cost.queries.leaks import Leak, leaks_since
from flask_llm_cost.queries.reading import LedgerSession, reading
from flask_llm_cost.queries.series import spends_over_time
from flask_llm_cost.queries.totals import Totals, change, is_empty, totals
from flask_llm_cost.settings import Settings
from flask_llm_cost.state import current_state

TOP_VALUES = 8
TAG_PANELS = 2
DEAREST = 5


@dataclass(frozen=True, slots=True)
class TagPanel:
    """The dearest values of a tag key; ``others`` is how many more there are, and what they cost together."""

    key: str
    rows: tuple[tuple[str | None, Spend], ...]
    others: int
    others_spend: Spend


@dataclass(frozen=True, slots=True)
class MixRow:
    """A kind of token, with its share of all tokens and of all cost (percent), and where its bars begin."""

    label: str
    colour: int
    tokens: int
    cost: Decimal
    token_share: Decimal
    cost_share: Decimal


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the overview shows of a period with calls."""

    totals: Totals
    previous: Totals
    forecast: Forecast
    latency: Latency
    spend: SpendChart
    tags: tuple[TagPanel, ...]
    mix: tuple[MixRow, ...]
    dearest: tuple[CallRow, ...]
    unpriced_models: int
    leaks: tuple[Leak, ...]


def overview() -> Response:
    """The overview page."""
    state, filters, group = current_state(), read_filters(), _group()
    with reading(state.ledger) as session:
        offered = {name: choices(session, filters, name) for name in ("provider", "model")}
        now = totals(session, filters)
        figures = _figures(session, filters, group, now, state.settings) if now.calls else None
        empty = figures is None and is_empty(session)
    return render(
        "overview/index.html",
        "overview/_results.html",
        links=Links(filters.as_args(), {} if group == MODEL else {"group": [str(group)]}),
        filters=filters,
        offered=offered,
        figures=figures,
        is_ledger_empty=empty,
        group=group,
        groups=offered_groups(state.settings, group),
        change=change,
    )


def spend_csv() -> Response:
    """Spend per day (or hour) and name as CSV: the chart's own figures, every name a column of its own row."""
    filters, group = read_filters(), _group()
    with reading(current_state().ledger) as session:
        names = tuple(breakdown(session, filters, group))
        spends = spends_over_time(session, filters, group, names)
    return exports.spend(filters.period, group, spends)


def offered_groups(settings: Settings, chosen: Group) -> tuple[Group, ...]:
    """What the chart can be grouped by: the model, the provider, the configured tags, and what is chosen."""
    return tuple(dict.fromkeys((MODEL, PROVIDER, *(Group("tag", key) for key in _tag_keys(settings)), chosen)))


def _tag_keys(settings: Settings) -> Sequence[str]:
    return [key for key in settings.report_tags if key not in settings.rollup_exclude_tags]


def _group() -> Group:
    text = single(page_parameters(), "group")
    return MODEL if text is None else Group.parse(text)


def _figures(session: LedgerSession, filters: Filters, group: Group, now: Totals, settings: Settings) -> Figures:
    period = filters.period
    keys = _tag_keys(settings)[:TAG_PANELS]
    return Figures(
        totals=now,
        previous=totals(session, filters, period.previous.start, period.previous_elapsed),
        forecast=forecast(session, filters),
        latency=latency(session, filters),
        spend=spend_chart(session, filters, group),
        tags=tuple(_tag_panel(key, breakdown(session, filters, Group("tag", key))) for key in keys),
        mix=_mix(now),
        dearest=dearest_calls(session, filters, DEAREST),
        unpriced_models=_unpriced_models(session, filters, now),
        leaks=leaks_since(session, period.first_day),
    )


def _unpriced_models(session: LedgerSession, filters: Filters, now: Totals) -> int:
    if not now.unpriced:
        return 0
    return sum(1 for spend in breakdown(session, filters, MODEL).values() if spend.unpriced)


def _tag_panel(key: str, found: Breakdown) -> TagPanel:
    rows = tuple(found.items())
    shown, others = rows[:TOP_VALUES], rows[TOP_VALUES:]
    if None in found and all(name is not None for name, _ in shown):
        # What carries no tag is always said, however little it is.
        shown = (*rows[: TOP_VALUES - 1], (None, found[None]))
        others = tuple((name, spend) for name, spend in rows[TOP_VALUES - 1 :] if name is not None)
    return TagPanel(key, shown, len(others), sum((spend for _, spend in others), Spend()))


def _mix(now: Totals) -> tuple[MixRow, ...]:
    kinds = (
        ("Input", 0, now.input_tokens, now.input_cost),
        ("Cache read", 2, now.cache_read_input_tokens, now.cache_read_cost),
        ("Cache write", 4, now.cache_write_input_tokens, now.cache_write_cost),
        ("Output", 1, now.output_tokens, now.output_cost),
        ("Tools and other", 3, 0, now.other_cost),
    )
    tokens = sum(kind[2] for kind in kinds)
    cost = sum((kind[3] for kind in kinds), Decimal(0))
    return tuple(
        MixRow(label, colour, count, usd, share_of(Decimal(count), Decimal(tokens)), share_of(usd, cost))
        for label, colour, count, usd in kinds
        if count or usd
    )
