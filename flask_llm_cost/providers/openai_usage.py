"""OpenAI's usage object, in the words of chat completions and in those of responses.

Its counts are inclusive: the prompt count contains cached, cache-written, audio and image tokens, the
completion count reasoning, audio and rejected prediction tokens (SDK types ``CompletionUsage`` and
``ResponseUsage``). Hosts that speak the same format differ in small ways: see ``Dialect``.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_llm_cost.providers.fields import JSON, count, first_present, mapping
from flask_llm_cost.providers.split import INCONSISTENT, REMAINDER_IS_OUTPUT, Split

_PROMPT = ("prompt_tokens", "input_tokens")
_COMPLETION = ("completion_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a host's usage object departs from OpenAI's own.

    Attributes:
        cached: a top-level field with the cached part of the prompt, for where the details do not say.
        additive_reasoning: the completion count does not contain reasoning tokens.
    """

    cached: str | None = None
    additive_reasoning: bool = False


PLAIN = Dialect()


def split_usage(usage: JSON, dialect: Dialect = PLAIN) -> Split:
    """Disjoint quantities of an inclusive usage object. An empty one counts as an answer of zero tokens."""
    split = Split()
    prompt, completion = count(usage, *_PROMPT), count(usage, *_COMPLETION)
    if prompt is None:
        # Some gateways report nothing but a total and, perhaps, what was generated.
        prompt = max((count(usage, "total_tokens") or 0) - (completion or 0), 0)
    details = _details(usage, "prompt_tokens_details", "input_tokens_details")
    cached = count(details, "cached_tokens")
    if cached is None and dialect.cached is not None:
        cached = count(usage, dialect.cached)
    split.divide(
        "input",
        prompt,
        [("cache_read", cached), ("cache_write", count(details, "cache_write_tokens"))],
        [("input.audio", count(details, "audio_tokens")), ("input.image", count(details, "image_tokens"))],
    )
    _split_output(split, usage, dialect, prompt, completion or 0)
    return split


def split_embedding_usage(usage: JSON) -> Split:
    """Embeddings have a prompt and nothing else; hosts without a prompt count give the total."""
    split = Split()
    split.divide("input", count(usage, *_PROMPT, "total_tokens") or 0, [])
    return split


def _split_output(split: Split, usage: JSON, dialect: Dialect, prompt: int, completion: int) -> None:
    details = _details(usage, "completion_tokens_details", "output_tokens_details")
    reasoning = count(details, "reasoning_tokens")
    total = count(usage, "total_tokens")
    prompt, completion = max(prompt, 0), split.clamped(completion)
    if dialect.additive_reasoning and (total is None or total >= prompt + completion + max(reasoning or 0, 0)):
        completion += max(reasoning or 0, 0)
    if total is not None:
        completion += _remainder(split, total - prompt - completion)
    split.divide(
        "output", completion, [("output.reasoning", reasoning)], [("output.audio", count(details, "audio_tokens"))]
    )


def _remainder(split: Split, remainder: int) -> int:
    """What the total says beyond prompt and completion is output.

    Gemini's OpenAI-compatible endpoint counts thoughts there and nowhere else; gateways before xAI too.
    """
    if remainder > 0:
        split.note(REMAINDER_IS_OUTPUT)
        return remainder
    if remainder < 0:
        split.note(INCONSISTENT)
    return 0


def _details(usage: JSON, *names: str) -> JSON:
    for name in names:
        if first_present(usage, name) is not None:
            return mapping(usage, name)
    return {}
