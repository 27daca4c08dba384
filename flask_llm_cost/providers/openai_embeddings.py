"""OpenAI: embeddings, also as many other hosts speak them. A prompt count and nothing else."""

from __future__ import annotations

from typing import ClassVar

from flask_llm_cost.providers.fields import JSON, mapping, numbers, text
from flask_llm_cost.providers.openai_usage import split_embedding_usage
from flask_llm_cost.providers.wire import Answer, Asked, WireFormat, answered_model


class OpenAIEmbeddings(WireFormat):
    """``/embeddings``."""

    name: ClassVar[str] = "openai"
    embeds: ClassVar[bool] = True

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, response_id = answered_model(body), text(body, "id")
        if not isinstance(body.get("usage"), dict):
            return Answer(model, response_id)
        usage = mapping(body, "usage")
        split = split_embedding_usage(usage)
        return Answer(model, response_id, split.usage, numbers(usage), notes=split.notes)
