"""Streams that the app reads itself and passes on event by event: their format is told by their shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flask_llm_cost.providers.endings import (
    CHAT,
    COHERE_CHAT,
    CONVERSE,
    GENERATE,
    INVOKE,
    MESSAGES,
    OLLAMA_CHAT,
    RESPONSES,
)
from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, mapping, text
from flask_llm_cost.providers.hosts import format_for
from flask_llm_cost.providers.reader import read_events
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.providers.route import Route
from flask_llm_cost.usage import Reading

_ANTHROPIC_EVENTS = frozenset({"message_start", "message_delta", "message_stop", "content_block_start"})
_GEMINI_FIELDS = frozenset({"usageMetadata", "usage_metadata", "candidates", "modelVersion", "model_version"})
# Bedrock's as botocore hands them out: one key, the kind of event.
_CONVERSE_FIELDS = frozenset({"messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"})
_BY_FIELD = (
    (_GEMINI_FIELDS, GENERATE),
    (_CONVERSE_FIELDS, CONVERSE),
    (frozenset({"chunk"}), INVOKE),
    (frozenset({"eval_count", "done"}), OLLAMA_CHAT),
)
_COHERE_EVENTS = frozenset({"message-start", "message-end", "stream-start", "stream-end"})


def read_stream_events(provider: str, events: Iterable[Mapping[str, object]], own: Registry | None = None) -> Reading:
    """Read decoded events, as on the wire or as the SDKs dump them. Never raises.

    Args:
        provider: who answered; its own ways of speaking a format are minded.
        own: the app's own providers; one of that name reads its streams.
    """
    decoded = [event for event in events if isinstance(event, Mapping)]
    route = own.named(str(provider)) if own is not None else None
    if route is not None:
        return read_events(route, [Event(value=event) for event in decoded])
    ending = next((shape for event in decoded if (shape := _shape(event)) is not None), CHAT)
    operation = "generate_content" if ending == GENERATE else "chat"
    route = Route(str(provider), format_for(str(provider), ending), operation)
    return read_events(route, [Event(value=event) for event in decoded])


def _shape(event: JSON) -> str | None:
    """The wire format that has such events, as the ending of its path; ``None`` where several have."""
    kind = text(event, "type") or text(event, "event_type") or ""
    if kind in _ANTHROPIC_EVENTS:
        return MESSAGES
    if kind in _COHERE_EVENTS:
        return COHERE_CHAT
    if kind.startswith("response.") or mapping(event, "response"):
        return RESPONSES
    for fields, ending in _BY_FIELD:
        if not fields.isdisjoint(event):
            return ending
    return CHAT if "choices" in event else None
