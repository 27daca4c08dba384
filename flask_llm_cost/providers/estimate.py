"""Bounds on what a call used whose answer did not say, or not all of it.

Input: what the answer reported (Anthropic's and Gemini's streams begin with it), else what the request's size
allows (``request_size``). Output, at least: what arrived, counted like the request, or more where a count so
far came with it. At most: what the request allowed (``max_tokens`` and its like, else what the model is known
to be capable of, times the number of answers asked for: reasoning is within it); and, where the answer is
whole and its model known to think in the open, no more than was read. Where neither holds there is no honest
bound, and none is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flask_llm_cost.providers.fields import JSON, count, mapping, texts
from flask_llm_cost.providers.most_output import most_output
from flask_llm_cost.providers.request_size import RequestSize, request_size
from flask_llm_cost.providers.wire import WireFormat
from flask_llm_cost.usage import NO_USAGE, Bounds, Quantity, Reading, Usage

_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxTokens",
    "maxOutputTokens",
    "max_tokens_to_sample",
    "max_new_tokens",
    "max_gen_len",
    "maxTokenCount",
    "num_predict",
)
_HOLDERS = ("inferenceConfig", "generationConfig", "textGenerationConfig", "options", "parameters")
_ANSWERS = ("n", "best_of", "candidateCount", "num_generations", "numResults")
# End-of-turn and call markers, a stop sequence that was generated and not delivered; also what a provider may
# go beyond a limit by.
_MARKERS = 64
# How far a count of the prompt that is not settled may move: this many tokens and a twentieth.
_SLACK = 8
# Families whose models generate nothing but what they deliver, as their documentation has it.
_IN_THE_OPEN = re.compile(
    r"(?:^|[/.:])(?:gpt-(?:3\.5|4)|gpt-35|chatgpt-4o|davinci|babbage|claude-(?:instant|2|3-5|3-haiku|3-opus|3-sonnet)"
    r"|(?:meta-)?llama|mistral|open-mi[sx]tral|mi[sx]tral|ministral|codestral|pixtral|command-r|command-light|gemma|titan)",
    re.IGNORECASE,
)
_THINKS = ("reasoning", "reasoning_effort", "thinking", "prediction", "audio", "best_of")


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of an answer.

    Attributes:
        documents: its events, or its one body.
        whole: nothing of it is missing.
        dropped_bytes: what was not kept of a long stream.
    """

    documents: Iterable[JSON]
    whole: bool
    dropped_bytes: int = 0


_NOT_BY_TOKENS = frozenset({"rerank", "moderation"})


def bounds(wire: WireFormat, reading: Reading, request: JSON, delivered: Delivered) -> Bounds | None:
    """Between what and what the usage of a call lies. ``None``: its format is not billed by tokens.

    Args:
        reading: what the answer did say; "input" and the cache are exact where it reported any of them.
        request: its fields; none where it could not be read.
    """
    if not wire.counts_tokens or reading.operation in _NOT_BY_TOKENS:
        return None
    size = request_size(request, wire.image_tokens)
    reported = {name: number for name, number in reading.usage.items() if _family(name) != "output"}
    low, high = _input(wire, request, size, reported)
    least, most = _output(wire, reading, request, delivered)
    if reading.operation == "embeddings":
        least, most = 0, 0
    rest = {name: number for name, number in reading.usage.items() if _family(name) == "output" and name != "output"}
    beyond = max(least - sum(int(number) for number in rest.values()), 0)
    beside: Usage | None = NO_USAGE if reported else wire.beside_tokens(request)
    if high is not None and most is not None and beside is not None:
        high = {**_with(high, _output_meter(request), most), **beside}
    return Bounds(_with({**low, **rest}, "output", beyond), None if most is None or beside is None else high)


def or_nothing(found: Bounds | None) -> Bounds | None:
    """The bounds of a call that may not have been charged at all."""
    return None if found is None else Bounds(NO_USAGE, found.high)


def _input(
    wire: WireFormat, request: JSON, size: RequestSize, reported: Mapping[str, Quantity]
) -> tuple[dict[str, Quantity], dict[str, Quantity] | None]:
    if reported:
        slack = 0 if wire.settled_input else _SLACK + int(reported.get("input", 0)) // 20
        least = {**reported, "input": max(reported.get("input", 0) - slack, 0)} if slack else dict(reported)
        return least, None if size.is_open and _is_growing(request) else _with(reported, "input", slack)
    # Cached input is the cheapest, a cache write the dearest that the same tokens can be.
    cached = {"cache_read": size.least()} if size.least() and wire.counts_cached_prompts else {}
    most = size.most()
    if most is None:
        return {**cached}, None
    meter = _written(request) or ("input.audio" if size.has_audio else "input")
    return {**cached}, {meter: most}


def _is_growing(request: JSON) -> bool:
    """Whether the provider adds to the prompt while it answers: the input it reported first is not the last."""
    return bool(request.get("tools") or request.get("mcp_servers") or request.get("plugins") or not request)


def _written(request: JSON) -> str | None:
    """The dearest way in which the prompt can be written to a cache, where the request asks for that."""
    pending: list[object] = [request]
    found = None
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            for name in ("cache_control", "cachePoint"):
                control = mapping(value, name)
                if control:
                    found = (
                        "cache_write.1h" if control.get("ttl") == "1h" or found == "cache_write.1h" else "cache_write"
                    )
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return found


def _output(wire: WireFormat, reading: Reading, request: JSON, delivered: Delivered) -> tuple[int, int | None]:
    words = size = 0
    for said in wire.said_in(delivered.documents):
        words += len(said.split())
        size += len(said.encode("utf-8", "replace"))
    reported = reading.output_tokens
    least = reported if request.get("echo") else max(words // 2, reported)
    allowed = _allowed(request, reading.model)
    known = [] if allowed is None else [allowed]
    # An answer without a word may have been of a kind that nobody here reads.
    if size and delivered.whole and _in_the_open(wire, reading, request):
        known.append(size + delivered.dropped_bytes + _MARKERS)
    return least, max(least, reported, min(known)) if known else None


def _allowed(request: JSON, model: str) -> int | None:
    """The most output tokens that the request and, where it sets no limit, the model allow."""
    holders = [request, *(mapping(request, name) for name in _HOLDERS)]
    limits = [limit for holder in holders for name in _LIMITS if (limit := count(holder, name)) is not None]
    limits = limits or [limit for limit in (most_output(model),) if limit is not None and request]
    if not limits or min(limits) < 0:
        return None
    prompts = request.get("prompt")
    if isinstance(prompts, list) and not all(isinstance(token, int) for token in prompts):
        limits = [limit * len(prompts) for limit in limits]
    answers = max([1, *(count(holder, name) or 1 for holder in holders for name in _ANSWERS)])
    return max(limits) * answers + _MARKERS


def _in_the_open(wire: WireFormat, reading: Reading, request: JSON) -> bool:
    if any(request.get(name) for name in _THINKS):
        return False
    return wire.delivers_all or _IN_THE_OPEN.search(reading.model) is not None


def _output_meter(request: JSON) -> str:
    """Sound and images that were asked for are dearer than text."""
    modalities = [*texts(request, "modalities"), *texts(mapping(request, "generationConfig"), "responseModalities")]
    spoken = {modality.lower() for modality in modalities}
    return "output.audio" if "audio" in spoken else "output.image" if "image" in spoken else "output"


def _family(meter: str) -> str:
    return meter.partition(".")[0]


def _with(usage: Mapping[str, Quantity], meter: str, number: int) -> dict[str, Quantity]:
    return {**usage, meter: usage.get(meter, 0) + number} if number else dict(usage)
