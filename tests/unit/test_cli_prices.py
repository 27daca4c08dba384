"""``flask llm-cost prices``: what it prints and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost

MakeApp = Callable[..., tuple[Flask, LLMCost]]
Run = Callable[..., Result]


@pytest.fixture
def run(make_app: MakeApp) -> Run:
    overrides = {
        "acme/model": {"rates": [{"input": "3", "output": "15"},
                                 {"when": {"mode": "batch"}, "effective_from": "2026-10-14", "input": "1.5"}]},
        "acme/half": {"input": 1},
        "acme/free": {"input": 0, "output": 0},
    }  # fmt: skip
    app, _ = make_app(LLM_COST_PRICING_OVERRIDES=overrides)

    def invoke(*arguments: str) -> Result:
        return app.test_cli_runner().invoke(llm_cost, ["prices", *arguments])

    return invoke


def test_explain_prints_how_a_call_is_priced(run: Run) -> None:
    """Covers P-EXP-01 and P-EXP-05."""
    result = run("explain", "acme", "model", "--mode", "batch", "--at", "2026-11-01", "--input-tokens", "1000000",
                 "--cache-read-tokens", "500000", "--cache-write-tokens", "0", "--output-tokens", "100000")  # fmt: skip
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[:6] == [
        "Matched acme/model from overrides via exact.",
        "stage: exact",
        "layer: overrides",
        "key: acme/model",
        "source: manual",
        "at: 2026-11-01",
    ]
    assert "input 1.5 1,000,000 2026-10-14 mode batch manual" in lines
    assert "cache_read 1.5 1,000,000 2026-10-14 mode batch manual, inherited from input" in lines
    assert "output 15 1,000,000 always manual" in lines
    assert lines[-6:] == [
        "example quantity USD",
        "input 1,000,000 1.5",
        "cache_read 500,000 0.75",
        "cache_write 0 0",
        "output 100,000 1.5",
        "total 3.75 (complete)",
    ]


def test_nothing_is_cut_off_in_a_pipe(run: Run) -> None:
    """However long a name is, it is there whole on its line."""
    key = "together/meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"
    result = run("list", "--search", "llama-4-maverick-17b-128e-instruct-fp8", "--provider", "together")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines() if "Maverick" in line] == [key]
    assert "…" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("acme", "free"), 0, "total 0 (free)"),
        (("acme", "half"), 1, "missing output."),
        (("acme", "half", "--input-tokens", "5"), 0, "total 0.000005 (complete)"),
        (("acme", "model", "--mode", "warp"), 1, "no rate is known for mode 'warp'"),
        (("acme", "nobody"), 1, "No price entry matched acme/nobody."),
        (("acme", "nobody"), 1, "LLM_COST_MODEL_ALIASES"),
        (("openai", "gpt-4o-2024-08-06"), 0, "stage: exact"),
        (("acme", "model", "--at", "yesterday"), 2, "'yesterday' is not a date; write it like 2026-10-14."),
        (("acme", "model", "--input-tokens", "-1"), 2, "-1 is not in the range x>=0"),
        (("acme",), 2, "Missing argument 'MODEL'"),
    ],
)
def test_exit_codes(run: Run, arguments: tuple[str, ...], code: int, text: str) -> None:
    """0 for a whole price, 1 for none or a part, 2 for a question that makes no sense. Covers P-EXP-02, P-EXP-03."""
    result = run("explain", *arguments)
    assert result.exit_code == code
    assert text in " ".join(result.output.split())


def test_explain_tells_what_other_layers_have_and_what_held_on_a_day(make_app: MakeApp, tmp_path: Path) -> None:
    """A model in three layers: the one that counts, those passed over, and a broken edit that does not."""
    path = tmp_path / "prices.json"
    dated = [{"input": "2", "output": "8"}, {"effective_from": "2026-10-14", "input": "1"}]
    path.write_text(
        json.dumps({"metadata": {"updated_at": "2026-11-01"}, "models": {"openai/gpt-4o": {"rates": dated}}})
    )
    overrides = {"gpt-4o": {"input": 9, "output": 9}}
    app, _ = make_app(
        LLM_COST_PRICES_FILE=str(path), LLM_COST_PRICING_OVERRIDES={"openai/gpt-4o-2024": overrides["gpt-4o"]}
    )
    run = app.test_cli_runner().invoke
    first = run(llm_cost, ["prices", "explain", "openai", "gpt-4o", "--at", "2026-10-13", "--json"])
    later = run(llm_cost, ["prices", "explain", "openai", "gpt-4o", "--at", "2026-10-14", "--json"])
    rates = [{rate["meter"]: rate["usd"] for rate in json.loads(each.stdout)["rates"]} for each in (first, later)]
    assert [(each["input"], each["output"]) for each in rates] == [("2", "8"), ("1", "8")]
    assert json.loads(later.stdout)["passed_over"] == [{"layer": "bundled", "stage": "exact", "key": "openai/gpt-4o"}]
    app, _ = make_app(LLM_COST_PRICES_FILE=str(path), LLM_COST_PRICING_OVERRIDES=overrides)
    path.write_text('{"openai/gpt-4o": {"input": -1}}')
    said = app.test_cli_runner().invoke(llm_cost, ["prices", "explain", "openai", "gpt-4o"])
    assert "Matched gpt-4o from overrides via exact." in said.stdout
    assert "passed over: openai/gpt-4o from file via exact" in said.stdout
    assert "passed over: openai/gpt-4o from bundled via exact" in said.stdout
    assert said.stderr.endswith(
        "openai/gpt-4o: input: '-1' is negative; 0 or more is allowed. The last good prices stay in use.\n"
    )


def test_explain_as_json(run: Run) -> None:
    result = run("explain", "acme", "model", "--at", "2026-10-13T23:59:59+00:00", "--input-tokens", "7", "--json")
    found = json.loads(result.output, parse_float=lambda text: pytest.fail(f"{text} is no text"))
    assert (result.exit_code, found["complete"], found["at"]) == (0, True, "2026-10-13T23:59:59+00:00")
    assert found["receipt"]["lines"] == [
        {"meter": "input", "quantity": 7, "rate": "3", "per": 10**6, "cost": "0.000021000", "source": "manual"}
    ]
    missing = run("explain", "acme", "nobody", "--json")
    assert (missing.exit_code, json.loads(missing.output)["matched"]) == (1, False)


def test_list_as_json(run: Run) -> None:
    result = run("list", "--provider", "acme", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {"key": key, "layer": "overrides", "source": "manual",
         "rates": {meter: {"usd": usd, "per": 10**6} for meter, usd in rates.items()}}
        for key, rates in {"acme/free": {"input": "0", "output": "0"}, "acme/half": {"input": "1"},
                           "acme/model": {"input": "3", "output": "15"}}.items()
    ]  # fmt: skip


def test_list_says_how_many_and_how_old(run: Run) -> None:
    result = run("list", "--search", "acme/")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "model input cache read cache write output per layer source"
    assert "acme/model 3 3 3 15 1,000,000 overrides manual" in lines
    assert lines[-1].startswith("3 models. Bundled prices: 2026-")
    assert run("list", "--search", "no such model").stdout.splitlines()[-1].startswith("0 models.")


def test_an_app_without_the_extension_gets_a_clear_error() -> None:
    result = Flask("bare").test_cli_runner().invoke(llm_cost, ["prices", "explain", "openai", "gpt-4o"])
    assert result.exit_code == 2
    assert "flask-llm-cost is not initialised on the app 'bare'" in result.stderr
