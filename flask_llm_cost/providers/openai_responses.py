"""OpenAI: the Responses API.

Usage comes with the last event of a stream, within ``response``. Hosted tools are billed per call beside
the tokens; how often they ran is told by the items of ``output`` and, for web searches, by ``tool_usage``
(SDK type ``Response``: "billable web search requests", pages opened or searched within are not among them).

A background response is answered at once, queued and without usage; that comes with a later GET of its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, strings, text
from flask_llm_cost.providers.openai_usage import split_usage
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model
from flask_llm_cost.usage import Stored

_WORTH_DECODING = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|output_item\.done)|error)"|"usage"\s*:\s*\{'
)
_REPORTED = ("output", "tool_usage", "error", "service_tier", "status", "created_at", "completed_at")
# A summary is not the reasoning; sound is no text.
_NOT_SAID = ("response.reasoning_summary", "response.audio", "response.output_audio")
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PENDING = frozenset({"queued", "in_progress"})
# OpenAI's and Azure's ids are "resp_" and some 50 characters. What is shorter may name more than one answer.
_OWN_ID = re.compile(r"resp_\S{16,}")
# Seconds, between the years 2014 and 2096: a host that counts in another unit, or not at all, is not believed.
_PLAUSIBLE = range(1_400_000_000, 4_000_000_000)


class OpenAIResponses(WireFormat):
    """``/responses``."""

    name: ClassVar[str] = "openai"
    must_end: ClassVar[bool] = True
    ends_with_usage: ClassVar[bool] = True
    telling: ClassVar[tuple[bytes, ...]] = (b'_call"',)  # items of hosted tools
    told_at_ends: ClassVar[bool] = True

    def read(self, body: JSON, asked: Asked) -> Answer:
        answer = Answer(
            model=answered_model(body),
            response_id=text(body, "id"),
            tier=text(body, "service_tier"),
            stored=_stored(body),
            cancelled=body.get("status") == "cancelled",
        )
        if not isinstance(body.get("usage"), dict):
            return answer
        usage = mapping(body, "usage")
        split = split_usage(usage)
        _count_tools(split, body)
        return replace(answer, usage=split.usage, raw_usage=numbers(usage), notes=split.notes)

    def said(self, document: JSON) -> Iterable[str]:
        kind = text(document, "type") or ""
        if kind.endswith(".delta") and not kind.startswith(_NOT_SAID):
            yield from strings(document.get("delta"))
        if not kind:
            for item in objects(document, "output"):
                yield from strings([item.get(name) for name in ("content", "arguments", "input", "code", "name")])

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        items: list[JSON] = []
        final = False
        for event in events:
            final = final or event.done
            if "id" in body and not event.mentions(_WORTH_DECODING):
                continue
            decoded = event.decoded()
            if decoded is None:
                continue
            if text(decoded, "type") == "response.output_item.done":
                items.append(mapping(decoded, "item"))
            final = _take(body, decoded) or final
        body.setdefault("output", items)
        return Folded(body, final)


def _take(body: dict[str, object], event: JSON) -> bool:
    """Add what an event says to the body. Returns whether it is the last one."""
    kind, response = text(event, "type"), mapping(event, "response")
    identity = {name: text(response, name) for name in ("id", "model") if name not in body}
    body.update({name: value for name, value in identity.items() if value is not None})
    usage = mapping(response, "usage") or mapping(event, "usage")
    if usage:
        body["usage"] = usage
    body.update({name: response[name] for name in _REPORTED if response.get(name)})
    if kind == "error" or event.get("error"):
        body["error"] = event.get("error") or event
    elif kind == "response.failed":
        body.setdefault("error", {"code": "response_failed"})
    return kind in _LAST


def _stored(body: JSON) -> Stored | None:
    """How far an answer is that ``GET /responses/<id>`` gives again."""
    created, completed = count(body, "created_at"), count(body, "completed_at")
    if created is None or created not in _PLAUSIBLE or not _OWN_ID.fullmatch(text(body, "id") or ""):
        return None
    took = None if completed is None or completed < created else (completed - created) * 1000
    return Stored(datetime.fromtimestamp(created, UTC), pending=body.get("status") in _PENDING, took_ms=took)


def _count_tools(split: Split, body: JSON) -> None:
    items = objects(body, "output")
    billed_searches = count(mapping(mapping(body, "tool_usage"), "web_search"), "num_requests")
    if billed_searches is None:
        # "Search actions incur a tool call cost", opening a page or finding within one does not (web search
        # guide). Answers from before actions were reported have none: each was a search.
        searches = [item for item in items if item.get("type") == "web_search_call"]
        billed_searches = sum(text(mapping(item, "action"), "type") in (None, "search") for item in searches)
    split.add("tool.web_search", billed_searches)
    split.add("tool.file_search", sum(item.get("type") == "file_search_call" for item in items))
    split.add("tool.code_execution", _containers(items))


def _containers(items: list[JSON]) -> int:
    """Code interpreter is billed per container, however many calls ran in it (pricing page)."""
    calls = [item for item in items if item.get("type") == "code_interpreter_call"]
    named = {identifier for item in calls if (identifier := text(item, "container_id")) is not None}
    return len(named) + sum(text(item, "container_id") is None for item in calls)
