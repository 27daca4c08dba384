"""``flask llm-cost prices list``: the models that have prices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.prices.comparing import today
from flask_llm_cost.cli.prices.printing import new_console, new_table, warn_of_broken_file
from flask_llm_cost.pricing.listing import ListedPrice, listed
from flask_llm_cost.state import current_state


@click.command("list")
@click.option("--provider", help="Only this provider's models.")
@click.option("--search", help="Only models whose key has this text in it.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, decimals as texts.")
@with_appcontext
def list_command(provider: str | None, search: str | None, as_json: bool) -> None:
    """The models that have prices, with today's standard rates."""
    book = current_state().prices
    book.refresh()
    found = listed(book.catalogue, provider=provider, search=search)
    if as_json:
        click.echo(json.dumps([price.as_dict() for price in found], indent=2))
    else:
        _print_list(found)
        click.echo(f"{len(found)} models. Bundled prices: {book.version}.")
    warn_of_broken_file(book)
    fresh = book.freshness(today())
    if not fresh.ok:
        click.echo(fresh.message, err=True)


def _print_list(found: Iterable[ListedPrice]) -> None:
    table = new_table("model", "input", "cache read", "cache write", "output", "per", "layer", "source")
    for price in found:
        rates: Mapping[str, str] = price.token_rates
        cells = (rates.get(name, "-") for name in ("input", "cache_read", "cache_write", "output"))
        table.add_row(price.key, *cells, "1,000,000", price.layer, price.source)
    new_console().print(table)
