"""``record_response``: an answer that the app has, whatever its form."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openai.types.chat
import openai.types.responses
import pytest
from anthropic.types import Message
from google.genai.types import GenerateContentResponse

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from flask_llm_cost.testing.formats import reply
from flask_llm_cost.testing.received import Received

ReadCalls = Callable[[], list[Call]]
ANSWER = Answer(input_tokens=1000, output_tokens=50)
ASKED = {
    "chat": ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": []}),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "hi"}),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}),
    "messages": ("/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []}),
    "generate": ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": []}),
}


def body_of(kind: str) -> bytes:
    document = json.loads(reply(Received.post(*ASKED[kind]), ANSWER).body)
    # The SDK's own type does not know the field that the API sends.
    document.get("usageMetadata", {}).pop("serviceTier", None)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("kind", "provider", "sdk", "operation", "cost"),
    [
        ("chat", "openai", openai.types.chat.ChatCompletion, "chat", "0.00018"),
        ("responses", "openai", openai.types.responses.Response, "chat", "0.00018"),
        ("embeddings", "openai", openai.types.CreateEmbeddingResponse, "embeddings", "0.00002"),
        ("messages", "anthropic", Message, "chat", "0.00125"),
        ("generate", "gemini", GenerateContentResponse, "generate_content", "0.000425"),
    ],
)
def test_every_form_of_an_answer_is_the_same_call(
    llm_cost: LLMCost, calls: ReadCalls, kind: str, provider: str, sdk: Any, operation: str, cost: str
) -> None:
    """Bytes, text, mapping, the SDK's object: one row where the provider gives an id, else one each."""
    body = body_of(kind)
    document = json.loads(body)
    for form in (body, body.decode(), document, sdk.model_validate(document)):
        event = llm_cost.record_response(provider, form, tags={"via": "hand"})
        assert event is not None
        assert event.total_cost == Decimal(cost)
    rows = calls()
    assert len(rows) == (4 if kind == "embeddings" else 1)
    for row in rows:
        assert (row.operation, row.usage_source, row.captured_by) == (operation, "response", "record_response")
        assert (row.total_cost, row.tags, row.stream) == (Decimal(cost), {"via": "hand"}, False)


def test_time_tier_and_latency_can_be_told(llm_cost: LLMCost, calls: ReadCalls) -> None:
    at = datetime(2026, 10, 1, tzinfo=UTC)
    llm_cost.record_response("anthropic", body_of("messages"), tracked_at=at, latency_ms=1200.7, pricing_mode="batch")
    (row,) = calls()
    assert (row.tracked_at, row.latency_ms, row.pricing_mode, row.total_cost) == (
        at,
        1200,
        "batch",
        Decimal("0.000625"),
    )


def test_a_watched_response_told_by_hand_is_no_second_row(
    llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    client = llm_cost.wrap(openai.OpenAI(base_url=f"{provider.url}/v1", api_key="test"))
    with client:
        llm_cost.record_response("openai", client.responses.create(model="gpt-4o-mini", input="hi"))
    assert len(calls()) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Expecting property name"),
        ("[]", "a JSON object was expected, not list"),
        (7, "a JSON object was expected, not int"),
        ({}, "no answer of a model in a known format: it has nothing"),
        ({"error": {"message": "no"}}, "no answer of a model in a known format: it has error"),
    ],
)
def test_what_is_no_answer_is_refused(llm_cost: LLMCost, calls: ReadCalls, body: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        llm_cost.record_response("openai", body)
    assert calls() == []
