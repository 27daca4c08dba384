"""Cohere: chat, embed and rerank of its version 2.

``billed_units`` is what is charged; ``tokens`` beside it is somewhat more, since it counts Cohere's own templates.
Nothing is billed apart as cached or as reasoning: those tokens are within input and output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

from flask_llm_cost.testing import openai_embeddings
from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, retry_headers

JSONObject = dict[str, object]

_TEMPLATE_TOKENS = 62  # as in recorded answers: 7 billed, 69 counted
_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS"}


def _id(turn: Turn) -> str:
    return turn.answer.response_id or str(uuid4())


def _usage(turn: Turn) -> JSONObject:
    if not turn.answer.usage:
        return {}
    billed = {"input_tokens": turn.all_input_tokens, "output_tokens": turn.output_tokens}
    counted = {"input_tokens": turn.all_input_tokens + _TEMPLATE_TOKENS, "output_tokens": turn.output_tokens}
    return {"usage": {"billed_units": billed, "tokens": counted}}


def _json(turn: Turn, body: JSONObject) -> Reply:
    return Reply(turn.answer.status, {"content-type": "application/json"}, (compact(body).encode(),))


def _whole(turn: Turn) -> Reply:
    message = {"role": "assistant", "content": [{"type": "text", "text": turn.text}]}
    finish = _FINISH[turn.answer.finish]
    return _json(turn, {"id": _id(turn), "message": message, "finish_reason": finish, **_usage(turn)})


def _events(turn: Turn) -> Iterator[JSONObject]:
    message: JSONObject = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield {"id": _id(turn), "type": "message-start", "delta": {"message": message}}
    empty = {"message": {"content": {"type": "text", "text": ""}}}
    yield {"type": "content-start", "index": 0, "delta": empty}
    for piece in turn.pieces():
        yield {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}}
    yield {"type": "content-end", "index": 0}
    finish = "ERROR" if turn.answer.error_type else _FINISH[turn.answer.finish]
    yield {"type": "message-end", "delta": {"finish_reason": finish, **_usage(turn)}}


def _chat(turn: Turn) -> Reply:
    if turn.request.json.get("stream") is not True:
        return _whole(turn)
    frames = [f"event: {event['type']}\ndata: {compact(event)}\n\n".encode() for event in _events(turn)]
    frames.append(b"data: [DONE]\n\n")
    return Reply(200, {"content-type": "text/event-stream"}, tuple(frames), streamed=True)


def _meta(turn: Turn, billed: JSONObject) -> JSONObject:
    units = {"billed_units": billed} if turn.answer.usage else {}
    return {"meta": {"api_version": {"version": "2"}, **units}}


def _embed(turn: Turn) -> Reply:
    texts = openai_embeddings.texts(turn, "texts")
    vectors = [openai_embeddings.vector(text, 1536) for text in texts]
    billed: JSONObject = {"input_tokens": openai_embeddings.prompt_tokens(turn, "texts")}
    return _json(
        turn,
        {
            "id": _id(turn),
            "texts": texts,
            "embeddings": {"float": vectors},
            **_meta(turn, billed),
            "response_type": "embeddings_by_type",
        },
    )


def _rerank(turn: Turn) -> Reply:
    documents = turn.request.json.get("documents")
    count = len(documents) if isinstance(documents, list) else 0
    results = [{"index": index, "relevance_score": round(0.9 / (index + 1), 6)} for index in range(count)]
    # Up to 100 documents are one search unit (Cohere's price page).
    units: JSONObject = {"search_units": max(1, -(-count // 100))}
    return _json(turn, {"id": _id(turn), "results": results, **_meta(turn, units)})


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as Cohere answers it."""
    message = answer.error_message or ("invalid api token" if answer.status == 401 else "the request failed")
    headers = {"content-type": "application/json"} | retry_headers(answer)
    body: JSONObject = {"id": answer.response_id or str(uuid4()), "message": message}
    return Reply(answer.status, headers, (compact(body).encode(),))


COHERE = (
    WireFormat("cohere", re.compile(r"/(?:.+/)?v2/chat$"), _chat),
    WireFormat("cohere", re.compile(r"/(?:.+/)?v2/embed$"), _embed),
    WireFormat("cohere", re.compile(r"/(?:.+/)?v2/rerank$"), _rerank),
)
