"""What a repricing changes, for people: a table by model on a terminal, the same as plain text when piped."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flask_llm_cost.cli.report_text import PIPE_WIDTH, money
from flask_llm_cost.ledger.tally import Amounts, ModelChange, Repriced

SKIPPED_SHOWN = 5


def print_repriced(found: Repriced) -> None:
    """Print what changes by model, then the sum; what could not be read on stderr."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH, color_system=None)
    if found.changes:
        console.print(_table(found))
    console.print(Text(_summary(found)), soft_wrap=True)
    if found.skipped:
        _print_skipped(found)


def _table(found: Repriced) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("model", overflow="fold")
    for name in ("calls", "before", "after", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status")
    for change in found.changes:
        table.add_row(
            Text(f"{change.provider}/{change.model}"),
            f"{change.calls:,}",
            _cost(change.before),
            _cost(change.after),
            _signed(change.difference),
            _statuses(change),
        )
    return table


def _summary(found: Repriced) -> str:
    looked_at = f"{found.looked_at:,} calls looked at"
    if not found.calls:
        return f"{looked_at}: nothing changes."
    verb = "would change" if found.run is None else "changed"
    sums = f"{_cost(found.before)} -> {_cost(found.after)} ({_signed(found.difference)})"
    traced = "" if found.run is None else f". Run {found.run} in llm_cost_audit"
    return f"{looked_at}, {found.calls:,} {verb}: {sums}{traced}."


def _print_skipped(found: Repriced) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for call in found.skipped[:SKIPPED_SHOWN]:
        console.print(Text(f"Call {call.call_id} was left alone, its receipt cannot be read: {call.problem}"))
    more = len(found.skipped) - SKIPPED_SHOWN
    if more > 0:
        console.print(Text(f"… and {more} more"))


def _cost(amounts: Amounts) -> str:
    """As in the report: "unknown" where nothing is known, a + behind a lower bound, both ends of an estimate."""
    least, most = amounts.least, amounts.most
    if most is None:
        return f"{money(least)}+" if least else "unknown"
    return money(least) if least == most else f"{money(least)} – {money(most)}"


def _signed(difference: Decimal) -> str:
    return f"+{money(difference)}" if difference > 0 else money(difference)


def _statuses(change: ModelChange) -> str:
    moved = [
        f"{before} -> {after}: {calls:,}"
        for (before, after), calls in sorted(change.statuses.items())
        if before != after
    ]
    return ", ".join(moved) or "same"
