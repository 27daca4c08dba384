"""Perplexity: OpenAI's format, and what a search costs beside the tokens (docs.perplexity.ai, "Pricing").

Sonar's fee for a request depends on how much of the web is read for it (``usage.search_context_size``) and on the
kind of search that was asked for: one of each is one ``request.<size>``, of Pro Search ``request.<size>.pro``.
Deep research has no such fee; its searches, the tokens of its sources and those of its reasoning are billed, all of
them beside ``completion_tokens``. What was charged is reported under ``usage.cost``, rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from flask_llm_cost.providers.fields import JSON, count, dollars, mapping, objects, text
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.openai_responses import OpenAIResponses
from flask_llm_cost.providers.wire import Answer, Asked
from flask_llm_cost.usage import NO_USAGE, Usage

# "Default search_context_size is low" (search context size guide); "fast" is the search that others do.
_SIZE, _KIND = "low", "fast"
_WORD = re.compile(r"[a-z0-9]{1,16}", re.ASCII)
_TOOL = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)
_SEARCHES = frozenset({"search_web", "web_search"})
_TOOLS: Mapping[str, str] = {"fetch_url": "tool.web_fetch"}
_RESEARCH = "deep-research"
_RESEARCHED: Mapping[str, str] = {
    "output.reasoning": "reasoning_tokens",
    "output.citation": "citation_tokens",
    "tool.web_search": "num_search_queries",
}


class PerplexityChat(OpenAIChat):
    """Perplexity's ``/chat/completions``."""

    name = "perplexity"

    def asked(self, path: str, request: JSON) -> Asked:
        asked = super().asked(path, request)
        return replace(asked, usage=self.beside_tokens(request) or NO_USAGE)

    def beside_tokens(self, request: JSON) -> Usage | None:
        model = text(request, "model") or ""
        if _RESEARCH in model:
            return None
        options = mapping(request, "web_search_options")
        size, kind = _word(options, "search_context_size", _SIZE), _word(options, "search_type", _KIND)
        return {f"request.{size}" if kind == _KIND else f"request.{size}.{kind}": 1}

    def read(self, body: JSON, asked: Asked) -> Answer:
        answer = super().read(body, asked)
        usage = self.usage_in(body)
        if usage is None:
            return answer
        model = (answer.model or asked.model or "").rpartition("/")[2]
        beside = _researched(usage) if _RESEARCH in model else _fee(usage, asked) if model.startswith("sonar") else {}
        return replace(answer, usage={**answer.usage, **beside})

    def cost_in(self, usage: JSON) -> Decimal | None:
        return _charged(usage)


class PerplexityResponses(OpenAIResponses):
    """Perplexity's ``/v1/responses``: models of others, and tools billed by the invocation (Agent API, "Pricing").

    What a search costs depends on its kind, which only the request tells, and not where a preset chose it.
    """

    name = "perplexity"

    def asked(self, path: str, request: JSON) -> Asked:
        asked = super().asked(path, request)
        kinds = {text(tool, "search_type") for tool in objects(request, "tools")} & {"fast"}
        kind = ".preset" if text(request, "preset") else ".fast" if kinds else ""
        return replace(asked, usage={f"tool.web_search{kind}": 1})

    def read(self, body: JSON, asked: Asked) -> Answer:
        answer, usage = super().read(body, asked), mapping(body, "usage")
        search = next(iter(asked.usage), "tool.web_search")
        return replace(answer, usage={**answer.usage, **_invoked(usage, search)}, provider_cost=_charged(usage))


def _invoked(usage: JSON, search: str) -> Usage:
    """How often each tool ran: ``{"search_web": {"invocation": 2}}``."""
    details = mapping(usage, "tool_calls_details")
    counted: dict[str, int] = {}
    for name in details:
        word = name.lower()
        meter = _TOOLS.get(word) or (search if word in _SEARCHES else f"tool.{word}")
        times = count(mapping(details, name), "invocation") or count(details, name) or 0
        if times > 0 and _TOOL.fullmatch(word):
            counted[meter] = counted.get(meter, 0) + times
    return counted


def _charged(usage: JSON) -> Decimal | None:
    return dollars(mapping(usage, "cost").get("total_cost"))


def _researched(usage: JSON) -> Usage:
    counted = {meter: count(usage, name) or 0 for meter, name in _RESEARCHED.items()}
    return {meter: number for meter, number in counted.items() if number > 0}


def _fee(usage: JSON, asked: Asked) -> Usage:
    """One request of the size that was served; none where the costs are itemised and there is no such item."""
    cost = mapping(usage, "cost")
    if cost and not dollars(cost.get("request_cost")):
        return NO_USAGE
    _, size, *kind = next(iter(asked.usage), f"request.{_SIZE}").split(".")
    return {".".join(["request", _word(usage, "search_context_size", size), *kind]): 1}


def _word(parent: JSON, name: str, default: str) -> str:
    """A word that is safe in the name of a meter."""
    word = (text(parent, name) or "").lower()
    return word if _WORD.fullmatch(word) else default
