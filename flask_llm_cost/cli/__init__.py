"""``flask llm-cost …``: the command line, one file per command or group of commands.

Commands run in the app's context. A foreseeable fault is one line on stderr and exit code 2; 1 means
that a command ran and found something.
"""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from flask_llm_cost.cli.db import db
from flask_llm_cost.cli.dead_letters import dead_letters
from flask_llm_cost.cli.failure import one_line_errors
from flask_llm_cost.cli.flush import flush
from flask_llm_cost.cli.ingest import ingest
from flask_llm_cost.cli.prices import prices
from flask_llm_cost.cli.prune import prune
from flask_llm_cost.cli.report import report
from flask_llm_cost.cli.reprice import reprice
from flask_llm_cost.cli.rollups import rollups


class LLMCostGroup(AppGroup):
    """The group. This package's own errors become one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


llm_cost = LLMCostGroup("llm-cost", help="What this app spends on LLM APIs.")
for command in (report, db, flush, ingest, dead_letters, rollups, prune, prices, reprice):
    llm_cost.add_command(command)
