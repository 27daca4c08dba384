"""Mistral: OpenAI's format. The tier that served a call stands within ``usage`` (``UsageInfo`` of mistralai 3.7)."""

from __future__ import annotations

from dataclasses import replace

from flask_llm_cost.providers.fields import JSON, mapping, text
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.wire import Answer, Asked


class MistralChat(OpenAIChat):
    """Mistral's ``/v1/chat/completions``, ``/v1/fim/completions`` and ``/v1/agents/completions``."""

    name = "mistral"

    def read(self, body: JSON, asked: Asked) -> Answer:
        answer = super().read(body, asked)
        return replace(answer, tier=text(mapping(body, "usage"), "service_tier") or answer.tier)
