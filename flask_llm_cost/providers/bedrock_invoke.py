"""Amazon Bedrock: InvokeModel, plain and with a response stream. The body is the model's own.

Anthropic's is read as Anthropic's. For the others Bedrock counts: in the headers of an answer
(``x-amzn-bedrock-input-token-count`` and the like), in the last chunk of a stream
(``amazon-bedrock-invocationMetrics``). What Titan says itself counts where Bedrock says nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from flask_llm_cost.providers.anthropic import AnthropicMessages
from flask_llm_cost.providers.bedrock import REQUEST_ID, Bedrock, failed, said_by_converse, split_usage
from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, strings, text
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_usage import split_usage as split_like_openai
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, answered_model

METRICS = "amazon-bedrock-invocationMetrics"
_PREFIX = "x-amzn-bedrock-"
_HEADERS = {
    f"{_PREFIX}input-token-count": "inputTokenCount",
    f"{_PREFIX}output-token-count": "outputTokenCount",
    f"{_PREFIX}cache-read-input-token-count": "cacheReadInputTokenCount",
    f"{_PREFIX}cache-write-input-token-count": "cacheWriteInputTokenCount",
}
_TITAN = ("inputTextTokenCount", "totalOutputTextTokenCount")
# Titan, Llama, Cohere and AI21, Mistral; a text of Anthropic's stands in a part.
_SAID = ("outputText", "generation", "text", "completion")
_LIKE_CONVERSE = frozenset({"contentBlockStart", "contentBlockDelta", "output"})
_HAS_DELTAS = frozenset({"text", "content_block_delta"})
_TIER, _LATENCY = f"{_PREFIX}service-tier", f"{_PREFIX}performanceconfig-latency"


class BedrockInvoke(Bedrock):
    """``/model/<id>/invoke`` and ``/model/<id>/invoke-with-response-stream``."""

    usage_key: ClassVar[str] = METRICS
    native: ClassVar[AnthropicMessages] = AnthropicMessages()
    like_openai: ClassVar[OpenAIChat] = OpenAIChat()

    def read(self, body: JSON, asked: Asked) -> Answer:
        request_id = text(body, REQUEST_ID)
        if count(mapping(body, "usage"), "input_tokens") is not None:
            answer = self.native.read(body, asked)
            return replace(
                answer,
                # The answer names the model without the profile, and the global one has a price of its own.
                model=asked.model if (asked.model or "").startswith("global.") else answer.model,
                response_id=answer.response_id or request_id,
                tier=text(body, _TIER) or answer.tier,
                speed=text(body, _LATENCY) or answer.speed,
            )
        answer = Answer(
            answered_model(body) or None,
            text(body, "id") or request_id,
            tier=text(body, _TIER),
            speed=text(body, _LATENCY),
        )
        reported = _reported(body)
        if reported is None:
            return answer
        split, raw = reported
        return replace(answer, usage=split.usage, raw_usage=numbers(raw), notes=split.notes)

    def said(self, document: JSON) -> Iterable[str]:
        native = _native(Event(value=document)) or document
        yield from self.native.said(native)
        if not _LIKE_CONVERSE.isdisjoint(native):
            yield from said_by_converse(native)
        yield from self.like_openai.said(native)
        for holder in (
            native,
            *objects(native, "results"),
            *objects(native, "outputs"),
            *objects(native, "generations"),
        ):
            if holder.get("type") not in _HAS_DELTAS:
                yield from strings([holder.get(name) for name in _SAID])

    def with_headers(self, body: JSON, headers: Mapping[str, str]) -> JSON:
        lowered = {name.lower(): value for name, value in headers.items()}
        metrics = {_HEADERS[name]: value for name, value in lowered.items() if name in _HEADERS}
        counts = {name: number for name in metrics if (number := count(metrics, name)) is not None}
        other = {name: lowered[name] for name in (REQUEST_ID, _TIER, _LATENCY) if lowered.get(name)}
        return {**body, **other, **({METRICS: counts} if counts else {})}

    def fold(self, events: Iterable[Event]) -> Folded:
        natives: list[Event] = []
        error: JSON | None = None
        for event in events:
            error = error or failed(event)
            native = _native(event)
            if native is not None:
                natives.append(Event(value=native))
        folded = self.native.fold(natives)
        body, final = folded.body, folded.final
        for each in natives:
            final = _take(body, each.value or {}) or final
        if error is not None:
            body["error"] = error
        return Folded(body, final)


def _take(body: dict[str, object], native: JSON) -> bool:
    """Add what a chunk that is not Anthropic's says to the body. Returns whether it is the last one."""
    metrics, usage = mapping(native, METRICS), mapping(mapping(native, "metadata"), "usage")
    if metrics:
        body[METRICS] = metrics
    if usage:
        body["usage"] = usage
    titan = {name: value for name in _TITAN if (value := native.get(name)) is not None}
    body.update(titan)
    return bool(metrics or usage) or _TITAN[1] in titan


def _reported(body: JSON) -> tuple[Split, JSON] | None:
    """What was used, by the first that says so: Bedrock, a usage object like Nova's or OpenAI's, Titan."""
    metrics, usage = mapping(body, METRICS), mapping(body, "usage")
    if metrics:
        return split_usage(_as_token_usage(metrics)), metrics
    if count(usage, "inputTokens", "outputTokens") is not None:
        return split_usage(usage), usage
    if count(usage, "prompt_tokens", "total_tokens") is not None:
        return split_like_openai(usage), usage
    if count(body, "inputTextTokenCount") is None:
        return None
    results = [count(result, "tokenCount") or 0 for result in objects(body, "results")]
    titan = {
        "inputTokens": count(body, "inputTextTokenCount"),
        "outputTokens": count(body, "totalOutputTextTokenCount") or sum(results),
    }
    return split_usage(titan), titan


def _as_token_usage(metrics: JSON) -> JSON:
    renamed = {"inputTokens": metrics.get("inputTokenCount"), "outputTokens": metrics.get("outputTokenCount")}
    return {**metrics, **renamed}


def _native(event: Event) -> JSON | None:
    """The model's own event in a chunk: base64 on the wire, bytes as botocore hands them to the app."""
    outer = event.decoded() or {}
    packed = (mapping(outer, "chunk") or outer).get("bytes")
    try:
        content = base64.b64decode(packed) if isinstance(packed, str) else packed
        native = json.loads(content) if isinstance(content, bytes) else None
    except (ValueError, RecursionError, binascii.Error):
        return None
    return native if isinstance(native, dict) else None
