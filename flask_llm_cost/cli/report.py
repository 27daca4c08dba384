"""``flask llm-cost report``: what a period cost, and where that came from."""

from __future__ import annotations

from datetime import UTC, date, datetime

import click
from flask.cli import with_appcontext

from flask_llm_cost.cli.report_json import as_json
from flask_llm_cost.cli.report_text import print_report
from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.filters import Filters
from flask_llm_cost.queries.group import Group
from flask_llm_cost.queries.period import DAY, MAX_DAYS, custom_period
from flask_llm_cost.queries.reading import answering
from flask_llm_cost.queries.report import Report, build_report, report_groups
from flask_llm_cost.state import State, current_state


@click.command("report")
@click.option("--days", type=click.IntRange(1, MAX_DAYS), help="The last so many days, today included.  [default: 30]")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last day.  [default: today]")
@click.option("--by", help="Break down by this alone: model, provider or tag:KEY.")
@click.option("--limit", type=click.IntRange(1), default=5, show_default=True, help="Rows per section of the text.")
@click.option("--json", "wants_json", is_flag=True, help="For machines: complete, decimals as strings.")
@with_appcontext
def report(
    days: int | None, first: datetime | None, last: datetime | None, by: str | None, limit: int, wants_json: bool
) -> None:
    """Show what the app spent on LLM APIs, and what changed since the period before.

    Events that still wait in a spool are not included; run "flask llm-cost flush" first to have them.
    """
    filters = _filters(current_state(), days, first and first.date(), last and last.date())
    made = _read(filters, None if by is None else Group.parse(by), limit)
    if wants_json:
        click.echo(as_json(made))
    else:
        print_report(made, limit)


def _filters(state: State, days: int | None, first: date | None, last: date | None) -> Filters:
    now, timezone = datetime.now(UTC), state.settings.timezone
    if days is not None and (first or last):
        raise InvalidFilterError("--days and --from/--to exclude each other.")
    if first is None and last is None:
        last = now.astimezone(timezone).date()
        first = last - ((days or 30) - 1) * DAY
    return Filters(period=custom_period(first, last, timezone=timezone, now=now))


def _read(filters: Filters, by: Group | None, limit: int) -> Report:
    state = current_state()
    keys = [key for key in state.settings.report_tags if key not in state.settings.rollup_exclude_tags]
    with answering(state.ledger) as session:
        return build_report(session, filters, report_groups(by, keys), dearest=limit)
