"""Perplexity: what a search costs beside the tokens, and what the provider says it charged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from flask_llm_cost.pricing import price
from flask_llm_cost.providers import find_route, read_exchange
from flask_llm_cost.providers.estimate import Delivered, bounds
from flask_llm_cost.providers.request_size import request_size
from flask_llm_cost.usage import Reading

URL = "https://api.perplexity.ai/chat/completions"
NOTHING_SAID = {"citation_tokens": None, "num_search_queries": None, "reasoning_tokens": None}
# As docs.perplexity.ai shows an answer of Sonar Pro and one of Deep Research.
COST = {"input_tokens_cost": 7e-05, "output_tokens_cost": 0.04022, "request_cost": 0.006, "total_cost": 0.04629}
PRO = {"prompt_tokens": 24, "completion_tokens": 2681, "total_tokens": 2705, "search_context_size": "low"}
RESEARCHED = {
    "prompt_tokens": 33,
    "completion_tokens": 11395,
    "total_tokens": 11428,
    "citation_tokens": 19028,
    "num_search_queries": 21,
    "reasoning_tokens": 193947,
    "cost": {"search_queries_cost": 0.105, "total_cost": 0.816},
}


def read(usage: object, model: str = "sonar-pro", request: object = None, url: str = URL) -> Reading:
    body = usage if isinstance(usage, bytes) else json.dumps({"id": "x", "model": model, "usage": usage}).encode()
    reading = read_exchange(url=url, request_body=json.dumps(request or {}).encode(), status=200, headers={}, body=body)
    assert reading is not None
    return reading


def test_a_request_is_a_meter_of_its_size_and_the_reported_cost_is_kept() -> None:
    """What we reckon is what they charged, but for their rounding."""
    reading = read({**PRO, **NOTHING_SAID, "cost": COST})
    assert reading.usage == {"input": 24, "output": 2681, "request.low": 1}
    assert reading.provider_cost == Decimal("0.04629")
    receipt = price("perplexity", reading.model, reading.usage)
    assert (receipt.status, receipt.total) == ("complete", Decimal("0.046287"))


@pytest.mark.parametrize(
    ("reported", "options", "meter"),
    [
        ({"search_context_size": "high"}, {"search_context_size": "low"}, "request.high"),
        ({}, {"search_context_size": "medium"}, "request.medium"),
        ({}, {}, "request.low"),
        ({"search_context_size": None}, {"search_type": "fast"}, "request.low"),
        ({"search_context_size": "medium"}, {"search_type": "pro"}, "request.medium.pro"),
        ({}, {"search_type": "auto"}, "request.low.auto"),
        ({"search_context_size": "a b.c"}, {"search_context_size": 7}, "request.low"),
    ],
)
def test_the_size_is_as_served_else_as_asked_else_the_default(
    reported: dict[str, object], options: dict[str, object], meter: str
) -> None:
    """The kind of search is never answered: a search that Perplexity may have made a dearer one has no known price."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, **reported}
    reading = read(usage, request={"model": "sonar-pro", "web_search_options": options})
    assert reading.usage == {"input": 5, "output": 2, meter: 1}
    receipt = price("perplexity", reading.model, reading.usage)
    assert receipt.status == ("partial" if meter.endswith("auto") else "complete")


@pytest.mark.parametrize("request_cost", [0, 0.0, None])
def test_itemised_costs_without_a_fee_are_a_call_without_one(request_cost: object) -> None:
    reading = read({**PRO, "cost": {**COST, "request_cost": request_cost}})
    assert reading.usage == {"input": 24, "output": 2681}


def test_deep_research_bills_searches_sources_and_reasoning_beside_the_answer() -> None:
    reading = read(RESEARCHED, "sonar-deep-research")
    assert reading.usage == {
        "input": 33,
        "output": 11395,
        "output.reasoning": 193947,
        "output.citation": 19028,
        "tool.web_search": 21,
    }
    receipt = price("perplexity", reading.model, reading.usage)
    assert (receipt.status, receipt.total, reading.provider_cost) == (
        "complete",
        Decimal("0.816123"),
        Decimal("0.816"),
    )


