"""``flask llm-cost reprice``: an unknown model's story from its first call to its price, and how the command speaks."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from openai import OpenAI
from rich.console import Console
from sqlalchemy import select

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.cli import progress
from flask_llm_cost.ledger.models import Call, Daily
from flask_llm_cost.state import current_state
from flask_llm_cost.testing import ProviderServer
from tests.integration.ledger_sums import assert_rollups_are_the_sum

AT = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
Reopen = Callable[..., tuple[Flask, LLMCost]]


@pytest.fixture
def reopen(make_app: Callable[..., tuple[Flask, LLMCost]], tmp_path: Path) -> Reopen:
    """Apps one after the other on the same ledger, as a deployment restarts them with another configuration."""

    def reopen(**config: Any) -> tuple[Flask, LLMCost]:
        database = f"sqlite:///{tmp_path / 'ledger.db'}"
        return make_app(LLM_COST_DATABASE_URI=database, LLM_COST_UNKNOWN_PRICING="ignore", **config)

    return reopen


def run(app: Flask, *arguments: str, **options: Any) -> Result:
    return app.test_cli_runner().invoke(command_group, ["reprice", *arguments], **options)


def track(app: Flask, llm_cost: LLMCost, model: str = "mystery", **changes: Any) -> None:
    told: dict[str, Any] = {"provider": "acme", "input_tokens": 1_000_000, "output_tokens": 0, "tracked_at": AT}
    with app.app_context():
        llm_cost.track(model=model, **{**told, **changes})


def costs(llm_cost: LLMCost, app: Flask) -> list[Decimal | None]:
    with app.app_context(), llm_cost.session() as session:
        return list(session.scalars(select(Call.total_cost).order_by(Call.id)))


@pytest.mark.parametrize("place", ["overrides", "file"])
def test_the_story_of_an_unknown_model(
    make_app: Callable[..., tuple[Flask, LLMCost]], tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """Recorded as unknown and warned of once; given a price; priced again: totals right. Covers P-UNK-01, P-UNK-02."""
    database = {"LLM_COST_DATABASE_URI": f"sqlite:///{tmp_path / 'ledger.db'}"}
    with ProviderServer() as server:
        hosts = {"LLM_COST_OPENAI_COMPATIBLE_HOSTS": {server.url.partition("://")[2]: "acme"}}
        app, llm_cost = make_app(**database, **hosts)
        with app.app_context(), caplog.at_level(logging.WARNING, "flask_llm_cost"):
            with OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
                llm_cost.wrap(client)
                for _ in range(2):
                    client.chat.completions.create(model="mystery", messages=[{"role": "user", "content": "Hello"}])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["No price for acme/mystery"]
    assert costs(llm_cost, app) == [None, None]
    result = run(app, "--unknown-only", "--dry-run")
    assert (result.exit_code, result.output) == (0, "2 calls looked at: nothing changes.\n")

    rates = {"acme/mystery": {"input": "2", "output": "8", "cache_read": "1"}}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(rates))
    priced = {"LLM_COST_PRICING_OVERRIDES": rates} if place == "overrides" else {"LLM_COST_PRICES_FILE": str(file)}
    app, llm_cost = make_app(**database, **priced)
    assert run(app, "--unknown-only", "--dry-run").exit_code == 1
    assert costs(llm_cost, app) == [None, None]
    assert run(app, "--unknown-only").exit_code == 0

    with app.app_context(), llm_cost.session() as session:
        calls = session.scalars(select(Call)).all()
        for call in calls:
            due = 2 * call.input_tokens + call.cache_read_input_tokens + 8 * call.output_tokens
            assert call.total_cost == Decimal(due).scaleb(-6)
            assert call.total_cost > 0
            assert (call.cost_status, call.price_key) == ("complete", "acme/mystery")
        (day,) = session.scalars(select(Daily))
        assert (day.calls, day.unpriced, day.total_cost) == (2, 0, sum(call.total_cost for call in calls))
        assert_rollups_are_the_sum(current_state().ledger)
    again = run(app, "--unknown-only")
    assert (again.exit_code, again.output) == (0, "0 calls looked at: nothing changes.\n")


def test_a_dry_run_shows_the_difference_by_model(reopen: Reopen) -> None:
    """The largest first: calls, before, after, difference, what became of the statuses. Nothing is written."""
    app, llm_cost = reopen(LLM_COST_PRICING_OVERRIDES={"acme/cheap": {"input": "1"}, "acme/dear": {"input": "100"}})
    for model in ("mystery", "mystery", "cheap", "dear"):
        track(app, llm_cost, model)
    app, llm_cost = reopen(
        LLM_COST_PRICING_OVERRIDES={
            "acme/mystery": {"input": "3"},
            "acme/cheap": {"input": "1"},
            "acme/dear": {"input": "60"},
        }
    )
    result = run(app, "--dry-run")
    assert [line.split() for line in result.output.splitlines()] == [
        ["model", "calls", "before", "after", "difference", "status"],
        ["acme/dear", "1", "$100.000000", "$60.000000", "-$40.000000", "same"],
        ["acme/mystery", "2", "unknown", "$6.000000", "+$6.000000", "unknown", "->", "complete:", "2"],
        ["4", "calls", "looked", "at,", "3", "would", "change:", "$100.000000+", "->", "$66.000000", "(-$34.000000)."],
    ]
    assert result.exit_code == 1
    assert costs(llm_cost, app) == [None, None, 1, 100]
    done = run(app)
    assert done.exit_code == 0
    assert "3 changed: $100.000000+ -> $66.000000 (-$34.000000). Run " in done.output
    assert costs(llm_cost, app) == [3, 3, 1, 60]


def test_json_has_a_stable_shape(reopen: Reopen) -> None:
    app, llm_cost = reopen()
    track(app, llm_cost)
    app, llm_cost = reopen(LLM_COST_PRICING_OVERRIDES={"acme/mystery": {"input": "3"}})
    nothing = {"total_cost": "0", "cost_low": "0", "cost_high": None, "unpriced_calls": 1}
    three = dict.fromkeys(("total_cost", "cost_low", "cost_high"), "3.000000000") | {"unpriced_calls": 0}
    model = {
        "provider": "acme",
        "model": "mystery",
        "calls": 1,
        "before": nothing,
        "after": three,
        "difference": "3.000000000",
        "statuses": [{"before": "unknown", "after": "complete", "calls": 1}],
    }
    expected = {
        "version": 1,
        "applied": False,
        "run": None,
        "looked_at": 1,
        "calls": 1,
        "before": nothing,
        "after": three,
        "difference": "3.000000000",
        "models": [model],
        "skipped": [],
    }
    dry = run(app, "--dry-run", "--json")
    assert (dry.exit_code, json.loads(dry.output)) == (1, expected)
    done = run(app, "--json")
    made = json.loads(done.output)
    assert (done.exit_code, made | {"run": None}) == (0, {**expected, "applied": True})
    assert len(made["run"]) == 32


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--since", "2026-05-02"], 1),
        (["--until", "2026-05-01"], 0),
        (["--since", "2026-05-02", "--until", "2026-05-02"], 1),
        (["--until", "2026-05-01T23:30"], 0),
        (["--until", "2026-05-02T01:30:01+02:00"], 1),
        (["--since", "2026-05-01T23:30:00Z"], 1),
        (["--provider", "other"], 0),
        (["--model", "mystery", "--batch-size", "1"], 1),
    ],
)
def test_days_are_those_of_the_app_and_moments_are_moments(reopen: Reopen, options: list[str], changed: int) -> None:
    """23:30 UTC on May 1 is a Berlin's May 2; ``--until`` includes its day and excludes its moment."""
    app, llm_cost = reopen()
    track(app, llm_cost)
    app, llm_cost = reopen(
        LLM_COST_PRICING_OVERRIDES={"acme/mystery": {"input": "3"}}, LLM_COST_TIMEZONE="Europe/Berlin"
    )
    result = run(app, *options, "--dry-run")
    assert (result.exit_code, result.output.startswith("model")) == (changed, bool(changed))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--since", "May"], "Error: --since 'May' is not a date: write it like 2026-10-14.\n"),
        (["--until", "2026-02-30"], "Error: --until '2026-02-30' is not a date: write it like 2026-10-14.\n"),
        (
            ["--since", "2026-05-02", "--until", "2026-05-01"],
            "Error: --since 2026-05-02 is not before --until 2026-05-01.\n",
        ),
    ],
)
def test_dates_that_make_no_sense_are_one_line(reopen: Reopen, options: list[str], told: str) -> None:
    result = run(reopen()[0], *options)
    assert (result.exit_code, result.output) == (2, told)


