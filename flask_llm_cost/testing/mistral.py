"""Mistral: chat completions and embeddings, on OpenAI's paths but for models of its own.

A stream always reports usage, on the event that ends the text (recorded traffic of api.mistral.ai). One that
fails ends with "error" as its reason (mistralai/client-python#74), without a code.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flask_llm_cost.testing import openai_embeddings
from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.openai_chat import DONE
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, retry_headers

_MODELS = re.compile(r"(labs-)?(open-)?(mistral|mixtral|ministral|codestral|magistral|devstral|pixtral|voxtral)")
_ERRORS: Mapping[int, str] = MappingProxyType(
    {400: "invalid_request_error", 401: "unauthorized", 404: "not_found", 422: "invalid_request", 429: "rate_limited"}
)


def _identity(turn: Turn, kind: str) -> dict[str, object]:
    return {
        "id": turn.answer.response_id or secrets.token_hex(16),
        "object": kind,
        "created": turn.answer.created_at or int(time.time()),
        "model": turn.model,
    }


def _usage(turn: Turn) -> dict[str, object]:
    """Inclusive, like OpenAI's; what was cached and the tier are named only where there is one."""
    usage: dict[str, object] = {
        "prompt_tokens": turn.all_input_tokens,
        "total_tokens": turn.all_input_tokens + turn.output_tokens,
        "completion_tokens": turn.output_tokens,
    }
    if turn.answer.cache_read_input_tokens:
        usage["prompt_tokens_details"] = {"cached_tokens": turn.answer.cache_read_input_tokens}
    if turn.answer.service_tier:
        usage["service_tier"] = turn.answer.service_tier
    return usage


def _reported(turn: Turn) -> dict[str, object]:
    return {"usage": _usage(turn)} if turn.answer.usage else {}


def _headers(content_type: str) -> dict[str, str]:
    return {"content-type": content_type, "mistral-correlation-id": secrets.token_hex(16)}


def _whole(turn: Turn) -> Reply:
    message = {"role": "assistant", "tool_calls": None, "content": turn.text}
    choice = {"index": 0, "finish_reason": turn.answer.finish, "message": message}
    body = {**_identity(turn, "chat.completion"), "choices": [choice], **_reported(turn)}
    return Reply(turn.answer.status, _headers("application/json"), (compact(body).encode(),))


def _events(turn: Turn) -> Iterator[dict[str, object]]:
    opening = _identity(turn, "chat.completion.chunk")

    def event(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
        return {**opening, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield event({"role": "assistant", "content": ""})
    for piece in turn.pieces():
        yield event({"content": piece})
    finish = "error" if turn.answer.error_type else turn.answer.finish
    yield {**event({"content": ""}, finish), **_reported(turn)}


def _chat(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        return _whole(turn)
    frames = tuple(f"data: {compact(event)}\n\n".encode() for event in _events(turn))
    return Reply(200, _headers("text/event-stream; charset=utf-8"), (*frames, DONE), streamed=True)


def _embeddings(turn: Turn) -> Reply:
    vectors, tokens = openai_embeddings.vectors(turn), openai_embeddings.prompt_tokens(turn)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    body: dict[str, object] = {
        "id": turn.answer.response_id or secrets.token_hex(16),
        "object": "list",
        "data": vectors,
        "model": turn.model,
        **({"usage": usage} if turn.answer.usage else {}),
    }
    return Reply(turn.answer.status, _headers("application/json"), (compact(body).encode(),))


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as Mistral answers it."""
    kind = _ERRORS.get(answer.status, "internal_server_error")
    message = answer.error_message or kind.replace("_", " ").capitalize()
    body = {"object": "error", "message": message, "type": answer.error_type or kind, "param": None, "code": None}
    return Reply(answer.status, _headers("application/json") | retry_headers(answer), (compact(body).encode(),))


MISTRAL_CHAT = WireFormat("mistral", re.compile(r"/(?:.+/)?chat/completions$"), _chat, _MODELS)
MISTRAL_EMBEDDINGS = WireFormat("mistral", re.compile(r"/(?:.+/)?embeddings$"), _embeddings, _MODELS)
