"""``flask llm-cost prices explain``: which rates a call has, from where, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import click
from flask.cli import with_appcontext
from rich.console import Console

from flask_llm_cost.cli.prices.printing import new_console, new_table, warn_of_broken_file
from flask_llm_cost.pricing.explain import EffectiveRate, Explanation
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.pricing.table import decimal_text
from flask_llm_cost.state import current_state

INCOMPLETE = 1


@click.command("explain")
@click.argument("provider")
@click.argument("model")
@click.option("--mode", help="Tier as served: batch, flex, priority, …")
@click.option("--geo", help="Region as served, where the provider prices by it.")
@click.option("--speed", help="Speed as served, where the provider prices by it.")
@click.option("--input-tokens", type=click.IntRange(min=0), help="Fresh input tokens of the example.")
@click.option("--output-tokens", type=click.IntRange(min=0), help="Output tokens of the example.")
@click.option("--cache-read-tokens", type=click.IntRange(min=0), help="Input tokens read from a cache.")
@click.option("--cache-write-tokens", type=click.IntRange(min=0), help="Input tokens written to a cache.")
@click.option("--at", "at_text", metavar="DATE", help="Day or moment of the call (ISO, UTC); now by default.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, decimals as texts.")
@with_appcontext
@click.pass_context
def explain_command(
    context: click.Context,
    provider: str,
    model: str,
    mode: str | None,
    geo: str | None,
    speed: str | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read_tokens: int | None,
    cache_write_tokens: int | None,
    at_text: str | None,
    as_json: bool,
) -> None:
    """Which rates a call has, from where and since when, and what it costs.

    Exits with 0 if the example has its whole price, with 1 if not, with 2 if the question makes no sense.
    """
    counts = {
        "input": input_tokens,
        "cache_read": cache_read_tokens,
        "cache_write": cache_write_tokens,
        "output": output_tokens,
    }
    usage = {name: count for name, count in counts.items() if count is not None} or None
    at = _moment(at_text)
    book = current_state().prices
    found = book.explain(provider, model, usage, mode=mode, geo=geo, speed=speed, at=at)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _print_explanation(found)
    warn_of_broken_file(book)
    context.exit(0 if found.complete else INCOMPLETE)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date; write it like 2026-10-14.", param_hint="--at") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _print_explanation(found: Explanation) -> None:
    console = new_console()
    console.print(found.message, markup=False, soft_wrap=True)
    receipt = found.receipt
    if not found.matched:
        hint = "Add it to LLM_COST_PRICING_OVERRIDES or LLM_COST_PRICES_FILE, or map it in LLM_COST_MODEL_ALIASES."
        console.print(hint, markup=False, soft_wrap=True)
        return
    facts = {"stage": receipt.stage, "layer": receipt.layer, "key": receipt.key, "source": receipt.source}
    for name, value in {**facts, "at": found.at.date().isoformat()}.items():
        console.print(f"{name}: {value}", markup=False, soft_wrap=True)
    for other in found.passed_over:
        console.print(
            f"passed over: {other.entry.key} from {other.layer} via {other.stage}", markup=False, soft_wrap=True
        )
    console.print()
    _print_rates(console, found.rates)
    console.print()
    _print_example(console, receipt)


def _print_rates(console: Console, rates: Iterable[EffectiveRate]) -> None:
    table = new_table("rate", "USD", "per", "since", "condition", "source")
    for rate in rates:
        source = rate.source if rate.inherited is None else f"{rate.source}, inherited from {rate.inherited}"
        table.add_row(
            rate.meter, decimal_text(rate.usd), f"{rate.per:,}", rate.since or "always", rate.condition, source
        )
    console.print(table)


def _print_example(console: Console, receipt: Receipt) -> None:
    table = new_table("example", "quantity", "USD")
    for line in receipt.lines:
        cost = "no rate" if line.cost is None else decimal_text(line.cost)
        table.add_row(line.meter, f"{line.quantity:,}", cost)
    total = "unknown" if receipt.total is None else decimal_text(receipt.total)
    table.add_row("total", "", f"{total} ({receipt.status}{f': {receipt.reason}' if receipt.reason else ''})")
    console.print(table)
