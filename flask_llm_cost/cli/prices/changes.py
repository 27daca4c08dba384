"""Printing what published prices change."""

from __future__ import annotations

import json

import click

from flask_llm_cost.cli.prices.comparing import Compared
from flask_llm_cost.cli.prices.printing import new_console, new_table
from flask_llm_cost.pricing.freshness import Freshness
from flask_llm_cost.published.compare import Change, Comparison


def print_comparison(found: Compared, fresh: Freshness | None = None, *, as_json: bool) -> None:
    """The changes by model and meter, then the counts."""
    if as_json:
        click.echo(json.dumps(as_dict(found, fresh), indent=2))
        return
    outcome = found.outcome
    if outcome.changes:
        table = new_table("model", "meter", "condition", "in use", "published", "")
        for change in outcome.changes:
            mark = "?" if change.is_suspicious else ""
            before, after = change.before or "none", change.after or "none"
            table.add_row(change.key, change.meter, change.condition, before, after, mark)
        new_console().print(table)
        click.echo()
    for line in summary(found):
        click.echo(line)
    if fresh is not None:
        click.echo(fresh.message, err=not fresh.ok)


def summary(found: Compared) -> list[str]:
    """The outcome in sentences."""
    outcome = found.outcome
    lines = [f"Source: {found.source}."]
    if not outcome.drift:
        lines.append("Up to date.")
    if outcome.changes:
        models = len({change.key for change in outcome.changes})
        lines.append(f"{len(outcome.changes):,} rates of {models:,} models differ.")
    if outcome.added:
        lines.append(f"{len(outcome.added):,} models are new: {_some(outcome.added)}.")
    if outcome.dropped:
        lines.append(f"{len(outcome.dropped):,} models are gone from the source and kept: {_some(outcome.dropped)}.")
    if outcome.manual:
        lines.append(f"{len(outcome.manual):,} entries of yours are left alone: {_some(outcome.manual)}.")
    return [*lines, *found.published.notes]


def as_dict(found: Compared, fresh: Freshness | None) -> dict[str, object]:
    """The comparison as JSON-ready values."""
    outcome: Comparison = found.outcome
    packed: dict[str, object] = {
        "source": found.source,
        "up_to_date": not outcome.drift,
        "changes": [_change(change) for change in outcome.changes],
        "added": outcome.added,
        "dropped": outcome.dropped,
        "manual": outcome.manual,
        "notes": list(found.published.notes),
        "versions": dict(found.published.versions),
    }
    if fresh is not None:
        packed["fresh"] = fresh.ok
    return packed


def _change(change: Change) -> dict[str, object]:
    return {
        "model": change.key,
        "meter": change.meter,
        "condition": change.condition or None,
        "in_use": change.before,
        "published": change.after,
        "suspicious": change.is_suspicious,
    }


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
