"""Embeddings of Gemini and Vertex AI, by all three verbs."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from flask_llm_cost.pricing import price
from flask_llm_cost.providers import find_route, read_exchange
from flask_llm_cost.providers.skim import BIG
from flask_llm_cost.usage import Reading

GEMINI = "generativelanguage.googleapis.com/v1beta/models"
VERTEX = "us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google/models"
VECTOR = {"values": [0.1, 0.2]}


def ask(verb: str, body: object, *, base: str = GEMINI, model: str = "gemini-embedding-2") -> Reading:
    reading = read_exchange(
        url=f"https://{base}/{model}:{verb}",
        request_body=b"{}",
        status=200,
        headers={},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
    assert reading is not None
    return reading


@pytest.mark.parametrize("verb", ["embedContent", "batchEmbedContents"])
@pytest.mark.parametrize(("base", "provider", "geo"), [(GEMINI, "gemini", None), (VERTEX, "vertex", "regional")])
def test_the_prompt_is_all_there_is(verb: str, base: str, provider: str, geo: str | None) -> None:
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    assert ask(verb, {"embedding": VECTOR, "usageMetadata": usage}, base=base) == Reading(
        provider=provider,
        model="gemini-embedding-2",
        usage={"input": 9},
        request_model="gemini-embedding-2",
        operation="embeddings",
        geo=geo,
        usage_source="response",
        raw_usage=usage,
    )


def test_what_goes_in_may_be_more_than_text() -> None:
    details = [{"modality": "IMAGE", "tokenCount": 258}, {"modality": "AUDIO", "tokenCount": 32}, {"modality": "TEXT"}]
    reading = ask("embedContent", {"usageMetadata": {"promptTokenCount": 300, "promptTokensDetails": details}})
    assert reading.usage == {"input": 10, "input.image": 258, "input.audio": 32}


def test_a_long_answer_is_read_from_its_end() -> None:
    vector = b", ".join([b"0.0123456789"] * (BIG // 10))
    body = b'{"embedding": {"values": [' + vector + b']}, "usageMetadata": {"promptTokenCount": 2048}}'
    assert ask("embedContent", body).usage == {"input": 2048}


@pytest.mark.parametrize(
    ("model", "metadata", "usage", "total"),
    [
        ("gemini-embedding-001", {"billableCharacterCount": 37}, {"input": 9}, "0.00000135"),
        ("text-embedding-005", {"billableCharacterCount": 37}, {"character": 37}, "0.000000925"),
        ("text-multilingual-embedding-002", {"billableCharacterCount": 37}, {"character": 37}, "0.000000925"),
        ("text-embedding-005", {}, {"input": 9}, "0.0000009"),
    ],
)
def test_predict_counts_the_tokens_of_each_text_and_what_is_billed_by_the_character_characters(
    model: str, metadata: dict[str, int], usage: dict[str, int], total: str
) -> None:
    """Vertex AI, "Text embeddings API": ``predictions[].embeddings.statistics.token_count``."""
    entries = [{"embeddings": {**VECTOR, "statistics": {"truncated": False, "token_count": n}}} for n in (4, 5)]
    reading = ask("predict", {"predictions": entries, "metadata": metadata}, base=VERTEX, model=model)
    assert (reading.provider, reading.model, reading.operation) == ("vertex", model, "embeddings")
    assert (reading.usage, reading.raw_usage) == (usage, {"tokenCount": 9, **metadata})
    receipt = price("vertex", model, reading.usage)
    assert (receipt.status, receipt.total) == ("complete", Decimal(total))


@pytest.mark.parametrize(
    "body",
    [
        {"embedding": VECTOR},
        {"predictions": [{"embeddings": VECTOR}]},
        {"predictions": [{"embeddings": {"statistics": {"token_count": 4}}}, {"embeddings": VECTOR}]},
        {"usageMetadata": None},
    ],
)
def test_an_answer_that_does_not_say_all_is_unknown(body: object) -> None:
    reading = ask("predict", body, base=VERTEX, model="text-embedding-005")
    assert (reading.usage, reading.usage_source, reading.notes) == ({}, "unknown", ("no_usage",))


@pytest.mark.parametrize(
    ("base", "call"),
    [
        (GEMINI, "gemini-2.5-flash:countTokens"),
        (VERTEX, "gemini-2.5-flash:countTokens"),
        (VERTEX, "gemini-2.5-flash:computeTokens"),
        (VERTEX, "imagen-4.0-generate-001:predict"),
        (VERTEX.replace("google/models", "acme/models"), "embedding-1:predict"),
        (GEMINI, "text-embedding-005:predict"),
        (GEMINI.replace("/models", "/cachedContents"), "x:embedContent"),
    ],
)
def test_what_counts_tokens_or_paints_is_no_embedding(base: str, call: str) -> None:
    host, _, path = f"{base}/{call}".partition("/")
    assert find_route("POST", host, None, "/" + path) is None
