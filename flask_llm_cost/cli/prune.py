"""``flask llm-cost prune``: retention of single calls."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.progress import progress_bar
from flask_llm_cost.ledger.retention import DEFAULT_BATCH, DEFAULT_PAUSE, MOST_BATCH
from flask_llm_cost.state import current_state


@click.command()
@click.option("--days", required=True, type=click.IntRange(1), help="Keep the calls of the last so many days.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--batch-size",
    default=DEFAULT_BATCH,
    show_default=True,
    type=click.IntRange(1, MOST_BATCH),
    help="Calls per transaction.",
)
@click.option(
    "--pause",
    default=DEFAULT_PAUSE,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds between two batches, for those who record.",
)
@click.option("--with-rollups", is_flag=True, help="The rollups of those days go too: nothing is left of them.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@with_appcontext
def prune(days: int, dry_run: bool, batch_size: int, pause: float, with_rollups: bool, as_json: bool) -> None:
    """Delete calls that are older than so many days.

    What they cost stays in the rollups, so that reports and charts of that time go on working, and budgets keep
    what was spent of them. Whole days go. It can be ended at any time: the next run goes on where this one was.
    """
    upkeep = current_state().ledger.upkeep
    with progress_bar("Calls deleted") as tell:
        done = upkeep.prune(
            days, dry_run=dry_run, batch_size=batch_size, pause=pause, with_rollups=with_rollups, progress=tell
        )
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **done.as_dict()}, indent=2))
        return
    would = "would go" if dry_run else "deleted"
    click.echo(f"{done.calls:,} calls from before {done.before:%Y-%m-%d %H:%M} UTC {would}.")
    if done.months:
        click.echo(f"{len(done.months):,} whole months of them {'would be' if dry_run else 'were'} dropped at once.")
    if with_rollups:
        click.echo(f"Rollups of {done.rollup_days:,} days {would}.")
