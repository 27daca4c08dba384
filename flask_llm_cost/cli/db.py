"""``flask llm-cost db``: the ledger's own migrations."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from flask_llm_cost.ledger.schema import REVISIONS, message
from flask_llm_cost.state import current_state

db = AppGroup("db", help="Create and upgrade the ledger's tables.")


@db.command()
def upgrade() -> None:
    """Bring the ledger's tables up to date."""
    ledger = current_state().ledger
    before = ledger.revision()
    ledger.upgrade()
    after = ledger.revision()
    if before == after:
        click.echo(f"The ledger's tables are current already ({after}).")
    else:
        click.echo(f"The ledger's tables are upgraded: {before or 'nothing'} -> {after}.")


@db.command()
def current() -> None:
    """Print the revision of the ledger's tables and the newest one."""
    ledger = current_state().ledger
    state, revision = ledger.schema_state(), ledger.revision()
    click.echo(f"{revision or 'none'} (newest: {REVISIONS[-1]}). {message(state)}")


@db.command()
@click.option("--from", "start", default="base", metavar="REVISION", help='What is new since this one ("db current").')
def sql(start: str) -> None:
    """Print the DDL of the ledger's tables, for a person to run. Connects to nothing."""
    click.echo(current_state().ledger.sql(start))
