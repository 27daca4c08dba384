"""One answer by itself, without its request: the wire format is told by its shape."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flask_llm_cost.providers import endings as at
from flask_llm_cost.providers.fields import JSON, count, mapping, objects, text
from flask_llm_cost.providers.gemini import camel_case
from flask_llm_cost.providers.hosts import format_for
from flask_llm_cost.providers.reader import read_document
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.providers.route import Route
from flask_llm_cost.usage import Reading

# What is shorter counts something ("1", "chatcmpl-123") and may name more than one answer.
_SHORTEST_OWN_ID = 16
_OBJECTS = {"chat.completion": at.CHAT, "text_completion": at.COMPLETIONS, "response": at.RESPONSES}

_SHAPES: tuple[tuple[Callable[[JSON], bool], str], ...] = (
    (lambda body: body.get("type") == "message" and bool(mapping(body, "usage")), at.MESSAGES),
    (lambda body: bool({"usageMetadata", "candidates", "modelVersion"} & body.keys()), at.GENERATE),
    (lambda body: any(item.get("object") == "embedding" for item in objects(body, "data")), at.EMBEDDINGS),
    (lambda body: "choices" in body, at.CHAT),
    (lambda body: "stopReason" in body and "usage" in body, at.CONVERSE),
    (lambda body: bool(mapping(mapping(body, "usage"), "billed_units")), at.COHERE_CHAT),
    (lambda body: "done" in body and "eval_count" in body, at.OLLAMA_CHAT),
    (lambda body: any("flagged" in item for item in objects(body, "results")), at.MODERATIONS),
    (lambda body: any({"b64_json", "url"} & item.keys() for item in objects(body, "data")), at.GENERATIONS),
    (lambda body: isinstance(body.get("text"), str) and bool(mapping(body, "usage")), at.TRANSCRIPTIONS),
)


def read_body(provider: str, body: JSON, own: Registry | None = None) -> Reading:
    """Read one answer's body, as on the wire or as the SDKs dump it.

    Args:
        own: the app's own providers; one of that name reads its answers.

    Raises:
        ValueError: it is no answer of a known shape.
    """
    route = own.named(provider) if own is not None else None
    if route is not None:
        return read_document(route, body)
    body = camel_case(body)
    ending = _OBJECTS.get(text(body, "object") or "") or next((name for is_it, name in _SHAPES if is_it(body)), None)
    if ending is None:
        fields = ", ".join(sorted(map(str, body))[:8]) or "nothing"
        raise ValueError(f"This is no answer of a model in a known format: it has {fields}.")
    return read_document(Route(provider, format_for(provider, ending), at.OPERATIONS.get(ending, "chat")), body)


def own_name(reading: Reading) -> str | None:
    """The provider's id of an answer, where no other answer has it."""
    name = reading.provider_response_id or ""
    return name if len(name) >= _SHORTEST_OWN_ID else None


def own_time(body: JSON) -> datetime | None:
    """When the provider made an answer, to the second, where its body says so."""
    seconds = count(body, "created", "created_at")
    if seconds is not None:
        return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 4_000_000_000 else None
    return moment(text(body, "createTime") or text(body, "create_time"))


def moment(written: str | None) -> datetime | None:
    """An RFC 3339 time, to the second; ``None`` where it is none."""
    try:
        parsed = datetime.fromisoformat(written or "")
    except ValueError:
        return None
    return None if parsed.tzinfo is None else parsed.astimezone(UTC).replace(microsecond=0)
