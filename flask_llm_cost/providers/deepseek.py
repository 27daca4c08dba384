"""DeepSeek: OpenAI's format. The cached part of the prompt is ``prompt_cache_hit_tokens`` (API reference)."""

from __future__ import annotations

from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_usage import Dialect


class DeepSeekChat(OpenAIChat):
    """DeepSeek's ``/chat/completions``."""

    name = "deepseek"
    dialect = Dialect(cached="prompt_cache_hit_tokens")
