"""``flask llm-cost dead-letters``: events that the ledger would not take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from flask_llm_cost.cli.failure import CommandFailed
from flask_llm_cost.cli.prices.printing import new_console, new_table
from flask_llm_cost.ledger.dead_letters import Letter, Retried, Which
from flask_llm_cost.state import current_state

STAY = 1
_TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])

dead_letters = AppGroup("dead-letters", help="Look at, retry or drop events that the ledger would not take.")


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
        click.option("--until", type=_TIMES, help="Failed before this UTC time."),
        click.option("--since", type=_TIMES, help="Failed at this UTC time or later."),
        click.option("--error", help="With this text in their error."),
    ):
        command = option(command)
    return command


@dead_letters.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
def list_command(error: str | None, since: datetime | None, until: datetime | None, limit: int, as_json: bool) -> None:
    """What could not be written, and why; oldest first."""
    which = Which(error=error, since=_utc(since), until=_utc(until))
    found = list(current_state().ledger.upkeep.dead_letters(which, limit))
    if as_json:
        click.echo(json.dumps([letter.as_dict() for letter in found], indent=2))
    elif found:
        _print_letters(found)
    else:
        click.echo("There are no dead letters.")


@dead_letters.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="All of them.")
@_filters
@click.pass_context
def retry(context: click.Context, /, ids: tuple[int, ...], everything: bool, as_json: bool, **filters: Any) -> None:
    """Write them into the ledger once more: after an upgrade, say. Those that go in are dead letters no more.

    Exits with 0 if all went in, with 1 if some stay.
    """
    which = _chosen(ids, everything, **filters)
    done: list[Retried] = []
    for each in current_state().ledger.upkeep.retry_dead_letters(which):
        done.append(each)
        if each.stays and not as_json:
            click.echo(f"{each.id} stays, {each.outcome}: {each.error}")
    if as_json:
        click.echo(json.dumps([each.as_dict() for each in done], indent=2))
    else:
        counts = Counter(each.outcome for each in done)
        stay = counts["refused"] + counts["unreadable"]
        click.echo(f"{counts['written']} written, {counts['known']} were in the ledger already, {stay} stay.")
    context.exit(STAY if any(each.stays for each in done) else 0)


@dead_letters.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_filters
def drop(ids: tuple[int, ...], everything: bool, yes: bool, as_json: bool, **filters: Any) -> None:
    """Give them up. What these calls cost is then in no total; the audit keeps their ids."""
    which = _chosen(ids, everything, **filters)
    if not yes:
        click.confirm("Their calls will be lost for good. Go on?", abort=True, err=True)
    gone = current_state().ledger.upkeep.drop_dead_letters(which)
    click.echo(json.dumps({"dropped": gone}) if as_json else f"{gone} dropped.")


def _chosen(
    ids: tuple[int, ...], everything: bool, error: str | None, since: datetime | None, until: datetime | None
) -> Which:
    which = Which(ids=ids, error=error, since=_utc(since), until=_utc(until))
    if not everything and which == Which():
        raise CommandFailed("Which ones? Give ids, --error, --since, --until, or --all.")
    return which


def _print_letters(found: Sequence[Letter]) -> None:
    table = new_table("id", "failed at", "called at", "provider", "model", "tokens", "error")
    for letter in found:
        tokens = "-" if letter.total_tokens is None else f"{letter.total_tokens:,}"
        called = (letter.tracked_at or "-")[:19]
        names = (
            letter.provider or "-",
            letter.model or "-",
            tokens,
            letter.error if letter.readable else f"unreadable: {letter.error}",
        )
        table.add_row(str(letter.id), f"{letter.failed_at:%Y-%m-%d %H:%M:%S}", called, *names)
    new_console().print(table)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
