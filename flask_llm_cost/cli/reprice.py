"""``flask llm-cost reprice``: price calls again from their stored quantities, at the prices of their own time.

``--json`` prints one document, which only ever grows: ``{"version": 1, "applied", "run", "looked_at", "calls",
"before", "after", "difference", "models": [{"provider", "model", "calls", "before", "after", "difference",
"statuses": [{"before", "after", "calls"}]}], "skipped": [{"id", "problem"}]}``. ``calls`` are those whose cost
changes; ``before`` and ``after`` are ``{"total_cost", "cost_low", "cost_high", "unpriced_calls"}`` of these:
``total_cost`` without estimates, ``cost_low`` and ``cost_high`` with them at their least and most (``null``: no
upper bound is known). USD are decimal strings; a difference is that of the two ``cost_low``.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from functools import partial
from zoneinfo import ZoneInfo

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.progress import progress_bar
from flask_llm_cost.cli.reprice_text import print_repriced
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.ledger.reprice import DEFAULT_BATCH, MOST_BATCH, Selection, instant
from flask_llm_cost.ledger.tally import Repriced
from flask_llm_cost.state import State, current_state

FOUND = 1


@click.command("reprice")
@click.option("--since", metavar="DATE", help="From this day on (ISO; a moment is UTC unless it says otherwise).")
@click.option("--until", metavar="DATE", help="To this day, included; a moment is not.")
@click.option("--unknown-only", is_flag=True, help="Only calls whose cost is unknown, partial or estimated.")
@click.option("--provider", help="Only calls that this provider answered.")
@click.option("--model", help="Only calls that this model answered.")
@click.option(
    "--dry-run", is_flag=True, help="Show what would change and write nothing; exits with 1 if anything would."
)
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, decimals as texts; never asks.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, MOST_BATCH),
    default=DEFAULT_BATCH,
    show_default=True,
    help="Calls per transaction.",
)
@click.pass_context
@with_appcontext
def reprice(
    context: click.Context,
    since: str | None,
    until: str | None,
    unknown_only: bool,
    provider: str | None,
    model: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    batch_size: int,
) -> None:
    """Price calls again at today's price tables, each at the prices valid when it was made.

    Nothing is asked of a provider: the quantities on the receipts are what counts. Rollups move by the difference;
    what a call was charged before stays on its receipt. May be interrupted and run again at any time.

    Exits with 0 when all is done or nothing changes, with 1 if a dry run found changes, with 2 if it could not run.
    """
    state = current_state()
    selection = _selection(state, since, until, unknown_only=unknown_only, provider=provider, model=model)
    run = partial(_run, state, selection, batch_size)
    if dry_run or (not (yes or as_json) and sys.stdin.isatty()):
        found = run(dry_run=True)
        _show(found, as_json=as_json)
        if dry_run:
            context.exit(FOUND if found.calls else 0)
        if not found.calls or not click.confirm("Apply?"):
            return
    _show(run(dry_run=False), as_json=as_json)


def _run(state: State, selection: Selection, batch_size: int, *, dry_run: bool) -> Repriced:
    with progress_bar("Pricing again") as progress:
        return state.ledger.reprice(state.prices, selection, dry_run=dry_run, batch_size=batch_size, progress=progress)


def _show(found: Repriced, *, as_json: bool) -> None:
    if as_json:
        applied = found.run is not None
        click.echo(json.dumps({"version": 1, "applied": applied, **found.as_dict()}, indent=2, ensure_ascii=False))
    else:
        print_repriced(found)


def _selection(
    state: State,
    since: str | None,
    until: str | None,
    *,
    unknown_only: bool,
    provider: str | None,
    model: str | None,
) -> Selection:
    zone = state.settings.timezone
    start = None if since is None else _moment("--since", since, zone)
    end = None if until is None else _moment("--until", until, zone, days=1)
    if start is not None and end is not None and start >= end:
        raise InvalidFilterError(f"--since {since} is not before --until {until}.")
    return Selection(since=start, until=end, unknown_only=unknown_only, provider=provider, model=model)


def _moment(option: str, text: str, zone: ZoneInfo, *, days: int = 0) -> datetime:
    """A day's beginning in the app's time zone, ``days`` later; or a moment as it stands."""
    try:
        if len(text) == len("2026-10-14"):
            return instant(date.fromisoformat(text), zone, days=days)
        moment = datetime.fromisoformat(text)
        return instant(moment if moment.tzinfo else moment.replace(tzinfo=UTC), zone)
    except (ValueError, OverflowError):
        raise InvalidFilterError(f"{option} {text!r} is not a date: write it like 2026-10-14.") from None
