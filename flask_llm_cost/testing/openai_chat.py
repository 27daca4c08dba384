"""OpenAI: chat completions.

A stream reports usage only when the request says ``stream_options.include_usage``: then every event
has a ``usage`` of null and one more event with empty ``choices`` has the numbers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from flask_llm_cost.testing.answer import Turn
from flask_llm_cost.testing.openai_errors import error_object, openai_headers
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, indented, new_id

_FINGERPRINT = "fp_560af6e559"
DONE = b"data: [DONE]\n\n"


def _identity(turn: Turn, kind: str) -> dict[str, object]:
    return {
        "id": turn.answer.response_id or new_id("chatcmpl-", 29),
        "object": kind,
        "created": turn.answer.created_at or int(time.time()),
        "model": turn.model,
    }


def usage(turn: Turn) -> dict[str, object]:
    """``prompt_tokens`` includes what was cached, ``completion_tokens`` what was hidden."""
    return {
        "prompt_tokens": turn.all_input_tokens,
        "completion_tokens": turn.output_tokens,
        "total_tokens": turn.all_input_tokens + turn.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": turn.answer.cache_read_input_tokens,
            "cache_write_tokens": turn.answer.cache_write_input_tokens,
            "audio_tokens": turn.answer.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": turn.answer.hidden_output_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _whole(turn: Turn) -> Reply:
    message: dict[str, object] = {"role": "assistant", "content": turn.text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": turn.answer.finish}
    body = {
        **_identity(turn, "chat.completion"),
        "choices": [choice],
        **({"usage": usage(turn)} if turn.answer.usage else {}),
        "service_tier": turn.answer.service_tier or "default",
        "system_fingerprint": _FINGERPRINT,
    }
    return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))


def _events(turn: Turn, *, with_usage: bool) -> Iterator[dict[str, object]]:
    opening = {
        **_identity(turn, "chat.completion.chunk"),
        "service_tier": turn.answer.service_tier or "default",
        "system_fingerprint": _FINGERPRINT,
    }
    closing: dict[str, object] = {"usage": None} if with_usage else {}

    def event(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**opening, "choices": [choice], **closing, "obfuscation": new_id("", 9)}

    yield event({"role": "assistant", "content": "", "refusal": None})
    for piece in turn.pieces():
        yield event({"content": piece})
    if turn.answer.error_type:
        yield {"error": error_object(turn.answer)}
        return
    yield event({}, turn.answer.finish)
    if with_usage:
        yield {**opening, "choices": [], "usage": usage(turn), "obfuscation": new_id("", 11)}


def asked_for_usage(turn: Turn) -> bool:
    """Whether the request asks a stream for its usage."""
    options = turn.request.json.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _write(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        return _whole(turn)
    events = _events(turn, with_usage=turn.answer.usage and asked_for_usage(turn))
    frames = [f"data: {compact(event)}\n\n".encode() for event in events]
    if not turn.answer.error_type:
        frames.append(DONE)
    return Reply(200, openai_headers("text/event-stream; charset=utf-8"), tuple(frames), streamed=True)


CHAT_COMPLETIONS = WireFormat("openai", re.compile(r"/(?:.+/)?chat/completions$"), _write)
