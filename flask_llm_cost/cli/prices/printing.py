"""How the prices commands print: a rich table on a terminal, plain uncut text in a pipe."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from flask_llm_cost.pricing import PriceBook

# rich measures a terminal; a pipe has no width, and nothing in it may be cut off.
PIPE_COLUMNS = 10_000


def new_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS, color_system=None)


def warn_of_broken_file(book: PriceBook) -> None:
    """Say on stderr that the newest edit of the prices file is not in use, and why."""
    if book.file_error is not None:
        click.echo(f"{book.file_error} The last good prices stay in use.", err=True)


def new_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
