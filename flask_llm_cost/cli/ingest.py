"""``flask llm-cost ingest``: ship spools in the foreground."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.failure import CommandFailed
from flask_llm_cost.state import current_state


@click.command()
@click.option("--once", is_flag=True, help="Ship what can be had now, then end.")
@click.option("--until-empty", is_flag=True, help="End as soon as nothing waits on this host.")
@click.option("--quiet", is_flag=True, help="Say nothing but what goes wrong.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@with_appcontext
def ingest(once: bool, until_empty: bool, quiet: bool, as_json: bool) -> None:
    """Ship this host's spools into the ledger, until it is told to stop (SIGTERM, SIGINT).

    Takes over what processes that ended, or that ship nothing themselves (LLM_COST_SHIPPER = False), have left.
    Several of these may run at once. While the database is away it waits and tries again.
    """
    if once and until_empty:
        raise CommandFailed("--once and --until-empty exclude each other.")
    shipped = 0

    def tell(records: int, error: str | None) -> None:
        nonlocal shipped
        shipped += records
        if as_json and (error or not quiet):
            at = datetime.now(UTC).isoformat(timespec="seconds")
            click.echo(json.dumps({"at": at, "shipped": records, "total": shipped, "error": error}))
        elif error:
            click.echo(f"Events wait, the ledger cannot take them now: {error}", err=True)
        elif not quiet:
            click.echo(f"{records} shipped, {shipped} in all.")

    with _stopped_by_signals() as stop:
        error = current_state().ledger.ingest().run(stop, tell, once=once, until_empty=until_empty)
        ended_by_signal = stop.is_set()
    if error is not None and not ended_by_signal:
        raise CommandFailed(f"Events still wait: {error}")


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set; what is under way is finished."""
    stop = Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
