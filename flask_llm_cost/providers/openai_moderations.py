"""OpenAI: moderations. "The moderation endpoint is free to use" (Moderation guide): its answers count nothing,
and so are known to have used nothing. Hosts that charge for theirs say how many tokens.
"""

from __future__ import annotations

from typing import ClassVar

from flask_llm_cost.providers.fields import JSON, mapping, numbers, text
from flask_llm_cost.providers.openai_usage import split_usage
from flask_llm_cost.providers.wire import Answer, Asked, WireFormat, answered_model


class OpenAIModerations(WireFormat):
    """``/moderations``."""

    name: ClassVar[str] = "openai"
    counts_tokens: ClassVar[bool] = False

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, response_id, usage = answered_model(body), text(body, "id"), mapping(body, "usage")
        if usage:
            split = split_usage(usage)
            return Answer(model, response_id, split.usage, numbers(usage), notes=split.notes)
        return Answer(model, response_id, {"input": 0} if isinstance(body.get("results"), list) else {})
