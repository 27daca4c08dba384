"""OpenAI: chat completions and the older completions, also as many other hosts speak them.

A stream has usage only where the request asked for it (``stream_options.include_usage``), in a chunk of
its own before ``[DONE]``; some hosts repeat a running usage on every chunk: the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, mapping, numbers, objects, strings, text
from flask_llm_cost.providers.openai_usage import PLAIN, Dialect, split_usage
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model

_SAID = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
_WORTH_DECODING = re.compile(rb'"usage"\s*:\s*\{|"finish_reason"\s*:\s*"|"error"\s*:\s*[{"]|"object"\s*:\s*"error"')


class OpenAIChat(WireFormat):
    """``/chat/completions`` and ``/completions``."""

    name: ClassVar[str] = "openai"
    # By a finish reason, usage without choices, or [DONE], which some hosts leave out.
    must_end: ClassVar[bool] = True
    ends_with_usage: ClassVar[bool] = True
    told_at_ends: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = PLAIN

    def read(self, body: JSON, asked: Asked) -> Answer:
        usage = self.usage_in(body)
        model, response_id, tier = answered_model(body), text(body, "id"), text(body, "service_tier")
        if usage is None:
            return Answer(model, response_id, tier=tier)
        split = split_usage(usage, self.dialect)
        return Answer(
            model=model,
            response_id=response_id,
            usage=split.usage,
            raw_usage=numbers(usage),
            tier=tier,
            provider_cost=self.cost_in(usage),
            notes=split.notes,
        )

    def usage_in(self, body: JSON) -> JSON | None:
        """The usage object of a body or chunk; an empty one is one too."""
        usage = body.get("usage")
        return mapping(body, "usage") if isinstance(usage, dict) else None

    def cost_in(self, usage: JSON) -> Decimal | None:
        """USD, where the host reports what it charged."""
        return None

    def said(self, document: JSON) -> Iterable[str]:
        for choice in objects(document, "choices"):
            # Perplexity repeats the whole message beside each delta.
            message = mapping(choice, "delta") or mapping(choice, "message")
            yield from strings([choice.get("text"), *(message.get(name) for name in _SAID)])

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        final = False
        for event in events:
            final = final or event.done
            if "id" in body and "model" in body and not event.mentions(_WORTH_DECODING):
                continue
            chunk = event.decoded()
            if chunk is not None:
                final = self._take(body, chunk) or final
        return Folded(body, final)

    def _take(self, body: dict[str, object], chunk: JSON) -> bool:
        """Add what a chunk says to the body. Returns whether it is one of the last."""
        for name in ("id", "model"):
            value = text(chunk, name)
            if value is not None:
                body.setdefault(name, value)
        tier, usage = text(chunk, "service_tier"), self.usage_in(chunk)
        if tier is not None:
            body["service_tier"] = tier
        if usage:
            body["usage"] = usage
        choices = objects(chunk, "choices")
        reasons = [text(choice, "finish_reason") for choice in choices]
        error = self.error_in(chunk, reasons)
        if error:
            body["error"] = error
        return any(reasons) or (bool(usage) and not choices)

    def error_in(self, chunk: JSON, reasons: Collection[str | None]) -> object:
        """What a chunk says went wrong; nothing if all is well.

        Besides OpenAI's ``error``, vLLM's chunk that is an error itself, and "error" as the reason for the end
        (Mistral: ``CompletionResponseStreamChoice`` of mistralai 3.7, mistralai/client-python#74).
        """
        if chunk.get("error") or text(chunk, "object") == "error":
            return chunk.get("error") or chunk
        return {"type": "error"} if "error" in reasons else None
