"""Every surface of every SDK × every way to end: the ledger's rows, and what the app sees.

``python tests/sdk_matrix.py`` prints the same as a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.testing import ProviderServer
from sdk_calls.detours import OPENAI_FAMILY
from sdk_calls.matrix import Matrix, Scenario, leading_here, scenarios
from sdk_calls.optional import OptionalCall

OPENAI_2 = OPENAI_FAMILY.__name__ == "httpx"

# An app that drops a stream unread leaves its socket to the collector, with us or without.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """One server, one app and one ledger for all scenarios."""
    folder = tmp_path_factory.mktemp("matrix")
    app = Flask("sdk_matrix", instance_path=str(folder))
    app.config.update(TESTING=True, LLM_COST_DURABILITY="sync")
    llm_cost = LLMCost(app)
    with app.app_context(), ProviderServer() as server, leading_here(server, folder):
        llm_cost.upgrade()
        yield Matrix(llm_cost, server)
        llm_cost.shutdown(timeout=5)


def parameters() -> Iterator[Any]:
    for scenario in scenarios():
        yield pytest.param(scenario, id=scenario.name, marks=list(marks(scenario)))


def marks(scenario: Scenario) -> Iterator[pytest.MarkDecorator]:
    call = scenario.call
    if isinstance(call, OptionalCall) or (OPENAI_2 and call.provider in ("openai", "azure")):
        yield pytest.mark.sdks  # of packages that the test extra does not install, openai 2 among them
    if isinstance(call, OptionalCall) and call.sdk == "litellm":
        yield pytest.mark.filterwarnings("default")  # it warns about its own models, and turns that into errors


@pytest.mark.parametrize("scenario", list(parameters()))
def test_every_ending_of_every_surface_is_recorded_as_it_was_and_seen_as_it_always_was(
    scenario: Scenario, matrix: Matrix
) -> None:
    """Covers P-CAP-01, P-CAP-18, P-CAP-23, P-CAP-24, P-SDK-01, P-SDK-02, P-SDK-03, P-SDK-04, P-SDK-38, P-SDK-39."""
    assert matrix.problems(scenario) == []
