"""``flask llm-cost prices check``: whether the prices in use are the published ones."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.prices.changes import print_comparison
from flask_llm_cost.cli.prices.comparing import SOURCE_HELP, compared, today
from flask_llm_cost.state import current_state

DRIFT = 1


@click.command("check")
@click.option("--source", default="all", show_default=True, help=SOURCE_HELP)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, decimals as texts.")
@click.pass_context
@with_appcontext
def check_command(context: click.Context, source: str, as_json: bool) -> None:
    """Compare the prices in use with the published ones; nothing is written.

    Compares LLM_COST_PRICES_FILE, and the bundled prices where it has none: every rate, of every tier, that is in
    force today. Exits with 0 if they are the same, with 1 if not, with 2 if the source cannot be read.
    """
    found = compared(source, current_state().settings.prices_file, conditional=False)
    fresh = current_state().prices.freshness(today())
    print_comparison(found, fresh, as_json=as_json)
    context.exit(DRIFT if found.outcome.drift else 0)
