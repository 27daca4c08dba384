"""What goes back over the wire, and the pieces that all wire formats write it with."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from re import Pattern

from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.received import Received

_LETTERS_FOR_SIGNS = bytes.maketrans(b"+/=", b"xyz")


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer.

    Attributes:
        status: the HTTP status.
        headers: names in lower case; length, encoding and connection headers are the server's business.
        frames: the body in the order it is sent; a stream has one frame per event.
        streamed: whether the body is sent in chunks as it comes.
    """

    status: int
    headers: Mapping[str, str]
    frames: tuple[bytes, ...]
    streamed: bool = False

    @property
    def body(self) -> bytes:
        """The whole body, not compressed."""
        return b"".join(self.frames)


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One API of one provider.

    Attributes:
        provider: "openai", "anthropic", "gemini", "mistral", "groq" or "cohere".
        path: matches the paths of the API, from their start.
        write: a turn as that API answers it.
        models: matches the start of its models' names, where another provider has the same path.
    """

    provider: str
    path: Pattern[str]
    write: Callable[[Turn], Reply]
    models: Pattern[str] | None = None

    def serves(self, request: Received) -> bool:
        """Whether a request is one to this API."""
        if self.models is not None and not self.models.match(request.model):
            return False
        return bool(self.path.match(request.path))


Refusal = Callable[[Received, Answer], Reply]


def compact(value: Mapping[str, object]) -> str:
    """JSON without any space, as OpenAI and Anthropic write stream events."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def indented(value: Mapping[str, object]) -> bytes:
    """JSON over many lines, as OpenAI and Gemini answer what is not a stream."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def new_id(prefix: str, length: int) -> str:
    """A new id in a provider's alphabet; two answers never share one."""
    return prefix + b64encode(os.urandom(length)).translate(_LETTERS_FOR_SIGNS)[:length].decode()


def retry_headers(answer: Answer) -> dict[str, str]:
    """``retry-after`` in whole seconds and ``retry-after-ms``: the SDKs of OpenAI and Anthropic read both."""
    seconds = answer.retry_after_s
    if seconds is None:
        return {"retry-after": "1"} if answer.status == 429 else {}
    return {"retry-after": str(-int(-seconds // 1)), "retry-after-ms": str(round(seconds * 1000))}
