"""Anthropic: the Messages API, also on Vertex AI and Azure.

Cached tokens are reported *beside* ``input_tokens``, not within it; thinking is within ``output_tokens``.
A stream reports usage twice, whole on ``message_start`` and cumulatively on ``message_delta``; the later
non-null number wins.

``usage.iterations`` is the record of what ran: the top-level numbers are those of the attempt whose answer
was returned. Compactions, advisors and attempts of a model that declined after it had produced output are
billed beside it ("Refusals and fallback", "Compaction" and "Advisor tool" in Anthropic's documentation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar
from urllib.parse import unquote

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, strings, text
from flask_llm_cost.providers.split import INCONSISTENT, Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model
from flask_llm_cost.usage import ModelUsage

_WORTH_DECODING = re.compile(rb'"(?:message_start|message_delta|message_stop|error|fallback)"')
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class AnthropicMessages(WireFormat):
    """``/v1/messages``, ``:rawPredict`` and ``:streamRawPredict``."""

    name: ClassVar[str] = "anthropic"
    must_end: ClassVar[bool] = True
    telling: ClassVar[tuple[bytes, ...]] = (b'"fallback"', b'"message_delta"')
    told_at_ends: ClassVar[bool] = True
    # Opus 4.7 and later; 1,600 before ("Vision: evaluate image size").
    image_tokens: ClassVar[int] = 5_000

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, response_id = answered_model(body), text(body, "id")
        if not isinstance(body.get("usage"), dict):
            return Answer(model, response_id)
        usage = mapping(body, "usage")
        iterations = objects(usage, "iterations")
        model = _serving_model(iterations) or model
        split = _split(_served(usage, iterations))
        tools = mapping(usage, "server_tool_use")
        split.add("tool.web_search", count(tools, "web_search_requests"))
        split.add("tool.web_fetch", count(tools, "web_fetch_requests"))
        return Answer(
            model,
            response_id,
            split.usage,
            numbers(usage),
            tier=text(usage, "service_tier"),
            geo=text(usage, "inference_geo"),
            speed=text(usage, "speed"),
            extra=tuple(_beside(iterations, model)),
            notes=split.notes,
        )

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        usage: dict[str, object] = {}
        final = False
        for number, event in enumerate(events):
            decoded = event.decoded() if number == 0 or event.mentions(_WORTH_DECODING) else None
            if decoded is not None:
                final = _take(body, usage, decoded) or final
        if usage:
            body["usage"] = usage
        return Folded(body, final)

    def said(self, document: JSON) -> Iterable[str]:
        delta = mapping(document, "delta")
        yield from strings([delta.get("text"), delta.get("partial_json")])
        block = mapping(document, "content_block")
        for part in [block, *objects(document, "content")]:
            if part.get("type") in ("text", "tool_use", "server_tool_use"):
                yield from strings([part.get("text"), part.get("name"), part.get("input")])

    def asked(self, path: str, request: JSON) -> Asked:
        # Vertex names the model in the path: …/publishers/anthropic/models/claude-sonnet-4-5:rawPredict
        last = unquote(path.rpartition("/")[2])
        model = text(request, "model") or (last.rpartition(":")[0] or None)
        asked = WireFormat.asked(self, path, request)
        stream = asked.stream or last.endswith(":streamRawPredict")
        return replace(
            asked, model=model, stream=stream, geo=text(request, "inference_geo"), speed=text(request, "speed")
        )


def _take(body: dict[str, object], usage: dict[str, object], event: JSON) -> bool:
    """Add what an event says to body and usage. Returns whether it is one of the last."""
    message = mapping(event, "message")
    for holder in (message, event):
        for name in ("id", "model"):
            value = text(holder, name)
            if value is not None:
                body.setdefault(name, value)
        usage.update({name: value for name, value in mapping(holder, "usage").items() if value is not None})
    block = mapping(event, "content_block")
    if block.get("type") == "fallback":
        # The model that goes on after a refusal in mid-stream; message_start had named the one asked.
        body["model"] = text(mapping(block, "to"), "model") or body.get("model")
    kind = event.get("type")
    if kind == "error":
        body["error"] = event.get("error")
    return kind == "message_stop" or (kind == "message_delta" and bool(mapping(event, "usage")))


def _split(usage: JSON) -> Split:
    split = Split()
    split.divide("input", count(usage, "input_tokens"), [])
    split.add("cache_read", count(usage, "cache_read_input_tokens"))
    lifetimes = mapping(usage, "cache_creation")
    long_lived = split.add("cache_write.1h", count(lifetimes, "ephemeral_1h_input_tokens"))
    written = count(usage, "cache_creation_input_tokens")
    if written is None:
        split.add("cache_write", count(lifetimes, "ephemeral_5m_input_tokens"))
    elif split.clamped(written) >= long_lived:
        split.add("cache_write", written - long_lived)
    else:
        split.note(INCONSISTENT)
    thinking = count(mapping(usage, "output_tokens_details"), "thinking_tokens")
    split.divide("output", count(usage, "output_tokens"), [("output.reasoning", thinking)])
    return split


def _serving_model(iterations: list[JSON]) -> str | None:
    """The model whose answer was returned, where that was a fallback."""
    for entry in reversed(iterations):
        if entry.get("type") == "fallback_message":
            return text(entry, "model")
    return None


def _served(usage: JSON, iterations: list[JSON]) -> JSON:
    """The usage of the attempt that was returned.

    Within a stream the numbers of ``message_start`` are those of the model that later declined, and a
    null on ``message_delta`` would keep them: where a fallback answered, its own iterations replace them.
    """
    model = _serving_model(iterations)
    if model is None:
        return usage
    own = [entry for entry in iterations if entry.get("type") in ("message", "fallback_message")]
    own = [entry for entry in own if text(entry, "model") == model]
    lifetimes = {
        name: sum(count(mapping(entry, "cache_creation"), name) or 0 for entry in own)
        for name in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
    }
    totals: dict[str, object] = {name: sum(count(entry, name) or 0 for entry in own) for name in _COUNTS}
    return {**usage, **totals, "cache_creation": lifetimes}


def _beside(iterations: list[JSON], model: str | None) -> Iterable[ModelUsage]:
    """What was billed beside the attempt that was returned."""
    fallback = _serving_model(iterations)
    for entry in iterations:
        kind, ran = entry.get("type"), text(entry, "model") or model or "unknown"
        # A model that declined before it produced output is listed but not billed.
        declined = kind == "message" and fallback not in (None, ran) and bool(count(entry, "output_tokens"))
        if kind in ("compaction", "advisor_message") or declined:
            usage = _split(entry).usage
            if any(usage.values()):
                yield ModelUsage(ran, usage)
