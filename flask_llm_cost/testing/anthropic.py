"""Anthropic: messages.

Cached tokens are reported beside ``input_tokens``. A stream reports usage twice: whole on
``message_start``, then cumulatively on ``message_delta``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, new_id, retry_headers

JSONObject = dict[str, object]

# https://docs.claude.com/en/api/errors, with texts of our own.
_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("invalid_request_error", "The request is not valid."),
        401: ("authentication_error", "invalid x-api-key"),
        403: ("permission_error", "The key may not use this resource."),
        404: ("not_found_error", "Not found."),
        413: ("request_too_large", "The request is too large."),
        429: ("rate_limit_error", "The rate limit is reached."),
        500: ("api_error", "Internal server error."),
        529: ("overloaded_error", "Overloaded"),
    }
)
_SIGNATURE = "EpsBCkYICBgCKkBsb2NhbHByb3ZpZGVyc2VydmVyc2lnbmF0dXJl"
_THINKING = "The question is clear, so the answer can be short."


def _input_usage(turn: Turn) -> JSONObject:
    answer = turn.answer
    five_minutes = answer.cache_write_input_tokens - answer.cache_write_1h_input_tokens
    return {
        "input_tokens": turn.input_tokens,
        "cache_creation_input_tokens": answer.cache_write_input_tokens,
        "cache_read_input_tokens": answer.cache_read_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": five_minutes,
            "ephemeral_1h_input_tokens": answer.cache_write_1h_input_tokens,
        },
    }


def _output_usage(turn: Turn) -> JSONObject:
    counts: JSONObject = {"output_tokens": turn.output_tokens}
    if turn.answer.hidden_output_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": turn.answer.hidden_output_tokens}
    if turn.answer.web_searches:
        counts["server_tool_use"] = {"web_search_requests": turn.answer.web_searches, "web_fetch_requests": 0}
    return counts


def _served(turn: Turn) -> JSONObject:
    return {"service_tier": turn.answer.service_tier or "standard", "inference_geo": "not_available"}


def _message(turn: Turn, content: list[JSONObject], stop: str | None, usage: JSONObject) -> JSONObject:
    return {
        "model": turn.model,
        "id": turn.answer.response_id or new_id("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": None,
        **({"usage": usage} if turn.answer.usage else {}),
    }


def _stop_reason(turn: Turn) -> str:
    return "end_turn" if turn.answer.finish == "stop" else "max_tokens"


def message(turn: Turn) -> JSONObject:
    """A whole answer."""
    content: list[JSONObject] = [{"type": "text", "text": turn.text}]
    if turn.answer.hidden_output_tokens:
        content.insert(0, {"type": "thinking", "thinking": _THINKING, "signature": _SIGNATURE})
    usage = {**_input_usage(turn), **_output_usage(turn), **_served(turn)}
    return _message(turn, content, _stop_reason(turn), usage)


def _block(index: int, empty: JSONObject, deltas: list[JSONObject]) -> Iterator[JSONObject]:
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def events(turn: Turn) -> Iterator[JSONObject]:
    """An answer as the events of a stream."""
    start = {**_input_usage(turn), "output_tokens": min(1, turn.output_tokens), **_served(turn)}
    yield {"type": "message_start", "message": _message(turn, [], None, start)}
    yield {"type": "ping"}
    index = 0
    if turn.answer.hidden_output_tokens:
        thoughts: list[JSONObject] = [{"type": "thinking_delta", "thinking": _THINKING}]
        thoughts.append({"type": "signature_delta", "signature": _SIGNATURE})
        yield from _block(index, {"type": "thinking", "thinking": "", "signature": ""}, thoughts)
        index = 1
    pieces: list[JSONObject] = [{"type": "text_delta", "text": piece} for piece in turn.pieces()]
    yield from _block(index, {"type": "text", "text": ""}, pieces)
    if turn.answer.error_type:
        yield {"type": "error", "error": _error_object(turn.answer)}
        return
    delta = {"stop_reason": _stop_reason(turn), "stop_sequence": None, "stop_details": None}
    counts = _input_usage(turn) | _output_usage(turn)
    del counts["cache_creation"]
    yield {"type": "message_delta", "delta": delta, **({"usage": counts} if turn.answer.usage else {})}
    yield {"type": "message_stop"}


def _frame(event: JSONObject) -> bytes:
    """One event; Anthropic pads the JSON with spaces before its last brace, so the length tells nothing."""
    text = compact(event)
    padding = " " * (zlib.crc32(text.encode()) % 16)
    return f"event: {event['type']}\ndata: {text[:-1]}{padding}}}\n\n".encode()


def _write(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        body = compact(message(turn)).encode()
        return Reply(turn.answer.status, _headers("application/json"), (body,))
    frames = tuple(_frame(event) for event in events(turn))
    return Reply(200, _headers("text/event-stream; charset=utf-8"), frames, streamed=True)


def _headers(content_type: str) -> dict[str, str]:
    return {
        "content-type": content_type,
        "request-id": new_id("req_011C", 20),
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
    }


def _error_object(answer: Answer) -> JSONObject:
    status = answer.status if answer.status >= 400 else 529
    kind, message = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    return {"type": answer.error_type or kind, "message": answer.error_message or message}


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as Anthropic answers it."""
    headers = _headers("application/json") | retry_headers(answer)
    body = {"type": "error", "error": _error_object(answer), "request_id": headers["request-id"]}
    return Reply(answer.status, headers, (compact(body).encode(),))


def _count(turn: Turn) -> Reply:
    body = compact({"input_tokens": turn.all_input_tokens}).encode()
    return Reply(turn.answer.status, _headers("application/json"), (body,))


# Also on Vertex, by the model in the path.
MESSAGES = WireFormat(
    "anthropic",
    re.compile(r"/(?:.+/)?(?:v1/messages|publishers/anthropic/models/[^/:]+:(?:rawPredict|streamRawPredict))$"),
    _write,
)
COUNT_TOKENS = WireFormat("anthropic", re.compile(r"/(?:.+/)?v1/messages/count_tokens$"), _count)
