"""``flask llm-cost report``: the figures, for people and for machines, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.cli.report_text import money, spark_line
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.state import current_state

MakeEvent = Callable[..., Event]
Report = Callable[..., Result]
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def app_with(make_app: Callable[..., tuple[Flask, LLMCost]]) -> Callable[..., Flask]:
    def app_with(*events: Event, **config: Any) -> Flask:
        app, _ = make_app(**config)
        with app.app_context():
            current_state().ledger.write(events)
        return app

    return app_with


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(command_group, ["report", *arguments])


def test_it_shows_totals_sections_and_the_dearest_calls(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Totals first, then provider, model, each configured tag, then the dearest calls.

    Covers P-REP-01, P-REP-02, P-REP-03, P-REP-06.
    """
    output = run(
        app_with(
            make_event(tracked_at=YESTERDAY, total_cost=Decimal("0.00165"), latency_ms=100),
            make_event(tracked_at=YESTERDAY, total_cost=Decimal("0.001"), latency_ms=300, model="other", tags={}),
            LLM_COST_REPORT_TAGS=["feature"],
        )
    ).output
    lines = [line.rstrip() for line in output.splitlines()]
    assert lines[0].startswith("LLM Cost Report (")
    assert "30 days, UTC)" in lines[0]
    assert lines[1:6] == [
        "  Total cost:       $0.002650",
        "  Requests:         2",
        "  Avg latency:      200ms, p95 " + lines[3].rpartition(" ")[2],
        "  Unknown pricing:  0",
        "  Saved by caching: $0.000000",
    ]
    titles = [lines[index + 1] for index, line in enumerate(lines) if not line]
    assert titles == ["By provider:", "By model:", "By tag (feature):", "Top expensive calls:"]
    section = lines[lines.index("By tag (feature):") :]
    assert section[2].split()[:3] == ["chat", "$0.001650", "1"]
    assert section[3].split()[:3] == ["(untagged)", "$0.001000", "1"]
    dearest = lines[lines.index("Top expensive calls:") + 2]
    assert dearest.split()[:2] == ["openai/gpt-4o", "$0.001650"]


def test_an_empty_ledger_reports_nothing_and_succeeds(app_with: Callable[..., Flask]) -> None:
    """Covers P-REP-01, P-REP-03."""
    result = run(app_with())
    assert result.exit_code == 0
    assert "Avg latency:      n/a" in result.output
    assert result.output.count("  none") == 3


