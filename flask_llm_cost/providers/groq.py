"""Groq: OpenAI's format. Its streams carry usage under ``x_groq``, asked for or not."""

from __future__ import annotations

from flask_llm_cost.providers.fields import JSON, mapping
from flask_llm_cost.providers.openai_chat import OpenAIChat


class GroqChat(OpenAIChat):
    """Groq's ``/openai/v1/chat/completions``."""

    name = "groq"

    def usage_in(self, body: JSON) -> JSON | None:
        own = super().usage_in(body)
        return own or (mapping(mapping(body, "x_groq"), "usage") or own)
