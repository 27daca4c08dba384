"""``flask llm-cost flush``: ship what waits in this host's spools, now."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.failure import CommandFailed
from flask_llm_cost.state import current_state


@click.command()
@click.option(
    "--timeout", default=10.0, show_default=True, type=click.FloatRange(min=0), help="Seconds to wait at most."
)
@with_appcontext
def flush(timeout: float) -> None:
    """Ship what waits in this host's spools into the ledger."""
    ledger = current_state().ledger
    before = ledger.backlog()
    done = ledger.flush(timeout, everyone=True)
    left = ledger.backlog()
    if done:
        click.echo(f"Shipped {before.records} waiting events; nothing waits any more.")
        return
    reason = ledger.last_error or "other processes of this host still hold them"
    raise CommandFailed(f"{left.records} events still wait after {timeout:g} s: {reason}")
