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


def _inputs(asked: object) -> list[str]:
    """One text per vector wanted; token arrays count as the text of their numbers."""
    if isinstance(asked, list) and not all(isinstance(item, int) for item in asked):
        return [str(item) for item in asked]
    return [str(asked)]


def _vector(text: str, size: int) -> list[float]:
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


def _write(turn: Turn) -> Reply:
    asked = turn.request.json
    inputs = _inputs(asked.get("input"))
    wanted = asked.get("dimensions")
    size = wanted if isinstance(wanted, int) else (_LARGE if "large" in turn.model else _SMALL)
    tokens = turn.answer.input_tokens
    prompt = tokens if tokens is not None else sum(max(1, estimated_tokens(text)) for text in inputs)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(_vector(text, size), asked.get("encoding_format")),
        }
        for index, text in enumerate(inputs)
    ]
    usage = {"usage": {"prompt_tokens": prompt, "total_tokens": prompt}} if turn.answer.usage else {}
    body = {"object": "list", "data": data, "model": turn.model, **usage}
    return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))


EMBEDDINGS = WireFormat("openai", re.compile(r"/(?:.+/)?embeddings$"), _write)
