"""Recorded traffic: every exchange against the second opinion that comes with it."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.usage import Reading

CORPUS = Path(__file__).parents[2] / "../shared/corpus/exchanges.jsonl"
WITHOUT = "the recorded exchanges (shared/corpus beside the repository) are not here"

# Hosts of gateways and local servers, in no table: read as an explicitly wrapped client's would be.
EXPLICIT = frozenset({"local", "api.portkey.ai"})
# Where the reading differs from the reference, and why the reading is right.
DISAGREEMENTS = {
    "voyage-openai.embeddings-json-0170": (
        "Voyage reports nothing but usage.total_tokens, 18. An embedding has no output: all of it is input. "
        "The reference looks for prompt_tokens only and finds 0."
    ),
    **dict.fromkeys(
        ("bedrock-bedrock-es-0042", "bedrock-bedrock-es-0071"),
        "Titan's last chunk has invocationMetrics with 188 output tokens; the reference stops at the first chunk.",
    ),
    **dict.fromkeys(
        ("bedrock-bedrock-json-0065", "bedrock-bedrock-json-0066", "bedrock-bedrock-json-0067"),
        "Nova's body reports the input only where a guardrail intervened; Bedrock's headers say 51 output tokens.",
    ),
    **dict.fromkeys(
        ("bedrock-bedrock-json-0046", "bedrock-bedrock-json-0047", "bedrock-bedrock-json-0048"),
        "AI21's id is the number 1234 in every answer: it identifies nothing.",
    ),
    **dict.fromkeys(
        ("local-ollama-json-0127", "local-ollama-json-0128", "local-ollama-json-0129"),
        "The prompt was in memory, so prompt_eval_count is missing; eval_count is there, 58. The reference wants both.",
    ),
    **dict.fromkeys(
        ("openai-openai.images-json-0136", "openai-openai.images-json-0139", "openai-openai.images-json-0140"),
        "DALL·E is billed by the image; the reference knows tokens only.",
    ),
}
STANDARD = frozenset({None, "default", "standard", "on_demand"})

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=WITHOUT)


def exchanges() -> list[dict[str, Any]]:
    if not CORPUS.exists():
        return []
    return [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def body_of(exchange: dict[str, Any]) -> bytes:
    body = exchange["body"].encode()
    return base64.b64decode(body) if exchange["body_encoding"] == "base64" else body


def read(exchange: dict[str, Any], body: bytes | None = None) -> Reading:
    reading = attempted(exchange, body)
    assert reading is not None
    return reading


def attempted(exchange: dict[str, Any], body: bytes | None = None) -> Reading | None:
    return read_exchange(
        url=exchange["url"],
        request_body=exchange["request_body"].encode(),
        status=exchange["status"],
        headers=exchange["headers"],
        body=body_of(exchange) if body is None else body,
        provider="" if exchange["provider_hint"] in EXPLICIT else None,
    )


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
        "search_units": usage.get("request", 0),
    }


def expected(exchange: dict[str, Any]) -> dict[str, object]:
    reference = dict(exchange["reference"] or {})
    if reference.get("tier") in STANDARD:
        reference["tier"] = None
    return reference


def differing(exchange: dict[str, Any], reading: Reading) -> set[str]:
    """The names of what the reference says otherwise; without a reference nothing is to have been used."""
    own, reference = as_reference(reading), expected(exchange)
    assert own.keys() >= reference.keys()
    if exchange["reference"] is None:
        return set(reading.usage)
    return {name for name in reference if own[name] != reference[name]}


def streamed(exchange: dict[str, Any]) -> bool:
    """The corpus calls a stream what is one event after another; Vertex streams JSON arrays too, Ollama lines."""
    lines = "ndjson" in exchange["headers"].get("content-type", "")
    return exchange["stream"] or lines or "streamGenerateContent" in exchange["url"]


def table() -> dict[str, Counter[str]]:
    """Provider → how many exchanges were read in agreement, otherwise with the reason given, or not at all."""
    rows: dict[str, Counter[str]] = {}
    for exchange in exchanges():
        reading = attempted(exchange)
        if reading is None:
            verdict = "unread"
        elif differing(exchange, reading):
            verdict = "explained" if exchange["id"] in DISAGREEMENTS else "unread"
        else:
            verdict = "agreed"
        rows.setdefault(reading.provider if reading else exchange["provider_hint"], Counter())[verdict] += 1
    return rows


def test_every_exchange_is_read_or_explained() -> None:
    """``pytest -s`` shows the table."""
    rows = table()
    print(f"\n{'provider':<12}{'agreed':>8}{'explained':>11}{'unread':>8}")  # noqa: T201
    for provider, verdicts in sorted(rows.items()):
        counts = f"{verdicts['agreed']:>8}{verdicts['explained']:>11}{verdicts['unread']:>8}"
        print(f"{provider:<12}{counts}")  # noqa: T201
    total = sum(rows.values(), Counter())
    assert total["unread"] == 0
    assert total == {"agreed": len(exchanges()) - len(DISAGREEMENTS), "explained": len(DISAGREEMENTS)}


@pytest.mark.parametrize("exchange", [e for e in exchanges() if e["reference"]], ids=lambda exchange: exchange["id"])
def test_usage_is_read_as_the_reference_reads_it(exchange: dict[str, Any]) -> None:
    reading = read(exchange)
    found = differing(exchange, reading)
    assert (exchange["id"] in DISAGREEMENTS) == bool(found), f"{found}: {reading} != {exchange['reference']}"
    assert reading.status == "ok"
    assert reading.stream is streamed(exchange)
    assert reading.usage_source == ("stream_final" if streamed(exchange) else "response")
    assert reading.extra == ()


@pytest.mark.parametrize(
    "exchange",
    [e for e in exchanges() if not e["reference"] and e["id"] not in DISAGREEMENTS],
    ids=lambda exchange: exchange["id"],
)
def test_without_usage_nothing_is_made_up(exchange: dict[str, Any]) -> None:
    """Refused requests, streams whose usage nobody asked for, an answer that was filtered, and empty bodies."""
    reading = read(exchange)
    refused = exchange["status"] >= 300 or '"error"' in exchange["body"][:20]
    assert (reading.usage, reading.usage_source, reading.raw_usage) == ({}, "unknown", None)
    assert reading.status == ("error" if refused else "ok")
    assert (reading.error_type is None) == (not refused)
    assert reading.model != "unknown"


@pytest.mark.parametrize(
    "exchange", [e for e in exchanges() if e["reference"] is None and e["id"] in DISAGREEMENTS], ids=lambda e: e["id"]
)
def test_where_the_reference_found_nothing_there_was_something(exchange: dict[str, Any]) -> None:
    usage = {"output": 58} if exchange["route"] == "ollama" else {"image.256x256.standard": 1}
    assert read(exchange).usage == usage


@pytest.mark.parametrize(
    "exchange",
    [e for e in exchanges() if e["stream"] and e["reference"] and e["body_encoding"] == "utf-8"],
    ids=lambda e: e["id"],
)
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


@pytest.mark.parametrize(
    "exchange", [e for e in exchanges() if e["body_encoding"] == "base64"], ids=lambda exchange: exchange["id"]
)
def test_a_recorded_event_stream_reads_the_same_with_a_message_damaged(exchange: dict[str, Any]) -> None:
    """Of a long stream head and tail are kept, with a blank line between: some message in the middle is cut."""
    body = body_of(exchange)
    second = int.from_bytes(body[:4], "big")
    if int.from_bytes(body[second : second + 4], "big") + second < len(body):
        damaged = body[: second + 20] + b"\n\n" + body[second + 40 :]
        assert read(exchange, damaged) == read(exchange)


def test_the_table_of_disagreements_names_exchanges_that_are_there() -> None:
    assert DISAGREEMENTS.keys() <= {exchange["id"] for exchange in exchanges()}
