"""Where a call was served, as its host or its model's name tells, and what that does to its price."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from flask_llm_cost.pricing import Catalogue
from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.providers import find_route, read_exchange
from flask_llm_cost.usage import Reading

NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)
BUNDLED = Catalogue([bundled().layer])
VERTEX = "v1/projects/p/locations/l/publishers/anthropic/models"
RESPONSES, CONVERSE = "v1/responses", "model/anthropic.claude-opus-4-6-v1/converse"


def geo_of(url: str) -> str | None:
    host, _, path = url.partition("/")
    route = find_route("POST", host, None, f"/{path}")
    assert route is not None
    return route.geo


@pytest.mark.parametrize(
    ("url", "geo"),
    [
        (f"api.openai.com/{RESPONSES}", None),
        (f"us.api.openai.com/{RESPONSES}", "us"),
        (f"eu.api.openai.com/{RESPONSES}", "eu"),
        (f"AE.api.openai.com/{RESPONSES}", "ae"),
        (f"aiplatform.googleapis.com/{VERTEX}/claude-opus-4-6:rawPredict", None),
        (f"us-central1-aiplatform.googleapis.com/{VERTEX}/claude-opus-4-6:rawPredict", "regional"),
        (f"aiplatform.eu.rep.googleapis.com/{VERTEX}/claude-opus-4-6:rawPredict", "regional"),
        (f"bedrock-runtime.us-east-1.amazonaws.com/{CONVERSE}", None),
        (f"bedrock-runtime.us-gov-west-1.amazonaws.com/{CONVERSE}", "us-gov"),
        ("api.groq.com/openai/v1/chat/completions", None),
        ("my.openai.azure.com/openai/deployments/prod/chat/completions", None),
    ],
)
def test_a_host_stands_for_the_region_whose_prices_hold_there(url: str, geo: str | None) -> None:
    assert geo_of(url) == geo


@pytest.mark.parametrize(
    "url",
    [
        "us.api.openai.com.evil.example/v1/responses",
        "evil-api.openai.com/v1/responses",
        "us.api.openai.com/v1/files",
        "storage.us.rep.googleapis.com/v1/models/x:generateContent",
        "rep.googleapis.com/v1/models/x:generateContent",
    ],
)
def test_a_host_that_only_looks_like_a_regional_one_is_none(url: str) -> None:
    host, _, path = url.partition("/")
    assert find_route("POST", host, None, f"/{path}") is None


def read(url: str, request: object, answer: object) -> Reading:
    reading = read_exchange(
        url=f"https://{url}",
        request_body=json.dumps(request).encode(),
        status=200,
        headers={"content-type": "application/json"},
        body=json.dumps(answer).encode(),
    )
    assert reading is not None
    return reading


def claude(model: str, **usage: object) -> dict[str, object]:
    counts = {"input_tokens": 1_000_000, "output_tokens": 0, **usage}
    return {"id": "msg_1", "type": "message", "model": model, "content": [], "usage": counts}


OPENAI_ANSWER = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.4-2026-03-05",
    "usage": {"input_tokens": 100_000, "output_tokens": 0, "total_tokens": 100_000},
}
CONVERSED = {"usage": {"inputTokens": 100_000, "outputTokens": 0, "totalTokens": 100_000}}


@pytest.mark.parametrize(
    ("url", "answer", "geo", "total"),
    [
        (f"api.openai.com/{RESPONSES}", OPENAI_ANSWER, None, "0.25"),
        (f"us.api.openai.com/{RESPONSES}", OPENAI_ANSWER, "us", "0.275"),
        (f"eu.api.openai.com/{RESPONSES}", OPENAI_ANSWER, "eu", "0.275"),
        (f"ae.api.openai.com/{RESPONSES}", OPENAI_ANSWER, "ae", "0.275"),
        (f"jp.api.openai.com/{RESPONSES}", OPENAI_ANSWER, "jp", "0.275"),
        # A model from before the surcharge costs the same everywhere.
        (f"eu.api.openai.com/{RESPONSES}", {**OPENAI_ANSWER, "model": "gpt-4o-2024-08-06"}, "eu", "0.25"),
        (f"aiplatform.googleapis.com/{VERTEX}/claude-opus-4-6:rawPredict", claude("claude-opus-4-6"), None, "5"),
        (f"europe-west1-aiplatform.googleapis.com/{VERTEX}/claude-opus-4-6:rawPredict",
         claude("claude-opus-4-6", inference_geo="not_available"), "regional", "5.5"),
        (f"us-east5-aiplatform.googleapis.com/{VERTEX}/claude-3-haiku@20240307:rawPredict",
         claude("claude-3-haiku-20240307"), "regional", "0.25"),
        ("api.anthropic.com/v1/messages", claude("claude-opus-4-6", inference_geo="us"), "us", "5.5"),
        ("api.anthropic.com/v1/messages", claude("claude-opus-4-6", inference_geo="global"), None, "5"),
        ("bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-opus-4-6-v1/invoke",
         claude("claude-opus-4-6"), "us", "5.5"),
        ("bedrock-runtime.us-east-1.amazonaws.com/model/global.anthropic.claude-opus-4-6-v1/invoke",
         claude("claude-opus-4-6"), None, "5"),
        ("bedrock-runtime.eu-west-1.amazonaws.com/model/eu.amazon.nova-lite-v1%3A0/converse", CONVERSED, "eu",
         "0.0078"),
        ("bedrock-runtime.us-east-1.amazonaws.com/model/us.amazon.nova-lite-v1%3A0/converse", CONVERSED, "us",
         "0.006"),
    ],
)  # fmt: skip
def test_the_region_decides_the_price_where_it_makes_a_difference(
    url: str, answer: object, geo: str | None, total: str
) -> None:
    """And nowhere else: a region that no price depends on leaves a cost complete.

    https://developers.openai.com/api/docs/guides/data-residency: +10% from gpt-5.4 on; Claude on Vertex's regional
    and multi-region endpoints: +10% (https://docs.claude.com/en/docs/build-with-claude/claude-on-vertex-ai).
    """
    reading = read(url, {"model": "asked"}, answer)
    receipt = BUNDLED.price(reading.provider, reading.model, reading.usage, geo=reading.geo, at=NOVEMBER)
    assert (reading.geo, receipt.status, receipt.total) == (geo, "complete", Decimal(total))


def test_a_region_that_no_rule_knows_is_flagged_where_others_cost_more() -> None:
    """Not silently the list price: what data residency costs there is not in the table."""
    reading = read(f"br.api.openai.com/{RESPONSES}", {}, OPENAI_ANSWER)
    receipt = BUNDLED.price(reading.provider, reading.model, reading.usage, geo=reading.geo, at=NOVEMBER)
    assert (receipt.status, receipt.reason, receipt.total) == ("partial", "unknown_tier", Decimal("0.25"))


def test_regional_rates_of_another_tier_do_not_make_a_region_unknown() -> None:
    """Here only batches cost more in some regions; a call that is none costs the list price in every region."""
    rules = [{"input": "2"}, {"when": {"mode": "batch", "geo": "eu"}, "input": "3"}]
    catalogue = Catalogue.of({"acme/model": {"rates": rules}})
    found = [
        catalogue.price("acme", "model", {"input": 10**6}, mode=mode, geo=geo)
        for mode, geo in ((None, "us"), ("batch", "eu"), ("batch", "us"))
    ]
    assert [(receipt.status, receipt.total) for receipt in found] == [
        ("complete", Decimal(2)), ("complete", Decimal(3)), ("partial", Decimal(2)),
    ]  # fmt: skip
