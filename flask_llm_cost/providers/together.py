"""Together: OpenAI's format. The cached part of the prompt is ``cached_tokens`` beside the other counts."""

from __future__ import annotations

from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_usage import Dialect


class TogetherChat(OpenAIChat):
    """Together's ``/v1/chat/completions``."""

    name = "together"
    dialect = Dialect(cached="cached_tokens")
