"""Gemini: ``generateContent`` and ``streamGenerateContent``, on Google's own host and on Vertex AI.

``promptTokenCount`` includes cached tokens; thoughts and the results of tools come on top of it and of
``candidatesTokenCount``. The total is the sum of all four (SDK type ``GenerateContentResponseUsageMetadata``).
With ``$alt=json;enum-encoding=int`` enumerations are numbers. Every chunk of a stream repeats the usage
so far: the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import unquote

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, strings, text, texts
from flask_llm_cost.providers.split import INCONSISTENT, REMAINDER_IS_OUTPUT, Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model

_MODALITIES = {2: "IMAGE", 3: "VIDEO", 4: "AUDIO"}
_METERS = {"AUDIO": "input.audio", "IMAGE": "input.image", "VIDEO": "input.video"}
_TRAFFIC = {
    "1": "standard",
    "2": "provisioned_throughput",
    "provisioned_throughput": "provisioned_throughput",
    "on_demand": "standard",
    "on_demand_priority": "priority",
    "on_demand_flex": "flex",
    "on_demand_offpeak": "offpeak",
    "traffic_type_unspecified": "standard",
}
_GENERATION = re.compile(r"gemini-(\d+)")
_SNAKE = re.compile(r"_([a-z])")


class GeminiContent(WireFormat):
    """``…/models/<model>:generateContent`` and ``:streamGenerateContent``."""

    name: ClassVar[str] = "gemini"
    usage_key: ClassVar[str] = "usageMetadata"
    # By a finish reason, or one why the prompt was blocked.
    must_end: ClassVar[bool] = True
    ends_with_usage: ClassVar[bool] = True
    # Recorded: 10 tokens of prompt in every chunk of a stream, 9 in the last.
    settled_input: ClassVar[bool] = False
    # 16 tiles of 258, or "ultra high" once ("Media resolution" on ai.google.dev).
    image_tokens: ClassVar[int] = 5_000

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, response_id = answered_model(body, "modelVersion"), text(body, "responseId")
        if not isinstance(body.get("usageMetadata"), dict):
            return Answer(model, response_id)
        usage = mapping(body, "usageMetadata")
        split = _split(usage)
        split.add("tool.grounding", _grounding(body, model or asked.model))
        return Answer(model, response_id, split.usage, numbers(usage), _tier(usage), notes=split.notes)

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        queries: list[str] = []
        final = False
        for event in events:
            chunk = event.decoded()
            if chunk is not None:
                final = _take(body, queries, camel_case(chunk)) or final
        if queries:
            body["candidates"] = [{"groundingMetadata": {"webSearchQueries": queries}}]
        return Folded(body, final)

    def said(self, document: JSON) -> Iterable[str]:
        for candidate in objects(document, "candidates"):
            for part in objects(mapping(candidate, "content"), "parts"):
                if part.get("thought") is not True:
                    call, code = mapping(part, "functionCall"), mapping(part, "executableCode")
                    yield from strings([part.get("text"), call.get("name"), call.get("args"), code.get("code")])

    def asked(self, path: str, request: JSON) -> Asked:
        model, _, verb = unquote(path.rpartition("/")[2]).rpartition(":")
        asked = WireFormat.asked(self, path, request)
        stream = asked.stream or verb == "streamGenerateContent"
        return replace(asked, model=model or None, stream=stream, tier=text(request, "serviceTier"))


def _take(body: dict[str, object], queries: list[str], chunk: JSON) -> bool:
    """Add what a chunk says to the body. Returns whether it is one of the last."""
    for name in ("modelVersion", "responseId"):
        value = text(chunk, name)
        if value is not None:
            body[name] = value
    if mapping(chunk, "usageMetadata"):
        body["usageMetadata"] = mapping(chunk, "usageMetadata")
    if chunk.get("error"):
        body["error"] = chunk["error"]
    candidates = objects(chunk, "candidates")
    for candidate in candidates:
        queries += texts(mapping(candidate, "groundingMetadata"), "webSearchQueries")
    blocked = bool(mapping(chunk, "promptFeedback").get("blockReason"))
    return blocked or any(candidate.get("finishReason") for candidate in candidates)


def _split(usage: JSON) -> Split:
    split = Split()
    cached = split.clamped(count(usage, "cachedContentTokenCount"))
    cached_audio = min(_by_modality(usage, "cacheTokensDetails").get("AUDIO", 0), cached)
    split.add("cache_read.audio", cached_audio)
    split.add("cache_read", cached - cached_audio)
    prompt = _prompt(split, usage)
    if prompt is not None:
        if cached > prompt:
            split.note(INCONSISTENT)
        split.divide("input", max(prompt - cached, 0), [], _fresh_modalities(usage))
    _split_output(split, usage, prompt or 0)
    return split


def _prompt(split: Split, usage: JSON) -> int | None:
    """What went into the model, cached content and the results of tools included."""
    prompt, tools = count(usage, "promptTokenCount"), split.clamped(count(usage, "toolUsePromptTokenCount"))
    if prompt is not None:
        return split.clamped(prompt) + tools
    total = count(usage, "totalTokenCount")
    output = max(count(usage, "candidatesTokenCount") or 0, 0) + max(count(usage, "thoughtsTokenCount") or 0, 0)
    if total is not None:
        return max(total - output, tools)
    return tools or None


def input_modalities(usage: JSON) -> list[tuple[str, int | None]]:
    """Tokens of the prompt that are no text, per meter."""
    prompt = _by_modality(usage, "promptTokensDetails")
    return [(meter, prompt.get(name)) for name, meter in _METERS.items()]


def _fresh_modalities(usage: JSON) -> list[tuple[str, int | None]]:
    """Tokens of the prompt and of tool results that are no text, cached ones taken out."""
    prompt, cached = _by_modality(usage, "promptTokensDetails"), _by_modality(usage, "cacheTokensDetails")
    tools = _by_modality(usage, "toolUsePromptTokensDetails")
    return [
        (meter, max(prompt.get(name, 0) - cached.get(name, 0), 0) + tools.get(name, 0))
        for name, meter in _METERS.items()
    ]


def _split_output(split: Split, usage: JSON, prompt: int) -> None:
    candidates, thoughts = count(usage, "candidatesTokenCount"), count(usage, "thoughtsTokenCount")
    total = count(usage, "totalTokenCount")
    if candidates is None and thoughts is None and total is None:
        return
    output = split.clamped(candidates) + max(thoughts or 0, 0)
    remainder = 0 if total is None else total - prompt - output
    if remainder > 0:
        split.note(REMAINDER_IS_OUTPUT)
        output += remainder
    elif remainder < 0 and remainder == -(thoughts or 0):
        # Some Vertex models count thoughts within the candidates; then the total holds them once.
        output += remainder
    elif remainder < 0 and total:
        split.note(INCONSISTENT)
    modalities = _by_modality(usage, "candidatesTokensDetails")
    split.divide(
        "output",
        output,
        [("output.reasoning", thoughts)],
        [("output.audio", modalities.get("AUDIO")), ("output.image", modalities.get("IMAGE"))],
    )


def _by_modality(usage: JSON, name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in objects(usage, name):
        modality = entry.get("modality")
        known = _MODALITIES.get(modality) if isinstance(modality, int) else modality
        if isinstance(known, str):
            counts[known.upper()] = counts.get(known.upper(), 0) + max(count(entry, "tokenCount") or 0, 0)
    return counts


def _tier(usage: JSON) -> str | None:
    tier = text(usage, "serviceTier")
    if tier is not None:
        return tier
    traffic = usage.get("trafficType")
    if not isinstance(traffic, str | int) or isinstance(traffic, bool):
        return None
    # A kind that is not in the table stays visible: pricing flags a tier it does not know.
    return _TRAFFIC.get(str(traffic).lower(), f"traffic_{traffic}".lower())


def _grounding(body: JSON, model: str | None) -> int | None:
    """Billable uses of Grounding with Google Search.

    From Gemini 3 on each different, non-empty query is billed; up to Gemini 2.5 the prompt is, once
    (ai.google.dev, "Grounding with Google Search", pricing). A model of no known generation: not told.
    """
    found = [
        query
        for candidate in objects(body, "candidates")
        for query in texts(mapping(candidate, "groundingMetadata"), "webSearchQueries")
    ]
    queries = {query.strip() for query in found} - {""}
    generation = _GENERATION.search(model or "")
    if not queries or generation is None:
        return None
    return len(queries) if int(generation[1]) >= 3 else 1


def camel_case(chunk: JSON) -> JSON:
    """A chunk as the SDK's objects dump it, in the words of the wire."""
    if "usage_metadata" not in chunk and "model_version" not in chunk:
        return chunk
    converted = _converted(chunk)
    return converted if isinstance(converted, dict) else chunk


def _converted(value: object) -> object:
    if isinstance(value, Mapping):
        return {_SNAKE.sub(lambda m: m[1].upper(), str(name)): _converted(entry) for name, entry in value.items()}
    return [_converted(entry) for entry in value] if isinstance(value, list) else value
