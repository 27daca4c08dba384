"""Recorded traffic: every exchange of the covered formats against the second opinion that comes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.usage import Reading

CORPUS = Path(__file__).parents[2] / "../shared/corpus/exchanges.jsonl"
WITHOUT = "the recorded exchanges (shared/corpus beside the repository) are not here"

# Formats that are not read yet. Everything else in the corpus is.
LATER = frozenset({"bedrock", "cohere", "ollama", "openai.images"})
# Hosts of gateways and local servers, in no table: read as an explicitly wrapped client's would be.
EXPLICIT = frozenset({"local", "api.portkey.ai"})
# Where the reading differs from the reference, and why the reading is right.
DISAGREEMENTS = {
    "voyage-openai.embeddings-json-0170": (
        "Voyage reports nothing but usage.total_tokens, 18. An embedding has no output: all of it is input. "
        "The reference looks for prompt_tokens only and finds 0."
    ),
}
STANDARD = frozenset({None, "default", "standard", "on_demand"})

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=WITHOUT)


def exchanges() -> list[dict[str, Any]]:
    if not CORPUS.exists():
        return []
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    return [exchange for exchange in map(json.loads, lines) if exchange["route"] not in LATER]


def read(exchange: dict[str, Any]) -> Reading:
    reading = read_exchange(
        url=exchange["url"],
        request_body=exchange["request_body"].encode(),
        status=exchange["status"],
        headers=exchange["headers"],
        body=exchange["body"].encode(),
        provider="" if exchange["provider_hint"] in EXPLICIT else None,
    )
    assert reading is not None
    return reading


def as_reference(reading: Reading) -> dict[str, object]:
    """A reading in the words of the corpus: audio and images of the prompt are a part of "input" there."""
    usage = reading.usage
    return {
        "model": reading.model,
        "id": reading.provider_response_id,
        "tier": reading.pricing_mode,
        "input": reading.input_tokens,
        "cache_read": reading.cache_read_input_tokens,
        "cache_write_5m": usage.get("cache_write", 0),
        "cache_write_1h": usage.get("cache_write.1h", 0),
        "output": reading.output_tokens,
        "reasoning": reading.hidden_output_tokens,
        "audio_in": usage.get("input.audio", 0),
        "audio_out": usage.get("output.audio", 0),
        "image_in": usage.get("input.image", 0),
        "image_out": usage.get("output.image", 0),
        "web_search": usage.get("tool.web_search", 0),
    }


def expected(exchange: dict[str, Any]) -> dict[str, object]:
    reference = dict(exchange["reference"])
    if reference.get("tier") in STANDARD:
        reference["tier"] = None
    return reference


@pytest.mark.parametrize("exchange", [e for e in exchanges() if e["reference"]], ids=lambda exchange: exchange["id"])
def test_usage_is_read_as_the_reference_reads_it(exchange: dict[str, Any]) -> None:
    reading, reference = read(exchange), expected(exchange)
    own = as_reference(reading)
    assert own.keys() >= reference.keys()
    differing = {name for name in reference if own[name] != reference[name]}
    assert (exchange["id"] in DISAGREEMENTS) == bool(differing), f"{differing}: {own} != {reference}"
    assert reading.status == "ok"
    # The corpus calls a stream what is one event after another; Vertex streams JSON arrays too.
    streamed = exchange["stream"] or "streamGenerateContent" in exchange["url"]
    assert reading.stream is streamed
    assert reading.usage_source == ("stream_final" if streamed else "response")
    assert reading.extra == ()


@pytest.mark.parametrize(
    "exchange", [e for e in exchanges() if not e["reference"]], ids=lambda exchange: exchange["id"]
)
def test_without_usage_nothing_is_made_up(exchange: dict[str, Any]) -> None:
    """Refused requests, streams whose usage nobody asked for, an answer that was filtered, and empty bodies."""
    reading = read(exchange)
    refused = exchange["status"] >= 300 or '"error"' in exchange["body"][:20]
    assert (reading.usage, reading.usage_source, reading.raw_usage) == ({}, "unknown", None)
    assert reading.status == ("error" if refused else "ok")
    assert (reading.error_type is None) == (not refused)
    assert reading.model != "unknown"


@pytest.mark.parametrize("exchange", [e for e in exchanges() if e["stream"] and e["reference"]], ids=lambda e: e["id"])
def test_a_recorded_stream_reads_the_same_with_other_line_endings_and_without_its_middle(
    exchange: dict[str, Any],
) -> None:
    """Identity comes first in a stream and the final usage last; what lies between is text."""
    whole = read(exchange)
    assert read({**exchange, "body": exchange["body"].replace("\r\n", "\n").replace("\n", "\r\n")}) == whole
    events = exchange["body"].replace("\r\n", "\n").split("\n\n")
    if len(events) > 12 and not exchange["body"].startswith("["):
        gapped = "\n\n".join([*events[:4], events[5][9:], *events[-6:]])
        assert read({**exchange, "body": gapped}) == whole


def test_the_table_of_disagreements_names_exchanges_that_are_there() -> None:
    assert DISAGREEMENTS.keys() <= {exchange["id"] for exchange in exchanges()}
