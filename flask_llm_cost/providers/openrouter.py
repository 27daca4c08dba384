"""OpenRouter: OpenAI's format plus what the call was charged, in credits of one dollar (``usage.cost``).

With a key of one's own (``is_byok``) the cost is OpenRouter's fee; what the provider charges stands in
``cost_details.upstream_inference_cost`` ("Usage accounting" in OpenRouter's documentation).
"""

from __future__ import annotations

from decimal import Decimal

from flask_llm_cost.providers.fields import JSON, dollars, mapping
from flask_llm_cost.providers.openai_chat import OpenAIChat


class OpenRouterChat(OpenAIChat):
    """OpenRouter's ``/api/v1/chat/completions``."""

    name = "openrouter"

    def cost_in(self, usage: JSON) -> Decimal | None:
        charged = dollars(usage.get("cost"))
        if charged is None or usage.get("is_byok") is not True:
            return charged
        return charged + (dollars(mapping(usage, "cost_details").get("upstream_inference_cost")) or Decimal(0))
