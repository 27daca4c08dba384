"""How a command fails: one line on stderr, exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from flask_llm_cost.errors import LLMCostError


class CommandFailed(click.ClickException):
    """A command could not do its work."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn this package's errors into ``CommandFailed``; anything else is a bug and keeps its traceback."""
    try:
        yield
    except LLMCostError as error:
        raise CommandFailed(str(error)) from error
