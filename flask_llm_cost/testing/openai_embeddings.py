"""OpenAI: embeddings. Vectors are made up, but the same text always has the same one."""

from __future__ import annotations

import array
import base64
import random
import re
import sys
import zlib

from flask_llm_cost.testing.answer import Turn, estimated_tokens
from flask_llm_cost.testing.openai_errors import openai_headers
from flask_llm_cost.testing.reply import Reply, WireFormat, indented

_LARGE = 3072
_SMALL = 1536


def texts(turn: Turn, key: str = "input") -> list[str]:
    """One text per vector wanted; token arrays count as the text of their numbers."""
    asked = turn.request.json.get(key)
    if isinstance(asked, list) and not all(isinstance(item, int) for item in asked):
        return [str(item) for item in asked]
    return [str(asked)]


def prompt_tokens(turn: Turn, key: str = "input") -> int:
    """What the answer says, or an estimate of each text by itself."""
    tokens = turn.answer.input_tokens
    return tokens if tokens is not None else sum(max(1, estimated_tokens(text)) for text in texts(turn, key))


def vector(text: str, size: int) -> list[float]:
    """A vector of length 1."""
    numbers = random.Random(zlib.crc32(text.encode()))  # noqa: S311 - reproducible, not secret
    values = [numbers.gauss(0.0, 1.0) for _ in range(size)]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def _encoded(vector: list[float], encoding: object) -> list[float] | str:
    if encoding != "base64":
        return vector
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def vectors(turn: Turn) -> list[dict[str, object]]:
    """The ``data`` of an answer, in the size and encoding asked for."""
    wanted, encoding = turn.request.json.get("dimensions"), turn.request.json.get("encoding_format")
    size = wanted if isinstance(wanted, int) else (_LARGE if "large" in turn.model else _SMALL)
    return [
        {"object": "embedding", "index": index, "embedding": _encoded(vector(text, size), encoding)}
        for index, text in enumerate(texts(turn))
    ]


def _write(turn: Turn) -> Reply:
    prompt = prompt_tokens(turn)
    usage = {"usage": {"prompt_tokens": prompt, "total_tokens": prompt}} if turn.answer.usage else {}
    body = {"object": "list", "data": vectors(turn), "model": turn.model, **usage}
    return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))


EMBEDDINGS = WireFormat("openai", re.compile(r"/(?:.+/)?embeddings$"), _write)