def test_unknown_costs_make_a_lower_bound(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """A model without a price is unknown, not $0. Answers P-REP-07."""
    output = run(
        app_with(
            make_event(tracked_at=YESTERDAY),
            make_event(tracked_at=YESTERDAY, total_cost=None, cost_status="unknown", model="mystery"),
        )
    ).output
    assert "$0.007375 (lower bound)" in output
    assert "1 of 2 requests have no complete price" in output
    assert [line.split()[:2] for line in output.splitlines() if "mystery" in line] == [["mystery", "unknown"]]


def test_a_report_of_nothing_known_says_unknown(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Neither for people nor for machines is it 0."""
    app = app_with(make_event(tracked_at=YESTERDAY, total_cost=None, cost_status="unknown", model="mystery"))
    assert "Total cost:       unknown (lower bound)" in run(app).output
    made = json.loads(run(app, "--days", "2", "--by", "model", "--json").output)
    assert (made["totals"]["total_cost"], made["totals"]["cost_high"]) == (None, None)
    (row,) = made["sections"][0]["rows"]
    assert (row["total_cost"], row["daily_costs"], row["unpriced_calls"]) == (None, [None, "0"], 1)


def test_text_has_few_rows_json_all_of_them(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Five of six rows in the text, and how many more; six of six for machines. Covers P-REP-04, P-REP-05."""
    app = app_with(
        *(make_event(tracked_at=YESTERDAY, model=f"m{index}", total_cost=Decimal(index)) for index in range(6))
    )
    text = run(app, "--by", "model").output
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  m")][:6] == [
        "m5",
        "m4",
        "m3",
        "m2",
        "m1",
        "model",
    ]
    assert "… and 1 more (--limit)" in text
    assert "more" not in run(app, "--by", "model", "--limit", "6").output
    rows = json.loads(run(app, "--by", "model", "--json").output)["sections"][0]["rows"]
    assert [row["name"] for row in rows] == ["m5", "m4", "m3", "m2", "m1", "m0"]


def test_a_pipe_gets_whole_names(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Nothing is cut or wrapped where there is no terminal, and nothing is taken for markup."""
    name = "[red]" + "a-very-long-model-name/" * 8
    output = run(app_with(make_event(tracked_at=YESTERDAY, model=name))).output
    assert sum(name in line for line in output.splitlines()) == 2
    assert "\x1b" not in output


def test_json_has_a_stable_shape(app_with: Callable[..., Flask], make_event: MakeEvent) -> None:
    """Every figure, decimals as strings, days of the configured zone."""
    today = datetime.now(UTC).date()
    event = make_event(tracked_at=YESTERDAY, total_cost=Decimal("0.000000001"))
    app = app_with(event, make_event(tracked_at=YESTERDAY - timedelta(days=3)))
    made = json.loads(run(app, "--days", "3", "--by", "tag:tenant", "--json").output)
    assert list(made) == [
        "version",
        "from",
        "to",
        "timezone",
        "totals",
        "previous",
        "latency",
        "sections",
        "most_expensive_calls",
        "unrecorded_hosts",
    ]
    assert (made["from"], made["to"], made["timezone"]) == (
        (today - timedelta(days=2)).isoformat(),
        today.isoformat(),
        "UTC",
    )
    assert made["totals"] == {
        "calls": 1,
        "errors": 0,
        "unpriced_calls": 0,
        "is_lower_bound": False,
        "estimated_calls": 0,
        "total_cost": "0.000000001",
        "cost_low": "0.000000001",
        "cost_high": "0.000000001",
        "saved_by_caching": "0",
        "input_tokens": 900,
        "cache_read_input_tokens": 100,
        "cache_write_input_tokens": 0,
        "output_tokens": 500,
        "hidden_output_tokens": 20,
        "total_tokens": 1500,
    } | {"saved_by_caching": made["totals"]["saved_by_caching"]}
    assert Decimal(made["totals"]["saved_by_caching"]) == 0
    (row,) = made["sections"][0]["rows"]
    assert (row["name"], row["total_cost"], row["previous_cost"]) == ("acme", "0.000000001", "0.007375000")
    assert [Decimal(cost) for cost in row["daily_costs"]] == [0, Decimal("0.000000001"), 0]
    (call,) = made["most_expensive_calls"]
    assert (call["model"], call["input_tokens"], call["tags"]) == ("gpt-4o", 1000, dict(event.tags))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--days", "0"], "0 is not in the range"),
        (["--days", "many"], "'many' is not a valid integer"),
        (["--from", "yesterday"], "'yesterday' does not match"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "The range ends before it begins"),
        (["--from", "2020-01-01", "--to", "2026-01-01"], "at most 366 days"),
        (["--days", "3", "--from", "2026-01-01"], "exclude each other"),
        (["--by", "colour"], "Cannot group by 'colour'"),
        (["--by", "tag:a b"], "is not a tag key"),
    ],
)
def test_what_makes_no_sense_is_refused(app_with: Callable[..., Flask], arguments: list[str], message: str) -> None:
    """One line and exit code 2; nothing is guessed. Answers P-REP-08."""
    result = run(app_with(), *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_missing_tables_fail_with_the_command_that_makes_them(app_with: Callable[..., Flask]) -> None:
    """Exit code 2, one line. Answers what P-REP-09 marks as weak."""
    app = app_with()
    with app.app_context():
        current_state().ledger.downgrade("base")
    result = run(app)
    assert result.exit_code == 2
    assert result.output.strip().splitlines() == [
        "Error: The ledger's tables are missing: run `flask llm-cost db upgrade`."
    ]


def test_a_spark_line_is_a_bar_per_day() -> None:
    """The highest day is full, a day of nothing blank; long periods are added up to 30 bars at most."""
    assert spark_line([Decimal(0), Decimal(1), Decimal(4), Decimal(8)]) == " ▂▅█"
    assert spark_line([Decimal(0)] * 5) == "     "
    assert len(spark_line([Decimal(1)] * 366)) == 29


def test_small_amounts_are_not_zero() -> None:
    assert [money(Decimal(text)) for text in ("0", "0.000000001", "-1.5", "1234.5")] == [
        "$0.000000",
        "$0.000000001",
        "-$1.500000",
        "$1,234.500000",
    ]
    assert money(None) == "unknown"
