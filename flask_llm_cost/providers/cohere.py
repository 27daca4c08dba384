"""Cohere: chat, embed and rerank, in both versions of its API.

What is charged is ``billed_units``; ``tokens`` beside it includes the templates that Cohere adds and does not
charge for (API reference, "Chat": "the number of billed input tokens"). Version 2 has both under ``usage``,
version 1 and the other endpoints under ``meta``. A rerank is billed in search units, counted as requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, strings, text
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model

_WORTH_DECODING = re.compile(rb'"billed_units"|"(?:message|stream)-end"|"error"\s*:|"response_id"|"generation_id"')
_FAILED = frozenset({"ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT"})


class Cohere(WireFormat):
    """``/v2/chat``, ``/v2/embed``, ``/v2/rerank`` and the same under ``/v1``."""

    name: ClassVar[str] = "cohere"
    usage_key: ClassVar[str] = "billed_units"
    embeds: ClassVar[bool] = True
    must_end: ClassVar[bool] = True
    image_tokens: ClassVar[int] = 5_000

    def read(self, body: JSON, asked: Asked) -> Answer:
        model = answered_model(body)
        response_id = text(body, "id") or text(body, "response_id") or text(body, "generation_id")
        billed = _billed(body)
        if not billed:
            return Answer(model, response_id)
        split = Split()
        split.divide("input", count(billed, "input_tokens"), [])
        split.add("input.image", count(billed, "image_tokens"))
        split.divide("output", count(billed, "output_tokens"), [])
        split.add("request", count(billed, "search_units"))
        return Answer(model, response_id, split.usage, numbers(billed), notes=split.notes)

    def said(self, document: JSON) -> Iterable[str]:
        kind = text(document, "type") or text(document, "event_type") or ""
        if kind.startswith("citation"):
            return
        message = mapping(mapping(document, "delta"), "message") or mapping(document, "message")
        yield from strings([message.get(name) for name in ("content", "tool_plan", "tool_calls")])
        if kind not in ("stream-end", "tool-calls-generation"):
            yield from strings([document.get("text"), mapping(document, "tool_call_delta")])

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        final = False
        for number, event in enumerate(events):
            final = final or event.done
            decoded = event.decoded() if number == 0 or event.mentions(_WORTH_DECODING) else None
            if decoded is not None:
                final = _take(body, decoded) or final
        return Folded(body, final)


def _take(body: dict[str, object], event: JSON) -> bool:
    """Add what an event says to the body. Returns whether it is the last one."""
    delta, response = mapping(event, "delta"), mapping(event, "response")
    for holder in (event, response):
        for name in ("id", "response_id", "generation_id"):
            value = text(holder, name)
            if value is not None:
                body.setdefault(name, value)
    billed = _billed(delta) or _billed(response) or _billed(event)
    if billed:
        body["billed_units"] = billed
    kind = text(event, "type") or text(event, "event_type")
    reason = text(delta, "finish_reason") or text(event, "finish_reason")
    if delta.get("error") or event.get("error") or (reason or "").upper() in _FAILED:
        body["error"] = {"code": (reason or "error").lower()}
    return kind in ("message-end", "stream-end")


def _billed(body: JSON) -> JSON:
    for holder in (body, mapping(body, "usage"), mapping(body, "meta")):
        billed = mapping(holder, "billed_units")
        if billed:
            return billed
    return {}
