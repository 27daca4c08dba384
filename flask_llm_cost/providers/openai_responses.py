"""OpenAI: the Responses API.

Usage comes with the last event of a stream, within ``response``. Hosted tools are billed per call beside
the tokens; how often they ran is told by the items of ``output`` and, for web searches, by ``tool_usage``
(SDK type ``Response``: "billable web search requests", pages opened or searched within are not among them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, text
from flask_llm_cost.providers.openai_usage import split_usage
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model

_WORTH_DECODING = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|output_item\.done)|error)"|"usage"\s*:\s*\{'
)
_REPORTED = ("output", "tool_usage", "error", "service_tier")
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


class OpenAIResponses(WireFormat):
    """``/responses``."""

    name: ClassVar[str] = "openai"

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, response_id, tier = answered_model(body), text(body, "id"), text(body, "service_tier")
        if not isinstance(body.get("usage"), dict):
            return Answer(model, response_id, tier=tier)
        usage = mapping(body, "usage")
        split = split_usage(usage)
        _count_tools(split, body)
        return Answer(model, response_id, split.usage, numbers(usage), tier, notes=split.notes)

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
