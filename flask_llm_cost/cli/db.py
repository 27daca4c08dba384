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
@click.argument("revision")
@click.confirmation_option(prompt="This drops what later revisions added, 'base' the whole ledger. Go on?")
def downgrade(revision: str) -> None:
    """Take the ledger's tables back to REVISION; "base" drops them."""
    ledger = current_state().ledger
    before = ledger.revision()
    ledger.downgrade(revision)
    click.echo(f"The ledger's tables are downgraded: {before or 'nothing'} -> {ledger.revision() or 'nothing'}.")


@db.command()
@click.option("--from", "start", default="base", metavar="REVISION", help='What is new since this one ("db current").')
def sql(start: str) -> None:
    """Print the DDL of the ledger's tables, for a person to run. Connects to nothing."""
    click.echo(current_state().ledger.sql(start))


@db.command()
def partition() -> None:
    """Keep calls in monthly partitions (PostgreSQL), so that old ones can be dropped at once.

    Copies the calls in one transaction, during which whoever reads or writes them waits; recorded calls stay in
    the spool. Run again, it gives months of their own to calls that had none.
    """
    made = current_state().ledger.partition()
    if made:
        click.echo(f"{len(made)} partitions made: {', '.join(made)}.")
    else:
        click.echo("Every month has its partition already.")


@db.command()
def unpartition() -> None:
    """Keep calls in one table again; the reverse of "partition", and as long."""
    if current_state().ledger.unpartition():
        click.echo("Calls are in one table again.")
    else:
        click.echo("Calls are in one table already.")