def test_other_models_report_searches_and_sources_that_nobody_pays_for() -> None:
    reading = read({**PRO, "citation_tokens": 3000, "num_search_queries": 2, "reasoning_tokens": 9})
    assert reading.usage == {"input": 24, "output": 2681, "request.low": 1}


def test_a_model_that_does_not_search_has_no_fee() -> None:
    assert read({"prompt_tokens": 5, "completion_tokens": 2}, "r1-1776").usage == {"input": 5, "output": 2}


def test_the_last_usage_of_a_stream_counts_and_a_torn_one_has_its_fee() -> None:
    first = {
        "id": "x",
        "model": "sonar-pro",
        "choices": [{"delta": {"content": "a"}}],
        "usage": {**PRO, "completion_tokens": 1, "total_tokens": 25},
    }
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {**PRO, "cost": COST}}
    events = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in (first, last)]
    request = {"model": "sonar-pro", "stream": True}
    whole, torn = read(b"".join(events), request=request), read(events[0], request=request)
    assert whole.usage == {"input": 24, "output": 2681, "request.low": 1}
    assert whole.provider_cost == Decimal("0.04629")
    assert (torn.usage, torn.provider_cost) == ({"input": 24, "output": 1, "request.low": 1}, None)


@pytest.mark.parametrize(("model", "beside"), [("sonar-pro", {"request.low": 1}), ("sonar-deep-research", None)])
def test_an_unreported_call_costs_its_fee_at_most_and_research_may_cost_anything(
    model: str, beside: dict[str, int] | None
) -> None:
    route = find_route("POST", "api.perplexity.ai", None, "/chat/completions")
    assert route is not None
    request = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    silent = Reading(provider="perplexity", model=model, operation="chat")
    found = bounds(route.wire, silent, request, Delivered((), whole=False))
    assert found is not None
    most = {"input": request_size(request, route.wire.image_tokens).most(), "output": 114}
    assert found.high == (None if beside is None else {**most, **beside})


@pytest.mark.parametrize(
    ("request_", "search", "status", "total"),
    [
        ({}, "tool.web_search", "complete", "0.010516"),
        ({"tools": [{"type": "web_search", "search_type": "fast"}]}, "tool.web_search.fast", "complete", "0.007516"),
        ({"preset": "fast-search"}, "tool.web_search.preset", "partial", "0.005516"),
    ],
)
def test_the_tools_of_the_responses_api_are_billed_by_the_invocation(
    request_: dict[str, object], search: str, status: str, total: str
) -> None:
    """Of a preset's searches nobody tells the kind: what they cost is not known, the provider's own total is."""
    body = {
        "id": "resp_1",
        "object": "response",
        "model": "perplexity/sonar",
        "usage": {
            "input_tokens": 4,
            "output_tokens": 6,
            "tool_calls_details": {
                "search_web": {"invocation": 2},
                "fetch_url": {"invocation": 1},
                "people_search": {"invocation": 1},
                "sandbox": {"invocation": 0},
                "a b": {"invocation": 1},
            },
            "cost": {"currency": "USD", "total_cost": 0.0105},
        },
    }
    url = "https://api.perplexity.ai/v1/responses"
    reading = read(json.dumps(body).encode(), url=url, request={"model": "perplexity/sonar", **request_})
    assert reading.usage == {"input": 4, "output": 6, search: 2, "tool.web_fetch": 1, "tool.people_search": 1}
    assert reading.provider_cost == Decimal("0.0105")
    receipt = price("perplexity", reading.model, reading.usage, at=datetime(2026, 11, 10, tzinfo=UTC))
    assert (receipt.status, receipt.total) == (status, Decimal(total))
