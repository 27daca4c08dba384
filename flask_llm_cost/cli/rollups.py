"""``flask llm-cost rollups``: the sums that reports and pages read, against the calls they are of."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

from flask_llm_cost.cli.progress import progress_bar
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.ledger.rollup_check import Difference
from flask_llm_cost.ledger.rollup_repair import RollupReport
from flask_llm_cost.state import current_state

FOUND = 1

rollups = AppGroup("rollups", help="Compare the rollups with the calls, and put them right.")


def _range(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
        click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last day.  [default: all]"),
        click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first day.  [default: all]"),
    ):
        command = option(command)
    return command


@rollups.command()
@_range
@click.pass_context
def verify(context: click.Context, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Compare every rollup with the calls, to the last unit; nothing is written.

    Days whose calls were pruned are left out: their rollups are all there is. Exits with 0 if all is as it should
    be, with 1 if there are differences, with 2 if the ledger cannot be read.
    """
    _check_range(first, last)
    with progress_bar("Days compared") as tell:
        report = current_state().ledger.upkeep.verify_rollups(first and first.date(), last and last.date(), tell)
    _print(report, as_json=as_json, verb="differ from the calls")
    if report.differences and not as_json:
        click.echo("Run `flask llm-cost rollups rebuild` to put them right.")
    context.exit(FOUND if report.differences else 0)


@rollups.command()
@_range
def rebuild(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Put right what "rollups verify" finds, while the app goes on recording.

    Works day by day: ended in between, what is done is done. Days whose calls were pruned stay as they are.
    """
    _check_range(first, last)
    with progress_bar("Days rebuilt") as tell:
        report = current_state().ledger.upkeep.rebuild_rollups(first and first.date(), last and last.date(), tell)
    _print(report, as_json=as_json, verb="were put right")


def _check_range(first: datetime | None, last: datetime | None) -> None:
    if first and last and first > last:
        raise InvalidFilterError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}.")


def _print(report: RollupReport, *, as_json: bool, verb: str) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    for each in report.examples:
        click.echo(_line(each))
    if report.differences > len(report.examples):
        click.echo(f"… and {report.differences - len(report.examples):,} more")
    if report.other_zone is not None:
        click.echo(f"The ledger's days were counted in {report.other_zone!r}, which is not LLM_COST_TIMEZONE.")
    if report.pruned:
        click.echo(f"Left out: {report.pruned:,} days whose calls were pruned; their rollups stay as they are.")
    rows = ", ".join(f"{rollup}: {count:,}" for rollup, count in report.rows.items())
    done = f"{report.differences:,} rows {verb} ({rows})." if rows else "Every rollup is the sum of its calls."
    click.echo(f"{report.days:,} days compared. {done}")


def _line(difference: Difference) -> str:
    told = difference.as_dict()
    key, columns = told["key"], told["columns"]
    assert isinstance(key, dict) and isinstance(columns, dict)  # noqa: S101, PT018
    parts = (f"{name} {pair['rollup']} instead of {pair['calls']}" for name, pair in columns.items())
    return f"{difference.rollup} {' '.join(str(part) for part in key.values())}: {', '.join(parts)}"
