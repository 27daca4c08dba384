"""What the provider answers in the benchmarks: one transport in memory, the same for everybody who is measured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import httpx2

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Hello"}]
ELSEWHERE = "https://example.com/v1/things"
ERROR = json.dumps({"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}}).encode()
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 1000,
    "total_tokens": 1120,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
}
# 1 KB, as api.openai.com words it.
ANSWER = json.dumps(
    {
        "id": "chatcmpl-CdE7fGh9IjK1LmN3OpQ5RsT7UvW9X",
        "object": "chat.completion",
        "created": 1763769600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 80, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
    }
).encode()
JSON_TYPE = {"content-type": "application/json"}
EVENT_STREAM = {"content-type": "text/event-stream"}


def _event(**fields: object) -> bytes:
    chunk = {
        "id": "chatcmpl-CdE7fGh9IjK1LmN3OpQ5RsT7UvW9X",
        "object": "chat.completion.chunk",
        "created": 1763769600,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        **fields,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _delta(content: str) -> bytes:
    return _event(choices=[{"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": None}])


def events(chunks: int, text: str = " word") -> list[bytes]:
    """A streamed answer: so many pieces of text, the end, the usage, the sentinel; each in a piece of its own."""
    stop = _event(choices=[{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}])
    return [_delta(text)] * chunks + [stop, _event(choices=[], usage=USAGE), b"data: [DONE]\n\n"]


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A streamed answer, for either kind of client."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def transport(chunks: int, text: str = " word") -> httpx2.MockTransport:
    """Answers every call from memory: a stream where one is asked for, an error where the model is "busy"."""
    pieces = events(chunks, text)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if b'"stream":true' in request.content:
            return httpx2.Response(200, headers=EVENT_STREAM, stream=Stream(pieces))
        if b'"model":"busy"' in request.content:
            return httpx2.Response(429, headers=JSON_TYPE, content=ERROR)
        return httpx2.Response(200, headers=JSON_TYPE, content=ANSWER)

    return httpx2.MockTransport(answer)
