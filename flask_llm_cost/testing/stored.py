"""OpenAI's responses as the provider keeps them: fetched again by id, made in the background, called off."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, replace

from flask_llm_cost.testing.answer import Answer
from flask_llm_cost.testing.openai_errors import openai_headers, refuse
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, compact, indented

JSONObject = dict[str, object]

_MADE = re.compile(r"/(?:.+/)?responses$")
_FETCHED = re.compile(r"/(?:.+/)?responses/(?P<id>[^/]+)(?P<cancel>/cancel)?$")
_DONE = frozenset({"completed", "incomplete", "failed", "cancelled"})


@dataclass(slots=True)
class _Kept:
    """A response, and how many polls it still takes to be done."""

    body: JSONObject
    polls: int


class StoredResponses:
    """The responses of one server by their ids. Safe for many connections at once."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def keep(self, request: Received, answer: Answer, made: Reply) -> Reply:
        """Keep what was just answered; a background request is told that it is queued."""
        if made.streamed or made.status != 200 or answer.body is not None or not _MADE.match(request.path):
            return made
        body: JSONObject = json.loads(made.body)
        background = request.json.get("background") is True
        body["background"] = background
        with self._lock:
            self._kept[str(body["id"])] = _Kept(body, answer.polls if background else 0)
        return replace(made, frames=(indented(_unfinished(body, "queued")),)) if background else made

    def answer(self, request: Received) -> Reply | None:
        """The answer to a request about a kept response; ``None``: it is about none."""
        asked = _FETCHED.match(request.path)
        if asked is None or request.method != ("POST" if asked["cancel"] else "GET"):
            return None
        with self._lock:
            kept = self._kept.get(asked["id"])
            if kept is None:
                return refuse(request, Answer(status=404, error_message=f"Response {asked['id']} not found."))
            body = _called_off(kept) if asked["cancel"] else _polled(kept)
        if request.query.get("stream") == "true":
            return _streamed(body)
        return Reply(200, openai_headers("application/json"), (indented(body),))


def _polled(kept: _Kept) -> JSONObject:
    if kept.polls:
        kept.polls -= 1
        return _unfinished(kept.body, "in_progress")
    if kept.body["background"] is True and kept.body["status"] == "completed":
        kept.body["completed_at"] = int(str(kept.body["created_at"])) + 7
    return kept.body


def _called_off(kept: _Kept) -> JSONObject:
    """Calling off what is done changes nothing."""
    if kept.polls:
        kept.polls, kept.body = 0, _unfinished(kept.body, "cancelled")
    return kept.body


def _unfinished(body: JSONObject, status: str) -> JSONObject:
    return {**body, "status": status, "output": [], "usage": None, "service_tier": "auto"}


def _streamed(body: JSONObject) -> Reply:
    """The rest of a stream that was left: how far the response is, and its end where it has one."""
    kinds = ["in_progress", *({str(body["status"])} & _DONE)]
    events = [{"type": f"response.{kind}", "sequence_number": at, "response": body} for at, kind in enumerate(kinds)]
    frames = tuple(f"event: {event['type']}\ndata: {compact(event)}\n\n".encode() for event in events)
    return Reply(200, openai_headers("text/event-stream; charset=utf-8"), frames, streamed=True)
