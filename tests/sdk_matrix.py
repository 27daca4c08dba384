"""Run every SDK surface × every ending and print the table: ``python tests/sdk_matrix.py [WORD…]``.

Words keep only the surfaces whose names contain one of them. Exits with 1 if a cell failed.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from rich.console import Console
from rich.table import Table

from flask_llm_cost import LLMCost
from flask_llm_cost.testing import ProviderServer
from sdk_calls.endings import ENDINGS
from sdk_calls.matrix import Matrix, Scenario, leading_here, scenarios

Outcomes = Mapping[tuple[str, str], list[str]]


def run(chosen: list[Scenario], folder: Path) -> Outcomes:
    """What went wrong in each scenario, by surface and ending."""
    app = Flask("sdk_matrix", instance_path=str(folder))
    app.config.update(TESTING=True, LLM_COST_DURABILITY="sync")
    llm_cost = LLMCost(app)
    with app.app_context(), ProviderServer() as server, leading_here(server, folder):
        llm_cost.upgrade()
        matrix = Matrix(llm_cost, server)
        outcomes = {(each.call.name, each.ending.name): matrix.problems(each) for each in chosen}
        llm_cost.shutdown(timeout=5)
    return outcomes


def table(outcomes: Outcomes) -> Table:
    """Surfaces down, endings across; a dash where a surface cannot end so."""
    rendered = Table("surface", *(ending.name for ending in ENDINGS), padding=(0, 0))
    for surface in dict.fromkeys(name for name, _ in outcomes):
        cells = (outcomes.get((surface, ending.name)) for ending in ENDINGS)
        rendered.add_row(surface, *("—" if cell is None else "FAIL" if cell else "ok" for cell in cells))
    return rendered


def main(words: list[str]) -> int:
    chosen = list(scenarios(words))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(chosen, Path(folder))
    console = Console(width=None if sys.stdout.isatty() else 300, highlight=False, soft_wrap=True)
    console.print(table(outcomes), soft_wrap=False)
    failed = {key for key, problems in outcomes.items() if problems}
    bearing = [(each.call.name, each.ending.name) for each in chosen if each.usage_bearing]
    for surface, ending in sorted(failed):
        console.print(f"FAIL {surface} - {ending}: {'; '.join(outcomes[surface, ending])}", markup=False)
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} scenarios")
    console.print(f"{len(bearing) - len(failed.intersection(bearing))} of {len(bearing)} usage-bearing scenarios")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
