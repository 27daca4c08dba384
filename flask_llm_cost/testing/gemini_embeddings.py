"""Gemini: embedContent and batchEmbedContents, and Vertex AI's ``:predict`` for embedding models.

The first two report usage of the whole request; ``:predict`` counts the tokens of each text beside its vector.
Vectors are made up, but the same text always has the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask_llm_cost.testing import gemini, openai_embeddings
from flask_llm_cost.testing.answer import Turn, estimated_tokens
from flask_llm_cost.testing.reply import Reply, WireFormat, indented

JSONObject = dict[str, object]

_SIZE = 768


def _texts(turn: Turn, key: str) -> list[str]:
    """One text per vector wanted."""
    asked = turn.request.json.get(key)
    return [" ".join(_said(item)) for item in asked] if isinstance(asked, list) else [turn.request.prompt]


def _said(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        yield from _said(member)


def _vector(text: str) -> list[float]:
    return openai_embeddings.vector(text, _SIZE)


def _tokens(turn: Turn, texts: list[str]) -> list[int]:
    """Of each text; what the answer says is counted for the first."""
    tokens = turn.answer.input_tokens
    if tokens is None:
        return [max(1, estimated_tokens(text)) for text in texts]
    return [tokens if number == 0 else 0 for number in range(len(texts))]


def _answer(turn: Turn, body: JSONObject) -> Reply:
    return Reply(turn.answer.status, gemini.headers("application/json; charset=UTF-8"), (indented(body),))


def _with_usage(turn: Turn, body: JSONObject, texts: list[str]) -> Reply:
    if not turn.answer.usage:
        return _answer(turn, body)
    prompt = sum(_tokens(turn, texts))
    details = [{"modality": "TEXT", "tokenCount": prompt}]
    return _answer(turn, {**body, "usageMetadata": {"promptTokenCount": prompt, "promptTokensDetails": details}})


def _one(turn: Turn) -> Reply:
    return _with_usage(turn, {"embedding": {"values": _vector(turn.request.prompt)}}, [turn.request.prompt])


def _batch(turn: Turn) -> Reply:
    texts = _texts(turn, "requests")
    return _with_usage(turn, {"embeddings": [{"values": _vector(text)} for text in texts]}, texts)


def _predict(turn: Turn) -> Reply:
    texts = _texts(turn, "instances")
    vectors: list[JSONObject] = [{"values": _vector(text)} for text in texts]
    if turn.answer.usage:
        for vector, tokens in zip(vectors, _tokens(turn, texts), strict=True):
            vector["statistics"] = {"token_count": tokens, "truncated": False}
    return _answer(turn, {"predictions": [{"embeddings": vector} for vector in vectors]})


EMBED_CONTENT = (
    WireFormat("gemini", re.compile(r"/(?:.+/)?models/[^/:]+:embedContent$"), _one),
    WireFormat("gemini", re.compile(r"/(?:.+/)?models/[^/:]+:batchEmbedContents$"), _batch),
    WireFormat("gemini", re.compile(r"/(?:.+/)?models/[^/:]*embedding[^/:]*:predict$"), _predict),
)
