"""``flask llm-cost prices …``: what models cost, why, and whether that is still so."""

from __future__ import annotations

from flask.cli import AppGroup

from flask_llm_cost.cli.prices.check import check_command
from flask_llm_cost.cli.prices.explain import explain_command
from flask_llm_cost.cli.prices.list import list_command
from flask_llm_cost.cli.prices.refresh import refresh_command

prices = AppGroup("prices", help="What models cost, why, and whether that is still so.")
for command in (explain_command, list_command, check_command, refresh_command):
    prices.add_command(command)
