"""``flask llm-cost prices refresh``: write the published prices into the prices file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_llm_cost.cli.prices.changes import as_dict, print_comparison
from flask_llm_cost.cli.prices.comparing import SOURCE_HELP, Compared, compared, today
from flask_llm_cost.published.pricefile import merged, write
from flask_llm_cost.state import current_state

REFUSED = 1
FILE_NAME = "llm_cost_prices.json"


@click.command("refresh")
@click.option("--source", default="all", show_default=True, help=SOURCE_HELP)
@click.option("--output", type=click.Path(dir_okay=False), help="The file to write; LLM_COST_PRICES_FILE by default.")
@click.option("--preview", is_flag=True, help="Show what would change; write nothing.")
@click.option("--yes", is_flag=True, help="Also take prices that moved to more than three times, a third, or zero.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, decimals as texts.")
@click.pass_context
@with_appcontext
def refresh_command(
    context: click.Context, source: str, output: str | None, preview: bool, yes: bool, as_json: bool
) -> None:
    """Fetch the published prices and write them into the prices file.

    Entries of yours (without a source, or with source: manual) are never touched, and models that the source has no
    more are kept. Exits with 0 if the file is up to date now, with 1 if a price moved so far that it needs --yes,
    with 2 if the source cannot be read or the file not be written.
    """
    path = output or current_state().settings.prices_file or str(Path(current_app.instance_path) / FILE_NAME)
    found = compared(source, path, conditional=True)
    if found.published.entries is None:
        _tell(found, path, "kept", "Nothing changed at the source.", as_json=as_json)
        return
    if not as_json:
        print_comparison(found, as_json=False)
    if preview:
        _tell(found, path, "previewed", "Nothing is written: this was a preview.", as_json=as_json)
        return
    if found.outcome.suspicious and not (yes or _agreed(found)):
        count = len(found.outcome.suspicious)
        why = f"Nothing is written: {count:,} prices moved far (marked ?). Look at them, then run again with --yes."
        _tell(found, path, "refused", why, as_json=as_json)
        context.exit(REFUSED)
    versions = found.published.versions
    table = merged(found.file, found.published.entries, found.outcome, source=source, versions=versions, today=today())
    write(Path(path), table)
    _tell(found, path, "refreshed", f"Written: {path}.", as_json=as_json)
    if path != current_state().settings.prices_file and not as_json:
        click.echo(f"To use it, set LLM_COST_PRICES_FILE = {path!r}.")


def _agreed(found: Compared) -> bool:
    """Ask, where somebody is there to be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return click.confirm(f"{len(found.outcome.suspicious):,} prices moved far (marked ?). Take them?")


def _tell(found: Compared, path: str, action: str, sentence: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"action": action, "path": path, **as_dict(found, None)}, indent=2))
    else:
        click.echo(sentence)
