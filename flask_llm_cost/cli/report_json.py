"""The report for machines: one shape, which only ever grows.

``{"version": 1, "from", "to", "timezone", "totals": {…}, "previous": {…}, "latency": {"mean_ms", "p95_ms"},
"sections": [{"by", "rows": [{"name", "calls", "unpriced_calls", "total_tokens", "total_cost",
"previous_cost", "daily_costs"}]}], "most_expensive_calls": [{…}], "unrecorded_hosts": [{"host", "calls", "first_day",
"last_day", "remedy"}]}``. USD are decimal strings; a name of
``null`` is what does not carry the tag; costs leave out calls without a price, which ``unpriced_calls`` counts, and
are ``null`` where no cost is known.
Totals and rows also have ``cost_low`` and ``cost_high``: the total with estimates at their least and at their most
(``null``: there is no upper bound), where ``total_cost`` has none of them in it.
"""

from __future__ import annotations

import json
from decimal import Decimal

from flask_llm_cost.queries.calls import CallRow
from flask_llm_cost.queries.leaks import Leak
from flask_llm_cost.queries.report import Report, ReportRow
from flask_llm_cost.queries.totals import Totals


def as_json(report: Report) -> str:
    """The report as one JSON document, every section complete."""
    period = report.filters.period
    return json.dumps(
        {
            "version": 1,
            "from": period.first_day.isoformat(),
            "to": period.last_day.isoformat(),
            "timezone": str(period.timezone),
            "totals": _totals(report.totals),
            "previous": _totals(report.previous),
            "latency": {"mean_ms": report.mean_latency_ms, "p95_ms": report.p95_latency_ms},
            "sections": [
                {"by": str(section.group), "rows": [_row(row) for row in section.rows]} for section in report.sections
            ],
            "most_expensive_calls": [_call(call) for call in report.dearest],
            "unrecorded_hosts": [_leak(leak) for leak in report.leaks],
        },
        indent=2,
        ensure_ascii=False,
    )


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _totals(totals: Totals) -> dict[str, object]:
    return {
        "calls": totals.calls,
        "errors": totals.errors,
        "unpriced_calls": totals.unpriced,
        "is_lower_bound": totals.is_lower_bound,
        "estimated_calls": totals.estimated,
        "total_cost": _usd(totals.cost),
        "cost_low": _usd(totals.span.low),
        "cost_high": _usd(totals.span.high),
        "saved_by_caching": _usd(totals.cache_saved),
        "input_tokens": totals.input_tokens,
        "cache_read_input_tokens": totals.cache_read_input_tokens,
        "cache_write_input_tokens": totals.cache_write_input_tokens,
        "output_tokens": totals.output_tokens,
        "hidden_output_tokens": totals.hidden_output_tokens,
        "total_tokens": totals.total_tokens,
    }


def _row(row: ReportRow) -> dict[str, object]:
    return {
        "name": row.name,
        "calls": row.spend.calls,
        "unpriced_calls": row.spend.unpriced,
        "total_tokens": row.spend.total_tokens,
        "total_cost": _usd(row.spend.cost),
        "cost_low": _usd(row.spend.span.low),
        "cost_high": _usd(row.spend.span.high),
        "previous_cost": _usd(row.previous_cost),
        "daily_costs": [_usd(spend.cost) for spend in row.spends],
    }


def _leak(leak: Leak) -> dict[str, object]:
    return {
        "host": leak.host,
        "calls": leak.calls,
        "first_day": leak.first_day.isoformat(),
        "last_day": leak.last_day.isoformat(),
        "remedy": leak.remedy,
    }


def _call(call: CallRow) -> dict[str, object]:
    return {
        "id": call.id,
        "tracked_at": call.tracked_at.isoformat(),
        "provider": call.provider,
        "model": call.model,
        "input_tokens": call.prompt_tokens,
        "output_tokens": call.output_tokens,
        "total_cost": _usd(call.total_cost),
        "latency_ms": call.latency_ms,
        "tags": dict(call.tags),
    }
