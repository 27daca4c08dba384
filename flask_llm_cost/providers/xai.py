"""xAI: OpenAI's format, but ``completion_tokens`` does not contain reasoning tokens (docs.x.ai,
"Consumption and rate limits"). What was charged is reported in ticks, 10,000,000,000 to the dollar.
"""

from __future__ import annotations

from decimal import Decimal

from flask_llm_cost.providers.fields import JSON, count
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_usage import Dialect

_TICKS_PER_USD = 10_000_000_000


class XAIChat(OpenAIChat):
    """xAI's ``/v1/chat/completions``."""

    name = "xai"
    dialect = Dialect(additive_reasoning=True)

    def cost_in(self, usage: JSON) -> Decimal | None:
        ticks = count(usage, "cost_in_usd_ticks")
        return None if ticks is None or ticks < 0 else Decimal(ticks) / _TICKS_PER_USD