@pytest.mark.parametrize("size", ["0", "5001", "many"])
def test_a_batch_has_its_bounds(reopen: Reopen, size: str) -> None:
    assert run(reopen()[0], "--batch-size", size).exit_code == 2


def test_missing_tables_are_one_line(tmp_path: Path) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    app.config["TESTING"] = True
    llm_cost = LLMCost(app)
    result = run(app)
    with app.app_context():
        llm_cost.shutdown()
    assert result.exit_code == 2
    assert result.output == "Error: The ledger's tables are missing: run `flask llm-cost db upgrade`.\n"


@pytest.mark.parametrize(
    ("options", "typed", "cost", "asked"),
    [([], "n\n", None, True), ([], "y\n", 3, True), (["--yes"], "", 3, False), (["--json"], "", 3, False)],
)
def test_a_terminal_is_asked_first(
    reopen: Reopen,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    typed: str,
    cost: int | None,
    asked: bool,
) -> None:
    """It shows the difference and waits for a word; ``--yes`` and ``--json`` do not."""
    app, llm_cost = reopen()
    track(app, llm_cost)
    app, llm_cost = reopen(LLM_COST_PRICING_OVERRIDES={"acme/mystery": {"input": "3"}})
    # The runner's stdin is a stream of its own class.
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    result = run(app, *options, input=typed)
    assert result.exit_code == 0
    assert ("Apply? [y/N]" in result.output, "would change" in result.output) == (asked, asked)
    assert costs(llm_cost, app) == [cost]


def test_a_bar_shows_on_a_terminal_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a pipe, and not for what is done at once."""
    shown = io.StringIO()
    with progress.progress_bar("Pricing again", Console(file=io.StringIO())) as tell:
        assert tell is None
    with progress.progress_bar("Pricing again", Console(file=shown, force_terminal=True, width=80)) as tell:
        assert tell is not None
        tell(1, 2)
    assert "Pricing again" not in shown.getvalue()
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    with progress.progress_bar("Pricing again", Console(file=shown, force_terminal=True, width=80)) as tell:
        assert tell is not None
        tell(1, 2)
    assert "Pricing again" in shown.getvalue()
    assert "1/2" in shown.getvalue()
