"""Gemini: generateContent, and streamGenerateContent as SSE (``?alt=sse``) or as a JSON array.

``promptTokenCount`` includes what was cached; thoughts come on top of the candidates. Every event of
a stream has the usage so far.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, WireFormat, indented, new_id, retry_headers

JSONObject = dict[str, object]

# google.rpc.Code for each HTTP status, https://cloud.google.com/apis/design/errors; texts of our own.
_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("INVALID_ARGUMENT", "The request is not valid."),
        401: ("UNAUTHENTICATED", "The request has no valid credentials."),
        403: ("PERMISSION_DENIED", "The caller may not do this."),
        404: ("NOT_FOUND", "The model is not found."),
        429: ("RESOURCE_EXHAUSTED", "The quota is exhausted."),
        500: ("INTERNAL", "An internal error has occurred."),
        503: ("UNAVAILABLE", "The model is overloaded."),
        504: ("DEADLINE_EXCEEDED", "The deadline expired."),
    }
)
_STREAM_PIECES = 4


def _modalities(counts: Mapping[str, int]) -> list[JSONObject]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def usage(turn: Turn, share: float = 1.0) -> JSONObject:
    """The usage after ``share`` of the visible output."""
    answer = turn.answer
    prompt = turn.all_input_tokens
    candidates = round(turn.visible_output_tokens * share)
    text = prompt - answer.input_audio_tokens - answer.input_image_tokens
    by_modality = {"TEXT": text, "IMAGE": answer.input_image_tokens, "AUDIO": answer.input_audio_tokens}
    counts: JSONObject = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + answer.hidden_output_tokens,
        "promptTokensDetails": _modalities(by_modality),
    }
    if answer.cache_read_input_tokens:
        counts["cachedContentTokenCount"] = answer.cache_read_input_tokens
        counts["cacheTokensDetails"] = _modalities({"TEXT": answer.cache_read_input_tokens})
    if answer.hidden_output_tokens:
        counts["thoughtsTokenCount"] = answer.hidden_output_tokens
    counts["serviceTier"] = answer.service_tier or "standard"
    return counts


def _searches(turn: Turn) -> JSONObject:
    queries = [f"query {number + 1}" for number in range(turn.answer.web_searches)]
    return {"groundingMetadata": {"webSearchQueries": queries}} if queries else {}


def _part(turn: Turn, text: str, response_id: str, *, share: float) -> JSONObject:
    candidate: JSONObject = {"content": {"parts": [{"text": text}], "role": "model"}}
    if share == 1.0:
        candidate["finishReason"] = "STOP" if turn.answer.finish == "stop" else "MAX_TOKENS"
        candidate |= _searches(turn)
    candidate["index"] = 0
    counts = {"usageMetadata": usage(turn, share)} if turn.answer.usage else {}
    return {"candidates": [candidate], **counts, "modelVersion": turn.model, "responseId": response_id}


def _parts(turn: Turn) -> Iterator[JSONObject]:
    response_id = turn.answer.response_id or new_id("", 22)
    pieces = turn.pieces(at_most=_STREAM_PIECES) or ("",)
    for number, piece in enumerate(pieces, start=1):
        last = number == len(pieces) and not turn.answer.error_type
        yield _part(turn, piece, response_id, share=1.0 if last else number / (len(pieces) + 1))
    if turn.answer.error_type:
        yield {"error": _error_object(turn.answer)}


def _array_frames(parts: list[JSONObject]) -> Iterator[bytes]:
    """The array as it grows: an element a frame, each but the first after a comma, then the closing bracket."""
    for number, part in enumerate(parts):
        yield (",\r\n" if number else "[").encode() + indented(part).rstrip()
    yield b"\n]\n"


def _stream(turn: Turn) -> Reply:
    if turn.request.query.get("alt") == "sse":
        frames = tuple(f"data: {json.dumps(part, ensure_ascii=False)}\r\n\r\n".encode() for part in _parts(turn))
        return Reply(200, headers("text/event-stream"), frames, streamed=True)
    array = tuple(_array_frames(list(_parts(turn))))
    return Reply(200, headers("application/json; charset=UTF-8"), array, streamed=True)


def _write(turn: Turn) -> Reply:
    if turn.request.path.endswith(":streamGenerateContent"):
        return _stream(turn)
    body = _part(turn, turn.text, turn.answer.response_id or new_id("", 22), share=1.0)
    return Reply(turn.answer.status, headers("application/json; charset=UTF-8"), (indented(body),))


def headers(content_type: str) -> dict[str, str]:
    """The headers of every answer of Google's."""
    return {
        "content-type": content_type,
        "vary": "Origin, X-Origin, Referer",
        "server-timing": f"gfet4t7; dur={200 + secrets.randbelow(900)}",
    }


def _error_object(answer: Answer) -> JSONObject:
    code = answer.status if answer.status >= 400 else 503
    status, message = _ERRORS.get(code, _ERRORS[500 if code >= 500 else 400])
    return {"code": code, "message": answer.error_message or message, "status": answer.error_type or status}


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as Gemini answers it; a stream that is not SSE has it within an array."""
    error = {"error": _error_object(answer)}
    in_array = request.path.endswith(":streamGenerateContent") and request.query.get("alt") != "sse"
    body = b"[" + indented(error).rstrip() + b"\n]\n" if in_array else indented(error)
    return Reply(answer.status, headers("application/json; charset=UTF-8") | retry_headers(answer), (body,))


GENERATE_CONTENT = WireFormat(
    "gemini", re.compile(r"/(?:.+/)?models/[^/:]+:(?:generateContent|streamGenerateContent)$"), _write
)


def _count(turn: Turn) -> Reply:
    body = indented({"totalTokens": turn.all_input_tokens})
    return Reply(turn.answer.status, headers("application/json; charset=UTF-8"), (body,))


COUNT_TOKENS = WireFormat("gemini", re.compile(r"/(?:.+/)?models/[^/:]+:countTokens$"), _count)
