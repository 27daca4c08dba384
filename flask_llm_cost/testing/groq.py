"""Groq: OpenAI's chat completions under ``/openai/v1``.

A stream reports usage under ``x_groq`` on the event that ends the text, asked for or not (recorded traffic of
api.groq.com), and once more as OpenAI does when the request asks for it. One that fails
says so under ``x_groq`` (``XGroq.error`` of groq's package).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from flask_llm_cost.testing.answer import Turn
from flask_llm_cost.testing.openai_chat import DONE, asked_for_usage
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, new_id

# Who makes the models that Groq serves: its path alone is Azure's too.
_MODELS = re.compile(r"(llama|openai/|meta-llama/|moonshotai/|qwen/?|gemma|deepseek-r1|groq/|mistral-saba|mixtral)")


def _identity(turn: Turn, kind: str) -> dict[str, object]:
    return {
        "id": turn.answer.response_id or new_id("chatcmpl-", 36),
        "object": kind,
        "created": turn.answer.created_at or int(time.time()),
        "model": turn.model,
        "system_fingerprint": "fp_179b0f92c9",
    }


def _usage(turn: Turn) -> dict[str, object]:
    """Inclusive, like OpenAI's, with the times Groq is proud of (in seconds)."""
    answer = turn.answer
    usage: dict[str, object] = {
        "queue_time": 0.01,
        "prompt_tokens": turn.all_input_tokens,
        "prompt_time": 0.002,
        "completion_tokens": turn.output_tokens,
        "completion_time": 0.05,
        "total_tokens": turn.all_input_tokens + turn.output_tokens,
        "total_time": 0.052,
    }
    if answer.cache_read_input_tokens:
        usage["prompt_tokens_details"] = {"cached_tokens": answer.cache_read_input_tokens}
    if answer.hidden_output_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.hidden_output_tokens}
    return usage


def _headers(content_type: str) -> dict[str, str]:
    return {"content-type": content_type, "x-request-id": new_id("req_", 26).lower(), "x-groq-region": "local"}


def _x_groq(turn: Turn, *, final: bool = False) -> dict[str, object]:
    usage = {"usage": _usage(turn)} if final and turn.answer.usage else {}
    return {"x_groq": {"id": turn.answer.response_id or new_id("req_", 26).lower(), **usage}}


def _whole(turn: Turn) -> Reply:
    message = {"role": "assistant", "content": turn.text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": turn.answer.finish}
    body = {
        **_identity(turn, "chat.completion"),
        "choices": [choice],
        **({"usage": _usage(turn)} if turn.answer.usage else {}),
        **_x_groq(turn),
    }
    return Reply(turn.answer.status, _headers("application/json"), (compact(body).encode() + b"\n",))


def _events(turn: Turn) -> Iterator[dict[str, object]]:
    opening = _identity(turn, "chat.completion.chunk")

    def event(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**opening, "choices": [choice]}

    yield {**event({"role": "assistant", "content": ""}), **_x_groq(turn)}
    for piece in turn.pieces():
        yield event({"content": piece})
    if turn.answer.error_type:
        yield {**opening, "choices": [], "x_groq": {"error": turn.answer.error_message or turn.answer.error_type}}
        return
    yield {**event({}, turn.answer.finish), **_x_groq(turn, final=True)}
    if turn.answer.usage and asked_for_usage(turn):
        yield {**opening, "choices": [], "usage": _usage(turn)}


def _write(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        return _whole(turn)
    frames = tuple(f"data: {compact(event)}\n\n".encode() for event in _events(turn))
    done = () if turn.answer.error_type else (DONE,)
    return Reply(200, _headers("text/event-stream"), (*frames, *done), streamed=True)


GROQ_CHAT = WireFormat("groq", re.compile(r"/(?:.+/)?openai/v1/chat/completions$"), _write, _MODELS)
