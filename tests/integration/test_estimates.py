"""Real SDKs over a real socket, left, dropped and without usage: a row with an interval that holds the truth."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import pytest
from flask import Flask
from sqlalchemy import func, select

from flask_llm_cost import LLMCost
from flask_llm_cost.cli import llm_cost as commands
from flask_llm_cost.ledger.models import Call, Daily, Hourly, TagDaily, TagKeyDaily, TagMonthly
from flask_llm_cost.pricing import price
from flask_llm_cost.testing import Answer, ProviderServer

ReadCalls = Callable[[], list[Call]]

WORDS = "The capital of France is Paris, and it has been for a very long time indeed. " * 4
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-haiku-4-5"
TRUE = {OPENAI: {"input": 14, "output": 70}, ANTHROPIC: {"input": 14, "output": 70}}


def answer(**changes: Any) -> Answer:
    return Answer(text=WORDS, input_tokens=14, output_tokens=70, chunks=20, **changes)


@pytest.fixture
def chat(llm_cost: LLMCost, provider: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test", max_retries=0) as client:
        yield llm_cost.wrap(client)


@pytest.fixture
def claude(llm_cost: LLMCost, provider: ProviderServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.url, api_key="test", max_retries=0) as client:
        yield llm_cost.wrap(client)


def true_cost(model: str) -> Decimal:
    total = price("anthropic" if model == ANTHROPIC else "openai", model, TRUE[model]).total
    assert total is not None
    return total


def streamed(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model=OPENAI, messages=QUESTION, stream=True, **options)


def read(chunks: Iterable[object], most: int) -> None:
    for number, _ in enumerate(chunks, start=1):
        if number == most:
            return


def assert_estimated(row: Call, model: str) -> None:
    """No total and no column, but an interval that holds what it cost."""
    assert (row.cost_status, row.total_cost, row.input_cost, row.output_cost) == ("estimated", None, None, None)
    assert row.cost_low is not None
    assert row.cost_low <= true_cost(model)
    assert row.cost_high is None or true_cost(model) <= row.cost_high


def test_a_stream_without_usage_costs_no_more_than_what_was_read(
    chat: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(answer())
    read(streamed(chat), 0)
    (row,) = calls()
    assert (row.status, row.usage_source) == ("ok", "unknown")
    assert_estimated(row, OPENAI)
    assert row.cost_low > 0
    assert row.cost_high < 10 * true_cost(OPENAI)


@pytest.mark.parametrize("limits", [{"max_tokens": 100}, {"max_completion_tokens": 100}, {}])
def test_a_stream_left_half_way_costs_at_most_what_was_allowed(
    limits: dict[str, int], chat: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(answer())
    stream = streamed(chat, **limits)
    read(stream, 5)
    stream.close()
    (row,) = calls()
    assert (row.status, row.usage_source) == ("cancelled", "unknown")
    assert_estimated(row, OPENAI)
    most = {line["meter"]: line["quantity"] for line in row.receipt["lines_high"]}
    assert most["output"] == (164 if limits else 16_384 + 64)


def test_a_dropped_stream_is_an_error_with_an_interval(
    chat: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(answer(cut_after=6))
    with suppress(openai.APIError, httpx.HTTPError, Exception):
        read(streamed(chat, max_tokens=100), 0)
    (row,) = calls()
    assert row.status == "error"
    assert_estimated(row, OPENAI)


def test_of_a_cut_off_anthropic_stream_only_the_output_is_an_interval(
    claude: anthropic.Anthropic, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(answer())
    with claude.messages.create(model=ANTHROPIC, messages=QUESTION, max_tokens=100, stream=True) as stream:
        read(stream, 8)
    (row,) = calls()
    assert (row.status, row.usage_source, row.input_tokens) == ("cancelled", "partial", 14)
    assert_estimated(row, ANTHROPIC)
    quantities = [{line["meter"]: line["quantity"] for line in row.receipt[bound]} for bound in ("lines", "lines_high")]
    assert [each["input"] for each in quantities] == [14, 14]
    assert quantities[0]["output"] <= 70 < quantities[1]["output"] == 164


def test_a_time_out_while_waiting_may_have_cost_anything_from_nothing(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(answer(first_delay_s=2))
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test", max_retries=0, timeout=0.2) as plain:
        client = llm_cost.wrap(plain)
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model=OPENAI, messages=QUESTION, max_tokens=100)
    (row,) = calls()
    assert (row.status, row.error_type, row.cost_low) == ("error", "ReadTimeout", 0)
    assert_estimated(row, OPENAI)


def test_what_was_refused_or_never_sent_costs_nothing_and_is_no_estimate(
    chat: openai.OpenAI, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.next(Answer(status=500))
    with pytest.raises(openai.InternalServerError):
        streamed(chat, max_tokens=100)
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="test", max_retries=0) as plain:
        with pytest.raises(openai.APIConnectionError):
            llm_cost.wrap(plain).chat.completions.create(model=OPENAI, messages=QUESTION, max_tokens=100)
    assert [(row.status, row.cost_status, row.cost_low, row.cost_high) for row in calls()] == [
        ("error", None, None, None)
    ] * 2


def test_without_a_price_it_stays_unknown(chat: openai.OpenAI, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(answer(model="mystery"))
    read(chat.chat.completions.create(model="mystery", messages=QUESTION, stream=True, max_tokens=9), 0)
    (row,) = calls()
    assert (row.cost_status, row.total_cost, row.cost_low, row.cost_high) == ("unknown", None, None, None)


def test_rollups_report_pages_and_export_show_the_range(
    app: Flask, llm_cost: LLMCost, chat: openai.OpenAI, provider: ProviderServer, calls: ReadCalls
) -> None:
    """One exact call, one estimate: every total is from the exact part plus the least to plus the most."""
    provider.next(answer(), answer())
    with llm_cost.tags(feature="chat"):
        chat.chat.completions.create(model=OPENAI, messages=QUESTION)
        read(streamed(chat, max_tokens=100), 0)
    exact, estimate = calls()
    low, high = exact.total_cost + estimate.cost_low, exact.total_cost + estimate.cost_high
    with llm_cost.session() as session:
        for table in (Daily, Hourly, TagDaily, TagMonthly, TagKeyDaily):
            sums = (table.total_cost, table.cost_low, table.cost_high, table.unpriced)
            found = session.execute(select(*map(func.sum, sums))).one()
            assert found == (exact.total_cost, estimate.cost_low, estimate.cost_high, 0)

    printed = app.test_cli_runner().invoke(commands, ["report", "--by", "tag:feature", "--json"])
    made = json.loads(printed.output)
    for part in (made["totals"], made["sections"][0]["rows"][0]):
        assert (Decimal(part["cost_low"]), Decimal(part["cost_high"])) == (low, high)
        assert Decimal(part["total_cost"]) == exact.total_cost
    text = app.test_cli_runner().invoke(commands, ["report"]).output
    assert f"Total cost:       ${low:.6f} – ${high:.6f}" in text

    app.register_blueprint(llm_cost.dashboard, url_prefix="/costs")
    client = app.test_client()
    shown = f"${estimate.cost_low:.6f} – ${estimate.cost_high:.6f}"
    assert f"${low:.6f} – ${high:.6f}" in client.get("/costs/?range=24h").text
    assert shown in client.get("/costs/calls?range=24h").text
    assert shown in client.get(f"/costs/calls/{estimate.id}").text
    (kept,) = csv.DictReader(io.StringIO(client.get("/costs/calls.csv?range=24h&status=estimated").text))
    assert (Decimal(kept["cost_low"]), Decimal(kept["cost_high"])) == (estimate.cost_low, estimate.cost_high)
    assert (kept["total_cost"], kept["cost_status"]) == ("", "estimated")
