"""OpenAI: what is neither a chat nor a response: text completions and moderations."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask_llm_cost.testing.answer import Turn
from flask_llm_cost.testing.openai_chat import usage
from flask_llm_cost.testing.openai_errors import error_object, openai_headers
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, indented, new_id

JSONObject = dict[str, object]


def _completion(turn: Turn, text: str, finish: str | None) -> JSONObject:
    return {
        "id": turn.answer.response_id or new_id("cmpl-", 29),
        "object": "text_completion",
        "created": turn.answer.created_at or 0,
        "model": turn.model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
    }


def _events(turn: Turn) -> Iterator[JSONObject]:
    for piece in turn.pieces():
        yield _completion(turn, piece, None)
    if turn.answer.error_type:
        yield {"error": error_object(turn.answer)}
        return
    yield _completion(turn, "", turn.answer.finish)
    options = turn.request.json.get("stream_options")
    if turn.answer.usage and isinstance(options, dict) and options.get("include_usage"):
        yield {**_completion(turn, "", None), "choices": [], "usage": usage(turn)}


def _complete(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        body = _completion(turn, turn.text, turn.answer.finish)
        body |= {"usage": usage(turn)} if turn.answer.usage else {}
        return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))
    frames = [f"data: {compact(event)}\n\n".encode() for event in _events(turn)]
    done = [] if turn.answer.error_type else [b"data: [DONE]\n\n"]
    return Reply(200, openai_headers("text/event-stream; charset=utf-8"), (*frames, *done), streamed=True)


def _moderate(turn: Turn) -> Reply:
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    body: JSONObject = {"id": turn.answer.response_id or new_id("modr-", 24), "model": turn.model, "results": [result]}
    return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))


COMPLETIONS = WireFormat("openai", re.compile(r"/(?:.+/)?(?<!chat/)completions$"), _complete)
MODERATIONS = WireFormat("openai", re.compile(r"/(?:.+/)?moderations$"), _moderate)
