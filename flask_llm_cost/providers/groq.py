"""Groq: OpenAI's format. Its streams carry usage under ``x_groq``, asked for or not, and why they stopped early."""

from __future__ import annotations

from collections.abc import Collection

from flask_llm_cost.providers.fields import JSON, mapping, text
from flask_llm_cost.providers.openai_chat import OpenAIChat


class GroqChat(OpenAIChat):
    """Groq's ``/openai/v1/chat/completions``."""

    name = "groq"

    def usage_in(self, body: JSON) -> JSON | None:
        own = super().usage_in(body)
        return own or (mapping(mapping(body, "x_groq"), "usage") or own)

    def error_in(self, chunk: JSON, reasons: Collection[str | None]) -> object:
        """``x_groq.error`` is a text (``XGroq`` of groq's package): kept only where it reads like a code."""
        said = text(mapping(chunk, "x_groq"), "error")
        return super().error_in(chunk, reasons) or (said and {"code": said})
