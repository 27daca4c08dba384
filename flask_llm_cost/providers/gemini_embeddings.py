"""Gemini: ``embedContent`` and ``batchEmbedContents``, and Vertex AI's older ``:predict`` for embedding models.

The first two report ``usageMetadata``, as generateContent does; what goes in may be text, images, video and
sound (REST reference, ``EmbedContentResponse``). ``:predict`` counts the tokens of each text under its
vector; ``metadata.billableCharacterCount`` beside it says the same in characters, which is what the models
before Gemini Embedding are billed by (Vertex AI, "Pricing"): of those, characters are the usage where they are told.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar
from urllib.parse import unquote

from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects
from flask_llm_cost.providers.gemini import input_modalities
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, WireFormat

_BY_CHARACTERS = re.compile(r"text-?(?:multilingual-)?embedding-", re.IGNORECASE)


class GeminiEmbeddings(WireFormat):
    """``…/models/<model>:embedContent``, ``:batchEmbedContents`` and, for embedding models, ``:predict``."""

    name: ClassVar[str] = "gemini"
    usage_key: ClassVar[str] = "usageMetadata"
    embeds: ClassVar[bool] = True

    def asked(self, path: str, request: JSON) -> Asked:
        model = unquote(path.rpartition("/")[2]).rpartition(":")[0]
        return replace(WireFormat.asked(self, path, request), model=model or None, stream=False)

    def read(self, body: JSON, asked: Asked) -> Answer:
        usage = mapping(body, "usageMetadata")
        if count(usage, "promptTokenCount", "totalTokenCount") is not None:
            split = Split()
            tokens = count(usage, "promptTokenCount", "totalTokenCount")
            split.divide("input", tokens, [], input_modalities(usage))
            return Answer(usage=split.usage, raw_usage=numbers(usage), notes=split.notes)
        return _counted_per_text(body, asked.model or "")


def _counted_per_text(body: JSON, model: str) -> Answer:
    vectors = [mapping(entry, "embeddings") for entry in objects(body, "predictions")] or objects(body, "embeddings")
    counts = [count(mapping(vector, "statistics"), "token_count", "tokenCount") for vector in vectors]
    known = [tokens for tokens in counts if tokens is not None]
    if not known or len(known) < len(counts):
        return Answer()
    split = Split()
    characters = count(mapping(body, "metadata"), "billableCharacterCount") or 0
    if characters <= 0 or not _BY_CHARACTERS.match(model):
        split.divide("input", sum(known), [])
    else:
        split.add("character", characters)
    raw = numbers({"tokenCount": sum(known), **mapping(body, "metadata")})
    return Answer(usage=split.usage, raw_usage=raw, notes=split.notes)
