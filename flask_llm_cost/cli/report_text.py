"""The report for people: tables on a terminal, the same as plain text, uncut, when piped."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.calls import CallRow
from flask_llm_cost.queries.leaks import Leak
from flask_llm_cost.queries.report import Report, Section
from flask_llm_cost.queries.totals import CostSpan, Totals, change

BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 30
# Rich folds at 80 columns where there is no terminal; a pipe has no width.
PIPE_WIDTH = 10_000


def print_report(report: Report, limit: int) -> None:
    """Print all sections, each with at most ``limit`` rows."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH, color_system=None)
    period = report.filters.period
    console.print(
        Text(f"LLM Cost Report ({period.first_day} to {period.last_day}, {period.count} days, {period.timezone})"),
        style="bold",
    )
    for label, value in _headline(report):
        console.print(Text(f"  {label:<18}{value}"))
    for section in report.sections:
        _print_section(console, section, limit)
    _print_dearest(console, report.dearest)
    _print_leaks(console, report.leaks)
    if report.totals.is_lower_bound:
        console.print()
        console.print(Text("A + marks a lower bound: some of its requests have no complete price."))


def _print_leaks(console: Console, leaks: Sequence[Leak]) -> None:
    if not leaks:
        return
    console.print()
    console.print(Text("Not recorded:"), style="bold")
    for leak in leaks:
        calls = "call" if leak.calls == 1 else "calls"
        since = f"since {leak.first_day}, the last on {leak.last_day}"
        console.print(Text(f"  {leak.calls:,} {calls} to {leak.host} {since}. {leak.remedy}"))


def money(amount: Decimal | None) -> str:
    """USD with 6 decimals, more where it would read as 0."""
    if amount is None:
        return "unknown"
    places = 6 if not amount or abs(amount) >= Decimal("0.000001") else 9
    rounded = abs(amount).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{'-' if amount < 0 else ''}${rounded:,.{places}f}"


def span(bounds: CostSpan) -> str:
    """A cost within bounds: "$12.340000 – $12.910000"; one amount where they are the same, or no upper one is known.

    "unknown" where neither is.
    """
    if bounds.high is None and not bounds.low:
        return money(None)
    if bounds.high is None or bounds.high == bounds.low:
        return money(bounds.low)
    return f"{money(bounds.low)} – {money(bounds.high)}" if bounds.low else f"at most {money(bounds.high)}"


def spark_line(costs: Sequence[Decimal]) -> str:
    """One bar per day, or per equal run of days where there are many; a blank is nothing spent."""
    step = -(-len(costs) // SPARK_WIDTH)
    sums = [sum(costs[start : start + step], Decimal(0)) for start in range(0, len(costs), step)]
    top = max(sums, default=Decimal(0))
    if top <= 0:
        return " " * len(sums)
    return "".join(" " if cost <= 0 else BARS[min(int(cost / top * len(BARS)), len(BARS) - 1)] for cost in sums)


def _headline(report: Report) -> list[tuple[str, str]]:
    totals, before = report.totals, report.previous
    bound = " (lower bound)" if totals.is_lower_bound else ""
    cost = f"{span(totals.span)}{bound}{_versus(change(totals.cost, before.cost))}"
    latency = f"{_milliseconds(report.mean_latency_ms)}, p95 {_milliseconds(report.p95_latency_ms)}"
    return [
        ("Total cost:", cost),
        ("Requests:", f"{totals.calls:,}{_versus(change(totals.calls, before.calls))}"),
        ("Avg latency:", latency),
        ("Unknown pricing:", f"{totals.unpriced:,}{_coverage(totals.unpriced, totals.calls)}"),
        *([("Estimated:", _estimates(totals))] if totals.cost_low or totals.cost_high else []),
        (
            "Saved by caching:",
            "unknown"
            if totals.cost is None
            else f"{money(totals.cache_saved)}{' in requests with a price' if bound else ''}",
        ),
    ]


def _estimates(totals: Totals) -> str:
    most = "unknown" if totals.unpriced else money(totals.cost_high)
    return f"{money(totals.cost_low)} – {most} of it, for requests whose usage is not fully known"


def _versus(percent: Decimal | None) -> str:
    return "" if percent is None else f"  {percent:+.1f}% vs. the period before"


def _coverage(unpriced: int, calls: int) -> str:
    return f" of {calls:,} requests have no complete price" if unpriced else ""


def _milliseconds(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f}ms"


def _table(console: Console, title: str) -> Table:
    console.print()
    console.print(Text(title), style="bold")
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)


def _print_section(console: Console, section: Section, limit: int) -> None:
    group = section.group
    title = f"By tag ({group.key})" if group.dimension == "tag" else f"By {group.dimension}"
    table = _table(console, f"{title}:")
    if not section.rows:
        console.print("  none")
        return
    table.add_column("  name", overflow="fold")
    for name in ("cost", "requests", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("per day", no_wrap=True)
    for row in section.rows[:limit]:
        changed = change(row.spend.cost, row.previous_cost)
        table.add_row(
            Text(f"  {'(untagged)' if row.name is None else row.name}"),
            _spent(row.spend),
            f"{row.spend.calls:,}",
            "new" if changed is None else f"{changed:+.0f}%",
            Text(spark_line([spend.total_cost for spend in row.spends])),
        )
    console.print(table)
    if len(section.rows) > limit:
        console.print(f"  … and {len(section.rows) - limit:,} more (--limit)")


def _spent(spend: Spend) -> str:
    return f"{span(spend.span)}{'+' if spend.unpriced and spend.span.low else ''}"


def _print_dearest(console: Console, calls: Sequence[CallRow]) -> None:
    table = _table(console, "Top expensive calls:")
    if not calls:
        console.print("  none")
        return
    table.add_column("  model", overflow="fold")
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    for call in calls:
        table.add_row(
            Text(f"  {call.provider}/{call.model}"),
            money(call.total_cost),
            f"{call.tracked_at:%Y-%m-%d %H:%M:%S}",
            str(call.id),
        )
    console.print(table)
