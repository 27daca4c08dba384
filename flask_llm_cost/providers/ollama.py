"""Ollama's own API: chat, generate and embed.

The counts stand at the top of the body, on the last line (``done``) of a stream of JSON lines, which is what
it answers unless told not to. A prompt that was in memory still is not evaluated again: then
``prompt_eval_count`` is missing, and nothing is made up for it (docs/api.md of ollama/ollama).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, first_present, mapping, numbers, strings, text
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model

_COUNTS = ("prompt_eval_count", "eval_count")
_STREAMED_UNLESS_TOLD = ("chat", "generate")


class Ollama(WireFormat):
    """``/api/chat``, ``/api/generate``, ``/api/embed`` and the older ``/api/embeddings``."""

    name: ClassVar[str] = "ollama"
    usage_key: ClassVar[str] = "eval_count"
    must_end: ClassVar[bool] = True
    counts_cached_prompts: ClassVar[bool] = False
    delivers_all: ClassVar[bool] = True

    def read(self, body: JSON, asked: Asked) -> Answer:
        model = answered_model(body)
        reported = {name: body[name] for name in _COUNTS if count(body, name) is not None}
        if not reported:
            return Answer(model)
        split = Split()
        split.divide("input", count(body, "prompt_eval_count"), [])
        split.divide("output", count(body, "eval_count"), [])
        return Answer(model, usage=split.usage, raw_usage=numbers(reported), notes=split.notes)

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        final = False
        for event in events:
            line = event.decoded()
            if line is None:
                continue
            for name in ("model", *_COUNTS, "error"):
                value = first_present(line, name)
                if value is not None:
                    body[name] = value
            final = final or line.get("done") is True
        return Folded(body, final)

    def said(self, document: JSON) -> Iterable[str]:
        message = mapping(document, "message")
        yield from strings([document.get("response"), document.get("thinking")])
        yield from strings([message.get(name) for name in ("content", "thinking", "tool_calls")])

    def asked(self, path: str, request: JSON) -> Asked:
        streamed = path.rpartition("/")[2] in _STREAMED_UNLESS_TOLD and request.get("stream") is not False
        return replace(WireFormat.asked(self, path, request), model=text(request, "model"), stream=streamed)
