"""OpenAI: responses. A stream reports usage in its last event, whether asked or not."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator

from flask_llm_cost.testing.answer import Turn
from flask_llm_cost.testing.openai_errors import error_object, openai_headers
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, indented, new_id

JSONObject = dict[str, object]


def usage(turn: Turn) -> JSONObject:
    """``input_tokens`` includes what was cached, ``output_tokens`` what was hidden."""
    return {
        "input_tokens": turn.all_input_tokens,
        "input_tokens_details": {
            "cache_write_tokens": turn.answer.cache_write_input_tokens,
            "cached_tokens": turn.answer.cache_read_input_tokens,
        },
        "output_tokens": turn.output_tokens,
        "output_tokens_details": {"reasoning_tokens": turn.answer.hidden_output_tokens},
        "total_tokens": turn.all_input_tokens + turn.output_tokens,
    }


def _output_text(text: str) -> JSONObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _items(turn: Turn) -> list[JSONObject]:
    """The output as it ends: reasoning, the searches, the message."""
    items: list[JSONObject] = []
    if turn.answer.hidden_output_tokens:
        items.append({"id": f"rs_{secrets.token_hex(25)}", "type": "reasoning", "summary": []})
    for number in range(turn.answer.web_searches):
        action = {"type": "search", "query": f"query {number + 1}"}
        search = {"id": f"ws_{secrets.token_hex(25)}", "type": "web_search_call", "status": "completed"}
        items.append({**search, "action": action})
    items.append(
        {
            "id": f"msg_{secrets.token_hex(25)}",
            "type": "message",
            "status": "completed" if turn.answer.finish == "stop" else "incomplete",
            "content": [_output_text(turn.text)],
            "role": "assistant",
        }
    )
    return items


class _Response:
    """One response object through its life: in progress, then completed, incomplete or failed."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._id = turn.answer.response_id or f"resp_{secrets.token_hex(25)}"
        self._created = turn.answer.created_at or int(time.time())
        self.items = _items(turn)

    def started(self) -> JSONObject:
        return self._object("in_progress", output=[], usage=None)

    def finished(self) -> JSONObject:
        answer = self._turn.answer
        status = "completed" if answer.finish == "stop" else "incomplete"
        return self._object(status, output=self.items, usage=usage(self._turn) if answer.usage else None)

    def failed(self) -> JSONObject:
        error = error_object(self._turn.answer)
        code = self._turn.answer.error_type or "server_error"
        return self._object("failed", output=[], usage=None) | {"error": {"code": code, "message": error["message"]}}

    def _object(self, status: str, *, output: list[JSONObject], usage: JSONObject | None) -> JSONObject:
        asked = self._turn.request.json
        incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
        tier = self._turn.answer.service_tier or ("auto" if status == "in_progress" else "default")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": incomplete,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "max_tool_calls": None,
            "model": self._turn.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": asked.get("previous_response_id"),
            "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": tier,
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "user": None,
            "metadata": {},
        }


def _message_events(turn: Turn, item: JSONObject, index: int) -> Iterator[JSONObject]:
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    started = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": index, "item": started}
    yield {"type": "response.content_part.added", **place, "part": _output_text("")}
    for piece in turn.pieces():
        delta = {"delta": piece, "logprobs": [], "obfuscation": new_id("", 12)}
        yield {"type": "response.output_text.delta", **place, **delta}
    if turn.answer.error_type:
        return
    yield {"type": "response.output_text.done", **place, "text": turn.text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _output_text(turn.text)}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _events(turn: Turn) -> Iterator[JSONObject]:
    response = _Response(turn)
    yield {"type": "response.created", "response": response.started()}
    yield {"type": "response.in_progress", "response": response.started()}
    for index, item in enumerate(response.items[:-1]):
        started = {**item, "status": "in_progress"} if "status" in item else item
        yield {"type": "response.output_item.added", "output_index": index, "item": started}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield from _message_events(turn, response.items[-1], len(response.items) - 1)
    if turn.answer.error_type:
        yield {"type": "response.failed", "response": response.failed()}
        return
    end = response.finished()
    yield {"type": f"response.{end['status']}", "response": end}


def _frame(number: int, event: JSONObject) -> bytes:
    numbered = {"type": event["type"], "sequence_number": number, **event}
    return f"event: {event['type']}\ndata: {compact(numbered)}\n\n".encode()


def _write(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        body = indented(_Response(turn).finished())
        return Reply(turn.answer.status, openai_headers("application/json"), (body,))
    frames = tuple(_frame(number, event) for number, event in enumerate(_events(turn)))
    return Reply(200, openai_headers("text/event-stream; charset=utf-8"), frames, streamed=True)


RESPONSES = WireFormat("openai", re.compile(r"/(?:.+/)?responses$"), _write)
